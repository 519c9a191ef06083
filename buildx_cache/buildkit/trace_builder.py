"""Reduce events to a ``BuildTrace``."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from buildx_cache.buildkit.classify import is_cancelled
from buildx_cache.buildkit.events import LogEvent, StatusEvent, TextLine, VertexEvent, WarningEvent
from buildx_cache.buildkit.log_tail import LogTail
from buildx_cache.buildkit.trace import BuildTrace, Step, Transfer
from buildx_cache.buildkit.vertex_names import (
    exported_manifest,
    is_base_image,
    pushed_reference,
    step_label,
    transfer_kind,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from buildx_cache.buildkit.events import Event
    from buildx_cache.buildkit.vertex_names import Label

TEXT_LINES = 200
"""The most plain lines that are kept of a build."""

WARNINGS = 200
"""The most warnings that are kept of a build."""

ERRORS = 200
"""The most errors that are kept of a build."""

LOG_TAIL = 20
"""The number of lines of a step's log in a trace."""

_ERROR = "ERROR: "
_FATAL_KINDS = frozenset({"image-export", "push", "load", "context", "other"})


@dataclass(slots=True)
class _Vertex:
    """The merged events of one digest."""

    digest: str
    name: str = ""
    label: Label | None = None
    inputs: tuple[str, ...] = ()
    cached: bool = False
    error: str = ""
    old_error: str = ""
    intervals: dict[float, float | None] = field(default_factory=dict)
    loads: dict[float, float | None] = field(default_factory=dict)
    progress: dict[str, tuple[int, int]] = field(default_factory=dict)
    log: LogTail | None = None

    def merge(self, event: VertexEvent) -> None:
        """Merge the newest state; an event without a start only announces the vertex (``progressui/display.go``)."""
        if event.name and event.name != self.name:
            self.name, self.label = event.name, step_label(event.name)
        start = event.completed if event.started is None else event.started
        if start is None:
            self.inputs = event.inputs or self.inputs
            self.error = event.error or self.error
            return
        self.intervals[start] = event.completed
        if self.inputs and not event.inputs and not event.error:
            # An interval of pulling or extracting layers, also of a cached vertex (``util/progress/controller``).
            self.loads[start] = event.completed
            return
        self.inputs = event.inputs
        self.cached = event.cached
        self._take_error(event)

    def _take_error(self, event: VertexEvent) -> None:
        """Record a new error, and drop a repeated old one.

        If a vertex' cached layer cannot be loaded, BuildKit runs the vertex, and repeats the error of the first attempt
        from the new start on (``notifyStarted`` in ``solver/jobs.go`` does not clear it).
        """
        if event.completed is None:
            self.old_error, self.error = event.error, ""
        else:
            self.error = "" if event.error == self.old_error and not event.cached else event.error


