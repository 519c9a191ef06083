"""The local cache folders that a build writes: what is refused before Buildx writes anything there."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from buildx_cache import layout
from buildx_cache.errors import ExhaustedError, UsageError
from buildx_cache.request.build_request import BuildRequest
from buildx_cache.request.local_paths import output_pairs, outputs_of, written_layouts
from buildx_cache.request.probe import look


def check_cache_directories(directories: Sequence[str]) -> None:
    """Refuse folders that cannot hold a cache each.

    Raises:
        UsageError: what ``check_cache_directory`` raises, or two of them are the same folder.
        ExhaustedError: same.
    """
    seen: set[str] = set()
    for directory in directories:
        check_cache_directory(directory)
        real = os.path.realpath(directory)
        if real in seen:
            raise UsageError(
                f"two caches are written to the folder {directory}: Buildx keeps only the last one's tag",
                hint="give each a folder of its own",
            )
        seen.add(real)


def check_exported_folders(request: BuildRequest, caches: Sequence[str]) -> None:
    """Refuse an export of the image's files into a folder that the same build writes for something else.

    That is the folder of a cache, of a layout or of another export. Buildx puts the image's files in place first, and
    then follows their links: the image would say which files of the host are written, and what with.

    Raises:
        UsageError: the two folders.
    """
    layouts = written_layouts(request)
    outputs = (dict(output_pairs(text)) for text in outputs_of(request))
    exported = tuple(filter(None, (fields.get("dest") for fields in outputs if fields.get("type") == "local")))
    for number, folder in enumerate(exported):
        for written in filter(None, (*caches, *layouts, *exported[:number])):
            if _meet(Path(os.path.realpath(written)), Path(os.path.realpath(folder))):
                raise UsageError(
                    f"the image is exported to {folder}, which has {written} in it or lies in it: the image could "
                    "place a link there, and Buildx would write where that leads",
                    hint="export to a folder of its own, or choose another with --cache-dir",
                )


def _meet(one: Path, other: Path) -> bool:
    return one.is_relative_to(other) or other.is_relative_to(one)


def check_cache_directory(directory: str) -> None:
    """Refuse a cache folder that is no folder, is not a cache's or cannot be written.

    Raises:
        UsageError: it is a file, lies below one, has no name of its own, or holds what is not a cache's.
        ExhaustedError: it exists, or would be made, where nothing can be written.
    """
    path = Path(directory)
    if not (path.name and Path(os.path.realpath(path)).name):
        raise UsageError(
            f"the cache folder {directory} has no name of its own", hint="give a folder of its own with --cache-dir"
        )
    found = look(path)
    if found.hidden:
        raise UsageError(f"the cache folder cannot be used: {path}: {found.hidden}", hint="give another --cache-dir")
    if found.mode and not found.is_folder:
        raise UsageError(f"the cache folder is a file: {path}", hint="give a folder with --cache-dir")
    existing = next(parent for parent in (path, *path.absolute().parents) if look(parent).mode)
    if not look(existing).is_folder:
        raise UsageError(f"the cache folder lies below a file: {existing}", hint="give a folder with --cache-dir")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise ExhaustedError(
            f"the cache folder cannot be written: {path}",
            hint="check its permissions, give another --cache-dir, or only read it: --cache-read-only",
        )
    if layout.is_foreign(path) and not layout.exposure(path):  # one that another user may change is done without
        raise UsageError(
            f"the cache folder holds an index.json or blobs of something else: {path}",
            hint="give the cache a folder of its own with --cache-dir",
        )
