"""Whether a made builder shares the host's network: a registry on loopback is to be had there alone.

A builder in a container has a loopback of its own. The engine's own builder, which a made one stands in for, has the
host's. Steps of a build run in their builder's network (BuildKit's ``util/network/netproviders``), so nothing but such
a registry makes a builder share it, and only one that the caller names: a Dockerfile could name one to have its steps
reach what listens on the host's loopback.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from buildx_cache.caches import CacheKind, from_csv, parse_export, parse_import
from buildx_cache.errors import UsageError
from buildx_cache.plan.facts import Facts
from buildx_cache.reference import is_loopback, parse_reference
from buildx_cache.request import BuildRequest, Driver, may_push_image
from buildx_cache.request.local_paths import output_pairs, outputs_of, values_of

HOST_NETWORK = "network=host"


def is_here(endpoint: str) -> bool:
    """Whether an engine is reached on this machine, be it in a virtual machine of its own."""
    url = urlsplit(endpoint)
    return url.scheme in ("unix", "npipe") or (url.scheme == "tcp" and is_loopback(url.netloc.rpartition("@")[2]))


def driver_options(request: BuildRequest, facts: Facts) -> tuple[str, ...]:
    """The options that a builder is made with: those asked for, and the host's network where it takes that."""
    return (*request.driver_opt, HOST_NETWORK) if loopback_registries(request, facts) else request.driver_opt


def loopback_registries(request: BuildRequest, facts: Facts) -> tuple[str, ...]:
    """The registries for whose sake a made builder shares the host's network; none where it does not."""
    is_container = (request.driver or Driver.DOCKER_CONTAINER) is Driver.DOCKER_CONTAINER
    if not is_container or request.endpoint or "network" in _options(request) or not is_here(facts.endpoint):
        return ()
    return () if request.loopback_of_file else tuple(filter(is_loopback, named_hosts(request)))


def has_host_network(request: BuildRequest, facts: Facts) -> bool:
    """Whether a builder that is made shares the host's network."""
    return _options(request).get("network") == "host" or bool(loopback_registries(request, facts))


def _options(request: BuildRequest) -> dict[str, str]:
    return dict(pair for word in request.driver_opt for pair in from_csv(word, option="--driver-opt"))


def registry_hosts(request: BuildRequest, facts: Facts) -> tuple[str, ...]:
    """The registries that a build of this request reads or writes, as far as they are known before it."""
    return tuple(dict.fromkeys((*named_hosts(request), *filter(None, map(_host, facts.place.images)))))


def named_hosts(request: BuildRequest) -> tuple[str, ...]:
    """The registries that the options name."""
    is_beside = may_push_image(request) or request.cache in (CacheKind.REGISTRY, CacheKind.INLINE)
    outputs = (dict(output_pairs(text)).get("name", "") for text in outputs_of(request))
    named = (
        *(values_of(request, "tag") if is_beside else ()),
        *(name for names in outputs for name in names.split(",")),
        request.cache_ref,
        *(_cache_reference(text) for text in (*request.cache_from, *request.cache_to)),
    )
    return tuple(dict.fromkeys(filter(None, map(_host, named))))


def _cache_reference(text: str) -> str:
    for parse in (parse_import, parse_export):
        try:
            return parse(text).get("ref")
        except UsageError:
            continue
    return ""


def _host(reference: str) -> str:
    """The host of a reference, or of a tag's template; empty if it names none."""
    head, slash, _ = reference.partition("/")
    try:
        return parse_reference(f"{head}{slash}x").host if slash else ""
    except UsageError:
        return ""
