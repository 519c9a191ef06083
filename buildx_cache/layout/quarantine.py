"""A damaged folder out of the way, and what is sound in it back again.

BuildKit never writes a blob that is there already, so that an export repairs nothing: a damaged blob has to be gone
first. Setting aside moves everything away with a few renames; salvaging reads it and moves back each blob that has
its digest, with the tags that are whole. Both may be killed at any moment: every blob is in one place or the other,
and salvaging again finishes the work.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

from buildx_cache.errors import ExhaustedError
from buildx_cache.layout.deleting import delete_folder
from buildx_cache.layout.index import index_entries, replace_file, with_entries
from buildx_cache.layout.locking import index_lock
from buildx_cache.layout.model import Kind, Salvaged
from buildx_cache.layout.ownership import is_file, is_own, refuse_foreign
from buildx_cache.layout.parse import MalformedError, tag_of
from buildx_cache.layout.recovery import lost_manifest, whole_entries, with_tag
from buildx_cache.layout.store import (
    ALGORITHM,
    BLOBS,
    INDEX,
    INDEX_LOCK,
    INGEST,
    LAYOUT,
    LAYOUT_DOCUMENT,
    Store,
    is_blob_name,
    open_store,
)
from buildx_cache.layout.verification import contents
from buildx_cache.permissions import exposure_of

_MARK = ".buildx-cache-aside"
_DONE = ".buildx-cache-salvaged"
_MOVED = (INDEX, BLOBS, INGEST, LAYOUT)
_DEFAULT = "latest"
_TRIES = 10_000
_ELSEWHERE = (errno.EROFS, errno.EACCES, errno.EPERM)


def set_aside(folder: Path) -> Path:
    """Move the folder's index, blobs and partial writes to a new folder beside it, which is returned.

    The folder itself and its lock stay, so that a mount point works too; where nothing can be made beside it, or
    another user may write there, the new folder is made inside. Index first: once it is gone, nobody imports. Older
    folders set aside that were salvaged are deleted, so that one remains at most. Call it while holding the folder
    exclusively.

    Raises:
        ExhaustedError: it cannot be moved, or is no cache's.
    """
    real = _real_folder(folder)
    try:
        for old in _asides(real):
            if is_file(old / _DONE):
                _discard(old)
        aside = _make_aside(real)
        for name in _MOVED:
            _move(real / name, aside / name)
        if not is_file(real / INDEX_LOCK):  # an ordinary one may be held by an export
            _move(real / INDEX_LOCK, aside / INDEX_LOCK)
    except OSError as error:
        raise ExhaustedError(
            f"the damaged cache folder {folder} cannot be set aside: {error.strerror}",
            hint="delete it, or choose another with --cache-dir",
        ) from None
    return aside


def _real_folder(folder: Path) -> Path:
    real = Path(os.path.realpath(folder))
    if not real.name:
        raise ExhaustedError(
            f"{folder} is the root of a file system, and no cache folder",
            hint="choose another with --cache-dir",
        )
    refuse_foreign(real)
    return real


def _discard(aside: Path) -> None:
    """Delete a folder set aside, unless it holds what did not come there by setting aside.

    Its marks go last, so that a kill leaves nothing that is not found again.
    """
    marks = (aside / _DONE, aside / _MARK)
    parts = [part for part in aside.iterdir() if part not in marks]
    if not all(map(_came_aside, parts)):
        return
    for part in (*parts, *marks):
        if _is_folder(part):
            delete_folder(part)
        else:
            part.unlink()
    aside.rmdir()


def _came_aside(part: Path) -> bool:
    """Whether this was moved here with a damaged folder, or as one of its damaged blobs."""
    return part.name in (*_MOVED, INDEX_LOCK) or (is_blob_name(part.name) and not _is_folder(part))


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def leftovers(folder: Path) -> tuple[Path, ...]:
    """Folders set aside whose salvage did not finish; :func:`salvage` can be called on each."""
    real = Path(os.path.realpath(folder))
    return tuple(aside for aside in _asides(real) if not os.path.lexists(aside / _DONE))


def salvage(aside: Path, folder: Path) -> Salvaged:
    """Move the sound blobs of a folder set aside into ``folder``, and add the tags that are whole to its index.

    Every blob is read and compared with its digest, those already in ``folder`` too: afterwards it holds no damaged
    one. A tag that ``folder`` has already stays as it is; where the old index did not tell where ``latest`` leads,
    and just one whole cache manifest has no name, it gets that one. What is not sound remains in ``aside``.
    Call it while holding ``folder`` exclusively.

    Raises:
        ExhaustedError: the folder cannot be written.
    """
    try:
        return _salvage(aside, Path(os.path.realpath(folder)))
    except MalformedError as error:
        reason = error.problem
    except OSError as error:
        reason = error.strerror or str(error)
    raise ExhaustedError(
        f"the sound part of {aside} cannot be moved to {folder}: {reason}",
        hint="delete both, or choose another folder with --cache-dir",
    )


def _salvage(aside: Path, folder: Path) -> Salvaged:
    blobs = _blobs_folder(folder)
    unsound = [name for name, _, sound in _checked(folder) if not sound and _move(blobs / name, aside / name)]
    kept = aside / BLOBS / ALGORITHM
    moved = [size for name, size, sound in _checked(aside) if sound and _move(kept / name, blobs / name)]
    with open_store(folder) as store:
        if store.layout_fault():
            replace_file(store.root, LAYOUT, LAYOUT_DOCUMENT)
        tags = _restore_tags(aside, store)
    _put_mark(aside / _DONE)
    with open_store(aside) as rest:
        return Salvaged(blobs=len(moved), blob_bytes=sum(moved), unsound=len(unsound) + len(rest.files), tags=tags)


def _put_mark(path: Path) -> None:
    """An empty file, never through a symbolic link."""
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600))


def _blobs_folder(folder: Path) -> Path:
    """``blobs/sha256`` of a folder, made where absent; never through a symbolic link."""
    for part in (folder, folder / BLOBS, folder / BLOBS / ALGORITHM):
        part.mkdir(mode=0o755, exist_ok=True)
        if part.is_symlink():
            raise MalformedError(Kind.NOT_A_FILE, f"{part} is a symbolic link")
    return folder / BLOBS / ALGORITHM


def _checked(folder: Path) -> list[tuple[str, int, bool]]:
    """Every blob's name, bytes, and whether its content has its digest."""
    with open_store(folder) as store:
        checked = contents(store, ["sha256:" + name for name in store.files])
        found = [(digest.removeprefix("sha256:"), fault is None) for digest, fault in checked]
        return [(name, store.files[name].size, sound) for name, sound in found]


