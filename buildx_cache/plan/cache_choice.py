"""Choose the cache: its kind, its scope, its imports and exports, and whether folders are served as a registry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from buildx_cache.caches.backend import CacheKind, CacheMode, ExportStyle, Location, ScopedBackend, from_csv
from buildx_cache.caches.entry import SCOPED, CacheEntry, ScopedCache
from buildx_cache.caches.parsing import parse_export, parse_import
from buildx_cache.ci import CIContext
from buildx_cache.errors import UsageError
from buildx_cache.plan.build_plan import BuilderPlan, CachePlan, Container, Pods, ServingPlan
from buildx_cache.plan.builder_choice import is_read_only, unsupported_reason, wants_own
from buildx_cache.plan.facts import UNKNOWN_VERSION, Builder, Facts, Node
from buildx_cache.plan.scopes import Scopes, check_apart, folder_tags, is_unplaced, plan_scopes, references
from buildx_cache.redaction import redact
from buildx_cache.reference import Reference, is_loopback, parse_reference
from buildx_cache.request.build_request import BuildRequest, Driver, Lazy
from buildx_cache.request.options import parse_size
from buildx_cache.request.outputs import pushes

HOST = "host"
_BRIDGE = "bridge"
_PROXY = "env.http_proxy"
_NO_GATEWAY = ("none", "container:")
_TUNNELS = {
    Driver.DOCKER_CONTAINER: "a tunnel through Docker's API leads here",
    Driver.KUBERNETES: "a tunnel by kubectl exec leads here",
}


def plan_serving(
    request: BuildRequest, facts: Facts, builder: BuilderPlan, entries: Sequence[CacheEntry], *, is_ci: bool
) -> ServingPlan:
    """Decide whether and how to serve local folders; ``--lazy on`` serves them even if the builder may not reach them.

    If no network leads from the builder to this process, tunnels through Docker's API do, into any containers. So they
    do in a CI where others share the network, on which plain HTTP is spoken: BuildKit gives steps the network of its
    container and raw sockets, and compares no digest of a cache's manifest.
    """
    if not any(entry.folder for entry in entries):
        return ServingPlan()
    if request.lazy is Lazy.OFF:
        return ServingPlan(why="--lazy off")
    network = _network(request, facts, builder)
    obstacle = _unreachable_reason(request, facts, builder, network)
    tunnels = _tunnels(request, facts, builder) if obstacle else ()
    if request.lazy is Lazy.ON:
        return ServingPlan(network="" if tunnels else network or HOST, tunnels=tunnels, why="--lazy on")
    if obstacle:
        way = f"; {_TUNNELS[Driver(builder.driver)]}" if tunnels else ""
        return ServingPlan(tunnels=tunnels, why=f"{obstacle}{way}")
    tunnels_if_shared = _tunnels(request, facts, builder) if is_ci and network != HOST else ()
    where = "shares this host's network" if network == HOST else f"reaches this host by Docker's network {network!r}"
    return ServingPlan(network=network, tunnels_if_shared=tunnels_if_shared, why=f"the builder {where}")


def shares_loopback(request: BuildRequest, facts: Facts, builder: BuilderPlan) -> bool:
    """Return whether a loopback address is known to be the same host for the builder and for this process."""
    is_here = not facts.elsewhere and not _foreign_endpoint(request, facts, builder)
    return is_here and _network(request, facts, builder) == HOST


def is_near(request: BuildRequest, builder: BuilderPlan) -> bool:
    """Return whether the builder is known to reach the registries that this host reaches, and no others.

    A registry may accept a builder on another host and refuse this one.
    """
    return builder.driver in (Driver.DOCKER, Driver.DOCKER_CONTAINER) and not request.endpoint


def _is_asked(request: BuildRequest, facts: Facts, builder: BuilderPlan, entry: CacheEntry) -> bool:
    """Return whether this host asks an import's registry for the time of its newest step."""
    if entry.folder or not is_near(request, builder):
        return False
    return shares_loopback(request, facts, builder) or not is_loopback(parse_reference(entry.place).registry_host)


