"""Show cache folders and caches in registries: facts, findings and tables of ``cache``, in 80 columns."""

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
    Bounded,
    Finding,
    Layer,
    Reach,
    Severity,
    Tag,
    damaged,
    layers_by_size,
    rfc3339,
)
from buildx_cache.layout.model import Descriptor
from buildx_cache.registry.pruning import Deletion
from buildx_cache.registry.repository import Holds, RemoteCache

UNKNOWN = "-"
_SEVERITIES = {Severity.DAMAGE: "bold red", Severity.NOTICE: "yellow"}
_TITLE = 8
_TAGS = 30


class Results(Console):
    """Where results are printed: ``out``, or nowhere with ``quiet``."""

    def __init__(self, out: TextIO, *, color: bool, quiet: bool = False) -> None:
        super().__init__(file=out, highlight=False, no_color=not color, quiet=quiet)

    def on_broken_pipe(self) -> None:
        """Left to the command line; Rich would end the program with another exit code."""
        raise BrokenPipeError


class Sheet:
    """Prints parts to ``console``; ``now`` (seconds since the epoch) is what ages are counted from."""

    def __init__(self, console: Results, *, now: float) -> None:
        self._console = console
        self._now = now
        self._begun = False

    def _begin(self) -> None:
        """Print an empty line between one cache and the next."""
        if self._begun:
            self._console.print()
        self._begun = True

    def _facts(self, *pairs: tuple[str, str]) -> None:
        """Print a matter and what there is to say of it, a line each."""
        width = max(_TITLE, *(len(matter) for matter, _ in pairs))
        for matter, said in pairs:
            self._line(f"{matter:<{width}}", "bold", said)

    def _line(self, title: str, style: str, said: str) -> None:
        grid = Table.grid(padding=(0, 2, 0, 0))
        grid.add_column(no_wrap=True, min_width=_TITLE)
        grid.add_column(overflow="fold")
        grid.add_row(Text(title, style), cell(said))
        self._console.print(grid)

    def _verified(self, name: str, said: str, findings: Sequence[Finding]) -> None:
        """One line where there is no damage; then every finding, those with one remedy together."""
        if damaged(tuple(findings)):
            self._begin()
            self._line("damaged", _SEVERITIES[Severity.DAMAGE], name)
        else:
            self._line("sound", "green", f"{name}: {said}")
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
        """Print the first ``count`` layers; with ``several`` tags, those that hold each."""
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
    """Return a text from elsewhere, on one line.

    Neither Rich's markup nor the terminal's commands mean anything in it.
    """
    return Text("".join(sign if sign.isprintable() else "?" for sign in printable(text)))


@dataclass(frozen=True, kw_only=True)
class OwnCache:
    """A cache in the user's cache directory: bytes on disk, and when its newest step was made, None if unknown."""

    name: str
    folder: Path
    size: int
    tags: int
    created: float | None

    def as_json(self) -> dict[str, object]:
        """Return the cache for a document."""
        return {
            "name": self.name,
            "folder": str(self.folder),
            "bytes": self.size,
            "tags": self.tags,
            "created": rfc3339(self.created),
        }


def own_caches_table(console: Results, home: str, rows: Sequence[OwnCache], *, now: float) -> None:
    """Print the caches of a user's cache directory, and their size in all."""
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
    """Return a table without lines; ``columns`` are the others by name, and whether they hold figures."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column(first, overflow="fold")
    for name, figures in columns.items():
        table.add_column(name, justify="right" if figures else "left", no_wrap=figures, overflow="fold")
    return table


def tag_name(name: str) -> str:
    """Return a tag for people; one without a name has a word, too."""
    return name or "(none)"


def _by_remedy(finding: Finding) -> tuple[bool, str]:
    return finding.severity is not Severity.DAMAGE, finding.remedy


class FolderTables(Sheet):
    """Prints what was found in folders and done to them."""

    def inspected(self, found: Reach, findings: Sequence[Finding], *, layers: int) -> None:
        """Print a cache folder: what it holds, its tags, its ``layers`` largest layers, its faults."""
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
        """Print what went from a folder, or would go."""
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


@dataclass(frozen=True, kw_only=True)
class UnreadableCache:
    """A tag in a registry that cannot be read, and why; its age is not known."""

    tag: str
    problem: str
    created: None = None


class RegistryTables(Sheet):
    """Prints what was found in repositories and done to them."""

    def listed(self, name: str, caches: Sequence[RemoteCache | UnreadableCache]) -> None:
        """Print the caches in a repository, in this order."""
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
        """Print what a tag holds, and its ``layers`` largest layers."""
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

    def pruned(self, name: str, done: Deletion, *, dry_run: bool, untagged: str = "") -> None:
        """Print what went from a repository, or would go, and what stays; ``untagged`` is what deletes the rest."""
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
            for what, judged in ((deleted, done.deleted), (kept, done.kept)):
                for each in judged:
                    table.add_row(what, cell(each.tag.name), cell(each.reason))
            self._print(table)


def _held(found: RemoteCache) -> str:
    return found.shape.value if found.holds is Holds.CACHE else found.holds.value


def _unnamed(layer: Descriptor) -> Layer:
    """Return a layer of one tag, whose name need not be said."""
    return Layer(digest=layer.digest, size=layer.size, media_type=layer.media_type, created=layer.created, tags=())
