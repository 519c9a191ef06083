"""Decide first: ``make_plan`` turns what is asked, what the CI tells and what is there into one plan.

Pure: no clock, no environment, no input or output. ``run.execute`` carries the plan out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice

from buildx_cache.caches import SCOPED, CacheEntry, Compression
from buildx_cache.ci import CIContext
from buildx_cache.errors import CacheError, UsageError
from buildx_cache.plan.build_plan import (
    BuildArg,
    BuilderPlan,
    BuildInvocation,
    BuildPlan,
    CachePlan,
    Container,
    ImagePlan,
    LoadingPlan,
    LoginPlan,
    ServingPlan,
    Target,
    parse_build_arg,
)
from buildx_cache.plan.builder_choice import own_builder_name, plan_builder, plan_loading, wants_own
from buildx_cache.plan.cache_choice import choose_kind, plan_cache, shares_loopback
from buildx_cache.plan.effects import Effect, PruneBuilder
from buildx_cache.plan.facts import Builder, Facts, Node, Place, Store, TlsEndpoint, parse_version, show_version
from buildx_cache.plan.login_choice import login_notes, plan_login
from buildx_cache.plan.scopes import cache_references, is_unplaced, own_branch
from buildx_cache.plan.tags import case_notes, check_fork, image_tags, pushed_names
from buildx_cache.reference import Reference, is_loopback
from buildx_cache.request import BuildRequest, Driver, Output, attests, loads, may_push_image, pushes, pushes_by_digest
from buildx_cache.request.local_paths import flag_values, secret_sources

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
    "LoadingPlan",
    "LoginPlan",
    "Node",
    "Output",
    "Place",
    "ServingPlan",
    "Store",
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
_ASCII_ONLY = "Buildx takes only printable ASCII in its path"


def needed_builder(request: BuildRequest, ci: CIContext, facts: Facts) -> str:
    """Return the name of the project's own builder where the build will need it, else the empty string.

    So that only that builder is looked for: listing all of them asks each one, and a dead one stalls the list.
    """
    kind, _ = choose_kind(request, facts, _names(request, image_tags(request, ci, facts)))
    return own_builder_name(request, ci, facts) if wants_own(request, facts, kind) else ""


def make_plan(request: BuildRequest, ci: CIContext, facts: Facts) -> BuildPlan:
    """Decide everything that can be known before touching Docker.

    Raises:
        UsageError: what is asked cannot work here.
        EngineError: the builder asked for does not exist.
        CacheError: a cache is left out for what is not set, and the call is strict.
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
        told_id=_told_id(request, facts),
    )
    place = request.cache_ref
    named = (*names, *(cache_references(ci, facts, place, (own_branch(ci),)) if place else ()))
    _check_load(request, facts)
    _check_inline(request, cache)
    _check_left_out(request, cache)
    _check_folders(request, cache)
    return BuildPlan(
        builder=builder,
        cache=cache,
        targets=(_target(request, builder, cache, image),),
        docker_context=request.docker_context,
        store=facts.store,
        login=plan_login(request, named),
        prune=_prune(request, ci, facts, builder),
        strict_cache=request.strict_cache,
        notes=(
            *case_notes(request),
            *login_notes(request, named),
            *_notes(request, ci, builder, cache),
            *_unset_secrets(request, facts),
        ),
    )


def _names(request: BuildRequest, tags: tuple[Reference, ...]) -> tuple[Reference, ...]:
    """Return the image's names: its tags, or those of the outputs that push it."""
    return tags or pushed_names(request, tags)


def _asked(
    request: BuildRequest, facts: Facts, builder: BuilderPlan, pushed: tuple[Reference, ...]
) -> tuple[Reference, ...]:
    """Name the repositories that can be asked whether they let this call push.

    Elsewhere, a builder may come from an address that a registry lets in, when it does not let this host in.
    """
    is_near = builder.driver in (Driver.DOCKER, Driver.DOCKER_CONTAINER) and not request.endpoint
    if request.no_push_check or not is_near or not pushes(request):
        return ()
    repositories = dict.fromkeys(replace(each.canonical, tag="", digest="") for each in pushed)
    is_same = shares_loopback(request, facts, builder)
    known = (each for each in repositories if is_same or not is_loopback(each.registry_host))
    return tuple(islice(known, _MOST_ASKED))


