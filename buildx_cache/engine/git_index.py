"""Read the names that git tracks from its index, where git is not installed or does not answer for a repository.

The format is in git's documentation, ``gitformat-index``; versions 2 to 4 exist. A split index has only a part of them.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import struct
from collections.abc import Iterator
from pathlib import Path

from buildx_cache.atomic import read_regular

_SIGNATURE = b"DIRC"
_HEADER = 12
_VERSION = 7
"""The place of the version's last byte."""
_STAT = 40
_FLAGS = 2
_EXTENDED = 0x4000
_PREFIXES = 4
"""The version from which on a name leaves out what it shares with the one before."""
_GITDIR = re.compile(rb"gitdir: ([^\n\0]+)\n*")
_LARGEST = 1 << 26
_LONGEST = 4096  # PATH_MAX


def tracked_names(top: Path, below: str) -> Iterator[str]:
    """Yield the paths that git tracks at ``below``, relative to the working copy at ``top``, in any letter case.

    Yield ``.`` if the index is too large: a commit may have any number of files.

    Raises:
        ValueError: the index cannot be read.
    """
    try:
        content = read_regular(_git_folder(top) / "index", _LARGEST)
        is_whole = content[_VERSION] < _PREFIXES  # there is each name whole
        sought = below.lower()
        if is_whole and content.startswith(_SIGNATURE) and below != "." and os.fsencode(sought) not in content.lower():
            return
        for name in _names(content, _STAT + _hash_length(content) + _FLAGS):
            if sought in (".", name.lower()) or name.lower().startswith(f"{sought}/"):
                yield name
    except OSError as error:
        if error.errno != errno.EFBIG:
            raise ValueError(str(error)) from None
        yield "."
    except (IndexError, struct.error) as error:
        raise ValueError(str(error)) from None


def _git_folder(top: Path) -> Path:
    """Return the folder of git's files, to which a worktree's ``.git`` leads."""
    own = top / ".git"
    if own.is_dir():
        return own
    found = _GITDIR.fullmatch(read_regular(own, _LONGEST))
    if found is None:
        raise ValueError(own)
    return top / found[1].decode("utf-8", "surrogateescape")


def _hash_length(content: bytes) -> int:
    """Return the bytes of a hash: the index ends with its own, which may be SHA-256; git's usual is SHA-1."""
    sha = hashlib.sha256(content[:-32]).digest()
    return len(sha) if content.endswith(sha) else hashlib.sha1(usedforsecurity=False).digest_size


def _names(content: bytes, fixed: int) -> Iterator[str]:
    """Yield the names in an index whose entries have ``fixed`` bytes before the name.

    Raises:
        ValueError: the format is unknown, or a name is too long.
        IndexError: the index ends early.
    """
    signature, version, count = struct.unpack_from(">4sII", content)
    if signature != _SIGNATURE or not 2 <= version <= _PREFIXES:  # noqa: PLR2004 -- the first version
        raise ValueError(version)
    at, name = _HEADER, b""
    for _ in range(count):
        (flags,) = struct.unpack_from(">H", content, at + fixed - _FLAGS)
        start = at + fixed + (_FLAGS if flags & _EXTENDED else 0)
        dropped, start = _number(content, start) if version == _PREFIXES else (len(name), start)
        end = content.index(b"\0", start)
        name = name[: max(len(name) - dropped, 0)] + content[start:end]
        if len(name) > _LONGEST:
            raise ValueError(len(name))
        at = end + 1 if version == _PREFIXES else at + ((end - at) // 8 + 1) * 8
        yield name.decode("utf-8", "surrogateescape")


def _number(content: bytes, at: int) -> tuple[int, int]:
    """Return a number of variable length, as offsets in packs have it, and the place after it."""
    byte = content[at]
    value = byte & 0x7F
    while byte & 0x80:
        at += 1
        byte = content[at]
        value = ((value + 1) << 7) | (byte & 0x7F)
    return value, at + 1
