"""The commands. The only reader of the environment, and the only place where an error becomes an exit code."""

from __future__ import annotations

import inspect
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from typer.core import TyperCommand
from typer.exceptions import Abort, TyperException

from buildx_cache import __version__
from buildx_cache.errors import BuildxCacheError, ExitCode, InterruptedBuildError, UsageError
from buildx_cache.options import Options, takes_options
from buildx_cache.redaction import Secret

if TYPE_CHECKING:  # what only a command needs is imported there, so that --help and completion stay quick
    from buildx_cache.ci import CIContext
    from buildx_cache.display import Display
    from buildx_cache.engine.docker import DockerEngine
    from buildx_cache.plan import BuildPlan, Place
    from buildx_cache.request import BuildRequest, Driver, Layer

app = typer.Typer(
    name="buildx-cache",
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Build with Docker Buildx in one call: builder, login, cache, build, tag, push, prune.",
)

_EXAMPLES = """

[bold]Examples[/]

  buildx-cache build -t registry.example.com/team/app:{short_sha} --push .

  buildx-cache build -t app --load --cache local --cache-dir .cache .

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


def main() -> NoReturn:
    """Run the command line: expected failures have their exit codes, anything else is a bug and says so."""
    try:
        sys.exit(app(standalone_mode=False) or ExitCode.OK)
    except TyperException as error:
        _complain(error.format_message(), "`buildx-cache COMMAND --help` shows the options")
        sys.exit(error.exit_code)
    except (Abort, KeyboardInterrupt):
        sys.exit(ExitCode.SIGINT)
    except Exception:  # noqa: BLE001 -- the last resort: a user never sees a traceback
        _report_bug()


def _complain(message: str, hint: str) -> None:
    print(f"error: {message}\nto do: {hint}", file=sys.stderr)


def _report_bug() -> NoReturn:
    import tempfile
    import traceback

    with tempfile.NamedTemporaryFile("w", prefix="buildx-cache-", suffix=".log", delete=False) as log:
        log.write(f"buildx-cache {__version__}\n")
        log.write("".join(traceback.format_tb(sys.exc_info()[2])))
        log.write(f"{type(sys.exc_info()[1]).__name__}\n")
    _complain(
        f"buildx-cache failed in a way it should not; the log is {log.name}",
        "run `buildx-cache doctor`, and report this with the log",
    )
    sys.exit(ExitCode.BUG)


# --- commands --------------------------------------------------------------------------------------------


def _command(name: str, function: Callable[..., None], *more: inspect.Parameter) -> None:
    app.command(name, cls=_PassingOn)(takes_options(function, *more))


def _parameter(name: str, annotation: object, default: object = inspect.Parameter.empty) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _build(options: Options, ctx: typer.Context) -> None:
    from buildx_cache.report import write_report
    from buildx_cache.run import execute

    env = dict(os.environ)
    display = _display(options, env)
    with _failing(display), _signals():
        request = _request(options, ctx.obj or (), env)
        display = _display_for(request, env)
        password = _password(request, env)
        session = _session(request, env)
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
    from buildx_cache.plan.render import plan_json, shell_lines

    env = dict(os.environ)
    with _failing(_display(options, env)):
        request = _request(options, ctx.obj or (), env)
        driver = _driver(assume_driver) if assume_driver else None
        plan = _assumed(request, env, driver) if driver else _session(request, env).plan
        print(plan_json(plan) if output_format is PlanFormat.JSON else shell_lines(plan), end="")


def _doctor(
    docker_context: Annotated[
        str, typer.Option("--docker-context", metavar="NAME", help="Docker context to use.", show_default=False)
    ] = "",
    cache_dir: Annotated[
        str, typer.Option("--cache-dir", metavar="DIR", help="Folder of a local cache.", show_default=False)
    ] = "",
) -> None:
    """Check Docker, Buildx, the builder, the cache folder, the CI and credentials.

    One line each; exit 0, or 3 if a build cannot work.
    """
    from buildx_cache.display import checks_table
    from buildx_cache.doctor import Verdict, examine
    from buildx_cache.engine.credentials import stored_credentials
    from buildx_cache.engine.docker import DockerEngine
    from buildx_cache.request import BuildRequest

    env = dict(os.environ)
    place, ci = _surroundings(BuildRequest(), env)
    checks = tuple(
        examine(
            lambda: DockerEngine(env, docker_context).facts(place),
            ci,
            stored_credentials(env),
            cache_dir or place.cache_dir,
            env.get("PATH", ""),
        )
    )
    checks_table(checks, sys.stdout, color=_wants_color(env, no_color=False, terminal=sys.stdout.isatty()))
    if any(check.verdict is Verdict.FAIL for check in checks):
        raise typer.Exit(ExitCode.NO_ENGINE)


def _version(*, wanted: bool) -> None:
    if wanted:
        print(f"buildx-cache {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _main(
    ctx: typer.Context,
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=lambda value: _version(wanted=value), is_eager=True, help="Show it.")
    ] = False,
) -> None:
    del version
    if ctx.invoked_subcommand is None:
        print(ctx.get_help())


_build.__doc__ = (
    "Build an image: builder, login, cache, build, tag, push and prune in one call.\n\n"
    "Results go to stdout: one line a pushed tag, with its digest." + _EXAMPLES
)
_plan.__doc__ = (
    "Print what `build` would run, and touch nothing.\n\n"
    "The lines can be pasted into a shell and do the same. Takes every option of `build`."
)
_command("build", _build, _parameter("ctx", typer.Context))
_command(
    "plan",
    _plan,
    _parameter("ctx", typer.Context),
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
app.command("doctor")(_doctor)


# --- from the command line to a plan ---------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class _Session:
    """What a build needs beside its request."""

    engine: DockerEngine
    ci: CIContext
    plan: BuildPlan


def _request(options: Options, buildx_flags: tuple[str, ...], env: Mapping[str, str]) -> BuildRequest:
    from buildx_cache.request import Layer, check_paths, config_layer, environment_layer, make_request

    values = options.given()
    given = Layer(where="--{name}", values={**values, "buildx_flags": buildx_flags} if buildx_flags else values)
    config = config_layer(str(values.get("context", ".")), Path.cwd())
    layers = (given, environment_layer(env), *((config,) if config else ()))
    login_given = any(
        name in layer.values for layer in layers for name in ("username", "password_stdin", "password_env")
    )
    request = make_request((*layers, _login_layer(env, whole=not login_given)))
    check_paths(request)
    return request


def _login_layer(env: Mapping[str, str], *, whole: bool) -> Layer:
    """``DOCKER_REGISTRY``, and where ``whole``, ``DOCKER_LOGIN`` and ``DOCKER_PASSWORD``, as CI recipes name them.

    A login given otherwise is taken as it is: a name from here and a password from there make none.
    """
    from buildx_cache.request import Layer

    values: dict[str, object] = {"registry": env["DOCKER_REGISTRY"]} if env.get("DOCKER_REGISTRY") else {}
    if whole and env.get("DOCKER_LOGIN") and env.get("DOCKER_PASSWORD"):
        values |= {"username": env["DOCKER_LOGIN"], "password_env": "DOCKER_PASSWORD"}
    return Layer(where="DOCKER_*", values=values)


def _session(request: BuildRequest, env: Mapping[str, str]) -> _Session:
    from buildx_cache.engine.docker import DockerEngine
    from buildx_cache.plan import make_plan, needed_builder
    from buildx_cache.request import check_cache_directory

    place, ci = _surroundings(request, env)
    engine = DockerEngine(env, request.docker_context)
    facts = engine.facts(place, request.builder)
    own = needed_builder(request, ci, facts)
    if own:
        facts = replace(facts, own_builder=engine.find_builder(own))
    plan = make_plan(request, ci, facts)
    if plan.cache.directory and not plan.cache.read_only:
        check_cache_directory(plan.cache.directory)
    return _Session(engine=engine, ci=ci, plan=plan)


def _surroundings(request: BuildRequest, env: Mapping[str, str]) -> tuple[Place, CIContext]:
    from buildx_cache.ci import detect
    from buildx_cache.engine.git import read_git, work_tree
    from buildx_cache.engine.loaded import cache_home
    from buildx_cache.plan import Place
    from buildx_cache.request import is_remote_context

    folder = Path.cwd() if is_remote_context(request.context) else Path(request.context).resolve()
    top = work_tree(folder)
    project = f"{_slug(top.name)}-{_digest(str(top))}"
    parts = (str(folder.relative_to(top)), request.context if is_remote_context(request.context) else "", request.file)
    own = "" if parts == (".", "", "") else f"-{_digest(*parts)}"
    place = Place(
        project=project, cache_dir=str(cache_home(env) / f"{project}{own}"), today=datetime.now(UTC).date().isoformat()
    )
    return place, detect(env, git=lambda: read_git(folder, env), read_text=_read_text)


def _driver(name: str) -> Driver:
    from buildx_cache.caches import closest
    from buildx_cache.request import Driver

    try:
        return Driver(name)
    except ValueError:
        drivers = [driver.value for driver in Driver]
        raise UsageError(f"--assume-driver: {name!r} is not a driver", hint=closest(name, drivers)) from None


def _assumed(request: BuildRequest, env: Mapping[str, str], driver: Driver) -> BuildPlan:
    """The plan for a driver, without asking Docker: current versions, no builder there but the engine's own."""
    from buildx_cache.plan import Builder, Facts, Node, Store, make_plan
    from buildx_cache.request import Driver

    place, ci = _surroundings(request, env)
    facts = Facts(
        docker="",
        buildx=(99, 0, 0),
        store=Store.CONTAINERD,
        context=request.docker_context or "default",
        place=place,
        builder=Builder(
            name=request.builder or "default",
            driver=driver if request.builder else Driver.DOCKER,
            nodes=(Node(name="assumed", status="running"),),
        ),
    )
    chosen = (
        request if request.builder or request.driver or driver is Driver.DOCKER else replace(request, driver=driver)
    )
    return make_plan(chosen, ci, facts)


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:32] or "project"


