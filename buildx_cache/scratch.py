"""Private temporary folders of a call. The next call deletes the folders of a killed call.

A call holds a lock on each of its folders; the kernel releases the lock however the call ends.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from buildx_cache.errors import ExhaustedError
from buildx_cache.interrupts import held
from buildx_cache.permissions import exposure_of, exposure_on_the_way
from buildx_cache.working_copy import prepared_root

_PREFIX = "buildx-cache-call-"
_LOCK = ".lock"
_OTHERS = (Path("/dev/shm"), Path("/var/tmp"))  # noqa: S108 -- sticky, as a rule
_OPEN = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW


@contextlib.contextmanager
def scratch_folder(parent: Path | None = None) -> Iterator[Path]:
    """Yield a new folder that only its owner can read; delete it afterwards.

    Args:
        parent: the folder to create it in; default: the system's folder for temporary files.

    Raises:
        ExhaustedError: the folder cannot be created.
    """
    with contextlib.ExitStack() as stack:
        with making("folder"):
            place = _safe_place(parent or Path(tempfile.gettempdir()))
            _clear(place)
            with held():
                folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=place))
                stack.callback(_delete, folder)
                stack.callback(os.close, _lock(folder))
        yield folder


@contextlib.contextmanager
def making(what: str) -> Iterator[None]:
    """Turn an OSError of the block, which creates a temporary ``what``, into an error with a hint.

    Raises:
        ExhaustedError: the block raised OSError.
    """
    try:
        yield
    except OSError as error:
        raise ExhaustedError(
            f"no temporary {what} can be made: {error.strerror or error}",
            code="temporary-folder-not-writable",
            hint="free some space there, or set TMPDIR to a folder that can be written",
        ) from None


def _safe_place(wanted: Path) -> Path:
    """Return the first safe folder outside of the working copy, else the first safe one, else ``wanted``.

    In a safe folder no other user can replace a new folder. A build context may be sent with all that is in it.
    """
    places = (wanted, *(other for other in _OTHERS if os.access(other, os.W_OK | os.X_OK)))
    safe = [place for place in places if not exposure_on_the_way(place / _PREFIX)]
    return next((place for place in safe if prepared_root(place / _PREFIX) is None), (*safe, wanted)[0])


def _delete(folder: Path) -> None:
    with held():
        shutil.rmtree(folder, ignore_errors=True)


def _lock(folder: Path) -> int:
    """Lock the folder and return the lock's descriptor. The file gets its final name only once it is locked."""
    new = folder / f"{_LOCK}.new"
    descriptor = os.open(new, _OPEN | os.O_CREAT | os.O_EXCL, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    new.rename(folder / _LOCK)
    return descriptor


def _clear(place: Path) -> None:
    """Delete the folders of this user's dead calls; leave other users' folders and anything unexpected."""
    with os.scandir(place) as entries:
        found = [entry for entry in entries if entry.name.startswith(_PREFIX)]
    for entry in found:
        with contextlib.suppress(OSError):
            folder, state = Path(entry.path), entry.stat(follow_symlinks=False)
            is_own = state.st_uid == os.geteuid()  # first, as it costs least: another user may make thousands
            if is_own and stat.S_ISDIR(state.st_mode) and not exposure_of(folder, state) and _is_left(folder):
                shutil.rmtree(folder, ignore_errors=True)


def _is_left(folder: Path) -> bool:
    """Return whether the folder has a lock file that no process holds."""
    descriptor = os.open(folder / _LOCK, _OPEN)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True
