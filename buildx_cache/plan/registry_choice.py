"""What a made builder takes over of the engine's registries: without it, a builder knows only public ones.

The engine's own builder asks an insecure registry by HTTPS without verifying its certificate, then by plain HTTP
(moby's ``daemon/hosts.go``); BuildKit does the same where both ``insecure`` and ``http`` are set
(``util/resolver/resolver.go``).
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterator, Sequence
from urllib.parse import urlsplit

from buildx_cache.plan.build_plan import RegistryPlan
from buildx_cache.plan.facts import Certificates, Facts, Registries
from buildx_cache.plan.network_choice import has_host_network, registry_hosts
from buildx_cache.redaction import redact
from buildx_cache.reference import DOCKER_HUB, is_loopback
from buildx_cache.request import BuildRequest, Driver

Words = tuple[str, ...]


def plan_registries(request: BuildRequest, facts: Facts) -> RegistryPlan:
    """Decide what a builder that is made for this request takes over; nothing where it is on no engine, or another."""
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
    """Choose what BuildKit can be configured with.

    Args:
        registries: those of the engine.
        given_config: what the user configures builders with, which decides alone; empty if nothing.
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
    """Whether a host that is an address is in a network; a name is not looked up."""
    try:
        return ipaddress.ip_address(urlsplit(f"//{host}").hostname or "") in ipaddress.ip_network(network)
    except ValueError:
        return False


def _unfit(mirror: str, *, is_on_host: bool) -> str:
    """Why BuildKit cannot use a mirror; empty if it can."""
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
    """The lines of a ``buildkitd.toml`` for what is taken over; none for nothing."""
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
    """Name the files, and in a comment what they hold: a builder is made anew where that has changed.

    Buildx copies the files into the builder (its ``util/confutil``).
    """
    if found.authorities:
        yield f"ca = {json.dumps(found.authorities)} # {found.digest}"
    if found.pairs:
        pairs = (f"{{ key = {json.dumps(key)}, cert = {json.dumps(certificate)} }}" for key, certificate in found.pairs)
        yield f"keypair = [{', '.join(pairs)}] # {found.digest}"
