"""End a call on a signal: the first signal is raised as an error, later ones do not disturb the clean-up.

What must not be cut in two is done while signals are held: a folder that is to be deleted is known before it is made,
and a child process is known before it runs.
"""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import TYPE_CHECKING

from buildx_cache.errors import ExitCode, InterruptedBuildError

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

CAUGHT = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM)
_AT_ONCE = 0.001
"""Seconds."""


class Signals:
    """Remember the first signal; raise it once, as soon as nothing holds it.

    Python runs this in the main thread, between two steps of the program. It stays installed after the first signal: a
    signal that arrived before its handler was changed to SIG_IGN is printed as an error (``Modules/signalmodule.c``).
    """

    def __init__(self) -> None:
        self._first: int | None = None
        self._holds = 1
        self._is_raised = False

    @property
    def exit_code(self) -> ExitCode | None:
        """The exit code of the first signal; None before one."""
        return None if self._first is None else InterruptedBuildError(self._first).exit_code

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal."""
        del frame
        if self._first is None:
            self._first = number
        self._raise()

    def _raise(self) -> None:
        if self._first is not None and not self._holds and not self._is_raised:
            self._is_raised = True
            raise InterruptedBuildError(self._first)

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        """While this lasts, a signal waits."""
        self._holds += 1
        try:
            yield
        finally:
            self._holds -= 1
            self._raise()

    @contextlib.contextmanager
    def release(self) -> Iterator[None]:
        """While this lasts, a signal does not wait."""
        self._holds -= 1
        try:
            self._raise()
            yield
        finally:
            self._holds += 1

    def raise_again(self, lost: UnraisableHookArgs) -> None:
        """Raise the error again that Python could not raise where the signal came, as in ``__del__``."""
        if isinstance(lost.exc_value, InterruptedBuildError):
            self._is_raised = False
            signal.setitimer(signal.ITIMER_REAL, _AT_ONCE)
        else:
            sys.__unraisablehook__(lost)


@contextlib.contextmanager
def caught() -> Iterator[Signals]:
    """While this lasts, the first signal is remembered; ``interruptible`` raises it."""
    current = signal.getsignal(signal.SIGTERM)
    if isinstance(current, Signals):
        yield current
        return
    signals = Signals()
    before = {number: signal.signal(number, signals) for number in CAUGHT}
    hook, sys.unraisablehook = sys.unraisablehook, signals.raise_again
    try:
        yield signals
    finally:
        sys.unraisablehook = hook
        for number, one in before.items():
            signal.signal(number, one)


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """While this lasts, the first signal raises ``InterruptedBuildError``, also one that came before."""
    with caught() as signals:
        try:
            with signals.release():
                yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)


def interrupt_after(seconds: float) -> None:
    """Have a signal come in so many seconds, unless what is interruptible is over by then."""
    signal.setitimer(signal.ITIMER_REAL, seconds)


@contextlib.contextmanager
def held() -> Iterator[None]:
    """While this lasts, which should be a moment, a signal waits; no signal comes in another than the main thread."""
    handler = signal.getsignal(signal.SIGTERM)
    if isinstance(handler, Signals) and threading.current_thread() is threading.main_thread():
        with handler.hold():
            yield
    else:
        yield
