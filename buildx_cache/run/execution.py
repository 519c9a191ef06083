"""Carry out a plan's effects in order, and build the report.

However the call ends: it has a report, its login is deleted, a temporary builder is removed, and every cache folder is
unlocked.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace

from buildx_cache.buildkit.failure import diagnose
from buildx_cache.caches.entry import CacheEntry
from buildx_cache.ci import CIContext
from buildx_cache.display import Display
from buildx_cache.errors import BuildxCacheError, DeniedError, InterruptedBuildError
from buildx_cache.plan import BuildInvocation, BuildPlan, ImageStore
from buildx_cache.reference import Reference, parse_reference
from buildx_cache.report import BuildReport, rewritten_report
from buildx_cache.run.build import Builds
from buildx_cache.run.builder_lifecycle import CallsBuilder
from buildx_cache.run.cache_entries import Caches
from buildx_cache.run.cache_exports import CacheExports
from buildx_cache.run.call import Call, Outcome
from buildx_cache.run.interfaces import Engine, last_line
from buildx_cache.run.recovery import Attempt, Strategy
from buildx_cache.run.recovery.engine_image import EngineImages
from buildx_cache.run.recovery.failed_export import FailedExport, WriteRetry
from buildx_cache.run.recovery.failed_import import FailedImport, ImportRetry
from buildx_cache.run.recovery.image_load import ImageLoad
from buildx_cache.run.recovery.lazy import LazyImports
from buildx_cache.run.recovery.linked_export import LinkedExports
from buildx_cache.run.recovery.stall import Stall
from buildx_cache.run.redactor import Secrets
from buildx_cache.run.registry_answers import RegistryAnswers
from buildx_cache.run.result_files import put_in_place
from buildx_cache.run.results import digest_of, image_report, pushed_lines, step_reports


def execute(
    plan: BuildPlan,
    engine: Engine,
    display: Display,
    ci: CIContext,
    secrets: Secrets = Secrets(),  # noqa: B008 -- frozen
    sleep: Callable[[float], None] = time.sleep,
) -> Outcome:
    """Carry out a plan. An expected failure is returned as the outcome's ``error``, not raised."""
    return _Execution(plan, engine, display, ci, secrets, sleep).outcome()


def _refuse_push(refusals: Mapping[Reference, str]) -> None:
    """Refuse to build what a registry would not take.

    Args:
        refusals: why each registry refuses the push, "" if it does not; an answer that is late counts as accepted.

    Raises:
        DeniedError: a registry refuses the push.
    """
    if reason := next(filter(None, refusals.values()), ""):
        raise DeniedError(
            f"{reason}; nothing was built",
            code="push-denied",
            hint=(
                "log in with --username and --password-env, or `docker login`; check the repository's name, and "
                "that the account may write it; --no-push-check skips this check"
            ),
        )


