"""Choose the builder (the current one if it can do the job, else the project's own), and how to load the image."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import PurePath

from buildx_cache.caches.backend import CacheKind, to_csv
from buildx_cache.caches.entry import SCOPED
from buildx_cache.ci import ANY_CI, CIContext
from buildx_cache.errors import EngineError, UsageError
from buildx_cache.plan.build_plan import BuilderPlan, CachePlan, LoadingPlan
from buildx_cache.plan.effects import (
    BootBuilder,
    CreateContext,
    CreateNode,
    KillContainer,
    LoadImage,
    RemoveBuilder,
    RemoveContainer,
    RemoveContext,
    RemoveVolume,
)
from buildx_cache.plan.facts import UNKNOWN_VERSION, Facts, ImageStore
from buildx_cache.plan.registry_choice import buildkitd_config, driver_options, loopback_registries, plan_registries
from buildx_cache.plan.scopes import is_of_unknown_branch
from buildx_cache.reference import Reference
from buildx_cache.request.build_request import BuildRequest, Driver, Endpoint, Lazy, parse_endpoint
from buildx_cache.request.local_paths import output_pairs, values_of
from buildx_cache.request.outputs import Output, loads, pushes, pushes_by_digest

OWN_PREFIX = "buildx-cache-"
BUILDER_VARIABLE = "BUILDX_BUILDER"
# `create --config` was renamed in Buildx 0.15 (docker/buildx#2496); the old name still works, but warns.
_BUILDKITD_CONFIG = (0, 15, 0)
_OTHER_MACHINES = ("tcp://", "ssh://")
_DIGITS = 8
# No hexadecimal digits: a fork's file may name registries, which are a part of the configuration that is hashed, and 32
# bits are found in minutes.
_STRANGERS = "r"
_READ_ONLY = "s"
# A plan names this file beside the caches, where no other user can make one; a run uses one in a private folder.
_CONFIG_FILE = "{}.toml"


def _separation(request: BuildRequest, ci: CIContext) -> str:
    """Return the mark of a builder that builds with the right to write caches never use; "" if the build has the right.

    Cache mounts stay in the builder, and a step's cache key does not cover their content. So a fork's step could change
    the result of a later step of another branch, and with it that branch's cache. A build of an unknown branch may be a
    fork's. A branch or tag that only reads, such as a release, could push what a fork's step left: it uses a third
    builder.
    """
    if not (ci.is_ci or ci.is_fork):
        return ""
    if is_read_only(request, ci):
        return _READ_ONLY if _is_branch_or_tag(ci) else _STRANGERS
    return _STRANGERS if is_of_unknown_branch(request, ci) else ""


def _is_branch_or_tag(ci: CIContext) -> bool:
    """Return whether the CI says that a branch or tag of the repository is built, and no pull request."""
    is_pull = ci.pull_request or ci.target_branch
    return bool((ci.branch or ci.tag) and not (is_pull or ci.is_fork or ci.is_remote)) and ci.provider != ANY_CI.name


def own_builder_name(request: BuildRequest, ci: CIContext, facts: Facts) -> str:
    """Return a stable name for this project, engine and builder configuration; another configuration changes it.

    No name of a separate builder is one of another builder, whatever the configuration.
    """
    host = facts.tls.host if facts.tls else ""
    mark = _separation(request, ci)
    identity = (
        facts.place.project,
        request.docker_context or facts.context,
        host,
        request.driver or Driver.DOCKER_CONTAINER,
        driver_options(request, facts),
        request.buildkit_image,
        request.buildkitd_config,
        request.buildkitd_flags,
        request.endpoint,
        *buildkitd_config(plan_registries(request, facts)),
    )
    digits = hashlib.sha256(repr(identity).encode()).hexdigest()[: _DIGITS - len(mark)]
    return f"{OWN_PREFIX}{facts.place.project}-{mark}{digits}"


def is_read_only(request: BuildRequest, ci: CIContext) -> bool:
    """Return whether a build may read caches but not write them: by default, a fork's build."""
    return ci.is_fork if request.cache_read_only is None else request.cache_read_only


