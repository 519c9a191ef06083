"""Note what became of a build's cache exports, and write again those that can still be written."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import replace

from buildx_cache.buildkit.classify import Problem, classify
from buildx_cache.buildkit.trace import BuildTrace
from buildx_cache.caches.entry import CacheEntry
from buildx_cache.errors import CacheError
from buildx_cache.layout import BuildNote, build_note
from buildx_cache.plan import BuildInvocation, BuildPlan
from buildx_cache.report import ExportStatus
from buildx_cache.run.cache_entries import Caches, corrupt, troubles
from buildx_cache.run.interfaces import NO_REASON
from buildx_cache.run.recovery import Attempt
from buildx_cache.run.recovery.linked_export import LinkedExports
from buildx_cache.run.results import ExportResult, export_result, failed_export, skipped_export
from buildx_cache.run.retry import Fault, Retrying, fault

# Seconds after which people should know what an import of a few small files costs them.
_SLOW_IMPORT = 5.0


class CacheExports:
    """Notes what became of exports. ``write`` runs a build that does nothing but write caches."""

    def __init__(
        self,
        plan: BuildPlan,
        caches: Caches,
        linked: LinkedExports,
        write: Callable[[BuildInvocation], Attempt],
        retrying: Retrying,
        commit: str = "",
    ) -> None:
        self._plan = plan
        self._caches = caches
        self._linked = linked
        self._write = write
        self._retrying = retrying
        self._results = caches.exports
        self._read_only: set[str] = set()  # repositories where writing was denied
        self._commit = commit

    def take(self, attempt: Attempt) -> BuildInvocation:
        """Note what became of a build's exports; those that a damaged import kept from being written are written again.

        Return the build as it would go on.

        Raises:
            CacheError: one failed, and the call is strict.
        """
        build, trace = attempt.build.reusing(self._plan.target.build), attempt.trace
        for warning in _slow_imports(trace):
            self._caches.tell.warn(warning)
        self._results |= {entry: self._exported(entry, attempt, build.exports) for entry in build.exports}
        unsent = self._write_unsent(build)
        errors = troubles(trace, but_of={name for entry in unsent for name in entry.backend.exporters})
        if at_fault := self._caches.at_fault(build, trace, errors) or self._dropped(build):
            build = self._caches.leave_out(build, at_fault, "what it lacks is built again")
            self._write_lost(build)
            build = build.reusing(self._plan.target.build)
        self._retry(build)
        for entry in self._results:
            self._tell_failed(entry)
        return build

    def _write_unsent(self, build: BuildInvocation) -> Collection[CacheEntry]:
        """Write as planned what could not be sent to this process; return those exports."""
        failed = self._caches.finish_sending()
        self._write_only(build, failed)
        return failed

    def _dropped(self, build: BuildInvocation) -> dict[CacheEntry, Problem]:
        """Return the local imports with changed layers that the build had no need of, each with what is wrong.

        BuildKit notices such a layer only as it exports, and then leaves out what leads to it without a word: the next
        build would run those steps again.
        """
        is_written = any(result.status == "written" for result in self._results.values())
        if self._plan.target.cache_build is None or not is_written:
            return {}
        local = [entry for entry in build.imports if entry.folder]
        return {entry: corrupt(found) for entry in local if (found := self._caches.folders.dropped(entry))}

    def _write_lost(self, build: BuildInvocation) -> None:
        """Write what a damaged import kept from being written, or left incomplete."""
        is_lost = self._caches.folders.is_lost
        lost = [entry for entry in build.exports if self._results[entry].status == "failed" or is_lost(entry)]
        if self._plan.target.cache_build and lost:
            self._caches.note_retry("export", "a damaged import kept it from being written")
            self._write_only(build, lost)

    def _write_only(self, build: BuildInvocation, entries: Collection[CacheEntry]) -> None:
        """Write these caches by a build that does nothing else."""
        if self._plan.target.cache_build and entries:
            only = replace(
                self._plan.target.cache_build,
                imports=build.imports,
                exports=tuple(entries),
                no_cache=build.no_cache,
                no_cache_filter=build.no_cache_filter,
            )
            self._note(entries, self._write(only))

    def _note(self, entries: Collection[CacheEntry], attempt: Attempt) -> None:
        self._results |= {entry: self._exported(entry, attempt, entries) for entry in entries}

    def _retry(self, build: BuildInvocation) -> None:
        """Write caches again whose registry had a fault that may have passed: the builder has all that is in them."""

        def failed() -> list[CacheEntry]:
            return [entry for entry in build.exports if self._fault(entry)]

        def again() -> None:
            self._write_only(build, failed())

        self._retrying.tried(None, again, lambda _: next(map(self._fault, failed()), None))

    def _fault(self, entry: CacheEntry) -> Fault | None:
        problem = self._results[entry].problem
        return fault("export", problem) if problem and not entry.folder else None

    def write_nodes(self, build: BuildInvocation) -> None:
        """Write the caches of a builder with several nodes, one after another.

        Raises:
            CacheError: one failed, and the call is strict.
        """
        for (_, entry), planned in zip(self._plan.cache.node_exports, self._plan.target.node_exports, strict=True):
            if entry in self._results:  # its folder is avoided
                continue
            if entry.store in self._read_only:
                self._results[entry] = skipped_export(entry, "writing there was denied before")
                continue
            gone = [each for each in planned.imports if each not in build.imports]
            self._write_node(entry, planned.without(imports=gone))
            self._tell_failed(entry)

    def _write_node(self, entry: CacheEntry, build: BuildInvocation) -> None:
        def write() -> None:
            self._note([entry], self._write(build))

        write()
        self._retrying.tried(None, write, lambda _: self._fault(entry))

    def _exported(self, entry: CacheEntry, attempt: Attempt, written: Collection[CacheEntry]) -> ExportResult:
        trace, folders = attempt.trace, self._caches.folders
        result = export_result(entry, trace, tuple(written))
        if attempt.code != 0 and result.problem is None:
            return failed_export(entry, classify(trace.error or NO_REASON))
        if problem := self._linked.problems.get(entry):
            return failed_export(entry, problem)
        if not entry.folder or result.status != "written":
            return result
        manifests = [digest for transfer in trace.transfers for digest in transfer.manifests]
        if problem := self._linked.take_over(entry, manifests):
            return failed_export(entry, problem)
        folders.annotate(entry, self._note_on(trace))
        status: ExportStatus = "unchanged" if folders.unchanged(entry) else "written"
        return replace(result, status=status, bytes=folders.added(entry))

    def _note_on(self, trace: BuildTrace) -> BuildNote:
        """Return what a folder tells people of the build that wrote it."""
        places = [" ".join(filter(None, (step.platform, step.stage))) for step in trace.steps]
        named = sorted(zip(places, trace.steps, strict=True), key=lambda pair: (places.index(pair[0]), pair[1].number))
        steps = (f"{place}: {step.name}" if place else step.name for place, step in named)
        return build_note(steps, scope=self._plan.cache.scope, commit=self._commit)

    def _tell_failed(self, entry: CacheEntry) -> None:
        """Say that an export failed or was left out, and what to do; after a denied one, its store is only read."""
        result, left_out = self._results[entry], entry.backend.left_out
        is_left_out = result.status == "skipped" and bool(left_out) and result.reason.endswith(left_out)
        if result.problem is None and not is_left_out:
            return
        hint = "hand them to this step" if is_left_out else _next(result.problem)
        message = f"the cache could not be written to {entry.place}: {result.detail}"
        if self._caches.is_strict:
            raise CacheError(message, code="cache-failed", hint=hint)
        if result.problem and result.problem.is_refused:
            self._read_only.add(entry.store)
        self._caches.tell.warn(f"{message}; {hint}" if hint else message)


def _next(problem: Problem | None) -> str:
    """Say what to do about a failed export; a refused one fails the next time too."""
    if problem is None or problem.is_refused:
        return problem.advice if problem else ""
    return problem.advice or "the next build tries again"


def _slow_imports(trace: BuildTrace) -> Iterator[str]:
    for transfer in trace.transfers:
        if transfer.kind == "cache-import" and transfer.seconds > _SLOW_IMPORT:
            yield f"{transfer.name} took {transfer.seconds:.1f}s"
