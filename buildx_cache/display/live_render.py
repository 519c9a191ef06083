"""A build drawn as a tree of stages and steps, in as many rows as there are.

What runs comes first, then the log of the step that speaks, then what ended last. Cached steps are only counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby

from rich.text import Text

from buildx_cache.display.live_state import Board, Stage, StageKey, stage_key
from buildx_cache.display.steps import Watched
from buildx_cache.formatting import duration, printable, size, with_short_digests

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
