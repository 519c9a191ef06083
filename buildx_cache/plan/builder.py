"""Which builder: the current one where it can do the job, else the project's own."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from buildx_cache.caches import SCOPED, CacheKind, to_csv
from buildx_cache.errors import EngineError, UsageError
from buildx_cache.plan.facts import UNKNOWN_VERSION, Facts, Store, TlsEndpoint
from buildx_cache.plan.model import BuilderPlan, Command
from buildx_cache.request import BuildRequest, Driver, Endpoint, parse_endpoint

OWN_PREFIX = "buildx-cache-"
# `create --config` was renamed in Buildx 0.15 (docker/buildx#2496); the old name still works, but warns.
_BUILDKITD_CONFIG = (0, 15, 0)


def own_builder_name(request: BuildRequest, facts: Facts) -> str:
    """A stable name for this project, engine and builder configuration: a changed one is another builder."""
    host = facts.tls.host if facts.tls else ""
    identity = (
        facts.place.project,
        request.docker_context or facts.context,
        host,
        request.driver or Driver.DOCKER_CONTAINER,
        request.driver_opt,
        request.buildkit_image,
        request.buildkitd_config,
        request.buildkitd_flags,
        request.endpoint,
    )
    return f"{OWN_PREFIX}{facts.place.project}-{hashlib.sha256(repr(identity).encode()).hexdigest()[:8]}"


# What the engine's own builder cannot do on the classic image store (Docker's documentation, "Build drivers").
_CLASSIC_LIMITS: tuple[tuple[Callable[[BuildRequest, CacheKind], bool], str], ...] = (
    (lambda _, kind: kind in SCOPED and not SCOPED[kind].is_in_image, "cannot export such a cache"),
    (lambda request, _: len(request.platform) > 1, "cannot build several platforms"),
    (lambda request, _: bool(request.attest), "cannot write attestations"),
    (lambda request, _: request.sbom not in ("", "false"), "cannot write an SBOM"),
    (lambda request, _: request.provenance not in ("", "false"), "cannot write provenance"),
    (lambda request, _: request.cache_compression is not None, "cannot choose the compression"),
    (lambda request, _: any("type=oci" in output for output in request.output), "cannot write an OCI archive"),
    (lambda request, _: len(request.output) + request.push > 1, "has only one output a build"),
)


def obstacle(request: BuildRequest, driver: str, store: Store, kind: CacheKind) -> str:
    """Why a builder of this driver cannot do what is asked, or the empty string."""
    if driver != Driver.DOCKER or store is Store.CONTAINERD:
        return ""
    return next((reason for applies, reason in _CLASSIC_LIMITS if applies(request, kind)), "")


def wants_own(request: BuildRequest, facts: Facts, kind: CacheKind) -> bool:
    """Whether the build runs on the project's own builder rather than on one that is there."""
    if request.builder or request.driver is Driver.DOCKER:
        return False
    if request.driver or request.driver_opt or request.endpoint or request.buildkit_image:
        return True
    if request.buildkitd_config or request.buildkitd_flags or request.rm_builder:
        return True
    return facts.builder is None or bool(obstacle(request, facts.builder.driver, facts.store, kind))


def plan_builder(request: BuildRequest, facts: Facts, kind: CacheKind) -> BuilderPlan:
    """Choose the builder and the commands that make, boot and remove it.

    Raises:
        EngineError: the builder asked for by name does not exist.
        UsageError: the builder or driver asked for cannot do what is asked.
    """
    if wants_own(request, facts, kind):
        return _own(request, facts, kind)
    if request.driver is Driver.DOCKER:
        return _engine_builder(request, facts, kind)
    return _existing(request, facts, kind)


def _existing(request: BuildRequest, facts: Facts, kind: CacheKind) -> BuilderPlan:
    builder = facts.builder
    if builder is None:
        raise EngineError(
            f"there is no builder named {request.builder!r}",
            hint="`docker buildx ls` lists those there are; leave out --builder to have one made",
        )
    if reason := obstacle(request, builder.driver, facts.store, kind):
        raise UsageError(
            f"the builder {builder.name!r} (driver {builder.driver}, classic image store) {reason}",
            hint="leave out --builder to have a docker-container builder made",
        )
    boot = None if builder.running else _boot(request, builder.name)
    return BuilderPlan(
        name=builder.name,
        driver=builder.driver,
        why="asked for" if request.builder else "the current builder can do all that is asked",
        buildkit=builder.buildkit,
        nodes=len(builder.nodes),
        boot=boot,
    )


def _engine_builder(request: BuildRequest, facts: Facts, kind: CacheKind) -> BuilderPlan:
    if reason := obstacle(request, Driver.DOCKER, facts.store, kind):
        raise UsageError(
            f"--driver docker on the classic image store {reason}",
            hint="use --driver docker-container, or turn on the engine's containerd image store",
        )
    current = facts.builder
    return BuilderPlan(
        name=request.docker_context or facts.context,
        driver=Driver.DOCKER,
        why="--driver docker: the engine's own builder",
        buildkit=current.buildkit if current and current.driver == Driver.DOCKER else UNKNOWN_VERSION,
    )


