"""``DIR-key``, a file beside a cache folder for a CI that needs one outside of it to key its cache on."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

from buildx_cache.atomic import write_text
from buildx_cache.run.seams import Tell

_KEY = re.compile(rb"[0-9a-f]{64}\n")
_LENGTH = 65


def write_key(folder: Path, key: str, tell: Tell) -> None:
    """Write a key (64 hexadecimal digits) that changes when the cache does; the same key is not written again.

    A file of that name that holds anything but a key is somebody else's and stays. There is none where nothing can be
    written beside the folder.
    """
    file = folder.with_name(f"{folder.name}-key")
    line = f"{key}\n".encode()
    try:
        found = _content(file)
        if found is not None and not _KEY.fullmatch(found):
            tell.warn(f"{file} is no key of a cache, and is left as it is: there is no file to key this cache on")
        elif found != line:
            write_text(file, line.decode())
    except OSError:
        return


def _content(file: Path) -> bytes | None:
    """The first bytes of an ordinary file; nothing of any other, None where there is none."""
    if not os.path.lexists(file):
        return None
    if not stat.S_ISREG(os.lstat(file).st_mode):
        return b""
    with file.open("rb") as content:
        return content.read(_LENGTH + 1)
