"""Whether the engine's host network is this process' own: only then does its loopback lead here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from buildx_cache.redaction import redact


@dataclass(frozen=True, kw_only=True)
class Whereabouts:
    """What an engine says of the machine it runs on, and what this process knows of its machine."""

    endpoint: str
    """The address by which it is reached."""
    name: str
    """The engine's host name (``docker info``: ``Name``)."""
    system: str
    """Its operating system, as it calls it."""
    security: tuple[str, ...] = ()
    """Its security options, such as ``name=rootless``."""
    own_name: str
    own_platform: str
    """This machine's, as ``sys.platform`` has it."""


# Products that keep the engine in a virtual machine, by how the name of its system or host begins, in lower case.
_VIRTUAL_MACHINES = {
    "docker desktop": "Docker Desktop",
    "docker-desktop": "Docker Desktop",
    "rancher desktop": "Rancher Desktop",
    "rancher-desktop": "Rancher Desktop",
    "lima-rancher-desktop": "Rancher Desktop",
    "orbstack": "OrbStack",
    "colima": "Colima",
    "lima-": "Lima",
}


def _product(engine: Whereabouts) -> str:
    """Return the product; a host's name tells none where this process is on that host."""
    said = (engine.system.lower(), "" if engine.name == engine.own_name else engine.name.lower())
    return next((product for sign, product in _VIRTUAL_MACHINES.items() for text in said if text.startswith(sign)), "")


# The first that applies is the reason.
_RULES: tuple[tuple[Callable[[Whereabouts], object], Callable[[Whereabouts], str]], ...] = (
    (
        lambda engine: not engine.endpoint.startswith("unix://"),
        lambda engine: f"the engine is at {redact(engine.endpoint)}",
    ),
    (_product, lambda engine: f"{_product(engine)} keeps the engine in a virtual machine"),
    (lambda engine: engine.own_platform != "linux", lambda _: "the engine is in a virtual machine"),
    (lambda engine: "name=rootless" in engine.security, lambda _: "the engine is rootless: its network is its own"),
    (
        lambda engine: engine.name != engine.own_name,
        lambda engine: f"the engine's host is {engine.name!r}, and this is {engine.own_name!r}",
    ),
)


def elsewhere(engine: Whereabouts) -> str:
    """Why the engine's host network is not this process' own, in words; empty where it is.

    An engine's name is its host's (moby's ``daemon/info.go``): a job in a container with the engine's socket mounted
    in has another host name.
    """
    return next((reason(engine) for applies, reason in _RULES if applies(engine)), "")
