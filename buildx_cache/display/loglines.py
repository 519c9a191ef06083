"""The pieces of a log, as they come, made into lines."""

from __future__ import annotations

from collections.abc import Iterator

from buildx_cache.buildkit import LogEvent

_LONGEST_LINE = 16 * 1024


class LogLines:
    """Puts lines together, of each vertex and stream apart."""

    def __init__(self) -> None:
        self._begun: dict[tuple[str, int], bytes] = {}

    def take(self, event: LogEvent, *, last: int = 0) -> Iterator[str]:
        """The lines that end in this piece; only so many, the last ones, if a number is given."""
        key = (event.vertex, event.stream)
        *lines, rest = (self._begun.get(key, b"") + event.data).split(b"\n")
        self._begun[key] = rest[-_LONGEST_LINE:]
        return map(_final, lines[-last:])

    def rest(self, vertex: str) -> Iterator[tuple[int, str]]:
        """What a vertex began and did not end, each with its stream; it is not told again."""
        for key in [key for key in self._begun if key[0] == vertex]:
            if line := self._begun.pop(key):
                yield key[1], _final(line)


def _final(line: bytes) -> str:
    """A line as a terminal would leave it, after every return to its start."""
    final = line.rstrip(b"\r").rpartition(b"\r")[2][:_LONGEST_LINE]
    return final.decode("utf-8", "replace")
