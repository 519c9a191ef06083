#!/bin/sh
# Run the whole test suite, or what the arguments of pytest select: sh docker/test.sh [tests/unit …]
# The tests start the engines they need, and stop those that they started.
set -eu
project=$(CDPATH="" cd -- "$(dirname -- "$0")/.." && pwd)
. "$project/docker/setup.sh"
setup dev
browser
terminal
cd "$project"
# Two processes, in the order of the tests: one works while the other waits for the engine.
exec "$python" -m pytest --numprocesses 2 --no-loadscope-reorder "$@"
