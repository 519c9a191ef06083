"""Questions to command lines, asked at the same time. They change nothing: one that nobody waits for is ended."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence

from buildx_cache.engine.process import Completed
from buildx_cache.interrupts import held

Answer = Callable[[], Completed]


@contextlib.contextmanager
def asking(argv: Sequence[str], *, env: Mapping[str, str]) -> Iterator[Answer]:
    """Start a short command; what this yields waits for its end and tells what it said.

    Raises:
        OSError: the program cannot be started.
    """
    with contextlib.ExitStack() as stack:
        with held():
            child = stack.enter_context(
                subprocess.Popen(
                    argv,
                    env=env,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    encoding="utf-8",
                    errors="replace",
                    start_new_session=True,  # a terminal's Ctrl-C reaches only this program
                )
            )
            stack.callback(_end, child)
        yield lambda: _answer(child)


def _end(child: subprocess.Popen[str]) -> None:
    if child.poll() is None:
        os.killpg(child.pid, signal.SIGKILL)


def _answer(child: subprocess.Popen[str]) -> Completed:
    out, err = child.communicate()
    return Completed(code=child.returncode, stdout=out, stderr=err)
