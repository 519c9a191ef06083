"""A command that runs beside a build, as a tunnel's ssh: neither it nor what it has started holds up the call's end."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from buildx_cache.engine.process import beside

WITHIN = (60.0, 1 << 16)
_PATIENCE = 30.0  # seconds, on a busy machine
_SOON = 4.0  # less than the steps of a stop take together
STRAYS = {
    "silent": "sleep 300",
    "flooding": "sleep 1; while echo lots of words; do :; done",
}
"""What goes on in a session of its own, with the command's stderr."""


@pytest.fixture
def stray(tmp_path: Path) -> Iterator[Path]:
    """The file where a stray process writes its number; it is killed at the end."""
    file = tmp_path / "stray"
    yield file
    with contextlib.suppress(ProcessLookupError):
        os.killpg(int(file.read_text()), signal.SIGKILL)


def started(stray: Path, script: str) -> str:
    """The words of a shell that start a process in a session of its own, and wait until it runs."""
    own = f"echo $$ > {stray}.new; mv {stray}.new {stray}; {script}"
    return f"setsid sh -c '{own}' >&2 & while [ ! -e {stray} ]; do sleep 0.05; done"


def caught(script: str, body: Callable[[], object] = lambda: None, patience: float = _PATIENCE) -> Exception | None:
    """The error with which it ends to have a command beside a body; fail if it does not end."""
    found: list[Exception] = []

    def run() -> None:
        try:
            with beside(("sh", "-c", script), env=os.environ, is_ready=lambda said: b"ready" in said, within=WITHIN):
                body()
        except (OSError, ValueError) as error:
            found.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(patience)
    assert not thread.is_alive()
    return next(iter(found), None)


@pytest.mark.parametrize("kind", STRAYS)
def test_what_a_command_leaves_running_does_not_hold_up_its_end(stray: Path, kind: str) -> None:
    script = f"{started(stray, STRAYS[kind])}; echo ready >&2; sleep 300"
    assert caught(script, lambda: time.sleep(1.5)) is None


def test_a_command_that_hears_no_signal_is_killed() -> None:
    assert caught("trap '' TERM INT HUP; echo ready >&2; while :; do sleep 300; done") is None


def test_a_command_that_ends_before_it_is_ready_is_not_waited_for(stray: Path) -> None:
    error = caught(f"{started(stray, STRAYS['silent'])}; echo last words >&2; exit 1")
    assert isinstance(error, ChildProcessError)
    assert error.strerror == "last words"


def test_an_error_beside_a_command_ends_both_at_once(stray: Path) -> None:
    def fail() -> None:
        raise ValueError

    script = f"{started(stray, STRAYS['silent'])}; echo ready >&2; sleep 300"
    assert isinstance(caught(script, fail, _SOON), ValueError)
