"""Two locks: this program's lock on a folder during a build, and Buildx' lock on index.json for a moment.

Both are ``flock(2)``: the kernel releases the lock when its holder dies, so a lock file left behind locks nothing.
``fcntl`` and not the ``filelock`` package: builds need a shared lock (several may import and export at once), and only
upkeep needs an exclusive one.
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
from buildx_cache.layout.model import FindingKind
from buildx_cache.layout.ownership import is_foreign, is_own, refuse_exposed, refuse_foreign
from buildx_cache.layout.parse import MalformedError
from buildx_cache.layout.store import INDEX_LOCK, LOCK
from buildx_cache.permissions import make_folder

_POLL_SECONDS = 0.05
_OPEN = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_UNUSABLE = (errno.ELOOP, errno.EISDIR, errno.ENXIO)  # a symbolic link, a folder, a socket
_OTHER_OWNER = "belongs to another user"
_MODE = 0o600  # whoever can open a lock file can hold it
_READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)


class Sharing(Enum):
    """How a folder is locked: builds share it, upkeep (sweep, evict, quarantine) holds it alone."""

    SHARED = fcntl.LOCK_SH
    EXCLUSIVE = fcntl.LOCK_EX


@dataclass(frozen=True, kw_only=True)
class HeldLock:
    """A held lock; ``since`` is the time of locking, in seconds since the epoch."""

    folder: Path
    since: float


@contextmanager
def lock(folder: Path, *, timeout: float, sharing: Sharing = Sharing.EXCLUSIVE) -> Iterator[HeldLock]:
    """Lock the folder against other builds of this program. Create the folder if it does not exist.

    The lock is a file in the folder, beside index.json: every process finds the same file by whatever path it reached
    the folder, and the file stays when the content is quarantined. A build holds the lock shared from the verification
    to the end of the export, then asks for it exclusively to sweep: of several concurrent builds, the last one gets it.
    A folder that cannot be written, or is not a cache (:func:`is_foreign`), is shared without a lock, as no build
    deletes from such a folder. Only this user can open the lock file. A symbolic link, a folder, a FIFO or another
    user's file at the lock's path is renamed, and never followed.

    Args:
        folder: the layout folder.
        timeout: seconds to wait; 0 tries once.
        sharing: whether other builds may hold the lock too.

    Raises:
        LockedError: another build held the lock until the timeout.
        ExposedError: another user may change the folder.
        ExhaustedError: the lock file cannot be written, or the folder is not a cache.
    """
    file = _lock_folder(folder, sharing, timeout)
    try:
        yield HeldLock(folder=folder, since=time.time())
    finally:
        if file is not None:
            os.close(file)


class _HeldError(Exception):
    """Another process holds the lock."""


class _UnusableLockError(OSError):
    """The path of the lock file leads to a symbolic link, a folder, a FIFO or a file of another user."""

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
        if sharing is Sharing.SHARED and (isinstance(error, _UnusableLockError) or error.errno in _READ_ONLY):
            return None
        raise ExhaustedError(
            f"the cache folder {folder} cannot be locked: {error.strerror}",
            code="cache-dir-not-lockable",
            hint="make it a folder that this user can write, or choose another folder with --cache-dir",
        ) from None


@contextmanager
def index_lock(root: int, *, timeout: float = 2.0) -> Iterator[None]:
    """Hold ``index.json.lock`` as Buildx does while Buildx rewrites index.json (client/ociindex, gofrs/flock).

    Buildx does not wait for the lock: an export that ends meanwhile fails. Hold the lock only to rewrite the index or
    to delete blobs. The lock file is deleted afterwards, as Buildx does.

    Args:
        root: a descriptor of the folder.
        timeout: seconds to wait.

    Raises:
        MalformedError: another process holds the lock, or the lock file cannot be written.
    """
    try:
        file = _acquire(Path(INDEX_LOCK), Sharing.EXCLUSIVE, time.monotonic() + timeout, root)
    except _HeldError:
        raise MalformedError(FindingKind.BUSY, "is being rewritten by another build") from None
    except OSError as error:
        kind = FindingKind.NOT_A_FILE if isinstance(error, _UnusableLockError) else FindingKind.UNREADABLE
        raise MalformedError(kind, f"cannot be locked: {error.strerror}") from None
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            os.unlink(INDEX_LOCK, dir_fd=root)
        os.close(file)


def _acquire_cleared(path: Path, sharing: Sharing, deadline: float) -> int:
    """Acquire the lock; first rename whatever else is at the lock's path."""
    try:
        return _acquire(path, sharing, deadline)
    except _UnusableLockError:
        _move_unusable(path)
        return _acquire(path, sharing, deadline)


def _move_unusable(path: Path) -> None:
    free = (path.with_name(f"{path.name}.odd-{number}") for number in count(1))
    odd = next(name for name in free if not os.path.lexists(name))
    try:
        path.rename(odd)
        if is_own(odd) and odd.is_file() and os.access(odd, os.R_OK | os.W_OK):  # another build's, which was quicker
            odd.rename(path)
    except FileNotFoundError:
        return
    except OSError:
        raise _UnusableLockError(path) from None


def _acquire(path: Path, sharing: Sharing, deadline: float, root: int | None = None) -> int:
    """Return a descriptor that holds the lock.

    Raises:
        _HeldError: the deadline has passed.
        OSError: the lock file cannot be opened or locked.
    """
    while True:
        file = _open(path, root)
        try:
            held = _try_lock(file, sharing) and _is_same_file(file, path, root)
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
        problem = _problem_of(path, root)
        raise _UnusableLockError(path, problem) if problem else error from None
    except OSError as error:
        raise _UnusableLockError(path) if error.errno in _UNUSABLE else error from None
    try:
        _secure(file, path)
    except OSError:
        os.close(file)
        raise
    return file


def _secure(file: int, path: Path) -> None:
    """Check that a lock file is an ordinary file of this user, and close it to other users.

    One that has a second name (a hard link) may be any file of the user's, and stays as it is.
    """
    found = os.fstat(file)
    if not stat.S_ISREG(found.st_mode):
        raise _UnusableLockError(path)
    if found.st_uid != os.geteuid():
        raise _UnusableLockError(path, _OTHER_OWNER)
    if stat.S_IMODE(found.st_mode) != _MODE and found.st_nlink == 1:
        os.fchmod(file, _MODE)


def _problem_of(path: Path, root: int | None) -> str:
    """Return why a lock file that is there cannot be opened; empty if it is the folder that lets nothing be made."""
    try:
        owner = os.stat(path, dir_fd=root, follow_symlinks=False).st_uid
    except OSError:
        return ""
    return "cannot be opened" if owner == os.geteuid() else _OTHER_OWNER


def _try_lock(file: int, sharing: Sharing) -> bool:
    try:
        fcntl.flock(file, sharing.value | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_same_file(file: int, path: Path, root: int | None) -> bool:
    """Return whether the path still leads to the locked file: the last holder may have deleted the file."""
    try:
        found = os.stat(path, dir_fd=root, follow_symlinks=False)
    except OSError:
        return False
    return os.path.samestat(found, os.fstat(file))
