"""A build as people see it, on stderr: decisions, steps as they end, the summary, errors."""

from __future__ import annotations

import time
from typing import Protocol, TextIO

from rich.console import Console

from buildx_cache.diagnose import source_excerpt
from buildx_cache.display.summary import summary_lines
from buildx_cache.display.text import titled
from buildx_cache.errors import BuildxCacheError
from buildx_cache.progress import BuildTrace, Event, LogEvent, TextLine, VertexEvent
from buildx_cache.progress.names import Label, step_label
from buildx_cache.progress.trace import is_cancelled
from buildx_cache.redaction import redact
from buildx_cache.report import BuildReport
from buildx_cache.wording import as_message, duration, printable

# Seconds after which a step that ended is taken to have ended for good.
_REST = 1.0
_LONGEST_LINE = 16 * 1024


class Display(Protocol):
    """Where a call tells people what it does."""

    def say(self, text: str) -> None:
        """A decision, or a phase that begins."""

    def warn(self, text: str) -> None:
        """Something that did not go as asked, but does not fail the call."""

    def command(self, line: str) -> None:
        """A command that is about to run, redacted."""

    def event(self, event: Event) -> None:
        """The build's progress, event by event."""

    def restart(self) -> None:
        """The build begins anew: what was told of its steps no longer holds."""

    def summary(self, report: BuildReport) -> None:
        """What the call did, at its end."""

    def failure(self, error: BuildxCacheError, trace: BuildTrace | None) -> None:
        """What failed and what to do, then the end of the failing step's log."""


class QuietDisplay:
    """Warnings and errors only."""

    def __init__(self, stderr: TextIO, *, color: bool) -> None:
        self._out = stderr
        self._console = Console(file=stderr, highlight=False, soft_wrap=True, no_color=not color)

    def say(self, text: str) -> None:
        """Nothing."""

    def warn(self, text: str) -> None:
        """One line."""
        self._console.print(titled("warning:", "yellow", as_message(text)))

    def command(self, line: str) -> None:
        """Nothing."""

    def event(self, event: Event) -> None:
        """Nothing."""

    def restart(self) -> None:
        """Nothing."""

    def summary(self, report: BuildReport) -> None:
        """Nothing."""

    def failure(self, error: BuildxCacheError, trace: BuildTrace | None) -> None:
        """One line that says what failed, one that says what to do, the log of the failing step."""
        self._console.print(titled("error:", "bold red", as_message(error.message)))
        if error.hint:
            self._console.print(titled("to do:", "bold", error.hint))
        for line in failure_log(trace) if trace else ():
            self._out.write(f"  | {printable(redact(line))}\n")
        self._out.flush()


class PlainDisplay(QuietDisplay):
    """One line a step when it ends, its log as it comes: for CI and for pipes."""

    def __init__(self, stderr: TextIO, *, color: bool, verbose: bool = False) -> None:
        super().__init__(stderr, color=color)
        self._verbose = verbose
        self._labels: dict[str, Label] = {}
        self._pending: dict[tuple[str, int], bytes] = {}
        self._ended: set[str] = set()
        self._held: dict[str, tuple[float, VertexEvent]] = {}

    def say(self, text: str) -> None:
        """One line."""
        self._out.write(f"{printable(text)}\n")
        self._out.flush()

    def command(self, line: str) -> None:
        """One line, if asked for."""
        if self._verbose:
            self.say(f"+ {line}")

    def event(self, event: Event) -> None:
        """Steps and their logs; of plain lines only warnings."""
        match event:
            case VertexEvent():
                self._vertex(event)
            case LogEvent():
                self._log(event)
            case TextLine() if event.text.startswith("WARNING:") and "local cache import" not in event.text:
                super().warn(redact(event.text.removeprefix("WARNING:").strip()))
        self._release(older_than=_REST)
        self._out.flush()

    def warn(self, text: str) -> None:
        """One line, below the steps it may be about."""
        self._release(older_than=0.0)
        super().warn(text)

    def restart(self) -> None:
        """Tell the steps again."""
        self._release(older_than=0.0)
        for known in (self._labels, self._pending, self._ended):
            known.clear()

    def summary(self, report: BuildReport) -> None:
        """Steps, cache and phases."""
        self._release(older_than=0.0)
        if not report.phases.build:
            return
        for matter, said in summary_lines(report):
            self._console.print(titled(f"{matter:<11}", "bold", said))

    def _vertex(self, event: VertexEvent) -> None:
        """Hold the end of a step for a moment: it may go on, or turn out to be cached (a local cache's import)."""
        label = step_label(event.name)
        if label is None:
            return
        self._labels[event.digest] = label
        if event.completed is None:
            self._held.pop(event.digest, None)
        elif event.digest not in self._ended or event.error:
            self._held[event.digest] = (time.monotonic(), event)

    def _release(self, *, older_than: float) -> None:
        """Print the steps that have rested for so many seconds."""
        due = time.monotonic() - older_than
        for digest in [digest for digest, (since, _) in self._held.items() if since <= due]:
            _, event = self._held.pop(digest)
            self._ended.add(digest)
            self._flush(digest)
            label = self._labels[digest]
            self._out.write(f"{_outcome(event):>8}  {_place(label)} {printable(redact(_one_line(label.name)))}\n")

    def _log(self, event: LogEvent) -> None:
        key = (event.vertex, event.stream)
        *lines, rest = (self._pending.get(key, b"") + event.data).split(b"\n")
        self._pending[key] = rest[-_LONGEST_LINE:]
        for line in lines:
            self._log_line(event.vertex, line)

    def _flush(self, vertex: str) -> None:
        for key in [key for key in self._pending if key[0] == vertex]:
            if line := self._pending.pop(key):
                self._log_line(vertex, line)

    def _log_line(self, vertex: str, line: bytes) -> None:
        label = self._labels.get(vertex)
        if label is None:
            return
        final = line.rstrip(b"\r").rpartition(b"\r")[2][:_LONGEST_LINE]
        text = final.decode("utf-8", "replace")
        shown = redact(text) if "://" in text else text
        self._out.write(f"          {_place(label)} | {printable(shown)}\n")


def _place(label: Label) -> str:
    words = (label.platform, label.stage, f"{label.number}/{label.total}")
    return f"[{' '.join(word for word in words if word)}]"


def _outcome(event: VertexEvent) -> str:
    if event.error:
        return "STOPPED" if is_cancelled(event.error) else "FAILED"
    if event.cached:
        return "CACHED"
    return duration((event.completed or 0.0) - (event.started or 0.0))


def _one_line(text: str) -> str:
    return " ".join(text.split())


def failure_log(trace: BuildTrace) -> tuple[str, ...]:
    """The end of the failing step's log, and where in the Dockerfile that is."""
    return (*(trace.log_tail if trace.failed else ()), *source_excerpt(trace))
