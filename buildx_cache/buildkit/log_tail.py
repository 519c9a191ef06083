"""The end of a vertex' output, put together from its pieces in bounded memory."""

from __future__ import annotations

from collections import deque

LINE_LIMIT = 16 * 1024
"""Bytes kept of one line."""

TAIL_LINES = 100
"""Lines kept of one vertex."""

TAIL_BYTES = 64 * 1024
"""Bytes kept of one vertex' lines, so that a Dockerfile of 500 steps stays near 32 MiB at worst."""


class LogTail:
    """The last lines of one vertex. Its streams are assembled apart and stand in the order in which lines end."""

    def __init__(self) -> None:
        self._lines: deque[bytes] = deque(maxlen=TAIL_LINES)
        self._unweighed = 0
        self._open: dict[int, bytes] = {}

    def add(self, stream: int, piece: bytes) -> None:
        """Append what ``stream`` printed next; any cut, also inside a character, is fine."""
        before = self._open.get(stream)
        if before:
            piece = before + piece
        # The tail has no room for more lines; what stands before them comes in one piece, which is dropped.
        lines = piece.rsplit(b"\n", TAIL_LINES + 1)
        self._open[stream] = _bound(lines.pop())
        if lines:
            self._keep(lines[-TAIL_LINES:], piece)

    def lines(self, count: int = TAIL_LINES) -> tuple[str, ...]:
        """Return the last ``count`` lines as text, unfinished ones last."""
        unfinished = (_final(line)[:LINE_LIMIT] for line in self._open.values() if line)
        last = [*self._lines, *unfinished][-count:]
        return tuple(line.decode("utf-8", "replace") for line in last)

    def _keep(self, lines: list[bytes], piece: bytes) -> None:
        if b"\r" in piece:
            lines = [_final(line) for line in lines]
        if len(piece) > LINE_LIMIT:
            lines = [line[:LINE_LIMIT] for line in lines]
        self._lines.extend(lines)
        self._unweighed += len(piece)
        if self._unweighed > TAIL_BYTES:
            self._weigh()

    def _weigh(self) -> None:
        """Bring the tail down to its size; done once for every ``TAIL_BYTES`` added, so it may reach twice that."""
        size = sum(map(len, self._lines))
        while size > TAIL_BYTES:
            size -= len(self._lines.popleft())
        self._unweighed = 0


def _final(line: bytes) -> bytes:
    """Return what a terminal would show last of a line redrawn with carriage returns."""
    shown = line.rstrip(b"\r")
    return shown[shown.rfind(b"\r") + 1 :]


def _bound(line: bytes) -> bytes:
    """Cut an unfinished line that grew too long, minding that a carriage return at its end starts it anew."""
    if len(line) <= LINE_LIMIT:
        return line
    return _final(line)[:LINE_LIMIT] + (b"\r" if line.endswith(b"\r") else b"")
