#!/bin/sh
# Run the whole test suite, or what the arguments of pytest select: sh docker/test.sh [tests/unit …]
# The tests start the engines they need, and stop those that they started.
set -eu
project=$(CDPATH="" cd -- "$(dirname -- "$0")/.." && pwd)
. "$project/docker/setup.sh"
setup dev
cd "$project"
exec "$python" -m pytest "$@"
