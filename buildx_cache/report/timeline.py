"""Compute when each step and transfer of a build ran, by stage, and the critical path."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import Literal

from buildx_cache.buildkit.trace import BuildTrace, Step, Transfer
from buildx_cache.buildkit.vertex_names import TransferKind

RowKind = Literal[
    "cached", "loading", "executed", "pulling", "failed", "stopped", "unreached",
    "resolving", "context", "importing", "exporting", "pushing",
]  # fmt: skip

_TRANSFERS: dict[TransferKind, RowKind] = {
    "other": "resolving",
    "context": "context",
    "cache-import": "importing",
    "image-export": "exporting",
    "cache-export": "exporting",
    "load": "exporting",
    "push": "pushing",
}
_OUTGOING = frozenset({"image-export", "cache-export", "load", "push"})
# The most exports and pushes: each waits for all before it. A build has a few; a custom frontend can name any number.
_OUTGOING_MOST = 100
BEFORE, AFTER = "Before the steps", "After the steps"


@dataclass(frozen=True, kw_only=True)
class Row:
    """A step or a transfer. ``start`` and ``end`` are seconds since the timeline's begin, both 0 if it never ran.

    ``seconds`` is the time of work, without pauses, 0 if cached; ``size`` is in bytes, 0 if unknown. The bar of a
    cached step covers the loading of its layers, not its wait for other steps.
    """

    kind: RowKind
    name: str
    digest: str
    start: float
    end: float
    seconds: float
    size: int
    error: str
    critical: bool


@dataclass(frozen=True, kw_only=True)
class Lane:
    """The rows of one stage on one platform, or the transfers before or after all stages."""

    title: str
    platform: str
    rows: tuple[Row, ...]


@dataclass(frozen=True, kw_only=True)
class Timeline:
    """The timeline of a build, ``seconds`` long. The critical path took ``critical_seconds`` of them."""

    lanes: tuple[Lane, ...]
    seconds: float
    critical_seconds: float

    @property
    def rows(self) -> tuple[Row, ...]:
        """All rows, from top to bottom."""
        return tuple(row for lane in self.lanes for row in lane.rows)


@dataclass(frozen=True, kw_only=True)
class CriticalPath:
    """The longest chain of steps and transfers: digests, first to last, and seconds."""

    digests: tuple[str, ...] = ()
    seconds: float = 0.0


def make_timeline(trace: BuildTrace) -> Timeline:
    """Compute the timeline of a build. An unfinished step ends at the last known time of the build."""
    times = [time for each in _all(trace) for time in (each.started, each.completed) if time is not None]
    span = (min(times), max(times)) if times else (0.0, 0.0)
    path = critical_path(trace)
    on_path = frozenset(path.digests)
    failed = trace.failed.digest if trace.failed else ""
    lanes: dict[tuple[str, str], list[Row]] = {(BEFORE, ""): []}
    for step in trace.steps:
        key = (f"Stage {step.stage}" if step.stage else "Steps", step.platform)
        lanes.setdefault(key, []).append(_row(step, _step_kind(step, failed), span, on_path))
    for transfer in trace.transfers:
        key = (AFTER if transfer.kind in _OUTGOING else BEFORE, "")
        lanes.setdefault(key, []).append(_row(transfer, _TRANSFERS[transfer.kind], span, on_path))
    return Timeline(
        lanes=tuple(
            Lane(title=title, platform=platform, rows=tuple(rows)) for (title, platform), rows in lanes.items() if rows
        ),
        seconds=span[1] - span[0],
        critical_seconds=path.seconds,
    )


def critical_path(trace: BuildTrace) -> CriticalPath:
    """Return the longest chain, in time, through the inputs of steps; in a failed build, the chain to the failed step.

    A vertex counts from its start or the end of its last input, whichever is later, so that no chain is longer than
    the build. Exports and pushes name no inputs: each waits for all steps and exports that ended before its start.
    """
    outgoing = [each for each in trace.transfers if each.kind in _OUTGOING]
    left_out = {each.digest for each in outgoing[_OUTGOING_MOST:]}
    ended = (each for each in _all(trace) if each.started is not None and each.completed is not None)
    nodes = {each.digest: each for each in ended if each.digest not in left_out}
    inputs = {digest: _inputs(node, nodes) for digest, node in nodes.items()}
    lengths: dict[str, float] = {}
    before: dict[str, str] = {}
    for digest in _inputs_first(inputs):
        node = nodes[digest]
        ready = max((nodes[each].completed or 0.0 for each in inputs[digest]), default=0.0)
        start, end = _span(node)
        own = max((end or 0.0) - max(start or 0.0, ready), 0.0)
        longest = max(inputs[digest], key=lambda each: lengths.get(each, 0.0), default="")
        lengths[digest] = own + lengths.get(longest, 0.0)
        if longest in lengths:
            before[digest] = longest
    last = max(lengths, key=lambda each: lengths[each], default="")
    if trace.failed and trace.failed.digest in lengths:
        last = trace.failed.digest
    return CriticalPath(digests=tuple(_chain(last, before)), seconds=lengths.get(last, 0.0))


def _inputs(node: Step | Transfer, nodes: Mapping[str, Step | Transfer]) -> tuple[str, ...]:
    if isinstance(node, Step):
        return tuple(digest for digest in node.inputs if digest in nodes)
    if node.kind not in _OUTGOING:
        return ()
    return tuple(
        digest
        for digest, each in nodes.items()
        if digest != node.digest and _is_waited_for(each) and (each.completed or 0.0) <= (node.started or 0.0)
    )


def _is_waited_for(node: Step | Transfer) -> bool:
    return isinstance(node, Step) or node.kind in _OUTGOING


def _inputs_first(inputs: Mapping[str, tuple[str, ...]]) -> Iterator[str]:
    """Yield every digest after its inputs. Leave out cycles, which no build should have."""
    sorter = TopologicalSorter(inputs)
    with contextlib.suppress(CycleError):
        sorter.prepare()
    while ready := sorter.get_ready():
        yield from ready
        sorter.done(*ready)


def _chain(last: str, before: Mapping[str, str]) -> Iterable[str]:
    chain = [last] if last else []
    while chain and (previous := before.get(chain[-1])):
        chain.append(previous)
    return reversed(chain)


def _step_kind(step: Step, failed: str) -> RowKind:
    if step.digest == failed:
        return "failed"
    if step.error:
        return "stopped"
    if step.started is None:
        return "unreached"
    if step.cached:
        return "loading" if step.loaded or step.bytes_total else "cached"
    return "pulling" if step.is_base else "executed"


def _span(each: Step | Transfer) -> tuple[float | None, float | None]:
    """Return start and end of the work. A cached step's work is loading its layers; else it starts when it ends."""
    if not isinstance(each, Step) or not each.cached or each.completed is None:
        return each.started, each.completed
    if each.loaded or not each.bytes_total:
        return each.loaded or (each.completed, each.completed)
    return each.started, each.completed  # the stream does not say when it loaded


def _row(each: Step | Transfer, kind: RowKind, span: tuple[float, float], on_path: frozenset[str]) -> Row:
    first, last = span
    started, completed = _span(each)
    start = first if started is None else started
    end = last if completed is None and started is not None else (completed or start)
    return Row(
        kind=kind,
        name=each.name,
        digest=each.digest,
        start=start - first,
        end=max(end, start) - first,
        seconds=each.seconds or (0.0 if kind == "cached" else max(end - start, 0.0)),
        size=max(each.bytes, each.bytes_total),
        error=each.error,
        critical=each.digest in on_path,
    )


def _all(trace: BuildTrace) -> tuple[Step | Transfer, ...]:
    return (*trace.steps, *trace.transfers)
