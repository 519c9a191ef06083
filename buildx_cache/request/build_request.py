"""Define the request, its types, and the options that are passed to Buildx unchanged."""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any

from buildx_cache.caches.backend import CacheKind, CacheMode, Compression, closest, from_csv
from buildx_cache.errors import UsageError
from buildx_cache.request.ambient import AmbientLogin

# The options that decide which steps run: a build that only writes a cache repeats these.
_DECIDES_STEPS = (
    "file", "target", "build_context", "label", "secret", "ssh", "network", "add_host", "allow",
    "shm_size", "ulimit", "cgroup_parent",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class BuildxOptions:
    """Options of Buildx, in the order of the command line; a field has its option's name (underscores for dashes)."""

    file: str = ""
    target: str = ""
    build_context: tuple[str, ...] = ()
    label: tuple[str, ...] = ()
    annotation: tuple[str, ...] = ()
    secret: tuple[str, ...] = ()
    ssh: tuple[str, ...] = ()
    no_cache_filter: tuple[str, ...] = ()
    network: str = ""
    add_host: tuple[str, ...] = ()
    allow: tuple[str, ...] = ()
    attest: tuple[str, ...] = ()
    provenance: str = ""
    sbom: str = ""
    shm_size: str = ""
    ulimit: tuple[str, ...] = ()
    cgroup_parent: str = ""
    metadata_file: str = ""
    iidfile: str = ""
    pull: bool = False
    no_cache: bool = False

    @property
    def passed_on(self) -> dict[str, Any]:
        """Return these options by name, without the fields of a subclass."""
        return {field.name: getattr(self, field.name) for field in fields(BuildxOptions)}

    @property
    def of_steps(self) -> dict[str, Any]:
        """Return the options that decide which steps run, by name."""
        return {name: getattr(self, name) for name in _DECIDES_STEPS}


class Driver(StrEnum):
    """Buildx' builder drivers."""

    DOCKER = "docker"
    DOCKER_CONTAINER = "docker-container"
    REMOTE = "remote"
    KUBERNETES = "kubernetes"


class Lazy(StrEnum):
    """Whether local cache folders are served to BuildKit as a registry, so that it reads only what it needs."""

    AUTO = "auto"
    ON = "on"
    OFF = "off"


class Progress(StrEnum):
    """The display of a build: on stderr for people, on stdout for programs."""

    AUTO = "auto"
    LIVE = "live"
    PLAIN = "plain"
    JSON = "json"
    QUIET = "quiet"


NO_OPTIONS = ("ambient", "untrusted_hosts")
"""The fields of a request that are no options: this program sets them."""


@dataclass(frozen=True, kw_only=True)
class BuildRequest(BuildxOptions):
    """The options of ``build`` and ``plan``, by their names on the command line (underscores for dashes).

    An absent option is empty: ``""``, ``()`` or ``None``. Paths are relative to the working directory. The fields in
    :data:`NO_OPTIONS` are no options.
    """

    context: str = "."
    buildx_flags: tuple[str, ...] = ()
    # Image
    tag: tuple[str, ...] = ()
    push: bool = False
    push_auto: bool = False
    """In a finished request: True if ``--push auto`` does not push, because the build is a fork's."""
    load: bool = False
    output: tuple[str, ...] = ()
    # Build
    platform: tuple[str, ...] = ()
    build_arg: tuple[str, ...] = ()
    # Cache
    cache: CacheKind = CacheKind.AUTO
    cache_dir: str = ""
    cache_ref: str = ""
    cache_scope: str = ""
    cache_mode: CacheMode | None = None
    cache_compression: Compression | None = None
    cache_from: tuple[str, ...] = ()
    cache_to: tuple[str, ...] = ()
    default_branch: str = ""
    cache_read_only: bool | None = None
    cache_max_size: str = ""
    lazy: Lazy = Lazy.AUTO
    strict_cache: bool = False
    # Builder
    builder: str = ""
    driver: Driver | None = None
    endpoint: tuple[str, ...] = ()
    driver_opt: tuple[str, ...] = ()
    buildkit_image: str = ""
    buildkitd_config: str = ""
    buildkitd_flags: str = ""
    docker_context: str = ""
    no_wait: bool = False
    no_push_check: bool = False
    rm_builder: bool = False
    # Login
    registry: str = ""
    username: str = ""
    password_stdin: bool = False
    password_env: str = ""
    ambient: AmbientLogin | None = None
    untrusted_hosts: tuple[str, ...] = ()
    """Registries that only a found file names, and that have no say in how a builder is made.

    They are those on loopback, which would give steps the host's network, and in a fork's build all.
    """
    # Prune
    prune: bool | None = None
    prune_keep: str = ""
    prune_older_than: str = ""
    # Configuration
    config: str = ""
    trust_config: bool = False
    # Output
    timeout: str = ""
    progress: Progress = Progress.AUTO
    report: str = ""
    report_html: str = ""
    report_junit: str = ""
    report_md: str = ""
    dotenv: str = ""
    output_prefix: str = ""
    one_line: bool = False
    verbose: bool = False
    quiet: bool = False
    no_color: bool = False


def option_key(name: str) -> str:
    """Return a field's name on the command line and in files: ``cache-dir`` for ``cache_dir``."""
    return name.replace("_", "-")


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """The address of one node of a builder; TLS files by path."""

    address: str
    name: str = ""
    platforms: tuple[str, ...] = ()
    options: tuple[tuple[str, str], ...] = ()

    @property
    def files(self) -> tuple[tuple[str, str], ...]:
        """Return the TLS options that name a file: ``cacert``, ``cert`` and ``key``."""
        return tuple((name, path) for name, path in self.options if name != "servername")


_TLS_OPTIONS = ("cacert", "cert", "key", "servername")


def parse_endpoint(text: str) -> Endpoint:
    """Parse ``ADDRESS[,platform=…][,name=…][,cacert=…][,cert=…][,key=…][,servername=…]``.

    Raises:
        UsageError: the address is missing, or an attribute is unknown.
    """
    pairs = from_csv(text, option="--endpoint") or (("", ""),)
    address, rest = pairs[0], pairs[1:]
    if address[1] or not address[0]:
        raise UsageError(
            f"--endpoint {text!r} does not start with an address",
            code="endpoint-malformed",
            hint="write tcp://HOST:1234,platform=linux/arm64",
        )
    known = ("name", "platform", *_TLS_OPTIONS)
    for key, _ in rest:
        if key not in known:
            raise UsageError(
                f"--endpoint has no attribute {key!r}", code="endpoint-malformed", hint=closest(key, known)
            )
    values = dict(rest)
    return Endpoint(
        address=address[0],
        name=values.get("name", ""),
        platforms=tuple(value for key, value in rest if key == "platform"),
        options=tuple((key, values[key]) for key in _TLS_OPTIONS if key in values),
    )
