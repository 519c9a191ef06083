"""Whether a folder may be taken for a cache's, and for this user's alone: any other is not written to."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

from buildx_cache.errors import ExhaustedError, ExposedError
from buildx_cache.layout.parse import MalformedError
from buildx_cache.layout.store import ALGORITHM, BLOBS, INDEX, INGEST, LAYOUT, LOCK, is_blob_name, open_store
from buildx_cache.permissions import Exposure, exposure_of, exposure_on_the_way, exposure_to_untrusted

_INNER = (INDEX, LAYOUT, BLOBS, f"{BLOBS}/{ALGORITHM}", INGEST)
_SEARCH = stat.S_IXGRP | stat.S_IXOTH


def is_layout(folder: Path) -> bool:
    """Whether a folder is an OCI layout, was one, or was held by this program; none that cannot be read.

    It has an ``oci-layout`` file or our lock file, or else an ordinary file in ``blobs/sha256`` that is named by 64
    hexadecimal digits. The folder itself may be reached through a symbolic link; none in it is followed.
    """
    if is_file(folder / LAYOUT) or is_file(folder / LOCK):
        return True
    try:
        with open_store(folder) as store:
            return any(file.regular for file in store.files.values())
    except MalformedError:
        return False


def is_foreign(folder: Path) -> bool:
    """Whether a folder holds names that a layout uses, but is no layout: what is in it is somebody else's.

    An export that was killed early leaves no mark, only an empty ``blobs/sha256`` and partial writes in ``ingest``.
    """
    if is_layout(folder):
        return False
    blobs, ingest = folder / BLOBS, folder / INGEST
    strange = (*_strange(blobs, lambda name: name == ALGORITHM), *_strange(blobs / ALGORITHM, lambda _: False))
    return os.path.lexists(folder / INDEX) or any((*strange, *_strange(ingest, is_blob_name)))


def _strange(folder: Path, expected: Callable[[str], bool]) -> list[str]:
    """Return the names in a folder that no export makes there; its own, where it is no folder."""
    if not os.path.lexists(folder):
        return []
    if folder.is_symlink() or not folder.is_dir():
        return [folder.name]
    try:
        return [entry.name for entry in folder.iterdir() if not expected(entry.name)]
    except OSError:
        return [folder.name]


def refuse_foreign(folder: Path) -> None:
    """Stop before anything is written to a folder that is not a cache's.

    Raises:
        ExhaustedError: it is not.
    """
    if is_foreign(folder):
        raise ExhaustedError(
            f"the folder {folder} is not a Buildx cache: it has no {LAYOUT} and no blobs",
            code="cache-dir-foreign",
            hint="choose another folder with --cache-dir; if it is the cache, delete it",
        )


def exposure(folder: Path) -> Exposure | None:
    """Tell why a cache's folder is not this user's alone; None where it is, and where there is no folder yet.

    It is where the folder and what leads to the blobs in it belong to this user or to one who is trusted, nobody else
    may write them, and nobody else can put another folder in its place.
    """
    if found := exposure_on_the_way(folder):
        return found
    try:
        state = folder.stat()
    except OSError:
        return None
    return exposure_to_untrusted(folder, state) or _inner_exposure(folder, is_closed=not state.st_mode & _SEARCH)


def _inner_exposure(folder: Path, *, is_closed: bool) -> Exposure | None:
    """Return the same of what is in the folder.

    Nobody gets to it in a folder that is closed to others, whatever its mode.
    """
    for name in (*_INNER, *_partial_writes(folder)):
        try:
            state = (folder / name).lstat()
        except OSError:
            continue
        found = exposure_to_untrusted(folder / name, state)
        if found and not stat.S_ISLNK(state.st_mode) and not (is_closed and state.st_uid == os.geteuid()):
            return found
    return None


def _partial_writes(folder: Path) -> list[str]:
    """List the folders in which an export opens files by name: a link there leads it to any file."""
    try:
        return [f"{INGEST}/{path.name}" for path in (folder / INGEST).iterdir()]
    except OSError:
        return []


def refuse_exposed(folder: Path) -> None:
    """Stop before a folder is used that another user may change.

    Raises:
        ExposedError: it is such a folder.
    """
    if found := exposure(folder):
        is_inside = found.path.is_relative_to(folder)
        cure = f"run `{found.cure} {folder}` if no other user has changed it, or " if is_inside else ""
        raise ExposedError(
            f"other users can change the cache folder {folder}: {found}",
            code="cache-dir-exposed",
            hint=f"{cure}choose another folder with --cache-dir",
        )


def is_own(path: Path) -> bool:
    """Whether there is a folder or an ordinary file, no link to one, that is this user's alone."""
    try:
        found = path.lstat()
    except (OSError, ValueError):
        return False
    return (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)) and exposure_of(path, found) is None


def is_file(path: Path) -> bool:
    """Whether there is an ordinary file, and no symbolic link to one."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except (OSError, ValueError):
        return False
