"""Child processes: commands that are waited for, and daemons that stay."""

import contextlib
import http.client
import itertools
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from errors import EngineError


def say(line: str) -> None:
    """Tell a person what takes the time; stdout belongs to machines."""
    print(line, file=sys.stderr, flush=True)


def run(argv: Sequence[str], *, env: Mapping[str, str] | None = None, cwd: Path | None = None, hint: str = "") -> str:
    """Return what the command prints; a failure is an EngineError ending in the last line of its stderr."""
    try:
        done = subprocess.run(argv, env=env, cwd=cwd, capture_output=True, text=True, check=False, errors="replace")
    except FileNotFoundError as error:
        raise EngineError(f"{argv[0]} is not installed", hint or f"install {argv[0]}") from error
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip() or f"exit code {done.returncode}").splitlines()[-1]
        command = " ".join(itertools.takewhile(lambda word: not word.startswith("-"), argv[:3]))
        raise EngineError(f"`{command}` failed: {last}", hint or "run `down` and try again")
    return done.stdout


def succeeds(argv: Sequence[str], *, env: Mapping[str, str] | None = None) -> bool:
    """Whether the command can be run and exits with 0."""
    try:
        return subprocess.run(argv, env=env, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def spawn(argv: Sequence[str], *, pidfile: Path, log: Path, env: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Start a daemon in a session of its own, so that the terminal's Ctrl-C and hang-up do not reach it."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            argv,
            env=env,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    pidfile.write_text(str(process.pid))
    return process


def await_ready(process: subprocess.Popen[bytes], ready: Callable[[], bool], log: Path, *, seconds: float) -> None:
    """Wait until the daemon answers; one that died or stays silent is reported with its last log line."""
    deadline = time.monotonic() + seconds
    while not ready():
        if process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
            continue
        lines = log.read_text(errors="replace").strip().splitlines() or ["nothing was logged"]
        raise EngineError(
            f"{Path(str(process.args[0])).name if isinstance(process.args, list) else 'daemon'} "
            f"did not start: {lines[-1][:300]}",
            f"read {log}; then run the command `down` and try again",
        )


def command_lines() -> Iterator[tuple[int, str]]:
    """Every process with its command line, its arguments separated by spaces."""
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            yield (
                int(folder.name),
                (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"),
            )


def pid_of(pidfile: Path, marker: str) -> int | None:
    """Return the daemon's pid if it lives and its command line names one of our folders; numbers are reused."""
    try:
        pid = int(pidfile.read_text())
        line = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    except (OSError, ValueError):
        return None
    return pid if marker in line else None


def is_gone(pid: int) -> bool:
    """Whether the process ended; one that waits for its parent's notice counts as ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def stop(pid: int, *, seconds: float) -> None:
    """Ask the process to end, and end it when it does not within the time."""
    for sign, patience in ((signal.SIGTERM, seconds), (signal.SIGKILL, 5.0)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, sign)
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            if is_gone(pid):
                return
            time.sleep(0.02)


def descendants(pid: int) -> list[int]:
    """Return the process's children and theirs, nearest first."""
    parents: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            parents.setdefault(int(fields[1]), []).append(int(folder.name))
    found = list(parents.get(pid, []))
    for child in found:
        found.extend(parents.get(child, []))
    return found


class UnixConnection(http.client.HTTPConnection):
    """HTTP over dockerd's socket: asking it directly saves the docker CLI's start-up in every poll."""

    def __init__(self, path: Path) -> None:
        # A dead daemon refuses at once; a busy one must not be taken for dead.
        super().__init__("localhost", timeout=30)
        self._path = str(path)

    def connect(self) -> None:
        """Connect to the path in place of the host."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def fetch(connection: http.client.HTTPConnection, path: str) -> tuple[int, bytes]:
    """Status and body of a GET; status 0 when nobody answers."""
    try:
        connection.request("GET", path, headers={"Accept": "*/*"})
        answer = connection.getresponse()
        return answer.status, answer.read()
    except (OSError, http.client.HTTPException):
        return 0, b""
    finally:
        connection.close()
