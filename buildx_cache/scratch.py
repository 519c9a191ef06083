"""Private folders for the time of a call. What a call that was killed left goes with the next one.

A call keeps a lock on each of its folders, which ends with it however that happens.
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

_PREFIX = "buildx-cache-call-"
_LOCK = ".lock"
_OTHERS = (Path("/dev/shm"), Path("/var/tmp"))  # noqa: S108 -- sticky, as a rule
_OPEN = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW


@contextlib.contextmanager
def scratch_folder(parent: Path | None = None) -> Iterator[Path]:
    """Yield a new folder that only its owner can look into, deleted afterwards.

    Args:
        parent: where it is made; by default where temporary files go.

    Raises:
        ExhaustedError: no folder can be made there.
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
    """While this lasts, a temporary ``what`` is made: where it cannot be, a local resource ran out.

    Raises:
        ExhaustedError: the system's reason.
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
    """Choose where no other user can put a folder of his own in the place of the new one; ``wanted`` if nowhere."""
    places = (wanted, *(other for other in _OTHERS if os.access(other, os.W_OK | os.X_OK)))
    return next((place for place in places if not exposure_on_the_way(place / _PREFIX)), wanted)


def _delete(folder: Path) -> None:
    with held():
        shutil.rmtree(folder, ignore_errors=True)


def _lock(folder: Path) -> int:
    """Return the descriptor of the folder's lock, which is held before it has its name."""
    new = folder / f"{_LOCK}.new"
    descriptor = os.open(new, _OPEN | os.O_CREAT | os.O_EXCL, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    new.rename(folder / _LOCK)
    return descriptor


def _clear(place: Path) -> None:
    """Delete the folders of calls that are no more; others' are left alone, and so is what looks strange."""
    with os.scandir(place) as entries:
        found = [entry for entry in entries if entry.name.startswith(_PREFIX)]
    for entry in found:
        with contextlib.suppress(OSError):
            folder, state = Path(entry.path), entry.stat(follow_symlinks=False)
            if stat.S_ISDIR(state.st_mode) and not exposure_of(folder, state) and _is_left(folder):
                shutil.rmtree(folder, ignore_errors=True)


def _is_left(folder: Path) -> bool:
    """Whether it has a lock that nobody keeps."""
    descriptor = os.open(folder / _LOCK, _OPEN)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True
