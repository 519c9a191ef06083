"""Redact secret values in the events of a build: steps print them, and BuildKit puts arguments into step names."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from buildx_cache.buildkit.events import Event, LogEvent, VertexEvent, rewritten
from buildx_cache.plan import BuildInvocation
from buildx_cache.redaction import Redactor, Secret, is_hidden_argument

LINE_LIMIT = 64 * 1024
"""Bytes that are kept of one line of a log, plus the length of the longest secret; reports and displays keep less."""


@dataclass(frozen=True, kw_only=True)
class Secrets:
    """The secret values of a call: the password of its login, and other values that a build may print."""

    password: Secret | None = None
    hidden: tuple[Secret, ...] = ()

    def redactor(self, build: BuildInvocation) -> Redactor:
        """Build a redactor for these secrets and for the secret arguments of a build."""
        arguments = (str(value) for name, value in build.secrets if is_hidden_argument(name, value))
        return Redactor((*arguments, *self.hidden, self.password or ""))


class EventRedactor:
    """Remove control characters, then redact secret values, in the events of a build: the only place for both.

    A log arrives in pieces, which may end inside an escape sequence or a value. So a line is passed on when it is
    complete or its step ends. Neither a value nor an escape sequence continues on the next line. So only one line of
    each stream is held back, up to ``LINE_LIMIT``; the rest of a longer line is dropped.
    """

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._begun: dict[tuple[str, int], _Line] = {}

    def take(self, events: Iterable[Event]) -> Iterator[Event]:
        """Yield the events that can be shown now.

        In each message of BuildKit, the end of a step precedes the step's last logs.
        """
        events = [*events]
        last = {event.vertex: number for number, event in enumerate(events) if isinstance(event, LogEvent)}
        over = set()
        for number, event in enumerate(events):
            if isinstance(event, LogEvent):
                yield from self._log(event)
                if event.vertex in over and last[event.vertex] == number:
                    yield from self._ended(event.vertex)
                continue
            if isinstance(event, VertexEvent) and event.completed is not None:
                over.add(event.digest)
                if last.get(event.digest, -1) < number:
                    yield from self._ended(event.digest)
            yield rewritten(event, self._redactor.text)

    def close(self) -> Iterator[Event]:
        """Yield the incomplete lines at the end of the events."""
        for vertex in dict.fromkeys(vertex for vertex, _ in self._begun):
            yield from self._ended(vertex)

    def _log(self, event: LogEvent) -> Iterator[LogEvent]:
        key, came = (event.vertex, event.stream), event.data
        end = came.rfind(b"\n") + 1
        lines, rest = came[:end], came[end:]
        shown = b""
        if lines and (begun := self._begun.pop(key, None)):
            if begun.is_cut:
                first, _, lines = lines.partition(b"\n")
                begun.add(first)
                shown = self._shown(begun)
            else:
                lines = begun.data + lines
        shown += self._without(lines)
        if rest:
            self._begun.setdefault(key, _Line(LINE_LIMIT + self._redactor.longest)).add(rest)
        if shown == came:
            yield event
        elif shown:
            yield _spoken(event.vertex, event.stream, shown)

    def _ended(self, vertex: str) -> Iterator[LogEvent]:
        """Yield the incomplete lines of a vertex that ended; a later piece must not be joined to them."""
        for key in [key for key in self._begun if key[0] == vertex]:
            yield _spoken(*key, self._shown(self._begun.pop(key)))

    def _shown(self, line: _Line) -> bytes:
        shown = self._redactor.log(_text(_final(line.data)))
        if line.is_cut:  # a cut line may end with the first part of a value
            shown = shown[: max(len(shown) - self._redactor.longest, 0)]
        return _bytes(shown + "\n")

    def _without(self, lines: bytes) -> bytes:
        if b"\r" in lines:
            lines = b"\n".join(map(_final, lines.split(b"\n")))
        text = _text(lines)
        shown = self._redactor.log(text)
        return lines if shown == text else _bytes(shown)


class _Line:
    """An incomplete line: at most ``limit`` bytes of what follows its last carriage return."""

    def __init__(self, limit: int) -> None:
        self.data = b""
        self.is_cut = False
        self._limit = limit

    def add(self, piece: bytes) -> None:
        if b"\r" in piece or self.data.endswith(b"\r"):
            whole = self.data + piece
            piece = _final(whole)
            self.is_cut = (self.is_cut and whole.startswith(piece)) or len(piece) > self._limit
            self.data = piece[: self._limit] + (b"\r" if whole.endswith(b"\r") else b"")
        else:
            room = self._limit - len(self.data)
            self.data += piece[:room]
            self.is_cut |= len(piece) > room


def _final(line: bytes) -> bytes:
    """Return the text after the last carriage return, which is what a terminal shows in the end."""
    return line.rstrip(b"\r").rpartition(b"\r")[2]


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _spoken(vertex: str, stream: int, data: bytes) -> LogEvent:
    return LogEvent(vertex=vertex, stream=stream, encoded=base64.b64encode(data).decode("ascii"))
