"""Which of BuildKit's vertices, and of their transfers, belong to which cache entries."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence

from buildx_cache.buildkit.trace import Transfer
from buildx_cache.buildkit.vertex_names import bare_name, import_source
from buildx_cache.caches.entry import CacheEntry

_HASHED = re.compile(r"(?P<type>\w+):\w+")
# BuildKit's error for an export that it cannot start (``control/control.go``); ``ignore-error`` does not help.
_UNCONFIGURED = re.compile(
    r"(?:failed to build: )?(?:failed to solve: )?"
    r'(?:failed to configure (?P<type>\w+) cache exporter: |unknown cache exporter: "?(?P<unknown>\w+))'
)


def importing(name: str, entries: Collection[CacheEntry]) -> tuple[CacheEntry, ...]:
    """Return the import entries to which a vertex of this name may belong."""
    source = import_source(name)
    exact = tuple(entry for entry in entries if entry.is_source(source))
    if exact or not (match := _HASHED.fullmatch(source)):
        return exact
    return tuple(entry for entry in entries if entry.type == match["type"])


def exporting(name: str, entries: Collection[CacheEntry]) -> tuple[CacheEntry, ...]:
    """Return the export entries to which a vertex of this name may belong."""
    bare = bare_name(name)
    return tuple(entry for entry in entries if bare in entry.backend.exporters)


def refused_exports(error: str, entries: Collection[CacheEntry]) -> tuple[CacheEntry, ...]:
    """Return the exports that BuildKit cannot start, which fails the whole build."""
    match = _UNCONFIGURED.match(error)
    refused = match and (match["type"] or match["unknown"])
    found = tuple(entry for entry in entries if entry.type == refused)
    return tuple(entry for entry in found if entry.is_named_by(error)) or found


def import_transfers(
    entries: Sequence[CacheEntry], transfers: Sequence[Transfer]
) -> Mapping[CacheEntry, tuple[Transfer, ...]]:
    """Return the transfers of each import entry."""
    sources = {each.name: import_source(each.name) for each in transfers}
    named = [entry for entry in entries if any(map(entry.is_source, sources.values()))]
    unnamed = [entry for entry in entries if entry not in named]

    def candidates(name: str) -> tuple[CacheEntry, ...]:
        return tuple(entry for entry in named if entry.is_source(sources[name])) or importing(name, unnamed)

    return _shared_out(entries, [(each, candidates(each.name)) for each in transfers])


def export_transfers(
    entries: Sequence[CacheEntry], transfers: Sequence[Transfer]
) -> Mapping[CacheEntry, tuple[Transfer, ...]]:
    """Return the transfers of each export entry."""
    return _shared_out(entries, [(each, exporting(each.name, entries)) for each in transfers])


def _shared_out(
    entries: Sequence[CacheEntry], candidates: Sequence[tuple[Transfer, tuple[CacheEntry, ...]]]
) -> Mapping[CacheEntry, tuple[Transfer, ...]]:
    """Assign each transfer to the entries that its error names, else to the candidates that no error names."""
    blamed = [tuple(entry for entry in found if entry.is_named_by(each.error)) for each, found in candidates]
    claimed = {entry for found in blamed for entry in found}
    shares: dict[CacheEntry, list[Transfer]] = {entry: [] for entry in entries}
    for (transfer, found), named in zip(candidates, blamed, strict=True):
        free = found if len(found) == 1 else tuple(entry for entry in found if entry not in claimed)
        for entry in named or free:
            shares[entry].append(transfer)
    return {entry: tuple(share) for entry, share in shares.items()}
