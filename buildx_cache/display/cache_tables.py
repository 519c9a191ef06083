"""Print the results of the ``cache`` commands: facts, findings and tables in 80 columns."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TextIO

from rich.console import Console
from rich.table import Table
from rich.text import Text

from buildx_cache.formatting import age, counted, printable, short_digest, size, with_short_digests
from buildx_cache.layout import (
    LISTED_TAGS,
    BuildNote,
    EvictionResult,
    Finding,
    Layer,
    Reachability,
    Severity,
    Tag,
    damaged,
    layers_by_size,
    rfc3339,
)
from buildx_cache.layout.model import Descriptor
from buildx_cache.registry.pruning import Deletion
from buildx_cache.registry.repository import RemoteCache, TagKind

UNKNOWN = "-"
_SEVERITIES = {Severity.DAMAGE: "bold red", Severity.NOTICE: "yellow"}
_TITLE = 8
_TAGS = 30
_NOTED_TAGS = 5
_COMMIT = 12
_NO_STEPS = "not known: BuildKit keeps digests only; a folder that a build of this program wrote has them"


class Results(Console):
    """The console for results: prints to ``out``, or nothing with ``quiet``."""

    def __init__(self, out: TextIO, *, color: bool, quiet: bool = False) -> None:
        super().__init__(file=out, highlight=False, no_color=not color, quiet=quiet)

    def on_broken_pipe(self) -> None:
        """Raise the error for the command line to handle; Rich would end the program with another exit code."""
        raise BrokenPipeError


class CacheTables:
    """Print parts of a result to ``console``; ages are relative to ``now`` (seconds since the epoch)."""

    def __init__(self, console: Results, *, now: float) -> None:
        self._console = console
        self._now = now
        self._begun = False

    def _begin(self) -> None:
        """Print an empty line between two caches."""
        if self._begun:
            self._console.print()
        self._begun = True

    def _facts(self, *pairs: tuple[str, str]) -> None:
        """Print one line for each pair of title and text."""
        width = max(_TITLE, *(len(title) for title, _ in pairs))
        for title, text in pairs:
            self._line(f"{title:<{width}}", "bold", text)

    def _line(self, title: str, style: str, text: str) -> None:
        grid = Table.grid(padding=(0, 2, 0, 0))
        grid.add_column(no_wrap=True, min_width=_TITLE)
        grid.add_column(overflow="fold")
        grid.add_row(Text(title, style), cell(text))
        self._console.print(grid)

    def _verified(self, name: str, checked: str, findings: Sequence[Finding]) -> None:
        """Print whether a cache is sound, then every finding, grouped by remedy."""
        if damaged(tuple(findings)):
            self._begin()
            self._line("damaged", _SEVERITIES[Severity.DAMAGE], name)
        else:
            self._line("sound", "green", f"{name}: {checked}")
        for remedy, group in groupby(sorted(findings, key=_by_remedy), key=lambda finding: finding.remedy):
            for finding in group:
                self._finding(finding)
                if finding.referrer:
                    self._line("", "", f"named by {with_short_digests(finding.referrer)}")
            self._line("hint", "bold", remedy)

    def _findings(self, findings: Sequence[Finding]) -> None:
        if findings:
            self._console.print()
        for finding in findings:
            self._finding(finding)

    def _finding(self, finding: Finding) -> None:
        style = _SEVERITIES[finding.severity]
        self._line(finding.severity.value, style, f"{with_short_digests(finding.blob)}: {finding.problem}")

    def _layers(self, layers: Sequence[Layer], count: int, *, several: bool = False) -> None:
        """Print the first ``count`` layers; with ``several``, also the tags of each layer."""
        if not layers or not count:
            return
        table = new_table("layer", size=True, age=True, format=False)
        if several:
            table.add_column("tags", overflow="ellipsis", no_wrap=True, max_width=_TAGS)
        for layer in layers[:count]:
            kind = re.split(r"[.+]", layer.media_type)[-1]
            many = counted(len(layer.tags), "tag") + (" or more" if len(layer.tags) == LISTED_TAGS else "")
            tags = tag_name(layer.tags[0]) if len(layer.tags) == 1 else many
            row = (short_digest(layer.digest), size(layer.size), self._age(layer.created), kind)
            table.add_row(*row, *((cell(tags),) if several else ()))
        self._print(table)
        if rest := layers[count:]:
            more = f"and {counted(len(rest), 'smaller layer')}, {size(sum(layer.size for layer in rest))}"
            self._console.print(Text(f"{more}: --layers {len(layers)} shows all"))

    def _print(self, table: Table) -> None:
        self._console.print()
        self._console.print(table)

    def _age(self, moment: float | None) -> str:
        return UNKNOWN if moment is None else age(self._now - moment)


def cell(text: str) -> Text:
    """Return an untrusted text on one line, in which Rich's markup and terminal control sequences have no effect."""
    return Text("".join(sign if sign.isprintable() else "?" for sign in printable(text)))


@dataclass(frozen=True, kw_only=True)
class OwnCache:
    """A cache in the user's cache directory: bytes on disk, and the time of its newest step, None if unknown."""

    name: str
    folder: Path
    size: int
    tags: int
    created: float | None

    def as_json(self) -> dict[str, object]:
        """Return the cache as plain JSON values."""
        return {
            "name": self.name,
            "folder": str(self.folder),
            "bytes": self.size,
            "tags": self.tags,
            "created": rfc3339(self.created),
        }


