"""Whether a folder may be taken for a cache's: any other is not written to."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

from buildx_cache.errors import ExhaustedError
from buildx_cache.layout.decode import MalformedError
from buildx_cache.layout.store import ALGORITHM, BLOBS, INDEX, INGEST, LAYOUT, LOCK, is_blob_name, open_store


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
    """The names in a folder that no export makes there; its own, where it is no folder."""
    if not os.path.lexists(folder):
        return []
    if folder.is_symlink() or not folder.is_dir():
        return [folder.name]
    return [entry.name for entry in folder.iterdir() if not expected(entry.name)]


def refuse_foreign(folder: Path) -> None:
    """Stop before anything is written to a folder that is not a cache's.

    Raises:
        ExhaustedError: it is not.
    """
    if is_foreign(folder):
        raise ExhaustedError(
            f"the folder {folder} is no cache of Buildx: it has files of that name, but no {LAYOUT} and no blobs",
            hint="choose another folder with --cache-dir; if it is the cache, delete it",
        )


def is_file(path: Path) -> bool:
    """Whether there is an ordinary file, and no symbolic link to one."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except (OSError, ValueError):
        return False
