"""Folders inside a cache folder to which BuildKit's session exports.

A linked folder starts with hard links to the cache's blobs: BuildKit does not send those again (``util/contentutil``),
whatever they hold. So a blob that no tag leads to, or whose size is wrong, is not linked: BuildKit's replaces it.
A linked folder holds nothing else, so that Buildx, which follows symbolic links, cannot be led out of it as of a
restored folder.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from pathlib import Path

from buildx_cache.layout.gc import delete_folder
from buildx_cache.layout.graph import walk
from buildx_cache.layout.ownership import is_own
from buildx_cache.layout.store import ALGORITHM, BLOBS, LINKED, open_store
from buildx_cache.layout.verification import file_faults
from buildx_cache.permissions import make_folder


def new_linked_folder(cache: Path, *, may_lack_blobs: bool = False) -> Path:
    """Create a folder with hard links to every blob that the cache's tags lead to, and return its path.

    Args:
        cache: the cache folder.
        may_lack_blobs: skip each blob that cannot be linked; BuildKit sends it again.

    Raises:
        MalformedError: the cache folder cannot be read.
        OSError: the cache folder cannot be written, or a blob cannot be linked.
    """
    folder = Path(tempfile.mkdtemp(prefix=LINKED, dir=cache))
    try:
        blobs = folder / BLOBS / ALGORITHM
        make_folder(blobs)
        tolerated = (OSError,) if may_lack_blobs else ()
        with open_store(cache) as store:
            whole = {blob.digest for blob in walk(store).links if not any(file_faults(store, blob, ""))}
            for name in (digest.removeprefix("sha256:") for digest in whole):
                with contextlib.suppress(*tolerated):
                    os.link(name, blobs / name, src_dir_fd=store.blobs, follow_symlinks=False)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return folder


def is_linked(folder: Path) -> bool:
    """Return whether :func:`new_linked_folder` created the folder."""
    return folder.name.startswith(LINKED)


def delete_linked_folders(cache: Path) -> None:
    """Delete the linked folders that killed calls left in a cache folder. Hold the folder exclusively."""
    for left in filter(is_own, cache.glob(f"{LINKED}*")):
        with contextlib.suppress(OSError):
            delete_folder(left)
