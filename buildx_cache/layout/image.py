"""Read the image that BuildKit exported to a folder, and write it as an archive for ``docker image load``.

The containerd image store reads ``index.json`` of an archive. The classic store reads only ``manifest.json`` (moby's
``image/tarexport``). The archive has both, like one that ``docker image save`` writes.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO

from buildx_cache.layout.graph import Graph, walk
from buildx_cache.layout.model import OCI_INDEX, Descriptor, FindingKind, Role
from buildx_cache.layout.parse import IMAGE_NAME, INDEX_TAG, MalformedError
from buildx_cache.layout.store import ALGORITHM, BLOBS, INDEX, LAYOUT, LAYOUT_DOCUMENT, open_store

_MANIFEST = "manifest.json"
_CHUNK = 1 << 20


class Archive:
    """The image that ``index.json`` of a folder leads to, without the folder's other blobs."""

    def __init__(self, folder: Path, documents: Mapping[str, bytes], blobs: Iterable[Descriptor]) -> None:
        self._folder = folder
        self._documents = documents
        self._sizes = {blob.digest: blob.size for blob in blobs}

    def write(self, out: IO[bytes]) -> None:
        """Write the archive as a tar stream; at the first corrupt blob, stop before the stream's end.

        The engine would skip such a blob and report the image as loaded (containerd's ``archive.WithSkipMissing``).

        Raises:
            MalformedError: a blob's size or content does not match its descriptor.
            OSError: a blob cannot be read, or the reader of ``out`` has closed the stream.
        """
        import tarfile

        with tarfile.open(fileobj=out, mode="w|", bufsize=_CHUNK) as tar:
            for name, content in self._documents.items():
                info = tarfile.TarInfo(name)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
            for digest, size in sorted(self._sizes.items()):
                with (self._folder / _place(digest)).open("rb") as file:
                    info = tarfile.TarInfo(_place(digest))
                    info.size = os.fstat(file.fileno()).st_size
                    if info.size != size:  # the cache's file may be a sparse one of many TB
                        raise MalformedError(FindingKind.SIZE, f"{digest} has {info.size} bytes, not {size}")
                    blob = _Hashed(file)
                    tar.addfile(info, blob)  # type: ignore[arg-type]  # it is only read from
                if blob.digest != digest:
                    raise MalformedError(FindingKind.CONTENT, f"{digest} has other content than its digest says")


class _Hashed:
    """A file, and the digest of the bytes read so far."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._hash = hashlib.sha256()

    def read(self, size: int) -> bytes:
        content = self._file.read(size)
        self._hash.update(content)
        return content

    @property
    def digest(self) -> str:
        return "sha256:" + self._hash.hexdigest()


def read_archive(folder: Path, names: Sequence[str]) -> Archive:
    """Return the archive of the folder's only image, named by ``names`` (``HOST/PATH:TAG``).

    The names in the folder are ignored: Buildx before 0.15 joins several names into one.

    Raises:
        MalformedError: the folder holds no image, several images or a cache, or a manifest or index is damaged.
    """
    with open_store(folder) as store:
        graph = walk(store)
        for obstacle in graph.obstacles:
            raise MalformedError(obstacle.kind, f"{obstacle.blob} {obstacle.problem}")
        if len({root.descriptor.digest for root in graph.roots}) != 1:
            raise MalformedError(FindingKind.INDEX, "does not hold one image")
        if any(found.role is Role.CACHE_CONFIG for found in graph.links):
            raise MalformedError(FindingKind.INDEX, "holds a cache, and no image")
    documents = {
        LAYOUT: LAYOUT_DOCUMENT,
        INDEX: _index(graph.roots[0].descriptor, names),
        **_classic(graph, names),
    }
    return Archive(folder, documents, graph.links)


def _index(root: Descriptor, names: Sequence[str]) -> bytes:
    entries = [
        {
            "mediaType": root.media_type,
            "digest": root.digest,
            "size": root.size,
            "annotations": {IMAGE_NAME: name, INDEX_TAG: name.rpartition(":")[2]},
        }
        for name in names
    ]
    return json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}).encode()


def _classic(graph: Graph, names: Sequence[str]) -> Mapping[str, bytes]:
    """Return ``manifest.json`` of an image for one platform; nothing for several: the classic store holds none."""
    manifests = {found for found in graph.links if found.role is Role.MANIFEST and not _is_attestation(found, graph)}
    if len(manifests) != 1:
        return {}
    parts = graph.children[manifests.pop().digest]
    entry = {
        "Config": next((_place(part.digest) for part in parts if part.role is Role.CONFIG), ""),
        "RepoTags": list(names),
        "Layers": [_place(part.digest) for part in parts if part.role is Role.LAYER],
    }
    return {_MANIFEST: json.dumps([entry]).encode()}


def _is_attestation(manifest: Descriptor, graph: Graph) -> bool:
    """Return whether a manifest is an attestation of BuildKit: all its layers are in-toto documents."""
    layers = [part for part in graph.children[manifest.digest] if part.role is Role.LAYER]
    return bool(layers) and all(part.media_type.startswith("application/vnd.in-toto") for part in layers)


def _place(digest: str) -> str:
    return f"{BLOBS}/{ALGORITHM}/{digest.removeprefix('sha256:')}"