# Limits of the engine's own builder with the classic image store (Docker's documentation, "Build drivers").
_CLASSIC_LIMITS: tuple[tuple[Callable[[BuildRequest, CacheKind], bool], str], ...] = (
    (lambda _, kind: kind in SCOPED and not SCOPED[kind].is_in_image, "cannot export such a cache"),
    (lambda request, _: len(request.platform) > 1, "cannot build several platforms"),
    (lambda request, _: bool(request.attest), "cannot write attestations"),
    (lambda request, _: request.sbom not in ("", "false"), "cannot write an SBOM"),
    (lambda request, _: request.provenance not in ("", "false"), "cannot write provenance"),
    (lambda request, _: request.cache_compression is not None, "cannot choose the compression"),
    (lambda request, _: any("type=oci" in output for output in request.output), "cannot write an OCI archive"),
    (lambda request, _: _count_outputs(request) > 1, "has only one output a build"),
    # The engine pushes the image in its own format, which drops annotations silently (docker/buildx#2605).
    (lambda request, _: pushes(request) and _is_annotated(request), "cannot push annotations"),
)
# Limits of the engine's own builder with any image store: Buildx refuses these (``build/opt.go``).
_ENGINE_LIMITS: tuple[tuple[Callable[[BuildRequest, CacheKind], bool], str], ...] = (
    (lambda request, _: pushes_by_digest(request), "cannot push by digest"),
)


def _count_outputs(request: BuildRequest) -> int:
    """Count the outputs of the build: ``--push`` pushes an image output, or is one output more."""
    outputs = tuple(Output(spec=spec) for spec in request.output)
    return len(outputs) + (request.push and not any(each.is_image for each in outputs))


def _is_annotated(request: BuildRequest) -> bool:
    attributes = (name for output in request.output for name, _ in output_pairs(output))
    return any(values_of(request, "annotation")) or any(name.startswith("annotation") for name in attributes)


def unsupported_reason(request: BuildRequest, driver: str, store: ImageStore, kind: CacheKind) -> str:
    """Return why a builder of this driver cannot carry out the request, or the empty string."""
    if driver != Driver.DOCKER:
        return ""
    limits = (*_ENGINE_LIMITS, *(_CLASSIC_LIMITS if store is ImageStore.CLASSIC else ()))
    return next((reason for applies, reason in limits if applies(request, kind)), "")


def wants_own(request: BuildRequest, facts: Facts, kind: CacheKind) -> bool:
    """Return whether the build runs on the project's own builder rather than on an existing one."""
    if request.builder or request.driver is Driver.DOCKER:
        return False
    if request.driver or request.driver_opt or request.endpoint or request.buildkit_image:
        return True
    if request.buildkitd_config or request.buildkitd_flags or request.rm_builder:
        return True
    if facts.builder is None:
        return not _is_named_by_variable(facts)
    return bool(_own_reason(request, facts, facts.builder.driver, kind))


def _own_reason(request: BuildRequest, facts: Facts, driver: str, kind: CacheKind) -> str:
    """Return why the current builder does not do for the build; empty if it does."""
    return unsupported_reason(request, driver, facts.store, kind) or _unserved_reason(request, facts, driver, kind)


def _unserved_reason(request: BuildRequest, facts: Facts, driver: str, kind: CacheKind) -> str:
    """Return why a local folder is read much faster by a builder in a container; empty if it is not.

    No tunnel enters the engine's own builder, so that it imports the whole folder from another machine. A new builder
    costs the pull of its image, and pays with a push. An image that is loaded would be sent here and back again.
    """
    is_unserved = driver == Driver.DOCKER and bool(facts.elsewhere) and facts.endpoint.startswith(_OTHER_MACHINES)
    is_read = kind is CacheKind.LOCAL and request.lazy is not Lazy.OFF
    if is_unserved and is_read and pushes(request) and not loads(request) and not _is_named_by_variable(facts):
        return "cannot be entered by a tunnel, and would import the whole folder"
    return ""


