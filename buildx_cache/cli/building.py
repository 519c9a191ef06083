"""Run the ``build`` command."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

import typer

from buildx_cache.atomic import make_parent
from buildx_cache.ci import provider_of
from buildx_cache.ci.step_outputs import annotate, outputs, write_outputs
from buildx_cache.cli.displays import display_for, displaying, failing
from buildx_cache.cli.reading import read_password, read_request
from buildx_cache.cli.secrets import forget_secrets, have_masked, hidden_values, keep_out_of_metadata, redactor
from buildx_cache.cli.session import ci_without_git, open_session
from buildx_cache.cli.streams import fail_fast, raw_stream
from buildx_cache.display import Display
from buildx_cache.engine.committed import refuse_committed_dotenv
from buildx_cache.errors import BuildxCacheError, ExhaustedError
from buildx_cache.formatting import printable
from buildx_cache.interrupts import interrupt_after, interruptible
from buildx_cache.redaction import Secret
from buildx_cache.report.formats import FORMATS, ReportInput, write_report
from buildx_cache.request.build_request import BuildRequest, Progress, option_key
from buildx_cache.request.local_paths import REPORTS, dockerfile_of
from buildx_cache.request.options import parse_duration
from buildx_cache.request.remote_context import is_remote_context
from buildx_cache.run import Outcome, Secrets, execute, step_record, with_context, with_saved
from buildx_cache.run.call import startup_failure, with_retries
from buildx_cache.working_copy import prepared_root


def build(given: Mapping[str, object]) -> None:
    """Build with the options in ``given``, which are those of the command line.

    Raises:
        typer.Exit: the build failed; its error has been shown.
    """
    env = dict(os.environ)
    with failing(env, no_color=bool(given.get("no_color"))), interruptible():
        asked = read_request(given, env)
        request = asked.request
        refuse_committed_dotenv(request, env)
        if request.timeout:
            interrupt_after(parse_duration(request.timeout) or 0.0)
        shown = cache(partial(display_for, request, env))
        with failing(env, display=shown):
            for line in asked.lines:
                _tell_always(line, request, shown())
            hidden: tuple[Secret, ...] = ()
            try:
                password = read_password(request, env)
                hidden = hidden_values(request, env, password)
                have_masked(request, hidden, fail_fast(raw_stream(sys.stderr)), provider=provider_of(env).name)
                forget_secrets(request, env, os.environ)
                keep_out_of_metadata(request, env)
                with asked.hiding_file_values():
                    session = open_session(request, env, lambda line: _tell_always(line, request, shown()))
            except BuildxCacheError as error:
                error.rewrite(redactor(request, hidden).text)
                _report_startup_failure(request, env, error, shown())
                raise
            display = shown()
            with displaying(display):
                secrets = Secrets(password=password, hidden=hidden)
                outcome = execute(asked.noted(session.plan), session.engine, display, session.ci, secrets)
            outcome = with_retries(with_context(outcome, request, display), session.retries)
            outcome = with_saved(outcome, step_record(session.plan, session.ci, session.place.cache_dir))
            try:
                _show(outcome, display)
            finally:  # even if nobody reads the display any more: files and later steps have other readers
                _tell_files(request, outcome, env, display)
    if outcome.error:
        raise typer.Exit(outcome.error.exit_code)


def _show(outcome: Outcome, display: Display) -> None:
    for line in outcome.results:
        display.result(line)
    display.summary(outcome.report)
    if outcome.error:
        display.failure(outcome.error, outcome.trace)


def _tell_always(line: str, request: BuildRequest, display: Display) -> None:
    """Show a line, even if the configuration file sets quiet."""
    if request.progress is Progress.QUIET:
        print(printable(line), file=sys.stderr)
    else:
        display.say(line)


def _report_startup_failure(
    request: BuildRequest, env: Mapping[str, str], error: BuildxCacheError, display: Display
) -> None:
    """Write the reports and values of a call that failed before planning, in place of those of an earlier call."""
    _tell_files(request, startup_failure(request, ci_without_git(env), error), env, display)


def _tell_files(request: BuildRequest, outcome: Outcome, env: Mapping[str, str], display: Display) -> None:
    """Write the reports that were asked for, and hand values on to later steps."""
    given = ReportInput(report=outcome.report, trace=outcome.trace, logs=outcome.logs, error=outcome.error)
    failures: list[BuildxCacheError] = []
    for name in REPORTS:
        if path := getattr(request, name):
            try:
                write_report(FORMATS[name](given), path, f"--{option_key(name)}")
            except ExhaustedError as error:
                failures.append(error)
    _hand_on(request, outcome, env, display, summary=lambda: FORMATS["report_md"](given))
    for failure in failures:
        if outcome.error is None:
            raise failure
        display.warn(failure.message)


def _hand_on(
    request: BuildRequest, outcome: Outcome, env: Mapping[str, str], display: Display, *, summary: Callable[[], str]
) -> None:
    if not (request.dotenv or provider_of(env).is_ci):
        return
    if request.dotenv:  # make its folder, as for reports; on failure, writing the file reports the reason
        with contextlib.suppress(OSError):
            make_parent(Path(request.dotenv), below=prepared_root(Path(request.dotenv)))
    found = outcome.trace.warnings if outcome.trace else ()
    lines = annotate(outcome.report.ci.provider, found, _dockerfile(request, env))
    given = outputs(
        outcome.report,
        env,
        image_id=outcome.image_id,
        dotenv=request.dotenv,
        prefix=request.output_prefix,
        summary=summary,
    )
    for warning in write_outputs(replace(given, lines=(*lines, *given.lines)), raw_stream(sys.stderr)):
        display.warn(warning)


def _dockerfile(request: BuildRequest, env: Mapping[str, str]) -> str:
    """Return the Dockerfile's path from the root of the repository; empty if BuildKit fetches it.

    The root is the CI's workspace, else the working directory.
    """
    if any(map(is_remote_context, (request.context, request.file or "."))):
        return ""
    root = env.get(provider_of(env).workspace) or "."
    return os.path.relpath(dockerfile_of(request), root)
