"""What every display is made of: its interface, styled text, tables, phases, the clock, announced waits."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import wraps
from typing import TYPE_CHECKING, Concatenate, NamedTuple, ParamSpec, Protocol, TextIO, TypeVar, cast

from rich.console import Console
from rich.text import Text

from buildx_cache.buildkit import BuildTrace, Event
from buildx_cache.errors import BuildxCacheError
from buildx_cache.formatting import duration, printable
from buildx_cache.report import BuildReport

if TYPE_CHECKING:
    from rich.text import Text


class Display(Protocol):
    """Shows what happens, in order; a display decides nothing.

    ``lock``, ``broken`` and ``every`` are for its ``pulse``.
    """

    lock: threading.RLock
    broken: BuildxCacheError | None
    every: float

    def say(self, text: str) -> None:
        """Show a decision, or something that begins."""

    def warn(self, text: str) -> None:
        """Show a warning: something did not go as asked, but the call goes on."""

    def command(self, line: str) -> None:
        """Show a command that is about to run, redacted."""

    def phase(self, name: str) -> None:
        """Begin a phase of the call, by its name in the report; an empty name ends it."""

    def event(self, event: Event) -> None:
        """Take the build's progress, event by event."""

    def restart(self) -> None:
        """Begin the build again: what its steps showed no longer holds."""

    def beat(self) -> None:
        """Take note that time passes; called regularly until ``close``, between two other calls."""

    def close(self) -> None:
        """End: remove what was drawn, show what was held back; may be called again."""

    def result(self, line: str) -> None:
        """Print what the call gives to scripts."""

    def summary(self, report: BuildReport) -> None:
        """Show what the call did, at its end."""

    def failure(self, error: BuildxCacheError, trace: BuildTrace | None) -> None:
        """Show what failed and what to do, then the end of the failing step's log."""


class Line(NamedTuple):
    """A word with a style, if there is one, and what it introduces."""

    title: str
    style: str
    text: str

    @property
    def plain(self) -> str:
        """Without the style."""
        return f"{self.title} {self.text}" if self.title else self.text

    @property
    def styled(self) -> Text:
        """With it. The text is taken as it is: Rich's markup is for texts that we write."""
        from rich.text import Text  # 10 ms that a log without colours does not need

        return Text.assemble((self.title, self.style), " " if self.title else "", printable(self.text))


def is_worth_a_warning(line: str) -> bool:
    """Whether a plain line between the events is a warning; of an empty local cache the report tells."""
    return line.startswith("WARNING:") and "local cache import" not in line


# Seconds after which a phase is worth a word.
_PATIENCE = 1.0
# By the names that the report has for them. The build tells of itself.
_WORDS = {
    "context": "making the Docker context",
    "builder": "starting the builder",
    "login": "logging in",
    "verify": "verifying the cache folder",
    "export": "writing the cache of every node",
    "sweep": "tidying the cache folder",
    "prune": "pruning the builder's cache",
}


@dataclass(kw_only=True)
class Phase:
    """A phase that runs since a moment of the monotonic clock; none where the name is empty."""

    name: str = ""
    since: float = 0.0
    _is_told: bool = field(default=False)

    def words(self, now: float) -> str:
        """Return what is done, if that takes a while already."""
        return _WORDS.get(self.name, "") if now - self.since >= _PATIENCE else ""

    def due(self, now: float) -> str:
        """Return the same, once."""
        words = "" if self._is_told else self.words(now)
        self._is_told = self._is_told or bool(words)
        return words

    def still(self, now: float) -> str:
        """Return what is done, and for how long already."""
        words = self.words(now)
        return f"{words} ({duration(now - self.since)})" if words else ""


@contextmanager
def working(text: str, stderr: TextIO, *, color: bool) -> Iterator[None]:
    """Say ``text`` while the block runs: at once and until it ends on a terminal, else in a line after one second."""
    console = Console(file=stderr, highlight=False, markup=False, no_color=not color)
    if console.is_terminal and not console.is_dumb_terminal:
        with console.status(f"{printable(text)} …"):
            yield
        return
    timer = threading.Timer(_PATIENCE, lambda: print(f"{printable(text)} ...", file=stderr, flush=True))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


_P = ParamSpec("_P")
_R = TypeVar("_R")
# How long the last beat may take: its terminal may take nothing more.
_LAST_BEAT_SECONDS = 2.0


class Beating(Protocol):
    """What a pulse needs of a display; ``lock`` is held whenever one of its methods runs."""

    lock: threading.RLock
    broken: BuildxCacheError | None
    """What ended the pulse; the next call to the display raises it."""
    every: float
    """Seconds from one beat to the next; 0 where there are none."""

    def beat(self) -> None:
        """Time has passed."""


_S = TypeVar("_S", bound=Beating)


def alone(method: Callable[Concatenate[_S, _P], _R]) -> Callable[Concatenate[_S, _P], _R]:
    """Return a method that never runs at the same time as another one, in whichever thread."""

    @wraps(method)
    def locked(self: _S, /, *args: _P.args, **kwargs: _P.kwargs) -> _R:
        with self.lock:
            if error := self.broken:
                self.broken = None
                raise error
            return method(self, *args, **kwargs)

    return cast("Callable[Concatenate[_S, _P], _R]", locked)


@contextlib.contextmanager
def pulse(display: Beating) -> Iterator[None]:
    """Call ``beat`` regularly while the block runs, and not after it."""
    if not display.every:
        yield
        return
    over = threading.Event()

    def run() -> None:
        try:
            while not over.wait(display.every):
                display.beat()
        except BuildxCacheError as error:  # nobody reads any more
            display.broken = error
        except OSError:  # the terminal went away, and a signal tells
            return

    thread = threading.Thread(target=run, name="pulse", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(_LAST_BEAT_SECONDS)
