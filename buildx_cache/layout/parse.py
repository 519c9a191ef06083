"""JSON of unknown origin into plain values: bounded, and never raising anything but :class:`MalformedError`."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime

from buildx_cache.layout.model import ROLES, Descriptor, Finding, Kind

INDEX_TAG = "org.opencontainers.image.ref.name"
IMAGE_NAME = "io.containerd.image.name"
_CREATED = "buildkit/createdat"
_MAX_INT = (1 << 63) - 1
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_SHOWN = 80
_MOST_VALUES = 1_000_000
"""Of one document: one of 8 MiB has some 300,000, and more take memory and time before they are refused."""


class MalformedError(Exception):
    """A document or a part of it is not what it should be."""

    def __init__(self, kind: Kind, problem: str) -> None:
        super().__init__(problem)
        self.kind = kind
        self.problem = problem

    def at(self, blob: str, referrer: str = "", *, kind: Kind | None = None) -> Finding:
        """Give the fault of a blob, or of what has that name in a folder."""
        return Finding(kind=kind or self.kind, blob=blob, referrer=referrer, problem=self.problem)


def shown(value: object) -> str:
    """Return a foreign value, short and printable."""
    try:
        text = ascii(value)
    except (RecursionError, ValueError):
        text = f"a {type(value).__name__}"
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "..."


def shown_tag(name: str) -> str:
    """Return a tag's name as it is, or short and printable in one line.

    An index of unknown origin may hold any text.
    """
    return name if name.isprintable() and 0 < len(name) <= _SHOWN else shown(name)


def count_values(content: bytes) -> int:
    """At least how many values JSON holds, told without decoding it; more where texts have commas."""
    return content.count(b",")


def parse_object(content: bytes) -> Mapping[str, object]:
    """Return the JSON object in ``content``.

    Raises:
        MalformedError: not UTF-8, not JSON, nested too deeply, a number too long, too many values, or no object.
    """
    if count_values(content) > _MOST_VALUES:
        raise MalformedError(Kind.DOCUMENT, f"has more than {_MOST_VALUES} values")
    try:
        value = json.loads(content.decode("utf-8"))
    except RecursionError:
        raise MalformedError(Kind.DOCUMENT, "is nested too deeply") from None
    except ValueError as error:
        raise MalformedError(Kind.DOCUMENT, f"is not JSON: {str(error)[:_SHOWN]}") from None
    if not isinstance(value, dict):
        raise MalformedError(Kind.DOCUMENT, "is not a JSON object")
    return value


def mapping(value: object, what: str) -> Mapping[str, object]:
    """``value`` as an object.

    Raises:
        MalformedError: it is none.
    """
    if not isinstance(value, dict):
        raise MalformedError(Kind.DOCUMENT, f"{what} is not an object: {shown(value)}")
    return value


def items(parent: Mapping[str, object], key: str) -> list[object]:
    """Return the list under ``key``; Go writes an empty one as null or leaves it out.

    Raises:
        MalformedError: it is no list.
    """
    value = parent.get(key)
    if value is None:
        return []
    if not isinstance(value, list):
        raise MalformedError(Kind.DOCUMENT, f"{key!r} is not a list: {shown(value)}")
    return value


def integer(parent: Mapping[str, object], key: str) -> int:
    """Return the whole number under ``key``; Go leaves a zero out.

    Raises:
        MalformedError: it is none, or Go's int64 does not hold it.
    """
    value = parent.get(key, 0)
    if not isinstance(value, int) or isinstance(value, bool) or not -_MAX_INT <= value <= _MAX_INT:
        raise MalformedError(Kind.DOCUMENT, f"{key!r} is not a whole number: {shown(value)}")
    return value


def seconds(value: object) -> float | None:
    """Return an RFC 3339 time in seconds since the epoch; None for anything else and for Go's zero time."""
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return None
    zoned = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    try:
        return zoned.timestamp() if zoned.year > 1 else None
    except (ValueError, OverflowError):
        return None


def notes_of(parent: Mapping[str, object]) -> Mapping[str, str]:
    """Return the annotations of a descriptor.

    Raises:
        MalformedError: they are not texts by name, which makes BuildKit refuse the whole document.
    """
    value = parent.get("annotations")
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise MalformedError(Kind.DESCRIPTOR, f"annotations are not texts: {shown(value)}")
    return value


def is_digest(value: object) -> bool:
    """Whether this is the digest of a blob in ``blobs/sha256``."""
    return isinstance(value, str) and _DIGEST.fullmatch(value) is not None


def descriptor(value: object) -> Descriptor:
    """Return a descriptor of a known media type with a digest and a size.

    Raises:
        MalformedError: it is none.
    """
    if not isinstance(value, dict):
        raise MalformedError(Kind.DESCRIPTOR, f"is not a descriptor: {shown(value)}")
    digest, media_type, size = value.get("digest"), value.get("mediaType"), value.get("size")
    if not isinstance(digest, str) or not is_digest(digest):
        raise MalformedError(Kind.DESCRIPTOR, f"has no sha256 digest but {shown(digest)}")
    if not isinstance(media_type, str) or media_type not in ROLES:
        raise MalformedError(Kind.MEDIA_TYPE, f"has an unknown media type: {shown(media_type)}")
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= _MAX_INT:
        raise MalformedError(Kind.DESCRIPTOR, f"has no size in bytes but {shown(size)}")
    notes = notes_of(value)
    return Descriptor(
        media_type=media_type,
        digest=digest,
        size=size,
        tag=_tag(notes),
        created=seconds(notes.get(_CREATED)),
    )


def tag_of(entry: object) -> str:
    """Return the tag of an entry of index.json, whatever else is wrong with it; empty where it has none."""
    try:
        return _tag(notes_of(entry)) if isinstance(entry, dict) else ""
    except MalformedError:
        return ""


def _tag(notes: Mapping[str, str]) -> str:
    name = notes.get(INDEX_TAG) or notes.get(IMAGE_NAME, "")
    return name.encode("utf-8", "replace").decode("utf-8")
