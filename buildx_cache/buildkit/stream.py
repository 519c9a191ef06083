"""Parse the bytes of a ``--progress=rawjson`` stream (stderr of Buildx) into events."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from buildx_cache.buildkit.events import TextLine, clean, decode, is_status

if TYPE_CHECKING:
    from collections.abc import Iterable

    from buildx_cache.buildkit.events import Event

VALUE_LIMIT = 8 * 1024 * 1024
"""The largest JSON value, in bytes. BuildKit splits its messages at about 1 MiB of logs (``control/control.go``)."""

TEXT_LIMIT = 16 * 1024
"""The most characters that are kept of one plain line."""

# Also matches an unterminated string, to the end of the line and without backtracking: otherwise each of its escaped
# quotes would be tried as the start of another string.
_STRING = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+(")?')
_INDENT = (b" ", b"\t")
_INDENTED = re.compile(rb"(?:[ \t][^\n]*+\n)*+")
_OPENING = b"{\n"
_PRETTY = re.compile(rb"\{\n(?:[ \t][^\n]*+\n)*+\}(?=\n)")
_SPACE = re.compile(r"\s*")
_CONTINUATION = re.compile(r'\s*(?:["{}\[\],]|$)')
_TOP = re.compile(r'\s*\{\s*"(?:vertexes|statuses|logs|warnings)"\s*:')
_MAY_PRECEDE_OBJECT = (":", "[", ",")


class StreamParser:
    """Parse a byte stream, cut into chunks anywhere, into events.

    Current Buildx writes one JSON object a line; Buildx 0.13 pretty-prints each object over many lines. Plain lines may
    come in between. Text that is not JSON becomes a ``TextLine``: nothing is lost, and no error is raised.
    """

    def __init__(self) -> None:
        self._decoder = json.JSONDecoder()
        # The start of an unfinished line.
        self._partial: list[bytes] = []
        self._partial_size = 0
        # A pretty-printed value: a lone "{" and the indented lines after it, not parsed yet; an item may hold several.
        self._block: list[bytes] = []
        self._block_size = 0
        # The lines of an unfinished value of any other layout, and the number of its open brackets.
        self._lines: list[str] = []
        self._lines_size = 0
        self._depth = 0

    def feed(self, chunk: bytes) -> list[Event]:
        """Take the next bytes; return the events that they complete."""
        events: list[Event] = []
        if b"\n" not in chunk:
            self._hold(chunk)
            return events
        first, _, rest = chunk.partition(b"\n")
        self._hold(first)
        self._end_line(self._taken(), events)
        at = 0
        while (end := rest.find(b"\n", at)) >= 0:
            if rest.startswith(_OPENING, at) and (whole := self._pretty(rest, at, events)) > at:
                at = whole
                continue
            at = self._swallowed(rest, at)
            if at <= end:
                self._end_line(rest[at:end], events)
                at = end + 1
        self._hold(rest[at:])
        return events

    def close(self) -> list[Event]:
        """Return the events of the rest of the stream: a last line, an unfinished value as text."""
        events: list[Event] = []
        if self._partial_size:
            self._end_line(self._taken(), events)
        self._end_block(events)
        self._give_up(events)
        return events

    def _hold(self, piece: bytes) -> None:
        if piece and self._partial_size <= VALUE_LIMIT:
            self._partial.append(piece)
            self._partial_size += len(piece)

    def _taken(self) -> bytes:
        line = b"".join(self._partial)
        self._partial.clear()
        self._partial_size = 0
        return line

    def _pretty(self, lines: bytes, at: int, events: list[Event]) -> int:
        """Decode the pretty-printed value that begins at ``at`` if it is complete; return its end, else ``at``."""
        value = None if self._block or self._lines else _PRETTY.match(lines, at)
        if value is None or value.end() - at > VALUE_LIMIT or not self._decoded_whole(value[0], events):
            return at
        return value.end() + 1

    def _swallowed(self, lines: bytes, at: int) -> int:
        """Append the indented lines at ``at`` to the pretty-printed value, all at once; return their end."""
        if not self._block:
            return at
        indented = _INDENTED.match(lines, at)
        end = indented.end() if indented else at
        if end == at or self._block_size + end - at > VALUE_LIMIT:
            return at
        self._block.append(lines[at : end - 1])
        self._block_size += end - at
        return end

    def _end_line(self, raw: bytes, events: list[Event]) -> None:
        if self._block and self._in_block(raw, events):
            return
        if len(raw) > VALUE_LIMIT:
            self._give_up(events)
            events.append(_text(raw[: 4 * TEXT_LIMIT].decode("utf-8", "replace")))
        elif self._lines:
            self._line(_decoded(raw), events)
        elif raw.rstrip() == b"{":
            self._block, self._block_size = [raw], len(raw) + 1
        elif not self._decoded_whole(raw, events):
            self._line(_decoded(raw), events)

    def _in_block(self, raw: bytes, events: list[Event]) -> bool:
        """Append ``raw`` to the pretty-printed value, or end the value; return whether ``raw`` was part of it."""
        if self._block_size <= VALUE_LIMIT:
            if raw.startswith(_INDENT) and len(raw) <= VALUE_LIMIT:
                self._block.append(raw)
                self._block_size += len(raw) + 1
                return True
            if raw.rstrip() == b"}" and self._decoded_whole(b"\n".join([*self._block, raw]), events):
                self._block = []
                return True
        self._end_block(events)
        return False

    def _decoded_whole(self, raw: bytes, events: list[Event]) -> bool:
        """Decode a line that is exactly one status, as most lines are; return False for any other line."""
        if not raw.startswith(b"{"):
            return False
        text = raw.decode("utf-8", "replace")
        try:
            value, end = self._decoder.raw_decode(text)
        except (ValueError, RecursionError):
            return False
        if end != len(text) or not is_status(value):
            return False
        events += decode(value)
        return True

    def _end_block(self, events: list[Event]) -> None:
        """Parse the lines of a block one by one, as the block is not a pretty-printed status."""
        lines = b"\n".join(self._block).split(b"\n") if self._block else []
        self._block = []
        for raw in lines:
            self._line(_decoded(raw), events)

    def _line(self, line: str, events: list[Event]) -> None:
        if self._lines and not self._continues(line):
            self._give_up(events)
        if self._lines:
            self._grow(line, events)
        elif line.lstrip().startswith("{"):
            self._values(line, events)
        else:
            events.append(_text(line))

    def _continues(self, line: str) -> bool:
        """Return whether ``line`` can continue the unfinished value.

        An object can only follow ``:``, ``[`` or ``,``; no object inside a status has the keys of a status.
        """
        if _TOP.match(line) or not _CONTINUATION.match(line):
            return False
        return not line.lstrip().startswith("{") or self._lines[-1].rstrip().endswith(_MAY_PRECEDE_OBJECT)

    def _grow(self, line: str, events: list[Event]) -> None:
        depth = _depth(line)
        self._lines.append(line)
        self._lines_size += len(line) + 1
        self._depth += depth or 0
        if depth is None or self._lines_size > VALUE_LIMIT:
            self._give_up(events)
        elif self._depth <= 0:
            whole = "\n".join(self._lines)
            if self._parses(whole):
                self._forget()
                self._values(whole, events)
            else:
                self._give_up(events)

    def _values(self, text: str, events: list[Event]) -> None:
        """Decode the consecutive JSON values in ``text``; the rest is text or the start of a value."""
        at = _skip_space(text, 0)
        while at < len(text):
            try:
                value, end = self._decoder.raw_decode(text, at)
            except (ValueError, RecursionError):
                self._start(text[at:], events)
                return
            if is_status(value):
                events.extend(decode(value))
            else:
                events.append(_text(text[at:end]))
            at = _skip_space(text, end)

    def _start(self, text: str, events: list[Event]) -> None:
        depth = _depth(text)
        if text.lstrip().startswith("{") and "\n" not in text and depth is not None and depth > 0:
            self._lines, self._lines_size, self._depth = [text], len(text) + 1, depth
        else:
            events.extend(_text(line) for line in text.split("\n"))

    def _parses(self, text: str) -> bool:
        try:
            self._decoder.raw_decode(text.lstrip())
        except (ValueError, RecursionError):
            return False
        return True

    def _give_up(self, events: list[Event]) -> None:
        """Turn the unfinished value into text lines, but decode complete one-line values in it."""
        lines = self._lines
        self._forget()
        for line in lines:
            if _TOP.match(line) and self._parses(line):
                self._values(line, events)
            else:
                events.append(_text(line))

    def _forget(self) -> None:
        self._lines, self._lines_size, self._depth = [], 0, 0


def _decoded(raw: bytes) -> str:
    return raw.decode("utf-8", "replace").removesuffix("\r")


def _skip_space(text: str, at: int) -> int:
    space = _SPACE.match(text, at)
    return space.end() if space else at


def _text(line: str) -> TextLine:
    return TextLine(text=clean(line[:TEXT_LIMIT]))


def _depth(line: str) -> int | None:
    """Return the number of brackets that ``line`` leaves open; None if a string does not end (then it is not JSON)."""
    bare = _STRING.sub(lambda string: "" if string[1] else '"', line)
    if '"' in bare:
        return None
    return _count(bare, "{[") - _count(bare, "}]")


def _count(text: str, characters: Iterable[str]) -> int:
    return sum(map(text.count, characters))
