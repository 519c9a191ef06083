"""One local cache folder of a call: its lock, its state, and its key file ``DIR-key``.

A CI that computes its cache key from a file outside of the folder uses the key file.
"""

from __future__ import annotations

import errno
import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from buildx_cache import layout
from buildx_cache.atomic import read_regular, write_text
from buildx_cache.errors import ExhaustedError, LockedError
from buildx_cache.layout import Finding, FindingKind, Sharing, Tag
from buildx_cache.layout.store import INDEX
from buildx_cache.run.interfaces import Tell
from buildx_cache.working_copy import prepared_root

_KEY = re.compile(rb"[0-9a-f]{64}\n")
_LENGTH = 65
_NO_KEY = frozenset({errno.EFBIG, errno.EINVAL, errno.EISDIR, errno.ELOOP, errno.ENXIO})  # too long, or no file
Damage = tuple[Finding, ...]


class HeldFolder:
    """One cache folder, this call's lock on it, and its state. ``names`` are the paths that lead to the folder.

    ``look`` reads ``tags``, ``key`` (of the index), ``blobs`` (digests) and ``findings``. ``damaged`` describes the
    damage that was found, and ``avoided`` the reason why this call neither reads nor writes the folder; both are
    empty otherwise. ``replaced`` is the key of a damaged folder that was set aside.
    """

    # An exclusive lock waits for every other build in the folder; who has it sets the folder aside or sweeps in a
    # moment.
    SHARED_SECONDS = 60.0
    ASIDE_SECONDS = 10.0
    TIDY_SECONDS = 2.0

    def __init__(self, path: Path) -> None:
        self.path = path
        self.names: dict[str, None] = {}
        self.tag = ""
        self.written = False
        self.avoided = ""
        self._since: float | None = None
        self._clock = 0.0
        self.tags: Mapping[str, Tag] = {}
        self.key = ""
        self.blobs: frozenset[str] = frozenset()
        self.findings: tuple[Finding, ...] = ()
        self.damaged = ""
        self.replaced = ""
        self._hold: ExitStack | None = None

    def hold(self, tell: Tell) -> None:
        """Take a shared lock, so that no other build sweeps the folder. Create the folder only to write it.

        Raises:
            LockedError: another process keeps an exclusive lock for too long.
            ExposedError: another user may change the folder.
            ExhaustedError: the folder cannot be created.
        """
        if self._hold is None and (self.written or self.path.is_dir()):
            for name in self.names:
                layout.refuse_exposed(Path(name))
            stack = ExitStack()
            try:
                held = stack.enter_context(layout.lock(self.path, timeout=self.TIDY_SECONDS, sharing=Sharing.SHARED))
            except LockedError:
                tell.say(f"waiting for the cache folder {self.path}: another build is tidying it")
                held = stack.enter_context(layout.lock(self.path, timeout=self.SHARED_SECONDS, sharing=Sharing.SHARED))
            self._hold = stack
            if self._since is None:
                self._since, self._clock = held.since, time.monotonic()

    @property
    def is_held(self) -> bool:
        """Whether the folder exists and this call has a lock on it."""
        return self._hold is not None

    @property
    def since(self) -> float | None:
        """The time of the first lock, in seconds since the epoch.

        If the clock was set back since then, the time is set back, too: the sweep must keep files written since.
        """
        if self._since is None:
            return None
        return min(self._since, time.time() - (time.monotonic() - self._clock))

    def avoid(self, why: str) -> None:
        """Release the folder; this call neither reads nor writes it from now on."""
        self.release()
        self.avoided, self.damaged, self.key = why, "", ""
        self.tags, self.blobs, self.findings = {}, frozenset(), ()

    def release(self) -> None:
        """Unlock the folder, so that others may sweep it."""
        if self._hold is not None:
            self._hold.close()
            self._hold = None

    @contextmanager
    def alone(self, seconds: float) -> Iterator[bool]:
        """Exchange the shared lock for an exclusive one; yield False if other builds still use the folder."""
        self.release()
        with ExitStack() as stack:
            try:
                stack.enter_context(layout.lock(self.path, timeout=seconds))
            except ExhaustedError:
                alone = False
            else:
                alone = True
            yield alone

    def look(self) -> None:
        """Verify the folder and store its present state."""
        self.findings = layout.verify(self.path)
        self.tags = {tag.name: tag for tag in layout.reach(self.path).tags}
        self.key = layout.cache_key(self.path)
        self.blobs = layout.blob_names(self.path)

    @property
    def damage(self) -> Damage:
        """Return the findings that can fail a build and that show without reading the layers."""
        if self.written and self.blobs and not self.key:
            return (Finding(kind=FindingKind.MISSING, blob=INDEX, referrer="", problem="is not in the folder"),)
        return layout.damage_of(self.findings)


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
