"""A build as lines that stay: for CI, for pipes, and for terminals that can do no more."""

from __future__ import annotations

import time
from collections import deque
from typing import TextIO

from buildx_cache.buildkit import Event, LogEvent, TextLine, VertexEvent
from buildx_cache.buildkit.vertex_names import Label
from buildx_cache.ci.capabilities import without_commands
from buildx_cache.ci.providers import named
from buildx_cache.display.base import Phase, alone, is_worth_a_warning
from buildx_cache.display.quiet import QuietDisplay
from buildx_cache.display.steps import LogLines, Steps, Watched
from buildx_cache.formatting import duration
from buildx_cache.report import BuildReport

# Seconds after which a step that ended is taken to have ended for good.
_REST = 1.0
# Seconds of silence after which what still runs is named: CIs end a job that says nothing for ten minutes or so.
_SILENCE = 30.0
# Characters kept of a log that is held until its step ends.
_HELD = 1 << 20
_INDENT = " " * 10


class _HeldLog:
    """The log of a step that is not told yet: its end, where it is long."""

    def __init__(self) -> None:
        self.lines: deque[str] = deque()
        self.left_out = 0
        self._size = 0

    def add(self, line: str) -> None:
        self.lines.append(line)
        self._size += len(line) + 1
        while self._size > _HELD:
            self._size -= len(self.lines.popleft()) + 1
            self.left_out += 1


def _place(label: Label) -> tuple[str, str]:
    return label.stage, label.platform


