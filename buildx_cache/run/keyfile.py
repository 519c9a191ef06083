"""Write ``DIR-key`` beside a cache folder, for a CI that computes its cache key from a file outside of the folder."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path

from buildx_cache import layout
from buildx_cache.atomic import read_regular, write_text
from buildx_cache.run.interfaces import Tell
from buildx_cache.working_copy import prepared_root

_KEY = re.compile(rb"[0-9a-f]{64}\n")
_LENGTH = 65
_NO_KEY = frozenset({errno.EFBIG, errno.EINVAL, errno.EISDIR, errno.ELOOP, errno.ENXIO})  # too long, or no file


def write_key(folder: Path, key: str, tell: Tell) -> None:
    """Write a key (64 hexadecimal digits) that changes when the cache does, unless the file has this key already.

    A file of that name that another user may write, or that holds anything but a key, is left unchanged.
    If the file cannot be written, there is no key file.
    """
    file = folder.with_name(f"{folder.name}-key")
    line = f"{key}\n".encode()
    below = prepared_root(file)
    try:
        found = _content(file, below)
        if found is not None and not _KEY.fullmatch(found):
            tell.warn(f"{file} is not a cache's key file and stays unchanged: this cache gets no key file")
        elif found != line:
            write_text(file, line.decode(), below=below)
    except OSError:
        return


def _content(file: Path, below: Path | None) -> bytes | None:
    """Read a regular file of this user, as long as a key; return ``b""`` for any other, None if there is none."""
    if os.path.lexists(file) and not layout.is_own(file):
        return b""
    try:
        return read_regular(file, _LENGTH, below=below)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno in _NO_KEY:
            return b""
        raise
