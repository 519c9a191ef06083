"""``build`` and ``plan``."""

from __future__ import annotations

import contextlib
import inspect
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from enum import StrEnum
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from buildx_cache.cli.help import DrawnCommand
from buildx_cache.cli.streams import unguarded, watched
from buildx_cache.cli.terminal import display_for, displaying, failing
from buildx_cache.errors import BuildxCacheError, ExhaustedError, UsageError
from buildx_cache.interrupts import interrupt_after, interruptible
from buildx_cache.options import Options, takes_options

if TYPE_CHECKING:
    from buildx_cache.display import Display
    from buildx_cache.redaction import Secret
    from buildx_cache.request import BuildRequest
    from buildx_cache.run import Outcome

_EXAMPLES = """

[bold]Examples[/]

  buildx-cache build -t registry.example.com/team/app:{short_sha} --push .

  buildx-cache build -t app --load --cache local --cache-dir ~/.cache/app .

  buildx-cache build -t org/app:1 --push --platform linux/amd64,linux/arm64 .

  buildx-cache build -t app --load . -- --call check
"""


class PlanFormat(StrEnum):
    """How ``plan`` prints."""

    SHELL = "shell"
    JSON = "json"


class _Wording(DrawnCommand):
    """A command whose options are taken word by word; words after ``--`` are Buildx' own, kept in the context's object.

    Typer has pydantic look at each value, given or not: its import and sixty of its adapters take 100 milliseconds.
    What the words mean is for ``read_request`` to tell.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401 -- Typer's own, unnamed, class
        if "--" in args:
            cut = args.index("--")
            ctx.obj = tuple(args[cut + 1 :])
            args = args[:cut]
        given, left, _ = self.make_parser(ctx).parse_args(args=args)
        for parameter in self.get_params(ctx):
            if not parameter.is_eager:
                ctx.params[parameter.name] = given.get(parameter.name)
            elif parameter.name in given:  # --help
                parameter.handle_parse_result(ctx, given, left)
        if left and not ctx.resilient_parsing:  # a shell that completes words does not mind
            ctx.fail(f"the build context is one folder or address: {' '.join(left)!r} is too much")
        ctx.args = left
        return left

    def collect_usage_pieces(self, ctx: Any) -> list[str]:  # noqa: ANN401 -- same
        return [*super().collect_usage_pieces(ctx), "[-- BUILDX_FLAGS…]"]


def _build(options: Options, ctx: typer.Context) -> None:
    from buildx_cache.ci import provider_name
    from buildx_cache.cli.hidden import forget_secrets, have_masked, hidden_values, keep_out_of_metadata, redactor
    from buildx_cache.cli.reading import read_password, read_request
    from buildx_cache.cli.session import open_session
    from buildx_cache.request.units import parse_duration

    env = dict(os.environ)
    with failing(env, no_color=bool(options.no_color)), interruptible():
        asked = read_request(options, ctx.obj or (), env)
        request = asked.request
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
                have_masked(request, hidden, watched(unguarded(sys.stderr)), provider=provider_name(env))
                forget_secrets(request, env, os.environ)
                keep_out_of_metadata(request, env)
                with asked.values_unshown():
                    session = open_session(request, env)
            except BuildxCacheError as error:
                error.rewrite(redactor(request, hidden).text)
                _tell_unbegun(request, env, error, shown())
                raise
            from buildx_cache.run import Secrets, execute, step_record, with_context, with_saved

            display = shown()
            with displaying(display):
                secrets = Secrets(password=password, hidden=hidden)
                outcome = execute(session.plan, session.engine, display, session.ci, secrets)
            outcome = with_context(outcome, request, display)
            outcome = with_saved(outcome, step_record(session.plan, session.ci, session.place.cache_dir))
            try:
                _show(outcome, display)
            finally:  # whoever reads what is shown may be gone; nobody else is to miss anything for that
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
    """Show a line also where the configuration file itself asks for quiet."""
    from buildx_cache.request import Progress
    from buildx_cache.wording import printable

    if request.progress is Progress.QUIET:
        print(printable(line), file=sys.stderr)
    else:
        display.say(line)


def _tell_unbegun(request: BuildRequest, env: Mapping[str, str], error: BuildxCacheError, display: Display) -> None:
    """Write reports and values of a call without a plan too: none of an earlier one is to be taken for its own."""
    from buildx_cache.cli.session import told_by_ci
    from buildx_cache.run.unbegun import unbegun

    _tell_files(request, unbegun(request, told_by_ci(env), error), env, display)


def _tell_files(request: BuildRequest, outcome: Outcome, env: Mapping[str, str], display: Display) -> None:
    """Write the reports that were asked for, and hand values on to later steps."""
    from buildx_cache.report.forms import FORMS, Told
    from buildx_cache.report.writing import write_report
    from buildx_cache.request import REPORTS, option_key

    told = Told(report=outcome.report, trace=outcome.trace, logs=outcome.logs, error=outcome.error)
    failures: list[BuildxCacheError] = []
    for name in REPORTS:
        if path := getattr(request, name):
            try:
                write_report(FORMS[name](told), path, f"--{option_key(name)}")
            except ExhaustedError as error:
                failures.append(error)
    _hand_on(request, outcome, env, display, summary=lambda: FORMS["report_md"](told))
    for failure in failures:
        if outcome.error is None:
            raise failure
        display.warn(failure.message)


def _hand_on(
    request: BuildRequest, outcome: Outcome, env: Mapping[str, str], display: Display, *, summary: Callable[[], str]
) -> None:
    if not (request.dotenv or outcome.report.ci.provider != "none"):
        return
    from buildx_cache.atomic import make_parent
    from buildx_cache.ci.annotations import annotate
    from buildx_cache.ci.outputs import outputs, write_outputs
    from buildx_cache.working_copy import prepared_root

    if request.dotenv:  # like those of reports, its folder is made; where it cannot be, the writing says why
        with contextlib.suppress(OSError):
            make_parent(Path(request.dotenv), below=prepared_root(Path(request.dotenv)))
    found = outcome.trace.warnings if outcome.trace else ()
    lines = annotate(outcome.report.ci.provider, found, _dockerfile(request, env))
    given = outputs(outcome.report, env, image_id=outcome.image_id, dotenv=request.dotenv, summary=summary)
    for warning in write_outputs(replace(given, lines=(*lines, *given.lines)), unguarded(sys.stderr)):
        display.warn(warning)


def _dockerfile(request: BuildRequest, env: Mapping[str, str]) -> str:
    """The Dockerfile's path from the root of the repository, as far as the CI tells where that is; else empty."""
    from buildx_cache.request import is_remote_context

    if any(map(is_remote_context, (request.context, request.file or "."))):
        return ""
    root = next((env[name] for name in ("GITHUB_WORKSPACE", "BUILD_SOURCESDIRECTORY") if env.get(name)), ".")
    return os.path.relpath(request.file or f"{request.context}/Dockerfile", root)


