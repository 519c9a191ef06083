"""What is served of a folder: the tags, manifests and blobs that its index led to when it was opened."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from buildx_cache.layout.graph import Graph, walk
from buildx_cache.layout.parse import MalformedError
from buildx_cache.layout.store import Store, open_store

_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
"""The grammar of the distribution specification; no other tag can be asked for."""


@dataclass(frozen=True, kw_only=True)
class Catalogue:
    """An open folder, and what may be taken from it.

    ``tags`` gives digests, ``manifests`` media types by digest, ``sizes`` bytes by digest of every blob.
    """

    store: Store
    tags: Mapping[str, str]
    manifests: Mapping[str, str]
    sizes: Mapping[str, int]

    def read_manifest(self, digest: str) -> bytes | None:
        """A manifest that has its digest; None where it is not served or not there any more."""
        if digest not in self.manifests:
            return None
        try:
            return self.store.read_document(digest)
        except MalformedError:
            return None

    def open_blob(self, digest: str) -> BinaryIO | None:
        """A blob of the size that is written down; None where it is not served, not there any more, or cut off."""
        if digest not in self.sizes:
            return None
        try:
            file = os.fdopen(self.store.open_blob(digest), "rb", buffering=0)
        except MalformedError:
            return None
        if os.fstat(file.fileno()).st_size != self.sizes[digest]:
            file.close()
            return None
        return file


@contextmanager
def open_catalogue(folder: Path) -> Iterator[Catalogue]:
    """Read the index and the manifests of a folder, no cacheconfig and no layer.

    Raises:
        MalformedError: there is no such folder, or it cannot be read.
    """
    with open_store(folder) as store:
        yield _catalogue(store, walk(store))


def _catalogue(store: Store, graph: Graph) -> Catalogue:
    """Where something is named twice, the first counts, as in an import of the folder."""
    roots = [root.descriptor for root in reversed(graph.roots)]
    blobs = tuple(graph.links)[::-1]
    return Catalogue(
        store=store,
        tags={root.tag: root.digest for root in roots if _TAG.fullmatch(root.tag)},
        manifests={found.digest: found.media_type for found in blobs if found.role.refers},
        sizes={found.digest: found.size for found in blobs},
    )
