"""Cache folders as ``cache inspect``, ``verify`` and ``prune`` show them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from buildx_cache.display.cache_tables import UNKNOWN, Sheet, cell, new_table, tag_name
from buildx_cache.formatting import counted, size
from buildx_cache.layout import Bounded, Finding, Reach, Tag, layers_by_size


class FolderTables(Sheet):
    """Prints what was found in folders and done to them."""

    def inspected(self, found: Reach, findings: Sequence[Finding], *, layers: int) -> None:
        """A cache folder: what it holds, its tags, its ``layers`` largest layers, what is wrong with it."""
        self._begin()
        dead = f"{size(found.dead_bytes)} in {counted(found.dead_blobs, 'blob')}"
        self._facts(
            ("cache", str(found.folder)),
            (
                "live",
                f"{size(found.live_bytes)} in {counted(len(found.blobs), 'blob')}, {counted(found.records, 'record')}",
            ),
            ("dead", f"{dead}: `cache prune` deletes what nothing refers to" if found.dead_blobs else "nothing"),
        )
        self._tags(found.tags)
        self._layers(layers_by_size(found), layers, several=len(found.tags) > 1)
        self._findings(findings)

    def verified(self, found: Reach, findings: Sequence[Finding], *, deep: bool) -> None:
        """Whether a folder is sound and how closely it was looked at; every finding, those with one remedy together."""
        how = "layers read" if deep else "layers by size"
        said = f"{counted(len(found.blobs), 'blob')}, {size(found.live_bytes)} ({how})"
        self._verified(str(found.folder), said, findings)

    def pruned(self, folder: Path, done: Bounded) -> None:
        """What went from a folder, or would go."""
        self._begin()
        swept = done.swept
        dropped, deleted, kept = (
            ("would drop", "would delete", "would keep") if swept.dry_run else ("dropped", "deleted", "kept")
        )
        facts = [("cache", str(folder))]
        if done.dropped:
            names = ", ".join(map(tag_name, done.dropped))
            facts.append((dropped, f"{counted(len(done.dropped), 'tag')}: {names}"))
        facts.append((deleted, f"{counted(len(swept.blobs), 'blob')}, {size(swept.blob_bytes)}"))
        if swept.ingests:
            facts.append((deleted, f"{counted(swept.ingests, 'partial write')}, {size(swept.ingest_bytes)}"))
        if swept.kept_blobs:
            young = f"{counted(swept.kept_blobs, 'blob')}, {size(swept.kept_bytes)}"
            facts.append((kept, f"{young}, for now: younger than ten minutes, a build may be at work"))
        self._facts(*facts, ("live", size(done.live_bytes)))

    def _tags(self, tags: Sequence[Tag]) -> None:
        if not tags:
            return
        table = new_table("tag", age=True, size=True, own=True, layers=True, records=True, shape=False)
        for tag in tags:
            table.add_row(
                cell(tag_name(tag.name)),
                self._age(tag.created or tag.written),
                size(tag.live_bytes),
                size(tag.own_bytes),
                str(tag.layers),
                UNKNOWN if tag.records is None else str(tag.records),
                tag.shape.value,
            )
        self._print(table)
