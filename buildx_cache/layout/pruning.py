"""Pruning by hand: tags that are too old or take too much go, then what nothing refers to."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from buildx_cache.layout.eviction import drop, oldest
from buildx_cache.layout.model import Bounded, Reach, Tag
from buildx_cache.layout.store import Store


def prune(folder: Path, *, max_size: int | None = None, since: float | None = None, dry_run: bool = False) -> Bounded:
    """Drop every tag older than ``since`` (:attr:`Tag.age_key`), then the oldest until all fits ``max_size``; sweep.

    Age may take any tag, also the last; size leaves the newest one, and ``over`` tells where that alone is too large.
    index.json is replaced in one step before the first blob is deleted, and keeps its bytes where no tag goes.
    Blobs younger than ten minutes stay. Call it while holding the folder exclusively, or with ``dry_run``.

    Args:
        folder: the layout folder.
        max_size: bytes that the live blobs may take; None for no bound.
        since: seconds since the epoch; None for no limit to age. A tag of unknown age counts as the oldest.
        dry_run: only tell what would go; nothing is written, no lock is taken.
    """

    def choose(store: Store, found: Reach) -> Sequence[Tag]:
        by_age = sorted(found.tags, key=lambda tag: tag.age_key)
        expired = tuple(tag for tag in by_age if since is not None and tag.age_key[0] < since)
        kept = by_age[len(expired) :]
        if max_size is None or not kept:
            return expired
        return (*expired, *oldest(store, kept, max_size=max_size, keep_tag=kept[-1].name))

    return drop(folder, choose, max_size=max_size, dry_run=dry_run)
