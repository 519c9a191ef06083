"""Print where readers may go away or take commands: streams, messages on stderr, results of ``cache`` on stdout."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any, TextIO, cast

import typer

from buildx_cache.ci import provider_of
from buildx_cache.ci.capabilities import json_without_commands, without_commands
from buildx_cache.ci.providers import COMMAND_MARKS
from buildx_cache.display import Display, PlainDisplay, QuietDisplay
from buildx_cache.display.base import pulse, working
from buildx_cache.display.cache_tables import Results
from buildx_cache.display.jsonl import JsonDisplay
from buildx_cache.errors import BuildxCacheError, ExhaustedError, InterruptedBuildError
from buildx_cache.request import BuildRequest, Progress

FULL, FULL_HINT = "the output cannot be written: no space left", "free some, or write it elsewhere"


@contextlib.contextmanager
def guarded(env: Mapping[str, str]) -> Iterator[None]:
    """While this lasts, nothing on stdout or stderr is a command to the CI that reads them.

    Names of tags, branches, folders and layers are anybody's, and Rich may have a line begin within one. What is
    this program's own command is written to ``unguarded``.
    """
    if not any(env.get(name) for name in COMMAND_MARKS):
        yield
        return
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (cast("TextIO", _Guarded(stream)) for stream in before)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def unguarded(stream: TextIO) -> TextIO:
    """The stream as it is, for commands of this program's own and for whoever sees to it that there are no others."""
    return stream.unguarded if isinstance(stream, _Guarded) else stream


class _Guarded:
    def __init__(self, stream: TextIO) -> None:
        self.unguarded = stream

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 -- whatever else a stream has
        return getattr(self.unguarded, name)

    def write(self, text: str) -> int:
        self.unguarded.write(without_commands(text))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)


def lead_nowhere(stream: TextIO) -> None:
    """Have what is written to ``stream`` from now on, and what is still in it, be taken and lost."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def watched(stream: TextIO) -> TextIO:
    """The same stream, which ends a call in order where it takes no more, and from then on leads nowhere.

    Writing raises once ``InterruptedBuildError`` where nobody reads it any more, and ``ExhaustedError`` where there is
    no space; Python and Rich would each have their own way to end the program.
    """
    return cast("TextIO", _Watched(stream))


class _Watched:
    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 -- whatever else a stream has
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        with self._watching():
            return self._stream.write(text)

    def flush(self) -> None:
        with self._watching():
            self._stream.flush()

    @contextlib.contextmanager
    def _watching(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno not in (errno.EPIPE, errno.ENOSPC):
                raise
            lead_nowhere(self._stream)
            if error.errno == errno.EPIPE:
                raise InterruptedBuildError(signal.SIGPIPE) from None
            raise ExhaustedError(FULL, code="stdout-full", hint=FULL_HINT) from None


def first_display(env: Mapping[str, str], *, no_color: bool = False) -> Display:
    """The display for what fails before the request is known."""
    return QuietDisplay(sys.stderr, color=wants_color(env, no_color=no_color))


def display_for(request: BuildRequest, env: Mapping[str, str]) -> Display:
    """The display that the request asks for, as far as what reads it can take it.

    A tree is drawn on a terminal that can move its cursor, and never in a CI: some have terminals, but their logs are
    read as lines. Who wants no colours gets no control sequence at all, but for a tree that is asked for by name.
    """
    if request.progress is Progress.JSON:
        return JsonDisplay(watched(sys.stdout))
    ci = provider_of(env)
    stderr = watched(unguarded(sys.stderr) if ci.is_ci else sys.stderr)
    color = wants_color(env, no_color=request.no_color) and not ci.is_ci
    if request.progress is Progress.QUIET:
        return QuietDisplay(stderr, color=color, provider=ci.name)
    is_wanted = request.progress is Progress.LIVE or (request.progress is Progress.AUTO and color)
    if is_wanted and not ci.is_ci:
        from buildx_cache.display.live import LiveDisplay, can_draw  # noqa: PLC0415 -- Rich: 25 ms that no CI needs

        if can_draw(sys.stderr, env):
            return LiveDisplay(stderr, color=color, verbose=request.verbose)
    return PlainDisplay(stderr, color=color, verbose=request.verbose, provider=ci.name)


@contextmanager
def displaying(display: Display) -> Iterator[None]:
    """While this lasts the display may draw; whatever ends it, nothing of that stays."""
    try:
        with pulse(display):
            yield
        display.close()
    except BaseException:
        display.close()  # again, should that have been interrupted
        raise


def wants_color(env: Mapping[str, str], *, no_color: bool, terminal: bool | None = None) -> bool:
    """Whether to colour: a terminal (stderr, unless told), and neither option nor variables speak against it."""
    on_terminal = sys.stderr.isatty() if terminal is None else terminal
    return on_terminal and not no_color and not env.get("NO_COLOR") and env.get("TERM") != "dumb"


@contextmanager
def failing(
    env: Mapping[str, str], *, no_color: bool = False, display: Callable[[], Display] | None = None
) -> Iterator[None]:
    """Turn an expected error into its message, on ``display`` if there is one already, and exit code."""
    try:
        yield
    except BuildxCacheError as error:
        (display() if display else first_display(env, no_color=no_color)).failure(error, None)
        raise typer.Exit(error.exit_code) from None


SCHEMA = 1


class Output:
    """The output of one command; what is not a result goes to stderr.

    ``console`` prints nothing where a document is asked for; ``now`` is in seconds since the epoch.
    """

    def __init__(self, env: Mapping[str, str], *, as_json: bool) -> None:
        self._as_json = as_json
        self._color = wants_color(env, no_color=False)
        on_terminal = wants_color(env, no_color=False, terminal=sys.stdout.isatty())
        self.console = Results(sys.stdout, color=on_terminal, quiet=as_json)
        self.now = time.time()
        display = PlainDisplay(sys.stderr, color=self._color)
        self.say, self.warn = display.say, display.warn

    def document(self, **values: object) -> None:
        """Print the one document, where it is asked for."""
        if self._as_json:
            print(json_without_commands(json.dumps({"schema": SCHEMA, **values}, indent=2)))

    def working(self, text: str) -> AbstractContextManager[None]:
        """Say ``text`` on stderr if it takes long."""
        return working(text, sys.stderr, color=self._color)
