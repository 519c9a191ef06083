"""Run the commands. Only this room reads the environment, and turns an error into an exit code."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import re
import sys
import tempfile
import threading
import traceback
from collections.abc import Iterator
from types import TracebackType
from typing import Annotated

import typer

from buildx_cache import __version__
from buildx_cache.cli.cache_commands import app as cache_app
from buildx_cache.cli.completion import contexts
from buildx_cache.cli.parameters import BUILD_EXAMPLES, BUILD_HELP, PLAN_HELP, build_or_plan
from buildx_cache.cli.plugin_settings import forget_settings, plugin_variables
from buildx_cache.cli.starting import INIT_EXAMPLES, init
from buildx_cache.cli.streams import FULL, FULL_HINT, command_safe, discard
from buildx_cache.errors import BuildxCacheError, ExitCode
from buildx_cache.formatting import as_error, as_message, printable
from buildx_cache.interrupts import caught
from buildx_cache.redaction import redact
from buildx_cache.request.options import OTHER_NAMES

app = typer.Typer(
    name="buildx-cache",
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="""Build with Docker Buildx in one call: builder, login, cache, build, tag, push, prune.

Start with `buildx-cache doctor`, which checks this machine; `buildx-cache plan -t app .` shows what a build runs.""",
)


def _print_version(wanted: bool) -> None:  # noqa: FBT001 -- how Typer calls it
    if wanted:
        print(f"buildx-cache {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _main(
    ctx: typer.Context,
    *,
    version: Annotated[
        bool,
        typer.Option(
            "--version", metavar=" ", callback=_print_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    del version
    if ctx.invoked_subcommand is None:
        typer.echo(ctx.get_help(), nl=False)


app.command("build", help=BUILD_HELP, epilog=BUILD_EXAMPLES)(build_or_plan)
app.command("plan", help=PLAN_HELP)(build_or_plan)
app.command("init", epilog=INIT_EXAMPLES)(init)
app.add_typer(cache_app, name="cache")


@app.command("doctor")
def _doctor(
    docker_context: Annotated[
        str,
        typer.Option(
            "--docker-context",
            metavar="NAME",
            help="Docker context to use.",
            show_default=False,
            autocompletion=contexts,
        ),
    ] = "",
    cache_dir: Annotated[
        str, typer.Option("--cache-dir", metavar="DIR", help="Folder of a local cache.", show_default=False)
    ] = "",
) -> None:
    """Check Docker, Buildx, the builder, the cache folder, the CI and credentials.

    One line each; exit 0, or 3 if a build cannot work.
    """
    from buildx_cache.cli.checkup import examine_machine  # noqa: PLC0415 -- 180 ms that --help does not need

    examine_machine(docker_context, cache_dir)


@app.command("plugin", hidden=True)
def _plugin() -> None:
    """Build as the PLUGIN_ variables of Woodpecker, Drone and Harness say."""
    context, variables = plugin_variables(os.environ)
    os.environ.update(variables)
    forget_settings(os.environ)
    raise typer.Exit(int(app(args=["build", context], standalone_mode=False) or ExitCode.OK))


def main() -> int:
    """Run the command line and return its exit code; report any exception but an expected error as a bug."""
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")  # a tag may have characters that the encoding lacks
    with command_safe(os.environ), _reporting_thread_bugs(), caught() as signals:
        code = _run()
        return signals.exit_code or code


def _run() -> int:
    """Run the command and return its exit code; no exception leaves this function."""
    streams = sys.stdout, sys.stderr
    try:
        code = int(app(args=_with_push_auto(sys.argv[1:]), standalone_mode=False) or ExitCode.OK)
        sys.stdout.flush()
    except typer.TyperException as error:
        code = error.exit_code
        _complain(error.format_message(), "wrong-option", _hint_for(error.format_message()))
    except BuildxCacheError as error:
        code = error.exit_code
        _complain(error.message, error.code, error.hint)
    except SystemExit as end:
        code = int(end.code or ExitCode.OK)
        if isinstance(end.__context__, BrokenPipeError):
            code = ExitCode.SIGPIPE
            sys.stdout, sys.stderr = streams  # Typer replaces them and exits with 1, which means a failed build here
    except BrokenPipeError:
        code = ExitCode.SIGPIPE  # `| head`: exit as if by the signal
    except Exception as error:  # noqa: BLE001 -- the last resort: users see no traceback
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            code = ExitCode.EXHAUSTED
            _complain(FULL, "stdout-full", FULL_HINT)
        else:
            code = ExitCode.BUG
            _report_bug("buildx-cache", type(error), error.__traceback__)
    _discard_unwritten()
    return code


def _with_push_auto(words: list[str]) -> list[str]:
    """Replace ``--push auto`` by ``--push-auto``: Typer has no option with an optional value."""
    end = words.index("--") if "--" in words else len(words)
    spelled: list[str] = []
    for word in words[:end]:
        if word == "auto" and spelled[-1:] == ["--push"]:
            spelled[-1] = "--push-auto"
        else:
            spelled.append("--push-auto" if word == "--push=auto" else word)
    return [*spelled, *words[end:]]


def _hint_for(message: str) -> str:
    """Return a hint with the synonym of an unknown option; Typer proposes only similar spellings."""
    asked = re.search(r"--([a-z-]+)", message)
    other = OTHER_NAMES.get(asked[1], "") if asked else ""
    return f"did you mean --{other}?" if other else "`buildx-cache COMMAND --help` lists the options"


def _complain(message: str, code: str, hint: str) -> None:
    with contextlib.suppress(OSError):  # stderr itself may be closed or full
        print(f"error: {printable(as_error(redact(message), code))}", file=sys.stderr)
        if hint:
            print(f"hint: {printable(as_message(redact(hint)))}", file=sys.stderr)


def _discard_unwritten() -> None:
    """Discard output that cannot be written: at exit Python would print an error and change the exit code."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            discard(stream)


@contextlib.contextmanager
def _reporting_thread_bugs() -> Iterator[None]:
    """Report a bug in a thread like any other, in this context; Python would print the error with its values."""
    before = threading.excepthook
    threading.excepthook = lambda bug: _report_bug("a part of buildx-cache", bug.exc_type, bug.exc_traceback)
    try:
        yield
    finally:
        threading.excepthook = before


def _report_bug(what: str, kind: type[BaseException] | None, frames: TracebackType | None) -> None:
    """Write a bug's traceback to a log that only this user can read; omit messages and values, which may be secret."""
    told = f"buildx-cache {__version__}\n{''.join(traceback.format_tb(frames))}{kind.__name__ if kind else ''}\n"
    try:
        with tempfile.NamedTemporaryFile("w", prefix="buildx-cache-", suffix=".log", delete=False) as log:
            log.write(told)
        place, left = f"the log is {log.name}", ""
    except OSError:
        place, left = "and its log, which follows, could not be written", told
    hint = "run `buildx-cache doctor`, and report this with the log"
    _complain(f"internal error in {what}; {place}", BuildxCacheError.code, hint)
    sys.stderr.write(left)
