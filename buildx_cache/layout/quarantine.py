"""Quarantine a damaged folder: move its content aside, so that the next export writes every blob again.

BuildKit never writes a blob that the folder already has: an export does not repair a damaged blob.
"""

from __future__ import annotations

import contextlib
import errno
import os
from itertools import count
from pathlib import Path

from buildx_cache.errors import ExhaustedError
from buildx_cache.layout.gc import delete_folder
from buildx_cache.layout.ownership import is_file, is_own, refuse_foreign
from buildx_cache.layout.store import BLOBS, INDEX, INDEX_LOCK, INDEX_NEW, INGEST, LAYOUT
from buildx_cache.permissions import exposure_of

_MARK = ".buildx-cache-aside"
_MOVED = (BLOBS, INDEX, INGEST, LAYOUT)
_MOVED_UNLESS_FILES = (INDEX_LOCK, INDEX_NEW)  # an export, or another call, may hold an ordinary file
_ELSEWHERE = (errno.EROFS, errno.EACCES, errno.EPERM, errno.ENAMETOOLONG)


def set_aside(folder: Path) -> Path:
    """Move the folder's index, blobs and partial writes to a new folder beside ``folder``; return the new folder.

    The folder itself and its lock stay, so that a mount point works too. If no folder can be created beside
    ``folder``, or another user may write there, the new folder is created inside; :func:`delete_inner_asides` deletes
    it. Blobs move first: if the call is killed, the index leads nowhere, and the next call moves the rest. Earlier
    quarantined folders are deleted, so at most one remains. Hold the folder exclusively.

    Raises:
        ExhaustedError: the content cannot be moved, or the folder is not a cache.
    """
    real = _real_folder(folder)
    try:
        for old in _asides(real):
            with contextlib.suppress(OSError):  # what came from elsewhere may have modes that keep it
                _discard(old)
        aside = _make_aside(real)
        for name in _MOVED:
            _move(real / name, aside / name)
        for name in (each for each in _MOVED_UNLESS_FILES if not is_file(real / each)):
            _move(real / name, aside / name)
    except OSError as error:
        raise ExhaustedError(
            f"the damaged cache folder {folder} cannot be set aside: {error.strerror}",
            code="cache-dir-not-writable",
            hint="delete it, or choose another folder with --cache-dir",
        ) from None
    return aside


def delete_inner_asides(folder: Path) -> None:
    """Delete the quarantined folders inside the folder: a CI would save them with the cache."""
    real = Path(os.path.realpath(folder))
    with contextlib.suppress(OSError):
        for aside in _asides(real):
            if aside.parent == real:
                _discard(aside)


def _real_folder(folder: Path) -> Path:
    real = Path(os.path.realpath(folder))
    if not real.name:
        raise ExhaustedError(
            f"{folder} is the root of a file system, not a cache folder",
            code="cache-dir-is-root",
            hint="choose another folder with --cache-dir",
        )
    refuse_foreign(real)
    return real


def _discard(aside: Path) -> None:
    """Delete a quarantined folder, unless it holds a file that :func:`set_aside` did not move there.

    The mark is deleted last: after a kill, the next call finds the rest.
    """
    parts = [part for part in aside.iterdir() if part.name != _MARK]
    if any(part.name not in (*_MOVED, *_MOVED_UNLESS_FILES) for part in parts):
        return
    for part in (*parts, aside / _MARK):
        if part.is_dir() and not part.is_symlink():
            delete_folder(part)
        else:
            part.unlink()
    aside.rmdir()


def _put_mark(path: Path) -> None:
    """Create an empty file; follow no symbolic link."""
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600))


def _move(source: Path, target: Path) -> None:
    """Rename ``source`` if it exists."""
    with contextlib.suppress(FileNotFoundError):
        source.rename(target)


def is_aside(folder: Path) -> bool:
    """Return whether :func:`set_aside` created the folder."""
    return is_file(folder / _MARK) and not folder.is_symlink()


def _asides(folder: Path) -> list[Path]:
    """Return the quarantined folders that this user owns, beside the folder and inside: other users can imitate one."""
    places = ((folder.parent, f"{folder.name}.damaged-"), (folder, ".damaged-"))
    named = [
        place
        for parent, prefix in places
        if is_own(parent)
        for place in _listed(parent)
        if place.name.startswith(prefix)
    ]
    return sorted(place for place in named if is_aside(place) and is_own(place) and is_own(place / _MARK))


def _listed(parent: Path) -> list[Path]:
    try:
        return list(parent.iterdir())
    except OSError:
        return []


def _places(folder: Path, number: int) -> tuple[Path, Path]:
    return folder.with_name(f"{folder.name}.damaged-{number}"), folder / f".damaged-{number}"


def _make_aside(folder: Path) -> Path:
    every = (_places(folder, number) for number in count(1))  # a hostile folder may hold thousands of the names
    beside, inside = next(places for places in every if not any(map(os.path.lexists, places)))
    aside = _make_beside(folder, beside) or inside
    aside.mkdir(mode=0o700, exist_ok=True)
    _put_mark(aside / _MARK)
    return aside


def _make_beside(folder: Path, beside: Path) -> Path | None:
    """Create ``beside``; return None if another user may write there, or it cannot be created or renamed into."""
    if exposure_of(folder.parent, folder.parent.stat()):
        return None
    device = folder.stat().st_dev
    try:
        beside.mkdir(mode=0o700)
    except OSError as error:
        if error.errno in _ELSEWHERE:
            return None
        raise
    if beside.stat().st_dev == device:
        return beside
    beside.rmdir()
    return None