def _is_named_by_variable(facts: Facts) -> bool:
    """Return whether Buildx' variable names the current builder, which is used unchanged, as with ``--builder``."""
    return BUILDER_VARIABLE in (facts.variables or ())


def plan_builder(request: BuildRequest, ci: CIContext, facts: Facts, kind: CacheKind) -> BuilderPlan:
    """Choose the builder and the commands that create, boot and remove it.

    Raises:
        EngineError: the builder that the user named does not exist.
        UsageError: the builder or driver that the user named cannot carry out the request.
    """
    if wants_own(request, facts, kind):
        return _own(request, ci, facts, kind)
    if request.driver is Driver.DOCKER:
        return _engine_builder(request, facts, kind)
    return _existing(request, facts, kind)


def _existing(request: BuildRequest, facts: Facts, kind: CacheKind) -> BuilderPlan:
    builder = facts.builder
    named = "--builder" if request.builder else BUILDER_VARIABLE
    if builder is None:
        raise EngineError(
            f"there is no builder named {request.builder!r}"
            if request.builder
            else f"there is no builder of the name in {BUILDER_VARIABLE}",
            code="builder-absent",
            hint=f"`docker buildx ls` lists the builders; leave out {named} to make one",
        )
    if reason := unsupported_reason(request, builder.driver, facts.store, kind):
        raise UsageError(
            f"the builder {builder.name!r} (driver {builder.driver}, {facts.store} image store) {reason}",
            code="builder-unsuitable",
            hint="leave out --builder to have a docker-container builder made",
        )
    boot = None if builder.running else BootBuilder(builder=builder.name)
    return BuilderPlan(
        name=builder.name,
        driver=builder.driver,
        why="asked for" if request.builder else "the current builder can do all that is asked",
        buildkit=builder.buildkit,
        nodes=len(builder.nodes),
        boot=boot,
    )


def _engine_builder(request: BuildRequest, facts: Facts, kind: CacheKind) -> BuilderPlan:
    if reason := unsupported_reason(request, Driver.DOCKER, facts.store, kind):
        raise UsageError(
            f"--driver docker on the {facts.store} image store {reason}",
            code="builder-unsuitable",
            hint=_another_driver(request, facts, kind),
        )
    current = facts.builder
    return BuilderPlan(
        name=request.docker_context or facts.context,
        driver=Driver.DOCKER,
        why="--driver docker: the engine's own builder",
        buildkit=current.buildkit if current and current.driver == Driver.DOCKER else UNKNOWN_VERSION,
    )


def _another_driver(request: BuildRequest, facts: Facts, kind: CacheKind) -> str:
    """Return the hint on a suitable driver; it names the containerd image store if that would help."""
    is_stores = facts.store is ImageStore.CLASSIC and not unsupported_reason(
        request, Driver.DOCKER, ImageStore.CONTAINERD, kind
    )
    other = ", or turn on the engine's containerd image store" if is_stores else ""
    return f"use --driver docker-container{other}"


def _own(request: BuildRequest, ci: CIContext, facts: Facts, kind: CacheKind) -> BuilderPlan:
    name = own_builder_name(request, ci, facts)
    driver = request.driver or Driver.DOCKER_CONTAINER
    context_name, context = _named_context(request, facts, name)
    existing = facts.own_builder
    remove: list[RemoveBuilder | RemoveContext] = [RemoveBuilder(builder=name)]
    if context or (request.rm_builder and context_name != request.docker_context):
        remove.append(RemoveContext(name=context_name))
    has_container = driver == Driver.DOCKER_CONTAINER and not request.endpoint
    return BuilderPlan(
        name=name,
        driver=driver,
        why=_why_own(request, facts, kind),
        buildkit=existing.buildkit if existing else UNKNOWN_VERSION,
        nodes=max(1, len(request.endpoint)),
        owned=True,
        context=None if existing else context,
        registries=plan_registries(request, facts),
        create=() if existing else _create(request, facts, name, driver, context_name),
        boot=BootBuilder(builder=name) if existing and not existing.running else None,
        remove=tuple(remove),
        temporary=request.rm_builder,
        halt=KillContainer(container=_container(name)) if has_container else None,
        scrap=_scrap(name) if has_container else (),
        reboot=BootBuilder(builder=name),
    )


