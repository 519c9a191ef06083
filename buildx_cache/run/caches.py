"""What becomes of a call's caches while it runs: what is left out, what is written, what is said of it.

A cache that is damaged, denied or out of reach fails no call that is not strict. BuildKit would fail the build over a
layer that it finds damaged; the build is then run once more without that import.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from buildx_cache.buildkit import BuildTrace, Event, Kind, Operation, Problem, classify
from buildx_cache.buildkit.vertex_names import is_image_metadata, transfer_kind
from buildx_cache.caches import CacheEntry, importing, refused_exports
from buildx_cache.errors import CacheError
from buildx_cache.outcome import (
    ExportResult,
    Known,
    Verdict,
    blamed,
    cache_report,
    export_result,
    failed_export,
    failed_read,
    imported,
    skipped_export,
)
from buildx_cache.plan import BuildInvocation, BuildPlan
from buildx_cache.redaction import redact
from buildx_cache.report import CacheReport, ExportStatus, LocalReport, RetryReport
from buildx_cache.run.folders import Folders
from buildx_cache.run.import_retry import Importing
from buildx_cache.run.interfaces import NO_REASON, Engine, Tell
from buildx_cache.run.lazy import Serving
from buildx_cache.run.retry import Fault, Retrying, fault
from buildx_cache.run.stall import Silence

_STRICT_HINT = "`buildx-cache cache verify` shows more; drop --strict-cache to go on without"
# Seconds after which people should know what an import of a few small files costs them.
_SLOW_IMPORT = 5.0


class Caches:
    """The caches of one call. ``plan`` is what is left of the plan as caches turn out to be damaged or denied."""

    def __init__(
        self,
        plan: BuildPlan,
        tell: Tell,
        engine: Engine,
        export: Callable[[BuildInvocation], tuple[BuildTrace, int]],
        retrying: Retrying,
    ) -> None:
        self.plan = plan
        self.serving = Serving(plan.cache.serving, engine.gateway)
        self.retries: list[RetryReport] = []
        self._asked = plan
        self._warn = tell.warn
        self._export = export
        self._retrying = retrying
        self.silence = Silence()
        self._is_watching = False
        self._importing = Importing([entry for entry in plan.cache.imports if not entry.folder])
        self._folders = Folders(plan, tell)
        self._verdicts: dict[CacheEntry, Verdict] = {}
        self._exports: dict[CacheEntry, ExportResult] = {}
        self._local: LocalReport | None = None
        self._read_only: set[str] = set()  # repositories where writing was denied
        self._has_waited = False

    def close(self) -> None:
        """Serve the local folders no longer, and release them."""
        self.serving.close()
        self._folders.close()

    # --- imports -----------------------------------------------------------------------------------------

    def check(self) -> None:
        """Hold, verify and serve local folders; leave out of the plan what cannot be imported from them.

        Raises:
            ExhaustedError: a folder cannot be made; or another process keeps it, and the call is strict.
            CacheError: one is damaged or another user may change it, and the call is strict.
        """
        verdicts = self._folders.check()
        self._verdicts |= {verdict.entry: verdict for verdict in verdicts}
        self.plan = self.plan.without(imports=[verdict.entry for verdict in verdicts if verdict.status])
        self._leave_out_avoided()
        self.serving.start(self._folders.sources(self.plan.cache.imports))

    @contextmanager
    def watching(self) -> Iterator[None]:
        """While this lasts, a build runs that is begun again where it does not get what it wants of a registry's cache.

        One that only writes caches, or sends an image, is not.
        """
        self._importing.begin()
        self.silence.begin()
        self._is_watching = True
        try:
            yield
        finally:
            self._is_watching = False

    def served(self, planned: BuildInvocation) -> BuildInvocation:
        """A build that imports what is served from there."""
        return self.serving.served(planned)

    def take(self, event: Event) -> Event:
        """An event of it, in the plan's words.

        Raises:
            AbandonedBuildError: it does not get what it wants of a cache, and is better begun again.
        """
        event = self.serving.take(event)
        if self._is_watching:
            self.silence.take(event)
            self._importing.take(event)
        return event

    def wait(self) -> None:
        """Nothing is heard of it.

        Raises:
            AbandonedBuildError: that has lasted too long.
        """
        self.serving.wait()
        if self._is_watching:
            self.silence.wait()

    def leave_out_silent(self) -> None:
        """Go on without the imports of which nothing was heard, and without writing to where they are.

        Raises:
            CacheError: there is one, and the call is strict.
        """
        names, reason = self.silence.imports, self.silence.reason
        silent = list(dict.fromkeys(entry for name in names for entry in importing(name, self.plan.cache.imports)))
        silence = Problem(kind=Kind.UNREACHABLE, words=reason)
        self._leave_out(dict.fromkeys(silent, silence), "building again without it")
        hosts = {entry.host for entry in silent if entry.host}
        unwritten = [entry for entry in self.plan.cache.exports if entry.host in hosts]
        self._exports |= {entry: skipped_export(entry, reason) for entry in unwritten}
        self.plan = self.plan.without(exports=unwritten)

    @property
    def import_fault(self) -> Fault | None:
        """The fault of a registry that a build was abandoned over."""
        return self._importing.fault

    @property
    def folder(self) -> Path | None:
        """A local folder that has a cache for this build."""
        return next(iter(self._folders.sources(self.plan.cache.imports).values()), None)

    def may_retry(self, trace: BuildTrace) -> bool:
        """Whether a build that failed is worth another run: it failed over a cache, and the plan now goes around that.

        Every time the plan or what is served gets shorter, so that this ends. A failure of the Dockerfile's is none of
        a cache's.

        Raises:
            CacheError: it failed over a cache, and the call is strict.
        """
        if self._imports_themselves("build"):
            return True
        if at_fault := self._at_fault(trace, (error for error in _troubles(trace) if error == trace.error)):
            self._leave_out(at_fault, "building again without it")
        elif trace.error in [error for _, error in trace.errors] or not self._goes_around(trace.error):
            return False
        self.retries.append(RetryReport(phase="build", reason=redact(trace.error), count=1))
        return True

    def _goes_around(self, error: str) -> bool:
        """Go on without what BuildKit cannot begin to write, or Buildx itself cannot do with a folder.

        The former fails before anything is done, the latter after all else is.
        """
        problem = classify(error)
        if problem.kind is Kind.NO_CACHE_TAG:
            gone = [entry for entry in self.plan.cache.imports if entry.folder]
            self._verdicts |= {entry: Verdict(entry=entry, status="absent", detail=error) for entry in gone}
            self.plan = self.plan.without(imports=gone)
            return bool(gone)
        refused = refused_exports(error, self.plan.cache.exports)
        is_folders = problem.operation is Operation.USE_FOLDER
        local = [entry for entry in self.plan.cache.exports if entry.folder] if is_folders else []
        if not refused and not local:
            return False
        if problem.kind is Kind.INDEX_LOCKED and not self._has_waited:
            # Another build writes the index, and is done with that before this one comes to it again.
            self._has_waited = True
            return True
        if self.plan.strict_cache:
            raise CacheError(f"the cache could not be written: {redact(error)}", hint=_STRICT_HINT)
        failed = refused or [entry for entry in local if entry.is_named_by(error)] or local
        self._exports |= {entry: failed_export(entry, problem) for entry in failed}
        self.plan = self.plan.without(exports=failed)
        return True

    def _at_fault(self, trace: BuildTrace, errors: Iterable[str]) -> dict[CacheEntry, Problem]:
        """The imports that these errors come from, each with the first of them."""
        imports = imported(self.plan.cache.imports, trace)
        found: dict[CacheEntry, Problem] = {}
        for problem in map(classify, errors):
            for entry in blamed(problem, imports, self._folders.digests):
                found.setdefault(entry, problem)
        return found

    def mend(self) -> None:
        """Go on without the local imports that have changed blobs, and set them aside.

        Raises:
            CacheError: there is one, and the call is strict.
        """
        local = [entry for entry in self.plan.cache.imports if entry.folder]
        self._leave_out({entry: _corrupt(found) for entry in local if (found := self._folders.damage(entry))}, "")

    def _leave_out(self, at_fault: Mapping[CacheEntry, Problem], what_now: str) -> None:
        """Go on without these imports, a damaged folder set aside."""
        left_out = []
        for entry, problem in at_fault.items():
            error = " ".join(problem.words.split())
            damage = self._folders.damage(entry)
            if self.serving.is_on(entry) and not damage:
                self._import_itself(entry, error)
                continue
            if self.plan.strict_cache:
                raise CacheError(f"the cache {redact(entry.place)} fails: {redact(error)}", hint=_STRICT_HINT)
            came_of_it = self._folders.mend(entry, damage) if damage else ""
            left_out.append(entry)
            status = "damaged" if damage else failed_read(problem)
            self._verdicts[entry] = Verdict(entry=entry, status=status, detail=damage or error)
            said = (f"the cache {entry.place} is {status}: {damage or error}", came_of_it, what_now)
            self._warn("; ".join(part for part in said if part))
        self.plan = self.plan.without(imports=left_out)
        self._leave_out_avoided()

    def _leave_out_avoided(self) -> None:
        """Write nothing to a folder that is avoided."""
        avoided = self._folders.avoided(self.plan.cache.written)
        self._exports |= {entry: skipped_export(entry, reason) for entry, reason in avoided.items()}
        self.plan = self.plan.without(exports=avoided.keys())

    def _imports_themselves(self, phase: str) -> bool:
        """Have BuildKit read the folders whose servers it could not read from; whether there were any."""
        unreached = dict(self.serving.failed)
        for entry, error in unreached.items():
            self._import_itself(entry, error)
        self.retries += [RetryReport(phase=phase, reason=redact(error), count=1) for error in [*unreached.values()][:1]]
        return bool(unreached)

    def _import_itself(self, entry: CacheEntry, error: str) -> None:
        """Have BuildKit read a sound folder that it cannot read from its server."""
        self.serving.stop(entry, f"BuildKit could not read it from here: {redact(error)}")
        self._warn(f"the cache {entry.place} is imported whole, since BuildKit could not read it from here: {error}")

    # --- exports -----------------------------------------------------------------------------------------

    def take_exports(self, trace: BuildTrace) -> None:
        """Note what became of a build's exports; those that a damaged import kept from being written are written again.

        Raises:
            CacheError: one failed, and the call is strict.
        """
        for warning in _slow_imports(trace):
            self._warn(warning)
        exports = self.plan.cache.exports
        self._exports |= {entry: self._exported(entry, trace, exports) for entry in exports}
        if at_fault := self._at_fault(trace, _troubles(trace)) or self._dropped(trace):
            self._leave_out(at_fault, "what it lacks is built again")
            self._write_again([entry for entry in exports if self._is_lost(entry)])
        self._retry_exports(exports)
        for entry in self._exports:
            self._tell_failed(entry)

    def _dropped(self, trace: BuildTrace) -> dict[CacheEntry, Problem]:
        """The local imports with changed layers that the build had no need of, each with what is wrong.

        BuildKit notices such a layer only as it exports, and then leaves out what leads to it without a word: the next
        build would run those steps again. It shows in an export that is another one although no step was executed.
        """
        if trace.executed or not any(report.status == "written" for report in self._exports.values()):
            return {}
        local = [entry for entry in self.plan.cache.imports if entry.folder]
        return {entry: _corrupt(found) for entry in local if (found := self._folders.unsound(entry))}

    def _is_lost(self, entry: CacheEntry) -> bool:
        """Whether an export was kept from being written, or is incomplete, because of a damaged import."""
        return self._exports[entry].status == "failed" or self._folders.is_mended(entry)

    def _write_again(self, lost: Collection[CacheEntry]) -> None:
        """Write caches once more, by a build that does nothing else."""
        others = [entry for entry in self.plan.cache.exports if entry not in lost]
        build = self.plan.without(exports=others).cache_build
        if build is None:
            return
        self.retries.append(RetryReport(phase="export", reason="a damaged import kept it from being written", count=1))
        self._write_only(lost, build)

    def _write_only(self, entries: Collection[CacheEntry], build: BuildInvocation) -> None:
        trace, code = self._export_by(build)
        self._exports |= {entry: self._exported(entry, trace, entries, code) for entry in entries}

    def _retry_exports(self, exports: Collection[CacheEntry]) -> None:
        """Write caches again whose registry had a fault that may have passed: the builder has all that is in them."""

        def failed() -> list[CacheEntry]:
            return [entry for entry in exports if self._fault(entry)]

        def again() -> None:
            entries = failed()
            others = [entry for entry in self.plan.cache.exports if entry not in entries]
            if build := self.plan.without(exports=others).cache_build:
                self._write_only(entries, build)

        self._retrying.tried(None, again, lambda _: next(map(self._fault, failed()), None))

    def _fault(self, entry: CacheEntry) -> Fault | None:
        problem = self._exports[entry].problem
        return fault("export", problem) if problem and not entry.folder else None

    def export_nodes(self) -> None:
        """Write the caches of a builder with several nodes, one after another.

        Raises:
            CacheError: one failed, and the call is strict.
        """
        exports = zip(self.plan.cache.node_exports, self.plan.node_exports, strict=True)
        for (_, entry), build in exports:
            if entry.store in self._read_only:
                self._exports[entry] = skipped_export(entry, "writing there was denied before")
                continue
            self._write_only([entry], build)
            self._retry_node(entry, build)
            self._tell_failed(entry)

    def _retry_node(self, entry: CacheEntry, build: BuildInvocation) -> None:
        self._retrying.tried(None, lambda: self._write_only([entry], build), lambda _: self._fault(entry))

    def _export_by(self, build: BuildInvocation) -> tuple[BuildTrace, int]:
        """Run a build that does nothing but write caches; once more where it could not read from a server."""
        trace, code = self._export(build)
        return self._export(build) if self._imports_themselves("export") else (trace, code)

    def _exported(
        self, entry: CacheEntry, trace: BuildTrace, written: Collection[CacheEntry], code: int = 0
    ) -> ExportResult:
        result = export_result(entry, trace, written)
        if code != 0 and result.problem is None:
            return failed_export(entry, classify(trace.error or NO_REASON))
        if not entry.folder or result.status != "written":
            return result
        self._folders.forget_origin(entry)
        status: ExportStatus = "unchanged" if self._folders.unchanged(entry) else "written"
        return replace(result, status=status, bytes=self._folders.added(entry))

    def _tell_failed(self, entry: CacheEntry) -> None:
        """Say that an export failed or was left out, and what to do; after a denied one, its store is only read."""
        result, left_out = self._exports[entry], entry.backend.left_out
        is_left_out = result.status == "skipped" and bool(left_out) and result.reason.endswith(left_out)
        if result.problem is None and not is_left_out:
            return
        hint = "hand them to this step" if is_left_out else _next(result.problem)
        message = f"the cache could not be written to {redact(entry.place)}: {result.detail}"
        if self.plan.strict_cache:
            raise CacheError(message, hint=hint)
        if result.problem and result.problem.is_refused:
            self._read_only.add(entry.store)
        self._warn(f"{message}; {hint}" if hint else message)

    # --- the end -----------------------------------------------------------------------------------------

    def tidy(self) -> None:
        """Mend, sweep and bound the local folders that were written."""
        self._local = self._folders.tidy()

    def be_strict(self, trace: BuildTrace) -> None:
        """Hold a strict call to its word, where the build did without an import.

        Raises:
            CacheError: one is damaged or out of reach, and the call is strict.
        """
        bad = [found for found in self.report(trace).imports if found.status in ("damaged", "unreachable")]
        if bad and self.plan.strict_cache:
            raise CacheError(f"the cache {bad[0].source} is {bad[0].status}: {bad[0].detail}", hint=_STRICT_HINT)

    def report(self, trace: BuildTrace | None) -> CacheReport:
        """What the caches did, those that were left out included."""
        known = Known(verdicts=self._verdicts, exports=self._exports, local=self._local, lazy=self.serving.report())
        return cache_report(self._asked, trace, known)


def _troubles(trace: BuildTrace) -> Iterator[str]:
    """The errors of steps and exports: an importer's own is no more than its status, a base image's no cache's."""
    return (
        error for name, error in trace.errors if transfer_kind(name) != "cache-import" and not is_image_metadata(name)
    )


def _next(problem: Problem | None) -> str:
    """Say what to do about a failed export; a refused one fails the next time too."""
    if problem is None or problem.is_refused:
        return problem.advice if problem else ""
    return problem.advice or "the next build tries again"


def _corrupt(found: str) -> Problem:
    return Problem(kind=Kind.CORRUPT, words=found)


def _slow_imports(trace: BuildTrace) -> Iterator[str]:
    for transfer in trace.transfers:
        if transfer.kind == "cache-import" and transfer.seconds > _SLOW_IMPORT:
            yield f"{transfer.name} took {transfer.seconds:.1f}s"