def _digest(*parts: str) -> str:
    import hashlib

    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogateescape")).hexdigest()[:8]


def _read_text(path: str) -> str | None:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None


def _password(request: BuildRequest, env: Mapping[str, str]) -> Secret | None:
    """The login's password, from stdin or from the variable named.

    Raises:
        UsageError: there is none.
    """
    if not request.username:
        return None
    if request.password_stdin:
        password, source = sys.stdin.readline().rstrip("\r\n"), "stdin"
    else:
        password, source = env.get(request.password_env, ""), f"the variable {request.password_env}"
    if not password:
        raise UsageError(f"there is no password in {source}", hint="set it in the CI's settings, or drop --username")
    return Secret(password)


# --- showing ---------------------------------------------------------------------------------------------


def _display(options: Options, env: Mapping[str, str]) -> Display:
    """The display for what fails before the request is known."""
    from buildx_cache.display import QuietDisplay

    return QuietDisplay(sys.stderr, color=_wants_color(env, no_color=bool(options.no_color)))


def _display_for(request: BuildRequest, env: Mapping[str, str]) -> Display:
    from buildx_cache.display import PlainDisplay, QuietDisplay
    from buildx_cache.request import Progress

    color = _wants_color(env, no_color=request.no_color)
    if request.progress is Progress.QUIET:
        return QuietDisplay(sys.stderr, color=color)
    return PlainDisplay(sys.stderr, color=color, verbose=request.verbose)


def _wants_color(env: Mapping[str, str], *, no_color: bool, terminal: bool | None = None) -> bool:
    on_terminal = sys.stderr.isatty() if terminal is None else terminal
    return on_terminal and not no_color and not env.get("NO_COLOR") and env.get("TERM") != "dumb"


@contextmanager
def _failing(display: Display) -> Iterator[None]:
    """Turn an expected error into its message and exit code."""
    try:
        yield
    except BuildxCacheError as error:
        display.failure(error, None)
        raise typer.Exit(error.exit_code) from None


@contextmanager
def _signals() -> Iterator[None]:
    """While this lasts, the first signal ends the call in an orderly way, and further ones do not hinder that."""
    caught = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def stop(number: int, frame: FrameType | None) -> None:
        del frame
        for each in caught:
            signal.signal(each, signal.SIG_IGN)
        raise InterruptedBuildError(number)

    before = {number: signal.signal(number, stop) for number in caught}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
