"""Carry a plan out: the order of effects, and what is known when they end.

One rule: whatever happens, there is a report, the login is forgotten, and a builder to be removed is removed.
"""

from __future__ import annotations

import contextlib
import json
import shlex
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from buildx_cache.ci import CIContext
from buildx_cache.diagnose import diagnose
from buildx_cache.display import Display
from buildx_cache.errors import (
    BuildxCacheError,
    CacheError,
    DeniedError,
    EngineError,
    ExhaustedError,
    ExitCode,
    InterruptedBuildError,
    UnreachableError,
)
from buildx_cache.outcome import cache_report, step_reports
from buildx_cache.plan import BuildPlan, Command, show_version
from buildx_cache.plan.render import redacted_argv
from buildx_cache.progress import BuildTrace, StreamParser, TraceBuilder
from buildx_cache.redaction import Secret, redact
from buildx_cache.report import BuilderReport, BuildReport, CIReport, ImageReport, Phases, Status


class Finished(Protocol):
    """How a short command ended."""

    @property
    def code(self) -> int:
        """Its exit code."""

    @property
    def stderr(self) -> str:
        """What it said."""


class Engine(Protocol):
    """The effects a plan has; ``engine.docker.DockerEngine`` is the real one."""

    def run(self, command: Command, *, stdin: bytes = b"") -> Finished:
        """Run a short command to its end."""

    def build(self, command: Command, on_stderr: Callable[[bytes], None]) -> int:
        """Run a build, handing over its stderr as it comes; returns its exit code."""

    def credentials(self, registry: str) -> AbstractContextManager[None]:
        """While this lasts, a login is private to this call."""

    def image_id(self, tag: str) -> str:
        """The ID of an image in the engine's store; empty if it is not there."""

    def remember_loaded(self, image_id: str) -> None:
        """Note that this program loaded an image, so that it may remove it when it is replaced."""

    def remove_replaced(self, image_id: str) -> bool:
        """Remove an image that this program loaded, unless it has a tag or a container; whether it is gone."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a call came to: its report, why it failed if it did, and what goes to stdout."""

    report: BuildReport
    error: BuildxCacheError | None = None
    trace: BuildTrace | None = None
    results: tuple[str, ...] = ()


def execute(plan: BuildPlan, engine: Engine, display: Display, ci: CIContext, password: Secret | None) -> Outcome:
    """Carry out a plan. Expected failures are in the outcome, not raised."""
    return _Execution(plan, engine, display, ci, password).outcome()


