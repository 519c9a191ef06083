"""Find the working copy around a folder, and tell which paths stay inside a folder.

The files of a working copy are not trusted: a pull request can commit a symbolic link anywhere in it, and an unpacked
archive can hold a ``.git`` of its own.
"""

from __future__ import annotations

import itertools
import os
import pwd
from pathlib import Path

_GIT = ".git"


def nearest_top(folder: Path) -> Path | None:
    """Return the nearest folder at or above ``folder`` that holds a ``.git``; None where there is none."""
    return next((each for each in (folder, *folder.parents) if os.path.lexists(each / _GIT)), None)


def enclosing_top(folder: Path, here: Path) -> Path | None:
    """Return the top of the working copy that ``folder`` belongs to.

    The working copy around ``here``, where the call was made, wins over one embedded below it: a repository cannot
    choose its commit, its branch or its project by what it commits.

    Args:
        folder: an absolute path without links.
        here: the working directory, absolute and without links.
    """
    outer = nearest_top(here)
    return outer if outer is not None and folder.is_relative_to(outer) else nearest_top(folder)


def project_top(folder: Path) -> Path | None:
    """Return the nearest top, unless the user's home lies in it: a home under git holds settings, and no project.

    Args:
        folder: an absolute path without links.
    """
    home = Path(os.path.realpath(os.path.expanduser("~")))  # noqa: PTH111 -- never raises
    top = _prepared_top(folder)
    return None if top is None or home.is_relative_to(top) else top


def _prepared_top(folder: Path) -> Path | None:
    """Return the nearest top, unless the home of the user database lies in it.

    ``HOME`` does not count: CI jobs often set it to their checkout, whose links are the repository's all the same.
    """
    top = nearest_top(folder)
    try:
        home = Path(os.path.realpath(pwd.getpwuid(os.geteuid()).pw_dir))
    except KeyError:  # a container's user may have no entry
        return top
    return None if top is None or home.is_relative_to(top) else top


def first_link(path: Path, root: Path) -> Path | None:
    """Return the first symbolic link on the way from ``root`` down to ``path``, ``path`` itself included.

    Return None where there is no link, or where ``path`` is not below ``root``. ``..`` is resolved by its spelling, as
    the kernel would do it on a way without links.
    """
    target = _absolute(path)
    if not target.is_relative_to(root):
        return None
    way = itertools.accumulate(target.relative_to(root).parts, os.path.join, initial=str(root))
    return next((Path(each) for each in way if each != str(root) and os.path.islink(each)), None)  # noqa: PTH114 -- never raises


def prepared_root(path: Path) -> Path | None:
    """Return the folder below which a repository can prepare what is on the way to ``path``; None where there is none.

    It is the outermost folder on the way, links followed, that lies in a working copy. Above it, links are the user's.
    """
    above = reversed(_absolute(path).parents)
    return next((each for each in above if _prepared_top(Path(os.path.realpath(each))) is not None), None)


def leaves(path: Path, root: Path) -> str:
    """Say why ``path`` does not stay inside ``root``; return "" where it does.

    A path stays inside if it is spelled below ``root``, meets no symbolic link on the way, and does not enter a
    ``.git``, whose files git runs or obeys.
    """
    target = _absolute(path)
    if not target.is_relative_to(root):
        return f"it is outside of {root}"
    if _GIT in (part.casefold() for part in target.relative_to(root).parts):
        return f"it is inside of {_GIT}"
    link = first_link(target, root)
    return f"{link} is a symbolic link" if link is not None else ""


def led_outside(path: Path) -> Path | None:
    """Return the link of a working copy by which ``path`` leaves it; None where no link does.

    Whoever calls can name any path, and may not know that a repository made a part of it a link to another place. A
    link that stays in the working copy does no harm.
    """
    root = prepared_root(path)
    top = _prepared_top(Path(os.path.realpath(root))) if root else None
    if root is None or top is None or Path(os.path.realpath(path)).is_relative_to(top):
        return None
    return first_link(path, root)


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path))  # noqa: PTH100 -- Path.absolute keeps `..`
