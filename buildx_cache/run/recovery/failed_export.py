"""Leave out an export that BuildKit cannot begin, and a folder that Buildx itself cannot read or write.

The former fails before anything is done, the latter after all else is.
"""

from __future__ import annotations

from buildx_cache.buildkit import Kind, Operation, Problem, classify
from buildx_cache.caches import refused_exports
from buildx_cache.errors import CacheError
from buildx_cache.plan import BuildInvocation
from buildx_cache.run.caches import STRICT_HINT, Caches
from buildx_cache.run.recovery import Attempt, Strategy
from buildx_cache.run.results import Verdict, failed_export


class FailedExport(Strategy):
    """Build without the exports, or the folder's import, that fail the whole build."""

    def __init__(self, caches: Caches) -> None:
        self._caches = caches
        self._has_waited = False

    def recover(self, attempt: Attempt) -> BuildInvocation | None:
        """Leave out what the build's error, which is no vertex's, names."""
        error = attempt.trace.error
        if error in [each for _, each in attempt.trace.errors]:
            return None
        problem = classify(error)
        leave_out = self._without_import if problem.kind is Kind.NO_CACHE_TAG else self._without_export
        if build := leave_out(attempt.build, problem, error):
            self._caches.note_retry(attempt.phase, error)
        return build

    def _without_import(self, build: BuildInvocation, _: Problem, error: str) -> BuildInvocation | None:
        gone = [entry for entry in build.imports if entry.folder]
        self._caches.verdicts |= {entry: Verdict(entry=entry, status="absent", detail=error) for entry in gone}
        return build.without(imports=gone) if gone else None

    def _without_export(self, build: BuildInvocation, problem: Problem, error: str) -> BuildInvocation | None:
        refused = refused_exports(error, build.exports)
        is_folders = problem.operation is Operation.USE_FOLDER
        local = [entry for entry in build.exports if entry.folder] if is_folders else []
        if not refused and not local:
            return None
        if problem.kind is Kind.INDEX_LOCKED and not self._has_waited:
            # Another build writes the index, and is done with that before this one comes to it again.
            self._has_waited = True
            return build
        if self._caches.is_strict:
            raise CacheError(f"the cache could not be written: {error}", code="cache-failed", hint=STRICT_HINT)
        failed = refused or [entry for entry in local if entry.is_named_by(error)] or local
        self._caches.exports |= {entry: failed_export(entry, problem) for entry in failed}
        return build.without(exports=failed)
