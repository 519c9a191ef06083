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
unset PYTHONDONTWRITEBYTECODE # else each process compiles all tests anew
case "${1-}" in
--all) shift ;;
"") set -- -m "not soak" ;;
esac
# Four processes, in the order of the tests: most of them wait for the engine, two cores are enough for all.
exec "$python" -m pytest --numprocesses 4 --no-loadscope-reorder "$@"
