"""The parts of every display: the interface, styled lines, phases, the ticker, announced waits."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import wraps
from typing import TYPE_CHECKING, Concatenate, NamedTuple, ParamSpec, Protocol, TextIO, TypeVar, cast

from buildx_cache.buildkit.events import Event
from buildx_cache.buildkit.trace import BuildTrace
from buildx_cache.errors import BuildxCacheError
from buildx_cache.formatting import duration, printable
from buildx_cache.report import BuildReport

if TYPE_CHECKING:
    from rich.text import Text


class Display(Protocol):
    """Show the call's events in order; a display makes no decisions.

    ``lock``, ``broken`` and ``every`` are for ``ticking``.
    """

    lock: threading.RLock
    broken: BuildxCacheError | None
    every: float

    def say(self, text: str) -> None:
        """Show a decision, or the start of some work."""

    def warn(self, text: str) -> None:
        """Show a problem that does not fail the call."""

    def command(self, line: str) -> None:
        """Show a command that is about to run, redacted."""

    def phase(self, name: str) -> None:
        """Begin the phase of this name (as in the report); an empty name ends the phase."""

    def event(self, event: Event) -> None:
        """Show one event of the build's progress."""

    def restart(self) -> None:
        """Begin the build again; forget the state of its steps."""

    def tick(self) -> None:
        """Update after some time has passed; called regularly until ``close``, between two other calls."""

    def close(self) -> None:
        """Remove the drawing and show lines held back. Further calls do nothing."""

    def result(self, line: str) -> None:
        """Print a result for scripts on stdout."""

    def summary(self, report: BuildReport) -> None:
        """Show the summary at the end of the call."""

    def failure(self, error: BuildxCacheError, trace: BuildTrace | None) -> None:
        """Show the error and its hint, then the end of the failed step's log."""


class Line(NamedTuple):
    """A line: an optional title with a style, then text."""

    title: str
    style: str
    text: str

    @property
    def plain(self) -> str:
        """Return the line without the style."""
        return f"{self.title} {self.text}" if self.title else self.text

    @property
    def styled(self) -> Text:
        """Return the line with the style. Rich's markup in the text has no effect: the text may be untrusted."""
        from rich.text import Text  # takes 10 ms, and a log without colours does not need it

        return Text.assemble((self.title, self.style), " " if self.title else "", printable(self.text))


def is_worth_a_warning(line: str) -> bool:
    """Return whether a plain line between events is a warning to show; the report covers empty local caches."""
    return line.startswith("WARNING:") and "local cache import" not in line


# Seconds after which a phase is announced.
_PATIENCE = 1.0
# By the names of phases in the report. The phase `build` shows its steps instead.
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
    """A running phase: ``since`` is its start on the monotonic clock. An empty name means no phase."""

    name: str = ""
    since: float = 0.0
    _is_announced: bool = field(default=False)

    def words(self, now: float) -> str:
        """Return the description of the phase if it has run for a second or more; else the empty string."""
        return _WORDS.get(self.name, "") if now - self.since >= _PATIENCE else ""

    def due(self, now: float) -> str:
        """Return the description of the phase, but only once."""
        words = "" if self._is_announced else self.words(now)
        self._is_announced = self._is_announced or bool(words)
        return words

    def still(self, now: float) -> str:
        """Return the description of the phase, and how long it has run."""
        words = self.words(now)
        return f"{words} ({duration(now - self.since)})" if words else ""


@contextmanager
def working(text: str, stderr: TextIO, *, color: bool) -> Iterator[None]:
    """Show ``text`` while the block runs: on a terminal until the block ends; else as one line after one second."""
    from rich.console import Console  # same
    from rich.text import Text

    console = Console(file=stderr, highlight=False, markup=False, no_color=not color)
    if console.is_terminal and not console.is_dumb_terminal:
        with console.status(Text(f"{printable(text)} …")):  # a string would be taken for markup
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
# Seconds to wait for the last tick: the terminal may be blocked.
_LAST_TICK_SECONDS = 2.0


class Ticking(Protocol):
    """The part of a display that ``ticking`` uses; ``lock`` is held while a method of the display runs."""

    lock: threading.RLock
    broken: BuildxCacheError | None
    """The error that ended the ticks; the next call to the display raises it."""
    every: float
    """Seconds between two ticks; 0 for no ticks."""

    def tick(self) -> None:
        """Update after some time has passed."""


_S = TypeVar("_S", bound=Ticking)


def locked(method: Callable[Concatenate[_S, _P], _R]) -> Callable[Concatenate[_S, _P], _R]:
    """Return a method that holds the display's lock, so that no two methods run at the same time."""

    @wraps(method)
    def call(self: _S, /, *args: _P.args, **kwargs: _P.kwargs) -> _R:
        with self.lock:
            if error := self.broken:
                self.broken = None
                raise error
            return method(self, *args, **kwargs)

    return cast("Callable[Concatenate[_S, _P], _R]", call)


@contextlib.contextmanager
def ticking(display: Ticking) -> Iterator[None]:
    """Call ``tick`` regularly, from a thread, while the block runs and not afterwards."""
    if not display.every:
        yield
        return
    over = threading.Event()

    def run() -> None:
        try:
            while not over.wait(display.every):
                display.tick()
        except BuildxCacheError as error:  # the reader has closed the stream
            display.broken = error
        except OSError:  # the terminal was closed; a signal ends the call
            return

    thread = threading.Thread(target=run, name="ticker", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(_LAST_TICK_SECONDS)
