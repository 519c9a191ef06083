"""A display's sense of time: it is called regularly, also while nothing happens."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from functools import wraps
from typing import Concatenate, ParamSpec, Protocol, TypeVar, cast

from buildx_cache.errors import BuildxCacheError

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
    """A method that never runs at the same time as another one, in whichever thread."""

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
