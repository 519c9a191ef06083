"""Track the steps of a running build and their log lines; summarize a report."""

from __future__ import annotations

from collections.abc import Iterator

from buildx_cache.buildkit.classify import is_cancelled
from buildx_cache.buildkit.events import Event, LogEvent, StatusEvent, VertexEvent
from buildx_cache.buildkit.trace import Step, Transfer
from buildx_cache.buildkit.trace_builder import TraceBuilder
from buildx_cache.buildkit.vertex_names import Label, step_label
from buildx_cache.caches.entry import BACKENDS
from buildx_cache.formatting import duration, printable, short_digest, size
from buildx_cache.report import BuildReport

_LONGEST_LINE = 16 * 1024


class LogLines:
    """Assemble the lines of each vertex and stream from pieces."""

    def __init__(self) -> None:
        self._begun: dict[tuple[str, int], bytes] = {}

    def take(self, event: LogEvent, *, last: int = 0) -> Iterator[str]:
        """Return the lines that end in this piece; only the ``last`` ones, unless 0."""
        key = (event.vertex, event.stream)
        *lines, rest = (self._begun.get(key, b"") + event.data).split(b"\n")
        self._begun[key] = rest[-_LONGEST_LINE:]
        return map(_final, lines[-last:])

    def rest(self, vertex: str) -> Iterator[tuple[int, str]]:
        """Yield the unfinished lines of a vertex, each with its stream, and forget them."""
        for key in [key for key in self._begun if key[0] == vertex]:
            if line := self._begun.pop(key):
                yield key[1], _final(line)


def _final(line: bytes) -> str:
    """Return the text that a terminal shows at the end of a line with carriage returns."""
    final = line.rstrip(b"\r").rpartition(b"\r")[2][:_LONGEST_LINE]
    return final.decode("utf-8", "replace")


class Activity:
    """One step, made of one or several vertices, or one transfer.

    Its state is a trace of these vertices alone, computed on demand: the cost does not grow with the build.
    """

    def __init__(self, label: Label | None, key: str) -> None:
        self.label = label
        self.place = _place(label) if label else ""
        """The platform, stage and number, as in ``[build 2/14]``; empty for a transfer."""
        self.key = key
        """An identifier within this build: the digest of the first vertex."""
        self._builder = TraceBuilder()
        self._running: dict[str, float] = {}
        self._known: Step | Transfer | None = None
        self.has_begun = False
        self.digests: dict[str, None] = {}

    def add(self, event: VertexEvent | StatusEvent) -> None:
        """Update the state by an event of one of the vertices."""
        self._builder.add(event)
        self._known = None
        if not isinstance(event, VertexEvent):
            return
        self.digests[event.digest] = None
        if event.completed is not None:
            self._running.pop(event.digest, None)
            self.has_begun = True
        elif event.started is not None:
            self._running[event.digest] = event.started
            self.has_begun = True

    @property
    def began(self) -> float | None:
        """The earliest start of a running vertex, in POSIX seconds; None if no vertex is running."""
        return min(self._running.values(), default=None)

    @property
    def is_running(self) -> bool:
        """Return whether a vertex is running."""
        return bool(self._running)

    @property
    def has_ended(self) -> bool:
        """Return whether a vertex has run and none is running; another may still start."""
        return self.has_begun and not self._running

    @property
    def state(self) -> Step | Transfer:
        """Return the current state."""
        if self._known is None:
            trace = self._builder.trace()
            self._known = trace.steps[0] if trace.steps else trace.transfers[0]
        return self._known

    @property
    def is_cached(self) -> bool:
        """Return whether the step was taken from the cache."""
        return isinstance(self.state, Step) and self.state.cached

    @property
    def has_failed(self) -> bool:
        """Return whether the step or transfer failed; a cancelled one did not."""
        return bool(self.state.error) and not is_cancelled(self.state.error)

    @property
    def outcome(self) -> str:
        """Return the result in at most eight characters; call it at the end, when a running step counts as stopped."""
        if self.is_running:
            return "STOPPED"
        if self.state.error:
            return "STOPPED" if is_cancelled(self.state.error) else "FAILED"
        return "CACHED" if self.is_cached else duration(self.state.seconds)

    @property
    def name(self) -> str:
        """Return the name on one line, printable."""
        return printable(" ".join(self.state.name.split()))

    @property
    def line(self) -> str:
        """Return the result, place and name on one line."""
        return f"{self.outcome:>8}  {self.place} {self.name}"


def _place(label: Label) -> str:
    words = (label.platform, label.stage, f"{label.number}/{label.total}")
    return printable(f"[{' '.join(word for word in words if word)}]")


class Steps:
    """The steps and transfers of a build, from its events."""

    def __init__(self) -> None:
        self._by_digest: dict[str, Activity] = {}
        self._by_label: dict[Label, Activity] = {}

    def take(self, event: Event) -> Activity | None:
        """Take an event; return its step or transfer, None if unknown. A log event changes no state."""
        match event:
            case VertexEvent():
                activity = self._by_digest.get(event.digest) or self._new(event)
            case StatusEvent() | LogEvent():
                activity = self._by_digest.get(event.vertex)
            case _:
                return None
        if activity is not None and not isinstance(event, LogEvent):
            activity.add(event)
        return activity

    def __iter__(self) -> Iterator[Activity]:
        """Iterate over the steps in the order of their announcement."""
        return iter(self._by_label.values())

    def __len__(self) -> int:
        return len(self._by_label)

    def _new(self, event: VertexEvent) -> Activity | None:
        if not event.digest or not event.name:
            return None
        label = step_label(event.name)
        activity = self._by_label.get(label) if label else None
        if activity is None:
            activity = Activity(label, event.digest)
            if label:
                self._by_label[label] = activity
        self._by_digest[event.digest] = activity
        return activity


_PHASES = ("builder", "login", "verify", "build", "sweep", "prune")  # exports and pushes are part of the build


def summary_lines(report: BuildReport) -> Iterator[tuple[str, str]]:
    """Yield the lines of a report's summary as pairs of title and text."""
    steps, cache = report.cache.steps, report.cache
    share = f"{cache.hit_ratio:.0%}" if cache.hit_ratio is not None else "none"
    yield "steps", f"{steps.total}: {steps.cached} cached ({share}), {steps.executed} executed"
    if cache.saved_seconds:
        yield "saved", f"{duration(cache.saved_seconds)} of steps not run again"
    lazily = f" ({size(cache.lazy.bytes)} read)" if cache.lazy and cache.lazy.used else ""
    for entry in cache.imports:
        yield (
            "cache from",
            f"{entry.status:<11} {entry.type} {entry.source}{lazily if BACKENDS[entry.type].is_folder else ''}",
        )
    for export in cache.exports:
        moved = f" ({size(export.bytes)})" if export.bytes else ""
        yield "cache to", f"{export.status:<11} {export.type} {export.target}{moved}"
    if cache.local:
        swept = f", {size(cache.local.swept_bytes)} swept" if cache.local.swept_bytes else ""
        state = "sound" if cache.local.sound else "damaged"
        yield "folder", f"{state:<11} {size(cache.local.live_bytes)} in use{swept}"
    if report.build_context and report.build_context.bytes:
        yield "context", f"{size(report.build_context.bytes)} sent"
    for image in report.images.values():
        if image.name:
            yield "image", short_digest(image.name)
    spent = {name: duration(report.phases.get(name, 0.0)) for name in _PHASES}
    yield "time", ", ".join(f"{name} {value}" for name, value in spent.items() if value != "0.0s")
