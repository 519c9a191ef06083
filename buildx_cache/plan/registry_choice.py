"""What a made builder takes over of the engine's registries: without it, a builder knows only public ones.

The engine's own builder asks an insecure registry by HTTPS without verifying its certificate, then by plain HTTP
(moby's ``daemon/hosts.go``); BuildKit does the same where both ``insecure`` and ``http`` are set
(``util/resolver/resolver.go``).
"""

from __future__ import annotations

import json
from urllib.parse import urlsplit

from buildx_cache.plan.build_plan import RegistryPlan
from buildx_cache.plan.facts import Facts, Registries
from buildx_cache.redaction import redact
from buildx_cache.reference import DOCKER_HUB
from buildx_cache.request import BuildRequest, Driver

Words = tuple[str, ...]


def plan_registries(request: BuildRequest, facts: Facts) -> RegistryPlan:
    """Decide what a builder that is made for this request takes over; nothing where it is on no engine, or another."""
    if request.endpoint or (request.driver or Driver.DOCKER_CONTAINER) is not Driver.DOCKER_CONTAINER:
        return RegistryPlan()
    return take_over(facts.registries, _given_config(request, facts))


def take_over(registries: Registries, given_config: str = "") -> RegistryPlan:
    """Choose what BuildKit can be configured with.

    Args:
        registries: those of the engine.
        given_config: what the user configures builders with, which decides alone; empty if nothing.
    """
    if registries == Registries():
        return RegistryPlan()
    if given_config:
        return RegistryPlan(left_out=(f"its registries, as {given_config} decides",))
    networks = (f"the insecure network {network}: BuildKit takes hosts" for network in registries.insecure_networks)
    mirrors = {mirror: _unfit(mirror) for mirror in registries.mirrors}
    return RegistryPlan(
        insecure=registries.insecure,
        mirrors=tuple(mirror for mirror, reason in mirrors.items() if not reason),
        left_out=(
            *networks,
            *(f"the mirror {redact(mirror)}: {reason}" for mirror, reason in mirrors.items() if reason),
        ),
    )


def _given_config(request: BuildRequest, facts: Facts) -> str:
    if request.buildkitd_config:
        return "--buildkitd-config"
    if "--config" in request.buildkitd_flags:
        return "--buildkitd-flags"
    return facts.default_config


def _unfit(mirror: str) -> str:
    """Why BuildKit cannot use a mirror; empty if it can."""
    try:
        url = urlsplit(mirror)
    except ValueError:
        return "it is no address"
    if url.scheme not in ("http", "https") or not url.netloc or "@" in url.netloc:
        return "it is no address"
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
    for host in registries.insecure:
        tables[host] = [*tables.get(host, []), "http = true", "insecure = true"]
        tables[host] = list(dict.fromkeys(tables[host]))
    return tuple(line for host, lines in tables.items() for line in (f"[registry.{json.dumps(host)}]", *lines))
