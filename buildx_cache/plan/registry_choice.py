"""Choose the engine's registry settings for a new builder, and whether the builder shares the host's network."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterator, Sequence
from urllib.parse import urlsplit

from buildx_cache.caches.backend import CacheKind, from_csv
from buildx_cache.caches.parsing import parse_export, parse_import
from buildx_cache.errors import UsageError
from buildx_cache.plan.build_plan import RegistryPlan
from buildx_cache.plan.facts import Certificates, Facts, Registries
from buildx_cache.redaction import redact
from buildx_cache.reference import DOCKER_HUB, is_loopback, parse_reference
from buildx_cache.request.build_request import BuildRequest, Driver
from buildx_cache.request.local_paths import output_pairs, outputs_of, values_of
from buildx_cache.request.trust import may_push_image

HOST_NETWORK = "network=host"


def is_here(endpoint: str) -> bool:
    """Return whether an engine's address is on this machine; the engine may run in a virtual machine there."""
    url = urlsplit(endpoint)
    return url.scheme in ("unix", "npipe") or (url.scheme == "tcp" and is_loopback(url.netloc.rpartition("@")[2]))


def driver_options(request: BuildRequest, facts: Facts) -> tuple[str, ...]:
    """Return the driver options of a new builder: the requested ones, and the host's network if that is needed."""
    return (*request.driver_opt, HOST_NETWORK) if loopback_registries(request, facts) else request.driver_opt


def loopback_registries(request: BuildRequest, facts: Facts) -> tuple[str, ...]:
    """Return the registries on loopback that make a new builder share the host's network; none if it does not."""
    is_container = (request.driver or Driver.DOCKER_CONTAINER) is Driver.DOCKER_CONTAINER
    if not is_container or request.endpoint or "network" in _options(request) or not is_here(facts.endpoint):
        return ()
    return tuple(filter(is_loopback, _trusted_hosts(request)))


def has_host_network(request: BuildRequest, facts: Facts) -> bool:
    """Return whether a new builder shares the host's network."""
    return _options(request).get("network") == "host" or bool(loopback_registries(request, facts))


def _options(request: BuildRequest) -> dict[str, str]:
    return dict(pair for word in request.driver_opt for pair in from_csv(word, option="--driver-opt"))


def registry_hosts(request: BuildRequest, facts: Facts) -> tuple[str, ...]:
    """Return the registries that are known to be used by a build of this request."""
    return tuple(dict.fromkeys((*_trusted_hosts(request), *filter(None, map(_host, facts.place.images)))))


def _trusted_hosts(request: BuildRequest) -> tuple[str, ...]:
    """Return the registries that the options name and that may shape a builder."""
    return tuple(host for host in named_hosts(request) if host not in request.untrusted_hosts)


def named_hosts(request: BuildRequest) -> tuple[str, ...]:
    """Return the registries that the options name."""
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
    """Return the host of a reference, or of a tag's template; empty if it names none."""
    head, slash, _ = reference.partition("/")
    try:
        return parse_reference(f"{head}{slash}x").host if slash else ""
    except UsageError:
        return ""


Words = tuple[str, ...]


def plan_registries(request: BuildRequest, facts: Facts) -> RegistryPlan:
    """Choose the engine's registry settings for a new builder; none unless it runs in a container of this engine."""
    if request.endpoint or (request.driver or Driver.DOCKER_CONTAINER) is not Driver.DOCKER_CONTAINER:
        return RegistryPlan()
    return take_over(
        facts.registries,
        _given_config(request, facts),
        hosts=registry_hosts(request, facts),
        is_on_host=has_host_network(request, facts),
    )


def take_over(
    registries: Registries, given_config: str = "", *, hosts: Sequence[str] = (), is_on_host: bool = False
) -> RegistryPlan:
    """Choose the settings that BuildKit supports.

    Args:
        registries: the engine's settings.
        given_config: the option or file with the user's configuration of builders, which then decides alone; or "".
        hosts: the registries that the build is known to use.
        is_on_host: whether the builder shares the host's network.
    """
    if registries == Registries():
        return RegistryPlan()
    if given_config:
        return RegistryPlan(left_out=(f"its registries, as {given_config} decides",))
    networks = (f"the insecure network {each}: BuildKit knows only hosts" for each in registries.insecure_networks)
    mirrors = {mirror: _unfit(mirror, is_on_host=is_on_host) for mirror in registries.mirrors}
    unread = (each for each in registries.certificates if each.unreadable)
    inside = (host for host in hosts if any(_is_in(host, network) for network in registries.insecure_networks))
    return RegistryPlan(
        insecure=tuple(dict.fromkeys((*registries.insecure, *inside))),
        mirrors=tuple(mirror for mirror, reason in mirrors.items() if not reason),
        certificates=tuple(each for each in registries.certificates if not each.unreadable),
        left_out=(
            *networks,
            *(f"the certificates for {each.host}: {each.unreadable}" for each in unread),
            *(f"the mirror {redact(mirror)}: {reason}" for mirror, reason in mirrors.items() if reason),
        ),
    )


def _given_config(request: BuildRequest, facts: Facts) -> str:
    if request.buildkitd_config:
        return "--buildkitd-config"
    if "--config" in request.buildkitd_flags:
        return "--buildkitd-flags"
    return facts.default_config


def _is_in(host: str, network: str) -> bool:
    """Return whether a host, given as an address, is in a network; names are not resolved."""
    try:
        return ipaddress.ip_address(urlsplit(f"//{host}").hostname or "") in ipaddress.ip_network(network)
    except ValueError:
        return False


def _unfit(mirror: str, *, is_on_host: bool) -> str:
    """Return why BuildKit cannot use a mirror; empty if it can."""
    try:
        url = urlsplit(mirror)
    except ValueError:
        return "it is no address"
    if url.scheme not in ("http", "https") or not url.netloc or "@" in url.netloc:
        return "it is no address"
    if is_loopback(url.netloc) and not is_on_host:
        return "it is on the host's loopback, which a builder shares with --driver-opt network=host"
    return "BuildKit looks for a mirror's path elsewhere than Docker" if url.path.strip("/") else ""


def buildkitd_config(registries: RegistryPlan) -> Words:
    """Return the lines of a ``buildkitd.toml`` with these settings; none if there are no settings."""
    urls = [urlsplit(mirror) for mirror in registries.mirrors]
    tables: dict[str, list[str]] = {}
    if urls:
        tables[DOCKER_HUB] = [f"mirrors = {json.dumps([url.netloc for url in urls])}"]
    for url in urls:
        if url.scheme == "http":
            tables.setdefault(url.netloc, ["http = true"])
    for each in registries.certificates:
        tables.setdefault(each.host, []).extend(_certificate_lines(each))
    for host in registries.insecure:
        tables[host] = [*tables.get(host, []), "http = true", "insecure = true"]
        tables[host] = list(dict.fromkeys(tables[host]))
    return tuple(line for host, lines in tables.items() for line in (f"[registry.{json.dumps(host)}]", *lines))


def _certificate_lines(found: Certificates) -> Iterator[str]:
    """Yield the lines that name a registry's certificates; a comment has the digest of their content.

    Buildx copies the files into the builder (``util/confutil``). Changed files change the digest, and so the builder's
    name: a new builder is created.
    """
    if found.authorities:
        yield f"ca = {json.dumps(found.authorities)} # {found.digest}"
    if found.pairs:
        pairs = (f"{{ key = {json.dumps(key)}, cert = {json.dumps(certificate)} }}" for key, certificate in found.pairs)
        yield f"keypair = [{', '.join(pairs)}] # {found.digest}"
