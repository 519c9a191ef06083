"""Print the checks of ``doctor``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TextIO

from rich.console import Console
from rich.text import Text

from buildx_cache.display.base import Line
from buildx_cache.doctor import Check, CheckStatus
from buildx_cache.formatting import printable

_STYLES = {CheckStatus.OK: "green", CheckStatus.WARN: "yellow", CheckStatus.FAIL: "bold red"}
_NAMES = 13
"""The width of the longest name of a check, in columns."""


def checks_table(checks: Iterable[Check], out: TextIO, *, color: bool) -> None:
    """Print one line for each check, its advice below."""
    console = Console(file=out, highlight=False, no_color=not color, soft_wrap=True)
    for check in checks:
        console.print(Line(f"{check.status:<4}", _STYLES[check.status], f"{check.name:<{_NAMES}} {check.found}").styled)
        if check.advice:
            console.print(Text(f"     {'':<{_NAMES}} {printable(check.advice)}"))
