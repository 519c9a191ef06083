"""Verify a folder: can BuildKit import from it and export to it? Compare sizes, or with ``deep`` all content."""

from __future__ import annotations

import hashlib
import io
import os
import threading
from collections.abc import Collection, Iterable, Iterator
from itertools import chain
from pathlib import Path

from buildx_cache.layout.graph import FOLDER_LIMITS, FindingList, Graph, walk
from buildx_cache.layout.model import IMPORT_LIMIT, Descriptor, Finding, FindingKind, Role
from buildx_cache.layout.parse import MalformedError
from buildx_cache.layout.records import Records, read_configs
from buildx_cache.layout.store import HOLLOW, LAYOUT, Store, is_hollow, open_store

_CHUNK = 1 << 20
_THREADS = min(8, os.cpu_count() or 1)

Hashed = dict[tuple[int, ...], str]
"""SHA-256 in hexadecimal, or :data:`HOLLOW`, by a file's device, inode, size and time of change."""


def verify(folder: Path, *, deep: bool = False) -> tuple[Finding, ...]:
    """Return every fault of the folder once; empty if the folder is sound. Raise no error.

    Read manifests and configs and compare their SHA-256; compare the sizes of layers. ``deep`` reads all layers too, in
    threads, 1 MiB at a time. An absent folder or index is only a notice: there is nothing to import.
    """
    try:
        with open_store(folder) as store:
            found = FindingList()
            graph = walk(store)
            faults = chain(_layout_faults(store), store.foreign, faults_of(store, graph))
            for finding in chain(faults, _content_faults(store, graph) if deep else ()):
                found.add(finding)
            return tuple(found)
    except MalformedError as error:
        return (error.at(str(folder)),)


def faults_of(store: Store, graph: Graph) -> Iterator[Finding]:
    """Yield the faults of the blobs in the graph, except in the content of layers; may yield a fault twice."""
    yield from graph.findings
    for descriptor, referrers in graph.links.items():
        yield from file_faults(store, descriptor, referrers[0])
    yield from limit_faults(graph)
    yield from _config_faults(store, graph)


def _layout_faults(store: Store) -> Iterator[Finding]:
    error = store.layout_fault()
    if error is None:
        return
    kind = FindingKind.ABSENT if error.kind is FindingKind.MISSING else FindingKind.LAYOUT
    yield error.at(LAYOUT, kind=kind)


def file_faults(store: Store, of: Descriptor, referrer: str) -> Iterator[Finding]:
    """Yield the fault of a blob's file that shows without reading it: absent, no ordinary file, or of another size."""
    file = store.file(of.digest)
    if file is None:
        yield Finding(kind=FindingKind.MISSING, blob=of.digest, referrer=referrer, problem="is not in the folder")
    elif not file.regular:
        yield Finding(kind=FindingKind.NOT_A_FILE, blob=of.digest, referrer=referrer, problem="is not an ordinary file")
    elif file.size != of.size:
        problem = f"has {file.size} bytes, not {of.size}"
        yield Finding(kind=FindingKind.SIZE, blob=of.digest, referrer=referrer, problem=problem)


def limit_faults(graph: Graph) -> Iterator[Finding]:
    """Yield the manifests and cacheconfigs that are too large for an import."""
    roots = {root.descriptor.digest for root in graph.roots}
    for of, referrers in graph.links.items():
        limited = of.digest in roots or of.role is Role.CACHE_CONFIG
        if limited and of.size > IMPORT_LIMIT:
            problem = f"has {of.size} bytes, and an import takes at most {IMPORT_LIMIT}"
            yield Finding(kind=FindingKind.TOO_LARGE, blob=of.digest, referrer=referrers[0], problem=problem)


def _config_faults(store: Store, graph: Graph) -> Iterator[Finding]:
    """Yield the faults of present configs: :func:`file_faults` reports absent ones."""
    for config, parent, found in read_configs(graph, store, FOLDER_LIMITS):
        if isinstance(found, Records):
            for fault in found.faults:
                yield Finding(kind=FindingKind.RECORDS, blob=config.digest, referrer=parent, problem=fault)
        elif found and _present(store, config.digest) is not None:
            yield found.at(config.digest, parent)


def unsound(folder: Path, digests: Collection[str]) -> tuple[Finding, ...]:
    """Return a finding for each of the blobs that is in the folder with corrupt content. Read them in threads."""
    try:
        with open_store(folder) as store:
            present = [digest for digest in digests if store.file(digest)]
            return tuple(fault.at(digest) for digest, fault in _contents(store, present) if fault)
    except MalformedError as error:
        return (error.at(str(folder)),)


def _content_faults(store: Store, graph: Graph) -> Iterator[Finding]:
    """Yield the layers with the declared size and corrupt content."""
    layers = {
        of.digest: referrers[0]
        for of, referrers in graph.links.items()
        if of.role is Role.LAYER and _present(store, of.digest) == of.size
    }
    for digest, error in _contents(store, layers):
        if error:
            yield error.at(digest, layers[digest])


def _contents(store: Store, digests: Collection[str]) -> list[tuple[str, MalformedError | None]]:
    """Return each blob with the fault of its content or None. Several threads read, 1 MiB at a time.

    When the caller is interrupted, each thread stops after its current MiB: Ctrl-C does not wait for a large layer.
    A file with several names is read once, and a hole is not read: an archive of a few KB can hold many TB of both.
    """
    from concurrent.futures import ThreadPoolExecutor  # imports logging, and most calls hash nothing

    stop = threading.Event()
    hashed: Hashed = {}
    pool = ThreadPoolExecutor(_THREADS)
    try:
        faults = pool.map(lambda digest: _content_fault(store, digest, hashed, stop), digests)
        return list(zip(digests, faults, strict=True))
    finally:
        stop.set()
        pool.shutdown(cancel_futures=True)


def _content_fault(store: Store, digest: str, hashed: Hashed, stop: threading.Event) -> MalformedError | None:
    try:
        with os.fdopen(store.open_blob(digest), "rb", buffering=0) as content:
            return content_fault(content, digest, hashed, stop)
    except MalformedError as error:
        return error


def content_fault(
    content: io.FileIO, digest: str, hashed: Hashed, stop: threading.Event | None = None
) -> MalformedError | None:
    """Return the fault of a blob's content, or None. ``hashed`` keeps the hashes of files with several names."""
    try:
        found = os.fstat(content.fileno())
        identity = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
        known = hashed.get(identity) or _hash_unless_hollow(content, found.st_size, stop or threading.Event())
        if found.st_nlink > 1:
            hashed[identity] = known
    except OSError as error:
        return MalformedError(FindingKind.UNREADABLE, f"cannot be read: {error.strerror}")
    if known == HOLLOW:
        return MalformedError(FindingKind.CONTENT, HOLLOW)
    if "sha256:" + known != digest:
        return MalformedError(FindingKind.CONTENT, "has other content than its digest says")
    return None


def _hash_unless_hollow(content: io.FileIO, size: int, stop: threading.Event) -> str:
    return HOLLOW if is_hollow(content.fileno(), size) else _hash(_pieces(content, stop))


def _pieces(content: io.RawIOBase, stop: threading.Event) -> Iterator[bytes]:
    """Yield the content in pieces; end early once ``stop`` is set."""
    while not stop.is_set() and (piece := content.read(_CHUNK)):
        yield piece


def _hash(chunks: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for chunk in chunks:
        digest.update(chunk)
    return digest.hexdigest()


def _present(store: Store, digest: str) -> int | None:
    """Return the size in bytes of a blob that is an ordinary file; None for any other."""
    file = store.file(digest)
    return file.size if file and file.regular else None