class TraceBuilder:
    """Reduce events to a trace. Memory grows with the number of steps, not with their output."""

    def __init__(self) -> None:
        self._vertices: dict[str, _Vertex] = {}
        self._warnings: dict[str, None] = {}
        self._text: deque[str] = deque(maxlen=TEXT_LINES)
        self._error_line = ""
        self._errors: dict[tuple[str, str], None] = {}
        self._last_log = ""
        """The digest of the vertex that printed last."""

    def add(self, event: Event) -> None:
        """Add one event. Ignore a vertex that was never announced, as ``progressui`` does."""
        match event:
            case LogEvent():
                self._add_log(event)
            case VertexEvent():
                self._add_vertex(event)
            case StatusEvent():
                vertex = self._vertices.get(event.vertex)
                if vertex is not None:
                    # Buildx' push with docker reports 0 again at the end of each layer.
                    current, total = vertex.progress.get(event.id, (0, 0))
                    vertex.progress[event.id] = (max(current, event.current), max(total, event.total))
            case WarningEvent():
                if len(self._warnings) < WARNINGS:
                    self._warnings[_warning_text(event)] = None
            case TextLine():
                self._add_text(event.text)

    def log(self, digest: str) -> tuple[str, ...]:
        """Return the last lines that a step or a transfer printed, at most ``log_tail.TAIL_LINES``."""
        vertex = self._vertices.get(digest)
        return vertex.log.lines() if vertex is not None and vertex.log is not None else ()

    def logs(self) -> dict[str, tuple[str, ...]]:
        """Return the last lines of every vertex that printed any, by its digest."""
        return {digest: lines for digest in self._vertices if (lines := self.log(digest))}

    def trace(self) -> BuildTrace:
        """Return the current state of the build; takes a few milliseconds for 500 steps."""
        steps = self._steps()
        transfers = tuple(
            _transfer(vertex)
            for vertex in self._vertices.values()
            if vertex.label is None and vertex.name and (vertex.intervals or vertex.error)
        )
        failed = self._failed(steps, transfers)
        return BuildTrace(
            steps=steps,
            transfers=transfers,
            warnings=tuple(self._warnings),
            text=tuple(self._text),
            failed=failed,
            error=self._error(failed, transfers),
            log_tail=self.log(failed.digest if failed else self._last_log)[-LOG_TAIL:],
            errors=tuple(self._errors),
        )

    def _add_vertex(self, event: VertexEvent) -> None:
        if not event.digest:
            return
        vertex = self._vertices.get(event.digest)
        if vertex is None:
            vertex = self._vertices[event.digest] = _Vertex(event.digest)
        vertex.merge(event)
        if event.error and len(self._errors) < ERRORS:
            self._errors[vertex.name, event.error] = None

    def _add_log(self, event: LogEvent) -> None:
        vertex = self._vertices.get(event.vertex)
        if vertex is None:
            return
        if vertex.log is None:
            vertex.log = LogTail()
        vertex.log.add(event.stream, event.data)
        self._last_log = event.vertex

    def _add_text(self, text: str) -> None:
        if not text.strip():
            return
        self._text.append(text)
        if text.startswith(_ERROR):
            self._error_line = text.removeprefix(_ERROR)

    def _steps(self) -> tuple[Step, ...]:
        """Return the steps in the order of their start, as BuildKit's display does.

        Vertices with one label are one instruction (see ``vertex_names.step_label``). BuildKit announces vertices in
        the random order of a Go map, and cached ones start at the same instant: then number and stage decide.
        """
        groups: dict[Label, list[_Vertex]] = {}
        for vertex in self._vertices.values():
            if vertex.label is not None:
                groups.setdefault(vertex.label, []).append(vertex)
        return tuple(sorted((_step(label, group) for label, group in groups.items()), key=_order))

    def _failed(self, steps: tuple[Step, ...], transfers: tuple[Transfer, ...]) -> Step | None:
        """Return the step that made the build fail; a cancelled step only if there is no other cause.

        Return the step that the final ``ERROR: …`` line quotes; else the first step that failed while running; else the
        last step whose cached layer could not be loaded, as BuildKit then runs such a step.
        """
        errors = [step for step in steps if step.error]
        real = [step for step in errors if not is_cancelled(step.error)]
        if not real and any(_is_fatal(each) for each in transfers):
            return None

        def rank(step: Step) -> tuple[bool, bool, float]:
            loading = self._vertices[step.digest].cached
            completed = step.completed or math.inf
            return step.error not in self._error_line, loading, -completed if loading else completed

        return min(real or errors, key=rank, default=None)

    def _error(self, failed: Step | None, transfers: tuple[Transfer, ...]) -> str:
        if failed is not None and not is_cancelled(failed.error):
            return failed.error
        causes = (each.error for each in transfers if _is_fatal(each))
        return next(causes, "") or self._error_line or (failed.error if failed else "")


def _step(label: Label, vertices: list[_Vertex]) -> Step:
    spans = _merged(vertices)
    error = _worst_error(vertices)
    digest, inputs = _outer(vertices)
    current, total = _bytes(vertices)
    flagged = bool(spans) and all(each.cached for each in vertices if each.intervals)
    cached = not error and (flagged or (is_base_image(label.name) and _completed(spans) is not None and not total))
    return Step(
        name=label.name,
        stage=label.stage,
        platform=label.platform,
        number=label.number,
        total=label.total,
        digest=digest,
        inputs=inputs,
        cached=cached,
        seconds=0.0 if cached else _seconds(spans),
        error=error,
        started=spans[0][0] if spans else None,
        completed=_completed(spans),
        bytes=current,
        bytes_total=total,
        loaded=_loaded(vertices),
    )


