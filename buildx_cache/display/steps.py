"""The steps of a build and its transfers while they go on, each counted as the report counts it."""

from __future__ import annotations

from collections.abc import Iterator

from buildx_cache.buildkit import Event, LogEvent, StatusEvent, Step, TraceBuilder, Transfer, VertexEvent, is_cancelled
from buildx_cache.buildkit.vertex_names import Label, step_label
from buildx_cache.formatting import duration, printable


class Watched:
    """One step, with all vertices that are it, or one transfer.

    What is known of it is a trace of its own, made when it is asked for: its cost does not grow with the build.
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
        """Whether it ended in an error of its own."""
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
        """The steps, in the order in which they were announced."""
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
