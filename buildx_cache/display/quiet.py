"""What every display tells: warnings, errors and results."""

from __future__ import annotations

import sys
import threading
from typing import TextIO

from rich.console import Console
from rich.text import Text

from buildx_cache.ci.folding import without_commands
from buildx_cache.diagnose import source_excerpt
from buildx_cache.display.pulse import alone
from buildx_cache.display.summary import summary_lines
from buildx_cache.display.text import titled
from buildx_cache.errors import BuildxCacheError
from buildx_cache.progress import BuildTrace, Event
from buildx_cache.redaction import redact
from buildx_cache.report import BuildReport
from buildx_cache.wording import as_message, printable


class QuietDisplay:
    """Warnings and errors only. ``provider`` is the CI that reads what is printed, by its name."""

    every = 0.0

    def __init__(self, stderr: TextIO, *, color: bool, provider: str = "none") -> None:
        self.lock = threading.RLock()
        self.broken: BuildxCacheError | None = None
        self._out = stderr
        # No colours are no sequences at all: without a system of colours, Rich would still print bold.
        system = "auto" if color else None
        self._console = Console(file=stderr, highlight=False, soft_wrap=True, color_system=system)  # type: ignore[arg-type]
        self._is_in_ci = provider != "none"

    def say(self, text: str) -> None:
        """Nothing."""

    @alone
    def warn(self, text: str) -> None:
        """One line."""
        self._print(self._titled("warning:", "yellow", as_message(text)))

    def command(self, line: str) -> None:
        """Nothing."""

    def phase(self, name: str) -> None:
        """Nothing."""

    def event(self, event: Event) -> None:
        """Nothing."""

    def restart(self) -> None:
        """Nothing."""

    def beat(self) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""

    def result(self, line: str) -> None:
        """A line on stdout."""
        sys.stdout.write(f"{line}\n")

    def summary(self, report: BuildReport) -> None:
        """Nothing."""

    @alone
    def failure(self, error: BuildxCacheError, trace: BuildTrace | None) -> None:
        """One line that says what failed, one that says what to do, the log of the failing step."""
        self._print(self._titled("error:", "bold red", as_message(error.message)))
        if error.hint:
            self._print(self._titled("to do:", "bold", error.hint))
        for line in failure_log(trace) if trace else ():
            self._write(f"  | {redact(line)}")
        self._out.flush()

    def _summarise(self, report: BuildReport) -> None:
        """Steps, cache and phases, if anything was built."""
        for matter, said in summary_lines(report) if report.phases.build else ():
            self._print(self._titled(f"{matter:<11}", "bold", said))

    def _print(self, line: Text) -> None:
        """A line with a style in it."""
        self._console.print(line)

    def _write(self, line: str) -> None:
        """A line from anywhere."""
        self._out.write(f"{self._safe(line)}\n")

    def _titled(self, title: str, style: str, text: str) -> Text:
        return titled(title, style, self._safe(text))

    def _safe(self, text: str) -> str:
        """Neither the terminal nor the CI takes anything in it for a command."""
        return without_commands(printable(text)) if self._is_in_ci else printable(text)


def failure_log(trace: BuildTrace) -> tuple[str, ...]:
    """The end of the failing step's log, and where in the Dockerfile that is."""
    return (*(trace.log_tail if trace.failed else ()), *source_excerpt(trace))