def own_caches_table(console: Results, home: str, rows: Sequence[OwnCache], *, now: float) -> None:
    """Print the caches of a user's cache directory, and their total size."""
    if not rows:
        console.print(cell(f"no caches in {home}"))
        return
    table = new_table("cache", size=True, tags=True, newest=True)
    for row in rows:
        newest = UNKNOWN if row.created is None else age(now - row.created)
        table.add_row(cell(row.name), size(row.size), str(row.tags), newest)
    console.print(table)
    console.print(cell(f"{size(sum(row.size for row in rows))} in {home}"))


def new_table(first: str, **columns: bool) -> Table:
    """Return a table without lines; ``columns`` maps the names of further columns to whether they hold numbers."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column(first, overflow="fold")
    for name, is_numeric in columns.items():
        table.add_column(name, justify="right" if is_numeric else "left", no_wrap=is_numeric, overflow="fold")
    return table


def tag_name(name: str) -> str:
    """Return a tag's name for people, ``(none)`` if it is empty."""
    return name or "(none)"


def _by_remedy(finding: Finding) -> tuple[bool, str]:
    return finding.severity is not Severity.DAMAGE, finding.remedy


class FolderTables(CacheTables):
    """Print the results of commands on cache folders."""

    def inspected(self, found: Reachability, findings: Sequence[Finding], *, layers: int) -> None:
        """Print a cache folder: its sizes, its tags, its ``layers`` largest layers, its faults."""
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
        self._steps(found.tags)
        self._layers(layers_by_size(found), layers, several=len(found.tags) > 1)
        self._findings(findings)

    def verified(self, found: Reachability, findings: Sequence[Finding], *, deep: bool) -> None:
        """Print whether a folder is sound, how it was checked, and every finding, grouped by remedy."""
        how = "layers read" if deep else "layers by size"
        checked = f"{counted(len(found.blobs), 'blob')}, {size(found.live_bytes)} ({how})"
        self._verified(str(found.folder), checked, findings)

    def pruned(self, folder: Path, done: EvictionResult) -> None:
        """Print the tags and blobs that were deleted from a folder, or would be."""
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

    def _steps(self, tags: Sequence[Tag]) -> None:
        """Print the steps of the builds that wrote the newest tags, where that is noted."""
        noted = sorted((tag for tag in tags if tag.note), key=lambda tag: tag.age_key, reverse=True)
        for tag in noted[:_NOTED_TAGS]:
            self._noted(tag.name, tag.note)
        if rest := noted[_NOTED_TAGS:]:
            self._console.print(Text(f"and the steps of {counted(len(rest), 'older tag')}: --format json shows all"))
        if tags and not noted:
            self._console.print()
            self._line("steps", "bold", _NO_STEPS)

    def _noted(self, tag: str, note: BuildNote | None) -> None:
        if note is None:
            return
        of = ", ".join(filter(None, (note.scope, f"commit {note.commit[:_COMMIT]}" if note.commit else "")))
        self._console.print()
        self._line("steps", "bold", f"of {tag_name(tag)}" + (f" ({of})" if of else ""))
        for step in note.steps:
            self._console.print(cell(f"  {with_short_digests(step)}"), overflow="ellipsis", no_wrap=True)
        if note.more:
            self._console.print(Text(f"  and {counted(note.more, 'more step')}"))


@dataclass(frozen=True, kw_only=True)
class UnreadableCache:
    """A tag in a registry that cannot be read, and the reason; its age is unknown."""

    tag: str
    problem: str
    created: None = None


class RegistryTables(CacheTables):
    """Print the results of commands on repositories."""

    def listed(self, name: str, caches: Sequence[RemoteCache | UnreadableCache]) -> None:
        """Print the caches in a repository, in the given order."""
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
        """Print the content of a tag, and its ``layers`` largest layers."""
        records = "" if found.records is None else f", {counted(found.records, 'record')}"
        self._facts(
            ("cache", f"{name}:{found.tag}"),
            ("digest", short_digest(found.digest)),
            ("holds", _held(found)),
            ("size", f"{size(found.size)} in {counted(len(found.layers), 'layer')}{records}"),
            *((("age", self._age(found.created)),) if found.created is not None else ()),
            ("steps", _NO_STEPS),
        )
        self._layers([_unnamed(layer) for layer in found.layers], layers)
        self._findings(found.findings)

    def verified(self, name: str, findings: Sequence[Finding], *, deep: bool) -> None:
        """Print whether a tag is sound, how it was checked, and every finding."""
        how = "layers read" if deep else "layers by size"
        self._verified(name, how, findings)

    def pruned(self, name: str, done: Deletion, *, dry_run: bool, untagged: str = "") -> None:
        """Print the tags that were deleted from a repository, or would be, and the kept tags.

        ``untagged`` says how to delete untagged manifests.
        """
        deleted, kept = ("would delete", "would keep") if dry_run else ("deleted", "kept")
        facts = [
            ("repository", name),
            (deleted, counted(len(done.deleted), "tag")),
            (kept, counted(len(done.kept), "tag")),
        ]
        if untagged:
            facts.append(("untagged", f"manifests of tags that were pushed again stay: {untagged}"))
        self._facts(*facts)
        if done.deleted or done.kept:
            table = new_table("", tag=False, why=False)
            for title, decisions in ((deleted, done.deleted), (kept, done.kept)):
                for each in decisions:
                    table.add_row(title, cell(each.tag.name), cell(each.reason))
            self._print(table)


def _held(found: RemoteCache) -> str:
    return found.shape.value if found.holds is TagKind.CACHE else found.holds.value


def _unnamed(layer: Descriptor) -> Layer:
    """Return a layer without the tag's name, for the table of one tag."""
    return Layer(digest=layer.digest, size=layer.size, media_type=layer.media_type, created=layer.created, tags=())
