"""Parse a cacheconfig: the cache's layers, and the record (a step's cache key) that leads to each layer.

A fault is whatever makes BuildKit refuse the whole import (``cache/remotecache/v1/parse.go``). A record holds digests
of cache keys and times, but not the step's text: a record does not say which command made a layer.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice

from buildx_cache.layout.graph import DocumentSource, Graph, WalkLimits
from buildx_cache.layout.model import DOCUMENT_LIMIT, Descriptor, FindingKind, Role
from buildx_cache.layout.parse import (
    MalformedError,
    count_values,
    integer,
    is_digest,
    items,
    mapping,
    parse_object,
    seconds,
    shown,
)

_FAULTS = 20
_NO_PARENT = -1
_INLINE = "moby.buildkit.cache.v0"


@dataclass(frozen=True, kw_only=True)
class Records:
    """The content of a cacheconfig: numbers of layers and records, the newest time (seconds since the epoch), faults.

    ``places`` maps each layer's digest to its position in the list.
    """

    layers: int
    records: int
    newest: float | None
    faults: tuple[str, ...]
    places: Mapping[str, int]

    def faults_in(self, provided: frozenset[str]) -> tuple[str, ...]:
        """Return at most 20 faults of the cacheconfig in a manifest that lists the layers ``provided``."""
        if self.places.keys() <= provided:  # stops at the first layer that the manifest lacks
            return self.faults
        absent = (
            f"layer {place}: its blob {blob} is not in the manifest"
            for blob, place in self.places.items()
            if blob not in provided
        )
        return tuple(islice(chain(self.faults, absent), _FAULTS))


def read_configs(
    graph: Graph, source: DocumentSource, limits: WalkLimits
) -> Iterator[tuple[Descriptor, str, Records | MalformedError | None]]:
    """Read every config of a graph once; yield the config, the digest of each manifest that names it, and its content.

    The content is Records for a cacheconfig and for the config of an image with an inline cache, None for the config
    of another image, and MalformedError for a config that cannot be read.
    """
    reader = _ConfigReader(source, limits)
    read: dict[str, Records | MalformedError | None] = {}
    for parent, children in graph.children.items():
        layers = [child.digest for child in children if child.role is Role.LAYER]
        provided = frozenset(child.digest for child in children if child.role is not Role.CACHE_CONFIG)
        configs = {child.digest: child for child in children if child.role in (Role.CONFIG, Role.CACHE_CONFIG)}
        for digest, config in configs.items():
            if digest not in read:
                read[digest] = reader.read(config, layers)
            found = read[digest]
            if isinstance(found, Records):
                found = replace(found, faults=found.faults_in(provided))
            yield config, parent, found


class _ConfigReader:
    """Read configs until their total exceeds the limits."""

    def __init__(self, source: DocumentSource, limits: WalkLimits) -> None:
        self._source = source
        self._documents = limits.documents
        self._bytes = limits.document_bytes
        self._values = limits.values

    def read(self, config: Descriptor, layers: Sequence[str]) -> Records | MalformedError | None:
        try:
            records = self._records(config, layers)
        except MalformedError as error:
            return error
        return None if records is None else read_records(records)

    def _records(self, config: Descriptor, layers: Sequence[str]) -> Mapping[str, object] | None:
        self._spend(documents=1)
        content = self._source.fetch(config)
        self._spend(size=len(content), values=count_values(content))
        document = parse_object(content)
        return document if config.role is Role.CACHE_CONFIG else self._inline_records(document, layers)

    def _spend(self, *, documents: int = 0, size: int = 0, values: int = 0) -> None:
        self._documents -= documents
        self._bytes -= size
        self._values -= values
        if min(self._documents, self._bytes, self._values) < 0:
            raise MalformedError(FindingKind.MORE, "comes after more configs than are read")

    def _inline_records(self, config: Mapping[str, object], layers: Sequence[str]) -> Mapping[str, object] | None:
        """Return the inline cache of an image's config as a cacheconfig over the image's layers; None if it has none.

        The config holds only the records, as base64 (BuildKit's ``cache/remotecache/inline/inline.go``).

        Raises:
            MalformedError: the inline cache cannot be read.
        """
        value = config.get(_INLINE)
        if value is None:
            return None
        try:
            content = base64.b64decode(str(value), validate=True)[:DOCUMENT_LIMIT]
            self._spend(values=count_values(content) + len(layers))  # one manifest may name thousands of configs
            records = json.loads(content)
        except (binascii.Error, ValueError, RecursionError):
            raise MalformedError(FindingKind.RECORDS, "holds an inline cache that cannot be read") from None
        chain = [{"blob": digest, "parent": place - 1} for place, digest in enumerate(layers)]
        return {"layers": chain, "records": records}


def read_records(config: Mapping[str, object]) -> Records:
    """Check a cacheconfig and count its layers and records.

    List at most 20 faults. A part that is not a list counts as empty and as a fault.
    """
    layers, layers_fault = _list(config, "layers")
    records, records_fault = _list(config, "records")
    reader = _Reader(layers=len(layers), records=len(records))
    faults = [
        *layers_fault,
        *records_fault,
        *islice(reader.layer_faults(layers), _FAULTS),
        *islice(reader.record_faults(records), _FAULTS),
    ]
    return Records(
        layers=len(layers),
        records=len(records),
        newest=reader.newest,
        faults=tuple(faults[:_FAULTS]),
        places=reader.places,
    )


def _list(config: Mapping[str, object], key: str) -> tuple[list[object], tuple[str, ...]]:
    try:
        return items(config, key), ()
    except MalformedError as error:
        return [], (error.problem,)


class _Reader:
    def __init__(self, *, layers: int, records: int) -> None:
        self.layers = layers
        self.records = records
        self.newest: float | None = None
        self.places: dict[str, int] = {}

    def layer_faults(self, layers: Sequence[object]) -> Iterator[str]:
        parents: list[tuple[int, ...]] = []
        for place, value in enumerate(layers):
            parent = _NO_PARENT
            try:
                parent = self._layer(mapping(value, "it"), place)
            except MalformedError as error:
                yield f"layer {place}: {error.problem}"
            parents.append(() if parent == _NO_PARENT else (parent,))
        if has_cycle(parents):
            yield "its layers are their own parents"

    def _layer(self, layer: Mapping[str, object], place: int) -> int:
        blob = layer.get("blob")
        if not isinstance(blob, str) or not is_digest(blob):
            raise _fault(f"has no sha256 digest but {shown(blob)}")
        self.places[blob] = place
        parent = integer(layer, "parent")
        return parent if parent == _NO_PARENT else _in_range(parent, self.layers, "parent")

    def record_faults(self, records: Sequence[object]) -> Iterator[str]:
        links: list[tuple[int, ...]] = []
        for place, value in enumerate(records):
            found: tuple[int, ...] = ()
            try:
                record = mapping(value, "it")
                self._results(record)
                found = self._inputs(record)
            except MalformedError as error:
                yield f"record {place}: {error.problem}"
            links.append(found)
        if has_cycle(links):
            yield "its records are their own inputs"

    def _results(self, record: Mapping[str, object]) -> None:
        for value in items(record, "layers"):
            result = mapping(value, "a result")
            _in_range(integer(result, "layer"), self.layers, "layer")
            self._see(result)
        for value in items(record, "chains"):
            results = mapping(value, "a chain")
            for number in items(results, "layers"):
                _in_range(integer({"layer": number}, "layer"), self.layers, "layer")
            self._see(results)

    def _inputs(self, record: Mapping[str, object]) -> tuple[int, ...]:
        found: list[int] = []
        for value in items(record, "inputs"):
            alternatives = items({"inputs": value}, "inputs")
            if not alternatives:
                raise _fault("has an empty input")
            links = (mapping(alternative, "an input") for alternative in alternatives)
            found += [_in_range(integer(link, "link"), self.records, "link") for link in links]
        return tuple(found)

    def _see(self, result: Mapping[str, object]) -> None:
        created = seconds(result.get("createdAt"))
        if created is not None and (self.newest is None or created > self.newest):
            self.newest = created


def has_cycle(edges: Sequence[Sequence[int]]) -> bool:
    """Return whether the graph of ``edges[from] = (to, …)`` has a cycle; every number is an index into ``edges``."""
    waiting = [0] * len(edges)
    for targets in edges:
        for target in targets:
            waiting[target] += 1
    free = [place for place, count in enumerate(waiting) if count == 0]
    done = 0
    while free:
        done += 1
        for target in edges[free.pop()]:
            waiting[target] -= 1
            if waiting[target] == 0:
                free.append(target)
    return done < len(edges)


def _in_range(number: int, count: int, what: str) -> int:
    if not 0 <= number < count:
        raise _fault(f"its {what} {number} is not one of {count}")
    return number


def _fault(problem: str) -> MalformedError:
    return MalformedError(FindingKind.RECORDS, problem)
