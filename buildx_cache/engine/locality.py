"""Decide whether the engine shares this process' host network: only then does its loopback lead here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from buildx_cache.redaction import redact


@dataclass(frozen=True, kw_only=True)
class Whereabouts:
    """Facts about the engine's machine and about this process' machine."""

    endpoint: str
    """The engine's address, such as ``unix:///var/run/docker.sock``."""
    name: str
    """The engine's host name (``docker info``: ``Name``)."""
    system: str
    """The engine's operating system (``docker info``: ``OperatingSystem``)."""
    security: tuple[str, ...] = ()
    """The engine's security options, such as ``name=rootless``."""
    own_name: str
    """This machine's host name."""
    own_platform: str
    """This machine's ``sys.platform``."""


# Products that run the engine in a virtual machine, by the start of the system's or host's name, in lower case.
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
    """Return the product, or ""; the host's name does not count if this process runs on that host."""
    said = (engine.system.lower(), "" if engine.name == engine.own_name else engine.name.lower())
    return next((product for sign, product in _VIRTUAL_MACHINES.items() for text in said if text.startswith(sign)), "")


# (applies, reason); the first rule that applies gives the reason.
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
    """Return why the engine does not share this process' host network; empty if it does.

    An engine's name is its host name (moby's ``daemon/info.go``). A job in a container that mounts the engine's socket
    has another host name.
    """
    return next((reason(engine) for applies, reason in _RULES if applies(engine)), "")