def _unreachable_reason(request: BuildRequest, facts: Facts, builder: BuilderPlan, network: str) -> str:
    """Return why the builder cannot reach this process, or may not; empty if it can."""
    endpoint = _foreign_endpoint(request, facts, builder)
    reasons: tuple[tuple[bool, str], ...] = (
        (builder.driver not in (Driver.DOCKER, Driver.DOCKER_CONTAINER), f"a {builder.driver} builder may be anywhere"),
        (builder.nodes > 1, "the builder has several nodes"),
        (bool(facts.elsewhere), facts.elsewhere),
        (bool(endpoint), f"the builder is at {redact(endpoint)}"),
        (not network, "the builder's container has no network of Docker's"),
        (network != HOST and _has_proxy(request, facts, builder), "the builder sends its requests through a proxy"),
    )
    return next((reason for applies, reason in reasons if applies), "")


def _foreign_endpoint(request: BuildRequest, facts: Facts, builder: BuilderPlan) -> str:
    """Return the endpoint of a builder on another engine than this call's; empty if it is on the same engine."""
    if builder.driver == Driver.DOCKER:
        return _foreign(builder.name, request, facts)  # this builder has the name of its Docker context
    return next(filter(None, (_foreign(node.endpoint, request, facts) for node in _nodes(facts, builder))), "")


def _foreign(endpoint: str, request: BuildRequest, facts: Facts) -> str:
    """Return the endpoint, or the empty string if it is this call's engine."""
    return "" if endpoint in ("", facts.context, facts.endpoint, request.docker_context) else endpoint


def _tunnels(request: BuildRequest, facts: Facts, builder: BuilderPlan) -> tuple[Container | Pods, ...]:
    """Return where tunnels have to lead for each node of the builder to have one; none if nothing can be entered.

    The nodes on one engine that share its host's network share a tunnel, too.
    """
    if builder.driver == Driver.KUBERNETES:
        return (Pods(builder=builder.name),)
    if builder.driver != Driver.DOCKER_CONTAINER:
        return ()
    # The name is of buildx' driver/docker-container.
    found = [
        (Container(name=f"buildx_buildkit_{node.name}", endpoint=_foreign(node.endpoint, request, facts)), node)
        for node in _nodes(facts, builder)
    ]
    networks = {
        (each.endpoint, "" if dict(node.options).get("network") == HOST else each.name): each for each, node in found
    }
    return tuple(networks.values())


def _nodes(facts: Facts, builder: BuilderPlan) -> tuple[Node, ...]:
    """Return the nodes of a builder, existing or planned."""
    if there := _there(facts, builder):
        return there.nodes
    return tuple(
        Node(
            name=node.node or f"{builder.name}{index}",
            endpoint=node.address,
            options=tuple(pair for word in node.driver_options for pair in from_csv(word, option="--driver-opt")),
        )
        for index, node in enumerate(builder.create)
    )


def _network(request: BuildRequest, facts: Facts, builder: BuilderPlan) -> str:
    """Return the builder's network: ``host`` for the engine's own builder; empty if its container has no network."""
    if builder.driver != Driver.DOCKER_CONTAINER:
        return HOST
    network = _options(request, facts, builder).get("network") or _BRIDGE
    return "" if network.startswith(_NO_GATEWAY) else network


def _has_proxy(request: BuildRequest, facts: Facts, builder: BuilderPlan) -> bool:
    """Return whether BuildKit uses a proxy for plain HTTP; Go's ``net/http`` excepts only loopback."""
    return any(name.lower() == _PROXY and value for name, value in _options(request, facts, builder).items())


def _there(facts: Facts, builder: BuilderPlan) -> Builder | None:
    """Return the builder if it exists already."""
    return facts.own_builder if builder.owned else facts.builder


def _options(request: BuildRequest, facts: Facts, builder: BuilderPlan) -> Mapping[str, str]:
    """Return the driver options of the builder, existing or planned; one word on the command line may hold several."""
    if nodes := _nodes(facts, builder):
        return dict(nodes[0].options)
    return dict(pair for word in request.driver_opt for pair in from_csv(word, option="--driver-opt"))


