"""Damage done to a local cache folder, and where its parts are."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any

CACHE_CONFIG = "application/vnd.buildkit.cacheconfig.v0"


class Part(StrEnum):
    """What can be damaged. A chain's layers are those of the image, the base image's first."""

    INDEX = "index"
    MANIFEST = "manifest"
    CONFIG = "config"
    BASE = "layer of the base image"
    FIRST = "first layer"
    MIDDLE = "middle layer"
    LAST = "last layer"
    STAGE = "layer of another stage"


LAYERS = (Part.BASE, Part.FIRST, Part.MIDDLE, Part.LAST, Part.STAGE)


class How(StrEnum):
    """How it is damaged; ``replaced`` is the content of another blob."""

    ABSENT = "absent"
    TRUNCATED = "truncated"
    FLIPPED = "bit-flipped"
    REPLACED = "replaced"


def parts_of(manifest: Mapping[str, Any], chain: Sequence[str]) -> dict[Part, str]:
    """The digest of each config and layer of a cache manifest, of either shape, for an image with these layers."""
    entries = [*manifest.get("layers", ()), *manifest.get("manifests", ())]
    if "config" in manifest:
        entries.append(manifest["config"])
    layers = [entry["digest"] for entry in entries if entry["mediaType"] != CACHE_CONFIG]
    config = next(entry["digest"] for entry in entries if entry["mediaType"] == CACHE_CONFIG)
    others = [digest for digest in layers if digest not in chain]
    return {
        Part.CONFIG: config,
        Part.BASE: chain[0],
        Part.FIRST: chain[1],
        Part.MIDDLE: chain[len(chain) // 2],
        Part.LAST: chain[-1],
        Part.STAGE: others[-1],
    }


def paths_of(folder: Path, chain: Sequence[str]) -> dict[Part, Path]:
    """The file of each part of a cache folder with the tag ``latest``."""
    index = json.loads((folder / "index.json").read_bytes())
    root = index["manifests"][0]["digest"]
    digests = parts_of(json.loads(blob(folder, root).read_bytes()), chain)
    files = {part: blob(folder, digest) for part, digest in digests.items()}
    return {Part.INDEX: folder / "index.json", Part.MANIFEST: blob(folder, root), **files}


def blob(folder: Path, digest: str) -> Path:
    return folder / "blobs" / "sha256" / digest.removeprefix("sha256:")


def damage(path: Path, how: How, other: Path) -> None:
    """Damage a file; ``other`` is what it is replaced by."""
    content = path.read_bytes()
    path.unlink()  # blobs are read-only
    match how:
        case How.ABSENT:
            return
        case How.TRUNCATED:
            content = content[: len(content) // 2]
        case How.FLIPPED:
            middle = len(content) // 2
            content = content[:middle] + bytes([content[middle] ^ 0x10]) + content[middle + 1 :]
        case How.REPLACED:
            content = other.read_bytes()
    path.write_bytes(content)


def copy_cache(source: Path, target: Path) -> Path:
    """A copy of a cache folder, to be damaged."""
    shutil.copytree(source, target, symlinks=True)
    return target


def without_tag(folder: Path) -> None:
    """Rename the tag ``latest`` in the index."""
    index = json.loads((folder / "index.json").read_bytes())
    index["manifests"][0]["annotations"]["org.opencontainers.image.ref.name"] = "another"
    (folder / "index.json").write_text(json.dumps(index))


def empty_index(folder: Path) -> None:
    (folder / "index.json").write_bytes(b"")


def dangling(folder: Path) -> None:
    """Make the folder a symbolic link to nowhere."""
    shutil.rmtree(folder)
    folder.symlink_to(folder.with_name("nowhere"))
