"""What a folder's index refers to, tag by tag, and what nothing refers to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from buildx_cache.layout.decode import MalformedError, parse_object
from buildx_cache.layout.graph import Graph, Root, walk
from buildx_cache.layout.model import Blob, Descriptor, Finding, Reach, Role, Shape, Tag
from buildx_cache.layout.records import Records, read_records
from buildx_cache.layout.store import BlobFile, Store, open_store


def reach(folder: Path) -> Reach:
    """Follow index.json. Reads every manifest and cacheconfig, no layer. Never raises on what the folder holds."""
    try:
        with open_store(folder) as store:
            return reach_of(store, walk(store))
    except MalformedError as error:
        return empty_reach(folder, error)


def empty_reach(folder: Path, error: MalformedError) -> Reach:
    """The reach of a folder that cannot be opened."""
    obstacle = Finding(kind=error.kind, blob=str(folder), referrer="", problem=error.problem)
    return Reach(
        folder=folder,
        tags=(),
        blobs=(),
        digests=frozenset(),
        records=0,
        live_bytes=0,
        dead_blobs=0,
        dead_bytes=0,
        obstacles=(obstacle,),
    )


def reach_of(store: Store, graph: Graph) -> Reach:
    """The reach of an open folder whose index was walked."""
    blobs = _blobs(graph)
    digests = frozenset(blob.digest for blob in blobs)
    tags = tuple(_tags(store, graph))
    dead = {name: file for name, file in store.files.items() if "sha256:" + name not in digests}
    return Reach(
        folder=store.path,
        tags=tags,
        blobs=blobs,
        digests=digests,
        records=sum(tag.records or 0 for tag in {tag.digest: tag for tag in tags}.values()),
        live_bytes=size_on_disk(store, digests),
        dead_blobs=len(dead),
        dead_bytes=sum(file.size for file in dead.values()),
        obstacles=(*graph.obstacles, *store.foreign),
    )


def size_on_disk(store: Store, digests: frozenset[str]) -> int:
    """Bytes that these blobs take; an absent one takes none."""
    return sum(file.size for file in map(store.file, digests) if file)


def _blobs(graph: Graph) -> tuple[Blob, ...]:
    referrers: dict[str, dict[str, None]] = {}
    first: dict[str, Descriptor] = {}
    for descriptor, names in graph.links.items():
        referrers.setdefault(descriptor.digest, {}).update(dict.fromkeys(names))
        first.setdefault(descriptor.digest, descriptor)
    return tuple(
        Blob(
            digest=digest,
            media_type=descriptor.media_type,
            size=descriptor.size,
            referrers=tuple(referrers[digest]),
            created=descriptor.created,
        )
        for digest, descriptor in first.items()
    )


def _tags(store: Store, graph: Graph) -> Iterator[Tag]:
    closures = {root.descriptor.digest: graph.closure(root.descriptor.digest) for root in graph.roots}
    holders = Counter(digest for root in graph.roots for digest in closures[root.descriptor.digest])
    layers = {found.digest for found in graph.links if found.role is Role.LAYER}
    configs = {digest: found for digest, _, found in cache_configs(store, graph)}
    for root in graph.roots:
        closure = closures[root.descriptor.digest]
        own = frozenset(digest for digest in closure if holders[digest] == 1)
        read = [found for found in map(configs.get, closure) if isinstance(found, Records)]
        yield Tag(
            name=root.descriptor.tag,
            digest=root.descriptor.digest,
            position=root.position,
            shape=_shape(graph, root),
            blobs=closure,
            layers=len(closure & layers),
            records=sum(found.records for found in read) if read else None,
            live_bytes=size_on_disk(store, closure),
            own_bytes=size_on_disk(store, own),
            created=max((found.newest for found in read if found.newest is not None), default=None),
            written=_modified(store.file(root.descriptor.digest)),
        )


def cache_configs(store: Store, graph: Graph) -> Iterator[tuple[str, str, Records | MalformedError]]:
    """Every cacheconfig: its digest, its manifest's, and what was read of it."""
    for parent, children in graph.children.items():
        provided = frozenset(child.digest for child in children if child.role is not Role.CACHE_CONFIG)
        for digest in {child.digest for child in children if child.role is Role.CACHE_CONFIG}:
            yield digest, parent, _read_config(store, digest, provided)


def _read_config(store: Store, digest: str, provided: frozenset[str]) -> Records | MalformedError:
    try:
        return read_records(parse_object(store.read_document(digest)), provided)
    except MalformedError as error:
        return error


def _shape(graph: Graph, root: Root) -> Shape:
    children = graph.children.get(root.descriptor.digest, ())
    if all(child.role is not Role.CACHE_CONFIG for child in children):
        return Shape.IMAGE
    return Shape.IMAGE_MANIFEST if root.descriptor.role is Role.MANIFEST else Shape.LAYER_LIST


def _modified(file: BlobFile | None) -> float | None:
    return file.modified if file else None
