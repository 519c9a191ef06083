#!/bin/bash
# The steps that people copy into the configuration of their CI. NAME, IMAGE, CACHE, ENDPOINT and BUILDER_OPTIONS are set by the job.
set -e
docker context create "$NAME-context" --docker "$ENDPOINT"
docker buildx create --name "$NAME" $BUILDER_OPTIONS --bootstrap --use "$NAME-context"
docker buildx build \
    --cache-from "type=local,src=$CACHE" \
    --cache-to "type=local,mode=max,dest=$CACHE" \
    --output type=docker \
    --tag "$NAME" .
docker image ls
docker image tag "$NAME" "$IMAGE"
docker image push "$IMAGE"
docker buildx prune -f
