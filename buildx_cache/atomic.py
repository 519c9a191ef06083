"""Read and write files atomically, without following a link that a repository could have prepared.

For a path below a folder that a repository controls, pass that folder as ``below`` (see
:func:`buildx_cache.working_copy.prepared_root`). Below it, each folder is opened relative to the descriptor of its
parent, and no symbolic link is followed, even if another process replaces a folder by a link meanwhile.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path

from buildx_cache.permissions import PARENT_MODE, make_parents

_FOLDER = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def write_text(path: Path, text: str, *, below: Path | None = None) -> None:
    """Write a text file atomically, readable by its owner only; create its folder if needed.

    Raises:
        OSError: the file cannot be written; an older file is unchanged.
    """
    write_bytes(path, text.encode("utf-8", "backslashreplace"), below=below)


def write_bytes(path: Path, content: bytes, *, below: Path | None = None, mode: int = 0o600) -> None:
    """Write a file atomically; create its folder if needed. The umask restricts ``mode``.

    Raises:
        OSError: the file cannot be written; an older file is unchanged.
    """
    with _parent(path, below, makes=True) as folder:
        temporary = f".{path.name}.{secrets.token_hex(4)}"
        descriptor = os.open(temporary, _NEW, mode, dir_fd=folder)
        try:
            with os.fdopen(descriptor, "wb") as out:
                out.write(content)
            os.replace(temporary, path.name, src_dir_fd=folder, dst_dir_fd=folder)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary, dir_fd=folder)
            raise


def make_parent(path: Path, *, below: Path | None = None) -> None:
    """Create the folder of a file, and the folders above it.

    Raises:
        OSError: a folder cannot be created, or another file is in its place.
    """
    with _parent(path, below, makes=True):
        pass


def remove_file(path: Path, *, below: Path | None = None) -> None:
    """Delete a file, or a link at its path, if there is one.

    Raises:
        OSError: the file cannot be deleted.
    """
    with contextlib.suppress(FileNotFoundError), _parent(path, below, makes=False) as folder:
        os.unlink(path.name, dir_fd=folder)


def open_regular(path: Path, flags: int, mode: int = 0o600, *, below: Path | None = None) -> int:
    """Open an ordinary file; do not follow a link at its path or wait for the other end of a pipe.

    Raises:
        OSError: the file cannot be opened, or is not an ordinary file.
    """
    with _parent(path, below, makes=False) as folder:
        descriptor = os.open(path.name, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, mode, dir_fd=folder)
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    raise OSError(errno.EINVAL, "it is not a regular file")


def read_regular(path: Path, limit: int, *, below: Path | None = None) -> bytes:
    """Read an ordinary file of up to ``limit`` bytes.

    Raises:
        OSError: the file cannot be opened, is not an ordinary file, or is larger (``EFBIG``).
    """
    with os.fdopen(open_regular(path, os.O_RDONLY, below=below), "rb") as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
    return content


@contextlib.contextmanager
def _parent(path: Path, below: Path | None, *, makes: bool) -> Iterator[int]:
    """Open the folder of a file; with ``makes``, create missing folders."""
    target = Path(os.path.abspath(path))  # noqa: PTH100 -- Path.absolute keeps `..`
    if below is None and makes:
        make_parents(target)
    root = target.parent if below is None else below
    descriptor = os.open(root, _FOLDER)
    try:
        for part in target.parent.relative_to(root).parts:
            if makes:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(part, PARENT_MODE, dir_fd=descriptor)
            above, descriptor = descriptor, _folder_in(descriptor, part)
            os.close(above)
        yield descriptor
    finally:
        os.close(descriptor)


def _folder_in(folder: int, name: str) -> int:
    try:
        return os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=folder)
    except NotADirectoryError:
        if stat.S_ISLNK(os.lstat(name, dir_fd=folder).st_mode):
            raise OSError(errno.ELOOP, f"{name} is a symbolic link") from None
        raise
