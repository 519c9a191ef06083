"""Signals that end a call in order: the first one is raised as an error, further ones do not hinder the clean-up.

What must not be cut in two is done while they are held: a folder that is to be deleted is known before it is made, and
a child is known before it runs.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType

from buildx_cache.errors import InterruptedBuildError

CAUGHT = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM)


class _Handler:
    """What the caught signals lead to. Python runs it in the main thread, between two steps of the program."""

    def __init__(self) -> None:
        self._held = 0
        self._waiting: int | None = None

    def __call__(self, number: int, frame: FrameType | None) -> None:
        del frame
        for each in CAUGHT:
            signal.signal(each, signal.SIG_IGN)
        if self._held:
            self._waiting = number
        else:
            raise InterruptedBuildError(number)

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        self._held += 1
        try:
            yield
        finally:
            self._held -= 1
            if self._waiting is not None and not self._held:
                number, self._waiting = self._waiting, None
                raise InterruptedBuildError(number)


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """While this lasts, the first signal raises ``InterruptedBuildError``."""
    handler = _Handler()
    before = {number: signal.signal(number, handler) for number in CAUGHT}
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, one in before.items():
            signal.signal(number, one)


def interrupt_after(seconds: float) -> None:
    """Have a signal come in so many seconds, unless what is interruptible is over by then."""
    signal.setitimer(signal.ITIMER_REAL, seconds)


@contextlib.contextmanager
def held() -> Iterator[None]:
    """While this lasts, which should be a moment, a signal waits. For the main thread."""
    handler = signal.getsignal(signal.SIGTERM)
    if isinstance(handler, _Handler):
        with handler.hold():
            yield
    else:
        yield
