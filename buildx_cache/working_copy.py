"""Find the working copy around a folder, and check which paths stay inside a folder.

The files of a working copy are untrusted: a pull request can commit a symbolic link anywhere, and an unpacked archive
can contain a ``.git``.
"""

from __future__ import annotations

import itertools
import os
import pwd
from collections.abc import Iterator
from pathlib import Path

_GIT = ".git"
_LONGEST = 4096  # PATH_MAX


def nearest_top(folder: Path) -> Path | None:
    """Return the nearest folder at or above ``folder`` that holds a ``.git``; None if there is none."""
    return next((each for each in (folder, *folder.parents) if os.path.lexists(each / _GIT)), None)


def enclosing_top(folder: Path, here: Path) -> Path | None:
    """Return the top of the working copy that ``folder`` belongs to.

    The working copy around ``here``, the working directory, wins over a working copy inside it: a repository must not
    choose its commit, branch or project by the files it commits.

    Args:
        folder: an absolute path without links.
        here: the working directory, absolute and without links.
    """
    outer = nearest_top(here)
    return outer if outer is not None and folder.is_relative_to(outer) else nearest_top(folder)


def project_top(folder: Path) -> Path | None:
    """Return the nearest top, unless the user's home lies in it: a home under git holds settings, not a project.

    Args:
        folder: an absolute path without links.
    """
    home = Path(os.path.realpath(os.path.expanduser("~")))  # noqa: PTH111 -- never raises
    top = prepared_top(folder)
    return None if top is None or home.is_relative_to(top) else top


def prepared_top(folder: Path) -> Path | None:
    """Return the nearest top, unless the home of the user database lies in it.

    Ignore ``HOME``: CI jobs often set it to their checkout, whose links the repository controls all the same.
    """
    return _unless_home(nearest_top(folder))


def _unless_home(top: Path | None) -> Path | None:
    try:
        home = Path(os.path.realpath(pwd.getpwuid(os.geteuid()).pw_dir))
    except KeyError:  # a container's user may have no entry
        return top
    return None if top is None or home.is_relative_to(top) else top


def _source_top(folder: Path) -> Path | None:
    """Return the nearest top; without a ``.git``, return the working directory, where an archive may have put links."""
    if (top := nearest_top(folder)) is not None:
        return _unless_home(top)
    try:
        here = Path(os.path.realpath(os.getcwd()))  # noqa: PTH109 -- as abspath does it
    except OSError:  # the working directory was deleted
        return None
    return _unless_home(here) if folder.is_relative_to(here) else None


def first_link(path: Path, root: Path) -> Path | None:
    """Return the first symbolic link below ``root`` on the way to ``path``, ``path`` itself included.

    A folder that a later ``..`` leaves again is on the way, too: the kernel continues from the link's target, while
    parts of Docker drop ``link/..`` from a path. Return None if there is no link, or ``path`` is not below ``root``.
    """
    if not _absolute(path).is_relative_to(root):
        return None
    way = (_absolute(place) for place in places(path))
    return next((each for each in way if each != root and each.is_relative_to(root) and _is_link(each)), None)


def prepared_root(path: Path) -> Path | None:
    """Return the folder below which a repository can prepare files on the way to ``path``; None if there is none.

    Return the outermost folder on the way, links followed, that lies in a working copy. Links above it are the user's.
    Without a ``.git`` on the way, treat the working directory as the working copy.
    """
    above = (*reversed(_absolute(path).parents),)
    tried = ((each, top_of) for top_of in (prepared_top, _source_top) for each in above)
    return next((each for each, top_of in tried if top_of(Path(os.path.realpath(each))) is not None), None)


def leaves(path: Path, root: Path) -> str:
    """Return why ``path`` does not stay inside ``root``; empty if it does.

    A path stays inside if it is spelled below ``root``, has no symbolic link below ``root`` or before a ``..``, and
    does not enter a ``.git``, whose files configure git and can run programs.
    """
    if len(str(path)) > _LONGEST:
        return "it is longer than a path can be"
    target, left = _absolute(path), _left_again(path)
    if left is not None and (link := first_link(left, Path(left.anchor))):
        return f"{link} is a symbolic link, and `..` follows"
    if not target.is_relative_to(root):
        return f"it is outside of {root}"
    if _enters_git(target, root):
        return f"it is inside of {_GIT}"
    link = first_link(target, root)
    return f"{link} is a symbolic link" if link is not None else ""


def _enters_git(path: Path, root: Path) -> bool:
    return _GIT in (part.casefold() for part in path.relative_to(root).parts)


def led_outside(path: Path) -> Path | None:
    """Return the link in a working copy through which ``path`` leaves the working copy; None if no link does.

    A link into ``.git`` leaves the working copy, too: git runs programs that the files there name.

    The user can name any path, and may not know that the repository made a part of it a link to another place. A link
    that stays in the working copy is harmless, except before a ``..``: the link then chooses the parent folder.
    """
    left = _left_again(path)
    above = prepared_root(left) if left is not None else None
    if left is not None and above is not None and (link := first_link(left, above)):
        return link
    root = prepared_root(path)
    top = _source_top(Path(os.path.realpath(root))) if root else None
    if root is None or top is None:
        return None
    real = Path(os.path.realpath(path))
    stays = real.is_relative_to(top) and not _enters_git(real, top)
    return None if stays else first_link(path, root)


def places(path: Path) -> Iterator[Path]:
    """Yield the path's parents as they are spelled, from the root of the file system on, then the path itself."""
    return map(Path, itertools.accumulate(_spelled(path).parts, os.path.join))


def _left_again(path: Path) -> Path | None:
    """Return the part of a path before its last ``..``, absolute, as it is spelled; None if the path has no ``..``."""
    parts = _spelled(path).parts
    if ".." not in parts:
        return None
    return Path(*parts[: len(parts) - 1 - parts[::-1].index("..")])


def _spelled(path: Path) -> Path:
    """Return an absolute path, keeping each ``..``. The working directory is known without links."""
    return path if path.is_absolute() else Path(os.getcwd(), path)  # noqa: PTH109 -- as abspath does it


def _is_link(path: Path) -> bool:
    return os.path.islink(path)  # noqa: PTH114 -- never raises


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path))  # noqa: PTH100 -- Path.absolute keeps `..`
