"""Follow the steps of a build and their log lines while they go on, and sum them up as the report does."""

from __future__ import annotations

from collections.abc import Iterator

from buildx_cache.buildkit import Event, LogEvent, StatusEvent, Step, TraceBuilder, Transfer, VertexEvent, is_cancelled
from buildx_cache.buildkit.vertex_names import Label, step_label
from buildx_cache.caches import BACKENDS
from buildx_cache.formatting import duration, printable, short_digest, size
from buildx_cache.report import BuildReport

_LONGEST_LINE = 16 * 1024


class LogLines:
    """Puts lines together, of each vertex and stream apart."""

    def __init__(self) -> None:
        self._begun: dict[tuple[str, int], bytes] = {}

    def take(self, event: LogEvent, *, last: int = 0) -> Iterator[str]:
        """Return the lines that end in this piece; only so many, the last ones, if a number is given."""
        key = (event.vertex, event.stream)
        *lines, rest = (self._begun.get(key, b"") + event.data).split(b"\n")
        self._begun[key] = rest[-_LONGEST_LINE:]
        return map(_final, lines[-last:])

    def rest(self, vertex: str) -> Iterator[tuple[int, str]]:
        """Yield what a vertex began and did not end, each with its stream; it is not told again."""
        for key in [key for key in self._begun if key[0] == vertex]:
            if line := self._begun.pop(key):
                yield key[1], _final(line)


def _final(line: bytes) -> str:
    """Return a line as a terminal would leave it, after every return to its start."""
    final = line.rstrip(b"\r").rpartition(b"\r")[2][:_LONGEST_LINE]
    return final.decode("utf-8", "replace")


class Watched:
    """One step, with all vertices that are it, or one transfer.

    What is known of it is a separate trace, made when it is asked for: its cost does not grow with the build.
    """

    def __init__(self, label: Label | None, key: str) -> None:
        self.label = label
        self.place = _place(label) if label else ""
        """Where in the Dockerfile it is."""
        self.key = key
        """A name by which to tell it from others of this build: the first of its vertex digests."""
        self._builder = TraceBuilder()
        self._running: dict[str, float] = {}
        self._known: Step | Transfer | None = None
        self.has_begun = False
        self.digests: dict[str, None] = {}

    def add(self, event: VertexEvent | StatusEvent) -> None:
        """Take what is new of it."""
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
        """Since when it runs, in POSIX seconds; None if it does not."""
        return min(self._running.values(), default=None)

    @property
    def is_running(self) -> bool:
        """Whether any of it runs."""
        return bool(self._running)

    @property
    def has_ended(self) -> bool:
        """Whether it ran and no longer does; it may yet go on."""
        return self.has_begun and not self._running

    @property
    def state(self) -> Step | Transfer:
        """What is known of it now."""
        if self._known is None:
            trace = self._builder.trace()
            self._known = trace.steps[0] if trace.steps else trace.transfers[0]
        return self._known

    @property
    def is_cached(self) -> bool:
        """Whether nothing of it had to be done."""
        return isinstance(self.state, Step) and self.state.cached

    @property
    def has_failed(self) -> bool:
        """Whether it ended in its own error."""
        return bool(self.state.error) and not is_cancelled(self.state.error)

    @property
    def outcome(self) -> str:
        """How it ended, in eight letters at most; one that runs ended with the call."""
        if self.is_running:
            return "STOPPED"
        if self.state.error:
            return "STOPPED" if is_cancelled(self.state.error) else "FAILED"
        return "CACHED" if self.is_cached else duration(self.state.seconds)

    @property
    def name(self) -> str:
        """What it does, on one line, fit to be shown."""
        return printable(" ".join(self.state.name.split()))

    @property
    def line(self) -> str:
        """How it ended, and what it was."""
        return f"{self.outcome:>8}  {self.place} {self.name}"


def _place(label: Label) -> str:
    words = (label.platform, label.stage, f"{label.number}/{label.total}")
    return printable(f"[{' '.join(word for word in words if word)}]")


class Steps:
    """What a build consists of, as far as its events tell."""

    def __init__(self) -> None:
        self._by_digest: dict[str, Watched] = {}
        self._by_label: dict[Label, Watched] = {}

    def take(self, event: Event) -> Watched | None:
        """Take an event; return what it is about, if that is known. A log changes nothing."""
        match event:
            case VertexEvent():
                watched = self._by_digest.get(event.digest) or self._new(event)
            case StatusEvent() | LogEvent():
                watched = self._by_digest.get(event.vertex)
            case _:
                return None
        if watched is not None and not isinstance(event, LogEvent):
            watched.add(event)
        return watched

    def __iter__(self) -> Iterator[Watched]:
        """Return the steps, in the order in which they were announced."""
        return iter(self._by_label.values())

    def __len__(self) -> int:
        return len(self._by_label)

    def _new(self, event: VertexEvent) -> Watched | None:
        if not event.digest or not event.name:
            return None
        label = step_label(event.name)
        watched = self._by_label.get(label) if label else None
        if watched is None:
            watched = Watched(label, event.digest)
            if label:
                self._by_label[label] = watched
        self._by_digest[event.digest] = watched
        return watched


_TOLD = ("builder", "login", "verify", "build", "sweep", "prune")  # exports and pushes are part of the build


def summary_lines(report: BuildReport) -> Iterator[tuple[str, str]]:
    """Yield what a call did, as pairs of a matter and what there is to say of it."""
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
    spent = {name: duration(report.phases.get(name, 0.0)) for name in _TOLD}
    yield "time", ", ".join(f"{name} {value}" for name, value in spent.items() if value != "0.0s")
