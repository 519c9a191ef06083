"""Compute the reachable blobs of a folder, tag by tag, and its unreachable ones; describe both as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from buildx_cache.layout.graph import FOLDER_LIMITS, Graph, walk
from buildx_cache.layout.index import index_entries
from buildx_cache.layout.model import (
    LISTED_TAGS,
    ROLES,
    Blob,
    BlobSet,
    BuildNote,
    Descriptor,
    Finding,
    Numbering,
    Reachability,
    Role,
    Shape,
    Tag,
    Weights,
)
from buildx_cache.layout.notes import note_of
from buildx_cache.layout.parse import MalformedError
from buildx_cache.layout.records import Records, read_configs
from buildx_cache.layout.store import BlobFile, Store, open_store


def reach(folder: Path) -> Reachability:
    """Compute the reachable blobs of a folder. Read every manifest and cacheconfig, no layer; raise no error."""
    try:
        with open_store(folder) as store:
            return reach_of(store, walk(store))
    except MalformedError as error:
        return Reachability(folder=folder, obstacles=(error.at(str(folder)),))


def reach_of(store: Store, graph: Graph) -> Reachability:
    """Compute the reachable blobs of an open folder from the walk of its index."""
    blobs = _blobs(graph)
    digests = frozenset(blob.digest for blob in blobs)
    tags = tuple(_tags(store, graph))
    dead = {name: file for name, file in store.files.items() if "sha256:" + name not in digests}
    return Reachability(
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
    """Return the bytes that the blobs take on disk; an absent blob takes none."""
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
    names = [found.digest for found in graph.links]
    numbering = Numbering(names)
    closed = _closures(graph, numbering)
    sizes = Weights(numbering, {name: file.size for name in names if (file := store.file(name))})
    layers = numbering.bits(found.digest for found in graph.links if found.role is Role.LAYER)
    configs_read = read_configs(graph, store, FOLDER_LIMITS)
    read = {config.digest: found for config, _, found in configs_read if isinstance(found, Records)}
    records = Weights(numbering, {digest: found.records for digest, found in read.items()})
    configs = numbering.bits(read)
    newest = _newest(graph, read)
    entries = index_entries(graph.index) if graph.roots else []
    alone = _held_once(closed[root.descriptor.digest] for root in graph.roots)
    for root in graph.roots:
        bits = closed[root.descriptor.digest]
        yield Tag(
            name=root.descriptor.tag,
            digest=root.descriptor.digest,
            position=root.position,
            shape=shape_of(root.descriptor, graph.children.get(root.descriptor.digest, ())),
            closure=BlobSet(numbering=numbering, bits=bits),
            layers=(bits & layers).bit_count(),
            records=records.of(bits) if bits & configs else None,
            live_bytes=sizes.of(bits),
            own_bytes=sizes.of(bits & alone),
            created=newest.get(root.descriptor.digest),
            written=_modified(store.file(root.descriptor.digest)),
            note=note_of(entries[root.position]),
        )


def _held_once(sets: Iterable[int]) -> int:
    """Return the blobs that are in exactly one of the sets."""
    once = twice = 0
    for bits in sets:
        twice |= once & bits
        once |= bits
    return once & ~twice


def _newest(graph: Graph, read: Mapping[str, Records]) -> Mapping[str, float]:
    """Return the newest record time, if known, of each cacheconfig and below each document, by digest."""
    found = {digest: records.newest for digest, records in read.items() if records.newest is not None}
    for digest in graph.leaves_first():
        below = [found[child.digest] for child in graph.children[digest] if child.digest in found]
        if below:
            found[digest] = max(below)
    return found


def shape_of(root: Descriptor, below: Iterable[Descriptor]) -> Shape:
    """Return the structure of a tag's root whose children are ``below``."""
    if all(child.role is not Role.CACHE_CONFIG for child in below):
        return Shape.IMAGE
    return Shape.IMAGE_MANIFEST if root.role is Role.MANIFEST else Shape.LAYER_LIST


