"""A repository of the engine's open registry: tags that are put, and what samples left in it."""

from __future__ import annotations

import contextlib
import http.client
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

_MANIFESTS = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
_LAYERS = ("application/vnd.oci.image.layer.", "application/vnd.docker.image.rootfs.")
_NOT_FOUND = 404


@dataclass(frozen=True, kw_only=True)
class Descriptor:
    """Something in a registry."""

    digest: str
    media_type: str

    @property
    def is_manifest(self) -> bool:
        return self.media_type in _MANIFESTS

    @property
    def is_layer(self) -> bool:
        return self.media_type.startswith(_LAYERS)

    @property
    def path(self) -> str:
        """Where it is in its repository."""
        return f"{'manifests' if self.is_manifest else 'blobs'}/{self.digest}"


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """A manifest or an index as the registry has it."""

    content: bytes
    itself: Descriptor

    def parts(self) -> tuple[Descriptor, ...]:
        """What it refers to."""
        document = json.loads(self.content)
        config = (document["config"],) if "config" in document else ()
        return tuple(map(_descriptor, (*config, *document.get("layers", ()), *document.get("manifests", ()))))


@dataclass(frozen=True, kw_only=True)
class Repository:
    """One repository, over plain HTTP."""

    registry: str
    name: str

    def reference(self, tag: str) -> str:
        return f"{self.registry}/{self.name}:{tag}"

    def manifest(self, reference: str) -> Manifest | None:
        """What a tag or digest stands for."""
        status, content, headers = self._ask("GET", f"manifests/{reference}", {"Accept": ", ".join(_MANIFESTS)})
        if status == _NOT_FOUND:
            return None
        itself = Descriptor(digest=headers["Docker-Content-Digest"], media_type=headers["Content-Type"])
        return Manifest(content=content, itself=itself)

    def put(self, tag: str, manifest: Manifest) -> None:
        self._ask("PUT", f"manifests/{tag}", {"Content-Type": manifest.itself.media_type}, manifest.content)

    def reachable(self, *references: str) -> Iterator[Descriptor]:
        """All that these tags refer to; manifests before what they refer to."""
        for manifest in filter(None, map(self.manifest, references)):
            yield manifest.itself
            for part in manifest.parts():
                if part.is_manifest:
                    yield from self.reachable(part.digest)
                else:
                    yield part

    def delete(self, descriptors: Iterable[Descriptor]) -> None:
        """Delete manifests and blobs from this repository: the next push has to send them again."""
        for descriptor in descriptors:
            self._ask("DELETE", descriptor.path, {})

    def _ask(
        self, method: str, path: str, headers: dict[str, str], body: bytes | None = None
    ) -> tuple[int, bytes, http.client.HTTPMessage]:
        with contextlib.closing(http.client.HTTPConnection(self.registry)) as connection:
            connection.request(method, f"/v2/{self.name}/{path}", body, headers)
            answer = connection.getresponse()
            content = answer.read()
        assert answer.status < 300 or answer.status == _NOT_FOUND, content
        return answer.status, content, answer.headers


def _descriptor(document: dict[str, Any]) -> Descriptor:
    return Descriptor(digest=document["digest"], media_type=document["mediaType"])
