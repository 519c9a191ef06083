"""End a call on a signal: raise the first signal as an error, and ignore later ones during the clean-up.

Hold signals around two steps that belong together: creating a folder and registering its deletion, starting a child
process and recording it.
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
"""The delay of the alarm in seconds; 0 would disable it."""


class Signals:
    """A signal handler that remembers the first signal and raises it once, as soon as nothing holds signals.

    Python calls the handler in the main thread, between two bytecodes. The handler stays installed after the first
    signal: Python prints an error for a signal that arrived before its handler was changed to SIG_IGN
    (``Modules/signalmodule.c``).
    """

    def __init__(self) -> None:
        self._first: int | None = None
        self._holds = 1
        self._is_raised = False

    @property
    def exit_code(self) -> ExitCode | None:
        """The exit code of the first signal; None if no signal has arrived."""
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
        """Delay signals while the block runs."""
        self._holds += 1
        try:
            yield
        finally:
            self._holds -= 1
            self._raise()

    @contextlib.contextmanager
    def release(self) -> Iterator[None]:
        """Raise signals at once while the block runs, also one that was delayed."""
        self._holds -= 1
        try:
            self._raise()
            yield
        finally:
            self._holds += 1

    def raise_again(self, lost: UnraisableHookArgs) -> None:
        """Raise an interruption again that Python could not propagate, as from ``__del__`` (``sys.unraisablehook``)."""
        if isinstance(lost.exc_value, InterruptedBuildError):
            self._is_raised = False
            signal.setitimer(signal.ITIMER_REAL, _AT_ONCE)
        else:
            sys.__unraisablehook__(lost)


@contextlib.contextmanager
def caught() -> Iterator[Signals]:
    """Install the handler while the block runs; it remembers the first signal, and ``interruptible`` raises it."""
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
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Raise ``InterruptedBuildError`` on the first signal while the block runs, or if it arrived before."""
    with caught() as signals:
        try:
            with signals.release():
                yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)


def interrupt_after(seconds: float) -> None:
    """Send SIGALRM after ``seconds``, unless the ``interruptible`` block has ended by then."""
    signal.setitimer(signal.ITIMER_REAL, seconds)


@contextlib.contextmanager
def held() -> Iterator[None]:
    """Delay signals while the block runs, which should be short. Do nothing in other threads: they get no signals."""
    handler = signal.getsignal(signal.SIGTERM)
    if isinstance(handler, Signals) and threading.current_thread() is threading.main_thread():
        with handler.hold():
            yield
    else:
        yield