def _closures(graph: Graph, numbering: Numbering) -> Mapping[str, int]:
    """Return, by the digest of each root and each document, the set of that blob and of all blobs below it."""
    found: dict[str, int] = {}
    for digest in graph.leaves_first():
        children = {child.digest for child in graph.children[digest]}
        bits = numbering.bits((digest, *children))
        for inner in children & found.keys():
            bits |= found[inner]
        found[digest] = bits
    alone = {root.descriptor.digest for root in graph.roots} - found.keys()
    return {**found, **{digest: numbering.bits([digest]) for digest in alone}}


def _modified(file: BlobFile | None) -> float | None:
    return file.modified if file else None


SCHEMA = 1


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A layer and the first hundred tags that hold it.

    ``created`` is the time at which the layer's step ran (seconds since the epoch), None if unknown.
    A cache does not hold the step's text: records hold cache keys (digests), layer descriptors a time.
    """

    digest: str
    size: int
    media_type: str
    created: float | None
    tags: tuple[str, ...]


def layers_by_size(found: Reachability) -> tuple[Layer, ...]:
    """Return the reachable layers, largest first."""
    blobs = [blob for blob in found.blobs if ROLES[blob.media_type] is Role.LAYER]
    held = _holders(found.tags, [blob.digest for blob in blobs])
    layers = [
        Layer(
            digest=blob.digest,
            size=blob.size,
            media_type=blob.media_type,
            created=blob.created,
            tags=tuple(held[blob.digest]),
        )
        for blob in blobs
    ]
    return tuple(sorted(layers, key=lambda layer: (-layer.size, layer.digest)))


def _holders(tags: Sequence[Tag], layers: Sequence[str]) -> Mapping[str, Sequence[str]]:
    """Return the first hundred tags that hold each layer; stop looking for a layer that has a hundred."""
    held: dict[str, list[str]] = {digest: [] for digest in layers}
    numbering = tags[0].closure.numbering if tags else Numbering(())
    wanted = numbering.bits(layers)
    for tag in tags:
        full = []
        for digest in numbering.names(tag.closure.bits & wanted):
            held[digest].append(tag.name)
            if len(held[digest]) == LISTED_TAGS:
                full.append(digest)
        wanted &= ~numbering.bits(full) if full else -1
    return held


def as_json(found: Reachability, findings: Iterable[Finding] = ()) -> dict[str, object]:
    """Return a folder as plain JSON values: sizes in bytes, times in RFC 3339, null if unknown."""
    return {
        "schema": SCHEMA,
        "folder": str(found.folder),
        "blobs": len(found.blobs),
        "records": found.records,
        "live_bytes": found.live_bytes,
        "dead_blobs": found.dead_blobs,
        "dead_bytes": found.dead_bytes,
        "tags": [_tag(tag) for tag in found.tags],
        "layers": [
            {
                "digest": layer.digest,
                "bytes": layer.size,
                "media_type": layer.media_type,
                "created": rfc3339(layer.created),
                "tags": list(layer.tags),
            }
            for layer in layers_by_size(found)
        ],
        "findings": [finding_json(finding) for finding in findings],
    }


def _tag(tag: Tag) -> dict[str, object]:
    return {
        "name": tag.name,
        "digest": tag.digest,
        "shape": tag.shape.value,
        "layers": tag.layers,
        "records": tag.records,
        "live_bytes": tag.live_bytes,
        "own_bytes": tag.own_bytes,
        "created": rfc3339(tag.created),
        "written": rfc3339(tag.written),
        "build": _note(tag.note) if tag.note else None,
    }


def _note(note: BuildNote) -> dict[str, object]:
    return {
        "scope": note.scope or None,
        "commit": note.commit or None,
        "steps": list(note.steps),
        "more_steps": note.more,
    }


def finding_json(finding: Finding) -> dict[str, str]:
    """Return a finding as plain JSON values."""
    return {
        "kind": finding.kind.value,
        "severity": finding.severity.value,
        "blob": finding.blob,
        "referrer": finding.referrer,
        "problem": finding.problem,
        "remedy": finding.remedy,
    }


def rfc3339(moment: float | None) -> str | None:
    """Format seconds since the epoch as an RFC 3339 time; None if unknown or out of the calendar's range."""
    if moment is None:
        return None
    try:
        return datetime.fromtimestamp(moment, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    except (ValueError, OverflowError, OSError):
        return None
