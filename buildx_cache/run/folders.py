"""Look after the local cache folders of one call: verify before the import, quarantine, garbage-collect at the end.

Plain Buildx fails over a corrupt folder, never repairs it, and never deletes anything from it. This program sets a
corrupt folder aside whole and writes a new one. After the build it deletes the blobs that no cache refers to. It
changes only folders that the call exports to; a corrupt folder that is only read is left out of the import.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from buildx_cache import layout
from buildx_cache.caches.entry import CacheEntry
from buildx_cache.errors import CacheError, ExhaustedError, ExposedError, LockedError
from buildx_cache.formatting import shell_word, size
from buildx_cache.layout import BuildNote, EvictionResult, FindingKind, SweepResult
from buildx_cache.plan import BuildPlan
from buildx_cache.report import LocalReport
from buildx_cache.run.held_folder import Damage, HeldFolder, write_key
from buildx_cache.run.interfaces import Tell
from buildx_cache.run.results import Verdict
from buildx_cache.working_copy import first_link

_NAMED = 20
"""The most tags that are named in a message."""


class Folders:
    """The local folders that a plan reads and writes."""

    def __init__(self, plan: BuildPlan, tell: Tell) -> None:
        self._plan = plan
        self._tell = tell
        self._folders: dict[Path, HeldFolder] = {}
        self._named: dict[str, HeldFolder] = {}
        for entry in (each for each in (*plan.cache.imports, *plan.cache.written) if each.folder):
            folder = self._folders.setdefault(_real(entry.folder), HeldFolder(_real(entry.folder)))
            folder.names |= {entry.folder: None}
            self._named[entry.folder] = folder
            folder.tag, folder.written = entry.tag, entry in plan.cache.written

    def close(self) -> None:
        """Release every folder."""
        for folder in self._folders.values():
            folder.release()

    # --- before the build ----------------------------------------------------------------------------------

    def check(self) -> tuple[Verdict, ...]:
        """Lock and verify the folders; return a verdict on each import that is to be left out.

        A folder that another user may change, or that another process locks, is avoided.

        Raises:
            ExhaustedError: a folder cannot be created; or another process locks it, and the call is strict.
            CacheError: a folder is damaged, or another user may change it, and the call is strict.
        """
        for folder in self._folders.values():
            with self._avoiding(folder):
                self._ready(folder)
        local = (entry for entry in self._plan.cache.imports if entry.folder)
        verdicts = (_verdict(entry, self._of(entry)) for entry in local)
        return tuple(verdict for verdict in verdicts if verdict)

    @contextmanager
    def _avoiding(self, folder: HeldFolder) -> Iterator[None]:
        """Avoid the folder if it is exposed or locked; raise instead if the call is strict."""
        try:
            yield
        except (ExposedError, LockedError) as error:
            if self._plan.strict_cache:
                raise (
                    CacheError(error.message, code=error.code, hint=error.hint)
                    if isinstance(error, ExposedError)
                    else error
                ) from None
            folder.avoid(error.message)
            self._tell.warn(f"{error.message}; this build neither reads nor writes it: {error.hint}")

    def avoided(self, entries: Iterable[CacheEntry]) -> Mapping[CacheEntry, str]:
        """Return the exports whose folder is avoided, each with the reason."""
        local = ((entry, self._of(entry)) for entry in entries if entry.folder)
        return {entry: folder.avoided for entry, folder in local if folder.avoided}

    def _ready(self, folder: HeldFolder) -> None:
        """Lock and verify a folder; set a damaged folder aside."""
        self._refuse_link(folder)
        folder.hold(self._tell)
        if folder.written and layout.has_stale_writes(folder.path):
            self._delete_stale_writes(folder)
        folder.look()
        if folder.damage and self._plan.strict_cache:
            raise CacheError(
                f"the cache folder {folder.path} is damaged: {_summary(folder.damage)}",
                code="cache-damaged",
                hint=f"`buildx-cache cache verify {shell_word(str(folder.path))}` shows all; "
                "delete the folder, or drop --strict-cache",
            )
        if folder.damage:
            damage = _summary(folder.damage)
            came_of_it = self._set_aside(folder, damage, lambda: bool(_looked(folder).damage))
            self._tell.warn(f"the cache folder {folder.path} is damaged: {damage}; {came_of_it}")

    def _refuse_link(self, folder: HeldFolder) -> None:
        """Refuse a folder below the cache directory that is a symbolic link, since it may lead anywhere."""
        root = Path(self._plan.cache.directory).absolute()
        for link in filter(None, (first_link(Path(name), root) for name in folder.names)):
            raise ExposedError(
                f"the cache folder {link} is a symbolic link",
                code="cache-dir-exposed",
                hint="delete it, or choose another folder with --cache-dir",
            )

    def _delete_stale_writes(self, folder: HeldFolder) -> None:
        """Delete partial writes that the verification would count as damage, so that the cache stays of use."""
        with folder.alone(folder.TIDY_SECONDS) as alone:
            if alone:
                layout.delete_stale_writes(folder.path)
        folder.hold(self._tell)

    def _set_aside(self, folder: HeldFolder, damage: str, is_damaged: Callable[[], bool]) -> str:
        """Set a damaged folder aside; return what was done, as words for a message."""
        if not folder.written:
            came_of_it = "it is only read, and left as it is"
        else:
            with folder.alone(folder.ASIDE_SECONDS) as alone:
                if not alone:
                    came_of_it = "another build uses it, and it is left as it is"
                elif not is_damaged():
                    came_of_it = "another build has set it aside"
                else:
                    folder.replaced = folder.key
                    came_of_it = _quarantined(folder.path)
            folder.hold(self._tell)
        folder.look()
        folder.damaged = damage
        return came_of_it

    # --- when an import failed -----------------------------------------------------------------------------

    def digests(self, entry: CacheEntry) -> frozenset[str]:
        """Return the blobs of a local import's folder; none for an import that is not local."""
        return self._of(entry).blobs if entry.folder else frozenset()

    def dropped(self, entry: CacheEntry) -> str:
        """Describe the damage to blobs that the import had and the export left out; empty if they are sound."""
        folder = self._of(entry)
        before = folder.tags.get(entry.tag)
        if before is None or folder.damaged or not folder.written:
            return ""
        now = layout.reach(folder.path).digests
        return _summary(layout.unsound(folder.path, [digest for digest in before.blobs if digest not in now]))

    def damage(self, entry: CacheEntry) -> str:
        """Hash the blobs of a local import and describe the damage; empty if there is none.

        An import that is not local has none.
        """
        if not entry.folder:
            return ""
        folder = self._of(entry)
        return folder.damaged or _summary(layout.unsound(folder.path, folder.blobs))

    def set_aside(self, entry: CacheEntry, damage: str) -> str:
        """Set the folder of a local import with damaged blobs aside; return what was done, as words for a message."""
        folder = self._of(entry)
        blobs = folder.blobs
        came_of_it = "it is left as it is"
        if not folder.damaged:
            with self._avoiding(folder):
                came_of_it = self._set_aside(folder, damage, lambda: bool(layout.unsound(folder.path, blobs)))
        return came_of_it

    def newest(self, imports: Iterable[CacheEntry]) -> Mapping[CacheEntry, float]:
        """Return the time of the newest step of each local import, in seconds since the epoch, where it is known."""
        tags = ((entry, self._of(entry).tags.get(entry.tag)) for entry in imports if entry.folder)
        return {entry: tag.created for entry, tag in tags if tag and tag.created is not None}

    def sources(self, imports: Iterable[CacheEntry]) -> Mapping[CacheEntry, Path]:
        """Return the folders of the local imports that have a readable index."""
        local = ((entry, self._of(entry)) for entry in imports if entry.folder)
        return {entry: folder.path for entry, folder in local if folder.key}

    def targets(self, exports: Iterable[CacheEntry]) -> Mapping[CacheEntry, Path]:
        """Return the folders that these exports write."""
        local = ((entry, self._of(entry)) for entry in exports if entry.folder)
        return {entry: folder.path for entry, folder in local if folder.is_held and not folder.avoided}

    def _of(self, entry: CacheEntry) -> HeldFolder:
        """Return the folder that the entry's path led to when the call began: a link on the way may turn."""
        return self._named[entry.folder]

    # --- after the build -----------------------------------------------------------------------------------

    def annotate(self, entry: CacheEntry, note: BuildNote) -> None:
        """Note in a changed cache which build wrote it; an unchanged one keeps its note.

        After a damaged folder was replaced, the note holds the old key, so that the index differs: CIs with immutable
        keys (CircleCI, GitHub) save nothing under a key that they have.
        """
        folder = self._of(entry)
        before = folder.tags.get(entry.tag)
        is_same = before and before.digest == layout.tagged_digest(folder.path, tag=entry.tag)
        if note.steps and not is_same:
            layout.annotate(folder.path, tag=entry.tag, note=replace(note, replaces=folder.replaced))

    def unchanged(self, entry: CacheEntry) -> bool:
        """Whether the export left the folder's index as the build found it."""
        folder = self._of(entry)
        return bool(folder.key) and layout.cache_key(folder.path) == folder.key

    def added(self, entry: CacheEntry) -> int:
        """Return the bytes of referenced blobs that were added since the build began."""
        folder = self._of(entry)
        return sum(blob.size for blob in layout.reach(folder.path).blobs if blob.digest not in folder.blobs)

    def is_lost(self, entry: CacheEntry) -> bool:
        """Whether this call found the folder of a local export damaged."""
        return bool(entry.folder and self._of(entry).damaged)

    def tidy(self) -> LocalReport | None:
        """Sweep every written folder and keep its size limit, then write the key file; None if none was written."""
        written = [folder for folder in self._folders.values() if folder.written and not folder.avoided]
        if not written:
            return None
        limit = self._plan.cache.max_size
        tidied = [self._tidy(folder, None if limit is None else limit // len(written)) for folder in written]
        self._write_key(written)
        return LocalReport(
            dir=self._plan.cache.directory or str(written[0].path),
            live_bytes=sum(each.live_bytes for each in tidied),
            swept_bytes=sum(each.swept_bytes for each in tidied),
            sound=all(each.sound for each in tidied),
        )

    def _tidy(self, folder: HeldFolder, limit: int | None) -> LocalReport:
        with folder.alone(folder.TIDY_SECONDS) as alone:
            swept = self._sweep(folder, limit) if alone else SweepResult()  # else the folder's last build sweeps
            damage = layout.damage_of(layout.verify(folder.path))
            live_bytes = layout.reach(folder.path).live_bytes
        if damage:
            self._tell.warn(
                f"the cache folder {folder.path} is damaged: {_summary(damage)}; the next build sets it aside"
            )
        swept_bytes = swept.blob_bytes + swept.ingest_bytes
        return LocalReport(dir=str(folder.path), live_bytes=live_bytes, swept_bytes=swept_bytes, sound=not damage)

    def _sweep(self, folder: HeldFolder, limit: int | None) -> SweepResult:
        layout.delete_linked_folders(folder.path)
        layout.delete_inner_asides(folder.path)
        if limit is None:
            swept = layout.sweep(folder.path, keep_since=folder.since)
        else:
            bounded = layout.bound(folder.path, max_size=limit, keep_tag=folder.tag, keep_since=folder.since)
            self._tell_bounded(folder, bounded, limit)
            swept = bounded.swept
        for obstacle in swept.obstacles[:1]:
            if layout.cache_key(folder.path):  # a folder without a key holds no cache yet
                self._tell.warn(
                    f"nothing is deleted from the cache folder {folder.path}: {obstacle}; {obstacle.remedy}"
                )
        return swept

    def _tell_bounded(self, folder: HeldFolder, bounded: EvictionResult, limit: int) -> None:
        if bounded.dropped:
            gone = _names(bounded.dropped)
            self._tell.warn(
                f"the oldest tags went from the cache folder {folder.path}, to keep to {size(limit)}: {gone}"
            )
        if bounded.over:
            self._tell.warn(
                f"the cache folder {folder.path} holds {size(bounded.live_bytes)} and not the {size(limit)} asked for: "
                "the cache just written takes that"
            )

    def _write_key(self, written: list[HeldFolder]) -> None:
        keys = [layout.cache_key(folder.path) for folder in written]
        if any(keys):
            key = keys[0] if len(keys) == 1 else hashlib.sha256("".join(keys).encode()).hexdigest()
            write_key(Path(self._plan.cache.directory or written[0].path).absolute(), key, self._tell)


def _real(path: str) -> Path:
    return Path(os.path.realpath(path))


def _quarantined(path: Path) -> str:
    """Set a folder aside that no other build uses; return what was done, as words for a message."""
    try:
        return f"it is set aside as {layout.set_aside(path)}"
    except ExhaustedError as error:
        return error.message


def _looked(folder: HeldFolder) -> HeldFolder:
    folder.look()
    return folder


def _verdict(entry: CacheEntry, folder: HeldFolder) -> Verdict | None:
    """Return the verdict on an import that Buildx would fail over; None if it can be imported."""
    name = entry.tag
    tag = folder.tags.get(name)
    if folder.avoided:
        return Verdict(entry=entry, status="skipped", detail=folder.avoided)
    if not folder.is_held or (tag is None and folder.key and not entry.get("digest")):
        # Leave out an absent folder: another user may put one there meanwhile.
        lacks = f"has no cache {name!r}" if folder.is_held else "does not exist"
        return Verdict(entry=entry, status="absent", detail=f"the folder {lacks}")
    if folder.damaged:
        return Verdict(entry=entry, status="corrupt", detail=folder.damaged)
    large = [
        found for found in folder.findings if found.kind is FindingKind.TOO_LARGE and tag and found.blob in tag.closure
    ]
    if large:
        return Verdict(entry=entry, status="skipped", detail=f"{large[0]}; {large[0].remedy}")
    return None


def _names(tags: tuple[str, ...]) -> str:
    more = f" and {len(tags) - _NAMED} more" if len(tags) > _NAMED else ""
    return ", ".join(map(layout.shown_tag, tags[:_NAMED])) + more


def _summary(damage: Damage) -> str:
    more = f" (and {len(damage) - 1} more)" if len(damage) > 1 else ""
    return f"{damage[0]}{more}" if damage else ""
