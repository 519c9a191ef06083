"""What a live view knows of a build: what runs, what ended last, and figures of the rest.

Its cost is bounded by what runs and what is shown, not by how many steps the build has.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass

from buildx_cache.buildkit import Event, LogEvent, VertexEvent
from buildx_cache.display.loglines import LogLines
from buildx_cache.display.steps import Steps, Watched

RECENT = 100
"""Steps kept of those that ended, for the rows of a screen that are left."""

TAIL = 5
"""Lines shown of the log of the step that speaks."""

# Seconds of silence after which another step's log is shown.
_SILENCE = 3.0

StageKey = tuple[str, str]
"""Platform and name of a stage."""


@dataclass(kw_only=True)
class Stage:
    """One stage of the Dockerfile, in figures."""

    platform: str
    name: str
    cached: int = 0
    ended: int = 0
    """Steps that ended, cached ones among them."""


class Board:
    """Takes events, and keeps what a view shows."""

    def __init__(self) -> None:
        self.steps = Steps()
        self.stages: dict[StageKey, Stage] = {}
        self.running: dict[Watched, None] = {}
        """Steps and transfers, in the order in which they began."""
        self.recent: deque[Watched] = deque(maxlen=RECENT)
        """Steps that ran and ended, in that order."""
        self.cached = self.ended = 0
        self.speaker: Watched | None = None
        """The step whose log is shown: it stays as long as it speaks, so that steps at once do not take turns."""
        self._spoke = 0.0
        self._tails: dict[Watched, deque[str]] = {}
        self._lines = LogLines()
        self._counted: dict[Watched, bool] = {}

    def take(self, event: Event) -> None:
        """Take an event."""
        watched = self.steps.take(event)
        if watched is None:
            return
        if isinstance(event, VertexEvent) or (watched in self._counted and not isinstance(event, LogEvent)):
            self._move(watched)
        elif isinstance(event, LogEvent) and watched.label:
            self._listen(watched, event)

    @property
    def tail(self) -> tuple[str, ...]:
        """The last lines of the speaker."""
        return tuple(self._tails.get(self.speaker, ())) if self.speaker else ()

    def _move(self, watched: Watched) -> None:
        self._uncount(watched)
        if watched.is_running:
            self.running.setdefault(watched)
            if watched.label:
                self._stage(watched)
        elif watched.has_ended:
            self.running.pop(watched, None)
            self._tails.pop(watched, None)
            if watched is self.speaker:
                self.speaker = next(reversed(self._tails), None)
            if watched.label:
                self._count(watched)

    def _listen(self, watched: Watched, event: LogEvent) -> None:
        if not (lines := [*self._lines.take(event, last=TAIL)]) or watched not in self.running:
            return
        self._tails.setdefault(watched, deque(maxlen=TAIL)).extend(lines)
        now = time.monotonic()
        if self.speaker is None or now - self._spoke > _SILENCE:
            self.speaker = watched
        if watched is self.speaker:
            self._spoke = now

    def _count(self, watched: Watched) -> None:
        stage, is_cached = self._stage(watched), watched.is_cached
        self._counted[watched] = is_cached
        self._add(stage, 1, is_cached=is_cached)
        if not is_cached:
            self.recent.append(watched)

    def _uncount(self, watched: Watched) -> None:
        """A step that ended goes on, or ends anew."""
        is_cached = self._counted.pop(watched, None)
        if is_cached is None:
            return
        self._add(self._stage(watched), -1, is_cached=is_cached)
        if not is_cached and watched in self.recent:
            self.recent.remove(watched)

    def _add(self, stage: Stage, count: int, *, is_cached: bool) -> None:
        for each in (self, stage):
            each.ended += count
            each.cached += count if is_cached else 0

    def _stage(self, watched: Watched) -> Stage:
        platform, name = key = stage_key(watched)
        return self.stages.setdefault(key, Stage(platform=platform, name=name))


def stage_key(watched: Watched) -> StageKey:
    """The stage of a step."""
    return (watched.label.platform, watched.label.stage) if watched.label else ("", "")
