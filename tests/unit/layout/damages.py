"""What can happen to a blob in a folder."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from buildx_cache.layout import FindingKind

Damage = Callable[[Path], None]


def flip_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    rewrite(path, bytes(content))


def truncate(path: Path) -> None:
    rewrite(path, path.read_bytes()[:-1])


def extend(path: Path) -> None:
    rewrite(path, path.read_bytes() + b"x")


def empty(path: Path) -> None:
    rewrite(path, b"")


def link_outside(path: Path) -> None:
    """To a file of the right size and content, so that following it would show nothing."""
    outside = path.parents[3] / "outside" / path.name
    shutil.copyfile(path, outside)
    path.unlink()
    path.symlink_to(outside)


def make_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def make_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def rewrite(path: Path, content: bytes) -> None:
    path.unlink()
    path.write_bytes(content)


SEEN_IN_A_LISTING: dict[Damage, FindingKind] = {
    Path.unlink: FindingKind.MISSING,
    truncate: FindingKind.SIZE,
    extend: FindingKind.SIZE,
    empty: FindingKind.SIZE,
    link_outside: FindingKind.NOT_A_FILE,
    make_folder: FindingKind.NOT_A_FILE,
    make_fifo: FindingKind.NOT_A_FILE,
}
NO_FILE = (link_outside, make_folder, make_fifo)
EVERY: tuple[Damage, ...] = (*SEEN_IN_A_LISTING, flip_bit)
