"""Locks: ours on a folder for the length of a build, and Buildx' own on index.json for an instant.

Both are ``flock(2)``, which the kernel releases when its holder dies, so that a lock file left behind means nothing.
``fcntl`` rather than the ``filelock`` package, because builds share a folder (several may import and export at once)
and only upkeep needs it alone.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from itertools import count
from pathlib import Path

from buildx_cache.errors import ExhaustedError, LockedError
from buildx_cache.layout.model import Kind
from buildx_cache.layout.ownership import is_foreign, is_own, refuse_exposed, refuse_foreign
from buildx_cache.layout.parse import MalformedError
from buildx_cache.layout.store import INDEX_LOCK, LOCK
from buildx_cache.permissions import make_folder

_POLL_SECONDS = 0.05
_OPEN = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_ODD = (errno.ELOOP, errno.EISDIR, errno.ENXIO)  # a symbolic link, a folder, a socket
_OTHERS = "belongs to another user"
_MODE = 0o600  # whoever can open a lock file can hold it
_READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)


class Sharing(Enum):
    """Who else may hold a folder: a build lets other builds in, upkeep (sweep, bound, repair) is alone."""

    SHARED = fcntl.LOCK_SH
    EXCLUSIVE = fcntl.LOCK_EX


@dataclass(frozen=True, kw_only=True)
class Held:
    """A held lock; ``since`` is when it was got, in seconds since the epoch."""

    folder: Path
    since: float


@contextmanager
def lock(folder: Path, *, timeout: float, sharing: Sharing = Sharing.EXCLUSIVE) -> Iterator[Held]:
    """Hold the folder against other builds of this program; the folder is made if it does not exist.

    The lock is a file in the folder, beside index.json, so that every process finds the same one however it reached
    the folder, and so that it stays when the content is set aside. A build holds it shared from its verification
    to the end of its export, and asks for it exclusively to sweep: the last of several builds at once gets it.
    A folder that cannot be written, or is no cache's (:func:`is_foreign`), is shared without a lock: nobody deletes
    from it. Only this user can open the lock. What is in its place and no ordinary file of this user's is renamed, and
    never followed.

    Args:
        folder: the layout folder.
        timeout: seconds to wait; 0 tries once.
        sharing: whether other builds may hold it too.

    Raises:
        LockedError: it was held by another build for the whole time.
        ExposedError: the folder is not this user's alone.
        ExhaustedError: the lock file cannot be written, or the folder is no cache's.
    """
    file = _lock_folder(folder, sharing, timeout)
    try:
        yield Held(folder=folder, since=time.time())
    finally:
        if file is not None:
            os.close(file)


class _HeldError(Exception):
    """Somebody else holds the lock."""


class _OddError(OSError):
    """What is in the lock's place is a symbolic link, a folder, a FIFO or another user's: no file of this user's."""

    def __init__(self, path: Path, problem: str = "is not an ordinary file") -> None:
        super().__init__(errno.EINVAL, f"{path.name} {problem}")


def _lock_folder(folder: Path, sharing: Sharing, timeout: float) -> int | None:
    refuse_exposed(folder)
    if sharing is Sharing.SHARED and is_foreign(folder):
        return None
    refuse_foreign(folder)
    try:
        make_folder(folder)
        refuse_exposed(folder)  # another user may have been quicker
        return _acquire_cleared(folder / LOCK, sharing, time.monotonic() + timeout)
    except _HeldError:
        raise LockedError(
            f"another build holds the cache folder {folder} (waited {timeout:.1f}s)",
            code="cache-dir-locked",
            hint="wait for it to end, or give this build its own folder with --cache-dir",
        ) from None
    except OSError as error:
        if sharing is Sharing.SHARED and (isinstance(error, _OddError) or error.errno in _READ_ONLY):
            return None
        raise ExhaustedError(
            f"the cache folder {folder} cannot be locked: {error.strerror}",
            code="cache-dir-not-lockable",
            hint="make it a folder that this user can write, or choose another folder with --cache-dir",
        ) from None