class PlainDisplay(QuietDisplay):
    """One line a step when it ends. Its log comes before that line, or folded below it where the CI folds.

    What is folded is one step's at a time, so its log is held until the step ends.
    """

    every = 1.0

    def __init__(self, stderr: TextIO, *, color: bool, verbose: bool = False, provider: str = "none") -> None:
        super().__init__(stderr, color=color, provider=provider)
        self._verbose = verbose
        self._folding = named(provider).folding
        self._is_folded = False
        self._phase = Phase()
        self._last_word = time.monotonic()
        self._before: set[Label | None] = set()
        self._forget()

    def _forget(self) -> None:
        self._steps = Steps()
        self._lines = LogLines()
        self._running: dict[Watched, None] = {}
        self._resting: dict[Watched, float] = {}
        self._told: set[Watched] = set()
        self._logs: dict[Watched, _HeldLog] = {}

    @alone
    def say(self, text: str) -> None:
        """One line."""
        self._unfold()
        self._write(text)
        self._out.flush()

    @alone
    def warn(self, text: str) -> None:
        """One line, below the steps it may be about."""
        self._release(older_than=0.0)
        self._unfold()
        super().warn(text)

    def command(self, line: str) -> None:
        """One line, if asked for."""
        if self._verbose:
            self.say(f"+ {line}")

    @alone
    def phase(self, name: str) -> None:
        """One line, once the phase takes its time."""
        self._phase = Phase(name=name, since=time.monotonic())

    @alone
    def event(self, event: Event) -> None:
        """Show steps and their logs; of plain lines only warnings."""
        match event:
            case VertexEvent():
                self._vertex(event)
            case LogEvent():
                self._log(event)
            case TextLine() if is_worth_a_warning(event.text):
                self._unfold()
                super().warn(event.text.removeprefix("WARNING:").strip())
            case _:
                self._steps.take(event)
        self._release(older_than=_REST)
        self._out.flush()

    @alone
    def restart(self) -> None:
        """Show the steps again, but for cached ones that were shown before."""
        self._release(older_than=0.0)
        self._before |= {watched.label for watched in self._told}
        self._forget()

    @alone
    def beat(self) -> None:
        """Show steps that ended a while ago; a phase that takes its time; after a silence, what still runs."""
        self._release(older_than=_REST)
        now = time.monotonic()
        if words := self._phase.due(now):
            self.say(f"{words} ...")
        if now - self._last_word >= _SILENCE and (running := self._still_running(now)):
            self.say(f"{'':>8}  still running: {running}")
        self._out.flush()

    @alone
    def close(self) -> None:
        """Show steps that ended just now, and those that were stopped."""
        self._release(older_than=0.0)
        for watched in self._running:
            self._tell(watched)
        self._running.clear()
        self._unfold()
        self._out.flush()

    @alone
    def summary(self, report: BuildReport) -> None:
        """Show steps, cache and phases."""
        self._release(older_than=0.0)
        self._unfold()
        self._summarise(report)

    def _vertex(self, event: VertexEvent) -> None:
        """Hold the end of a step for a moment: it may go on, or turn out to be cached (a local cache's import)."""
        watched = self._steps.take(event)
        if watched is None or watched.label is None:
            return
        self._resting.pop(watched, None)
        if watched.is_running:
            self._running[watched] = None
        elif watched.has_ended:
            self._running.pop(watched, None)
            if watched not in self._told or event.error:
                self._resting[watched] = time.monotonic()

    def _release(self, *, older_than: float) -> None:
        """Tell the steps that have rested for so many seconds."""
        due = time.monotonic() - older_than
        for watched in [watched for watched, since in self._resting.items() if since <= due]:
            del self._resting[watched]
            self._tell(watched)

    def _release_before(self, later: Label) -> None:
        """Tell the steps of a stage that ended before a later one of it prints something."""
        for watched in list(self._resting):
            label = watched.label
            if label and _place(label) == _place(later) and label.number < later.number:
                del self._resting[watched]
                self._tell(watched)

    def _tell(self, watched: Watched) -> None:
        """Show how a step ended, with what is left of its log."""
        self._told.add(watched)
        if watched.is_cached and watched.label in self._before:
            return
        for digest in watched.digests:
            for _, line in self._lines.rest(digest):
                self._log_line(watched, line)
        log, title = self._logs.pop(watched, None), watched.line
        if self._folding is None:
            self._write(title)
        elif watched.has_failed or (log is None and self._folding.end):
            self._heading(self._folding.show(without_commands(title)))
            self._held(log)
        else:
            self._heading(self._folding.begin(without_commands(title)))
            self._held(log)
            if self._folding.end:
                self._heading(self._folding.end(without_commands(title)))
            self._is_folded = not self._folding.end

    def _held(self, log: _HeldLog | None) -> None:
        if log and log.left_out:
            self._write(f"{_INDENT}| ... {log.left_out} lines before these are left out")
        for line in log.lines if log else ():
            self._write(f"{_INDENT}| {line}")

    def _unfold(self) -> None:
        """End the group of a step's log: what follows belongs to no step."""
        if self._is_folded and self._folding:
            self._is_folded = False
            self._heading(self._folding.show("buildx-cache"))

    def _heading(self, line: str) -> None:
        """Write a line that may be a command to the CI; what is not ours in it is harmless already."""
        self._out.write(f"{line}\n")
        self._last_word = time.monotonic()

    def _log(self, event: LogEvent) -> None:
        watched = self._steps.take(event)
        if watched is not None and watched.label is not None:
            self._release_before(watched.label)
            for line in self._lines.take(event):
                self._log_line(watched, line)

    def _log_line(self, watched: Watched, line: str) -> None:
        if self._folding is None:
            self._write(f"{_INDENT}{watched.place} | {line}")
        else:
            self._logs.setdefault(watched, _HeldLog()).add(line)

    def _write(self, line: str) -> None:
        super()._write(line)
        self._last_word = time.monotonic()

    def _still_running(self, now: float) -> str:
        """Return what has run for longest, and how much else there is."""
        if not self._running:
            return self._phase.still(now)
        first, *others = self._running
        so_far = duration(time.time() - (first.began or time.time()))
        more = f" and {len(others)} more" if others else ""
        return f"{first.place} {first.name} ({so_far}){more}"
