"""Show warnings, errors and results only, as every display does."""

from __future__ import annotations

import sys
import threading
from functools import cached_property
from typing import TYPE_CHECKING, TextIO

from buildx_cache.buildkit.events import Event
from buildx_cache.buildkit.failure import source_excerpt
from buildx_cache.buildkit.trace import BuildTrace
from buildx_cache.ci.capabilities import without_commands
from buildx_cache.ci.providers import named
from buildx_cache.display.base import Line, locked
from buildx_cache.display.steps import summary_lines
from buildx_cache.errors import BuildxCacheError
from buildx_cache.formatting import as_error, as_message, printable
from buildx_cache.report import BuildReport

if TYPE_CHECKING:
    from rich.console import Console


class QuietDisplay:
    """Show warnings and errors only. ``provider`` is the name of the CI that reads the log."""

    every = 0.0

    def __init__(self, stderr: TextIO, *, color: bool, provider: str = "none") -> None:
        self.lock = threading.RLock()
        self.broken: BuildxCacheError | None = None
        self._out = stderr
        self._color = color
        self._is_in_ci = named(provider).is_ci

    def say(self, text: str) -> None:
        """Do nothing."""

    @locked
    def warn(self, text: str) -> None:
        """Write one line."""
        self._print("warning:", "yellow", as_message(text))

    def command(self, line: str) -> None:
        """Do nothing."""

    def phase(self, name: str) -> None:
        """Do nothing."""

    def event(self, event: Event) -> None:
        """Do nothing."""

    def restart(self) -> None:
        """Do nothing."""

    def tick(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""

    def result(self, line: str) -> None:
        """Write a line to stdout and flush."""
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()

    def summary(self, report: BuildReport) -> None:
        """Do nothing."""

    @locked
    def failure(self, error: BuildxCacheError, trace: BuildTrace | None) -> None:
        """Write a line with the error and its code, a line with the hint, and the log of the failed step."""
        self._print("error:", "bold red", as_error(error.message, error.code))
        if error.hint:
            self._print("hint:", "bold", error.hint)
        for line in failure_log(trace) if trace else ():
            self._write(f"  | {line}")
        self._out.flush()

    def _summarise(self, report: BuildReport) -> None:
        """Show steps, cache and phases, if the build has started."""
        for title, text in summary_lines(report) if report.phases.get("build") else ():
            self._print(f"{title:<11}", "bold", text)

    def _print(self, title: str, style: str, text: str) -> None:
        """Print a line that begins with a styled word."""
        self._put(Line(title, style, self._safe(text)))

    def _put(self, line: Line) -> None:
        """Write a line; without colours, write no control sequences at all."""
        if self._color:
            self._console.print(line.styled)
        else:
            self._out.write(f"{line.plain}\n")
            self._out.flush()

    @cached_property
    def _console(self) -> Console:
        from rich.console import Console  # takes 20 ms, and a log without colours does not need it

        return Console(file=self._out, highlight=False, soft_wrap=True)

    def _write(self, line: str) -> None:
        """Print an untrusted line."""
        self._out.write(f"{self._safe(line)}\n")

    def _safe(self, text: str) -> str:
        """Return a text without commands to the terminal or the CI."""
        return without_commands(printable(text)) if self._is_in_ci else printable(text)


def failure_log(trace: BuildTrace) -> tuple[str, ...]:
    """Return the end of the failed step's log, and the lines of the Dockerfile around the step."""
    return (*(trace.log_tail if trace.failed else ()), *source_excerpt(trace))