def _told_id(request: BuildRequest, facts: Facts) -> str:
    """Return what a loaded image's ID is to the engine.

    Its configuration's digest, or with the containerd store its own.

    Of several results, each writes its own digest into the metadata, one over the other.
    """
    if facts.store is Store.CLASSIC:
        return CONFIG_DIGEST
    return "" if request.push or request.output or request.buildx_flags else DIGEST


def _check_load(request: BuildRequest, facts: Facts) -> None:
    """Refuse what the classic image store cannot hold: it has one manifest an image.

    BuildKit refuses it too, but not where the engine reads the image from the cache's folder.
    """
    if not loads(request) or facts.store is not Store.CLASSIC:
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
            f"--cache {cache.kind} is read from a tag of the image, which is pushed by digest, without one",
            code="option-conflict",
            hint="use --cache registry",
        )


def _check_left_out(request: BuildRequest, cache: CachePlan) -> None:
    if cache.left_out and request.strict_cache:
        entry, missing = cache.left_out[0]
        raise CacheError(
            f"the cache {entry.place} would be left out: not set: {missing}",
            code="cache-variables-missing",
            hint="hand them to this step, or drop --strict-cache",
        )


def _check_folders(request: BuildRequest, cache: CachePlan) -> None:
    folder = _unusable(cache)
    if folder and request.strict_cache:
        raise UsageError(
            f"the cache folder {folder!r} cannot be used: {_ASCII_ONLY}",
            code="cache-dir-not-ascii",
            hint="give another folder, or drop --strict-cache",
        )


def _unusable(cache: CachePlan) -> str:
    """Return the first local folder that Buildx can neither write nor read, else the empty string.

    Its path goes to BuildKit in a gRPC header, as it was given, and gRPC refuses such a value.
    """
    folders = (entry.folder for entry in (*cache.written, *cache.imports))
    return next((folder for folder in folders if folder and not (folder.isascii() and folder.isprintable())), "")


# --- the build -------------------------------------------------------------------------------------------


def _target(request: BuildRequest, builder: BuilderPlan, cache: CachePlan, image: ImagePlan) -> Target:
    apart = tuple(
        entry for entry in cache.active(cache.exports) if not (entry.backend.is_in_image or request.buildx_flags)
    )
    return Target(
        name=request.target or "default",
        image=image,
        build=_build(request, builder, cache, image),
        node_exports=tuple(
            _cache_build(request, builder, cache, (name,), (entry,)) for name, entry in cache.node_exports
        ),
        cache_build=_cache_build(request, builder, cache, image.platforms, apart) if apart else None,
    )


def _build(request: BuildRequest, builder: BuilderPlan, cache: CachePlan, image: ImagePlan) -> BuildInvocation:
    build = BuildInvocation(
        builder=builder.name,
        context=request.context,
        tags=tuple(dict.fromkeys((*image.tags, *cache.tags))),
        platforms=image.platforms,
        build_args=_build_args(request),
        imports=cache.active(cache.imports),
        exports=cache.active(cache.exports),
        flags=request.buildx_flags,
        **request.passed_on,
    )
    return _with_results(build, request, builder)


def _build_args(request: BuildRequest) -> tuple[BuildArg, ...]:
    return tuple(map(parse_build_arg, request.build_arg))


