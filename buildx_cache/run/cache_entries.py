"""Decide which imports and exports are left out while a call runs, and say what became of each.

A cache that is damaged, denied or out of reach fails no call that is not strict.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from buildx_cache.buildkit.causes import Kind
from buildx_cache.buildkit.classify import Problem, classify
from buildx_cache.buildkit.trace import BuildTrace
from buildx_cache.buildkit.vertex_names import bare_name, is_image_metadata, transfer_kind
from buildx_cache.caches.entry import BACKENDS, CacheEntry
from buildx_cache.errors import CacheError
from buildx_cache.plan import BuildInvocation, BuildPlan
from buildx_cache.report import CacheReport, ImportReport, ImportStatus, LocalReport
from buildx_cache.run.fallbacks import superseded
from buildx_cache.run.folders import Folders
from buildx_cache.run.interfaces import Tell
from buildx_cache.run.recovery.lazy import LazyImports
from buildx_cache.run.results import (
    NEVER_ASKED,
    TROUBLED,
    CacheEvidence,
    ExportResult,
    Verdict,
    blamed,
    cache_report,
    failed_read,
    imported,
    skipped_export,
)
from buildx_cache.run.retry import Retrying

STRICT_HINT = "`buildx-cache cache verify` shows more; drop --strict-cache to go on without"


class Caches:
    """The caches of one call, and what is known of each."""

    def __init__(self, plan: BuildPlan, tell: Tell, lazy: LazyImports, retrying: Retrying) -> None:
        self.tell = tell
        self.folders = Folders(plan, tell)
        left_out = {entry: f"Buildx leaves it out: not set: {missing}" for entry, missing in plan.cache.left_out}
        self.verdicts: dict[CacheEntry, Verdict] = {
            entry: Verdict(entry=entry, status="skipped", detail=reason)
            for entry, reason in left_out.items()
            if entry in plan.cache.imports
        }
        self.exports: dict[CacheEntry, ExportResult] = {
            entry: skipped_export(entry, reason) for entry, reason in left_out.items() if entry in plan.cache.exports
        }
        self.is_strict = plan.strict_cache
        self._plan = plan
        self._lazy = lazy
        self._retrying = retrying
        self._local: LocalReport | None = None
        self._superseded: dict[CacheEntry, CacheEntry] = {}

    def close(self) -> None:
        """Serve the local folders no longer, and release them."""
        self._lazy.close()
        self.folders.close()

    def note_retry(self, phase: str, reason: str) -> None:
        """Note that a build goes around what failed."""
        self._retrying.note(phase, reason)

    def finish_sending(self) -> tuple[CacheEntry, ...]:
        """Take no more; return the exports that could not be sent to this process, to be written as planned."""
        failed = self._lazy.exports.finish()
        for error in failed.values():
            self.note_retry("export", error)
        return tuple(failed)

    def check(self, build: BuildInvocation) -> BuildInvocation:
        """Hold, verify and serve local folders; leave out what cannot be imported from them.

        Raises:
            ExhaustedError: a folder cannot be made; or another process keeps it, and the call is strict.
            CacheError: one is damaged or another user may change it, and the call is strict.
        """
        verdicts = self.folders.check()
        self.verdicts |= {verdict.entry: verdict for verdict in verdicts}
        build = self._without_avoided(build.without(imports=[each.entry for each in verdicts if each.status]))
        build = self.leave_out_older(build, self.folders.newest(build.imports))
        # Only a build that does nothing else can write again what cannot be sent here.
        sent = build.exports if self._plan.target.cache_build else ()
        self._lazy.start(self.folders.sources(build.imports), self.folders.targets(sent), sent)
        is_new = bool(self._plan.builder.create)
        return build if is_new or not self.has_lost_folder() else build.fresh()

    def leave_out_older(self, build: BuildInvocation, newest: Mapping[CacheEntry, float]) -> BuildInvocation:
        """Go on without the fallbacks that cannot add a step, given the times of the imports' newest steps."""
        for group in self._plan.cache.fallbacks:
            imports = [entry for entry in group if entry in build.imports]
            for entry, by in superseded(imports, newest).items():
                self._superseded[entry] = by
                detail = f"not needed: no step in it is newer than those of {_shown(by)}"
                self.verdicts[entry] = Verdict(entry=entry, status="skipped", detail=detail)
        return build.without(imports=self._superseded)

    def _with_fallbacks(self, build: BuildInvocation, left_out: Collection[CacheEntry]) -> BuildInvocation:
        """Import the fallbacks that were left out for one of these imports, which is left out itself now."""
        back = [entry for entry, by in self._superseded.items() if by in left_out]
        for entry in back:
            del self._superseded[entry], self.verdicts[entry]
        return replace(build, imports=(*build.imports, *back)) if back else build

    def has_lost_folder(self) -> bool:
        """Whether a folder that is written was damaged.

        Then each step has to run: of what a builder imported before, it exports only the layers that it has fetched,
        and the next build would find a part of the cache.
        """
        return any(map(self.folders.is_lost, self._plan.cache.written))

    def folder(self, build: BuildInvocation) -> Path | None:
        """Return a local folder that has a cache for this build."""
        return next(iter(self.folders.sources(build.imports).values()), None)

    def at_fault(self, build: BuildInvocation, trace: BuildTrace, errors: Iterable[str]) -> dict[CacheEntry, Problem]:
        """Return the imports that these errors come from, each with the first of them."""
        imports = imported(build.imports, trace)
        found: dict[CacheEntry, Problem] = {}
        for problem in map(classify, errors):
            for entry in blamed(problem, imports, self.folders.digests):
                found.setdefault(entry, problem)
        return found

    def leave_out_changed(self, build: BuildInvocation) -> BuildInvocation:
        """Go on without the local imports that have changed blobs, and set them aside.

        Raises:
            CacheError: there is one, and the call is strict.
        """
        damages = {entry: self.folders.damage(entry) for entry in build.imports}
        return self.leave_out(build, {entry: corrupt(found) for entry, found in damages.items() if found})

    def leave_out(
        self, build: BuildInvocation, at_fault: Mapping[CacheEntry, Problem], what_now: str = ""
    ) -> BuildInvocation:
        """Go on without these imports, a damaged folder set aside; a sound one that was served is read itself.

        Raises:
            CacheError: there is one, and the call is strict.
        """
        left_out = []
        for entry, problem in at_fault.items():
            error = " ".join(problem.words.split())
            damage = self.folders.damage(entry)
            if self._lazy.is_on(entry) and not damage:
                self._lazy.read_folder(entry, error)
                continue
            if self.is_strict:
                raise CacheError(f"the cache {entry.place} fails: {error}", code="cache-failed", hint=STRICT_HINT)
            came_of_it = self.folders.set_aside(entry, damage) if damage else ""
            left_out.append(entry)
            status: ImportStatus = "corrupt" if damage else failed_read(problem)
            self.verdicts[entry] = Verdict(entry=entry, status=status, detail=damage or error)
            said = (f"the cache {entry.place} is {status}: {damage or error}", came_of_it, what_now)
            self.tell.warn("; ".join(part for part in said if part))
        build = self._without_avoided(self._with_fallbacks(build.without(imports=left_out), left_out))
        return build.fresh() if any(entry.folder for entry in left_out) and self.has_lost_folder() else build

    def _without_avoided(self, build: BuildInvocation) -> BuildInvocation:
        """Write nothing to a folder that is avoided."""
        avoided = self.folders.avoided(self._plan.cache.written)
        new = {entry: reason for entry, reason in avoided.items() if entry not in self.exports}
        self.exports |= {entry: skipped_export(entry, reason) for entry, reason in new.items()}
        return build.without(exports=avoided.keys())

    # --- the end -----------------------------------------------------------------------------------------

    def tidy(self) -> None:
        """Sweep and bound the local folders that were written, by nobody any more."""
        self._lazy.close()
        self._local = self.folders.tidy()

    def be_strict(self, trace: BuildTrace) -> None:
        """Hold a strict call to its word, where the build did without an import.

        Raises:
            CacheError: one cannot be read, and the call is strict.
        """
        bad = next(self._troubles(trace), None)
        if bad and self.is_strict:
            raise CacheError(_trouble(bad), code="cache-failed", hint=STRICT_HINT)

    def tell_imports(self, trace: BuildTrace) -> None:
        """Warn of each import that the build did without, and why; earlier warnings are not repeated.

        A strict call fails over it instead.
        """
        if self.is_strict:
            return
        told = {entry.place for entry in self.verdicts}
        for found in self._troubles(trace):
            if found.source not in told:
                problem = classify(found.detail)
                advice = problem.advice if found.status != "corrupt" else ""
                self.tell.warn("; ".join(filter(None, (_trouble(found), advice))))

    def _troubles(self, trace: BuildTrace) -> Iterator[ImportReport]:
        """Yield the imports that cannot be read, or were left out by BuildKit or Buildx for what they lack."""
        return (found for found in self.report(trace).imports if found.status in TROUBLED or self._is_lacking(found))

    def _is_lacking(self, found: ImportReport) -> bool:
        left_out = BACKENDS[found.type].left_out
        is_left_out = bool(left_out) and found.detail.endswith(left_out)
        return found.status == "skipped" and (is_left_out or classify(found.detail).kind in NEVER_ASKED)

    def report(self, trace: BuildTrace | None) -> CacheReport:
        """Return what the caches did, those that were left out included."""
        known = CacheEvidence(
            has_own_steps=not self._plan.builder.create,
            verdicts=self.verdicts,
            exports=self.exports,
            local=self._local,
            lazy=self._lazy.report(),
        )
        return cache_report(self._plan, trace, known)


def _shown(entry: CacheEntry) -> str:
    """Return an import's name for people; a folder's with the tag."""
    return f"the tag {entry.tag}" if entry.folder else entry.place


def _trouble(found: ImportReport) -> str:
    reason = " ".join(found.detail.split())
    return f"the cache {found.source} is {found.status}: {reason}"


_NOTHING: Collection[str] = ()


def troubles(trace: BuildTrace, *, but_of: Collection[str] = _NOTHING) -> Iterator[str]:
    """Yield the errors of steps and exports: an importer's own is only its status, a base image's no cache's.

    Those of the vertices ``but_of`` are left out.
    """
    found = ((name, error) for name, error in trace.errors if bare_name(name) not in but_of)
    return (error for name, error in found if transfer_kind(name) != "cache-import" and not is_image_metadata(name))


def corrupt(found: str) -> Problem:
    """Return damage that was found in a folder as a problem."""
    return Problem(kind=Kind.CORRUPT, words=found)
