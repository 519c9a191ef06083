"""Evict tags to keep a folder small, after a build or by hand, then sweep unreferenced blobs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from functools import reduce
from operator import or_
from pathlib import Path

from buildx_cache.layout.gc import GRACE_SECONDS, select_garbage, sweep, sweep_obstacles
from buildx_cache.layout.graph import walk
from buildx_cache.layout.index import index_entries, replace_entries
from buildx_cache.layout.model import BlobSet, EvictionResult, Reachability, SweepResult, Tag, Weights
from buildx_cache.layout.parse import MalformedError
from buildx_cache.layout.reachability import reach_of, size_on_disk
from buildx_cache.layout.store import INDEX, Store, open_store

Choice = Callable[[Store, Reachability], Sequence[Tag]]
"""Choose the tags of an open folder to evict, in the order in which they are reported."""


def bound(
    folder: Path, *, max_size: int, keep_tag: str = "latest", keep_since: float | None = None, dry_run: bool = False
) -> EvictionResult:
    """Evict the oldest tags until the live blobs fit into ``max_size`` bytes, then sweep.

    A tag is as old as its newest step (:attr:`Tag.age_key`); neither file times nor records say when a cache was last
    *used*. ``keep_tag`` always stays, even if it alone is too large: ``over`` says so. index.json is replaced
    atomically before the first blob is deleted, and keeps its bytes if no tag is evicted.
    Hold the folder exclusively. ``keep_since`` and ``dry_run`` are those of :func:`sweep`.
    """

    def choose(store: Store, found: Reachability) -> Sequence[Tag]:
        return oldest(store, found.tags, max_size=max_size, keep_tag=keep_tag)

    return drop(folder, choose, max_size=max_size, keep_since=keep_since, dry_run=dry_run)


def drop(
    folder: Path, choose: Choice, *, max_size: int | None, keep_since: float | None = None, dry_run: bool = False
) -> EvictionResult:
    """Evict the tags that ``choose`` picks, then sweep; ``over`` says whether more than ``max_size`` bytes remain."""
    found: Reachability | None = None
    try:
        with open_store(folder) as store:
            graph = walk(store)
            found = reach_of(store, graph)
            obstacles = sweep_obstacles(store, graph)
            if obstacles:
                return _bounded(found.live_bytes, max_size, SweepResult(dry_run=dry_run, obstacles=obstacles))
            evicted = choose(store, found)
            gone = frozenset(tag.position for tag in evicted)
            live = blobs_of([tag for tag in found.tags if tag.position not in gone])
            live_bytes = size_on_disk(store, live)
            if gone and not dry_run:
                entries = [entry for place, entry in enumerate(index_entries(graph.index)) if place not in gone]
                replace_entries(store, graph.index, entries)
            dropped = blobs_of(evicted)
            if dry_run:
                limit = time.time() - GRACE_SECONDS if keep_since is None else keep_since
                swept = select_garbage(store, live, limit, dropped).as_swept(dry_run=True)
            else:
                swept = sweep(folder, keep_since=keep_since, dropped=dropped)
    except MalformedError as error:
        live_bytes = found.live_bytes if found else 0
        return _bounded(live_bytes, max_size, SweepResult(dry_run=dry_run, obstacles=(error.at(INDEX),)))
    return _bounded(live_bytes, max_size, swept, tuple(tag.name for tag in evicted))


def _bounded(
    live_bytes: int, max_size: int | None, swept: SweepResult, dropped: tuple[str, ...] = ()
) -> EvictionResult:
    over = max_size is not None and live_bytes > max_size
    return EvictionResult(dropped=dropped, live_bytes=live_bytes, over=over, swept=swept)


def oldest(store: Store, tags: Sequence[Tag], *, max_size: int, keep_tag: str) -> tuple[Tag, ...]:
    """Return the ``tags`` to evict, oldest first, so that the others take at most ``max_size`` bytes."""
    if not tags:
        return ()
    sizes = _sizes(store, tags)
    droppable = sorted((tag for tag in tags if tag.name != keep_tag), key=lambda tag: tag.age_key)
    left = _union(tag for tag in tags if tag.name == keep_tag)
    stay = len(droppable)
    for tag in reversed(droppable):
        left |= tag.closure.bits
        if sizes.of(left) > max_size:
            break
        stay -= 1
    return tuple(droppable[:stay])


def _sizes(store: Store, tags: Sequence[Tag]) -> Weights:
    every = BlobSet(numbering=tags[0].closure.numbering, bits=_union(tags))
    return Weights(every.numbering, {name: file.size for name in every if (file := store.file(name))})


def _union(tags: Iterable[Tag]) -> int:
    return reduce(or_, (tag.closure.bits for tag in tags), 0)


def blobs_of(tags: Sequence[Tag]) -> frozenset[str]:
    """Return the digests of all blobs below the tags, which are of one folder."""
    return frozenset(BlobSet(numbering=tags[0].closure.numbering, bits=_union(tags))) if tags else frozenset()


def prune(
    folder: Path, *, max_size: int | None = None, since: float | None = None, dry_run: bool = False
) -> EvictionResult:
    """Evict every tag older than ``since`` (:attr:`Tag.age_key`), then the oldest until all fits ``max_size``; sweep.

    The age limit may evict all tags. The size limit keeps the newest tag; ``over`` says that it alone is too large.
    index.json is replaced atomically before the first blob is deleted, and keeps its bytes if no tag is evicted.
    Other unreachable blobs younger than ten minutes stay. Hold the folder exclusively, unless ``dry_run``.

    Args:
        folder: the layout folder.
        max_size: bytes that the live blobs may take; None for no limit.
        since: seconds since the epoch; None for no age limit. A tag of unknown age counts as the oldest.
        dry_run: report what would be deleted; write nothing and take no lock.
    """

    def choose(store: Store, found: Reachability) -> Sequence[Tag]:
        by_age = sorted(found.tags, key=lambda tag: tag.age_key)
        expired = tuple(tag for tag in by_age if since is not None and tag.age_key[0] < since)
        kept = by_age[len(expired) :]
        if max_size is None or not kept:
            return expired
        return (*expired, *oldest(store, kept, max_size=max_size, keep_tag=kept[-1].name))

    return drop(folder, choose, max_size=max_size, dry_run=dry_run)
