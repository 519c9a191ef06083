"""Local folders that BuildKit's session writes: Buildx gets a private folder, and this program takes the cache over.

Buildx follows links, and writes index.json in place: in a folder that was restored, it would write to wherever a link
leads. So it only writes to a folder that this call made (``layout.linked``). To everybody else the export stays that to
the folder which was planned.
"""

from __future__ import annotations

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
    """The private folders of one call. ``problems`` are the exports that have none, each with why.

    Args:
        folders: returns the cache folder of each of these exports that is a local one.
    """

    def __init__(self, folders: Callable[[Collection[CacheEntry]], Mapping[CacheEntry, Path]]) -> None:
        self.problems: dict[CacheEntry, Problem] = {}
        self._folders = folders
        self._linked: dict[CacheEntry, Path] = {}

    def prepare(self, build: BuildInvocation) -> BuildInvocation:
        """Have Buildx write to private folders; leave out a local export that has none."""
        for entry, folder in self._folders(build.exports).items():
            if entry not in self._linked:
                self._link(entry, folder)
        exports = (entry for entry in build.exports if entry in self._linked or not entry.folder)
        return replace(build, exports=tuple(map(self._instead, exports)))

    def _link(self, entry: CacheEntry, folder: Path) -> None:
        try:
            self._linked[entry] = layout.new_linked_folder(folder, may_lack_blobs=True)
            self.problems.pop(entry, None)
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
            entry: the planned export; one that did not go to a private folder is where it belongs.
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
        return classify(f"{entry.folder}: {(error.strerror or str(error)).lower()}")
    words = f"the cache folder {entry.folder} {error.problem}"
    return Problem(kind=Kind.INDEX_LOCKED, words=words) if error.kind is FindingKind.BUSY else classify(words)
