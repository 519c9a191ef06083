"""The lower end of a terminal's screen, drawn anew again and again, with other lines going by above it.

Rich's own ``Live`` takes what it drew to be as many rows as it was. A terminal that becomes narrower breaks long lines
anew, and what was drawn before would stay behind: here the rows are counted at the width of the moment. A row is erased
before it is written to, not after: to tmux, a row whose end alone was erased is as long as ever, and is broken as such.
"""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from typing import TextIO

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

_HIDE, _SHOW = "\x1b[?25l", "\x1b[?25h"
_REST_OF_LINE, _REST_OF_SCREEN = "\x1b[K", "\x1b[J"


class Region:
    """Draws with one write each time, so that nobody sees half of it."""

    def __init__(self, out: TextIO, *, color: bool) -> None:
        self._out = out
        self._color = color
        self._widths: tuple[int, ...] = ()
        self._is_open = False
        self._drawn = ""

    @property
    def size(self) -> tuple[int, int]:
        """Columns and rows of the terminal now."""
        columns, rows = os.get_terminal_size(self._out.fileno())
        return columns or 80, rows or 24

    def draw(self, lines: Sequence[Text], above: Sequence[Text] = ()) -> None:
        """Replace what is drawn by ``lines``, cut to the width of the terminal; ``above`` go by, at whatever length."""
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
        """Leave ``above`` and nothing else, and give the cursor back."""
        columns, _ = self.size
        console = self._console(columns)
        left = _passing(console, above)
        home, ending = (self._home(columns), f"{_REST_OF_SCREEN}{_SHOW}") if self._is_open else ("", "")
        self._is_open, self._widths, self._drawn = False, (), ""
        if left or ending:
            self._put(f"{home}{left}{ending}")

    def _home(self, columns: int) -> str:
        """Go to where the drawing begins. It is taken away at once where its lines may have been broken."""
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
    """The line in so many columns, with three dots for what does not fit."""
    if cell_len(line.plain) > width:
        line = line.copy()
        line.truncate(width, overflow="ellipsis")
    return line


def _passing(console: Console, lines: Sequence[Text]) -> str:
    """Lines that may go on in rows which nothing has erased."""
    return "".join(f"{_REST_OF_LINE}{_ansi(console, line)}{_REST_OF_LINE}\n" for line in lines)


def _ansi(console: Console, line: Text) -> str:
    with console.capture() as captured:
        console.print(line, soft_wrap=True, end="")
    return captured.get()
