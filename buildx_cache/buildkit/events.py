"""The events of a progress stream, and their decoding from one JSON object.

Field names are those of BuildKit's ``client/graph.go`` (``SolveStatus`` and its parts). A field of a wrong type counts
as absent: a damaged stream loses detail, but never fails the build.
"""

from __future__ import annotations

import binascii
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, TypeGuard

from buildx_cache.formatting import MESSAGE_LIMIT, bounded

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, kw_only=True, slots=True)
class VertexEvent:
    """The state of one vertex. Times are POSIX seconds; a vertex is reported many times."""

    digest: str
    inputs: tuple[str, ...]
    name: str
    started: float | None
    completed: float | None
    cached: bool
    error: str


@dataclass(frozen=True, kw_only=True, slots=True)
class StatusEvent:
    """The progress of a part of a vertex, such as one layer of a pull: ``current`` of ``total`` bytes, 0 if unknown."""

    vertex: str
    id: str
    current: int
    total: int


@dataclass(frozen=True, kw_only=True, slots=True)
class LogEvent:
    """A piece of a vertex' output, not a whole line. ``stream`` is 1 for stdout and 2 for stderr."""

    vertex: str
    stream: int
    encoded: str

    @property
    def data(self) -> bytes:
        """The decoded bytes of ``encoded`` (base64), empty if malformed. Each access decodes again."""
        try:
            return binascii.a2b_base64(self.encoded)
        except ValueError:
            return b""


@dataclass(frozen=True, kw_only=True, slots=True)
class WarningEvent:
    """A finding of the Dockerfile checks. ``line`` counts from 1; 0 and an empty ``file`` mean unknown."""

    vertex: str
    level: int
    short: str
    detail: tuple[str, ...]
    url: str
    file: str
    line: int


@dataclass(frozen=True, kw_only=True, slots=True)
class TextLine:
    """A line that is not JSON: ``WARNING: …``, ``ERROR: …``, a source excerpt, a separator."""

    text: str


Event = VertexEvent | StatusEvent | LogEvent | WarningEvent | TextLine


def rewritten(event: Event, change: Callable[[str], str]) -> Event:
    """Return the event with ``change`` applied to every text of BuildKit; the log of a step stays unchanged.

    Names, warnings, errors and plain lines quote a Dockerfile, a frontend and registries at any length, and are kept
    until the end of the build. Cut them only after the change: a cut before could leave a part of a secret.
    """
    match event:
        case VertexEvent():
            name, error = bounded(change(event.name)), bounded(change(event.error)) if event.error else ""
            is_same = name == event.name and error == event.error  # nearly always; copying an event is slow
            return event if is_same else replace(event, name=name, error=error)
        case WarningEvent():
            short, url, file, *detail = (
                bounded(change(text)) for text in (event.short, event.url, event.file, *event.detail)
            )
            return replace(event, short=short, detail=tuple(detail), url=url, file=file)
        case TextLine():
            return TextLine(text=change(event.text)[:MESSAGE_LIMIT])
        case _:
            return event


def decode(status: dict[str, object]) -> list[Event]:
    """Return the events of one decoded ``SolveStatus``; vertices come first, as the other events refer to them."""
    return [
        read(item) for key, read in _READERS if key in status for item in _list(status[key]) if isinstance(item, dict)
    ]


def is_status(value: object) -> TypeGuard[dict[str, object]]:
    """Return whether a decoded value is a ``SolveStatus``; so is ``{}``, as Go leaves out empty lists."""
    return isinstance(value, dict) and (not value or not _KEYS.isdisjoint(value))


def clean(text: str) -> str:
    r"""Replace lone surrogates, which JSON can spell as ``\ud800`` and UTF-8 cannot encode."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def _vertex(raw: dict[str, object]) -> VertexEvent:
    # Absent fields are skipped without a call: there are thousands of vertices, and this halves the time.
    return VertexEvent(
        digest=_string(raw.get("digest")),
        inputs=tuple(map(_string, _list(raw["inputs"]))) if "inputs" in raw else (),
        name=_string(raw.get("name")),
        started=_seconds(raw["started"]) if "started" in raw else None,
        completed=_seconds(raw["completed"]) if "completed" in raw else None,
        cached=raw.get("cached") is True,
        error=_string(raw["error"]) if "error" in raw else "",
    )


def _status(raw: dict[str, object]) -> StatusEvent:
    return StatusEvent(
        vertex=_string(raw.get("vertex")),
        id=_string(raw.get("id")),
        current=_integer(raw.get("current")),
        total=_integer(raw.get("total")),
    )


def _log(raw: dict[str, object]) -> LogEvent:
    encoded = raw.get("data")
    return LogEvent(
        vertex=_string(raw.get("vertex")),
        stream=_integer(raw.get("stream")),
        encoded=encoded if isinstance(encoded, str) else "",
    )


def _warning(raw: dict[str, object]) -> WarningEvent:
    source = raw.get("sourceInfo")
    return WarningEvent(
        vertex=_string(raw.get("vertex")),
        level=_integer(raw.get("level")),
        short=_base64_text(raw.get("short")),
        detail=tuple(_base64_text(item) for item in _list(raw.get("detail"))),
        url=_string(raw.get("url")),
        file=_string(source.get("filename")) if isinstance(source, dict) else "",
        line=_first_line(raw.get("range")),
    )


def _first_line(ranges: object) -> int:
    """Return the first line of a warning's first range (``solver/pb`` ``Range``), 0 if unknown."""
    first = next(iter(_list(ranges)), None)
    start = first.get("start") if isinstance(first, dict) else None
    return _integer(start.get("line")) if isinstance(start, dict) else 0


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []


_LONGEST_TIME = 64


def _string(value: object) -> str:
    if not isinstance(value, str):
        return ""
    return value if value.isascii() else clean(value)


def _integer(value: object) -> int:
    return value if isinstance(value, int) else 0


def _base64_text(value: object) -> str:
    try:
        return binascii.a2b_base64(_string(value)).decode("utf-8", "replace")
    except ValueError:
        return ""


def _seconds(value: object) -> float | None:
    """Parse Go's RFC 3339 with up to nine decimals to POSIX seconds, to the microsecond.

    Go's zero time (year 1) means "not set", like an absent field.
    """
    return _parsed(value) if isinstance(value, str) and len(value) <= _LONGEST_TIME else None


@lru_cache(maxsize=256)
def _parsed(value: str) -> float | None:
    """Parse a time. Cached, as every event of a vertex repeats its start."""
    try:
        moment = datetime.fromisoformat(value)
        seconds = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None
    return seconds if seconds > 0 else None


_READERS: tuple[tuple[str, Callable[[dict[str, object]], Event]], ...] = (
    ("vertexes", _vertex),
    ("statuses", _status),
    ("logs", _log),
    ("warnings", _warning),
)

_KEYS = frozenset(key for key, _ in _READERS)
