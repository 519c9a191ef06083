"""A display's pulse: it beats while the block runs, alone, and what breaks it reaches the call."""

from __future__ import annotations

import threading

import pytest

from buildx_cache.display.base import locked, ticking
from buildx_cache.errors import BuildxCacheError, InterruptedBuildError


class Heart:
    every = 0.001

    def __init__(self, fails: Exception | None = None) -> None:
        self.lock = threading.RLock()
        self.broken: BuildxCacheError | None = None
        self.beaten = threading.Event()
        self.beats = 0
        self.fails = fails

    @locked
    def tick(self) -> None:
        self.beats += 1
        self.beaten.set()
        if self.fails:
            raise self.fails

    @locked
    def say(self, text: str) -> str:
        return text


def test_a_display_beats_as_long_as_the_block_runs() -> None:
    heart = Heart()
    with ticking(heart):
        assert heart.beaten.wait(60)
    beats = heart.beats
    assert "ticker" not in {thread.name for thread in threading.enumerate()}
    assert heart.beats == beats


def test_a_display_without_a_beat_has_no_thread() -> None:
    heart = Heart()
    heart.every = 0.0
    with ticking(heart):
        assert "ticker" not in {thread.name for thread in threading.enumerate()}


def test_no_beat_comes_into_a_call() -> None:
    heart = Heart()
    with ticking(heart), heart.lock:
        heart.beaten.clear()  # a beat may have come before the lock was taken; none may come after
        assert not heart.beaten.wait(0.05)


def test_what_breaks_the_pulse_ends_the_call_once() -> None:
    heart = Heart(InterruptedBuildError(13))
    with ticking(heart):
        assert heart.beaten.wait(60)
    with pytest.raises(InterruptedBuildError):
        heart.say("x")
    assert heart.say("x") == "x"


def test_a_terminal_that_went_away_ends_only_the_pulse() -> None:
    heart = Heart(OSError("gone"))
    with ticking(heart):
        assert heart.beaten.wait(60)
    assert heart.say("x") == "x"
