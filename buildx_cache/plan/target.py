"""Decide the builds of a plan: the image's, and those that only write caches."""

from __future__ import annotations

from dataclasses import replace

from buildx_cache.caches.backend import Compression
from buildx_cache.caches.entry import CacheEntry
from buildx_cache.plan.build_plan import BuilderPlan, BuildInvocation, CachePlan, ImagePlan, Target, parse_build_arg
from buildx_cache.plan.facts import Facts
from buildx_cache.request.build_request import BuildRequest, Driver
from buildx_cache.request.local_paths import flag_values
from buildx_cache.request.outputs import Output, pushes
from buildx_cache.request.remote_context import is_remote_context

# Policies of contexts at an address are evaluated from Buildx 0.32 on (docker/buildx#3661).
_POLICIES = (0, 32, 0)


def make_target(
    request: BuildRequest, facts: Facts, builder: BuilderPlan, cache: CachePlan, image: ImagePlan
) -> Target:
    """Return the image's build and its caches' own."""
    base = _base(request, facts, builder, cache)
    apart = tuple(
        entry for entry in cache.active(cache.exports) if not (entry.backend.is_in_image or request.buildx_flags)
    )
    return Target(
        name=request.target or "default",
        image=image,
        build=_build(base, request, builder, cache, image),
        node_exports=tuple(_cache_build(base, request, (name,), (entry,)) for name, entry in cache.node_exports),
        cache_build=_cache_build(base, request, image.platforms, apart) if apart else None,
    )


def _resets_policy(request: BuildRequest, facts: Facts) -> bool:
    """Return whether Buildx would evaluate the policy of whoever wrote the build context at an address.

    Such a policy may read JSON files below the working directory, and send them away as an image's digest
    (``cwd://`` in Buildx' ``build/policy_loader.go``, ``pin_image``). It is looked for there also where the Dockerfile
    is a file of this machine. The caller's own policies stay; who gives other settings of policies says what happens.
    """
    is_fetched = request.context != "-" and is_remote_context(request.context)
    given = flag_values(request.buildx_flags, "--policy")
    return facts.buildx >= _POLICIES and is_fetched and request.file != "-" and all("filename=" in one for one in given)


def _base(request: BuildRequest, facts: Facts, builder: BuilderPlan, cache: CachePlan) -> BuildInvocation:
    """Return what every build of a plan has: the builder, the build context, its arguments and the imports."""
    return BuildInvocation(
        builder=builder.name,
        resets_policy=_resets_policy(request, facts),
        context=request.context,
        build_args=tuple(map(parse_build_arg, request.build_arg)),
        imports=cache.active(cache.imports),
    )


def _build(
    base: BuildInvocation, request: BuildRequest, builder: BuilderPlan, cache: CachePlan, image: ImagePlan
) -> BuildInvocation:
    build = replace(
        base,
        tags=tuple(dict.fromkeys((*image.tags, *cache.tags))),
        platforms=image.platforms,
        exports=cache.active(cache.exports),
        flags=request.buildx_flags,
        **request.passed_on,
    )
    return _with_results(build, request, builder)


def _with_results(build: BuildInvocation, request: BuildRequest, builder: BuilderPlan) -> BuildInvocation:
    """Add the outputs of the build: the push, the load, and the requested outputs.

    The engine's own builder has the image in the engine anyway, so a pushed image need not be loaded.
    """
    load = request.load and not (pushes(request) and builder.driver == Driver.DOCKER)
    style = _image_style(request.cache_compression)
    outputs = [Output(spec=spec) for spec in request.output]
    if request.push and not any(each.is_image for each in outputs) and (style or load or outputs):
        outputs.append(Output(spec="type=image"))
    outputs = _pushed_last(outputs, style, push=request.push)
    if load and (request.push or outputs):
        outputs.insert(0, Output(spec="type=docker"))
    if outputs:
        return replace(build, outputs=tuple(outputs))
    return replace(build, push=request.push, load=load)


def _pushed_last(outputs: list[Output], style: tuple[str, ...], *, push: bool) -> list[Output]:
    """Put the pushed outputs last, because Buildx reports the digest of the last output.

    With ``push`` every image is pushed, as by ``--push``. Pushed outputs get the attributes in ``style``.
    """
    images = [each.pushed() if push and each.is_image else each for each in outputs]
    pushed = [each.styled(*style) for each in images if each.is_pushed]
    return [*(each for each in images if not each.is_pushed), *pushed]


def _image_style(compression: Compression | None) -> tuple[str, ...]:
    """Return the output attributes that give the image its cache's compression, so that both share blobs."""
    if compression is None:
        return ()
    return (f"compression={compression}", "oci-mediatypes=true")


def _cache_build(
    base: BuildInvocation,
    request: BuildRequest,
    platforms: tuple[str, ...],
    exports: tuple[CacheEntry, ...],
) -> BuildInvocation:
    """Return a build that only writes caches; it follows the image's build, so its steps are in the builder's cache."""
    return replace(
        base,
        platforms=platforms,
        exports=exports,
        outputs=(Output(spec="type=cacheonly"),),
        **request.of_steps,
    )
