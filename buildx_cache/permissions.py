"""Find out whether another user may write a file or folder, or replace it.

Check owners, modes and POSIX access control lists. Root and the owner of ``/`` can do anything anyway, and are trusted.

In a container, the owner of the working directory is trusted, too: that user started the container (GitHub's container
jobs run as root, with a ``HOME`` and a checkout of the runner's user). In a Kubernetes pod, modes are ignored: volumes
are open to all users there, and the node has no other users.
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
"""The mode of the parent folders that the program creates, whatever the umask."""
_CONTAINER_MARKS = (Path("/.dockerenv"), Path("/run/.containerenv"))
_HOSTS = Path("/etc/hosts")
_POD_MARK = b"# Kubernetes-managed hosts file"
# Linux's linux/posix_acl_xattr.h: a header, then entries of eight bytes.
_ACL, _ACL_HEADER = "system.posix_acl_access", 4
_ACL_USER, _ACL_GROUP, _ACL_WRITE = 0x02, 0x08, 0x02
_MAX_LINKS = 40  # Linux' limit


@dataclass(frozen=True, kw_only=True)
class Exposure:
    """A file or folder that another user may write, the reason, and a command that would prevent it."""

    path: Path
    problem: str
    cure: str

    def __str__(self) -> str:
        return f"{self.path} {self.problem}"


def exposure_of(path: Path, found: os.stat_result) -> Exposure | None:
    """Return why another user can change a file or folder: the user owns it or may write it; None if no one can."""
    if found.st_uid != os.geteuid():
        return _owned(path, found)
    return _writable(path, found)


def exposure_to_untrusted(path: Path, found: os.stat_result) -> Exposure | None:
    """Return why an untrusted user can change a file or folder; a trusted user may own it."""
    # The first comparison saves reading /etc/hosts and the like for each of up to 10,000 partial writes.
    if found.st_uid != os.geteuid() and found.st_uid not in trusted_users():
        return _owned(path, found)
    return _writable(path, found)


def exposure_on_the_way(path: Path) -> Exposure | None:
    """Find a folder above ``path`` in which another user may put something else in the place of ``path``.

    Follow the symbolic links on the way, and check the folders that hold them too. Skip the working directory and the
    folders above it: a user who can replace these can replace the sources. A symbolic link of another user there is
    still checked: in a sticky folder anyone can create one. Stop at an absent folder: check again once it exists.
    """
    above_work = _above_work()
    for folder, name in way_to(path):
        try:
            found = folder.stat()
        except OSError:
            return None
        if _identity(found) in above_work and not is_link_of_another(folder / name):
            continue
        if exposure := _exchangeable(folder, name, found):
            return exposure
    return None


def is_link_of_another(path: Path) -> bool:
    """Return whether ``path`` is a symbolic link of an untrusted user, who chooses where it leads."""
    try:
        found = path.lstat()
    except (OSError, ValueError):
        return False
    return stat.S_ISLNK(found.st_mode) and found.st_uid not in trusted_users()


def _above_work() -> list[tuple[int, int]]:
    try:
        here = Path.cwd()
        return [_identity(folder.stat()) for folder in (here, *here.parents)]
    except OSError:  # the working directory was deleted
        return []


def make_folder(path: Path) -> None:
    """Create a folder that only this user can read, and its absent parents, which only this user can write.

    Raises:
        OSError: a folder cannot be created, or a file is in its place.
    """
    make_parents(path)
    path.mkdir(mode=0o700, exist_ok=True)


def make_parents(path: Path) -> None:
    """Create the absent folders above a path, which only this user can write.

    Raises:
        OSError: a folder cannot be created, or a file is in its place.
    """
    for parent in reversed(path.parents):
        if not parent.exists():
            parent.mkdir(mode=PARENT_MODE, exist_ok=True)


def _exchangeable(folder: Path, name: str, found: os.stat_result) -> Exposure | None:
    """Return why another user may replace an entry of a folder; in a sticky folder, only the entry's owner may."""
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
    """Return the user who started this container; empty outside of a container."""
    if not (_is_pod() or any(mark.exists() for mark in _CONTAINER_MARKS)):
        return ()
    with contextlib.suppress(OSError):  # the working directory was deleted
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


def way_to(path: Path) -> Iterator[tuple[Path, str]]:
    """Yield each folder in which the kernel looks up a name on the way to ``path``, with the name; follow links."""
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
    """Return who else may write a file that its group may write; empty if the group has no other member.

    With an access control list, the mode's group bits are the most that the list grants (``acl(5)``) to the group and
    to the users and groups in it.
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
    """Return the entries of the access control list: tag, permissions, and the number of a user or group."""
    try:
        entries = os.getxattr(path, _ACL)[_ACL_HEADER:]
        return struct.iter_unpack("<HHI", entries)
    except (OSError, AttributeError, struct.error):  # no list, or no support in the file system or the system
        return iter(())


def _mode(found: os.stat_result) -> str:
    return f" (mode {stat.S_IMODE(found.st_mode):04o})"


def _is_private(group: int) -> bool:
    """Return whether this user is a group's only member: the group has the user's name or number, and no other."""
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