def _plan(options: Options, ctx: typer.Context, output_format: str | None, assume_driver: str | None) -> None:
    from buildx_cache.cli.hidden import forget_secrets
    from buildx_cache.cli.reading import read_request
    from buildx_cache.cli.session import assumed_plan, open_session, parse_driver
    from buildx_cache.plan.render import plan_json, shell_lines
    from buildx_cache.wording import printable

    env = dict(os.environ)
    with failing(env, no_color=bool(options.no_color)):
        chosen = _plan_format(output_format or PlanFormat.SHELL)
        asked = read_request(options, ctx.obj or (), env)
        request = asked.request
        for line in asked.lines:
            print(printable(line), file=sys.stderr)
        forget_secrets(request, env, os.environ)
        driver = parse_driver(assume_driver) if assume_driver else None
        with asked.values_unshown():
            plan = assumed_plan(request, env, driver) if driver else open_session(request, env).plan
        print(plan_json(plan) if chosen is PlanFormat.JSON else shell_lines(plan), end="")


def _plan_format(name: str) -> PlanFormat:
    from buildx_cache.caches import closest

    try:
        return PlanFormat(name)
    except ValueError:
        raise UsageError(f"--format: {name!r} is not a format", hint=closest(name, [*PlanFormat])) from None


_build.__doc__ = (
    "Build an image: builder, login, cache, build, tag, push and prune in one call.\n\n"
    "Results go to stdout: one line a pushed tag, with its digest." + _EXAMPLES
)
_plan.__doc__ = (
    "Print what `build` would run, and touch nothing.\n\n"
    "The lines can be pasted into a shell and do the same. Takes every option of `build`."
)


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    context = _parameter("ctx", typer.Context)
    app.command("build", cls=_Wording)(takes_options(_build, context))
    app.command("plan", cls=_Wording)(takes_options(_plan, context, *_PLAN_PARAMETERS))


def _parameter(name: str, annotation: object, default: object = inspect.Parameter.empty) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


_PLAN_PARAMETERS = (
    _parameter(
        "output_format",
        Annotated[
            str | None,
            typer.Option(
                "--format",
                metavar="shell|json",
                help="Shell lines, or JSON.",
                rich_help_panel="Plan",
                show_default=PlanFormat.SHELL.value,
                autocompletion=lambda: list(PlanFormat),
            ),
        ],
        None,
    ),
    _parameter(
        "assume_driver",
        Annotated[
            str | None,
            typer.Option(
                "--assume-driver",
                metavar="DRIVER",
                help="Ask no Docker: plan for this driver.",
                rich_help_panel="Plan",
                show_default=False,
            ),
        ],
        None,
    ),
)
