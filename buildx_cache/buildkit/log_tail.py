"""Keep the last lines of a vertex' output, assembled from pieces in bounded memory."""

from __future__ import annotations

from collections import deque

LINE_LIMIT = 16 * 1024
"""The most bytes that are kept of one line."""

TAIL_LINES = 100
"""The most lines that are kept of one vertex."""

TAIL_BYTES = 64 * 1024
"""The most bytes that are kept of one vertex, so that a Dockerfile of 500 steps needs at most about 32 MiB."""


class LogTail:
    """The last lines of one vertex. Each stream is assembled separately; lines are kept in the order of their end."""

    def __init__(self) -> None:
        self._lines: deque[bytes] = deque(maxlen=TAIL_LINES)
        self._added = 0
        """Bytes added since the last trim."""
        self._open: dict[int, bytes] = {}

    def add(self, stream: int, piece: bytes) -> None:
        """Append the next piece of ``stream``, which may be cut anywhere, also inside a character."""
        before = self._open.get(stream)
        if before:
            piece = before + piece
        # The tail holds no more lines than that; the rest before them is one piece, which is dropped.
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
        self._added += len(piece)
        if self._added > TAIL_BYTES:
            self._trim()

    def _trim(self) -> None:
        """Drop the first lines beyond ``TAIL_BYTES``; done once every ``TAIL_BYTES``, so the tail may grow to twice."""
        size = sum(map(len, self._lines))
        while size > TAIL_BYTES:
            size -= len(self._lines.popleft())
        self._added = 0


def _final(line: bytes) -> bytes:
    """Return the text that a terminal shows at the end of a line with carriage returns."""
    shown = line.rstrip(b"\r")
    return shown[shown.rfind(b"\r") + 1 :]


def _bound(line: bytes) -> bytes:
    """Cut an unfinished line that is too long; keep a carriage return at its end, which restarts the line."""
    if len(line) <= LINE_LIMIT:
        return line
    return _final(line)[:LINE_LIMIT] + (b"\r" if line.endswith(b"\r") else b"")
