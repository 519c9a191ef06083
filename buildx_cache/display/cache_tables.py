"""What the ``cache`` commands share in what they show: facts, findings and tables, in 80 columns."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import groupby
from typing import TextIO

from rich.console import Console
from rich.table import Table
from rich.text import Text

from buildx_cache.formatting import age, counted, printable, short_digest, size, with_short_digests
from buildx_cache.layout import LISTED_TAGS, Finding, Layer, Severity, damaged

UNKNOWN = "-"
_SEVERITIES = {Severity.DAMAGE: "bold red", Severity.NOTICE: "yellow"}
_TITLE = 8
_TAGS = 30


class Results(Console):
    """Where results are printed: ``out``, or nowhere with ``quiet``."""

    def __init__(self, out: TextIO, *, color: bool, quiet: bool = False) -> None:
        super().__init__(file=out, highlight=False, no_color=not color, quiet=quiet)

    def on_broken_pipe(self) -> None:
        """Left to the command line; Rich would end the program with an exit code of its own."""
        raise BrokenPipeError


class Sheet:
    """Prints parts to ``console``; ``now`` (seconds since the epoch) is what ages are counted from."""

    def __init__(self, console: Results, *, now: float) -> None:
        self._console = console
        self._now = now
        self._begun = False

    def _begin(self) -> None:
        """An empty line between one cache and the next."""
        if self._begun:
            self._console.print()
        self._begun = True

    def _facts(self, *pairs: tuple[str, str]) -> None:
        """A matter and what there is to say of it, a line each."""
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
            self._line("to do", "bold", remedy)

    def _findings(self, findings: Sequence[Finding]) -> None:
        if findings:
            self._console.print()
        for finding in findings:
            self._finding(finding)

    def _finding(self, finding: Finding) -> None:
        style = _SEVERITIES[finding.severity]
        self._line(finding.severity.value, style, f"{with_short_digests(finding.blob)}: {finding.problem}")

    def _layers(self, layers: Sequence[Layer], count: int, *, several: bool = False) -> None:
        """The first ``count`` layers; of a cache with ``several`` tags, with those that hold each."""
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
    """A text from elsewhere, on one line: neither Rich's markup nor the terminal's commands mean anything in it."""
    return Text("".join(sign if sign.isprintable() else "?" for sign in printable(text)))


def new_table(first: str, **columns: bool) -> Table:
    """A table without lines; ``columns`` are the others by name, and whether they hold figures."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column(first, overflow="fold")
    for name, figures in columns.items():
        table.add_column(name, justify="right" if figures else "left", no_wrap=figures, overflow="fold")
    return table


def tag_name(name: str) -> str:
    """A tag for people; one without a name has a word, too."""
    return name or "(none)"


def _by_remedy(finding: Finding) -> tuple[bool, str]:
    return finding.severity is not Severity.DAMAGE, finding.remedy
