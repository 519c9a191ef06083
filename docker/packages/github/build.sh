#!/bin/sh
# Build with the BUILDX_CACHE_ variables that action.yml sets, and hand Buildx' metadata to later steps.
set -eu
folder=$(mktemp -d "${RUNNER_TEMP:-/tmp}/buildx-cache.XXXXXX")
export BUILDX_CACHE_METADATA_FILE="$folder/metadata.json"
case $BUILD_CONTEXT in -?*) BUILD_CONTEXT=./$BUILD_CONTEXT ;; esac # a path, never an option
buildx-cache build "$BUILD_CONTEXT"
[ -s "$BUILDX_CACHE_METADATA_FILE" ] || exit 0
end=metadata-$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n') # no line of the metadata can be it
{
    echo "metadata<<$end"
    cat "$BUILDX_CACHE_METADATA_FILE"
    echo
    echo "$end"
} >> "$GITHUB_OUTPUT"
