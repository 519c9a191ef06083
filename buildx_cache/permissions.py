"""Who beside this user may write a file or folder, or put another one in its place.

Owners, modes and POSIX access control lists are looked at. Root, and whoever owns ``/``, can do anything and count as
trusted.

In a container, who owns the working directory counts as trusted, too: it is who started the container (GitHub's
container jobs run as root, with a ``HOME`` and a checkout of the runner's user). In a pod of Kubernetes, modes do not
count: volumes are open to all there, and the node has no other users.
"""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import stat
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PARENT_MODE = 0o755
"""Of folders that are made on the way to a file, whatever the umask."""
_CONTAINER_MARKS = (Path("/.dockerenv"), Path("/run/.containerenv"))
_HOSTS = Path("/etc/hosts")
_POD_MARK = b"# Kubernetes-managed hosts file"
# Linux's linux/posix_acl_xattr.h: a header, then entries of eight bytes.
_ACL, _ACL_HEADER = "system.posix_acl_access", 4
_ACL_USER, _ACL_GROUP, _ACL_WRITE = 0x02, 0x08, 0x02
_MAX_LINKS = 40  # as many as Linux follows


@dataclass(frozen=True, kw_only=True)
class Exposure:
    """A file or folder that another user may write, and why."""

    path: Path
    problem: str
    cure: str

    def __str__(self) -> str:
        return f"{self.path} {self.problem}"


def exposure_of(path: Path, found: os.stat_result) -> Exposure | None:
    """Tell why a file or folder is not this user's alone: another user owns it or may write it."""
    if found.st_uid != os.geteuid():
        return _owned(path, found)
    return _writable(path, found)


def exposure_to_untrusted(path: Path, found: os.stat_result) -> Exposure | None:
    """Tell why a file or folder is open to a user who is not trusted; it need not be this user's own."""
    if found.st_uid not in trusted_users():
        return _owned(path, found)
    return _writable(path, found)


def exposure_on_the_way(path: Path) -> Exposure | None:
    """Find a folder above ``path`` in which another user may put something else in the place of ``path``.

    Symbolic links on the way are followed, and the folders in which they lie are looked at too. The working directory
    and the folders above it are passed over: who can exchange these can exchange what is built. So is what is absent:
    look again when it is made.
    """
    above_work = _above_work()
    for folder, name in _way(path):
        try:
            found = folder.stat()
        except OSError:
            return None
        if _identity(found) in above_work:
            continue
        if exposure := _exchangeable(folder, name, found):
            return exposure
    return None


def _above_work() -> list[tuple[int, int]]:
    try:
        here = Path.cwd()
        return [_identity(folder.stat()) for folder in (here, *here.parents)]
    except OSError:  # it is gone
        return []


def make_folder(path: Path) -> None:
    """Make a folder that only this user can look into; absent ones above it can be written by this user only.

    Raises:
        OSError: it cannot be made, or is there and no folder.
    """
    make_parents(path)
    path.mkdir(mode=0o700, exist_ok=True)


def make_parents(path: Path) -> None:
    """Make the absent folders above a path, which this user only can write.

    Raises:
        OSError: one cannot be made, or is there and no folder.
    """
    for parent in reversed(path.parents):
        if not parent.exists():
            parent.mkdir(mode=PARENT_MODE, exist_ok=True)


def _exchangeable(folder: Path, name: str, found: os.stat_result) -> Exposure | None:
    """Why another user may rename or replace an entry of a folder; in a sticky one only the owner of each may."""
    trusted = trusted_users()
    if found.st_uid not in trusted:
        return _owned(folder, found)
    exposure = _writable(folder, found)
    if exposure is None or not found.st_mode & stat.S_ISVTX:
        return exposure
    entry = folder / name
    try:
        inside = entry.lstat()
    except OSError:
        return None
    return None if inside.st_uid in trusted else _owned(entry, inside)


