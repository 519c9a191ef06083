#!/bin/sh
# Run the tests: sh docker/test.sh [--all | ARGUMENTS OF PYTEST]
# Without arguments, all but the long ones (marked `soak`); with --all, those too; else what the arguments select.
# The tests start the engines they need, and stop those that they started.
set -eu
project=$(CDPATH="" cd -- "$(dirname -- "$0")/.." && pwd)
. "$project/docker/setup.sh"
setup dev
browser
terminal
cd "$project"
case "${1-}" in
--all) shift ;;
"") set -- -m "not soak" ;;
esac
# Two processes, in the order of the tests: one works while the other waits for the engine.
exec "$python" -m pytest --numprocesses 2 --no-loadscope-reorder "$@"
