"""Secret values in what a build says: steps print them, and BuildKit names a step after it has put arguments in."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from buildx_cache.plan import Command
from buildx_cache.progress import Event
from buildx_cache.progress.events import LogEvent, VertexEvent, rewritten
from buildx_cache.redaction import HIDDEN, Secret, secret_forms

_HIDDEN = HIDDEN.encode()


@dataclass(frozen=True, kw_only=True)
class Secrets:
    """What a call knows and never shows: the password of its login, and other values that builds may print."""

    password: Secret | None = None
    hidden: tuple[Secret, ...] = ()


class Hiding:
    """Takes the secret values of a command, and ``others``, out of the events of its build.

    A step's output comes in pieces that end anywhere. The end of one that could be the start of a value waits for the
    next, or for the end of the step: never a whole line, as no form that is looked for has a line break.
    """

    def __init__(self, command: Command, others: Iterable[str] = ()) -> None:
        self._texts = secret_forms((*(str(value) for _, value in command.secrets), *others))
        self._forms = tuple(form.encode("utf-8", "surrogateescape") for form in self._texts)
        self._first = re.compile(b"|".join({re.escape(form[:1]) for form in self._forms}))
        self._longest = max(map(len, self._forms), default=0)
        self._waiting: dict[tuple[str, int], bytes] = {}

    def take(self, events: Iterable[Event]) -> Iterable[Event]:
        """The events without the values, as they can be shown by now."""
        return self._taken(events) if self._forms else events

    def close(self) -> Iterator[Event]:
        """What still waits when there are no more events."""
        return self._ended([*self._waiting])

    def text(self, text: str) -> str:
        """``text`` without the values."""
        for form in self._texts:
            text = text.replace(form, HIDDEN)
        return text

    def _taken(self, events: Iterable[Event]) -> Iterator[Event]:
        for event in events:
            if isinstance(event, LogEvent):
                yield from self._log(event)
                continue
            if isinstance(event, VertexEvent) and event.completed is not None and self._waiting:
                yield from self._ended([key for key in self._waiting if key[0] == event.digest])
            yield rewritten(event, self.text)

    def _log(self, event: LogEvent) -> Iterator[LogEvent]:
        key = (event.vertex, event.stream)
        came = event.data
        waited = self._waiting.pop(key, b"")
        data = waited + came
        shown = self._without(data)
        if start := self._start_of_a_value(data):
            before = self._without(data[: -len(start)])
            if before + self._without(start) != shown:  # that start is the end of another value
                start = self._start_of_a_value(shown)
                before = shown[: len(shown) - len(start)]
            shown = before
        if start:
            self._waiting[key] = start
        if shown == came:
            yield event
        elif shown:
            yield _spoken(event.vertex, event.stream, shown)

    def _ended(self, keys: Iterable[tuple[str, int]]) -> Iterator[LogEvent]:
        for key in keys:
            yield _spoken(*key, self._without(self._waiting.pop(key)))

    def _without(self, data: bytes) -> bytes:
        for form in self._forms:
            if form in data:
                data = data.replace(form, _HIDDEN)
        return data

    def _start_of_a_value(self, data: bytes) -> bytes:
        """The longest end of ``data`` with which a value could begin."""
        line = data[data.rfind(b"\n") + 1 :][1 - self._longest or len(data) :]
        for first in self._first.finditer(line):
            end = line[first.start() :]
            if any(form.startswith(end) and form != end for form in self._forms):
                return end
        return b""


def _spoken(vertex: str, stream: int, data: bytes) -> LogEvent:
    return LogEvent(vertex=vertex, stream=stream, encoded=base64.b64encode(data).decode("ascii"))