def trusted_users() -> tuple[int, ...]:
    """Return who may change what this user's calls read: root, this user, and who started this container."""
    return (0, os.geteuid(), Path("/").stat().st_uid, *_starter())


def _starter() -> tuple[int, ...]:
    """Give the user who started this container, if it is one."""
    if not (_is_pod() or any(mark.exists() for mark in _CONTAINER_MARKS)):
        return ()
    with contextlib.suppress(OSError):  # the working directory is gone
        return (Path.cwd().stat().st_uid,)
    return ()


def _is_pod() -> bool:
    try:
        with _HOSTS.open("rb") as hosts:
            return hosts.read(len(_POD_MARK)) == _POD_MARK
    except OSError:
        return False


def _identity(found: os.stat_result) -> tuple[int, int]:
    return (found.st_dev, found.st_ino)


def _way(path: Path) -> Iterator[tuple[Path, str]]:
    """Each folder in which a name is looked up on the way to ``path``, links followed, and that name."""
    folder, names, links = Path("/"), [*reversed(path.absolute().parts[1:])], 0
    while names and links <= _MAX_LINKS:
        name = names.pop()
        if name == "..":
            folder = folder.parent
            continue
        yield folder, name
        try:
            target = (folder / name).readlink()
        except OSError:
            folder /= name
            continue
        links += 1
        folder = Path("/") if target.is_absolute() else folder
        names += reversed(target.parts[1:] if target.is_absolute() else target.parts)


def _owned(path: Path, found: os.stat_result) -> Exposure:
    return Exposure(
        path=path,
        problem=f"belongs to the user {_user(found.st_uid)}{_mode(found)}",
        cure=f"chown -R {_user(os.geteuid())}",
    )


def _writable(path: Path, found: os.stat_result) -> Exposure | None:
    who = ""
    if found.st_mode & stat.S_IWOTH:
        who = "every user"
    elif found.st_mode & stat.S_IWGRP:
        who = _writers(path, found.st_gid)
    problem = f"can be written by {who}{_mode(found)}"
    return Exposure(path=path, problem=problem, cure="chmod -R go-w") if who and not _is_pod() else None


def _writers(path: Path, group: int) -> str:
    """Name who may write where the mode says that a group may; nobody if that has this user alone.

    Where there is an access control list, the mode tells what it grants at most (``acl(5)``): of the group, and of the
    users and groups that the list names.
    """
    if not _is_private(group):
        return f"the group {_group(group)}"
    for tag, permissions, number in _access_list(path):
        if not permissions & _ACL_WRITE:
            continue
        if tag == _ACL_USER and number not in trusted_users():
            return f"the user {_user(number)}"
        if tag == _ACL_GROUP and not _is_private(number):
            return f"the group {_group(number)}"
    return ""


def _access_list(path: Path) -> Iterator[tuple[int, int, int]]:
    """Give the entries of a list, each with its tag, its permissions and a user's or a group's number."""
    try:
        entries = os.getxattr(path, _ACL)[_ACL_HEADER:]
        return struct.iter_unpack("<HHI", entries)
    except (OSError, AttributeError, struct.error):  # there is none, or the file system or system has no such lists
        return iter(())


def _mode(found: os.stat_result) -> str:
    return f" (mode {stat.S_IMODE(found.st_mode):04o})"


def _is_private(group: int) -> bool:
    """Whether a group has this user alone: by its name or number it is the user's, and it has no other member."""
    user = os.geteuid()
    name, members = _user(user), _members(group)
    if members - {name}:
        return False
    if _group(group) == name:
        return True
    return group == os.getegid() and all(each.pw_uid in (user, 0) for each in pwd.getpwall() if each.pw_gid == group)


def _members(group: int) -> frozenset[str]:
    try:
        return frozenset(grp.getgrgid(group).gr_mem)
    except KeyError:
        return frozenset()


def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def _group(number: int) -> str:
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)
