"""Seconds and memory of one process."""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_LOOK_MILLISECONDS = 20


@dataclass(frozen=True, kw_only=True)
class Measured:
    """How a process ended, and what it took."""

    code: int
    seconds: float
    peak: int
    """Bytes that the process itself, not its children, had resident at most; seen 50 times a second."""
    stderr: bytes


def measure(argv: Sequence[str], *, env: Mapping[str, str], cwd: Path, output: Path) -> Measured:
    """Run a command to its end. Its stdout and stderr are files in the folder ``output``.

    The kernel's own record of a child's peak counts its parent's memory before ``exec`` and its children's, so
    ``VmHWM`` is looked at meanwhile (``proc_pid_status(5)``).
    """
    peak = 0
    with (output / "stdout").open("wb") as stdout, (output / "stderr").open("wb") as stderr:
        started = time.perf_counter()
        process = subprocess.Popen(
            argv, env=env, cwd=cwd, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, process_group=0
        )
        ended = os.pidfd_open(process.pid)
        waiting = select.poll()
        waiting.register(ended, select.POLLIN)
        try:
            while not waiting.poll(_LOOK_MILLISECONDS):
                peak = max(peak, _resident_peak(process.pid))
            seconds = time.perf_counter() - started
        except BaseException:
            os.killpg(process.pid, signal.SIGTERM)
            raise
        finally:
            process.wait()
            os.close(ended)
    return Measured(code=process.returncode, seconds=seconds, peak=peak, stderr=(output / "stderr").read_bytes())


def _resident_peak(pid: int) -> int:
    """Bytes; 0 for a process that has just ended."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) * 1024 if found else 0
