"""Look at paths without raising: before Python 3.14 ``pathlib`` raises for a hidden or invalid path."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from buildx_cache.errors import ExhaustedError, UsageError
from buildx_cache.permissions import is_link_of_another, way_to
from buildx_cache.working_copy import first_link, prepared_root

_LINKS = 40
_ABSENT = frozenset({errno.ENOENT, errno.ENOTDIR})


@dataclass(frozen=True, kw_only=True)
class Found:
    """The mode at a path, 0 if nothing is there; ``hidden`` is the reason if that cannot be determined."""

    mode: int = 0
    hidden: str = ""

    @property
    def is_folder(self) -> bool:
        """Whether there is a folder, or a link to one."""
        return stat.S_ISDIR(self.mode)

    @property
    def is_file(self) -> bool:
        """Whether there is a regular file, or a link to one."""
        return stat.S_ISREG(self.mode)

    @property
    def is_absent(self) -> bool:
        """Whether nothing is there; a dangling link counts as nothing."""
        return not (self.mode or self.hidden)


def look(path: str | Path) -> Found:
    """Look at a path, following links."""
    try:
        return Found(mode=os.stat(path).st_mode)  # noqa: PTH116 -- a string may have what no Path accepts
    except OSError as error:
        return Found() if error.errno in _ABSENT else Found(hidden=error.strerror or str(error))
    except ValueError:
        return Found(hidden="that is no path")


def read_text(path: str) -> str | None:
    """Return the text of a CI's file; None if the file cannot be read."""
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except (OSError, ValueError):
        return None


def read_inside(root: Path, file: Path, limit: int) -> bytes:
    """Read a regular file in an untrusted folder, without blocking.

    Links below ``root`` are resolved like in BuildKit: as if ``root`` were the root of the file system.

    Raises:
        OSError: the file is absent, not regular, larger than ``limit`` bytes (``EFBIG``), or not readable.
    """
    found = root / _without_links(root, file)
    descriptor = os.open(found, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as content:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "it is not an ordinary file")
        read = content.read(limit + 1)
    if len(read) > limit:
        raise OSError(errno.EFBIG, f"it is larger than {limit} bytes")
    return read


def has_file_inside(root: Path, file: Path) -> bool:
    """Return True if there is a regular file; links below ``root`` are resolved as in :func:`read_inside`."""
    try:
        return stat.S_ISREG(os.lstat(root / _without_links(root, file)).st_mode)
    except (OSError, ValueError):
        return False


def is_ordinary(path: Path) -> bool:
    """Return True for a regular file, a folder, or nothing; False for a link, a pipe or a device."""
    try:
        mode = os.lstat(path).st_mode
    except (OSError, ValueError):
        return True
    return stat.S_ISREG(mode) or stat.S_ISDIR(mode)


def is_unending(root: Path, file: Path) -> bool:
    """Return True for a pipe, a socket or a device; links below ``root`` are resolved as in :func:`read_inside`."""
    try:
        mode = os.lstat(root / _without_links(root, file)).st_mode
    except (OSError, ValueError):
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISLNK(mode))


def _without_links(root: Path, file: Path) -> str:
    """Return the path of ``file`` below ``root`` with its links resolved inside of ``root``."""
    waiting, found, links = [*file.relative_to(root).parts][::-1], list[str](), 0
    while waiting:
        part = waiting.pop()
        if part in ("", ".", ".."):
            found = found[:-1] if part == ".." else found
            continue
        try:
            target = str(root.joinpath(*found, part).readlink())
        except OSError:  # no link
            found.append(part)
            continue
        links += 1
        if links > _LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        found = [] if target.startswith("/") else found
        waiting.extend(target.split("/")[::-1])
    return os.path.join(*found) if found else "."  # noqa: PTH118


def working_directory() -> Path:
    """Return the working directory.

    Raises:
        UsageError: the folder no longer exists; the docker command would not start either.
    """
    try:
        return Path.cwd()
    except OSError as error:
        raise UsageError(
            f"the working directory cannot be read: {error.strerror}",
            code="working-directory-absent",
            hint="change to a folder that exists",
        ) from None


def check_readable(path: Path, what: str, hint: str) -> None:
    """Refuse a path that is no readable file; ``what`` names the file in the message.

    Raises:
        UsageError: the path is a folder, is absent, or is not readable.
    """
    found = look(path)
    if found.is_folder:
        raise UsageError(f"{what} is a folder: {path}", code="path-is-a-folder", hint=hint)
    if found.is_absent:
        raise UsageError(f"{what} does not exist: {path}", code="path-absent", hint=hint)
    if found.hidden:
        raise UsageError(f"{what} cannot be read: {path}: {found.hidden}", code="path-unreadable", hint=hint)
    if not os.access(path, os.R_OK):
        raise UsageError(f"{what} cannot be read: {path}", code="path-unreadable", hint="check its permissions")


def check_written(files: Sequence[tuple[str, str]]) -> None:
    """Refuse files that cannot be written; ``files`` are pairs of option and path.

    Raises:
        UsageError: a path is a folder or no regular file, is below a file, is given twice, or is behind a link that a
            repository or another user may have made.
        ExhaustedError: this user may not write the file.
    """
    seen: dict[str, str] = {}
    for option, path in files:
        _check_written(path, option)
        other = seen.setdefault(os.path.realpath(path), option)
        if other != option:
            raise UsageError(
                f"{other} and {option} name one file: {path}",
                code="path-given-twice",
                hint="give each its own file",
            )


def _check_written(path: str, option: str) -> None:
    found = look(path)
    if found.is_folder:
        raise UsageError(f"{option} {path} is a folder", code="path-is-a-folder", hint=f"give a file: {option} FILE")
    if os.path.lexists(path) and not found.is_file:
        raise UsageError(
            f"{option} {path} is not an ordinary file", code="path-not-a-file", hint=f"give one: {option} FILE"
        )
    if found.hidden:
        raise UsageError(
            f"{option} {path} cannot be written: {found.hidden}", code="path-unreadable", hint=f"give another {option}"
        )
    _check_links(path, option)
    folder = next(above for above in _above(path) if not look(above).is_absent)
    if not look(folder).is_folder:
        raise UsageError(
            f"{option} {path} lies below a file: {folder}", code="path-below-a-file", hint=f"give another {option}"
        )
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ExhaustedError(
            f"{option} {path} cannot be written: {folder} is not writable for this user",
            code="path-not-writable",
            hint=f"check its permissions, or give another {option}",
        )


def _check_links(path: str, option: str) -> None:
    root = prepared_root(Path(path))
    if root is not None and (link := first_link(Path(path), root)):
        raise UsageError(
            f"{option} {path} is behind a symbolic link of the working copy: {link}",
            code="path-behind-a-link",
            hint=f"give a file in an ordinary folder, or outside of {root}",
        )
    refuse_foreign_links(path, option)


def refuse_foreign_links(path: str, option: str) -> None:
    """Refuse a path to write to with another user's symbolic link on the way: that user would choose the place.

    Raises:
        UsageError: with the link.
    """
    for step in (folder / name for folder, name in way_to(Path(path))):
        if is_link_of_another(step):
            raise UsageError(
                f"{option} {path} leads over another user's symbolic link: {step}",
                code="path-behind-a-link",
                hint=f"give another {option}",
            )


def _above(path: str) -> Iterator[Path]:
    yield from Path(os.path.abspath(path)).parents  # noqa: PTH100 -- keeps links, like the code that makes the folders