def _with_results(build: BuildInvocation, request: BuildRequest, builder: BuilderPlan) -> BuildInvocation:
    """Add every result of one solve: pushed, loaded, and whatever else is asked for.

    The engine's own builder keeps what it pushes, so that loading it again would be for nothing.
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
    """Order the outputs: Buildx tells the digest of the last exporter, which is to be what is pushed.

    ``push`` pushes every image, as ``--push`` does; those that are pushed have the ``style``.
    """
    images = [each.pushed() if push and each.is_image else each for each in outputs]
    pushed = [each.styled(*style) for each in images if each.is_pushed]
    return [*(each for each in images if not each.is_pushed), *pushed]


def _image_style(compression: Compression | None) -> tuple[str, ...]:
    """Return the image's compression is its cache's, so that both are made of the same blobs."""
    if compression is None:
        return ()
    return (f"compression={compression}", "oci-mediatypes=true")


def _cache_build(
    request: BuildRequest,
    builder: BuilderPlan,
    cache: CachePlan,
    platforms: tuple[str, ...],
    exports: tuple[CacheEntry, ...],
) -> BuildInvocation:
    """Return a build after the image's that does nothing but write caches: all its steps are in the builder's."""
    return BuildInvocation(
        builder=builder.name,
        context=request.context,
        platforms=platforms,
        build_args=_build_args(request),
        imports=cache.active(cache.imports),
        exports=exports,
        outputs=(Output(spec="type=cacheonly"),),
        **request.of_steps,
    )


def _left_out_note(entry: CacheEntry, missing: str) -> str:
    """Say why an entry is left out, and what would help."""
    return f"the cache {entry.place} is left out: not set: {missing}; hand them to this step"


# --- prune, notes ----------------------------------------------------------------------------------------


def _prune(request: BuildRequest, ci: CIContext, facts: Facts, builder: BuilderPlan) -> PruneBuilder | None:
    """Prune the builder's cache: its own where the CI's default asks, any when the user does."""
    wanted = (ci.is_ci and builder.owned) if request.prune is None else request.prune
    if not wanted or builder.temporary:
        return None
    return PruneBuilder(
        builder=builder.name,
        space=request.prune_keep,
        space_option="--max-used-space" if facts.buildx >= _MAX_USED_SPACE else "--keep-storage",
        age=request.prune_older_than or ("" if request.prune_keep else _PRUNE_AGE),
    )


def _unplaced(ci: CIContext) -> str:
    who = "the build context's address" if ci.is_remote else ci.provider if ci.is_ci else "git"
    return f"{who} tells neither branch nor tag" if not ci.tag else f"{who} does not tell the default branch"


def _unset_secrets(request: BuildRequest, facts: Facts) -> Iterator[str]:
    """Yield a note for each secret from a variable that is not set: BuildKit mounts an empty file then.

    A secret named by its ``id`` alone may be a file, too; of one that is absent Buildx tells itself.
    """
    if facts.variables is None:
        return
    for entry in (*request.secret, *flag_values(request.buildx_flags, "--secret")):
        names, path = secret_sources(entry)
        for name in names:
            if name and not path and name not in facts.variables:
                yield f"--secret {entry}: the variable {name} is empty or not set, and so is the secret"


def _notes(request: BuildRequest, ci: CIContext, builder: BuilderPlan, cache: CachePlan) -> tuple[str, ...]:
    """Return what a user should know before the build, each in one line."""
    backend = SCOPED.get(cache.kind)
    candidates = (
        (
            backend is not None and backend.is_in_image and not (pushes(request) or cache.read_only),
            "an inline cache is part of the pushed image: without --push nothing is written",
        ),
        (
            backend is not None and backend.is_pushed and not (pushes(request) or cache.read_only),
            "the cache is pushed to its registry although the image is not",
        ),
        (
            cache.max_size is not None and not cache.written_folders,
            "--cache-max-size bounds a local cache's folder, and this build writes none",
        ),
        (
            bool(_unusable(cache)),
            f"the cache folder {_unusable(cache)!r} is not used: {_ASCII_ONLY}; give another folder",
        ),
        (
            request.push_auto,
            "a pull request from a fork, or possibly one: the image is not pushed"
            + (", and the cache is read-only" if cache.read_only else ""),
        ),
        (
            cache.read_only and request.cache_read_only is None and not request.push_auto,
            "a pull request from a fork, or possibly one: the cache is read-only",
        ),
        (
            is_unplaced(request, ci, cache.kind) and not cache.read_only,
            f"{_unplaced(ci)}: the cache is read-only; write it with --cache-scope",
        ),
        (
            not (pushes(request) or request.push_auto or request.load or request.output)
            and builder.driver != Driver.DOCKER,
            "the image stays in the builder's cache: add --push or --load to keep it",
        ),
        (
            any(argument.is_secret for argument in _build_args(request)),
            "build arguments are kept in the image's history and provenance: hand secrets over with --secret",
        ),
        (
            request.prune is None and ci.is_ci and not builder.owned,
            f"the builder {builder.name!r} is not this project's own: it is not pruned",
        ),
    )
    unknown = dict.fromkeys(
        f"the attribute {key!r} of a cache of type={entry.type} is not known here: BuildKit may ignore it"
        for entry in (*cache.imports, *cache.exports)
        for key in entry.unknown
    )
    left_out = (_left_out_note(entry, missing) for entry, missing in cache.left_out)
    return (*(text for applies, text in candidates if applies), *unknown, *dict.fromkeys(left_out))
