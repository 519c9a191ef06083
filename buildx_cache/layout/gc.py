"""Delete what nothing refers to: all of it is known before the first deletion, or nothing is deleted."""

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
from buildx_cache.layout.model import Finding, Kind, Swept
from buildx_cache.layout.parse import MalformedError
from buildx_cache.layout.store import INDEX, INGEST, LAYOUT, BlobFile, Store, is_blob_name, names_in, open_store

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def delete_folder(folder: Path) -> None:
    """Delete a folder; no symbolic link is followed.

    Inner folders are moved up to the outermost one, so that none is deeper than one level below it when its turn comes.

    Raises:
        OSError: a part cannot be deleted, or the folder is a link or none.
    """
    top = os.open(folder, _FOLDER)
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
    """Delete the files of a folder in ``top``, and move its folders to ``top``."""
    opened = os.open(name, _FOLDER, dir_fd=top)
    try:
        for inner in _delete_files(opened):
            os.rename(inner, next(names), src_dir_fd=opened, dst_dir_fd=top)
    finally:
        os.close(opened)


def _delete_files(folder: int) -> list[str]:
    """Delete what is no folder, links too; return the names of the folders."""
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
"""Seconds for which an unreachable blob, or an untouched partial write, may still belong to an export under way."""

_HOLLOW_BYTES = 1 << 30
_BLOCK = 512  # bytes, of ``st_blocks``


def sweep(
    folder: Path, *, keep_since: float | None = None, dropped: frozenset[str] = frozenset(), dry_run: bool = False
) -> Swept:
    """Delete the blobs that index.json does not lead to, and the partial writes of exports that died.

    Fails closed: where any root, manifest or media type is not understood, or a name under ``blobs/`` is no blob,
    nothing is deleted and ``obstacles`` says why. Call it while holding the folder exclusively.

    Plain Buildx holds no lock of ours while it exports: it writes blobs first and takes ``index.json.lock`` only
    to record them. So blobs younger than ``keep_since`` stay, the deletion happens under ``index.json.lock``, and
    not at all if the index changed since it was read. What remains: a plain export that had found an *old*
    unreachable blob present and records it only after the sweep; the next verification then finds it missing.

    Args:
        folder: the layout folder.
        keep_since: seconds since the epoch. Unreachable blobs modified later stay. Give the moment at which the
            build took its lock: its own blobs are reachable by then, so that younger ones are another process'.
            By default ten minutes ago. Partial writes stay for ten minutes in any case.
        dropped: the digests of tags that were just dropped: no export is about to record these, however young.
        dry_run: only tell what would go; nothing is written, no lock is taken.
    """
    limit = time.time() - GRACE_SECONDS if keep_since is None else keep_since
    try:
        with open_store(folder) as store:
            graph = walk(store)
            obstacles = sweep_obstacles(store, graph)
            if obstacles:
                return Swept(dry_run=dry_run, obstacles=obstacles)
            garbage = select_garbage(store, reachable(graph), limit, dropped)
            return garbage.as_swept(dry_run=True) if dry_run else _delete(store, graph, garbage)
    except MalformedError as error:
        return Swept(dry_run=dry_run, obstacles=(error.at(str(folder)),))


def has_stale_writes(folder: Path) -> bool:
    """Tell whether there are partial writes that :func:`delete_stale_writes` would delete."""
    try:
        with open_store(folder) as store:
            return any(_stale_ingests(store, time.time() - GRACE_SECONDS))
    except (MalformedError, OSError):
        return False


def delete_stale_writes(folder: Path) -> None:
    """Delete the partial writes of exports that died. Call it while holding the folder exclusively.

    An export reads the partial write of each of its blobs before it goes on with it, fails over wrong content, and
    leaves it as it was.
    """
    with contextlib.suppress(MalformedError, OSError), open_store(folder) as store:
        for name, _ in [*_stale_ingests(store, time.time() - GRACE_SECONDS)]:
            _delete_ingest(store, name)


def reachable(graph: Graph) -> frozenset[str]:
    """Every digest that something refers to."""
    return frozenset(descriptor.digest for descriptor in graph.links)


