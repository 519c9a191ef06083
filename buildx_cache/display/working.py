"""A word on stderr about what takes its time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from rich.console import Console

from buildx_cache.formatting import printable

_PATIENCE = 1.0


@contextmanager
def working(text: str, stderr: TextIO, *, color: bool) -> Iterator[None]:
    """Say ``text`` while the block runs: at once and until it ends on a terminal, else in a line after one second."""
    console = Console(file=stderr, highlight=False, markup=False, no_color=not color)
    if console.is_terminal and not console.is_dumb_terminal:
        with console.status(f"{printable(text)} …"):
            yield
        return
    timer = threading.Timer(_PATIENCE, lambda: print(f"{printable(text)} ...", file=stderr, flush=True))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
