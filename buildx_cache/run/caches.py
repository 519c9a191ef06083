"""What becomes of a call's caches while it runs: which imports and exports are left out, and what is said of them.

A cache that is damaged, denied or out of reach fails no call that is not strict.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from buildx_cache.buildkit import BuildTrace, Kind, Problem, classify
from buildx_cache.buildkit.vertex_names import is_image_metadata, transfer_kind
from buildx_cache.caches import CacheEntry
from buildx_cache.errors import CacheError
from buildx_cache.plan import BuildInvocation, BuildPlan
from buildx_cache.report import CacheReport, LocalReport
from buildx_cache.run.folders import Folders
from buildx_cache.run.interfaces import Tell
from buildx_cache.run.recovery.lazy import Lazy
from buildx_cache.run.results import (
    ExportResult,
    Known,
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

    def __init__(self, plan: BuildPlan, tell: Tell, lazy: Lazy, retrying: Retrying) -> None:
        self.tell = tell
        self.folders = Folders(plan, tell)
        self.verdicts: dict[CacheEntry, Verdict] = {}
        self.exports: dict[CacheEntry, ExportResult] = {}
        self.is_strict = plan.strict_cache
        self._plan = plan
        self._lazy = lazy
        self._retrying = retrying
        self._local: LocalReport | None = None

    def close(self) -> None:
        """Serve the local folders no longer, and release them."""
        self._lazy.close()
        self.folders.close()

    def note_retry(self, phase: str, reason: str) -> None:
        """Note that a build goes around what failed."""
        self._retrying.note(phase, reason)

    def check(self, build: BuildInvocation) -> BuildInvocation:
        """Hold, verify and serve local folders; leave out what cannot be imported from them.

        Raises:
            ExhaustedError: a folder cannot be made; or another process keeps it, and the call is strict.
            CacheError: one is damaged or another user may change it, and the call is strict.
        """
        verdicts = self.folders.check()
        self.verdicts |= {verdict.entry: verdict for verdict in verdicts}
        build = self._without_avoided(build.without(imports=[each.entry for each in verdicts if each.status]))
        self._lazy.start(self.folders.sources(build.imports))
        is_new = bool(self._plan.builder.create)
        return build if is_new or not self.has_lost_folder() else build.fresh()

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
                raise CacheError(f"the cache {entry.place} fails: {error}", hint=STRICT_HINT)
            came_of_it = self.folders.set_aside(entry, damage) if damage else ""
            left_out.append(entry)
            status = "damaged" if damage else failed_read(problem)
            self.verdicts[entry] = Verdict(entry=entry, status=status, detail=damage or error)
            said = (f"the cache {entry.place} is {status}: {damage or error}", came_of_it, what_now)
            self.tell.warn("; ".join(part for part in said if part))
        build = self._without_avoided(build.without(imports=left_out))
        return build.fresh() if any(entry.folder for entry in left_out) and self.has_lost_folder() else build

    def _without_avoided(self, build: BuildInvocation) -> BuildInvocation:
        """Write nothing to a folder that is avoided."""
        avoided = self.folders.avoided(self._plan.cache.written)
        new = {entry: reason for entry, reason in avoided.items() if entry not in self.exports}
        self.exports |= {entry: skipped_export(entry, reason) for entry, reason in new.items()}
        return build.without(exports=avoided.keys())

    # --- the end -----------------------------------------------------------------------------------------

    def tidy(self) -> None:
        """Sweep and bound the local folders that were written."""
        self._local = self.folders.tidy()

    def be_strict(self, trace: BuildTrace) -> None:
        """Hold a strict call to its word, where the build did without an import.

        Raises:
            CacheError: one is damaged or out of reach, and the call is strict.
        """
        bad = [found for found in self.report(trace).imports if found.status in ("damaged", "unreachable")]
        if bad and self.is_strict:
            raise CacheError(f"the cache {bad[0].source} is {bad[0].status}: {bad[0].detail}", hint=STRICT_HINT)

    def report(self, trace: BuildTrace | None) -> CacheReport:
        """Return what the caches did, those that were left out included."""
        known = Known(verdicts=self.verdicts, exports=self.exports, local=self._local, lazy=self._lazy.report())
        return cache_report(self._plan, trace, known)


def troubles(trace: BuildTrace) -> Iterator[str]:
    """Yield the errors of steps and exports: an importer's own is only its status, a base image's no cache's."""
    return (
        error for name, error in trace.errors if transfer_kind(name) != "cache-import" and not is_image_metadata(name)
    )


def corrupt(found: str) -> Problem:
    """Return damage that was found in a folder as a problem."""
    return Problem(kind=Kind.CORRUPT, words=found)
