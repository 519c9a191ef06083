"""Delete unreferenced blobs. The list is complete before the first deletion; if it cannot be, nothing is deleted."""

from __future__ import annotations

import contextlib
import os
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

from buildx_cache.layout.graph import Graph, walk
from buildx_cache.layout.index import unchanged_index
from buildx_cache.layout.model import Finding, FindingKind, SweepResult
from buildx_cache.layout.parse import MalformedError
from buildx_cache.layout.store import (
    FOLDER_FLAGS,
    INDEX,
    INGEST,
    LAYOUT,
    BlobFile,
    Store,
    is_blob_name,
    names_in,
    open_store,
)


def delete_folder(folder: Path) -> None:
    """Delete a folder; follow no symbolic link.

    Inner folders move up into the outermost folder, so that each is deleted one level below it, however deep it was.

    Raises:
        OSError: a part cannot be deleted, or ``folder`` is a link or not a folder.
    """
    top = os.open(folder, FOLDER_FLAGS)
    try:
        _delete_files(top)
        names = _free_names(top)
        while inner := names_in(top):
            for name in inner:
                _empty(top, name, names)
                os.rmdir(name, dir_fd=top)
    finally:
        os.close(top)
    folder.rmdir()


def _empty(top: int, name: str, names: Iterator[str]) -> None:
    """Delete the files of the folder ``name`` in ``top``, and move its folders into ``top``."""
    opened = os.open(name, FOLDER_FLAGS, dir_fd=top)
    try:
        for inner in _delete_files(opened):
            os.rename(inner, next(names), src_dir_fd=opened, dst_dir_fd=top)
    finally:
        os.close(opened)


def _delete_files(folder: int) -> list[str]:
    """Delete all entries but folders, links too; return the names of the folders."""
    with os.scandir(folder) as entries:
        found = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
    for name, is_folder in found:
        if not is_folder:
            os.unlink(name, dir_fd=folder)
    return [name for name, is_folder in found if is_folder]


def _free_names(folder: int) -> Iterator[str]:
    taken = frozenset(names_in(folder))
    return (name for name in map(str, count()) if name not in taken)


GRACE_SECONDS = 600.0
"""Seconds during which an unreachable blob, or an untouched partial write, may belong to a running export."""

_HOLLOW_BYTES = 1 << 30
_BLOCK = 512  # bytes, of ``st_blocks``


def sweep(
    folder: Path, *, keep_since: float | None = None, dropped: frozenset[str] = frozenset(), dry_run: bool = False
) -> SweepResult:
    """Delete the blobs that index.json does not lead to, and the partial writes of dead exports.

    Fail closed: if a root, a manifest or a media type is unknown, or an entry under ``blobs/`` is not a blob, delete
    nothing and say why in ``obstacles``. Hold the folder exclusively.

    Plain Buildx does not take this program's lock: it writes blobs first and takes ``index.json.lock`` only to record
    them. So the sweep keeps blobs younger than ``keep_since``, deletes under ``index.json.lock``, and deletes nothing
    if the index changed since it was read. One race remains: a plain export finds an *old* unreachable blob present
    and records it after the sweep. The next verification then reports the blob as missing.

    Args:
        folder: the layout folder.
        keep_since: seconds since the epoch; unreachable blobs modified later stay. Pass the time at which the build
            took its lock: the build's blobs are reachable by now, so younger unreachable blobs belong to another
            process. Default: ten minutes ago. Partial writes always stay for ten minutes.
        dropped: the digests of tags that were just evicted. No export is about to record them, so their age is ignored.
        dry_run: report what would be deleted; write nothing and take no lock.
    """
    limit = time.time() - GRACE_SECONDS if keep_since is None else keep_since
    try:
        with open_store(folder) as store:
            graph = walk(store)
            obstacles = sweep_obstacles(store, graph)
            if obstacles:
                return SweepResult(dry_run=dry_run, obstacles=obstacles)
            garbage = select_garbage(store, reachable(graph), limit, dropped)
            return garbage.as_swept(dry_run=True) if dry_run else _delete(store, graph, garbage)
    except MalformedError as error:
        return SweepResult(dry_run=dry_run, obstacles=(error.at(str(folder)),))


def has_stale_writes(folder: Path) -> bool:
    """Return whether :func:`delete_stale_writes` would delete a partial write."""
    try:
        with open_store(folder) as store:
            return any(_stale_ingests(store, time.time() - GRACE_SECONDS))
    except (MalformedError, OSError):
        return False


def delete_stale_writes(folder: Path) -> None:
    """Delete the partial writes of dead exports. Hold the folder exclusively.

    An export of plain Buildx resumes the partial write of a blob. If its content is wrong, the export fails and leaves
    the partial write, so that every later export fails too.
    """
    with contextlib.suppress(MalformedError, OSError), open_store(folder) as store:
        for name, _ in [*_stale_ingests(store, time.time() - GRACE_SECONDS)]:
            _delete_ingest(store, name)


def reachable(graph: Graph) -> frozenset[str]:
    """Return the digests of all blobs that a root leads to."""
    return frozenset(descriptor.digest for descriptor in graph.links)


def sweep_obstacles(store: Store, graph: Graph) -> tuple[Finding, ...]:
    """Return the findings that forbid deleting from this folder; empty if deleting is safe."""
    return (*_layout_obstacle(store, graph), *store.foreign, *graph.obstacles)


