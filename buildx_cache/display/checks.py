"""Print what ``doctor`` found."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TextIO

from rich.console import Console
from rich.text import Text

from buildx_cache.display.base import Line
from buildx_cache.doctor import Check, Verdict
from buildx_cache.formatting import printable

_STYLES = {Verdict.OK: "green", Verdict.WARN: "yellow", Verdict.FAIL: "bold red"}
_NAMES = 13
"""Columns of the longest name of a check."""


def checks_table(checks: Iterable[Check], out: TextIO, *, color: bool) -> None:
    """Print what ``doctor`` found: one line a check, its advice below."""
    console = Console(file=out, highlight=False, no_color=not color, soft_wrap=True)
    for check in checks:
        console.print(
            Line(f"{check.verdict:<4}", _STYLES[check.verdict], f"{check.name:<{_NAMES}} {check.found}").styled
        )
        if check.advice:
            console.print(Text(f"     {'':<{_NAMES}} {printable(check.advice)}"))
