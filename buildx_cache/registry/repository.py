"""A repository's caches: what they hold, and whether they are sound."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from buildx_cache.cache_tags import REF_PREFIX
from buildx_cache.errors import CacheError
from buildx_cache.layout.model import Descriptor, Finding, Kind, Shape
from buildx_cache.layout.parse import MalformedError
from buildx_cache.layout.verification import limit_faults
from buildx_cache.redaction import Secret
from buildx_cache.reference import Reference, is_loopback
from buildx_cache.registry.authorization import Login
from buildx_cache.registry.contents import Contents, check_blob, read_contents, remote
from buildx_cache.registry.distribution import Distribution, in_parallel
from buildx_cache.registry.identity import Credential
from buildx_cache.registry.transport import Pace, Send, sender


class Holds(StrEnum):
    """What a tag is."""

    CACHE = "cache"
    INLINE = "image with an inline cache"
    IMAGE = "image without a cache"


@dataclass(frozen=True, kw_only=True, slots=True)
class RemoteCache:
    """What a tag holds.

    ``layers`` are the largest first; ``size`` counts the manifests, configs and layers, each once, in bytes;
    ``records`` is None where there are none to read. ``created`` is the newest time in the records (seconds since
    the epoch), None where unknown: it tells when a step was last executed, as a registry does not tell when a tag
    was last pushed. ``findings`` say what could not be read.
    """

    tag: str
    digest: str
    media_type: str
    shape: Shape
    holds: Holds
    layers: tuple[Descriptor, ...]
    records: int | None
    size: int
    created: float | None
    findings: tuple[Finding, ...]


@dataclass(frozen=True, kw_only=True)
class Repository:
    """The caches in one repository. Every method raises DeniedError and UnreachableError as it meets them."""

    registry: Distribution

    @property
    def name(self) -> str:
        """``host/path``, for people."""
        return self.registry.name

    @property
    def secrets(self) -> tuple[Secret, ...]:
        """The passwords and tokens that were sent to the registry."""
        return self.registry.login.secrets

    def tags(self) -> tuple[str, ...]:
        """Every tag.

        Raises:
            UsageError: there is no such repository.
        """
        return self.registry.tags()

    def cache_tags(self) -> tuple[str, ...]:
        """The tags of scopes' caches: ``buildcache-*``.

        Raises:
            UsageError: there is no such repository.
        """
        return tuple(tag for tag in self.tags() if tag.startswith(REF_PREFIX))

    def inspect(self, tag: str) -> RemoteCache:
        """What a tag holds, from its manifests and records; layers are not touched.

        Raises:
            UsageError: there is no such tag.
            CacheError: its manifest cannot be read.
        """
        try:
            contents = read_contents(self.registry, tag)
        except MalformedError as error:
            raise CacheError(
                f"{self.name}:{tag} {error.problem}",
                code="cache-damaged",
                hint="delete the tag, and the next build writes it again",
            ) from None
        return _described(tag, contents)

    def verify(self, tag: str, *, deep: bool = False) -> tuple[Finding, ...]:
        """Every fault of a tag, none twice; empty where it is sound.

        Manifests and configs are read and compared with their digests, the layers asked for by HEAD, which tells
        presence and size. ``deep`` reads the layers too, through SHA-256, a piece at a time.

        Raises:
            UsageError: there is no such tag.
        """
        try:
            contents = read_contents(self.registry, tag)
        except MalformedError as error:
            return (remote(error.at(tag)),)
        layers = [pair for pair in contents.layers().values() if not _is_elsewhere(pair[0])]
        check = self._read_layer if deep else self._ask_for_layer
        faults = zip(layers, in_parallel(check, [layer for layer, _ in layers]), strict=True)
        found = [fault.at(layer.digest, referrer) for (layer, referrer), fault in faults if fault]
        return tuple(dict.fromkeys((*contents.findings, *map(remote, (*limit_faults(contents.graph), *found)))))

    def _ask_for_layer(self, layer: Descriptor) -> MalformedError | None:
        size = self.registry.blob_size(layer.digest)
        if size is None:
            return MalformedError(Kind.MISSING, "is not in the registry")
        if size not in (-1, layer.size):
            return MalformedError(Kind.SIZE, f"has {size} bytes, not {layer.size}")
        return None

    def _read_layer(self, layer: Descriptor) -> MalformedError | None:
        try:
            check_blob(self.registry, layer)
        except MalformedError as error:
            return error
        return None


def connect(
    repository: Reference,
    credential: Callable[[str], Credential | None],
    *,
    env: Mapping[str, str] | None = None,
    plain_http: bool | None = None,
    send: Send | None = None,
    pace: Pace = Pace(),  # noqa: B008 -- frozen
) -> Repository:
    """A repository, not yet talked to; the reference's tag and digest are not looked at.

    ``credential`` is asked for the login of the registry (``Reference.registry_host``) if that wants one. ``env``
    names proxies, ``pace`` the limits of every answer. Unless ``plain_http`` says, plain HTTP is spoken to this machine
    alone, as BuildKit does (``util/resolver/resolver.go``). ``send`` replaces the network.

    Raises:
        UnreachableError: ``env`` names a proxy that cannot be used.
    """
    host, address, path = repository.registry_host, repository.api_host, repository.canonical.path
    plain = is_loopback(address) if plain_http is None else plain_http
    send = send or sender(env or {}, pace)
    login = Login(host=host, path=path, credential=credential, send=send)
    base = f"{'http' if plain else 'https'}://{address}"
    return Repository(registry=Distribution(host=host, path=path, base=base, send=send, login=login, pace=pace))


def _described(tag: str, contents: Contents) -> RemoteCache:
    records = contents.records.values()
    image = Holds.INLINE if records else Holds.IMAGE
    layers = [layer for layer, _ in contents.layers().values()]
    return RemoteCache(
        tag=tag,
        digest=contents.root.digest,
        media_type=contents.root.media_type,
        shape=contents.shape,
        holds=image if contents.shape is Shape.IMAGE else Holds.CACHE,
        layers=tuple(sorted(layers, key=lambda layer: (-layer.size, layer.digest))),
        records=sum(one.records for one in records) if records else None,
        size=sum({link.digest: link.size for link in contents.graph.links}.values()),
        created=max((one.newest for one in records if one.newest is not None), default=None),
        findings=contents.findings,
    )


def _is_elsewhere(layer: Descriptor) -> bool:
    """Whether a layer is kept by its maker and not by registries (Windows base images)."""
    return "nondistributable" in layer.media_type or ".foreign." in layer.media_type
