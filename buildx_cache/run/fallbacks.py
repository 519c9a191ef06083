"""Leave out a fallback cache that cannot add a step to those before it.

Where two imported caches hold the same step, BuildKit follows only one of them from there on, and which one is chance:
then it runs the next step again, although the other cache holds it (moby/buildkit#6418). ``Query`` of its
``combinedCacheManager`` keeps one key of equal ones. To find that key in the other cache, ``getIDFromDeps`` requires
that every alternative of an input leads to it, and of a ``COPY`` from the build context one is new in each build.

A build writes all its steps to its own cache, those that it got from a fallback included. So a fallback with no step
newer than the newest one in the build's own cache has little to add: a step that ran for the fallback before the
build's last run, and that the build takes over (by a merge, say) only later. That step runs once more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from buildx_cache.caches.entry import CacheEntry


def superseded(group: Sequence[CacheEntry], newest: Mapping[CacheEntry, float]) -> Mapping[CacheEntry, CacheEntry]:
    """Return the imports to leave out, each with the import before it that has the newest step.

    Args:
        group: imports that may hold the same steps, in the order of preference.
        newest: the time of the newest step of each import where it is known; an import without it is kept.
    """
    found: dict[CacheEntry, CacheEntry] = {}
    best: CacheEntry | None = None
    for entry in group:
        if entry not in newest:
            continue
        if best is not None and newest[entry] <= newest[best]:
            found[entry] = best
        else:
            best = entry
    return found
