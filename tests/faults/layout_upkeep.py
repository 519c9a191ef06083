"""Upkeep of a layout folder, or an export to it, that ends itself with SIGKILL before its Nth change to the files.

    python layout_upkeep.py FOLDER DEED N

With N = 0 it lives, and prints a word for each change.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from buildx_cache import layout
from buildx_cache.layout.writer import Writer

CHANGES = ("fcntl.flock", "os.chmod", "os.mkdir", "os.remove", "os.rename", "os.rmdir")
WRITES = os.O_WRONLY | os.O_RDWR


def sweep(folder: Path) -> None:
    layout.sweep(folder)


def bound(folder: Path) -> None:
    layout.bound(folder, max_size=0)


def set_aside(folder: Path) -> None:
    """What a call does with a damaged folder before its build."""
    if layout.damaged(layout.verify(folder, deep=True)):
        layout.set_aside(folder)


def receive(folder: Path) -> None:
    """Take the cache in ``source``, beside the folder's own, as an export over the server does."""
    source = folder.parent.parent / "source"
    root = json.loads((source / "index.json").read_bytes())["manifests"][0]
    with Writer(folder, tag="latest", repository="none") as writer:
        for digest in sorted(layout.blob_names(source) - {root["digest"]}):
            if not writer.has(digest):
                upload = writer.begin()
                upload.write(_read(source, digest))
                writer.finish(upload, digest)
        writer.tag_manifest(_read(source, root["digest"]), root["mediaType"])
    layout.sweep(folder)


def _read(source: Path, digest: str) -> bytes:
    return (source / "blobs" / "sha256" / digest.removeprefix("sha256:")).read_bytes()


DEEDS: dict[str, Callable[[Path], None]] = {deed.__name__: deed for deed in (sweep, bound, set_aside, receive)}


class Death:
    """An audit hook that sees each change before it is made."""

    def __init__(self, last: int) -> None:
        self.last = last
        self.seen: list[str] = []

    def __call__(self, event: str, arguments: tuple[object, ...]) -> None:
        if event in CHANGES or (event == "open" and isinstance(arguments[2], int) and arguments[2] & WRITES):
            self.seen.append(event)
            if len(self.seen) == self.last:
                os.kill(os.getpid(), signal.SIGKILL)


def main(folder: Path, deed: str, last: int) -> None:
    death = Death(last)
    sys.addaudithook(death)
    with layout.lock(folder, timeout=0):
        DEEDS[deed](folder)
    sys.stdout.write(" ".join(death.seen))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
