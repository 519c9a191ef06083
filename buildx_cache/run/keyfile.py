"""``DIR-key``, a file beside a cache folder for a CI that needs one outside of it to key its cache on."""

from __future__ import annotations

import os
import re
from pathlib import Path

from buildx_cache import layout
from buildx_cache.atomic import write_text
from buildx_cache.run.seams import Tell

_KEY = re.compile(rb"[0-9a-f]{64}\n")
_LENGTH = 65
_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def write_key(folder: Path, key: str, tell: Tell) -> None:
    """Write a key (64 hexadecimal digits) that changes when the cache does; the same key is not written again.

    A file of that name that another user may write, or that holds anything but a key, is somebody else's and stays.
    There is none where nothing can be written beside the folder.
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
    """The first bytes of this user's ordinary file; nothing of any other, None where there is none."""
    if not os.path.lexists(file):
        return None
    if not (layout.is_own(file) and layout.is_file(file)):
        return b""
    with os.fdopen(os.open(file, _OPEN), "rb") as content:
        return content.read(_LENGTH + 1)
