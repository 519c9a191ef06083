#!/bin/sh
# Build the self-contained executable: sh docker/executable/build.sh [FOLDER]
# Leaves buildx-cache-linux-ARCH.tar.gz and its line in SHA256SUMS in FOLDER, which is dist if it is not named.
set -eu
project=$(CDPATH="" cd -- "$(dirname -- "$0")/../.." && pwd)
. "$project/docker/setup.sh"
setup dev
exec "$python" "$project/docker/executable/build.py" "${1:-dist}"
