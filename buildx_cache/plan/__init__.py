"""Decide first: ``make_plan`` turns the request, the CI's facts and the engine's facts into one plan.

The plan is pure: no clock, no environment, no input or output. ``run.execute`` carries it out.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import islice

from buildx_cache.ci import CIContext
from buildx_cache.errors import CacheError, UsageError
from buildx_cache.plan.build_notes import ASCII_ONLY, build_notes, unusable_folder
from buildx_cache.plan.build_plan import (
    BuildArg,
    BuilderPlan,
    BuildInvocation,
    BuildPlan,
    CachePlan,
    Container,
    ImagePlan,
    LoadingPlan,
    Pods,
    ServingPlan,
    Target,
)
from buildx_cache.plan.builder_choice import own_builder_name, plan_builder, plan_loading, wants_own
from buildx_cache.plan.cache_choice import choose_kind, is_near, plan_cache, shares_loopback
from buildx_cache.plan.effects import Effect, PruneBuilder
from buildx_cache.plan.facts import Builder, Facts, ImageStore, Node, Place, TlsEndpoint, parse_version, show_version
from buildx_cache.plan.login_choice import login_notes, plan_login
from buildx_cache.plan.scopes import cache_references, own_branch
from buildx_cache.plan.tags import case_notes, check_fork, image_tags, pushed_names
from buildx_cache.plan.target import make_target
from buildx_cache.reference import Reference, is_loopback
from buildx_cache.request.build_request import BuildRequest
from buildx_cache.request.outputs import Output, attests, loads, pushes, pushes_by_digest
from buildx_cache.request.trust import may_push_image

__all__ = [
    "CONFIG_DIGEST",
    "DIGEST",
    "BuildArg",
    "BuildInvocation",
    "BuildPlan",
    "Builder",
    "BuilderPlan",
    "CachePlan",
    "Container",
    "Effect",
    "Facts",
    "ImagePlan",
    "ImageStore",
    "LoadingPlan",
    "Node",
    "Output",
    "Place",
    "Pods",
    "ServingPlan",
    "Target",
    "TlsEndpoint",
    "make_plan",
    "needed_builder",
    "parse_version",
    "show_version",
]

# `prune --keep-storage` became --max-used-space in Buildx 0.18 (docker/buildx#2724).
_MAX_USED_SPACE = (0, 18, 0)
# Keys of Buildx' metadata file.
DIGEST = "containerimage.digest"
CONFIG_DIGEST = "containerimage.config.digest"
_PRUNE_AGE = "168h"
_MOST_ASKED = 8


def needed_builder(request: BuildRequest, ci: CIContext, facts: Facts) -> str:
    """Return the name of the project's own builder if the build will use it, else the empty string.

    With the name only that builder is inspected: a list of all builders asks each of them, and a dead one stalls it.
    """
    kind, _ = choose_kind(request, facts, _names(request, image_tags(request, ci, facts)))
    return own_builder_name(request, ci, facts) if wants_own(request, facts, kind) else ""


def make_plan(request: BuildRequest, ci: CIContext, facts: Facts) -> BuildPlan:
    """Decide everything that can be decided before Docker is used.

    Raises:
        UsageError: the request cannot work with this engine or builder.
        EngineError: the requested builder does not exist.
        CacheError: Buildx would leave a cache out for want of a variable, and the call is strict.
    """
    tags = image_tags(request, ci, facts)
    for template in request.tag if may_push_image(request) else ():
        check_fork(template, ci)
    names = _names(request, tags)
    chosen = choose_kind(request, facts, names)
    builder = plan_builder(request, ci, facts, chosen[0])
    cache = plan_cache(request, ci, facts, builder, chosen, names)
    pushed = pushed_names(request, tags)
    image = ImagePlan(
        tags=tuple(map(str, tags)),
        pushed=tuple(map(str, pushed)),
        asked=_asked(request, facts, builder, pushed),
        push=pushes(request),
        load=request.load,
        platforms=request.platform,
        loading=plan_loading(request, builder, cache, tags),
        one_line=request.one_line,
        id_key=_image_id_key(request, facts),
    )
    place = request.cache_ref
    named = (*names, *(cache_references(ci, facts, place, (own_branch(ci),)) if place else ()))
    _check_load(request, facts)
    _check_inline(request, cache)
    _check_left_out(request, cache)
    _check_folders(request, cache)
    target = make_target(request, facts, builder, cache, image)
    return BuildPlan(
        builder=builder,
        cache=cache,
        targets=(target,),
        docker_context=request.docker_context,
        store=facts.store,
        login=plan_login(request, named),
        prune=_prune(request, ci, facts, builder),
        strict_cache=request.strict_cache,
        notes=(
            *case_notes(request),
            *login_notes(request, named),
            *build_notes(request, ci, facts, builder, cache, target.build),
        ),
    )


def _names(request: BuildRequest, tags: tuple[Reference, ...]) -> tuple[Reference, ...]:
    """Return the image's names: its tags, else the names in the outputs that push it."""
    return tags or pushed_names(request, tags)


