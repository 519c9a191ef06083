"""Define the short effects of a plan: each is a value that becomes one ``docker`` command."""

from __future__ import annotations

from dataclasses import dataclass

from buildx_cache.caches.backend import to_csv
from buildx_cache.plan.facts import TlsEndpoint
from buildx_cache.reference import HUB_KEY

Words = tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class CreateContext:
    """Create a Docker context for an engine with TLS."""

    name: str
    tls: TlsEndpoint
    description: str = "made by buildx-cache"

    @property
    def endpoint(self) -> str:
        """Return the engine's address and keys in the syntax of ``docker context create --docker``."""
        files = [f"{key}={self.tls.cert_path}/{key}.pem" for key in ("ca", "cert", "key")]
        skip = [] if self.tls.verify else ["skip-tls-verify=true"]
        return to_csv([f"host={self.tls.host}", *files, *skip])

    @property
    def argv(self) -> Words:
        """Return the words after ``docker``."""
        return ("context", "create", self.name, "--docker", self.endpoint, "--description", self.description)


@dataclass(frozen=True, kw_only=True)
class RemoveContext:
    """Remove a Docker context, even if it is in use."""

    name: str

    @property
    def argv(self) -> Words:
        """Return the words after ``docker``."""
        return ("context", "rm", "--force", self.name)


@dataclass(frozen=True, kw_only=True)
class CreateNode:
    """Create a builder with its first node; without a ``driver``, append a node to the builder."""

    builder: str
    driver: str = ""
    node: str = ""
    platforms: Words = ()
    driver_options: Words = ()
    """Options in CSV, Buildx' syntax."""
    config: str = ""
    config_lines: Words = ()
    """The lines to write to the file ``config``; empty: the file is the user's."""
    config_option: str = "--buildkitd-config"
    buildkitd_flags: str = ""
    bootstrap: bool = True
    address: str = ""
    """An endpoint or the name of a Docker context; empty: the current engine."""

    @property
    def argv(self) -> Words:
        """Return the words after ``docker``."""
        words = ["buildx", "create", "--name", self.builder]
        words += ["--driver", self.driver] if self.driver else ["--append"]
        words += ["--node", self.node] if self.node else []
        words += [word for platform in self.platforms for word in ("--platform", platform)]
        words += [word for option in self.driver_options for word in ("--driver-opt", option)]
        words += [self.config_option, self.config] if self.config else []
        words += ["--buildkitd-flags", self.buildkitd_flags] if self.buildkitd_flags else []
        words += ["--bootstrap"] if self.bootstrap else []
        words += [self.address] if self.address else []
        return tuple(words)


@dataclass(frozen=True, kw_only=True)
class BootBuilder:
    """Boot a builder that exists."""

    builder: str

    @property
    def argv(self) -> Words:
        """Return the words after ``docker``."""
        return ("buildx", "inspect", "--bootstrap", self.builder)


@dataclass(frozen=True, kw_only=True)
class RemoveBuilder:
    """Remove a builder and its state."""

    builder: str

    @property
    def argv(self) -> Words:
        """Return the words after ``docker``."""
        return ("buildx", "rm", self.builder)


@dataclass(frozen=True, kw_only=True)
class KillContainer:
    """Kill a builder's container, however busy it is."""

    container: str

    @property
    def argv(self) -> Words:
        """Return the words after ``docker``."""
        return ("container", "kill", self.container)


@dataclass(frozen=True, kw_only=True)
class RemoveContainer:
    """Remove a builder's container."""

    container: str

    @property
    def argv(self) -> Words:
        """Return the words after ``docker``."""
        return ("container", "rm", "--force", self.container)


@dataclass(frozen=True, kw_only=True)
class RemoveVolume:
    """Remove a builder's volume, if it exists."""

    volume: str

    @property
    def argv(self) -> Words:
        """Return the words after ``docker``."""
        return ("volume", "rm", "--force", self.volume)


@dataclass(frozen=True, kw_only=True)
class PruneBuilder:
    """Prune the cache of a builder."""

    builder: str
    space: str = ""
    """Bytes to keep, in Buildx' syntax; empty: no limit."""
    space_option: str = "--max-used-space"
    age: str = ""
    """A Go duration; entries used within it are kept; empty: no limit."""

    @property
    def argv(self) -> Words:
        """Return the words after ``docker``."""
        words = ["buildx", "prune", "--builder", self.builder, "--force"]
        words += [self.space_option, self.space] if self.space else []
        words += ["--filter", f"until={self.age}"] if self.age else []
        return tuple(words)


@dataclass(frozen=True, kw_only=True)
class LogIn:
    """Log in to a registry; the password is passed on stdin."""

    registry: str
    """The key under which Docker stores the login (:func:`reference.registry_key`)."""
    username: str

    @property
    def argv(self) -> Words:
        """Return the words after ``docker``."""
        where = () if self.registry == HUB_KEY else (self.registry,)
        return ("login", "--username", self.username, "--password-stdin", *where)


@dataclass(frozen=True, kw_only=True)
class LoadImage:
    """Load an image from an archive on stdin."""

    @property
    def argv(self) -> Words:
        """Return the words after ``docker``."""
        return ("image", "load")


Effect = (
    CreateContext
    | RemoveContext
    | CreateNode
    | BootBuilder
    | RemoveBuilder
    | KillContainer
    | RemoveContainer
    | RemoveVolume
    | PruneBuilder
    | LogIn
    | LoadImage
)
