"""Define the facts that a plan or ``doctor`` depends on: Docker, Buildx, builders, registries, logins, paths."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

Version = tuple[int, int, int]
UNKNOWN_VERSION: Version = (0, 0, 0)
_VERSION = re.compile(r"(\d+)\.(\d+)(?:\.(\d+))?")


class ImageStore(StrEnum):
    """An engine's image store; only the containerd store can export every kind of cache."""

    CONTAINERD = "containerd"
    CLASSIC = "classic"


@dataclass(frozen=True, kw_only=True)
class Node:
    """One BuildKit daemon of a builder."""

    name: str
    endpoint: str = ""
    status: str = ""
    buildkit: Version = UNKNOWN_VERSION
    platforms: tuple[str, ...] = ()
    options: tuple[tuple[str, str], ...] = ()
    """Driver options, such as ``("network", "host")``."""


@dataclass(frozen=True, kw_only=True)
class Bridge:
    """A Docker network of this host's.

    Containers reach this host at ``gateway``, a numerical address; empty if the network has no gateway.
    ``containers`` are the names of the containers on the network.
    """

    gateway: str = ""
    containers: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True)
class Builder:
    """A Buildx builder that exists."""

    name: str
    driver: str
    nodes: tuple[Node, ...] = ()

    @property
    def running(self) -> bool:
        """Whether every node runs."""
        return bool(self.nodes) and all(node.status == "running" for node in self.nodes)

    @property
    def buildkit(self) -> Version:
        """Return the oldest BuildKit version of the nodes; ``(0, 0, 0)`` if one is unknown."""
        return min((node.buildkit for node in self.nodes), default=UNKNOWN_VERSION)


@dataclass(frozen=True, kw_only=True)
class TlsEndpoint:
    """An engine from ``DOCKER_HOST`` with TLS from ``DOCKER_CERT_PATH``, such as CircleCI's remote Docker."""

    host: str
    cert_path: str
    verify: bool = True


@dataclass(frozen=True, kw_only=True)
class Certificates:
    """The files of ``certs.d`` for a registry: paths on this machine, which Buildx reads when it creates a builder."""

    host: str
    authorities: tuple[str, ...] = ()
    pairs: tuple[tuple[str, str], ...] = ()
    """The client's certificates: key and certificate."""
    digest: str = ""
    """A digest of the files' content."""
    unreadable: str = ""
    """A file that this user cannot read, and why."""


@dataclass(frozen=True, kw_only=True)
class Registries:
    """An engine's settings for registries: from ``daemon.json``, as shown by ``docker info``, and from ``certs.d``."""

    insecure: tuple[str, ...] = ()
    """``HOST[:PORT]`` of the registries whose certificate is not verified, or that use plain HTTP."""
    insecure_networks: tuple[str, ...] = ()
    """Networks of such registries, in CIDR notation, without loopback."""
    mirrors: tuple[str, ...] = ()
    """URLs of Docker Hub's mirrors."""
    certificates: tuple[Certificates, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Place:
    """Facts that need no Docker: the project's paths on this machine, and the day."""

    project: str
    """A stable name for the project on this machine, valid as part of a builder's name."""
    cache_dir: str
    """The project's default local cache folder, absolute."""
    today: str
    """ISO date."""
    source: tuple[str, ...] = ()
    """Build context and Dockerfile, relative to the working copy; empty: its top, and the Dockerfile there."""
    images: tuple[str, ...] = ()
    """The images that the Dockerfile names; empty if it cannot be read."""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """All facts outside of the request and the CI that a plan depends on."""

    docker: str
    buildx: Version
    store: ImageStore
    context: str
    """The Docker context in use; ``default`` is the engine of ``DOCKER_HOST`` or the local socket."""
    place: Place
    tls: TlsEndpoint | None = None
    builder: Builder | None = None
    """The builder that the request names, else the current one."""
    own_builder: Builder | None = None
    """The project's own builder, if it exists already."""
    endpoint: str = ""
    """The engine's address, such as ``unix:///var/run/docker.sock``; empty if unknown."""
    elsewhere: str = ""
    """Why the engine's host is not this host; empty if both share one network."""
    variables: frozenset[str] | None = None
    """The names of the variables that are set; None if unknown."""
    contexts: tuple[str, ...] = ()
    """The Docker contexts that exist; empty if the plan does not need them."""
    registries: Registries = Registries()
    default_config: str = ""
    """The user's ``buildkitd.default.toml``, Buildx' default configuration for new builders; empty if absent."""


@dataclass(frozen=True, kw_only=True)
class Credentials:
    """The logins in the user's Docker configuration and environment: names only, never a secret."""

    folder: str
    registries: tuple[str, ...] = ()
    helpers: tuple[str, ...] = ()
    broken: str = ""
    """Why the configuration cannot be read; empty if it can."""
    ambient: str = ""
    """The registry that ``DOCKER_LOGIN`` is for; empty if the variables do not make a login."""
    unusable: str = ""
    """Why the variables do not make a login; empty if they do, or none is set."""


def parse_version(text: str) -> Version:
    """Parse a version in text such as ``v0.29.1-desktop.1`` or ``github.com/docker/buildx 0.13.1+ds``.

    Return ``(0, 0, 0)`` if there is none.
    """
    match = _VERSION.search(text)
    return (int(match[1]), int(match[2]), int(match[3] or 0)) if match else UNKNOWN_VERSION


def show_version(version: Version) -> str:
    """Return a version as text: ``0.29.1``, or ``unknown``."""
    return ".".join(map(str, version)) if version != UNKNOWN_VERSION else "unknown"
