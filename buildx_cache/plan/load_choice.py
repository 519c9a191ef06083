"""Whether an image is handed to the engine by way of a folder that has the cache's layers already, and why (not).

``--load`` has BuildKit send the whole image, as one tarball, through the builder's connection: for a container that is
``docker exec``, at some 30 MB/s. An image in a layout folder (``type=oci,tar=false``) is sent blob by blob, and none
that the folder has (``util/contentutil``): where its layers come from a local cache, next to nothing is sent, and the
engine reads the rest of it from this host's disk. All exporters of a build share one response, and Buildx writes what
it finds there into the folder's index: the image has to be the only result.
"""

from __future__ import annotations

from buildx_cache.plan.build_plan import BuilderPlan, CachePlan, LoadingPlan
from buildx_cache.plan.effects import LoadImage
from buildx_cache.reference import Reference
from buildx_cache.request import BuildRequest, Driver, Lazy, pushes


def plan_loading(
    request: BuildRequest, builder: BuilderPlan, cache: CachePlan, tags: tuple[Reference, ...]
) -> LoadingPlan:
    """Decide how an image that is to be loaded gets to the engine; what is loaded is the same either way."""
    if not request.load or builder.driver == Driver.DOCKER:  # the engine's own builder keeps the image where it is
        return LoadingPlan()
    reasons: tuple[tuple[bool, str], ...] = (
        (request.lazy is Lazy.OFF, "--lazy off"),
        (not any(entry.folder for entry in cache.imports), "no cache is in a folder"),
        (not tags, "the image has no tag"),
        (pushes(request) or bool(request.output), "the image goes elsewhere, too"),
        (bool(request.iidfile), "--iidfile is to say what the engine calls the image"),
        (bool(request.buildx_flags), "Buildx' own flags may change what is loaded"),
        (builder.nodes > 1, "the builder has several nodes"),
    )
    obstacle = next((reason for applies, reason in reasons if applies), "")
    if obstacle:
        return LoadingPlan(why=obstacle)
    return LoadingPlan(
        effect=LoadImage(),
        names=tuple(str(tag.canonical) for tag in tags),
        why="the cache is in a folder",
    )
