"""Delete a folder with all that is in it, however deep it is.

``shutil.rmtree`` calls itself for each level before Python 3.13, and ends in a ``RecursionError`` at about 1000: an
archive can hold more.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import count
from pathlib import Path

from buildx_cache.layout.store import names_in

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def delete_folder(folder: Path) -> None:
    """Delete a folder; no symbolic link is followed.

    Inner folders are moved up to the outermost one, so that none is deeper than one level below it when its turn comes.

    Raises:
        OSError: a part cannot be deleted, or the folder is a link or none.
    """
    top = os.open(folder, _FOLDER)
    try:
        _delete_files(top)
        names = _free_names(top)
        while inner := names_in(top):
            for name in inner:
                _empty(top, name, names)
                os.rmdir(name, dir_fd=top)
    finally:
        os.close(top)
    folder.rmdir()


def _empty(top: int, name: str, names: Iterator[str]) -> None:
    """Delete the files of a folder in ``top``, and move its folders to ``top``."""
    opened = os.open(name, _FOLDER, dir_fd=top)
    try:
        for inner in _delete_files(opened):
            os.rename(inner, next(names), src_dir_fd=opened, dst_dir_fd=top)
    finally:
        os.close(opened)


def _delete_files(folder: int) -> list[str]:
    """Delete what is no folder, links too; return the names of the folders."""
    with os.scandir(folder) as entries:
        found = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
    for name, is_folder in found:
        if not is_folder:
            os.unlink(name, dir_fd=folder)
    return [name for name, is_folder in found if is_folder]


def _free_names(folder: int) -> Iterator[str]:
    taken = frozenset(names_in(folder))
    return (name for name in map(str, count()) if name not in taken)