# BuildKit writes image manifests by itself since 0.21 (moby/buildkit#5462).
_IMAGE_MANIFEST_BY_DEFAULT = (0, 21, 0)


def choose_kind(request: BuildRequest, facts: Facts, tags: tuple[Reference, ...]) -> tuple[CacheKind, str]:
    """Return the kind of cache and why; ``auto`` depends on the image's destination and the builder's abilities."""
    if request.cache is not CacheKind.AUTO:
        return request.cache, f"--cache {request.cache}"
    wanted, why = _by_destination(request, tags)
    if wants_own(request, facts, wanted):
        return wanted, why
    name, driver = _given_builder(request, facts)
    reason = unsupported_reason(request, driver, facts.store, wanted)
    if not reason:
        return wanted, why
    return CacheKind.INLINE if pushes(request) else CacheKind.NONE, f"the builder {name!r} {reason}"


def _given_builder(request: BuildRequest, facts: Facts) -> tuple[str, str]:
    """Return name and driver of the builder that is used unchanged; the driver is empty if it does not exist."""
    if request.driver is Driver.DOCKER:
        return request.docker_context or facts.context, Driver.DOCKER
    return (facts.builder.name, facts.builder.driver) if facts.builder else (request.builder, "")


def _by_destination(request: BuildRequest, tags: tuple[Reference, ...]) -> tuple[CacheKind, str]:
    if not (pushes(request) or request.push_auto):
        return CacheKind.LOCAL, "the image is not pushed"
    if request.cache_ref or any(tag.host or "/" in tag.path for tag in tags):
        return (
            CacheKind.REGISTRY,
            f"the image is pushed{'' if pushes(request) else ' elsewhere'}, and its cache beside it",
        )
    return CacheKind.LOCAL, "no tag names a registry or namespace to keep a cache in"


def cache_platforms(request: BuildRequest, builder: BuilderPlan, backend: ScopedBackend) -> tuple[str, ...]:
    """Return the platforms that have separate caches; one empty name if all share one cache.

    Several platforms on several nodes would overwrite each other's export. A build of a single platform is probably one
    of several jobs, which share a repository but not a cache folder.
    """
    if len(request.platform) > 1:
        return request.platform if builder.nodes > 1 and backend.is_overwritten else ("",)
    return (request.platform if backend.is_shared else ()) or ("",)


def plan_cache(
    request: BuildRequest,
    ci: CIContext,
    facts: Facts,
    builder: BuilderPlan,
    chosen: tuple[CacheKind, str],
    tags: tuple[Reference, ...],
) -> CachePlan:
    """Return the cache plan for the kind of cache that ``choose_kind`` chose.

    Raises:
        UsageError: ``registry`` or ``inline`` without a repository to write to.
    """
    kind, why = chosen
    scopes = plan_scopes(request, ci, facts)
    read_only = is_read_only(request, ci)
    image = request.cache_ref or _beside(tags)
    found = references(ci, facts, image, scopes) if image else ()
    if found and kind in SCOPED and not SCOPED[kind].is_folder:
        check_apart(request.cache_ref, found[0], tags)
    place = _location(request, facts, builder, kind, scopes, found)
    caches = _caches(request, builder, kind, place)
    exports = _exports(request, caches) if not (read_only or is_unplaced(request, ci, kind)) else ()
    extra = tuple(_forgiving(request, parse_export(text)) for text in request.cache_to) if not read_only else ()
    apart = tuple(cache.platform for cache in caches) if len(caches) > 1 else ()
    named = tuple(parse_import(text) for text in request.cache_from)
    imports = _unique(*(entry for cache in caches for entry in cache.imports()), *named)
    exported = _local_last(_unique(*(() if apart else exports), *extra))
    groups = (tuple(entry for entry in _unique(*cache.imports()) if entry not in named) for cache in caches)
    fallbacks = tuple(group for group in groups if len(group) > 1)
    return CachePlan(
        kind=kind,
        why=why,
        scope=scopes.names[0],
        read_only=read_only,
        directory=caches[0].location.directory if caches else "",
        imports=imports,
        exports=exported,
        node_exports=tuple(zip(apart, exports, strict=True)) if apart and exports else (),
        tags=tuple(cache.image for cache in caches if cache.image and exports),
        serving=plan_serving(request, facts, builder, (*imports, *exported), is_ci=ci.is_ci),
        fallbacks=fallbacks,
        asked=tuple(entry for group in fallbacks for entry in group if _is_asked(request, facts, builder, entry)),
        left_out=_left_out(facts, _unique(*imports, *exported)),
        max_size=parse_size(request.cache_max_size),
    )


