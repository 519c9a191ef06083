"""What ``cache inspect`` tells of a folder."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from buildx_cache.layout.blobsets import Numbering
from buildx_cache.layout.model import LISTED_TAGS, ROLES, Finding, Reach, Role, Tag

SCHEMA = 1


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A layer and the first hundred tags that hold it.

    ``created`` (seconds since the epoch) is when its step ran, where known.
    A cache does not tell the step's text: records hold cache keys, which are digests, and layer descriptors a time.
    """

    digest: str
    size: int
    media_type: str
    created: float | None
    tags: tuple[str, ...]


def layers_by_size(found: Reach) -> tuple[Layer, ...]:
    """The reachable layers, largest first."""
    blobs = [blob for blob in found.blobs if ROLES[blob.media_type] is Role.LAYER]
    held = _holders(found.tags, [blob.digest for blob in blobs])
    layers = [
        Layer(
            digest=blob.digest,
            size=blob.size,
            media_type=blob.media_type,
            created=blob.created,
            tags=tuple(held[blob.digest]),
        )
        for blob in blobs
    ]
    return tuple(sorted(layers, key=lambda layer: (-layer.size, layer.digest)))


def _holders(tags: Sequence[Tag], layers: Sequence[str]) -> Mapping[str, Sequence[str]]:
    """The first hundred tags that hold each layer; those that have as many are looked for no more."""
    held: dict[str, list[str]] = {digest: [] for digest in layers}
    numbering = tags[0].closure.numbering if tags else Numbering(())
    wanted = numbering.bits(layers)
    for tag in tags:
        full = []
        for digest in numbering.names(tag.closure.bits & wanted):
            held[digest].append(tag.name)
            if len(held[digest]) == LISTED_TAGS:
                full.append(digest)
        wanted &= ~numbering.bits(full) if full else -1
    return held


def as_json(found: Reach, findings: Iterable[Finding] = ()) -> dict[str, object]:
    """A folder as plain JSON values: sizes in bytes, times in RFC 3339, null where unknown."""
    return {
        "schema": SCHEMA,
        "folder": str(found.folder),
        "blobs": len(found.blobs),
        "records": found.records,
        "live_bytes": found.live_bytes,
        "dead_blobs": found.dead_blobs,
        "dead_bytes": found.dead_bytes,
        "tags": [_tag(tag) for tag in found.tags],
        "layers": [
            {
                "digest": layer.digest,
                "bytes": layer.size,
                "media_type": layer.media_type,
                "created": rfc3339(layer.created),
                "tags": list(layer.tags),
            }
            for layer in layers_by_size(found)
        ],
        "findings": [finding_json(finding) for finding in findings],
    }


def _tag(tag: Tag) -> dict[str, object]:
    return {
        "name": tag.name,
        "digest": tag.digest,
        "shape": tag.shape.value,
        "layers": tag.layers,
        "records": tag.records,
        "live_bytes": tag.live_bytes,
        "own_bytes": tag.own_bytes,
        "created": rfc3339(tag.created),
        "written": rfc3339(tag.written),
    }


def finding_json(finding: Finding) -> dict[str, str]:
    """A finding as plain JSON values."""
    return {
        "kind": finding.kind.value,
        "severity": finding.severity.value,
        "blob": finding.blob,
        "referrer": finding.referrer,
        "problem": finding.problem,
        "remedy": finding.remedy,
    }


def rfc3339(moment: float | None) -> str | None:
    """Seconds since the epoch as a document has them; None where unknown, or where no calendar goes that far."""
    if moment is None:
        return None
    try:
        return datetime.fromtimestamp(moment, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    except (ValueError, OverflowError, OSError):
        return None
