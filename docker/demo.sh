#!/bin/sh
# Build docker/hello cold and then warm, each time on a brand-new builder: sh docker/demo.sh [KIND OF CACHE]...
# Without arguments with every kind.
set -eu
project=$(CDPATH="" cd -- "$(dirname -- "$0")/.." && pwd)
. "$project/docker/setup.sh"
setup demo
engine=$project/docker/engine
if ! "$python" "$engine" status >/dev/null 2>&1; then
    trap '"$python" "$engine" down' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
fi
"$python" "$engine" up
variables=$("$python" "$engine" env)
eval "$variables"
"$python" "$project/docker/demo.py" "$@"