def _layout_obstacle(store: Store, graph: Graph) -> Iterator[Finding]:
    """Yield the fault of a folder without ``oci-layout``; of kind ``ABSENT`` if it has no index and no blobs either."""
    fault = store.layout_fault()
    if fault is not None:
        indexed = all(found.kind is not FindingKind.ABSENT for found in graph.obstacles)
        empty = fault.kind is FindingKind.MISSING and not indexed and not store.files
        kind = FindingKind.ABSENT if empty else FindingKind.LAYOUT
        yield fault.at(LAYOUT, kind=kind)


@dataclass(frozen=True, kw_only=True)
class Garbage:
    """The blobs and partial writes (name, bytes) that a sweep deletes, and the unreachable blobs that it keeps."""

    blobs: tuple[tuple[str, BlobFile], ...]
    ingests: tuple[tuple[str, int], ...]
    kept: tuple[BlobFile, ...]

    def as_swept(self, *, dry_run: bool = False) -> SweepResult:
        """Return the result of deleting all of it."""
        return SweepResult(
            blobs=tuple("sha256:" + name for name, _ in self.blobs),
            blob_bytes=sum(file.size for _, file in self.blobs),
            ingests=len(self.ingests),
            ingest_bytes=sum(size for _, size in self.ingests),
            kept_blobs=len(self.kept),
            kept_bytes=sum(file.size for file in self.kept),
            dry_run=dry_run,
        )


def select_garbage(store: Store, live: frozenset[str], limit: float, dropped: frozenset[str] = frozenset()) -> Garbage:
    """Choose the blobs to delete: those not ``live`` and older than ``limit`` (seconds since the epoch).

    Blobs of evicted tags (``dropped``) are chosen at any age.
    """
    dead = [(name, file) for name, file in store.files.items() if "sha256:" + name not in live]
    going = [(name, file) for name, file in dead if file.modified < limit or "sha256:" + name in dropped]
    gone = {name for name, _ in going}
    return Garbage(
        blobs=tuple(going),
        ingests=tuple(_stale_ingests(store, time.time() - GRACE_SECONDS)),
        kept=tuple(file for name, file in dead if name not in gone),
    )


def _delete(store: Store, graph: Graph, garbage: Garbage) -> SweepResult:
    if not garbage.blobs and not garbage.ingests:
        return garbage.as_swept()
    blobs: list[tuple[str, BlobFile]] = []
    ingests: list[tuple[str, int]] = []
    obstacles: tuple[Finding, ...] = ()
    try:
        with unchanged_index(store, graph.index):
            blobs.extend(one for one in garbage.blobs if _delete_blob(store, *one))
        ingests.extend(one for one in garbage.ingests if _delete_ingest(store, one[0]))
    except MalformedError as error:
        obstacles = (error.at(INDEX),)
    except OSError as error:
        problem = f"a blob cannot be deleted: {error.strerror}"
        obstacles = (Finding(kind=FindingKind.UNREADABLE, blob=str(store.path), referrer="", problem=problem),)
    done = replace(garbage, blobs=tuple(blobs), ingests=tuple(ingests))
    return replace(done.as_swept(), obstacles=obstacles)


def _delete_blob(store: Store, name: str, seen: BlobFile) -> bool:
    """Delete a blob unless it was rewritten since it was listed; return whether it was deleted."""
    try:
        now = os.stat(name, dir_fd=store.blobs, follow_symlinks=False)
        if not stat.S_ISREG(now.st_mode) or now.st_mtime != seen.modified:
            return False
        os.unlink(name, dir_fd=store.blobs)
    except FileNotFoundError:
        return False
    return True


def _stale_ingests(store: Store, limit: float) -> Iterator[tuple[str, int]]:
    """Yield the partial writes (name, bytes) of dead exports: folders of ordinary files (containerd, content/local).

    They were last modified before ``limit``, or have a time so far in the future that they would stay for ever, or hold
    a file that no export writes.
    """
    latest = time.time() + GRACE_SECONDS
    try:
        parent = os.open(INGEST, FOLDER_FLAGS, dir_fd=store.root)
    except OSError:
        return
    try:
        for name in filter(is_blob_name, names_in(parent)):
            files = _ingest_files(parent, name)
            newest = max((file.st_mtime for file in files), default=limit)
            if files and (not limit <= newest <= latest or any(map(_is_odd, files[1:]))):
                yield name, sum(file.st_size for file in files[1:])
    finally:
        os.close(parent)


def _is_odd(file: os.stat_result) -> bool:
    """Return whether no export wrote the file: it has a second hard link, or is almost entirely a hole.

    An export would also write to the file under its second name, and would read the whole hole.
    """
    return file.st_nlink > 1 or (file.st_size > _HOLLOW_BYTES and file.st_blocks * _BLOCK < file.st_size // 10)


def _ingest_files(parent: int, name: str) -> list[os.stat_result]:
    """Return the states of the folder, then of its files; nothing unless it holds only ordinary files."""
    try:
        folder = os.open(name, FOLDER_FLAGS, dir_fd=parent)
    except OSError:
        return []
    try:
        files = [os.stat(file, dir_fd=folder, follow_symlinks=False) for file in names_in(folder)]
        return [os.fstat(folder), *files] if all(stat.S_ISREG(file.st_mode) for file in files) else []
    except OSError:
        return []
    finally:
        os.close(folder)


def _delete_ingest(store: Store, name: str) -> bool:
    parent = os.open(INGEST, FOLDER_FLAGS, dir_fd=store.root)
    try:
        folder = os.open(name, FOLDER_FLAGS, dir_fd=parent)
        try:
            for file in names_in(folder):
                os.unlink(file, dir_fd=folder)
        finally:
            os.close(folder)
        os.rmdir(name, dir_fd=parent)
    except FileNotFoundError:
        return False
    finally:
        os.close(parent)
    return True
