"""Tags that index.json has lost: entries that lead nowhere go, and the cache manifest that is there is named again.

All exporters of one build share one response key, so that a build with two cache exports can leave the tag of the
local one at the digest of the other, while the manifest that it should name lies in the folder, unreferenced.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from buildx_cache.layout.graph import walk
from buildx_cache.layout.index import index_entries, replace_entries, with_entries
from buildx_cache.layout.model import (
    DOCUMENTS_LIMIT,
    IMPORT_LIMIT,
    OCI_INDEX,
    OCI_MANIFEST,
    TAGS_LIMIT,
    Finding,
    Kind,
    Repaired,
    Role,
)
from buildx_cache.layout.parse import INDEX_TAG, MalformedError, parse_object, tag_of
from buildx_cache.layout.store import INDEX, Store, open_store
from buildx_cache.layout.verification import damaged_documents

Entry = dict[str, object]


def blob_names(folder: Path) -> frozenset[str]:
    """The digests of the blobs in the folder, reachable or not; none where there is no such folder."""
    try:
        with open_store(folder) as store:
            return frozenset("sha256:" + name for name, file in store.files.items() if file.regular)
    except MalformedError:
        return frozenset()


def repair_index(folder: Path, *, tag: str = "latest", candidates: frozenset[str] | None = None) -> Repaired:
    """Drop the entries of index.json whose manifest is absent, and name a lost cache manifest again.

    Where no entry is left for ``tag`` and just one whole cache manifest in the folder has no name, it gets that one.
    The index, which may be absent or unreadable, keeps its bytes where nothing is to be done.
    Call it while holding the folder exclusively.

    Args:
        folder: the layout folder.
        tag: the tag to restore.
        candidates: digests, one of which the tag may lead to: those that appeared during the build (see
            :func:`blob_names`), or else the one that it led to before. By default, all that no tag leads to.
    """
    try:
        with open_store(folder) as store:
            unlisted = tuple(finding for finding in store.foreign if finding.kind is not Kind.FOREIGN)
            return Repaired(obstacles=unlisted) if unlisted else _repair(store, tag, candidates)
    except MalformedError as error:
        return Repaired(obstacles=(Finding(kind=error.kind, blob=INDEX, referrer="", problem=error.problem),))


def _repair(store: Store, tag: str, candidates: frozenset[str] | None) -> Repaired:
    graph = walk(store)
    dangling = {root.position: root for root in graph.roots if store.file(root.descriptor.digest) is None}
    kept = [root.descriptor for root in graph.roots if root.position not in dangling]
    found = None
    if all(descriptor.tag != tag for descriptor in kept):
        tagged = frozenset(descriptor.digest for descriptor in kept if descriptor.tag)
        found = lost_manifest(store, tagged=tagged, candidates=candidates)
    if found is None and not dangling:
        return Repaired(obstacles=tuple(finding for finding in graph.obstacles if finding.kind is Kind.INDEX))
    entries = [entry for place, entry in enumerate(_entries(graph.index)) if place not in dangling]
    replace_entries(store, graph.index, entries if found is None else with_tag(entries, tag, found))
    dropped = tuple(root.descriptor.tag for root in dangling.values())
    if found is None:
        return Repaired(dropped=dropped)
    return Repaired(dropped=dropped, restored=tag, digest=str(found["digest"]))


def _entries(index: bytes) -> list[object]:
    try:
        return index_entries(index)
    except MalformedError:
        return []


def with_tag(entries: list[object], tag: str, entry: Entry) -> list[object]:
    """The entries with ``tag`` at another one, where Buildx puts it: others of that name go, and it comes last."""
    return [*(one for one in entries if tag_of(one) != tag), {**entry, "annotations": {INDEX_TAG: tag}}]


def lost_manifest(store: Store, *, tagged: frozenset[str], candidates: frozenset[str] | None = None) -> Entry | None:
    """The entry, without a tag, of the one whole cache manifest that has no name; None where there is none or more.

    A cache manifest is a blob whose content has its digest and says so itself; none that another blob refers to
    counts, and without ``candidates`` none that is ``tagged``.
    """
    entries = {str(entry["digest"]): entry for entry in _documents(store)}
    graph = walk(store, with_entries(b"", list(entries.values())))
    inner = {child.digest for children in graph.children.values() for child in children}
    caches = {
        digest
        for digest, children in graph.children.items()
        if any(child.role is Role.CACHE_CONFIG for child in children)
    }
    outer = caches - inner
    possible = outer - tagged if candidates is None else outer & candidates
    found = possible - damaged_documents(store, graph)
    return entries[found.pop()] if len(found) == 1 and len(entries) <= TAGS_LIMIT else None


def whole_entries(store: Store, entries: Sequence[object]) -> list[object]:
    """Those entries of an index.json of which all that they lead to is there and sound, the content of layers left out.

    No more are looked at than an index may have.
    """
    graph = walk(store, with_entries(b"", entries))
    broken = damaged_documents(store, graph)
    return [entries[root.position] for root in graph.roots if root.descriptor.digest not in broken]


def _documents(store: Store) -> list[Entry]:
    """Make an entry for each blob that may be a manifest or an index to import; none where there are too many bytes."""
    digests = [digest for digest in map("sha256:{}".format, store.files) if _is_small_object(store, digest)]
    sizes = {digest: file.size for digest in digests if (file := store.file(digest))}
    if sum(sizes.values()) > DOCUMENTS_LIMIT:
        return []
    types = {digest: _media_type(store, digest) for digest in digests}
    return [
        {"mediaType": types[digest], "digest": digest, "size": sizes[digest]} for digest in digests if types[digest]
    ]


def _is_small_object(store: Store, digest: str) -> bool:
    file = store.file(digest)
    if file is None or not file.regular or file.size > IMPORT_LIMIT:
        return False
    try:
        with os.fdopen(store.open_blob(digest), "rb") as content:
            return content.read(1) == b"{"
    except (MalformedError, OSError):
        return False


def _media_type(store: Store, digest: str) -> object:
    """Return what a manifest says it is, or is by its shape; None for another blob."""
    try:
        document = parse_object(store.read_document(digest))
    except MalformedError:
        return None
    by_shape = OCI_MANIFEST if "config" in document else OCI_INDEX if "manifests" in document else None
    return document.get("mediaType", by_shape) if by_shape else None