def _loaded(vertices: Iterable[_Vertex]) -> tuple[float, float] | None:
    """Return the start of the first load of a layer and the end of the last; None if no layer was loaded."""
    spans = [(start, stop) for each in vertices for start, stop in each.loads.items() if stop is not None]
    return (min(start for start, _ in spans), max(stop for _, stop in spans)) if spans else None


def _order(step: Step) -> tuple[float, str, str, int]:
    return (math.inf if step.started is None else step.started, step.platform, step.stage, step.number)


def _transfer(vertex: _Vertex) -> Transfer:
    spans = _merged([vertex])
    current, total = _bytes([vertex])
    exported = [found for status in vertex.progress if (found := exported_manifest(status))[0]]
    return Transfer(
        kind=transfer_kind(vertex.name),
        name=vertex.name,
        error=vertex.error,
        seconds=_seconds(spans),
        bytes=current,
        digest=vertex.digest,
        bytes_total=total,
        started=spans[0][0] if spans else None,
        completed=_completed(spans),
        manifests=tuple(digest for digest, is_index in exported if not is_index),
        index=next((digest for digest, is_index in exported if is_index), ""),
        pushed=tuple(filter(any, map(pushed_reference, vertex.progress))),
    )


def _outer(vertices: list[_Vertex]) -> tuple[str, tuple[str, ...]]:
    """Return the digest that later steps use as input, and the group's inputs from outside."""
    inputs = dict.fromkeys(digest for each in vertices for digest in each.inputs)
    own = {each.digest for each in vertices}
    last = [each.digest for each in vertices if each.digest not in inputs] or [vertices[-1].digest]
    return last[-1], tuple(digest for digest in inputs if digest not in own)


def _merged(vertices: Iterable[_Vertex]) -> list[tuple[float, float | None]]:
    """Return the intervals in which the vertices ran, merged like ``mergeIntervals`` of ``progressui/display.go``."""
    pairs = [(start, stop) for each in vertices for start, stop in each.intervals.items()]
    merged: list[tuple[float, float | None]] = []
    for start, stop in sorted(pairs, key=lambda pair: pair[0]):
        if not merged or (merged[-1][1] is not None and merged[-1][1] < start):
            merged.append((start, stop))
        elif merged[-1][1] is not None:
            merged[-1] = (merged[-1][0], None if stop is None else max(stop, merged[-1][1]))
    return merged


def _seconds(spans: list[tuple[float, float | None]]) -> float:
    return sum(max(stop - start, 0.0) for start, stop in spans if stop is not None)


def _completed(spans: list[tuple[float, float | None]]) -> float | None:
    return spans[-1][1] if spans else None


def _bytes(vertices: Iterable[_Vertex]) -> tuple[int, int]:
    """Return the bytes moved so far, and the total, each 0 if unknown."""
    moved = [pair for each in vertices for pair in each.progress.values()]
    return sum(current for current, _ in moved), sum(total for _, total in moved)


def _worst_error(vertices: list[_Vertex]) -> str:
    errors = [each.error for each in vertices if each.error]
    return next((error for error in errors if not is_cancelled(error)), errors[0] if errors else "")


def _is_fatal(transfer: Transfer) -> bool:
    """Return whether a transfer's error can make the build fail.

    The error of a cache import never does. The error of a cache export does not with ``ignore-error``; without, the
    final ``ERROR: …`` line holds it.
    """
    return bool(transfer.error) and transfer.kind in _FATAL_KINDS and not is_cancelled(transfer.error)


def _warning_text(event: WarningEvent) -> str:
    """Return the finding and its location; newer frontends append the line number already (``frontend/dockerui``)."""
    if not event.file:
        return event.short
    place = f"{event.file}:{event.line}" if event.line else event.file
    return f"{event.short.removesuffix(f' (line {event.line})')} ({place})"
