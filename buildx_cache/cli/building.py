"""``build`` and ``plan``."""

from __future__ import annotations

import inspect
import os
from enum import StrEnum
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from buildx_cache.cli.terminal import display_for, failing, first_display, signals
from buildx_cache.options import Options, takes_options

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


class _PassingOn(TyperCommand):
    """A command whose words after ``--`` are Buildx' own; they are kept in the context's object."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401 -- Typer's own, unnamed, class
        if "--" in args:
            cut = args.index("--")
            ctx.obj = tuple(args[cut + 1 :])
            args = args[:cut]
        return super().parse_args(ctx, args)

    def collect_usage_pieces(self, ctx: Any) -> list[str]:  # noqa: ANN401 -- same
        return [*super().collect_usage_pieces(ctx), "[-- BUILDX_FLAGS…]"]


def _build(options: Options, ctx: typer.Context) -> None:
    from buildx_cache.cli.session import open_session, read_password, read_request
    from buildx_cache.report import write_report
    from buildx_cache.run import execute

    env = dict(os.environ)
    display = first_display(env, no_color=bool(options.no_color))
    with failing(display), signals():
        request = read_request(options, ctx.obj or (), env)
        display = display_for(request, env)
        password = read_password(request, env)
        session = open_session(request, env)
        outcome = execute(session.plan, session.engine, display, session.ci, password)
        for line in outcome.results:
            print(line)
        display.summary(outcome.report)
        if outcome.error:
            display.failure(outcome.error, outcome.trace)
        if request.report:
            write_report(outcome.report, request.report)
    if outcome.error:
        raise typer.Exit(outcome.error.exit_code)


def _plan(options: Options, ctx: typer.Context, output_format: PlanFormat, assume_driver: str | None) -> None:
    from buildx_cache.cli.session import assumed_plan, open_session, parse_driver, read_request
    from buildx_cache.plan.render import plan_json, shell_lines

    env = dict(os.environ)
    with failing(first_display(env, no_color=bool(options.no_color))):
        request = read_request(options, ctx.obj or (), env)
        driver = parse_driver(assume_driver) if assume_driver else None
        plan = assumed_plan(request, env, driver) if driver else open_session(request, env).plan
        print(plan_json(plan) if output_format is PlanFormat.JSON else shell_lines(plan), end="")


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
    app.command("build", cls=_PassingOn)(takes_options(_build, context))
    app.command("plan", cls=_PassingOn)(takes_options(_plan, context, *_PLAN_PARAMETERS))


def _parameter(name: str, annotation: object, default: object = inspect.Parameter.empty) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


_PLAN_PARAMETERS = (
    _parameter(
        "output_format",
        Annotated[PlanFormat, typer.Option("--format", help="Shell lines, or JSON.", rich_help_panel="Plan")],
        PlanFormat.SHELL,
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
