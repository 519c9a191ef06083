"""Keep the state of a build for the live view, and render it as a tree of stages and steps.

Running steps come first, then the log of one step, then the last steps that ended; cached steps are only counted. The
cost depends on the running and visible steps, not on the size of the build.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby

from rich.text import Text

from buildx_cache.buildkit.events import Event, LogEvent, VertexEvent
from buildx_cache.display.steps import Activity, LogLines, Steps
from buildx_cache.formatting import duration, printable, size, with_short_digests

RECENT = 100
"""The number of ended steps to keep; they fill the free rows of the screen."""

TAIL = 5
"""The number of lines of the visible log."""

# Seconds without a new line after which another step's log replaces the visible log.
_SILENCE = 3.0

StageKey = tuple[str, str]
"""Platform and name of a stage."""


@dataclass(kw_only=True)
class Stage:
    """The counts of one stage of the Dockerfile."""

    platform: str
    name: str
    cached: int = 0
    ended: int = 0
    """Steps that ended, cached ones included."""


class LiveState:
    """The state that the live view shows, updated by events."""

    def __init__(self) -> None:
        self.steps = Steps()
        self.stages: dict[StageKey, Stage] = {}
        self.running: dict[Activity, None] = {}
        """Running steps and transfers, in the order of their start."""
        self.recent: deque[Activity] = deque(maxlen=RECENT)
        """Executed steps, in the order of their end."""
        self.cached = self.ended = 0
        self.log_step: Activity | None = None
        """The step with the visible log: the same one while it prints, so that parallel steps do not alternate."""
        self._spoke = 0.0
        self._tails: dict[Activity, deque[str]] = {}
        self._lines = LogLines()
        self._counted: dict[Activity, bool] = {}

    def take(self, event: Event) -> None:
        """Update the state by an event."""
        activity = self.steps.take(event)
        if activity is None:
            return
        if isinstance(event, VertexEvent) or (activity in self._counted and not isinstance(event, LogEvent)):
            self._move(activity)
        elif isinstance(event, LogEvent) and activity.label:
            self._listen(activity, event)

    @property
    def tail(self) -> tuple[str, ...]:
        """The last lines of ``log_step``."""
        return tuple(self._tails.get(self.log_step, ())) if self.log_step else ()

    def _move(self, activity: Activity) -> None:
        self._uncount(activity)
        if activity.is_running:
            self.running.setdefault(activity)
            if activity.label:
                self._stage(activity)
        elif activity.has_ended:
            self.running.pop(activity, None)
            self._tails.pop(activity, None)
            if activity is self.log_step:
                self.log_step = next(reversed(self._tails), None)
            if activity.label:
                self._count(activity)

    def _listen(self, activity: Activity, event: LogEvent) -> None:
        if not (lines := [*self._lines.take(event, last=TAIL)]) or activity not in self.running:
            return
        self._tails.setdefault(activity, deque(maxlen=TAIL)).extend(lines)
        now = time.monotonic()
        if self.log_step is None or now - self._spoke > _SILENCE:
            self.log_step = activity
        if activity is self.log_step:
            self._spoke = now

    def _count(self, activity: Activity) -> None:
        stage, is_cached = self._stage(activity), activity.is_cached
        self._counted[activity] = is_cached
        self._add(stage, 1, is_cached=is_cached)
        if not is_cached:
            self.recent.append(activity)

    def _uncount(self, activity: Activity) -> None:
        """Undo the count of an ended step that runs again or ends again."""
        is_cached = self._counted.pop(activity, None)
        if is_cached is None:
            return
        self._add(self._stage(activity), -1, is_cached=is_cached)
        if not is_cached and activity in self.recent:
            self.recent.remove(activity)

    def _add(self, stage: Stage, count: int, *, is_cached: bool) -> None:
        for each in (self, stage):
            each.ended += count
            each.cached += count if is_cached else 0

    def _stage(self, activity: Activity) -> Stage:
        platform, name = key = stage_key(activity)
        return self.stages.setdefault(key, Stage(platform=platform, name=name))


def stage_key(activity: Activity) -> StageKey:
    """Return the stage of a step."""
    return (activity.label.platform, activity.label.stage) if activity.label else ("", "")


_TAIL_INDENT = " " * 12
_STYLES = {"FAILED": "bold red", "STOPPED": "yellow"}


def render_tree(state: LiveState, *, head: str, rows: int, columns: int, now: float) -> list[Text]:
    """Render the tree in at most ``rows`` lines; ``now`` is in POSIX seconds. Lines may be wider than ``columns``."""
    running = [each for each in state.running if each.label]
    moving = [each for each in state.running if not each.label][: max(rows // 3, 1)]
    chosen: list[Activity] = []
    left = _choose(chosen, running, rows - len(moving) - 2)  # two rows: the head, and "and N more"
    hidden = len(running) - len(chosen)
    tail = [*state.tail][-left:] if left > 0 and state.log_step in chosen else []
    left = _choose(chosen, reversed(state.recent), left - len(tail) + (not hidden))
    lines = [_head(state, head)]
    for key, steps in groupby(sorted(chosen, key=lambda each: _order(state, each)), key=stage_key):
        lines.append(_stage_line(state.stages[key]))
        for activity in steps:
            lines.append(_step_line(activity, columns, now))
            lines += [Text(f"{_TAIL_INDENT}| {_flat(line)}", "dim") for line in tail if activity is state.log_step]
    if hidden:
        lines.append(Text(f"{'':12}and {hidden} more", "dim"))
    lines += _cached_stages(state, {stage_key(each) for each in chosen}, left)
    lines += [_step_line(each, columns, now) for each in moving]
    return lines[:rows]


def _choose(chosen: list[Activity], more: Iterable[Activity], left: int) -> int:
    """Add steps while rows are left, counting one row for each new stage; return the number of rows left."""
    stages = {stage_key(each) for each in chosen}
    for activity in more:
        cost = 1 if stage_key(activity) in stages else 2
        if cost > left:
            break
        chosen.append(activity)
        stages.add(stage_key(activity))
        left -= cost
    return left


def _cached_stages(state: LiveState, shown: set[StageKey], left: int) -> Iterator[Text]:
    """Yield the lines of the last stages that have only cached steps to show."""
    others = [stage for key, stage in state.stages.items() if key not in shown and stage.cached]
    for stage in others[max(len(others) - left, 0) :] if left > 0 else ():
        yield _stage_line(stage)


def _order(state: LiveState, activity: Activity) -> tuple[int, int]:
    return [*state.stages].index(stage_key(activity)), activity.label.number if activity.label else 0


def _head(state: LiveState, head: str) -> Text:
    text = Text(head, "bold")
    if state.steps:
        cached = f", {state.cached} cached" if state.cached else ""
        text.append(f"  {state.ended} of {len(state.steps)} steps{cached}", "not bold")
    return text


def _stage_line(stage: Stage) -> Text:
    name = _flat(" ".join(word for word in (stage.platform, stage.name) if word)) or "steps"
    text = Text(name, "bold cyan")
    if stage.cached:
        text.append(f"  {stage.cached} cached", "not bold dim")
    return text


def _step_line(activity: Activity, columns: int, now: float) -> Text:
    """Return a step's time or result, its name, and the bytes it moved. Shorten the name to keep room for the bytes."""
    if activity.began is not None:
        text = Text.assemble(("> ", "bold"), (f"{duration(now - activity.began):>8}  ", "bold"))
    else:
        text = Text.assemble("  ", (f"{activity.outcome:>8}  ", _STYLES.get(activity.outcome, "green")))
    moved = f"  {_moved(activity)}" if activity.is_running and activity.state.bytes else ""
    place = f"{activity.label.number}/{activity.label.total} " if activity.label else ""
    name = Text(f"{place}{_flat(with_short_digests(activity.name))}")
    room = max(columns - 1 - text.cell_len - len(moved), 10)
    if name.cell_len > room:
        name.truncate(room, overflow="ellipsis")
    return text.append_text(name).append(moved, "cyan")


def _moved(activity: Activity) -> str:
    state = activity.state
    return f"{size(state.bytes)} of {size(state.bytes_total)}" if state.bytes_total else size(state.bytes)


def _flat(text: str) -> str:
    """Return a text on one line; replace characters of unknown width."""
    return "".join(sign if sign.isprintable() else "?" for sign in printable(text).expandtabs(4))