class _Execution:
    """One call: its parts, and the order in which they act."""

    def __init__(
        self,
        plan: BuildPlan,
        engine: Engine,
        display: Display,
        ci: CIContext,
        secrets: Secrets,
        sleep: Callable[[float], None],
    ) -> None:
        self._plan = plan
        self._engine = engine
        self._ci = ci
        self._secrets = secrets
        self._redactor = secrets.redactor(plan.target.build)
        self._call = call = Call(plan, engine, display, self._redactor, sleep)
        self._builder = CallsBuilder(plan.builder, call.do, call.phase, call.retrying)
        self._lazy = LazyImports(plan.cache.serving, engine, call, call.retrying)
        self._caches = Caches(plan, call, self._lazy, call.retrying)
        self._linked = LinkedExports(self._caches.folders.targets)
        self._loading = ImageLoad(plan.target.image.loading, engine, self._caches.folder)
        is_for_stranger = ci.is_remote or (ci.may_be_strangers and plan.cache.read_only)
        is_classic = plan.store is ImageStore.CLASSIC
        self._images = EngineImages(
            plan.builder, engine, call, call.retrying, is_for_stranger=is_for_stranger, is_classic=is_classic
        )
        self._builds = Builds(call, self._redactor)
        self._exports = CacheExports(plan, self._caches, self._linked, self._write_caches, call.retrying, ci.sha or "")
        self._image_id = ""
        self._is_built = False

    def outcome(self) -> Outcome:
        """Run the call and return its outcome."""
        error: BuildxCacheError | None = None
        try:
            self._call.announce()
            with self._call.phase("verify"):
                build = self._caches.check(self._plan.target.build)
            self._run(build)
        except BuildxCacheError as raised:
            raised.rewrite(self._redactor.text)
            error = raised
        finally:
            self._loading.close()
            self._linked.close()
            self._images.close()
            self._caches.close()
        report = self._report(error)
        return Outcome(
            report=report,
            error=error,
            trace=self._builds.trace,
            logs=self._builds.logs,
            results=self._results(report, error),
            image_id=self._image_id,
        )

    def _run(self, build: BuildInvocation) -> None:
        call = self._call
        try:
            with ExitStack() as login:
                with self._builder.undone_unless_ready():
                    self._builder.prepare_context()
                    login.enter_context(call.login(self._secrets))  # pulling the builder's image may need it, too
                    asked = self._plan.target.image.asked
                    refusals = RegistryAnswers(asked, self._engine.push_refusal)
                    newest = RegistryAnswers(self._plan.cache.asked, self._newest_step)
                    with call.phase("builder"):
                        self._builder.prepare()
                        self._lazy.connect()
                    if asked:
                        with call.phase("login"):
                            _refuse_push(refusals.finish())
                known = {entry: moment for entry, moment in newest.finish().items() if moment is not None}
                build = self._caches.leave_out_older(build, known)
                attempt = self._build(build)
                for file in self._builds.files:
                    put_in_place(file.naming(self._image_id))
                self._exports.write_nodes(attempt.build)
            with call.phase("sweep"):
                self._caches.tidy()
            self._prune()
            self._caches.be_strict(attempt.trace)
        except InterruptedBuildError:
            self._builder.halt()
            raise
        finally:
            if reason := self._builder.remove():
                call.warn(f"the builder could not be removed: {reason}")

    # --- build -------------------------------------------------------------------------------------------

    def _strategies(self) -> tuple[Strategy, ...]:
        """Return the strategies that recover the image's build, in the order of their attempts.

        Recovery ends: each strategy either removes a part of the build or of the served folders, or has a limit.
        """
        return (
            *self._substitutions(),
            ImportRetry(self._call.retrying),
            Stall(self._caches, self._builder),
            self._loading,
            FailedImport(self._caches),
            FailedExport(self._caches),
            WriteRetry(self._plan.target.build, self._call.retrying),
        )

    def _substitutions(self) -> tuple[Strategy, ...]:
        """Return the strategies that every build of the call has: they replace planned caches and images."""
        return self._linked, self._lazy, self._images

    def _newest_step(self, entry: CacheEntry) -> float | None:
        return self._engine.newest_step(parse_reference(entry.place))

    def _build(self, build: BuildInvocation) -> Attempt:
        before = self._loaded_ids()
        attempt = self._builds.image(build, self._strategies())
        for warning in attempt.trace.warnings:
            self._call.warn(warning)
        if attempt.code != 0:
            raise diagnose(attempt.trace, attempt.code)
        self._caches.tell_imports(attempt.trace)
        attempt = replace(attempt, build=self._exports.take(attempt))
        attempt = self._load(attempt)
        self._is_built = True
        self._after_load(before)
        return attempt

    def _write_caches(self, build: BuildInvocation) -> Attempt:
        return self._builds.caches(build, self._substitutions())

    def _load(self, attempt: Attempt) -> Attempt:
        """Load the image from the folder that the build wrote; if that fails, have BuildKit send the image."""
        effect = self._plan.target.image.loading.effect
        if effect is None or not self._loading.is_on:
            return attempt
        with self._call.phase("build"):
            self._call.note(effect)
            reason = self._loading.load()
        if not reason:
            return attempt
        self._call.warn(f"the image could not be loaded from a folder; BuildKit sends it: {reason}")
        build = self._caches.leave_out_changed(attempt.build)
        self._loading.stop()
        sent = self._builds.send(build, self._substitutions())
        if sent.code != 0:
            raise diagnose(sent.trace, sent.code)
        return replace(attempt, build=self._exports.take(sent))

    # --- images and prune --------------------------------------------------------------------------------

    def _loaded_ids(self) -> tuple[str, ...]:
        """Return the IDs of the images that have this build's tags now: loading the new image takes the tags away."""
        image = self._plan.target.image
        if not image.load or self._plan.prune is None:
            return ()
        found = dict.fromkeys(self._engine.image_id(tag) for tag in image.tags)
        return tuple(identifier for identifier in found if identifier)

    def _after_load(self, before: tuple[str, ...]) -> None:
        image = self._plan.target.image
        if not image.load:
            return
        self._image_id = digest_of(self._builds.metadata, image.id_key)
        if image.tags and not self._image_id:
            self._image_id = self._engine.image_id(image.tags[0])
        if self._image_id:
            self._engine.remember_loaded(self._image_id)
        for identifier in before:
            if identifier != self._image_id:
                self._engine.remove_replaced(identifier)

    def _prune(self) -> None:
        if self._plan.prune is None:
            return
        with self._call.phase("prune"):
            done = self._call.do(self._plan.prune)
        if done.code != 0:
            self._call.warn(f"the builder's cache could not be pruned: {last_line(done)}")

    # --- the report --------------------------------------------------------------------------------------

    def _results(self, report: BuildReport, error: BuildxCacheError | None) -> tuple[str, ...]:
        """Return the lines for stdout: the pushed references with digests, else the ID of the loaded image."""
        if error is not None:
            return ()
        image = report.images[self._plan.target.name]
        if image.pushed:
            return pushed_lines(self._plan.target.image, image.digest, self._builds.trace)
        return (self._image_id,) if self._image_id else ()

    def _report(self, error: BuildxCacheError | None) -> BuildReport:
        trace, metadata = self._builds.trace, self._builds.metadata if self._is_built else None
        image = image_report(self._plan.target.image, metadata, trace, self._image_id)
        report = self._call.report(self._ci, error, image)
        report = replace(report, cache=self._caches.report(trace), steps=step_reports(trace))
        return rewritten_report(report, self._redactor.text)
