"""What people see, on stderr: decisions, the build as it runs, a summary, errors.

``Display`` is the seam; a display says what happened and never decides anything.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator
from typing import Protocol, TextIO

from rich.console import Console
from rich.text import Text

from buildx_cache.doctor import Check, Verdict
from buildx_cache.errors import BuildxCacheError
from buildx_cache.progress import BuildTrace, Event, LogEvent, TextLine, VertexEvent
from buildx_cache.progress.names import Label, step_label
from buildx_cache.report import BuildReport

# Seconds after which a step that ended is taken to have ended for good.
_REST = 1.0
_LONGEST_LINE = 16 * 1024
# Everything a terminal could take for a command: C0 and C1 controls, but for the tab.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_ESCAPE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])")


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

    def summary(self, report: BuildReport) -> None:
        """What the call did, at its end."""

    def failure(self, error: BuildxCacheError, trace: BuildTrace | None) -> None:
        """What failed and what to do, then the end of the failing step's log."""


def printable(text: str) -> str:
    """``text`` without terminal control sequences: a build's log may say anything."""
    return _CONTROL.sub("", _ESCAPE.sub("", text))


class QuietDisplay:
    """Warnings and errors only."""

    def __init__(self, stderr: TextIO, *, color: bool) -> None:
        self._out = stderr
        self._console = Console(file=stderr, highlight=False, soft_wrap=True, no_color=not color)

    def say(self, text: str) -> None:
        """Nothing."""

    def warn(self, text: str) -> None:
        """One line."""
        self._console.print(_titled("warning:", "yellow", text))

    def command(self, line: str) -> None:
        """Nothing."""

    def event(self, event: Event) -> None:
        """Nothing."""

    def summary(self, report: BuildReport) -> None:
        """Nothing."""

    def failure(self, error: BuildxCacheError, trace: BuildTrace | None) -> None:
        """One line that says what failed, one that says what to do, the log of the failing step."""
        self._console.print(_titled("error:", "bold red", error.message))
        if error.hint:
            self._console.print(_titled("to do:", "bold", error.hint))
        for line in failure_log(trace) if trace else ():
            self._out.write(f"  | {printable(line)}\n")
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
                self.warn(event.text.removeprefix("WARNING:").strip())
        self._release(older_than=_REST)
        self._out.flush()

    def summary(self, report: BuildReport) -> None:
        """Steps, cache and phases."""
        self._release(older_than=0.0)
        if not report.phases.build:
            return
        for matter, said in summary_lines(report):
            self._console.print(_titled(f"{matter:<11}", "bold", said))

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
            self._out.write(f"{_outcome(event):>8}  {_place(label)} {printable(_one_line(label.name))}\n")

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
        self._out.write(f"          {_place(label)} | {printable(final.decode('utf-8', 'replace'))}\n")


def _titled(title: str, style: str, text: str) -> Text:
    """A styled word and what it introduces, taken as it is: Rich's markup is for texts that we write."""
    return Text.assemble((title, style), " ", printable(text))


def _place(label: Label) -> str:
    words = (label.platform, label.stage, f"{label.number}/{label.total}")
    return f"[{' '.join(word for word in words if word)}]"


def _outcome(event: VertexEvent) -> str:
    if event.error:
        return "FAILED"
    if event.cached:
        return "CACHED"
    return duration((event.completed or 0.0) - (event.started or 0.0))


def _one_line(text: str) -> str:
    return " ".join(text.split())


def failure_log(trace: BuildTrace) -> tuple[str, ...]:
    """The end of the failing step's log and Buildx' excerpt of the Dockerfile, without its repeated rules."""
    excerpt = [line for line in trace.text if re.match(r"\s*\d+ \|( >>>)?|[^ ]+:\d+$", line)]
    return (*(trace.log_tail if trace.failed else ()), *excerpt)


def duration(seconds: float) -> str:
    """``3.4s``, or ``2m 05s`` from a minute on."""
    if round(seconds, 1) < 60:  # noqa: PLR2004 -- seconds in a minute
        return f"{max(seconds, 0.0):.1f}s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}m {rest:02d}s"


def size(count: int) -> str:
    """Bytes in binary units with one decimal: ``1.5 MiB``."""
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:  # noqa: PLR2004 -- a binary unit
            return f"{value:.0f} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


_STYLES = {Verdict.OK: "green", Verdict.WARN: "yellow", Verdict.FAIL: "bold red"}


def checks_table(checks: Iterable[Check], out: TextIO, *, color: bool) -> None:
    """Print what ``doctor`` found: one line a check, its advice below."""
    console = Console(file=out, highlight=False, no_color=not color, soft_wrap=True)
    for check in checks:
        console.print(_titled(f"{check.verdict:<4}", _STYLES[check.verdict], f"{check.name:<12} {check.found}"))
        if check.advice:
            console.print(Text(f"     {'':<12} {printable(check.advice)}"))


def summary_lines(report: BuildReport) -> Iterator[tuple[str, str]]:
    """What a call did, as pairs of a matter and what there is to say of it."""
    steps, cache = report.cache.steps, report.cache
    share = f"{cache.hit_ratio:.0%}" if cache.hit_ratio is not None else "none"
    yield "steps", f"{steps.total}: {steps.cached} cached ({share}), {steps.executed} executed"
    for entry in cache.imports:
        yield "cache from", f"{entry.status:<11} {entry.type} {entry.source}"
    for export in cache.exports:
        moved = f" ({size(export.bytes)})" if export.bytes else ""
        yield "cache to", f"{export.status:<11} {export.type} {export.target}{moved}"
    if report.image.digest:
        yield "image", short_digest(report.image.digest)
    spent = {name: duration(getattr(report.phases, name)) for name in ("builder", "login", "build", "prune")}
    yield "time", ", ".join(f"{name} {value}" for name, value in spent.items() if value != "0.0s")


def short_digest(digest: str) -> str:
    """A digest's algorithm and first 12 digits."""
    algorithm, _, digits = digest.partition(":")
    return f"{algorithm}:{digits[:12]}"
