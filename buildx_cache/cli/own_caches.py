"""Run ``cache ls`` and ``cache clear``, for the caches in the user's cache directory, their default place."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from buildx_cache import layout
from buildx_cache.caches.backend import closest
from buildx_cache.cli.cache_arguments import Folder, FolderLimits, parse_target
from buildx_cache.cli.cache_folders import prune_folder
from buildx_cache.cli.displays import CommandOutput
from buildx_cache.display.cache_tables import OwnCache, own_caches_table
from buildx_cache.engine.committed import refuse_committed_caches
from buildx_cache.engine.docker import cache_home
from buildx_cache.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class _Found:
    name: str
    folder: Folder


def list_caches(env: Mapping[str, str], *, as_json: bool) -> None:
    """Show each cache: its project, its size, its tags, and the time of its newest step.

    Raises:
        UsageError: the repository chooses the cache directory.
    """
    refuse_committed_caches(env)
    output = CommandOutput(env, as_json=as_json)
    rows = [_row(found) for found in _own(env)]
    own_caches_table(output.console, str(cache_home(env)), rows, now=output.now)
    output.document(folder=str(cache_home(env)), caches=[row.as_json() for row in rows])


def clear_caches(env: Mapping[str, str], names: Sequence[str], *, everything: bool, dry_run: bool) -> None:
    """Empty the named caches, or all, after waiting for builds that use them.

    Raises:
        UsageError: the call names no cache, or an unknown cache; or the repository chooses the cache directory.
        BuildxCacheError: not everything could be deleted.
    """
    refuse_committed_caches(env)
    output = CommandOutput(env, as_json=False)
    found = {each.name: each.folder for each in _own(env)}
    if bool(names) == everything:
        raise UsageError(
            "give the names of caches, or --all", code="cache-name-missing", hint="`buildx-cache cache ls` lists them"
        )
    for name in names:
        if name not in found:
            raise UsageError(f"no cache is named {name!r}", code="cache-absent", hint=closest(name, list(found)))
    for name in found if everything else dict.fromkeys(names):
        prune_folder(found[name], output, FolderLimits(since=math.inf), dry_run=dry_run)


def cache_names(env: Mapping[str, str]) -> tuple[str, ...]:
    """Return the names of the caches; none where the user has no home folder, or the repository chooses it."""
    try:
        refuse_committed_caches(env)
        return tuple(found.name for found in _own(env))
    except UsageError:
        return ()


def _own(env: Mapping[str, str]) -> Iterator[_Found]:
    """Yield the caches in the user's cache directory by name, without links and folders that others may change."""
    try:
        folders = sorted(each for each in cache_home(env).iterdir() if each.is_dir() and not each.is_symlink())
    except OSError:
        return
    for path in folders:
        if layout.is_aside(path) or layout.exposure(path):
            continue
        try:
            folder = parse_target(str(path))
        except UsageError:  # the folder holds no cache
            continue
        if isinstance(folder, Folder):
            yield _Found(name=path.name, folder=folder)


def _row(found: _Found) -> OwnCache:
    reached = [layout.reach(path) for path in found.folder.caches]
    made = [tag.created for each in reached for tag in each.tags if tag.created is not None]
    return OwnCache(
        name=found.name,
        folder=Path(found.folder.path),
        size=sum(each.live_bytes + each.dead_bytes for each in reached),
        tags=sum(len(each.tags) for each in reached),
        created=max(made, default=None),
    )
