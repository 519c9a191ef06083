"""Layout folders to order: both shapes of cache manifest, images, nested indexes, OCI and Docker types."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

CACHE_CONFIG = "application/vnd.buildkit.cacheconfig.v0"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
IMAGE_CONFIG = "application/vnd.oci.image.config.v1+json"
TAG = "org.opencontainers.image.ref.name"
LONG_AGO = 1_600_000_000.0

Json = dict[str, object]


def digest_of(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


def encoded(document: object) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()


@dataclass
class Layout:
    """A folder being written; ``entries`` are those of its index."""

    folder: Path
    entries: list[Json] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.blobs.mkdir(parents=True, exist_ok=True)
        (self.folder / "ingest").mkdir(exist_ok=True)
        (self.folder / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')

    @property
    def blobs(self) -> Path:
        return self.folder / "blobs" / "sha256"

    def path(self, digest: str) -> Path:
        return self.blobs / digest.removeprefix("sha256:")

    def put(self, content: bytes, media_type: str = OCI_LAYER, **more: object) -> Json:
        digest = digest_of(content)
        self.path(digest).write_bytes(content)
        os.utime(self.path(digest), (LONG_AGO, LONG_AGO))
        return {"mediaType": media_type, "digest": digest, "size": len(content), **more}

    def put_json(self, document: object, media_type: str) -> Json:
        return self.put(encoded(document), media_type)

    def cache(
        self,
        layers: Sequence[bytes],
        *,
        listed: bool = False,
        docker: bool = False,
        config: Json | None = None,
        layer_type: str = "",
    ) -> Json:
        """A cache manifest over these layers; ``listed`` is the shape of a list of layers."""
        layer_type = layer_type or (DOCKER_LAYER if docker else OCI_LAYER)
        found = [self.put(layer, layer_type) for layer in layers]
        cacheconfig = self.put_json(config or config_of([one["digest"] for one in found]), CACHE_CONFIG)
        if listed:
            media_type = DOCKER_LIST if docker else OCI_INDEX
            document: Json = {"schemaVersion": 2, "mediaType": media_type, "manifests": [*found, cacheconfig]}
        else:
            media_type = DOCKER_MANIFEST if docker else OCI_MANIFEST
            document = {"schemaVersion": 2, "mediaType": media_type, "config": cacheconfig, "layers": found}
        return self.put_json(document, media_type)

    def image(self, layers: Sequence[bytes]) -> Json:
        config = self.put_json({"architecture": "amd64", "os": "linux"}, IMAGE_CONFIG)
        found = [self.put(layer) for layer in layers]
        document = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": found}
        return self.put_json(document, OCI_MANIFEST)

    def nest(self, children: Sequence[Json]) -> Json:
        document = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": list(children)}
        return self.put_json(document, OCI_INDEX)

    def tag(self, name: str, root: Json) -> None:
        self.entries.append({**root, "annotations": {TAG: name}})

    def write_index(self) -> bytes:
        document = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": self.entries}
        (self.folder / "index.json").write_bytes(encoded(document))
        return encoded(document)

    def present(self) -> frozenset[str]:
        return frozenset("sha256:" + path.name for path in self.blobs.glob("*"))


def config_of(digests: Sequence[object], created: str = "2026-01-02T03:04:05.123456789Z") -> Json:
    """A chain of layers, and a record for each that takes the one before as its input."""
    layers = [{"blob": digest, "parent": place - 1} for place, digest in enumerate(digests)]
    records = [
        {
            "digest": digest_of(f"record {place}".encode()),
            "layers": [{"layer": place, "createdAt": created}],
            **({"inputs": [[{"link": place - 1}]]} if place else {}),
        }
        for place in range(len(digests))
    ]
    return {"layers": layers, "records": records}
