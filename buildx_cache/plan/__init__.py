"""Decide first: ``make_plan`` turns the request, the CI's facts and the engine's facts into one plan.

The plan is pure: no clock, no environment, no input or output. ``run.execute`` carries it out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice

from buildx_cache.caches.backend import Compression
from buildx_cache.caches.entry import SCOPED, CacheEntry
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
    Pods,
    ServingPlan,
    Target,
    parse_build_arg,
)
from buildx_cache.plan.builder_choice import own_builder_name, plan_builder, plan_loading, wants_own
from buildx_cache.plan.cache_choice import choose_kind, is_near, plan_cache, shares_loopback
from buildx_cache.plan.effects import Effect, PruneBuilder
from buildx_cache.plan.facts import Builder, Facts, ImageStore, Node, Place, TlsEndpoint, parse_version, show_version
from buildx_cache.plan.login_choice import login_notes, plan_login
from buildx_cache.plan.scopes import cache_references, is_unplaced, own_branch
from buildx_cache.plan.tags import case_notes, check_fork, image_tags, pushed_names
from buildx_cache.reference import Reference, is_loopback
from buildx_cache.request.build_request import BuildRequest, Driver
from buildx_cache.request.local_paths import flag_values, secret_sources
from buildx_cache.request.outputs import Output, attests, loads, pushes, pushes_by_digest
from buildx_cache.request.remote_context import is_remote_context
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
# Policies of contexts at an address are evaluated from Buildx 0.32 on (docker/buildx#3661).
_POLICIES = (0, 32, 0)
_POLICY_NOTE = (
    "a policy at the build context's address is not evaluated: it could read files here; your own: "
    "-- --policy filename=cwd://FILE"
)
# Keys of Buildx' metadata file.
DIGEST = "containerimage.digest"
CONFIG_DIGEST = "containerimage.config.digest"
_PRUNE_AGE = "168h"
_MOST_ASKED = 8
_ASCII_ONLY = "Buildx takes only printable ASCII in its path"


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
    target = _target(request, facts, builder, cache, image)
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
            *((_POLICY_NOTE,) if target.build.resets_policy else ()),
            *_notes(request, ci, builder, cache),
            *_unset_secrets(request, facts),
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
    folder = _unusable(cache)
    if folder and request.strict_cache:
        raise UsageError(
            f"the cache folder {folder!r} cannot be used: {_ASCII_ONLY}",
            code="cache-dir-not-ascii",
            hint="give another folder, or drop --strict-cache",
        )


def _unusable(cache: CachePlan) -> str:
    """Return the first local folder whose path Buildx cannot use, else the empty string.

    Buildx sends the path to BuildKit in a gRPC header, and gRPC accepts only printable ASCII there.
    """
    folders = (entry.folder for entry in (*cache.written, *cache.imports))
    return next((folder for folder in folders if folder and not (folder.isascii() and folder.isprintable())), "")


# --- the build -------------------------------------------------------------------------------------------


def _target(request: BuildRequest, facts: Facts, builder: BuilderPlan, cache: CachePlan, image: ImagePlan) -> Target:
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
        build_args=_build_args(request),
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


def _build_args(request: BuildRequest) -> tuple[BuildArg, ...]:
    return tuple(map(parse_build_arg, request.build_arg))


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


def _left_out_note(entry: CacheEntry, missing: str) -> str:
    """Return the note on a cache entry that Buildx leaves out."""
    return f"the cache {entry.place} is left out: not set: {missing}; pass them to this step"


# --- prune, notes ----------------------------------------------------------------------------------------


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


def _unplaced(ci: CIContext) -> str:
    who = "the build context's address" if ci.is_remote else ci.provider if ci.is_ci else "git"
    return f"{who} tells neither branch nor tag" if not ci.tag else f"{who} does not tell the default branch"


def _unset_secrets(request: BuildRequest, facts: Facts) -> Iterator[str]:
    """Yield a note for each secret whose variable is not set: BuildKit mounts an empty file then.

    A secret that may be a file, too, gets no note: Buildx itself reports an absent file.
    """
    if facts.variables is None:
        return
    for entry in (*request.secret, *flag_values(request.buildx_flags, "--secret")):
        names, path = secret_sources(entry)
        for name in names:
            if name and not path and name not in facts.variables:
                yield f"--secret {entry}: the variable {name} is empty or not set: the secret is empty"


def _notes(request: BuildRequest, ci: CIContext, builder: BuilderPlan, cache: CachePlan) -> tuple[str, ...]:
    """Return the notes for the user before the build, one line each."""
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
