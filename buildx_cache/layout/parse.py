"""Parse untrusted JSON into plain values, within limits; raise only :class:`MalformedError`."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime

from buildx_cache.layout.model import ROLES, Descriptor, Finding, FindingKind

INDEX_TAG = "org.opencontainers.image.ref.name"
IMAGE_NAME = "io.containerd.image.name"
_CREATED = "buildkit/createdat"
_MAX_INT = (1 << 63) - 1
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_SHOWN = 80
_MOST_VALUES = 1_000_000
"""The most values of one document: 8 MiB hold some 300,000, and parsing more takes too much memory and time."""


class MalformedError(Exception):
    """A document, or a part of a document, is malformed."""

    def __init__(self, kind: FindingKind, problem: str) -> None:
        super().__init__(problem)
        self.kind = kind
        self.problem = problem

    def at(self, blob: str, referrer: str = "", *, kind: FindingKind | None = None) -> Finding:
        """Return the finding for a blob, or for an entry of a folder with that name."""
        return Finding(kind=kind or self.kind, blob=blob, referrer=referrer, problem=self.problem)


def shown(value: object) -> str:
    """Return an untrusted value as short, printable text."""
    try:
        text = ascii(value)
    except (RecursionError, ValueError):
        text = f"a {type(value).__name__}"
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "..."


def shown_tag(name: str) -> str:
    """Return a tag's name, made short and printable on one line if need be: an untrusted index may hold any text."""
    return name if name.isprintable() and 0 < len(name) <= _SHOWN else shown(name)


def count_values(content: bytes) -> int:
    """Estimate the number of values in JSON by its commas, without decoding; commas in strings count too."""
    return content.count(b",")


def parse_object(content: bytes) -> Mapping[str, object]:
    """Return the JSON object in ``content``.

    Raises:
        MalformedError: the content is not UTF-8, not JSON, not an object, too deep, or has too many values or digits.
    """
    if count_values(content) > _MOST_VALUES:
        raise MalformedError(FindingKind.DOCUMENT, f"has more than {_MOST_VALUES} values")
    try:
        value = json.loads(content.decode("utf-8"))
    except RecursionError:
        raise MalformedError(FindingKind.DOCUMENT, "is nested too deeply") from None
    except ValueError as error:
        raise MalformedError(FindingKind.DOCUMENT, f"is not JSON: {str(error)[:_SHOWN]}") from None
    if not isinstance(value, dict):
        raise MalformedError(FindingKind.DOCUMENT, "is not a JSON object")
    return value


def mapping(value: object, what: str) -> Mapping[str, object]:
    """Return ``value`` if it is a JSON object; ``what`` names it in the error.

    Raises:
        MalformedError: ``value`` is not an object.
    """
    if not isinstance(value, dict):
        raise MalformedError(FindingKind.DOCUMENT, f"{what} is not an object: {shown(value)}")
    return value


def items(parent: Mapping[str, object], key: str) -> list[object]:
    """Return the list under ``key``; empty if null or absent, as Go writes an empty list.

    Raises:
        MalformedError: the value is not a list.
    """
    value = parent.get(key)
    if value is None:
        return []
    if not isinstance(value, list):
        raise MalformedError(FindingKind.DOCUMENT, f"{key!r} is not a list: {shown(value)}")
    return value


def integer(parent: Mapping[str, object], key: str) -> int:
    """Return the whole number under ``key``; 0 if absent, as Go leaves out a zero.

    Raises:
        MalformedError: the value is not a whole number, or does not fit into Go's int64.
    """
    value = parent.get(key, 0)
    if not isinstance(value, int) or isinstance(value, bool) or not -_MAX_INT <= value <= _MAX_INT:
        raise MalformedError(FindingKind.DOCUMENT, f"{key!r} is not a whole number: {shown(value)}")
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


def annotations_of(parent: Mapping[str, object]) -> Mapping[str, str]:
    """Return the annotations of a descriptor.

    Raises:
        MalformedError: they are not a map of strings. BuildKit then refuses the whole document.
    """
    value = parent.get("annotations")
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise MalformedError(FindingKind.DESCRIPTOR, f"annotations are not texts: {shown(value)}")
    return value


def digest_of(content: bytes) -> str:
    """Return the digest of a document."""
    return "sha256:" + hashlib.sha256(content).hexdigest()


def is_digest(value: object) -> bool:
    """Return whether ``value`` is a SHA-256 digest in its full form."""
    return isinstance(value, str) and _DIGEST.fullmatch(value) is not None


def descriptor(value: object) -> Descriptor:
    """Parse a descriptor: a digest, a size and a known media type.

    Raises:
        MalformedError: ``value`` is not such a descriptor.
    """
    if not isinstance(value, dict):
        raise MalformedError(FindingKind.DESCRIPTOR, f"is not a descriptor: {shown(value)}")
    digest, media_type, size = value.get("digest"), value.get("mediaType"), value.get("size")
    if not isinstance(digest, str) or not is_digest(digest):
        raise MalformedError(FindingKind.DESCRIPTOR, f"has no sha256 digest but {shown(digest)}")
    if not isinstance(media_type, str) or media_type not in ROLES:
        raise MalformedError(FindingKind.MEDIA_TYPE, f"has an unknown media type: {shown(media_type)}")
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= _MAX_INT:
        raise MalformedError(FindingKind.DESCRIPTOR, f"has no size in bytes but {shown(size)}")
    annotations = annotations_of(value)
    return Descriptor(
        media_type=media_type,
        digest=digest,
        size=size,
        tag=_tag(annotations),
        created=seconds(annotations.get(_CREATED)),
    )


def tag_of(entry: object) -> str:
    """Return the tag of an entry of index.json, even of a malformed entry; empty if it has no tag."""
    try:
        return _tag(annotations_of(entry)) if isinstance(entry, dict) else ""
    except MalformedError:
        return ""


def _tag(annotations: Mapping[str, str]) -> str:
    name = annotations.get(INDEX_TAG) or annotations.get(IMAGE_NAME, "")
    return name.encode("utf-8", "replace").decode("utf-8")
