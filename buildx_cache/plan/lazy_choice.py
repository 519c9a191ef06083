"""Whether BuildKit is handed local folders through a registry of this program's, and where it finds that.

BuildKit pulls and extracts every layer of the chain that it finds in a folder (``type=local``); of what a registry has
it reads only what it needs. A registry on loopback is plain HTTP to BuildKit by itself (``util/resolver``); on a Docker
network's gateway, ``registry.insecure`` makes it so, for this one import and without a word in the builder's
configuration (``cache/remotecache/registry``). A gateway's address is there for the containers of this host; the host's
network would take the builder out of its own, so a builder is left in the one it has.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from buildx_cache.caches import CacheEntry, from_csv
from buildx_cache.plan.build_plan import BuilderPlan, ServingPlan
from buildx_cache.plan.facts import Builder, Facts
from buildx_cache.redaction import redact
from buildx_cache.request import BuildRequest, Driver, Lazy

HOST = "host"
_BRIDGE = "bridge"
_PROXY = "env.http_proxy"
_NO_GATEWAY = ("none", "container:")


def plan_serving(
    request: BuildRequest, facts: Facts, builder: BuilderPlan, imports: Sequence[CacheEntry]
) -> ServingPlan:
    """Decide whether the builder can reach a registry of this process'. ``--lazy on`` has it tried in any case."""
    if not any(entry.folder for entry in imports):
        return ServingPlan()
    if request.lazy is Lazy.OFF:
        return ServingPlan(why="--lazy off")
    network = _network(request, facts, builder)
    if request.lazy is Lazy.ON:
        return ServingPlan(network=network or HOST, why="--lazy on")
    obstacle = _obstacle(request, facts, builder, network)
    if obstacle:
        return ServingPlan(why=obstacle)
    where = "shares this host's network" if network == HOST else f"reaches this host by Docker's network {network!r}"
    return ServingPlan(network=network, why=f"the builder {where}")


def shares_loopback(request: BuildRequest, facts: Facts, builder: BuilderPlan) -> bool:
    """Tell whether a host's own address leads the builder where it leads this process, as far as that is known."""
    is_here = not facts.elsewhere and not _foreign_endpoint(request, facts, builder)
    return is_here and _network(request, facts, builder) == HOST


def _obstacle(request: BuildRequest, facts: Facts, builder: BuilderPlan, network: str) -> str:
    """Why the builder does not reach this process, or cannot be known to; empty if it does."""
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
    """The endpoint of a builder on another engine than the one asked about; empty if it is that one's."""
    same = ("", facts.context, facts.endpoint, request.docker_context)
    if builder.driver == Driver.DOCKER:
        return "" if builder.name in same else builder.name  # it has its context's name
    there = _there(facts, builder)
    endpoints = [node.endpoint for node in there.nodes] if there else list(request.endpoint)
    return next((each for each in endpoints if each not in same), "")


def _network(request: BuildRequest, facts: Facts, builder: BuilderPlan) -> str:
    """The network of the builder: the engine's own is the host's; empty where a container is in none of Docker's."""
    if builder.driver != Driver.DOCKER_CONTAINER:
        return HOST
    network = _options(request, facts, builder).get("network") or _BRIDGE
    return "" if network.startswith(_NO_GATEWAY) else network


def _has_proxy(request: BuildRequest, facts: Facts, builder: BuilderPlan) -> bool:
    """Whether BuildKit's plain HTTP goes to a proxy, which only loopback never does (Go's ``net/http``)."""
    return any(name.lower() == _PROXY and value for name, value in _options(request, facts, builder).items())


def _there(facts: Facts, builder: BuilderPlan) -> Builder | None:
    """The builder if it exists already."""
    return facts.own_builder if builder.owned else facts.builder


def _options(request: BuildRequest, facts: Facts, builder: BuilderPlan) -> Mapping[str, str]:
    """The driver's options: those that the builder has, or is to be made with; one word may hold several."""
    if (there := _there(facts, builder)) and there.nodes:
        return dict(there.nodes[0].options)
    words = builder.create[0].driver_options if builder.create else request.driver_opt
    return dict(pair for word in words for pair in from_csv(word, option="--driver-opt"))
