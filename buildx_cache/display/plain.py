"""Show a build as lines: for CI, pipes and simple terminals."""

from __future__ import annotations

import time
from collections import deque
from typing import TextIO

from buildx_cache.buildkit.events import Event, LogEvent, TextLine, VertexEvent
from buildx_cache.buildkit.vertex_names import Label
from buildx_cache.ci.capabilities import without_commands
from buildx_cache.ci.providers import named
from buildx_cache.display.base import Phase, is_worth_a_warning, locked
from buildx_cache.display.quiet import QuietDisplay
from buildx_cache.display.steps import Activity, LogLines, Steps
from buildx_cache.formatting import duration
from buildx_cache.report import BuildReport

# Seconds after which an ended step is shown: it may start again before.
_REST = 1.0
# Seconds without output after which running steps are named: CIs end a job without output after about ten minutes.
_SILENCE = 30.0
# The most characters of a log that is held until its step ends.
_HELD = 1 << 20
_INDENT = " " * 10


class _HeldLog:
    """The log of a step that is not shown yet; only the end of a long log."""

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
    """Show one line for each step when it ends. The step's log comes before the line, or in a CI's fold below it.

    A fold holds the log of one step, so a log to fold is held until its step ends.
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
        self._running: dict[Activity, None] = {}
        self._resting: dict[Activity, float] = {}
        self._told: set[Activity] = set()
        self._logs: dict[Activity, _HeldLog] = {}

    @locked
    def say(self, text: str) -> None:
        """Write one line."""
        self._unfold()
        self._write(text)
        self._out.flush()

    @locked
    def warn(self, text: str) -> None:
        """Write one line, below the steps that it may be about."""
        self._release(older_than=0.0)
        self._unfold()
        super().warn(text)

    def command(self, line: str) -> None:
        """Write one line if ``verbose``."""
        if self._verbose:
            self.say(f"+ {line}")

    @locked
    def phase(self, name: str) -> None:
        """Begin a phase; ``tick`` writes one line once the phase takes a second."""
        self._phase = Phase(name=name, since=time.monotonic())

    @locked
    def event(self, event: Event) -> None:
        """Show steps, their logs, and plain lines with warnings."""
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

    @locked
    def restart(self) -> None:
        """Show the steps again, except cached steps that were shown before."""
        self._release(older_than=0.0)
        self._before |= {activity.label for activity in self._told}
        self._forget()

    @locked
    def tick(self) -> None:
        """Show steps that ended a second ago, a slow phase, and after a silence the running steps."""
        self._release(older_than=_REST)
        now = time.monotonic()
        if words := self._phase.due(now):
            self.say(f"{words} ...")
        if now - self._last_word >= _SILENCE and (running := self._still_running(now)):
            self.say(f"{'':>8}  still running: {running}")
        self._out.flush()

    @locked
    def close(self) -> None:
        """Show steps that have just ended, and the stopped ones."""
        self._release(older_than=0.0)
        for activity in self._running:
            self._tell(activity)
        self._running.clear()
        self._unfold()
        self._out.flush()

    @locked
    def summary(self, report: BuildReport) -> None:
        """Show steps, cache and phases."""
        self._release(older_than=0.0)
        self._unfold()
        self._summarise(report)

    def _vertex(self, event: VertexEvent) -> None:
        """Hold the end of a step for a moment: it may run again, or turn out to be cached (a local cache's import)."""
        activity = self._steps.take(event)
        if activity is None or activity.label is None:
            return
        self._resting.pop(activity, None)
        if activity.is_running:
            self._running[activity] = None
        elif activity.has_ended:
            self._running.pop(activity, None)
            if activity not in self._told or event.error:
                self._resting[activity] = time.monotonic()

    def _release(self, *, older_than: float) -> None:
        """Show the steps that ended at least ``older_than`` seconds ago."""
        due = time.monotonic() - older_than
        for activity in [activity for activity, since in self._resting.items() if since <= due]:
            del self._resting[activity]
            self._tell(activity)

    def _release_before(self, later: Label) -> None:
        """Show the ended steps of a stage before a later step of the stage prints a line."""
        for activity in list(self._resting):
            label = activity.label
            if label and _place(label) == _place(later) and label.number < later.number:
                del self._resting[activity]
                self._tell(activity)

    def _tell(self, activity: Activity) -> None:
        """Show a step's result and the rest of its log."""
        self._told.add(activity)
        if activity.is_cached and activity.label in self._before:
            return
        for digest in activity.digests:
            for _, line in self._lines.rest(digest):
                self._log_line(activity, line)
        log, title = self._logs.pop(activity, None), activity.line
        if self._folding is None:
            self._write(title)
        elif activity.has_failed or (log is None and self._folding.end):
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
        """End the fold of a step's log: the next lines belong to no step."""
        if self._is_folded and self._folding:
            self._is_folded = False
            self._heading(self._folding.show("buildx-cache"))

    def _heading(self, line: str) -> None:
        """Write a line that may be a command to the CI; untrusted text in it is escaped already."""
        self._out.write(f"{line}\n")
        self._last_word = time.monotonic()

    def _log(self, event: LogEvent) -> None:
        activity = self._steps.take(event)
        if activity is not None and activity.label is not None:
            self._release_before(activity.label)
            for line in self._lines.take(event):
                self._log_line(activity, line)

    def _log_line(self, activity: Activity, line: str) -> None:
        if self._folding is None:
            self._write(f"{_INDENT}{activity.place} | {line}")
        else:
            self._logs.setdefault(activity, _HeldLog()).add(line)

    def _write(self, line: str) -> None:
        super()._write(line)
        self._last_word = time.monotonic()

    def _still_running(self, now: float) -> str:
        """Return the step that has run longest, and the number of other running steps."""
        if not self._running:
            return self._phase.still(now)
        first, *others = self._running
        so_far = duration(time.time() - (first.began or time.time()))
        more = f" and {len(others)} more" if others else ""
        return f"{first.place} {first.name} ({so_far}){more}"
