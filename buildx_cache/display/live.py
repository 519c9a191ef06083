"""Show a build on a terminal: a tree that is redrawn while the build runs, then one line for each step."""

from __future__ import annotations

import io
import os
import time
from collections.abc import Mapping, Sequence
from typing import TextIO

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from buildx_cache.buildkit.events import Event, TextLine
from buildx_cache.display.base import Line, Phase, is_worth_a_warning, locked
from buildx_cache.display.live_state import LiveState, render_tree
from buildx_cache.display.quiet import QuietDisplay
from buildx_cache.display.steps import Activity
from buildx_cache.formatting import duration
from buildx_cache.report import BuildReport

_HIDE, _SHOW = "\x1b[?25l", "\x1b[?25h"
_REST_OF_LINE, _REST_OF_SCREEN = "\x1b[K", "\x1b[J"


class Region:
    """The part of the terminal that is redrawn. Each drawing is one write, so that no partial drawing is visible."""

    def __init__(self, out: TextIO, *, color: bool) -> None:
        self._out = out
        self._color = color
        self._widths: tuple[int, ...] = ()
        self._is_open = False
        self._drawn = ""

    @property
    def size(self) -> tuple[int, int]:
        """The current columns and rows of the terminal."""
        columns, rows = os.get_terminal_size(self._out.fileno())
        return columns or 80, rows or 24

    def draw(self, lines: Sequence[Text], above: Sequence[Text] = ()) -> None:
        """Replace the drawing by ``lines``, cut to the terminal's width; first print ``above``, uncut, above it."""
        columns, _ = self.size
        console = self._console(columns)
        shown = [fitted(line, columns - 1) for line in lines]
        passing = _passing(console, above)
        drawn = "".join(f"{_REST_OF_LINE}{_ansi(console, line)}\n" for line in shown)
        if not passing and drawn == self._drawn:
            return
        opening = "" if self._is_open else _HIDE
        self._is_open, self._drawn = True, drawn
        self._put("".join((opening, self._home(columns), passing, drawn, _REST_OF_SCREEN)))
        self._widths = tuple(line.cell_len for line in shown)

    def close(self, above: Sequence[Text] = ()) -> None:
        """Remove the drawing, print ``above``, and show the cursor again."""
        columns, _ = self.size
        console = self._console(columns)
        left = _passing(console, above)
        home, ending = (self._home(columns), f"{_REST_OF_SCREEN}{_SHOW}") if self._is_open else ("", "")
        self._is_open, self._widths, self._drawn = False, (), ""
        if left or ending:
            self._put(f"{home}{left}{ending}")

    def _home(self, columns: int) -> str:
        """Return the codes to go to the drawing's first row, and to erase it if a resize may have wrapped its lines."""
        rows = sum(max(1, -(-width // columns)) for width in self._widths)
        up = f"\r\x1b[{rows}A" if rows else "\r"
        return up if rows == len(self._widths) else f"{up}{_REST_OF_SCREEN}"

    def _console(self, columns: int) -> Console:
        system = "auto" if self._color else None
        return Console(
            file=io.StringIO(),
            force_terminal=True,
            width=columns,
            highlight=False,
            color_system=system,  # type: ignore[arg-type]
        )

    def _put(self, text: str) -> None:
        self._out.write(text)
        self._out.flush()


def fitted(line: Text, width: int) -> Text:
    """Return the line cut to ``width`` columns, with an ellipsis if it does not fit."""
    if cell_len(line.plain) > width:
        line = line.copy()
        line.truncate(width, overflow="ellipsis")
    return line


def _passing(console: Console, lines: Sequence[Text]) -> str:
    """Return lines as terminal codes. Each erases the row where it begins and the row where it ends."""
    return "".join(f"{_REST_OF_LINE}{_ansi(console, line)}{_REST_OF_LINE}\n" for line in lines)


def _ansi(console: Console, line: Text) -> str:
    with console.capture() as captured:
        console.print(line, soft_wrap=True, end="")
    return captured.get()


_OUTCOMES = {"CACHED": "dim", "FAILED": "bold red", "STOPPED": "yellow"}


def can_draw(stderr: TextIO, env: Mapping[str, str]) -> bool:
    """Return whether ``stderr`` is a terminal that can move its cursor, prints UTF-8 and has room for a tree."""
    if not stderr.isatty() or env.get("TERM", "dumb") in ("dumb", "unknown", ""):
        return False
    try:
        columns, rows = os.get_terminal_size(stderr.fileno())
    except OSError:
        return False
    is_unicode = stderr.encoding.lower().replace("-", "") == "utf8"
    return is_unicode and columns >= 20 and rows >= 5  # noqa: PLR2004 -- less is no room for a tree


class LiveDisplay(QuietDisplay):
    """Show a tree, and all other lines above it.

    While the tree is visible, only ``tick`` and ``close`` write. ``tick`` runs in a thread that no signal interrupts,
    so no drawing is cut in half.
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
        self._state = LiveState()

    def say(self, text: str) -> None:
        """Write one line above the tree."""
        self._print("", "", text)

    def command(self, line: str) -> None:
        """Write one line if ``verbose``."""
        if self._verbose:
            self.say(f"+ {line}")

    @locked
    def phase(self, name: str) -> None:
        """Begin a phase, the head of the tree."""
        self._phase = Phase(name=name, since=time.monotonic())
        if name == "build" and self._began is None:
            self._began = self._phase.since

    @locked
    def event(self, event: Event) -> None:
        """Take steps, transfers, logs, and plain lines with warnings."""
        if isinstance(event, TextLine) and is_worth_a_warning(event.text):
            self.warn(event.text.removeprefix("WARNING:").strip())
        else:
            self._state.take(event)

    @locked
    def restart(self) -> None:
        """Begin a new tree."""
        self._state = LiveState()

    @locked
    def tick(self) -> None:
        """Redraw the tree."""
        if self._is_over:
            return
        columns, rows = self._region.size
        self._head = self._doing() or self._head
        rows = min(rows - 1, _TALLEST)
        lines = (
            render_tree(self._state, head=self._head, rows=rows, columns=columns, now=time.time()) if self._head else []
        )
        above, self._above = self._above, []
        self._region.draw(lines, above)

    @locked
    def close(self) -> None:
        """Replace the tree by one line for each step that ended or was stopped."""
        if self._is_over:
            return
        columns, _ = self._region.size
        begun = sorted((each for each in self._state.steps if each.has_begun), key=_order)
        self._region.close([*self._above, *(fitted(_step(each), columns - 1) for each in begun)])
        self._above, self._is_over = [], True

    @locked
    def summary(self, report: BuildReport) -> None:
        """Show steps, cache and phases."""
        self._summarise(report)

    def _put(self, line: Line) -> None:
        if self._is_over:
            super()._put(line)
        else:
            self._above.append(line.styled)

    def _doing(self) -> str:
        """Return the head of the tree; empty in a phase's first second, so that the head does not flicker."""
        now = time.monotonic()
        if self._phase.name == "build" and self._began is not None:  # the build may have several parts
            return f"building {duration(now - self._began)}"
        return self._phase.still(now)


# The most rows of the tree, so that a large terminal still shows earlier output.
_TALLEST = 40


def _step(activity: Activity) -> Text:
    text = Text(activity.line)
    text.stylize(_OUTCOMES.get(activity.outcome, "green"), 0, 8)
    return text


def _order(activity: Activity) -> tuple[float, str, str, int]:
    state, label = activity.state, activity.label
    return (state.started or 0.0, *((label.platform, label.stage, label.number) if label else ("", "", 0)))
