"""Local caches that BuildKit's session exports: Buildx writes to a linked folder, and this program moves the cache.

Buildx follows links and writes index.json in place: in a restored folder it would write wherever a link leads. So it
only writes to a folder that this call made (``layout.linked``). Events and the report name the planned folder.
"""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path

from buildx_cache import layout
from buildx_cache.buildkit.causes import Kind
from buildx_cache.buildkit.classify import Problem, classify
from buildx_cache.buildkit.events import Event, rewritten
from buildx_cache.caches.entry import CacheEntry
from buildx_cache.layout import FindingKind
from buildx_cache.layout.parse import MalformedError
from buildx_cache.layout.writer import Writer
from buildx_cache.plan import BuildInvocation
from buildx_cache.run.recovery import Strategy
from buildx_cache.serve import REPOSITORY


class LinkedExports(Strategy):
    """The linked folders of one call. ``problems`` maps each local export of the last build without one to the reason.

    Args:
        folders: maps those of the given exports that go to a local folder to that folder.
    """

    def __init__(self, folders: Callable[[Collection[CacheEntry]], Mapping[CacheEntry, Path]]) -> None:
        self.problems: dict[CacheEntry, Problem] = {}
        self._folders = folders
        self._linked: dict[CacheEntry, Path] = {}

    def prepare(self, build: BuildInvocation) -> BuildInvocation:
        """Have Buildx write to new linked folders; leave out a local export that has none.

        A linked folder of the last attempt may hold changed blobs, for which the cache folder was set aside since.
        """
        self.close()
        self.problems.clear()
        for entry, folder in self._folders(build.exports).items():
            self._link(entry, folder)
        exports = (entry for entry in build.exports if entry in self._linked or not entry.folder)
        return replace(build, exports=tuple(map(self._instead, exports)))

    def _link(self, entry: CacheEntry, folder: Path) -> None:
        try:
            self._linked[entry] = layout.new_linked_folder(folder, may_lack_blobs=True)
        except (MalformedError, OSError) as error:
            self.problems[entry] = _problem(entry, error)

    def _instead(self, entry: CacheEntry) -> CacheEntry:
        return entry.having("dest", str(self._linked[entry])) if entry in self._linked else entry

    def observe(self, event: Event) -> Event:
        """Return an event in the plan's words."""
        return rewritten(event, self._rename) if self._linked else event

    def _rename(self, text: str) -> str:
        for entry, linked in self._linked.items():
            text = text.replace(str(linked), entry.folder)
        return text

    def take_over(self, entry: CacheEntry, written: Collection[str]) -> Problem | None:
        """Move what an export wrote to the cache folder; return why it cannot be, None if it is there.

        Args:
            entry: the planned export; nothing is done for one without a linked folder.
            written: the digests of the manifests that BuildKit says it wrote.
        """
        linked = self._linked.pop(entry, None)
        if linked is None:
            return None
        try:
            with Writer(linked.parent, tag=entry.tag, repository=REPOSITORY) as writer:
                writer.adopt(linked, written)
        except (MalformedError, OSError) as error:
            return _problem(entry, error)
        finally:
            shutil.rmtree(linked, ignore_errors=True)
        return None

    def close(self) -> None:
        """Delete the folders, with what was not taken over."""
        for linked in self._linked.values():
            shutil.rmtree(linked, ignore_errors=True)
        self._linked.clear()


def _problem(entry: CacheEntry, error: MalformedError | OSError) -> Problem:
    """Return why the cache folder cannot be written."""
    if isinstance(error, OSError):
        words = f"{entry.folder}: {(error.strerror or str(error)).lower()}"
        is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        return Problem(kind=Kind.CLIENT_DISK_FULL, words=words) if is_full else classify(words)
    is_busy = error.kind is FindingKind.BUSY
    words = f"{entry.folder}: {'index.json' if is_busy else 'the new cache'} {error.problem}"
    return Problem(kind=Kind.INDEX_LOCKED, words=words) if is_busy else classify(words)
