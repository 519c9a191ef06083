"""Choose the display of a call and show its error on it; print what the other commands find."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager

import typer

from buildx_cache.ci import provider_of
from buildx_cache.ci.capabilities import json_without_commands
from buildx_cache.cli.streams import fail_fast, raw_stream
from buildx_cache.display import Display, PlainDisplay, QuietDisplay
from buildx_cache.display.base import ticking, working
from buildx_cache.display.jsonl import JsonDisplay
from buildx_cache.errors import BuildxCacheError
from buildx_cache.request.build_request import BuildRequest, Progress

SCHEMA = 1
"""The version of the JSON documents."""


def first_display(env: Mapping[str, str], *, no_color: bool = False) -> Display:
    """Return the display for errors that occur before the request is known."""
    return QuietDisplay(sys.stderr, color=wants_color(env, no_color=no_color))


def display_for(request: BuildRequest, env: Mapping[str, str]) -> Display:
    """Return the display that the request asks for, or the plain one if the reader cannot show that.

    The live display needs a terminal that can move its cursor. It is never used in a CI: some CIs have terminals, but
    people read their logs as lines. Without colours no control sequence is written, unless ``--progress live`` is
    given.
    """
    if request.progress is Progress.JSON:
        return JsonDisplay(fail_fast(sys.stdout))
    ci = provider_of(env)
    stderr = fail_fast(raw_stream(sys.stderr) if ci.is_ci else sys.stderr)
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
    """Let the display draw in this context; at the end, even on an error, remove the drawing."""
    try:
        with ticking(display):
            yield
        display.close()
    except BaseException:
        display.close()  # again, in case a signal interrupted the first `close`
        raise


def wants_color(env: Mapping[str, str], *, no_color: bool, terminal: bool | None = None) -> bool:
    """Return whether to use colours: on a terminal (by default stderr), unless an option or a variable forbids them."""
    on_terminal = sys.stderr.isatty() if terminal is None else terminal
    return on_terminal and not no_color and not env.get("NO_COLOR") and env.get("TERM") != "dumb"


@contextmanager
def failing(
    env: Mapping[str, str], *, no_color: bool = False, display: Callable[[], Display] | None = None
) -> Iterator[None]:
    """Turn an expected error into an exit code, and show its message, on ``display`` if that is given."""
    try:
        yield
    except BuildxCacheError as error:
        (display() if display else first_display(env, no_color=no_color)).failure(error, None)
        raise typer.Exit(error.exit_code) from None


class CommandOutput:
    """The output of one command: results on stdout, messages on stderr.

    ``console`` prints nothing if the user asked for JSON; ``now`` is in seconds since the epoch.
    """

    def __init__(self, env: Mapping[str, str], *, as_json: bool) -> None:
        from buildx_cache.display.cache_tables import Results  # noqa: PLC0415 -- Rich's tables, which no build needs

        self._as_json = as_json
        self._color = wants_color(env, no_color=False)
        on_terminal = wants_color(env, no_color=False, terminal=sys.stdout.isatty())
        self.console = Results(sys.stdout, color=on_terminal, quiet=as_json)
        self.now = time.time()
        display = PlainDisplay(sys.stderr, color=self._color)
        self.say, self.warn = display.say, display.warn

    def document(self, **values: object) -> None:
        """Print the JSON document, if the user asked for JSON."""
        if self._as_json:
            print(json_without_commands(json.dumps({"schema": SCHEMA, **values}, indent=2)))

    def working(self, text: str) -> AbstractContextManager[None]:
        """Show ``text`` on stderr if the context takes long."""
        return working(text, sys.stderr, color=self._color)
