"""Run a build, and run it again as long as a strategy can recover it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from buildx_cache.buildkit.events import Event
from buildx_cache.buildkit.stream import StreamParser
from buildx_cache.buildkit.trace import BuildTrace
from buildx_cache.buildkit.trace_builder import TraceBuilder
from buildx_cache.errors import InterruptedBuildError
from buildx_cache.plan import BuildInvocation
from buildx_cache.redaction import Redactor
from buildx_cache.run.call import Call
from buildx_cache.run.recovery import AbandonedBuildError, Attempt, Strategy
from buildx_cache.run.redactor import EventRedactor
from buildx_cache.run.result_files import ResultFile, metadata_of, redirected, remove_stale, written_files
from buildx_cache.scratch import scratch_folder

_TIMED = ("cache-export", "push")
_CANCELLED = 130
_SHOWN_UNFINISHED = 2


class Builds:
    """Run the builds of one call.

    ``trace``, ``logs``, ``metadata`` and ``files`` describe the last attempt to build the image.
    """

    def __init__(self, call: Call, redactor: Redactor) -> None:
        self._call = call
        self._redactor = redactor
        self.trace: BuildTrace | None = None
        self.logs: Mapping[str, tuple[str, ...]] = {}
        self.metadata: Mapping[str, object] = {}
        self.files: tuple[ResultFile, ...] = ()

    def image(self, build: BuildInvocation, strategies: Sequence[Strategy]) -> Attempt:
        """Build the image, with recovery; return the last attempt, with the trace of the attempt that ran the steps."""
        attempt = self._attempt(build, strategies)
        while recovery := _recovery(attempt, strategies):
            build, strategy = recovery
            before, logs = attempt.trace, self.logs
            self._call.display.restart()
            attempt = self._attempt(build, strategies)
            if strategy.keeps_steps:
                attempt = replace(attempt, trace=before.written_again(attempt.trace))
                self.trace, self.logs = attempt.trace, {**logs, **self.logs}
        return attempt

    def send(self, build: BuildInvocation, strategies: Sequence[Strategy]) -> Attempt:
        """Build once more to send an image that is built already; keep the trace of the steps for the report."""
        with self._call.phase("build"):
            builder = TraceBuilder()
            code = self._run(build, builder, strategies)
        return Attempt(build=build, trace=builder.trace(), code=code)

    def caches(self, build: BuildInvocation, strategies: Sequence[Strategy]) -> Attempt:
        """Run a build that only writes caches."""
        attempt = self._write_caches(build, strategies)
        while recovery := _recovery(attempt, strategies):
            attempt = self._write_caches(recovery[0], strategies)
        return attempt

    def _write_caches(self, build: BuildInvocation, strategies: Sequence[Strategy]) -> Attempt:
        builder = TraceBuilder()
        with self._call.phase("export"):
            code = self._stream(build, _prepared(build, strategies), builder, strategies)
        return Attempt(build=build, trace=builder.trace(), code=code, phase="export")

    def _attempt(self, build: BuildInvocation, strategies: Sequence[Strategy]) -> Attempt:
        builder = TraceBuilder()
        with self._call.phase("build"):
            try:
                code = self._run(build, builder, strategies)
            except InterruptedBuildError as stopped:
                stopped.place(", ".join(builder.trace().unfinished[-_SHOWN_UNFINISHED:]))
                raise
            finally:
                self.trace, self.logs = builder.trace(), builder.logs()  # an interrupted build has them, too
        export, push = (sum(t.seconds for t in self.trace.transfers if t.kind == kind) for kind in _TIMED)
        self._call.phases |= {"export": export, "push": push}
        return Attempt(build=build, trace=self.trace, code=code)

    def _run(self, build: BuildInvocation, trace: TraceBuilder, strategies: Sequence[Strategy]) -> int:
        """Build, and read the files that Buildx writes about the image."""
        remove_stale(build)
        with scratch_folder() as folder:
            code = self._stream(build, redirected(_prepared(build, strategies), folder), trace, strategies)
            self.metadata = metadata_of(folder)
            self.files = written_files(build, folder) if code == 0 else ()
        return code

    def _stream(
        self, build: BuildInvocation, prepared: BuildInvocation, trace: TraceBuilder, strategies: Sequence[Strategy]
    ) -> int:
        """Run the ``prepared`` build and follow its raw progress; show the command of ``build``, as planned."""
        parser, hiding = StreamParser(), EventRedactor(self._redactor)
        heard = time.monotonic()

        def show(events: Iterable[Event]) -> None:
            for event in events:
                for strategy in strategies:
                    event = strategy.observe(event)  # noqa: PLW2901 -- each takes the event that the last returned
                trace.add(event)
                self._call.display.event(event)

        def take(chunk: bytes) -> None:
            nonlocal heard
            if chunk:
                heard = time.monotonic()
            else:
                for strategy in strategies:
                    strategy.on_idle(time.monotonic() - heard)
            show(hiding.take(parser.feed(chunk)))

        self._call.note(build)
        try:
            code = self._call.engine.build(replace(prepared, progress="rawjson"), take, self._tell_stop)
            show(hiding.take(parser.close()))
            show(hiding.close())
        except AbandonedBuildError:
            return _CANCELLED
        except InterruptedBuildError:
            for event in hiding.close():  # incomplete lines are for the trace: displays show whole lines
                trace.add(event)
            raise
        return code

    def _tell_stop(self) -> None:
        self._call.display.say("stopping the build")


def _prepared(build: BuildInvocation, strategies: Sequence[Strategy]) -> BuildInvocation:
    for strategy in reversed(strategies):  # events pass the strategies in order, so the build passes them in reverse
        build = strategy.prepare(build)
    return build


def _recovery(attempt: Attempt, strategies: Sequence[Strategy]) -> tuple[BuildInvocation, Strategy] | None:
    """Return the next build and its strategy; None if the attempt succeeded or no strategy can recover it."""
    if attempt.code == 0:
        return None
    found = ((strategy.recover(attempt), strategy) for strategy in strategies)
    return next(((build, strategy) for build, strategy in found if build), None)