@contextmanager
def index_lock(root: int, *, timeout: float = 2.0) -> Iterator[None]:
    """Hold ``index.json.lock`` as Buildx does while it rewrites index.json (client/ociindex, gofrs/flock).

    Buildx does not wait for it: an export that ends while it is held fails. So it is held for the rewriting of the
    index or the deletion of blobs only, and deleted afterwards, as Buildx does.

    Args:
        root: a descriptor of the folder.
        timeout: seconds to wait.

    Raises:
        MalformedError: it is held by another process, or cannot be written.
    """
    try:
        file = _acquire(Path(INDEX_LOCK), Sharing.EXCLUSIVE, time.monotonic() + timeout, root)
    except _HeldError:
        raise MalformedError(Kind.BUSY, "is being rewritten by another build") from None
    except OSError as error:
        kind = Kind.NOT_A_FILE if isinstance(error, _OddError) else Kind.UNREADABLE
        raise MalformedError(kind, f"cannot be locked: {error.strerror}") from None
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            os.unlink(INDEX_LOCK, dir_fd=root)
        os.close(file)


def _acquire_cleared(path: Path, sharing: Sharing, deadline: float) -> int:
    """Like _acquire, after what is in the lock's place is out of the way."""
    try:
        return _acquire(path, sharing, deadline)
    except _OddError:
        _move_odd(path)
        return _acquire(path, sharing, deadline)


def _move_odd(path: Path) -> None:
    free = (path.with_name(f"{path.name}.odd-{number}") for number in count(1))
    odd = next(name for name in free if not os.path.lexists(name))
    try:
        path.rename(odd)
        if is_own(odd) and odd.is_file():  # another build was quicker, and this is its lock
            odd.rename(path)
    except FileNotFoundError:
        return
    except OSError:
        raise _OddError(path) from None


def _acquire(path: Path, sharing: Sharing, deadline: float, root: int | None = None) -> int:
    """Return a descriptor that holds the lock.

    Raises _HeldError at the deadline, OSError where there can be no lock.
    """
    while True:
        file = _open(path, root)
        try:
            held = _try(file, sharing) and _same(file, path, root)
        except OSError:
            os.close(file)
            raise
        if held:
            return file
        os.close(file)
        if time.monotonic() >= deadline:
            raise _HeldError
        time.sleep(_POLL_SECONDS)


def _open(path: Path, root: int | None) -> int:
    try:
        file = os.open(path, _OPEN, _MODE, dir_fd=root)
    except PermissionError as error:
        raise _OddError(path, _OTHERS) if _is_others(path, root) else error from None
    except OSError as error:
        raise _OddError(path) if error.errno in _ODD else error from None
    try:
        _take(file, path)
    except OSError:
        os.close(file)
        raise
    return file


def _take(file: int, path: Path) -> None:
    """Make sure that a lock file is an ordinary one, and that no other user can open it."""
    found = os.fstat(file)
    if not stat.S_ISREG(found.st_mode):
        raise _OddError(path)
    if found.st_uid != os.geteuid():
        raise _OddError(path, _OTHERS)
    if stat.S_IMODE(found.st_mode) != _MODE:
        os.fchmod(file, _MODE)


def _is_others(path: Path, root: int | None) -> bool:
    try:
        return os.stat(path, dir_fd=root, follow_symlinks=False).st_uid != os.geteuid()
    except OSError:
        return False


def _try(file: int, sharing: Sharing) -> bool:
    try:
        fcntl.flock(file, sharing.value | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _same(file: int, path: Path, root: int | None) -> bool:
    """Whether the path still leads to the locked file: its last holder may have deleted it meanwhile."""
    try:
        found = os.stat(path, dir_fd=root, follow_symlinks=False)
    except OSError:
        return False
    return os.path.samestat(found, os.fstat(file))
