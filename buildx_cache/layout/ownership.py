"""Check that a folder is a cache, and that only this user can change it: the program writes to no other folder."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from itertools import islice
from pathlib import Path

from buildx_cache.errors import ExhaustedError, ExposedError
from buildx_cache.formatting import shell_word
from buildx_cache.layout.parse import MalformedError
from buildx_cache.layout.store import (
    ALGORITHM,
    BLOBS,
    INDEX,
    INGEST,
    INGESTS_LIMIT,
    LAYOUT,
    LOCK,
    is_blob_name,
    open_store,
)
from buildx_cache.permissions import Exposure, exposure_of, exposure_on_the_way, exposure_to_untrusted

_INNER = (INDEX, LAYOUT, BLOBS, f"{BLOBS}/{ALGORITHM}", INGEST)
_SEARCH = stat.S_IXGRP | stat.S_IXOTH


def is_layout(folder: Path) -> bool:
    """Return whether a folder is an OCI layout, was one, or was locked by this program.

    Such a folder has an ``oci-layout`` file, or this program's lock file, or an ordinary file in ``blobs/sha256`` whose
    name is 64 hexadecimal digits. ``folder`` may be a symbolic link; links inside the folder are not followed.
    """
    if is_file(folder / LAYOUT) or is_file(folder / LOCK):
        return True
    try:
        with open_store(folder) as store:
            return any(file.regular for file in store.files.values())
    except MalformedError:
        return False


def is_foreign(folder: Path) -> bool:
    """Return whether a folder uses a layout's names but is not a layout: its files belong to something else.

    An export that was killed early leaves only an empty ``blobs/sha256`` and partial writes in ``ingest``: such a
    folder is not foreign.
    """
    if is_layout(folder):
        return False
    blobs, ingest = folder / BLOBS, folder / INGEST
    strange = (*_strange(blobs, lambda name: name == ALGORITHM), *_strange(blobs / ALGORITHM, lambda _: False))
    return os.path.lexists(folder / INDEX) or any((*strange, *_strange(ingest, is_blob_name)))


def _strange(folder: Path, expected: Callable[[str], bool]) -> list[str]:
    """Return the names in a folder that no export creates there; the path's own name if it is not a folder."""
    if not os.path.lexists(folder):
        return []
    if folder.is_symlink() or not folder.is_dir():
        return [folder.name]
    try:
        return [entry.name for entry in folder.iterdir() if not expected(entry.name)]
    except OSError:
        return [folder.name]


def refuse_foreign(folder: Path) -> None:
    """Refuse to write to a folder that holds something other than a cache.

    Raises:
        ExhaustedError: the folder is foreign (:func:`is_foreign`).
    """
    if is_foreign(folder):
        raise ExhaustedError(
            f"the folder {folder} is not a Buildx cache: it has no {LAYOUT} and no blobs",
            code="cache-dir-foreign",
            hint="choose another folder with --cache-dir; if it is the cache, delete it",
        )


def exposure(folder: Path) -> Exposure | None:
    """Return why another user may change a cache folder; None if no other user may, or the folder does not exist.

    No other user may change it if the folder and the inner paths to its blobs belong to this user or a trusted user, no
    one else may write them, and no one else can replace the folder.
    """
    if found := exposure_on_the_way(folder):
        return found
    try:
        state = folder.stat()
    except OSError:
        return None
    return exposure_to_untrusted(folder, state) or _inner_exposure(folder, is_closed=not state.st_mode & _SEARCH)


def _inner_exposure(folder: Path, *, is_closed: bool) -> Exposure | None:
    """Return why another user may change an entry of the folder.

    In a closed folder, no other user can reach this user's entries, whatever their mode.
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
    """List partial writes, whose files plain Buildx opens by name; more than the limit are damage anyway."""
    try:
        return [f"{INGEST}/{path.name}" for path in islice((folder / INGEST).iterdir(), INGESTS_LIMIT)]
    except OSError:
        return []


def refuse_exposed(folder: Path) -> None:
    """Refuse a folder that another user may change.

    Raises:
        ExposedError: another user may change the folder.
    """
    if found := exposure(folder):
        is_inside = found.path.is_relative_to(folder)
        cure = f"run `{found.cure} {shell_word(str(folder))}` if no other user has changed it, or " if is_inside else ""
        raise ExposedError(
            f"other users can change the cache folder {folder}: {found}",
            code="cache-dir-exposed",
            hint=f"{cure}choose another folder with --cache-dir",
        )


def is_own(path: Path) -> bool:
    """Return whether ``path`` is a folder or an ordinary file, not a link, that only this user may change."""
    try:
        found = path.lstat()
    except (OSError, ValueError):
        return False
    return (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)) and exposure_of(path, found) is None


def is_file(path: Path) -> bool:
    """Return whether ``path`` is an ordinary file, not a symbolic link."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except (OSError, ValueError):
        return False