class _Execution:
    """The state of one call while it runs."""

    def __init__(
        self, plan: BuildPlan, engine: Engine, display: Display, ci: CIContext, password: Secret | None
    ) -> None:
        self._plan = plan
        self._engine = engine
        self._display = display
        self._ci = ci
        self._password = password
        self._started = datetime.now(UTC)
        self._clock = time.monotonic()
        self._phases = Phases()
        self._commands: list[tuple[str, ...]] = []
        self._warnings: list[str] = list(plan.notes)
        self._metadata: dict[str, object] = {}
        self._trace: BuildTrace | None = None
        self._export_errors: dict[str, str] = {}
        self._image_id = ""

    def outcome(self) -> Outcome:
        """Run everything and tell what came of it."""
        error: BuildxCacheError | None = None
        try:
            self._prepare_folder()
            self._announce()
            self._run()
        except BuildxCacheError as raised:
            error = raised
        report = self._report(error)
        return Outcome(report=report, error=error, trace=self._trace, results=self._results(report, error))

    def _announce(self) -> None:
        builder, cache = self._plan.builder, self._plan.cache
        self._display.say(f"builder: {builder.name} ({builder.driver}): {builder.why}")
        self._display.say(f"cache: {cache.kind}, scope {cache.scope}: {cache.why}")
        for note in self._plan.notes:
            self._display.warn(note)

    def _run(self) -> None:
        try:
            self._prepare_builder()
        except BuildxCacheError:
            if self._plan.builder.create:
                self._remove_builder()  # whatever of it there is: nothing is left of a builder that does not boot
            raise
        try:
            with self._login():
                self._build()
                self._export_nodes()
            self._prune()
        finally:
            if self._plan.builder.temporary and (reason := self._remove_builder()):
                self._warn(f"the builder could not be removed: {reason}")

    def _prepare_folder(self) -> None:
        cache = self._plan.cache
        if not cache.directory or cache.read_only:
            return
        try:
            Path(cache.directory).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ExhaustedError(
                f"the cache folder cannot be made: {cache.directory}: {error.strerror}", hint="give another --cache-dir"
            ) from None

    # --- builder -----------------------------------------------------------------------------------------

    def _prepare_builder(self) -> None:
        builder = self._plan.builder
        if builder.context:
            with self._phase("context"):
                self._must(builder.context, "the Docker context could not be made")
        with self._phase("builder"):
            for command in builder.create:
                self._must(
                    command, f"the builder {builder.name!r} could not be made or does not boot", tolerated=_EXISTS
                )
            if builder.boot:
                self._must(builder.boot, f"the builder {builder.name!r} does not boot")

    def _must(self, command: Command, failure: str, *, tolerated: str | None = None) -> None:
        done = self._do(command)
        if done.code != 0 and not (tolerated and tolerated in done.stderr):
            raise EngineError(f"{failure}: {_last_line(done.stderr)}", hint=_builder_hint(done.stderr))

    def _remove_builder(self) -> str:
        """Undo what was made for the builder; why that did not work, if so."""
        ended = [self._do(command) for command in self._plan.builder.remove]
        return next((_last_line(done.stderr) for done in ended if done.code != 0), "")

    # --- login -------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _login(self) -> Iterator[None]:
        login = self._plan.login
        if login is None or self._password is None:
            yield
            return
        with self._engine.credentials(login.registry):
            with self._phase("login"):
                done = self._do(login.command, stdin=self._password.encode())
            if done.code != 0:
                raise _login_error(login.registry, done.stderr)
            yield

    # --- build -------------------------------------------------------------------------------------------

    def _build(self) -> None:
        builder = TraceBuilder()
        before = self._loaded_ids()
        with tempfile.TemporaryDirectory(prefix="buildx-cache-") as folder, self._phase("build"):
            metadata = self._plan.metadata_file or str(Path(folder) / "metadata.json")
            try:
                code = self._stream(self._plan.build, builder, metadata)
            finally:
                self._trace = builder.trace()  # also of a build that is interrupted
            self._metadata = _read_metadata(metadata)
        self._add_times(self._trace)
        for warning in self._trace.warnings:
            self._warn(warning)
        if code != 0:
            raise diagnose(self._trace, code)
        self._after_load(before)

    def _stream(self, command: Command, trace: TraceBuilder, metadata: str = "") -> int:
        """Run a build the way this program listens: raw progress, and metadata in a file."""
        parser = StreamParser()

        def take(chunk: bytes) -> None:
            for event in parser.feed(chunk):
                trace.add(event)
                self._display.event(event)

        self._note(command)
        code = self._engine.build(listening(command, metadata), take)
        for event in parser.close():
            trace.add(event)
            self._display.event(event)
        return code

    def _export_nodes(self) -> None:
        """Write the caches of a builder with several nodes; a failed one fails the call only if strict."""
        exports = zip(self._plan.cache.node_exports, self._plan.node_exports, strict=True)
        for (platform, entry), command in exports:
            trace = TraceBuilder()
            started = time.monotonic()
            code = self._stream(command, trace)
            self._phases = replace(self._phases, export=self._phases.export + time.monotonic() - started)
            failed = [transfer for transfer in trace.trace().transfers if transfer.kind == "cache-export"]
            error = next((transfer.error for transfer in failed if transfer.error), "")
            if code != 0 or error:
                self._export_errors[str(entry)] = error or trace.trace().error or _NO_REASON
                self._export_failed(platform, self._export_errors[str(entry)])

    def _export_failed(self, platform: str, reason: str) -> None:
        message = f"the cache of {platform} could not be written: {reason}"
        if self._plan.strict_cache:
            raise CacheError(message, hint="drop --strict-cache to go on without")
        self._warn(message)

    def _add_times(self, trace: BuildTrace) -> None:
        seconds = {kind: sum(t.seconds for t in trace.transfers if t.kind == kind) for kind in ("cache-export", "push")}
        self._phases = replace(self._phases, export=seconds["cache-export"], push=seconds["push"])

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
        self._image_id = self._engine.image_id(image.tags[0]) if image.tags else str(self._metadata.get(_CONFIG, ""))
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
            self._warn(f"the builder's cache could not be pruned: {_last_line(done.stderr)}")

    # --- bookkeeping -------------------------------------------------------------------------------------

    def _do(self, command: Command, *, stdin: bytes = b"") -> Finished:
        self._note(command)
        return self._engine.run(command, stdin=stdin)

    def _note(self, command: Command) -> None:
        argv = redacted_argv(command)
        self._commands.append(argv)
        self._display.command(shlex.join(argv))

    def _warn(self, text: str) -> None:
        self._warnings.append(redact(text))
        self._display.warn(redact(text))

    @contextlib.contextmanager
    def _phase(self, name: str) -> Iterator[None]:
        started = time.monotonic()
        try:
            yield
        finally:
            self._phases = replace(self._phases, **{name: time.monotonic() - started})

    def _results(self, report: BuildReport, error: BuildxCacheError | None) -> tuple[str, ...]:
        """The lines for stdout: every pushed tag with its digest, or the ID of what was only loaded."""
        if error is not None:
            return ()
        if report.image.pushed:
            return tuple(f"{tag}@{report.image.digest}" for tag in report.image.tags)
        return (self._image_id,) if self._image_id else ()

    def _report(self, error: BuildxCacheError | None) -> BuildReport:
        plan = self._plan
        done = error is None
        steps = step_reports(self._trace)
        return BuildReport(
            status=_status(error),
            exit_code=error.exit_code if error else ExitCode.OK,
            started=self._started.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            seconds=time.monotonic() - self._clock,
            image=ImageReport(
                digest=str(self._metadata.get(_DIGEST, "")) if done else "",
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
            cache=cache_report(plan, self._trace, self._export_errors, done=done),
            steps=steps,
            phases=self._phases,
            warnings=tuple(self._warnings),
            commands=tuple(self._commands),
        )


# Another call made the same builder since this one looked; the build boots it (buildx' ``builder/builder.go``).
_EXISTS = "existing instance for"
_NO_REASON = "no reason given"
# Keys of Buildx' metadata file.
_DIGEST = "containerimage.digest"
_CONFIG = "containerimage.config.digest"


def listening(command: Command, metadata: str) -> Command:
    """A planned build with the flags by which this program hears of it: they change nothing of what is built.

    A metadata file that the user asked for is in the plan already.
    """
    position = command.argv.index("build") + 1
    flags = ["--progress", "rawjson"]
    if metadata and "--metadata-file" not in command.argv:
        flags += ["--metadata-file", metadata]
    return replace(command, argv=(*command.argv[:position], *flags, *command.argv[position:]))


def _read_metadata(path: str) -> dict[str, object]:
    try:
        metadata = json.loads(Path(path).read_bytes())
    except (OSError, ValueError):
        return {}
    return metadata if isinstance(metadata, dict) else {}


def _status(error: BuildxCacheError | None) -> Status:
    if error is None:
        return "success"
    return "interrupted" if isinstance(error, InterruptedBuildError) else "failed"


def _last_line(stderr: str) -> str:
    lines = [line for line in stderr.splitlines() if line.strip()]
    return redact(lines[-1].removeprefix("ERROR: ").strip()) if lines else _NO_REASON


def _builder_hint(stderr: str) -> str:
    if "pull" in stderr or "manifest unknown" in stderr or "No such image" in stderr:
        return "check --buildkit-image and that the engine can pull it; behind a mirror, name the image there"
    return "look at it with `docker buildx inspect NAME`; `docker buildx rm NAME` has it made anew"


def _login_error(registry: str, stderr: str) -> BuildxCacheError:
    reason = _last_line(stderr)
    where = registry or "the default registry"
    if any(sign in reason.lower() for sign in ("unauthorized", "denied", "incorrect", "401", "403")):
        return DeniedError(f"the login to {where} was refused: {reason}", hint="check --username and the password")
    return UnreachableError(
        f"the login to {where} failed: {reason}", hint="check the registry's address and the network"
    )
