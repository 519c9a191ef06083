"""Track one call: its phases, warnings, commands, retries and login, and the skeleton of its report."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from buildx_cache.buildkit.classify import classify
from buildx_cache.buildkit.failure import login_error
from buildx_cache.buildkit.trace import BuildTrace
from buildx_cache.caches.backend import CacheKind
from buildx_cache.ci import CIContext
from buildx_cache.display import Display
from buildx_cache.errors import BuildxCacheError, ExitCode, InterruptedBuildError
from buildx_cache.plan import BuildInvocation, BuildPlan, Effect, show_version
from buildx_cache.plan.render import command_line, shell_line
from buildx_cache.redaction import Redactor
from buildx_cache.report import (
    PHASES,
    BuilderReport,
    BuildReport,
    CacheReport,
    CIReport,
    ErrorReport,
    ImageReport,
    RetryReport,
    Status,
)
from buildx_cache.request.build_request import BuildRequest
from buildx_cache.run.interfaces import Engine, Finished, last_line
from buildx_cache.run.redactor import Secrets
from buildx_cache.run.retry import Retrying, ended_by


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The result of a call: its report, its error if it failed, and the lines for stdout (``results``)."""

    report: BuildReport
    error: BuildxCacheError | None = None
    trace: BuildTrace | None = None
    logs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """The last lines that each vertex of the build printed, by the vertex' digest."""
    results: tuple[str, ...] = ()
    image_id: str = ""
    """The ID of the loaded image; empty if none was loaded."""


class Call:
    """The state of one call while it runs."""

    def __init__(
        self, plan: BuildPlan, engine: Engine, display: Display, redactor: Redactor, sleep: Callable[[float], None]
    ) -> None:
        self.engine = engine
        self.display = display
        self.retrying = Retrying(sleep, self.say)
        self.phases = dict.fromkeys(PHASES, 0.0)
        self._plan = plan
        self._redactor = redactor
        self._started = datetime.now(UTC)
        self._clock = time.monotonic()
        self._commands: list[tuple[str, ...]] = []
        self._warnings: list[str] = []

    def announce(self) -> None:
        """Show the builder and the cache that the plan chose, with the reasons, and the plan's notes."""
        builder, cache = self._plan.builder, self._plan.cache
        self.say(f"builder: {builder.name} ({builder.driver}): {builder.why}")
        for line in builder.registries.lines:
            self.say(f"registries: {line}")
        self.say(f"cache: {cache.kind}, scope {cache.scope}: {cache.why}")
        for note in self._plan.notes:
            self.warn(note)

    def say(self, text: str) -> None:
        """Show that something slow begins."""
        self.display.say(self._redactor.text(text))

    def warn(self, text: str) -> None:
        """Show and record a problem that does not fail the call."""
        self._warnings.append(self._redactor.text(text))
        self.display.warn(self._redactor.text(text))

    def do(self, effect: Effect, *, password: bytes = b"") -> Finished:
        """Carry out a short effect."""
        self.note(effect)
        return self.engine.perform(effect, password=password)

    def note(self, effect: Effect | BuildInvocation) -> None:
        """Show and record a command that runs."""
        argv = tuple(map(self._redactor.text, command_line(self._plan, effect)))
        self._commands.append(argv)
        self.display.command(shell_line(argv))

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Show a phase, and add its duration to ``phases``."""
        started = time.monotonic()
        self.display.phase(name)
        try:
            yield
        except InterruptedBuildError as stopped:
            stopped.place(name)
            raise
        finally:
            self.display.phase("")
            self.phases[name] = self.phases.get(name, 0.0) + time.monotonic() - started

    @contextmanager
    def login(self, secrets: Secrets) -> Iterator[None]:
        """Log in as planned; the login is private to this context.

        Raises:
            BuildxCacheError: the registry refuses the login.
        """
        login, password = self._plan.login, secrets.password
        if login is None or password is None:
            yield
            return

        def log_in() -> Finished:
            return self.do(login.effect, password=password.encode())

        with ExitStack() as private:
            private.enter_context(self.engine.credentials(login.registry))
            with self.phase("login"):
                done = self.retrying.tried(log_in(), log_in, lambda done: ended_by("login", done))
            if done.code != 0:
                private.close()
                error = login_error(login.registry, classify(last_line(done)))
                if not (login.is_ambient and self.engine.has_login(login.registry)):
                    raise error
                self.warn(f"{error.message}; the stored login is used")
            yield

    def report(self, ci: CIContext, error: BuildxCacheError | None, image: ImageReport) -> BuildReport:
        """Build the report without its caches and steps."""
        builder = self._plan.builder
        return BuildReport(
            status=status_of(error),
            exit_code=error.exit_code if error else ExitCode.OK,
            error=_error_report(error),
            started=_shown_time(self._started),
            seconds=time.monotonic() - self._clock,
            images={self._plan.target.name: image},
            builder=BuilderReport(
                name=builder.name,
                driver=builder.driver,
                buildkit=show_version(builder.buildkit),
                created=bool(builder.create),
            ),
            ci=_ci_report(ci),
            cache=CacheReport(mode=self._plan.cache.kind, scope="", read_only=False),
            phases=dict(self.phases),
            retries=self.retrying.reports,
            warnings=tuple(self._warnings),
            commands=tuple(self._commands),
            docker_calls=self.engine.calls,
        )


def with_retries(outcome: Outcome, retries: tuple[RetryReport, ...]) -> Outcome:
    """Add the retries that took place before there was a plan."""
    return replace(outcome, report=replace(outcome.report, retries=(*retries, *outcome.report.retries)))


def startup_failure(request: BuildRequest, ci: CIContext, error: BuildxCacheError) -> Outcome:
    """Build the outcome of a call that failed before planning, so that stale CI outputs are cleared."""
    kind = CacheKind.NONE if request.cache is CacheKind.AUTO else request.cache
    return Outcome(
        report=BuildReport(
            status=status_of(error),
            exit_code=error.exit_code,
            error=_error_report(error),
            started=_shown_time(datetime.now(UTC)),
            seconds=0.0,
            images={request.target or "default": ImageReport(platforms=request.platform)},
            builder=BuilderReport(name=request.builder, driver=request.driver or "", buildkit="", created=False),
            ci=_ci_report(ci),
            cache=CacheReport(mode=kind, scope=request.cache_scope, read_only=bool(request.cache_read_only)),
            warnings=(error.message,),
        ),
        error=error,
    )


def _error_report(error: BuildxCacheError | None) -> ErrorReport | None:
    return ErrorReport(code=error.code, message=error.message) if error else None


def status_of(error: BuildxCacheError | None) -> Status:
    """Return the status of a call that ended with this error, or without any."""
    if error is None:
        return "success"
    return "interrupted" if isinstance(error, InterruptedBuildError) else "failed"


def _ci_report(ci: CIContext) -> CIReport:
    return CIReport(
        provider=ci.provider, branch=ci.branch, sha=ci.sha, pull_request=ci.pull_request, is_fork=ci.is_fork
    )


def _shown_time(when: datetime) -> str:
    return when.isoformat(timespec="milliseconds").replace("+00:00", "Z")
