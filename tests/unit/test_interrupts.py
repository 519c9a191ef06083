"""Signals end a call in order, and cut nothing in two that must not be."""

from __future__ import annotations

import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from buildx_cache.errors import InterruptedBuildError
from buildx_cache.interrupts import CAUGHT, caught, held, interrupt_after, interruptible


@pytest.mark.parametrize("number", CAUGHT, ids=lambda number: number.name)
def test_the_first_signal_is_an_error_and_the_next_is_nothing(number: signal.Signals) -> None:
    def call() -> None:
        with interruptible():
            try:
                signal.raise_signal(number)
            finally:
                signal.raise_signal(number)
                signal.raise_signal(signal.SIGTERM)

    before = [signal.getsignal(each) for each in CAUGHT]
    with pytest.raises(InterruptedBuildError) as raised:
        call()
    assert raised.value.exit_code == (130 if number is signal.SIGINT else 143)
    assert [signal.getsignal(each) for each in CAUGHT] == before


def test_a_signal_waits_for_what_must_not_be_cut_in_two() -> None:
    done = []

    def call() -> None:
        with interruptible():
            with held():
                with held():
                    signal.raise_signal(signal.SIGHUP)
                    done.append("inner")
                done.append("outer")
            done.append("too late")

    with pytest.raises(InterruptedBuildError, match="SIGHUP"):
        call()
    assert done == ["inner", "outer"]


def test_a_thread_holds_no_signal() -> None:
    """The error would be raised in it, and not in the call."""

    def work() -> None:
        with held():
            ready.set()
            signalled.wait(60)

    def call() -> None:
        with interruptible(), ThreadPoolExecutor() as pool:
            pool.submit(work)
            ready.wait(60)
            try:
                signal.raise_signal(signal.SIGTERM)
            finally:
                signalled.set()

    ready, signalled = threading.Event(), threading.Event()
    with pytest.raises(InterruptedBuildError, match="SIGTERM"):
        call()
    assert signalled.is_set()


def test_a_signal_that_comes_too_early_is_raised_where_the_call_can_end() -> None:
    with caught() as signals:
        assert signals.exit_code is None
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(InterruptedBuildError, match="SIGTERM"), interruptible():
            pytest.fail("the call went on")
        signal.raise_signal(signal.SIGINT)
        assert signals.exit_code == 143


def test_a_signal_in_a_destructor_is_raised_after_it() -> None:
    class Dropped:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGTERM)

    def call() -> None:
        with interruptible():
            Dropped()
            time.sleep(600)

    with pytest.raises(InterruptedBuildError, match="SIGTERM"):
        call()


def test_what_fails_while_a_signal_waits_is_not_lost() -> None:
    def call() -> None:
        with interruptible(), held():
            signal.raise_signal(signal.SIGTERM)
            raise ValueError

    with pytest.raises(InterruptedBuildError) as raised:
        call()
    assert isinstance(raised.value.__context__, ValueError)


def test_outside_of_a_call_nothing_waits() -> None:
    with held():
        before = signal.getsignal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) == before


def test_time_is_up_after_so_many_seconds() -> None:
    def call() -> None:
        with interruptible():
            interrupt_after(0.01)
            time.sleep(600)

    with pytest.raises(InterruptedBuildError, match="--timeout"):
        call()


def test_a_call_that_ends_in_time_is_not_interrupted_later() -> None:
    with interruptible():
        interrupt_after(3600)
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