def sweep_obstacles(store: Store, graph: Graph) -> tuple[Finding, ...]:
    """Why nothing may be deleted from this folder."""
    return (*_layout_obstacle(store, graph), *store.foreign, *graph.obstacles)


def _layout_obstacle(store: Store, graph: Graph) -> Iterator[Finding]:
    """Yield a folder without ``oci-layout`` is no layout, and one without an index and blobs is none yet."""
    fault = store.layout_fault()
    if fault is not None:
        indexed = all(found.kind is not Kind.ABSENT for found in graph.obstacles)
        empty = fault.kind is Kind.MISSING and not indexed and not store.files
        kind = Kind.ABSENT if empty else Kind.LAYOUT
        yield fault.at(LAYOUT, kind=kind)


@dataclass(frozen=True, kw_only=True)
class Garbage:
    """What a sweep deletes: blobs by name, partial writes by name with their bytes; and what it keeps."""

    blobs: tuple[tuple[str, BlobFile], ...]
    ingests: tuple[tuple[str, int], ...]
    kept: tuple[BlobFile, ...]

    def as_swept(self, *, dry_run: bool = False) -> Swept:
        """Give the same as a result."""
        return Swept(
            blobs=tuple("sha256:" + name for name, _ in self.blobs),
            blob_bytes=sum(file.size for _, file in self.blobs),
            ingests=len(self.ingests),
            ingest_bytes=sum(size for _, size in self.ingests),
            kept_blobs=len(self.kept),
            kept_bytes=sum(file.size for file in self.kept),
            dry_run=dry_run,
        )


def select_garbage(store: Store, live: frozenset[str], limit: float, dropped: frozenset[str] = frozenset()) -> Garbage:
    """Choose what goes when ``live`` stays, and what is younger than ``limit`` (seconds since the epoch).

    What belongs to tags that are ``dropped`` goes at any age.
    """
    dead = [(name, file) for name, file in store.files.items() if "sha256:" + name not in live]
    going = [(name, file) for name, file in dead if file.modified < limit or "sha256:" + name in dropped]
    gone = {name for name, _ in going}
    return Garbage(
        blobs=tuple(going),
        ingests=tuple(_stale_ingests(store, time.time() - GRACE_SECONDS)),
        kept=tuple(file for name, file in dead if name not in gone),
    )


def _delete(store: Store, graph: Graph, garbage: Garbage) -> Swept:
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
        obstacles = (Finding(kind=Kind.UNREADABLE, blob=str(store.path), referrer="", problem=problem),)
    done = replace(garbage, blobs=tuple(blobs), ingests=tuple(ingests))
    return replace(done.as_swept(), obstacles=obstacles)


def _delete_blob(store: Store, name: str, seen: BlobFile) -> bool:
    """Delete a blob unless it was written again since it was listed."""
    try:
        now = os.stat(name, dir_fd=store.blobs, follow_symlinks=False)
        if not stat.S_ISREG(now.st_mode) or now.st_mtime != seen.modified:
            return False
        os.unlink(name, dir_fd=store.blobs)
    except FileNotFoundError:
        return False
    return True


def _stale_ingests(store: Store, limit: float) -> Iterator[tuple[str, int]]:
    """Find the partial writes that no export is at: folders of ordinary files (containerd, content/local).

    They are untouched since ``limit``, or from a future in which they could stay for ever, or no export made them.
    """
    latest = time.time() + GRACE_SECONDS
    try:
        parent = os.open(INGEST, _FOLDER, dir_fd=store.root)
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
    """Tell whether no export made a file: it has another name elsewhere, or is hardly more than a hole.

    An export would write to the other name's file, too, and read all of the hole.
    """
    return file.st_nlink > 1 or (file.st_size > _HOLLOW_BYTES and file.st_blocks * _BLOCK < file.st_size // 10)


def _ingest_files(parent: int, name: str) -> list[os.stat_result]:
    """Return the folder itself, then its files; nothing if it is no folder or holds anything but ordinary files."""
    try:
        folder = os.open(name, _FOLDER, dir_fd=parent)
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
    parent = os.open(INGEST, _FOLDER, dir_fd=store.root)
    try:
        folder = os.open(name, _FOLDER, dir_fd=parent)
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
