"""Recover from failed exports and pushes: retry a write after the steps; leave out an export that cannot start."""

from __future__ import annotations

from buildx_cache.buildkit.causes import Kind
from buildx_cache.buildkit.classify import Problem, classify
from buildx_cache.buildkit.error_texts import Operation
from buildx_cache.buildkit.failure import failure
from buildx_cache.buildkit.trace import BuildTrace
from buildx_cache.caches.vertices import refused_exports
from buildx_cache.errors import CacheError
from buildx_cache.plan import BuildInvocation
from buildx_cache.run.cache_entries import STRICT_HINT, Caches
from buildx_cache.run.recovery import Attempt, Strategy
from buildx_cache.run.results import Verdict, failed_export
from buildx_cache.run.retry import Fault, Retrying, fault


class FailedExport(Strategy):
    """Build without the cache exports, or the local imports, that fail the whole build."""

    def __init__(self, caches: Caches) -> None:
        self._caches = caches

    def recover(self, attempt: Attempt) -> BuildInvocation | None:
        """Leave out the export or import that the build's error names; a vertex' error is not handled here."""
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
        if self._caches.is_strict:
            raise CacheError(f"the cache could not be written: {error}", code="cache-failed", hint=STRICT_HINT)
        failed = refused or [entry for entry in local if entry.is_named_by(error)] or local
        self._caches.exports |= {entry: failed_export(entry, problem) for entry in failed}
        return build.without(exports=failed)


class WriteRetry(Strategy):
    """Retry a pull, push or export after a temporary fault; the builder runs no completed step again."""

    keeps_steps = True

    def __init__(self, planned: BuildInvocation, retrying: Retrying) -> None:
        self._planned = planned
        self._retrying = retrying

    def recover(self, attempt: Attempt) -> BuildInvocation | None:
        """Build again after a pause; the completed steps come from the builder's cache."""
        found = _fault(attempt.trace)
        if found is None or not self._retrying.pause(found):
            return None
        return attempt.build.reusing(self._planned)


def _fault(trace: BuildTrace) -> Fault | None:
    failed = failure(trace)
    return fault(failed.work, failed.problem) if failed.work else None
