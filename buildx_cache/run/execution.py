"""The order of effects, and what is known when they end.

One rule: whatever happens, there is a report, the login is forgotten, a builder to be removed is removed, and no cache
folder stays locked.
"""

from __future__ import annotations

import contextlib
import shlex
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from buildx_cache.buildkit import BuildTrace, Event, StreamParser, TraceBuilder, classify, failure
from buildx_cache.ci import CIContext
from buildx_cache.diagnose import diagnose, login_error
from buildx_cache.display import Display
from buildx_cache.errors import (
    BuildxCacheError,
    ExitCode,
    InterruptedBuildError,
    UnreachableError,
)
from buildx_cache.layout.parse import is_digest
from buildx_cache.outcome import step_reports
from buildx_cache.plan import DIGEST, BuildInvocation, BuildPlan, Effect, show_version
from buildx_cache.plan.render import command_line
from buildx_cache.redaction import redact
from buildx_cache.report import (
    BuilderReport,
    BuildReport,
    CIReport,
    ImageReport,
    Phases,
    RetryReport,
    Status,
    rewritten_report,
)
from buildx_cache.run.builder_lifecycle import CallsBuilder
from buildx_cache.run.caches import Caches
from buildx_cache.run.image_load import Loading
from buildx_cache.run.interfaces import AbandonedBuildError, Engine, Finished, last_line
from buildx_cache.run.redactor import Hiding, Secrets
from buildx_cache.run.result_files import (
    ResultFile,
    metadata_of,
    put_in_place,
    redirected,
    remove_stale,
    written_files,
)
from buildx_cache.run.retry import Fault, Patience, Retrying, ended_by, fault
from buildx_cache.scratch import scratch_folder


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a call came to: its report, why it failed if it did, and what goes to stdout."""

    report: BuildReport
    error: BuildxCacheError | None = None
    trace: BuildTrace | None = None
    logs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """The last lines that each vertex of the build printed, by its digest, not redacted."""
    results: tuple[str, ...] = ()
    image_id: str = ""
    """Of the image that was loaded."""


def execute(
    plan: BuildPlan,
    engine: Engine,
    display: Display,
    ci: CIContext,
    secrets: Secrets = Secrets(),  # noqa: B008 -- frozen
    patience: Patience = Patience(),  # noqa: B008 -- frozen
) -> Outcome:
    """Carry out a plan. Expected failures are in the outcome, not raised."""
    return _Execution(plan, engine, display, ci, secrets, patience).outcome()


class _Execution:
    """The state of one call while it runs."""

    def __init__(
        self,
        plan: BuildPlan,
        engine: Engine,
        display: Display,
        ci: CIContext,
        secrets: Secrets,
        patience: Patience,
    ) -> None:
        self._plan = plan
        self._engine = engine
        self._display = display
        self._ci = ci
        self._secrets = secrets
        self._redactor = secrets.redactor(plan.build)
        self._retrying = Retrying(patience, self.say)
        self._started = datetime.now(UTC)
        self._clock = time.monotonic()
        self._phases = Phases()
        self._commands: list[tuple[str, ...]] = []
        self._warnings: list[str] = list(plan.notes)
        self._metadata: Mapping[str, object] = {}
        self._files: tuple[ResultFile, ...] = ()
        self._trace: BuildTrace | None = None
        self._logs: Mapping[str, tuple[str, ...]] = {}
        self._caches = Caches(plan, self, engine, self._write_caches, self._retrying)
        self._builder = CallsBuilder(plan.builder, self._do, self._phase, self._retrying)
        self._loading = Loading(plan.image.loading, engine)
        self._image_id = ""
        self._is_built = False
        self._is_restarted = False

    def outcome(self) -> Outcome:
        """Run everything and tell what came of it."""
        error: BuildxCacheError | None = None
        try:
            self._announce()
            with self._phase("verify"):
                self._caches.check()
            self._run()
        except BuildxCacheError as raised:
            raised.rewrite(self._redactor.text)
            error = raised
        finally:
            self._loading.close()
            self._caches.close()
        report = self._report(error)
        results = self._results(report, error)
        return Outcome(
            report=report, error=error, trace=self._trace, logs=self._logs, results=results, image_id=self._image_id
        )

    def _announce(self) -> None:
        builder, cache = self._plan.builder, self._plan.cache
        self.say(f"builder: {builder.name} ({builder.driver}): {builder.why}")
        self.say(f"cache: {cache.kind}, scope {cache.scope}: {cache.why}")
        for note in self._plan.notes:
            self._display.warn(self._shown(note))

    def _run(self) -> None:
        self._builder.prepare()
        try:
            with self._login():
                trace = self._build()
                for file in self._files:
                    put_in_place(file)
                self._caches.export_nodes()
            with self._phase("sweep"):
                self._caches.tidy()
            self._prune()
            self._caches.be_strict(trace)
        except InterruptedBuildError:
            self._builder.halt()
            raise
        finally:
            if reason := self._builder.remove():
                self.warn(f"the builder could not be removed: {reason}")

    @contextlib.contextmanager
    def _login(self) -> Iterator[None]:
        login, password = self._plan.login, self._secrets.password
        if login is None or password is None:
            yield
            return

        def log_in() -> Finished:
            return self._do(login.effect, password=password.encode())

        with contextlib.ExitStack() as private:
            private.enter_context(self._engine.credentials(login.registry))
            with self._phase("login"):
                done = self._retrying.tried(log_in(), log_in, lambda done: ended_by("login", done))
            if done.code != 0:
                private.close()
                error = login_error(login.registry, classify(last_line(done)))
                if not (login.is_ambient and self._engine.has_login(login.registry)):
                    raise error
                self.warn(f"{error.message}; the stored login is used")
            yield

    # --- build -------------------------------------------------------------------------------------------

    def _build(self) -> BuildTrace:
        before = self._loaded_ids()
        trace, code = self._retrying.tried(self._build_around(), self._write_again, self._build_fault)
        for warning in trace.warnings:
            self.warn(warning)
        if code != 0:
            raise diagnose(trace, code)
        self._caches.take_exports(trace)
        self._load()
        self._is_built = True
        self._after_load(before)
        return trace

    def _build_around(self) -> tuple[BuildTrace, int]:
        """Build, and again where that leads around a cache or a way of loading that failed it."""
        trace, code = self._attempt_imports()
        while code != 0 and (self._breaks_silence() or self._loading.may_retry(trace) or self._caches.may_retry(trace)):
            trace, code = self._attempt_imports()
        return trace, code

    def _attempt_imports(self) -> tuple[BuildTrace, int]:
        """Build; begun again while it would go without a cache over a fault that may pass."""
        return self._retrying.tried(self._attempt(), self._attempt, lambda _: self._caches.import_fault)

    def _breaks_silence(self) -> bool:
        """Restart a builder that waits for a registry which does not answer; whether that was why the build ended.

        Raises:
            UnreachableError: it cannot be restarted from here, or that did not help.
        """
        silence, name = self._caches.silence, self._plan.builder.name
        if not silence.found:
            return False
        if not self._builder.can_restart or (self._is_restarted and not silence.imports):
            hint = (
                f"the builder {name} waits for a registry that does not answer, and with it all its builds: restart it"
            )
            raise UnreachableError(silence.reason, hint=hint)
        self.warn(
            f"{silence.reason}; the builder {name} is restarted, which does nothing else until there is an answer"
        )
        self._caches.retries.append(RetryReport(phase="build", reason=redact(silence.reason), count=1))
        self._builder.restart()
        self._is_restarted = True
        self._caches.leave_out_silent()
        return True

    def _write_again(self) -> tuple[BuildTrace, int]:
        """Build for what is written of it only; the steps stay those of the run that did them."""
        before, logs = self._trace, self._logs
        trace, code = self._build_around()
        self._trace = before.written_again(trace) if before else trace
        self._logs = {**logs, **self._logs}
        return self._trace, code

    def _build_fault(self, ended: tuple[BuildTrace, int]) -> Fault | None:
        """A fault of a pull, or of what comes after the steps, which the builder does not run again."""
        trace, code = ended
        failed = failure(trace)
        return fault(failed.work, failed.problem) if code != 0 and failed.work else None

    def _load(self) -> None:
        """Have the engine read what the build wrote for it; where it does not, have BuildKit send it after all."""
        effect = self._plan.image.loading.effect
        if effect is None or not self._loading.is_on:
            return
        with self._phase("build"):
            self._note(effect)
            reason = self._loading.load()
            if not reason:
                return
            self.warn(f"the image could not be loaded from a folder, and is sent by BuildKit: {redact(reason)}")
            self._caches.mend()
            self._loading.stop()
            builder = TraceBuilder()
            code = self._build_told(self._caches.plan.build, builder)
        if code != 0:
            raise diagnose(builder.trace(), code)
        self._caches.take_exports(builder.trace())

    def _attempt(self) -> tuple[BuildTrace, int]:
        if self._trace is not None:
            self._display.restart()
        builder = TraceBuilder()
        with self._phase("build"):
            try:
                planned = self._caches.plan.build
                instead = self._loading.written(planned, self._caches.folder)
                with self._caches.watching():
                    code = self._build_told(planned, builder, instead=instead)
            except InterruptedBuildError as stopped:
                stopped.place(", ".join(builder.trace().unfinished[-_SHOWN_UNFINISHED:]))
                raise
            finally:
                self._trace, self._logs = builder.trace(), builder.logs()  # also of a build that is interrupted
        export, push = (sum(t.seconds for t in self._trace.transfers if t.kind == kind) for kind in _TIMED)
        self._phases = replace(self._phases, export=export, push=push)
        return self._trace, code

    def _build_told(
        self, build: BuildInvocation, trace: TraceBuilder, *, instead: BuildInvocation | None = None
    ) -> int:
        """Build, or run a build ``instead`` that comes to the same, and read what Buildx tells of the image."""
        remove_stale(build)
        with scratch_folder() as folder:
            code = self._stream(build, trace, instead=redirected(instead or build, folder))
            self._metadata = metadata_of(folder)
            self._files = written_files(build, folder) if code == 0 else ()
        return code

    def _write_caches(self, build: BuildInvocation) -> tuple[BuildTrace, int]:
        """Run a build that does nothing but write caches; it is not the one that the report's steps are of."""
        builder = TraceBuilder()
        with self._phase("export"):
            code = self._stream(build, builder)
        return builder.trace(), code

    def _stream(self, build: BuildInvocation, trace: TraceBuilder, *, instead: BuildInvocation | None = None) -> int:
        """Run a build, or one ``instead`` that comes to the same, and follow its raw progress."""
        parser, hiding = StreamParser(), Hiding(self._redactor)

        def show(events: Iterable[Event]) -> None:
            for event in map(self._caches.take, events):
                trace.add(event)
                self._display.event(event)

        def take(chunk: bytes) -> None:
            if not chunk:
                self._caches.wait()
            show(hiding.take(parser.feed(chunk)))

        self._note(build)
        followed = replace(self._caches.served(instead or build), progress="rawjson")
        try:
            code = self._engine.build(followed, take)
            show(hiding.take(parser.close()))
            show(hiding.close())
        except AbandonedBuildError:
            return _CANCELLED
        except InterruptedBuildError:
            for event in hiding.close():  # displays show whole lines
                trace.add(event)
            raise
        return code

    # --- images and prune --------------------------------------------------------------------------------

    def _loaded_ids(self) -> tuple[str, ...]:
        """The images that have this build's tags now, and would lose them by being replaced."""
        image = self._plan.image
        if not image.load or self._plan.prune is None:
            return ()
        found = dict.fromkeys(self._engine.image_id(tag) for tag in image.tags)
        return tuple(identifier for identifier in found if identifier)

    def _after_load(self, before: tuple[str, ...]) -> None:
        image = self._plan.image
        if not image.load:
            return
        self._image_id = self._digest(image.told_id)
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
        with self._phase("prune"):
            done = self._do(self._plan.prune)
        if done.code != 0:
            self.warn(f"the builder's cache could not be pruned: {last_line(done)}")

    # --- bookkeeping -------------------------------------------------------------------------------------

    def _do(self, effect: Effect, *, password: bytes = b"") -> Finished:
        self._note(effect)
        return self._engine.perform(effect, password=password)

    def _note(self, effect: Effect | BuildInvocation) -> None:
        argv = tuple(map(self._redactor.text, command_line(self._plan, effect)))
        self._commands.append(argv)
        self._display.command(shlex.join(argv))

    def say(self, text: str) -> None:
        """Something that takes a while begins."""
        self._display.say(self._shown(text))

    def warn(self, text: str) -> None:
        """Something did not go as asked, but does not fail the call."""
        self._warnings.append(self._shown(text))
        self._display.warn(self._shown(text))

    def _shown(self, text: str) -> str:
        return redact(self._redactor.text(text))

    @contextlib.contextmanager
    def _phase(self, name: str) -> Iterator[None]:
        started = time.monotonic()
        self._display.phase(name)
        try:
            yield
        except InterruptedBuildError as stopped:
            stopped.place(name)
            raise
        finally:
            self._display.phase("")
            spent = getattr(self._phases, name) + time.monotonic() - started
            self._phases = replace(self._phases, **{name: spent})

    def _results(self, report: BuildReport, error: BuildxCacheError | None) -> tuple[str, ...]:
        """The lines for stdout: every pushed tag with its digest, or the ID of what was only loaded."""
        if error is not None:
            return ()
        if report.image.pushed:
            digest = f"@{report.image.digest}" if report.image.digest else ""
            return tuple(f"{tag}{digest}" for tag in report.image.tags)
        return (self._image_id,) if self._image_id else ()

    def _digest(self, name: str) -> str:
        """Return a digest from Buildx' metadata; empty where it is none: it goes to stdout and to later steps."""
        value = self._metadata.get(name)
        return value if isinstance(value, str) and is_digest(value) else ""

    def _report(self, error: BuildxCacheError | None) -> BuildReport:
        plan, done = self._plan, self._is_built
        steps = step_reports(self._trace)
        report = BuildReport(
            status=status_of(error),
            exit_code=error.exit_code if error else ExitCode.OK,
            started=self._started.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            seconds=time.monotonic() - self._clock,
            image=ImageReport(
                digest=self._digest(DIGEST) if done else "",
                tags=plan.image.tags,
                pushed=plan.image.push and done,
                loaded=plan.image.load and done,
                platforms=plan.image.platforms,
            ),
            builder=BuilderReport(
                name=plan.builder.name,
                driver=plan.builder.driver,
                buildkit=show_version(plan.builder.buildkit),
                created=bool(plan.builder.create),
            ),
            ci=CIReport(
                provider=self._ci.provider,
                branch=self._ci.branch,
                sha=self._ci.sha,
                pull_request=self._ci.pull_request,
                is_fork=self._ci.is_fork,
            ),
            cache=self._caches.report(self._trace),
            steps=steps,
            phases=self._phases,
            retries=(*self._retrying.reports, *self._caches.retries),
            warnings=tuple(self._warnings),
            commands=tuple(self._commands),
            docker_calls=self._engine.calls,
        )
        return rewritten_report(report, self._redactor.text)


_TIMED = ("cache-export", "push")
_CANCELLED = 130
_SHOWN_UNFINISHED = 2


def status_of(error: BuildxCacheError | None) -> Status:
    """How a call ended."""
    if error is None:
        return "success"
    return "interrupted" if isinstance(error, InterruptedBuildError) else "failed"
