"""Keep what a live view knows of a build, and draw it as a tree of stages and steps.

What runs comes first, then the log of the step that speaks, then what ended last; cached steps are only counted. The
cost is bounded by what runs and what is shown, not by how many steps the build has.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby

from rich.text import Text

from buildx_cache.buildkit import Event, LogEvent, VertexEvent
from buildx_cache.display.steps import LogLines, Steps, Watched
from buildx_cache.formatting import duration, printable, size, with_short_digests

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
        """Have a step that ended go on, or end again."""
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
    """Return the stage of a step."""
    return (watched.label.platform, watched.label.stage) if watched.label else ("", "")


_TAIL_INDENT = " " * 12
_STYLES = {"FAILED": "bold red", "STOPPED": "yellow"}


def tree(board: Board, *, head: str, rows: int, columns: int, now: float) -> list[Text]:
    """Return at most ``rows`` lines; ``now`` is in POSIX seconds. Lines may be wider than ``columns``."""
    running = [each for each in board.running if each.label]
    moving = [each for each in board.running if not each.label][: max(rows // 3, 1)]
    chosen: list[Watched] = []
    left = _choose(chosen, running, rows - len(moving) - 2)  # the head, and that there are more
    hidden = len(running) - len(chosen)
    tail = [*board.tail][-left:] if left > 0 and board.speaker in chosen else []
    left = _choose(chosen, reversed(board.recent), left - len(tail) + (not hidden))
    lines = [_head(board, head)]
    for key, steps in groupby(sorted(chosen, key=lambda each: _order(board, each)), key=stage_key):
        lines.append(_stage_line(board.stages[key]))
        for watched in steps:
            lines.append(_step_line(watched, columns, now))
            lines += [Text(f"{_TAIL_INDENT}| {_flat(line)}", "dim") for line in tail if watched is board.speaker]
    if hidden:
        lines.append(Text(f"{'':12}and {hidden} more", "dim"))
    lines += _cached_stages(board, {stage_key(each) for each in chosen}, left)
    lines += [_step_line(each, columns, now) for each in moving]
    return lines[:rows]


def _choose(chosen: list[Watched], more: Iterable[Watched], left: int) -> int:
    """Add steps as long as there are rows, one for the stage of each included; return how many are left."""
    stages = {stage_key(each) for each in chosen}
    for watched in more:
        cost = 1 if stage_key(watched) in stages else 2
        if cost > left:
            break
        chosen.append(watched)
        stages.add(stage_key(watched))
        left -= cost
    return left


def _cached_stages(board: Board, shown: set[StageKey], left: int) -> Iterator[Text]:
    """Stages of which nothing else is shown, the last ones."""
    others = [stage for key, stage in board.stages.items() if key not in shown and stage.cached]
    for stage in others[max(len(others) - left, 0) :] if left > 0 else ():
        yield _stage_line(stage)


def _order(board: Board, watched: Watched) -> tuple[int, int]:
    return [*board.stages].index(stage_key(watched)), watched.label.number if watched.label else 0


def _head(board: Board, head: str) -> Text:
    text = Text(head, "bold")
    if board.steps:
        cached = f", {board.cached} cached" if board.cached else ""
        text.append(f"  {board.ended} of {len(board.steps)} steps{cached}", "not bold")
    return text


def _stage_line(stage: Stage) -> Text:
    name = _flat(" ".join(word for word in (stage.platform, stage.name) if word)) or "steps"
    text = Text(name, "bold cyan")
    if stage.cached:
        text.append(f"  {stage.cached} cached", "not bold dim")
    return text


def _step_line(watched: Watched, columns: int, now: float) -> Text:
    """When it ended or how long it runs, what it is, and what it moved; the last keeps its room."""
    if watched.began is not None:
        text = Text.assemble(("> ", "bold"), (f"{duration(now - watched.began):>8}  ", "bold"))
    else:
        text = Text.assemble("  ", (f"{watched.outcome:>8}  ", _STYLES.get(watched.outcome, "green")))
    moved = f"  {_moved(watched)}" if watched.is_running and watched.state.bytes else ""
    place = f"{watched.label.number}/{watched.label.total} " if watched.label else ""
    name = Text(f"{place}{_flat(with_short_digests(watched.name))}")
    room = max(columns - 1 - text.cell_len - len(moved), 10)
    if name.cell_len > room:
        name.truncate(room, overflow="ellipsis")
    return text.append_text(name).append(moved, "cyan")


def _moved(watched: Watched) -> str:
    state = watched.state
    return f"{size(state.bytes)} of {size(state.bytes_total)}" if state.bytes_total else size(state.bytes)


def _flat(text: str) -> str:
    """On one line, each sign of a width that can be told."""
    return "".join(sign if sign.isprintable() else "?" for sign in printable(text).expandtabs(4))