def _why_own(request: BuildRequest, facts: Facts, kind: CacheKind) -> str:
    again = "this project's own, made earlier" if facts.own_builder else "made for this project"
    local = loopback_registries(request, facts)
    network = f"; it shares the host's network, where {', '.join(local)} is" if local else ""
    if request.driver:
        return f"{again}: --driver {request.driver}{network}"
    reason = _own_reason(request, facts, facts.builder.driver, kind) if facts.builder else ""
    why = f": the engine's builder {reason}" if reason else ", as the builder options ask"
    return f"{again}{why}{network}"


def _named_context(request: BuildRequest, facts: Facts, builder: str) -> tuple[str, CreateContext | None]:
    """Return the Docker context to create the builder in, and the effect that creates the context if it is absent.

    A context is created if TLS comes from the environment: ``buildx create`` refuses the default context then (buildx'
    ``commands/create.go``). Builders that stay share one context. A temporary builder has its own, which may exist
    already if an earlier call was killed.
    """
    if request.docker_context or facts.tls is None or facts.context != "default":
        return request.docker_context, None
    if request.endpoint or request.driver is Driver.KUBERNETES:
        return "", None
    endpoint = hashlib.sha256(repr(facts.tls).encode()).hexdigest()[:8]
    name = f"{builder}-{endpoint}" if request.rm_builder else f"{OWN_PREFIX}{endpoint}"
    if name in facts.contexts:
        return name, None
    return name, CreateContext(name=name, tls=facts.tls)


def _create(request: BuildRequest, facts: Facts, name: str, driver: str, context_name: str) -> tuple[CreateNode, ...]:
    nodes = [parse_endpoint(text) for text in request.endpoint] or [Endpoint(address=context_name)]
    image = [f"image={request.buildkit_image}"] if request.buildkit_image else []
    config = buildkitd_config(plan_registries(request, facts))
    made = str(PurePath(facts.place.cache_dir).with_name(_CONFIG_FILE.format(name)))
    return tuple(
        CreateNode(
            builder=name,
            driver="" if index else driver,
            node=node.name,
            platforms=node.platforms,
            driver_options=(
                *image,
                *driver_options(request, facts),
                *(to_csv([f"{key}={value}"]) for key, value in node.options),
            ),
            config=made if config else request.buildkitd_config,
            config_lines=config,
            config_option="--buildkitd-config" if facts.buildx >= _BUILDKITD_CONFIG else "--config",
            buildkitd_flags=request.buildkitd_flags,
            bootstrap=index == len(nodes) - 1,
            # `create` refuses an address for kubernetes: the kubeconfig names the cluster (buildx' builder/builder.go).
            address="" if driver == Driver.KUBERNETES else node.address,
        )
        for index, node in enumerate(nodes)
    )


def _scrap(name: str) -> tuple[RemoveContainer | RemoveVolume, ...]:
    container = _container(name)
    return RemoveContainer(container=container), RemoveVolume(volume=f"{container}_state")


def _container(name: str) -> str:
    """Return the container of a builder's only node; its volume's name begins so, too (``driver/docker-container``)."""
    return f"buildx_buildkit_{name}0"


def plan_loading(
    request: BuildRequest, builder: BuilderPlan, cache: CachePlan, tags: tuple[Reference, ...]
) -> LoadingPlan:
    """Decide whether the engine loads the image from a folder or from BuildKit; the loaded image is the same."""
    if not request.load or builder.driver == Driver.DOCKER:  # the engine's own builder has the image there already
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