def _asked(
    request: BuildRequest, facts: Facts, builder: BuilderPlan, pushed: tuple[Reference, ...]
) -> tuple[Reference, ...]:
    """Return the repositories whose registries this host asks whether they accept the push."""
    if request.no_push_check or not is_near(request, builder) or not pushes(request):
        return ()
    repositories = dict.fromkeys(replace(each.canonical, tag="", digest="") for each in pushed)
    is_same = shares_loopback(request, facts, builder)
    known = (each for each in repositories if is_same or not is_loopback(each.registry_host))
    return tuple(islice(known, _MOST_ASKED))


def _image_id_key(request: BuildRequest, facts: Facts) -> str:
    """Return the metadata key of the digest that the engine uses as a loaded image's ID; empty if there is none.

    The classic store uses the digest of the image's configuration, the containerd store that of the image. With
    several outputs each overwrites the image's digest in the metadata: then the engine has to be asked.
    """
    if facts.store is ImageStore.CLASSIC:
        return CONFIG_DIGEST
    return "" if request.push or request.output or request.buildx_flags else DIGEST


def _check_load(request: BuildRequest, facts: Facts) -> None:
    """Refuse to load several manifests into the classic image store, which holds one manifest an image.

    BuildKit refuses it, too, but not if the engine loads the image from the cache's folder.
    """
    if not loads(request) or facts.store is not ImageStore.CLASSIC:
        return
    if attests(request):
        raise UsageError(
            "--load of attestations (--provenance, --sbom, --attest) needs an engine with the containerd image store",
            code="load-unsupported",
            hint="leave them out, push the image, write it with -o type=oci,dest=FILE, "
            "or turn the engine's containerd image store on",
        )
    if len(request.platform) > 1:
        raise UsageError(
            "--load of several platforms needs an engine with the containerd image store",
            code="load-unsupported",
            hint="load one platform, or --push, or turn the engine's containerd image store on",
        )


def _check_inline(request: BuildRequest, cache: CachePlan) -> None:
    if cache.tags and pushes_by_digest(request):
        raise UsageError(
            f"--cache {cache.kind} needs a tag of the image, but the image is pushed by digest",
            code="option-conflict",
            hint="use --cache registry",
        )


def _check_left_out(request: BuildRequest, cache: CachePlan) -> None:
    if cache.left_out and request.strict_cache:
        entry, missing = cache.left_out[0]
        raise CacheError(
            f"the cache {entry.place} would be left out: not set: {missing}",
            code="cache-variables-missing",
            hint="pass them to this step, or drop --strict-cache",
        )


def _check_folders(request: BuildRequest, cache: CachePlan) -> None:
    folder = unusable_folder(cache)
    if folder and request.strict_cache:
        raise UsageError(
            f"the cache folder {folder!r} cannot be used: {ASCII_ONLY}",
            code="cache-dir-not-ascii",
            hint="give another folder, or drop --strict-cache",
        )


def _prune(request: BuildRequest, ci: CIContext, facts: Facts, builder: BuilderPlan) -> PruneBuilder | None:
    """Return how to prune the builder's cache: by default the project's own builder in a CI; any on request."""
    wanted = (ci.is_ci and builder.owned) if request.prune is None else request.prune
    if not wanted or builder.temporary:
        return None
    return PruneBuilder(
        builder=builder.name,
        space=request.prune_keep,
        space_option="--max-used-space" if facts.buildx >= _MAX_USED_SPACE else "--keep-storage",
        age=request.prune_older_than or ("" if request.prune_keep else _PRUNE_AGE),
    )
