"""A build on a terminal: a tree that is drawn anew as long as it runs, and leaves its steps as lines."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import TextIO

from rich.text import Text

from buildx_cache.buildkit import Event, TextLine
from buildx_cache.display.live_region import Region, fitted
from buildx_cache.display.live_render import tree
from buildx_cache.display.live_state import Board
from buildx_cache.display.phases import Phase
from buildx_cache.display.quiet import QuietDisplay
from buildx_cache.display.steps import Watched
from buildx_cache.display.text import Line, is_worth_a_warning
from buildx_cache.display.ticker import alone
from buildx_cache.formatting import duration
from buildx_cache.report import BuildReport

_OUTCOMES = {"CACHED": "dim", "FAILED": "bold red", "STOPPED": "yellow"}


def can_draw(stderr: TextIO, env: Mapping[str, str]) -> bool:
    """Whether ``stderr`` is a terminal that can move its cursor and show what is drawn."""
    if not stderr.isatty() or env.get("TERM", "dumb") in ("dumb", "unknown", ""):
        return False
    try:
        columns, rows = os.get_terminal_size(stderr.fileno())
    except OSError:
        return False
    is_unicode = stderr.encoding.lower().replace("-", "") == "utf8"
    return is_unicode and columns >= 20 and rows >= 5  # noqa: PLR2004 -- less is no room for a tree


class LiveDisplay(QuietDisplay):
    """A tree below whatever else is said.

    Only ``beat`` and ``close`` write while the tree is there. The former is called from a thread that no signal
    interrupts, so nothing is ever drawn by half.
    """

    every = 0.2

    def __init__(self, stderr: TextIO, *, color: bool, verbose: bool = False) -> None:
        super().__init__(stderr, color=color)
        self._verbose = verbose
        self._region = Region(stderr, color=color)
        self._above: list[Text] = []
        self._is_over = False
        self._phase = Phase()
        self._head = ""
        self._began: float | None = None
        self._board = Board()

    def say(self, text: str) -> None:
        """One line above the tree."""
        self._print("", "", text)

    def command(self, line: str) -> None:
        """One line, if asked for."""
        if self._verbose:
            self.say(f"+ {line}")

    @alone
    def phase(self, name: str) -> None:
        """What the tree is headed with."""
        self._phase = Phase(name=name, since=time.monotonic())
        if name == "build" and self._began is None:
            self._began = self._phase.since

    @alone
    def event(self, event: Event) -> None:
        """Steps, transfers and logs; of plain lines only warnings."""
        if isinstance(event, TextLine) and is_worth_a_warning(event.text):
            self.warn(event.text.removeprefix("WARNING:").strip())
        else:
            self._board.take(event)

    @alone
    def restart(self) -> None:
        """A new tree."""
        self._board = Board()

    @alone
    def beat(self) -> None:
        """Draw."""
        if self._is_over:
            return
        columns, rows = self._region.size
        self._head = self._doing() or self._head
        rows = min(rows - 1, _TALLEST)
        lines = tree(self._board, head=self._head, rows=rows, columns=columns, now=time.time()) if self._head else []
        above, self._above = self._above, []
        self._region.draw(lines, above)

    @alone
    def close(self) -> None:
        """Leave the steps that ended, or were stopped, as lines."""
        if self._is_over:
            return
        columns, _ = self._region.size
        begun = sorted((each for each in self._board.steps if each.has_begun), key=_order)
        self._region.close([*self._above, *(fitted(_step(each), columns - 1) for each in begun)])
        self._above, self._is_over = [], True

    @alone
    def summary(self, report: BuildReport) -> None:
        """Steps, cache and phases."""
        self._summarise(report)

    def _put(self, line: Line) -> None:
        if self._is_over:
            super()._put(line)
        else:
            self._above.append(line.styled)

    def _doing(self) -> str:
        """What is done now; nothing while it is quickly done, so that the tree stays as it is."""
        now = time.monotonic()
        if self._phase.name == "build" and self._began is not None:  # it may come in several parts
            return f"building {duration(now - self._began)}"
        return self._phase.still(now)


# Rows of the tree, so that a large terminal still shows what was there before.
_TALLEST = 40


def _step(watched: Watched) -> Text:
    text = Text(watched.line)
    text.stylize(_OUTCOMES.get(watched.outcome, "green"), 0, 8)
    return text


def _order(watched: Watched) -> tuple[float, str, str, int]:
    state, label = watched.state, watched.label
    return (state.started or 0.0, *((label.platform, label.stage, label.number) if label else ("", "", 0)))