def _left_out(facts: Facts, entries: tuple[CacheEntry, ...]) -> tuple[tuple[CacheEntry, str], ...]:
    if facts.variables is None:
        return ()
    return tuple((entry, missing) for entry in entries if (missing := entry.missing(facts.variables)))


def _caches(
    request: BuildRequest, builder: BuilderPlan, kind: CacheKind, place: Location | None
) -> tuple[ScopedCache, ...]:
    """Return the caches that ``--cache`` chooses, one for each separate platform (:func:`cache_platforms`)."""
    if place is None:
        return ()
    backend = SCOPED[kind]
    return tuple(
        ScopedCache(backend=backend, location=place, platform=name)
        for name in cache_platforms(request, builder, backend)
    )


def _location(
    request: BuildRequest,
    facts: Facts,
    builder: BuilderPlan,
    kind: CacheKind,
    scopes: Scopes,
    found: tuple[Reference, ...],
) -> Location | None:
    """Return the cache's location; None without a cache, and for an inline cache of an image without a name."""
    backend = SCOPED.get(kind)
    if backend is None or (backend.is_in_image and not found):
        return None
    if backend.is_folder:
        return Location(directory=request.cache_dir or facts.place.cache_dir, tags=folder_tags(request, scopes))
    if not found:
        raise UsageError(
            f"--cache {backend.type} has no repository to keep the cache in",
            code="cache-ref-missing",
            hint="give -t REGISTRY/REPOSITORY:TAG, or --cache-ref REGISTRY/REPOSITORY",
        )
    return Location(
        repository=found,
        asks_image_manifest=builder.buildkit == UNKNOWN_VERSION or builder.buildkit < _IMAGE_MANIFEST_BY_DEFAULT,
    )


def _beside(tags: tuple[Reference, ...]) -> str:
    """Return the repository of the first tag that names a registry, else of the first tag."""
    named = (*(tag for tag in tags if tag.host), *tags)
    return named[0].repository if named else ""


def _exports(request: BuildRequest, caches: tuple[ScopedCache, ...]) -> tuple[CacheEntry, ...]:
    style = ExportStyle(
        mode=request.cache_mode or CacheMode.MAX,
        compression=request.cache_compression,
        ignore_error=not request.strict_cache,
    )
    written = (cache for cache in caches if pushes(request) or not cache.backend.is_in_image)
    return tuple(entry for cache in written for entry in cache.exports(style))


def _forgiving(request: BuildRequest, entry: CacheEntry) -> CacheEntry:
    """Add ``ignore-error`` to an export of ``--cache-to``, unless it is set or the call is strict."""
    if request.strict_cache or entry.get("ignore-error") or "ignore-error" not in entry.backend.export_attributes:
        return entry
    return replace(entry, attributes=(*entry.attributes, ("ignore-error", "true")))


def _local_last(entries: tuple[CacheEntry, ...]) -> tuple[CacheEntry, ...]:
    """Sort local exports to the end.

    All cache exporters of a build write to one key of the response; Buildx puts the last value into the folder's index.
    """
    return tuple(sorted(entries, key=lambda entry: bool(entry.folder)))


def _unique(*entries: CacheEntry) -> tuple[CacheEntry, ...]:
    return tuple(dict.fromkeys(entries))