def _restore_tags(aside: Path, store: Store) -> tuple[str, ...]:
    """Add the old entries that are whole to the folder's index, and a lost default tag; the names of those added."""
    with open_store(aside) as rest:
        old_index, old = _index(rest)
    whole = whole_entries(store, old or ())
    with index_lock(store.root):
        index, present = _index(store)
        names = {tag_of(entry) for entry in present or ()}
        entries = [*(present or ()), *(entry for entry in whole if tag_of(entry) not in names)]
        if _may_have_led(old, _DEFAULT) and all(tag_of(entry) != _DEFAULT for entry in entries):
            tagged = frozenset(str(entry["digest"]) for entry in entries if isinstance(entry, dict) and tag_of(entry))
            lost = lost_manifest(store, tagged=tagged)
            entries = with_tag(entries, _DEFAULT, lost) if lost else entries
        added = entries[len(present or ()) :]
        if added:
            replace_file(store.root, INDEX, with_entries(index or old_index, entries))
    return tuple(tag_of(entry) for entry in added)


def _index(store: Store) -> tuple[bytes, list[object] | None]:
    """index.json and its entries; nothing where it is none."""
    try:
        index = store.read_index()
        return index, index_entries(index)
    except MalformedError:
        return b"", None


def _may_have_led(entries: list[object] | None, tag: str) -> bool:
    """Whether an index had this tag, as far as can be told: it cannot be read, or an entry has this name or none."""
    return entries is None or any(tag_of(entry) in (tag, "") for entry in entries)


def _move(source: Path, target: Path) -> bool:
    """Rename what exists; whether it did."""
    try:
        source.rename(target)
    except FileNotFoundError:
        return False
    return True


def is_aside(folder: Path) -> bool:
    """Whether a folder was made by :func:`set_aside`."""
    return is_file(folder / _MARK) and not folder.is_symlink()


def _asides(folder: Path) -> list[Path]:
    """Folders that this user's calls set aside, beside the folder and in it: anybody can make one that looks so."""
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
    for number in range(1, _TRIES):
        beside, inside = _places(folder, number)
        if os.path.lexists(beside) or os.path.lexists(inside):
            continue
        aside = _make_beside(folder, beside) or inside
        aside.mkdir(mode=0o700, exist_ok=True)
        _put_mark(aside / _MARK)
        return aside
    raise OSError(errno.EEXIST, "too many folders were set aside before")


def _make_beside(folder: Path, beside: Path) -> Path | None:
    """The new folder, or None where another user may write, it cannot be made, or renames cannot reach it."""
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
