"""Caches in registries as ``cache inspect``, ``verify`` and ``prune`` show them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from buildx_cache.display.cache_tables import Sheet, cell, new_table
from buildx_cache.formatting import counted, short_digest, size
from buildx_cache.layout import Finding, Layer
from buildx_cache.layout.model import Descriptor
from buildx_cache.registry.pruning import Deletion
from buildx_cache.registry.repository import Holds, RemoteCache


@dataclass(frozen=True, kw_only=True)
class UnreadableCache:
    """A tag in a registry that cannot be read, and why; its age is not known."""

    tag: str
    problem: str
    created: None = None


class RegistryTables(Sheet):
    """Prints what was found in repositories and done to them."""

    def listed(self, name: str, caches: Sequence[RemoteCache | UnreadableCache]) -> None:
        """The caches in a repository, in this order."""
        self._facts(
            ("repository", name), ("caches", str(len(caches)) if caches else "none: it has no tag buildcache-*")
        )
        table = new_table("tag", age=True, size=True, layers=True, holds=False)
        for each in caches:
            if isinstance(each, RemoteCache):
                row = (self._age(each.created), size(each.size), str(len(each.layers)), _held(each))
                table.add_row(cell(each.tag), *row)
        if table.row_count:
            self._print(table)
        for each in caches:
            if isinstance(each, UnreadableCache):
                self._line("damage", "bold red", each.problem)

    def inspected(self, name: str, found: RemoteCache, *, layers: int) -> None:
        """What a tag holds, and its ``layers`` largest layers."""
        records = "" if found.records is None else f", {counted(found.records, 'record')}"
        self._facts(
            ("cache", f"{name}:{found.tag}"),
            ("digest", short_digest(found.digest)),
            ("holds", _held(found)),
            ("size", f"{size(found.size)} in {counted(len(found.layers), 'layer')}{records}"),
            *((("age", self._age(found.created)),) if found.created is not None else ()),
        )
        self._layers([_unnamed(layer) for layer in found.layers], layers)
        self._findings(found.findings)

    def verified(self, name: str, findings: Sequence[Finding], *, deep: bool) -> None:
        """Whether a tag is sound and how closely it was looked at, and every finding."""
        how = "layers read" if deep else "layers by size"
        self._verified(name, how, findings)

    def pruned(self, name: str, done: Deletion, *, dry_run: bool) -> None:
        """What went from a repository, or would go, and what stays."""
        deleted, kept = ("would delete", "would keep") if dry_run else ("deleted", "kept")
        facts = [
            ("repository", name),
            (deleted, counted(len(done.deleted), "tag")),
            (kept, counted(len(done.kept), "tag")),
        ]
        self._facts(*facts)
        if done.deleted or done.kept:
            table = new_table("", tag=False, why=False)
            for what, judged in ((deleted, done.deleted), (kept, done.kept)):
                for each in judged:
                    table.add_row(what, cell(each.tag.name), cell(each.reason))
            self._print(table)


def _held(found: RemoteCache) -> str:
    return found.shape.value if found.holds is Holds.CACHE else found.holds.value


def _unnamed(layer: Descriptor) -> Layer:
    """A layer of one tag, whose name need not be said."""
    return Layer(digest=layer.digest, size=layer.size, media_type=layer.media_type, created=layer.created, tags=())
