"""Run ``cache inspect``, ``verify`` and ``prune`` for a folder, and ``ls`` and ``clear`` for those of the user."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from buildx_cache import layout
from buildx_cache.caches.backend import closest
from buildx_cache.cli.cache_arguments import Folder, FolderLimits, parse_target
from buildx_cache.cli.displays import CommandOutput
from buildx_cache.display.cache_tables import FolderTables, OwnCache, own_caches_table
from buildx_cache.engine.committed import refuse_committed_caches
from buildx_cache.engine.own_files import cache_home
from buildx_cache.errors import BuildxCacheError, CacheError, ExhaustedError, UsageError
from buildx_cache.formatting import counted, size
from buildx_cache.layout import EvictionResult, Finding, FindingKind, Reachability, Sharing
from buildx_cache.layout.eviction import prune

LOCK_SECONDS = 60.0
"""Seconds to wait for builds in the folder."""

# Kinds of findings that stop a prune, but are no damage.
_NOT_DAMAGE = frozenset({FindingKind.BUSY, FindingKind.UNREADABLE})

_DAMAGED = "the next build with this --cache-dir sets the damage aside and keeps what is sound"
# A build compares sizes only: changed content shows when BuildKit reads the layer.
_CHANGED = "a build sets it aside when it meets it; delete the folder to be rid of it now"


def inspect_folder(folder: Folder, output: CommandOutput, layers: int) -> None:
    """Show the content of the folder's caches."""
    tables, documents = FolderTables(output.console, now=output.now), []
    for path in folder.caches:
        found, findings = layout.reach(path), layout.verify(path)
        documents.append({key: value for key, value in layout.as_json(found, findings).items() if key != "schema"})
        tables.inspected(found, findings, layers=layers)
    output.document(folder=str(folder.path), caches=documents)


def verify_folder(folder: Folder, output: CommandOutput, *, deep: bool) -> None:
    """Look for damage in the folder's caches.

    Raises:
        CacheError: a cache is damaged; the damage has been shown.
        ExhaustedError: a prune locks the folder for too long.
    """
    tables, documents = FolderTables(output.console, now=output.now), []
    damage: list[Finding] = []
    for path in folder.caches:
        found = layout.reach(path)
        with output.working(f"reading {path}, {size(found.live_bytes)}"), _shared(path):
            findings = (*layout.verify(path, deep=deep), *_lost_index(found))
        sound = not layout.damaged(findings)
        documents.append(
            {"folder": str(path), "sound": sound, "findings": [layout.finding_json(each) for each in findings]}
        )
        tables.verified(found, findings, deep=deep)
        damage += layout.damage_of(findings)
    output.document(folder=str(folder.path), deep=deep, sound=not damage, caches=documents)
    if damage:
        raise CacheError(
            f"the cache in {folder.path} is damaged: {counted(len(damage), 'fault')}",
            code="cache-damaged",
            hint=_CHANGED if all(finding.kind is FindingKind.CONTENT for finding in damage) else _DAMAGED,
        )


def prune_folder(folder: Folder, output: CommandOutput, limits: FolderLimits, *, dry_run: bool) -> None:
    """Delete tags beyond the limits and unreferenced blobs; several caches share the size equally.

    Raises:
        CacheError: damage in the folder stops the prune.
        ExhaustedError: builds lock the folder for too long, or it is not writable.
    """
    share = None if limits.max_size is None else limits.max_size // len(folder.caches)
    tables, documents, errors = FolderTables(output.console, now=output.now), [], []
    for path in folder.caches:
        with (
            output.working(f"waiting for the builds in {path}"),
            nullcontext() if dry_run else layout.lock(path, timeout=LOCK_SECONDS),
        ):
            if not dry_run:
                layout.delete_linked_folders(path)
            done = prune(path, max_size=share, since=limits.since, dry_run=dry_run)
        documents.append(_pruned(path, done))
        tables.pruned(path, done)
        errors += [_stopped(path, done.swept.obstacles[0], done)] if done.swept.obstacles else []
        if done.over and share is not None:
            output.warn(
                f"{path} holds {size(done.live_bytes)}, more than {size(share)}: its newest tag takes that alone"
            )
    output.document(folder=str(folder.path), dry_run=dry_run, caches=documents)
    if errors:
        raise max(errors, key=lambda error: error.exit_code)


def _lost_index(found: Reachability) -> Iterator[Finding]:
    """Yield a finding where the index names no cache though there are blobs: a build has nothing to import."""
    if found.dead_blobs and not found.tags and all(obstacle.kind is FindingKind.ABSENT for obstacle in found.obstacles):
        problem = f"names no cache, though there are {counted(found.dead_blobs, 'blob')}"
        yield Finding(kind=FindingKind.INDEX, blob="index.json", referrer="", problem=problem)


def _shared(path: Path) -> AbstractContextManager[object]:
    """Lock a folder against pruning; never lock one that another user may change."""
    if layout.exposure(path):
        return nullcontext()
    return layout.lock(path, timeout=LOCK_SECONDS, sharing=Sharing.SHARED)


def _stopped(path: Path, obstacle: Finding, done: EvictionResult) -> BuildxCacheError:
    what = "not everything" if done.dropped or done.swept.blobs else "nothing"
    kind = ExhaustedError if obstacle.kind in _NOT_DAMAGE else CacheError
    return kind(f"{what} was deleted from {path}: {obstacle}", hint=obstacle.remedy)


def _pruned(path: Path, done: EvictionResult) -> dict[str, object]:
    swept = done.swept
    return {
        "folder": str(path),
        "tags": list(done.dropped),
        "blobs": list(swept.blobs),
        "blob_bytes": swept.blob_bytes,
        "partial_writes": swept.ingests,
        "partial_bytes": swept.ingest_bytes,
        "kept_blobs": swept.kept_blobs,
        "kept_bytes": swept.kept_bytes,
        "live_bytes": done.live_bytes,
        "over": done.over,
        "obstacles": [layout.finding_json(obstacle) for obstacle in swept.obstacles],
    }


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
