"""What a command shows on stderr, and how it ends."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from buildx_cache.cli.streams import watched
from buildx_cache.errors import BuildxCacheError

if TYPE_CHECKING:  # Rich comes with the first line that is shown
    from buildx_cache.display import Display
    from buildx_cache.request import BuildRequest


def first_display(env: Mapping[str, str], *, no_color: bool = False) -> Display:
    """The display for what fails before the request is known."""
    from buildx_cache.display import QuietDisplay

    return QuietDisplay(sys.stderr, color=wants_color(env, no_color=no_color))


def display_for(request: BuildRequest, env: Mapping[str, str]) -> Display:
    """The display that the request asks for."""
    from buildx_cache.display import PlainDisplay, QuietDisplay
    from buildx_cache.request import Progress

    color = wants_color(env, no_color=request.no_color)
    if request.progress is Progress.QUIET:
        return QuietDisplay(watched(sys.stderr), color=color)
    return PlainDisplay(watched(sys.stderr), color=color, verbose=request.verbose)


def wants_color(env: Mapping[str, str], *, no_color: bool, terminal: bool | None = None) -> bool:
    """Whether to colour: a terminal (stderr, unless told), and neither option nor variables speak against it."""
    on_terminal = sys.stderr.isatty() if terminal is None else terminal
    return on_terminal and not no_color and not env.get("NO_COLOR") and env.get("TERM") != "dumb"


@contextmanager
def failing(env: Mapping[str, str], *, no_color: bool = False) -> Iterator[None]:
    """Turn an expected error into its message and exit code."""
    try:
        yield
    except BuildxCacheError as error:
        first_display(env, no_color=no_color).failure(error, None)
        raise typer.Exit(error.exit_code) from None
