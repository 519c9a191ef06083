"""The commands. The only reader of the environment, and the only place where an error becomes an exit code."""

from __future__ import annotations

import contextlib
import copy
import errno
import io
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Annotated, NoReturn

import typer
from typer.exceptions import Abort, TyperException

from buildx_cache import __version__
from buildx_cache.cli import building, cache, doctor
from buildx_cache.cli.help import DrawnGroup
from buildx_cache.cli.streams import FULL, FULL_HINT, guarded, lead_nowhere
from buildx_cache.errors import ExitCode

app = typer.Typer(
    name="buildx-cache",
    cls=DrawnGroup,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Build with Docker Buildx in one call: builder, login, cache, build, tag, push, prune.",
)


def main() -> NoReturn:
    """Run the command line: expected failures have their exit codes, anything else is a bug and says so."""
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")  # a tag may hold what the terminal's encoding does not
    with guarded(os.environ), _bugs_of_threads_told():
        _run()


def _run() -> NoReturn:
    streams = sys.stdout, sys.stderr
    try:
        code = _program(sys.argv[1:2])(standalone_mode=False) or ExitCode.OK
        sys.stdout.flush()
        sys.exit(code)
    except TyperException as error:
        from buildx_cache.cli.refusals import refusal

        _complain(*refusal(error))
        _leave(error.exit_code)
    except (Abort, KeyboardInterrupt):
        sys.exit(ExitCode.SIGINT)
    except SystemExit as end:
        if not isinstance(end.__context__, BrokenPipeError):
            raise
        sys.stdout, sys.stderr = streams  # Typer's own end is 1, as of a build that failed, and puts others there
        _leave(ExitCode.SIGPIPE)
    except BrokenPipeError:
        _leave(ExitCode.SIGPIPE)  # `| head`: as the signal would have it
    except OSError as error:
        if error.errno != errno.ENOSPC:
            _report_bug()
        _complain(FULL, FULL_HINT)
        _leave(ExitCode.EXHAUSTED)
    except Exception:  # noqa: BLE001 -- the last resort: a user never sees a traceback
        _report_bug()


def _program(first: Sequence[str]) -> Callable[..., ExitCode | None]:
    """The commands; of several, the one that the first word names alone: making the others takes Typer 8 ms.

    Their own switches are off where they are not given: Typer asks pydantic what a None is (60 ms).
    """
    program = typer.main.get_command(_narrowed(first))
    for switch in program.get_params(typer.Context(program, **program.context_settings)):
        switch.default = switch.default or False
    return program


def _narrowed(first: Sequence[str]) -> typer.Typer:
    named = copy.copy(app)
    named.registered_commands = [each for each in app.registered_commands if each.name in first]
    named.registered_groups = [each for each in app.registered_groups if each.name in first]
    return named if named.registered_commands or named.registered_groups else app


def _complain(message: str, hint: str) -> None:
    from buildx_cache.redaction import redact
    from buildx_cache.wording import as_message, printable

    with contextlib.suppress(OSError):  # it may be stderr that takes no more
        for title, text in (("error", message), ("to do", hint)):
            print(f"{title}: {printable(as_message(redact(text)))}", file=sys.stderr)


def _leave(code: int) -> NoReturn:
    """End where a stream takes no more, without Python's own words, and exit code, about that."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            lead_nowhere(stream)
    sys.exit(code)


def _report_bug() -> NoReturn:
    kind, _, frames = sys.exc_info()
    _tell_bug("buildx-cache", kind, frames)
    sys.exit(ExitCode.BUG)


@contextlib.contextmanager
def _bugs_of_threads_told() -> Iterator[None]:
    """While this lasts, a bug in a thread is told like any other; Python would print what went wrong with what."""
    before = threading.excepthook
    threading.excepthook = lambda bug: _tell_bug("a part of buildx-cache", bug.exc_type, bug.exc_traceback)
    try:
        yield
    finally:
        threading.excepthook = before


def _tell_bug(what: str, kind: type[BaseException] | None, frames: TracebackType | None) -> None:
    """Name a log, which its owner can read, of where it happened: what was said or held there may be secret."""
    import tempfile
    import traceback

    told = f"buildx-cache {__version__}\n{''.join(traceback.format_tb(frames))}{kind.__name__ if kind else ''}\n"
    try:
        with tempfile.NamedTemporaryFile("w", prefix="buildx-cache-", suffix=".log", delete=False) as log:
            log.write(told)
        place, left = f"the log is {log.name}", ""
    except OSError:
        place, left = "and its log, which follows, could not be written", told
    _complain(
        f"{what} failed in a way it should not; {place}", "run `buildx-cache doctor`, and report this with the log"
    )
    sys.stderr.write(left)


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


building.add_to(app)
cache.add_to(app)
doctor.add_to(app)
