"""The commands. The only reader of the environment, and the only place where an error becomes an exit code."""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Callable
from typing import Annotated, NoReturn

import typer
from typer.exceptions import Abort, TyperException

from buildx_cache import __version__
from buildx_cache.cli import building, cache, doctor
from buildx_cache.cli.help import DrawnGroup
from buildx_cache.cli.streams import guarded
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
    _have_streams()
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")  # a tag may hold what the terminal's encoding does not
    with guarded(os.environ):
        _run()


def _run() -> NoReturn:
    try:
        code = _program()(standalone_mode=False) or ExitCode.OK
        sys.stdout.flush()
        sys.exit(code)
    except TyperException as error:
        from buildx_cache.cli.refusals import refusal

        _complain(*refusal(error))
        sys.exit(error.exit_code)
    except (Abort, KeyboardInterrupt):
        sys.exit(ExitCode.SIGINT)
    except BrokenPipeError:
        _leave(ExitCode.SIGPIPE)  # `| head`: as the signal would have it
    except OSError as error:
        if error.errno != errno.ENOSPC:
            _report_bug()
        _complain("the output cannot be written: no space left", "free some, or write it elsewhere")
        _leave(ExitCode.EXHAUSTED)
    except Exception:  # noqa: BLE001 -- the last resort: a user never sees a traceback
        _report_bug()


def _have_streams() -> None:
    """Have all three standard streams: in place of a closed one, the next file or pipe would be taken for it."""
    for name, number, mode in (("stdin", 0, "r"), ("stdout", 1, "w"), ("stderr", 2, "w")):
        if getattr(sys, name) is None:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
            setattr(sys, name, open(number, mode, closefd=False))  # noqa: SIM115 -- for as long as the program


def _program() -> Callable[..., ExitCode | None]:
    """The commands. Their own switches are off where they are not given: Typer asks pydantic what a None is (60 ms)."""
    program = typer.main.get_command(app)
    for switch in program.get_params(typer.Context(program, **program.context_settings)):
        switch.default = switch.default or False
    return program


def _complain(message: str, hint: str) -> None:
    from buildx_cache.redaction import redact
    from buildx_cache.wording import as_message, printable

    for title, text in (("error", message), ("to do", hint)):
        print(f"{title}: {printable(as_message(redact(text)))}", file=sys.stderr)


def _leave(code: int) -> NoReturn:
    """End where stdout takes no more, without Python's own words about that."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)


def _report_bug() -> NoReturn:
    import tempfile
    import traceback

    frames = "".join(traceback.format_tb(sys.exc_info()[2]))
    told = f"buildx-cache {__version__}\n{frames}{type(sys.exc_info()[1]).__name__}\n"
    try:
        with tempfile.NamedTemporaryFile("w", prefix="buildx-cache-", suffix=".log", delete=False) as log:
            log.write(told)
        place = f"the log is {log.name}"
    except OSError:
        place = f"and could not write a log, which would say:\n{told}"
    _complain(
        f"buildx-cache failed in a way it should not; {place}",
        "run `buildx-cache doctor`, and report this with the log",
    )
    sys.exit(ExitCode.BUG)


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
