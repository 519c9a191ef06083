"""Parse the name of a vertex: a step of a Dockerfile, or a transfer.

Sources of the names: ``prefixCommand`` and ``dispatchCopy`` in BuildKit's ``dockerfile2llb/convert.go`` for steps;
``frontend/dockerui``, ``solver/llbsolver`` and Buildx' ``build`` for the rest; ``addPrefix`` in Buildx'
``util/progress/multiwriter.go`` for the prefix of a target or node.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

TransferKind = Literal["cache-import", "cache-export", "image-export", "push", "load", "context", "other"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Label:
    """The parts of a step's name, such as ``[linux/amd64->arm64 build  2/14] RUN make``."""

    name: str
    stage: str
    platform: str
    number: int
    total: int


_STEP = re.compile(r"\[(?P<head>[^\]]*)\] (?P<name>.*)", re.DOTALL)
_COUNT = re.compile(r"(?P<number>\d{1,6})/(?P<total>\d{1,6})")
_PLATFORM = re.compile(r"[a-z0-9]+(?:\([^)]*\))?/[a-z0-9_]+(?:/[a-z0-9.]+)?(?:\([^)]*\))?(?:->\S+)?")
_LINK = re.compile(r"^((?:ONBUILD )?)LINK (?=COPY |ADD )")
_PREFIX = re.compile(r"\[[^\]]*\] ")

_IMPORTING = "importing cache manifest from "
_LOOKUP = r"\[(?:[^\]]*internal|context [^\]]*)\] load metadata for "
_METADATA = re.compile(_LOOKUP)
_IMAGE = re.compile(rf"(?:{_LOOKUP}|(?:\[[^\]]*\] )?resolve image config for (?:docker-image://)?)(?P<image>.+)")

_MANIFEST = re.compile(
    r"(?:exporting|writing (?:cache )?(?:image )?) ?manifest (?P<index>list )?(?P<digest>sha256:[0-9a-f]{64})"
)

_PUSHED = re.compile(r"pushing manifest for (?P<name>\S+)@(?P<digest>sha256:[0-9a-f]{64})")

_KINDS: tuple[tuple[re.Pattern[str], TransferKind], ...] = (
    (re.compile(_IMPORTING), "cache-import"),
    (re.compile(r"exporting cache\b|exporting content cache\b"), "cache-export"),
    (re.compile(r"exporting to GitHub (?:Actions Cache|cache)$"), "cache-export"),
    (re.compile(r"preparing (?:build cache for export|layers for inline cache)\b"), "cache-export"),
    (re.compile(r"exporting to \S"), "image-export"),
    (re.compile(r"pushing \S|merging manifest list "), "push"),
    (re.compile(r"(?:importing|loading) to docker\b"), "load"),
    (re.compile(r"load (?:remote )?build context$"), "context"),
    (re.compile(r"(?:OCI )?load from client$"), "context"),
)


def step_label(name: str) -> Label | None:
    """Parse the vertex name of a step; return None for any other vertex.

    A step is a vertex that the Dockerfile frontend numbers. The two vertices of a ``COPY --link`` (the copy, and the
    ``LINK COPY`` that merges it) get the same label, as do the download and the copy of an ``ADD https://…``.
    """
    match = _STEP.match(name)
    place, _, last = match["head"].rpartition(" ") if match else ("", "", "")
    count = _COUNT.fullmatch(last.lstrip())
    if match is None or count is None:
        return None
    platform, stage = _place(place)
    return Label(
        name=_LINK.sub(r"\1", match["name"]),
        stage=stage,
        platform=platform,
        number=int(count["number"]),
        total=int(count["total"]),
    )


def is_base_image(step: str) -> bool:
    """Return whether a step is a base image."""
    return step.startswith("FROM ")


def folder_source(folder: str) -> str:
    """Return the end of the vertex name of an import of a folder that is served to BuildKit as a registry."""
    return f"the folder {folder}"


def bare_name(name: str) -> str:
    """Remove the target or node that Buildx prepends to a vertex' name."""
    prefix = _PREFIX.match(name)
    return name[prefix.end() :] if prefix else name


def import_source(name: str) -> str:
    """Return the source of a cache import's vertex; empty for any other vertex."""
    bare = bare_name(name)
    return bare.removeprefix(_IMPORTING) if bare.startswith(_IMPORTING) else ""


def transfer_kind(name: str) -> TransferKind:
    """Return the kind of transfer of a vertex that is not a step."""
    bare = bare_name(name)
    return next((kind for pattern, kind in _KINDS if pattern.match(bare)), "other")


def exported_manifest(status: str) -> tuple[str, bool]:
    """Return the digest of a manifest that an export writes, and whether it is an index; empty for any other status.

    BuildKit writes the manifests of an image in the order of its platforms (``commit`` in
    ``exporter/containerimage/writer.go``), and one manifest for a cache (``cache/remotecache/export.go``).
    """
    match = _MANIFEST.fullmatch(status)
    return (match["digest"], bool(match["index"])) if match else ("", False)


def pushed_reference(status: str) -> tuple[str, str]:
    """Return the full name and the digest of an image that an export pushed to a tag; empty for any other status.

    This is BuildKit's status text (``util/push/push.go``); Buildx, which pushes for the classic store, prints another.
    """
    match = _PUSHED.fullmatch(status)
    return (match["name"], match["digest"]) if match else ("", "")


def is_image_metadata(name: str) -> bool:
    """Return whether a vertex looks up an image of FROM or COPY --from (``frontend/dockerui``)."""
    return _METADATA.match(name) is not None


def image_name(name: str) -> str:
    """Return the image that a vertex looks up, for FROM or as a frontend; empty for any other vertex."""
    match = _IMAGE.fullmatch(name)
    return match["image"] if match else ""


def _place(text: str) -> tuple[str, str]:
    words = text.split()
    platform = next((word for word in words if _PLATFORM.fullmatch(word)), "")
    return platform, " ".join(word for word in words if word != platform)