def _own(request: BuildRequest, facts: Facts, kind: CacheKind) -> BuilderPlan:
    name = own_builder_name(request, facts)
    driver = request.driver or Driver.DOCKER_CONTAINER
    context_name, context = _named_context(request, facts, name)
    existing = facts.own_builder
    remove = [Command(argv=docker(request, "buildx", "rm", name))]
    if context or (request.rm_builder and context_name != request.docker_context):
        remove.append(Command(argv=("context", "rm", "--force", context_name)))
    has_container = driver == Driver.DOCKER_CONTAINER and not request.endpoint
    return BuilderPlan(
        name=name,
        driver=driver,
        why=_why_own(request, facts, kind),
        buildkit=existing.buildkit if existing else UNKNOWN_VERSION,
        nodes=max(1, len(request.endpoint)),
        owned=True,
        context=None if existing else context,
        create=() if existing else _create(request, facts, name, driver, context_name),
        boot=_boot(request, name) if existing and not existing.running else None,
        remove=tuple(remove),
        temporary=request.rm_builder,
        halt=_halt(request, name) if has_container else None,
        scrap=_scrap(request, name) if has_container else (),
        reboot=_boot(request, name),
    )


def _why_own(request: BuildRequest, facts: Facts, kind: CacheKind) -> str:
    again = "this project's own, made earlier" if facts.own_builder else "made for this project"
    if request.driver:
        return f"{again}: --driver {request.driver}"
    reason = obstacle(request, facts.builder.driver, facts.store, kind) if facts.builder else ""
    return f"{again}: the engine's builder {reason}" if reason else f"{again}, as the builder options ask"


def _named_context(request: BuildRequest, facts: Facts, builder: str) -> tuple[str, Command | None]:
    """The context the builder is made in, and how to make it where TLS comes from the environment.

    ``buildx create`` refuses the default context then (buildx' ``commands/create.go``). Builders that stay share one;
    one that is removed has its own, which a killed call may have left.
    """
    if request.docker_context or facts.tls is None or facts.context != "default":
        return request.docker_context, None
    if request.endpoint or request.driver is Driver.KUBERNETES:
        return "", None
    endpoint = hashlib.sha256(repr(facts.tls).encode()).hexdigest()[:8]
    name = f"{builder}-{endpoint}" if request.rm_builder else f"{OWN_PREFIX}{endpoint}"
    if name in facts.contexts:
        return name, None
    create = ("context", "create", name, "--docker", _context_endpoint(facts.tls))
    return name, Command(argv=(*create, "--description", "made by buildx-cache"))


def _context_endpoint(tls: TlsEndpoint) -> str:
    files = [f"{key}={tls.cert_path}/{key}.pem" for key in ("ca", "cert", "key")]
    skip = [] if tls.verify else ["skip-tls-verify=true"]
    return to_csv([f"host={tls.host}", *files, *skip])


def _create(request: BuildRequest, facts: Facts, name: str, driver: str, context_name: str) -> tuple[Command, ...]:
    nodes = [parse_endpoint(text) for text in request.endpoint] or [Endpoint(address=context_name)]
    commands = []
    for index, node in enumerate(nodes):
        which = ("--append",) if index else ("--driver", driver)
        last = ("--bootstrap",) if index == len(nodes) - 1 else ()
        options = (*which, *_node_options(request, facts, node), *last)
        # `create` refuses an address for kubernetes: the kubeconfig names the cluster (buildx' builder/builder.go).
        address = (node.address,) if node.address and driver != Driver.KUBERNETES else ()
        commands.append(Command(argv=docker(request, "buildx", "create", "--name", name, *options, *address)))
    return tuple(commands)


def _node_options(request: BuildRequest, facts: Facts, node: Endpoint) -> tuple[str, ...]:
    words = ["--node", node.name] if node.name else []
    for platform in node.platforms:
        words += ["--platform", platform]
    image = [f"image={request.buildkit_image}"] if request.buildkit_image else []
    for option in (*image, *request.driver_opt, *(to_csv([f"{key}={value}"]) for key, value in node.options)):
        words += ["--driver-opt", option]
    if request.buildkitd_config:
        words += [
            "--buildkitd-config" if facts.buildx >= _BUILDKITD_CONFIG else "--config",
            request.buildkitd_config,
        ]
    if request.buildkitd_flags:
        words += ["--buildkitd-flags", request.buildkitd_flags]
    return tuple(words)


def _boot(request: BuildRequest, name: str) -> Command:
    return Command(argv=docker(request, "buildx", "inspect", "--bootstrap", name))


def _halt(request: BuildRequest, name: str) -> Command:
    return Command(argv=docker(request, "container", "kill", _container(name)))


def _scrap(request: BuildRequest, name: str) -> tuple[Command, ...]:
    words = (("container", "rm", _container(name)), ("volume", "rm", f"{_container(name)}_state"))
    return tuple(Command(argv=docker(request, *verb, "--force", what)) for *verb, what in words)


def _container(name: str) -> str:
    """The container of a builder's only node; its volume has this name too (``driver/docker-container``)."""
    return f"buildx_buildkit_{name}0"


def docker(request: BuildRequest, *words: str) -> tuple[str, ...]:
    """``words`` in the Docker context asked for: the flag wins over ``DOCKER_HOST``, the variable would not."""
    return ("--context", request.docker_context, *words) if request.docker_context else words
