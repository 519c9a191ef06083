"""Child processes: their output is collected, or followed. None survives this program's error.

Every child leads a new session, so that a terminal's Ctrl-C reaches only this program, which passes it on.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import IO

from buildx_cache.errors import InterruptedBuildError
from buildx_cache.interrupts import held

_CHUNK = 1 << 16
_IDLE_MILLISECONDS = 250
# Between the polite signal, the firm one and the last: together under the five seconds a user waits for.
_GRACE = 3.0
_LAST_GRACE = 1.0
_GUARD = """\
read -r line && exit
kill -s INT -- "-$1" && sleep 3
kill -s TERM -- "-$1" && sleep 1
kill -s KILL -- "-$1"
"""


@dataclass(frozen=True, kw_only=True)
class Completed:
    """What a child said. ``code`` is its exit code, negative for the signal that ended it."""

    code: int
    stdout: str = ""
    stderr: str = ""


def capture(argv: Sequence[str], *, env: Mapping[str, str], stdin: bytes = b"") -> Completed:
    """Run a short command to its end and collect what it says.

    Raises:
        OSError: the program cannot be started.
    """
    with _child(argv, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        out, err = child.communicate(stdin)
        return Completed(code=child.returncode, stdout=_text(out), stderr=_text(err))


@contextlib.contextmanager
def begin(argv: Sequence[str]) -> Iterator[Callable[[], Completed]]:
    """Run a short command beside whatever happens meanwhile; the value waits for its end.

    The command inherits this process' environment.

    Raises:
        OSError: the program cannot be started.
    """
    with _child(argv, env=None, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as child:

        def end() -> Completed:
            out, err = child.communicate()
            return Completed(code=child.returncode, stdout=_text(out), stderr=_text(err))

        yield end


def capture_within(
    argv: Sequence[str], *, env: Mapping[str, str], within: tuple[float, int], stdin: bytes = b""
) -> Completed:
    """Run a short command whose time and output have limits, in seconds and bytes.

    Args:
        argv: the command.
        env: its environment.
        within: seconds that it may take, and bytes that it may write to each of stdout and stderr.
        stdin: what it reads, less than a pipe holds.

    Raises:
        OSError: the program cannot be started, or is at a limit (``TimeoutError``): then it is killed.
    """
    seconds, most = within
    end = time.monotonic() + seconds
    with _child(argv, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        if not child.stdin or not child.stdout or not child.stderr:
            raise AssertionError
        try:
            with contextlib.suppress(BrokenPipeError), child.stdin:
                child.stdin.write(stdin)
            child.stdin = None  # `communicate` would flush it
            out, err = _read_within(child.stdout.fileno(), child.stderr.fileno(), end, most)
            return Completed(code=child.wait(max(0.0, end - time.monotonic())), stdout=_text(out), stderr=_text(err))
        except (TimeoutError, subprocess.TimeoutExpired):
            os.killpg(child.pid, signal.SIGKILL)  # asked politely it might go on writing
            raise TimeoutError(errno.ETIMEDOUT, f"{argv[0]} is at its limit") from None


def _read_within(out: int, err: int, end: float, most: int) -> Iterator[bytes]:
    """Read a descriptor to its end, and another meanwhile, up to a time of the monotonic clock and a number of bytes.

    What a child leaves running, such as the shared connection of ssh, may keep its stderr open.
    """
    ready = select.poll()
    read = {out: bytearray(), err: bytearray()}
    for source in read:
        ready.register(source, select.POLLIN)
    is_open = True
    while is_open:
        events = ready.poll(max(0.0, end - time.monotonic()) * 1000)
        for source, _ in events:
            if piece := os.read(source, _CHUNK):
                read[source] += piece
            else:
                ready.unregister(source)
                is_open = is_open and source != out
        if not events or max(map(len, read.values())) > most:
            raise TimeoutError
    return map(bytes, read.values())


def feed(argv: Sequence[str], *, env: Mapping[str, str], write: Callable[[IO[bytes]], None]) -> Completed:
    """Run a command that reads what ``write`` writes; it may end before it has read all of it.

    Raises:
        OSError: the program cannot be started, or ``write`` raised it.
    """
    with _child(argv, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        if child.stdin is None:
            raise AssertionError
        with contextlib.suppress(BrokenPipeError):
            write(child.stdin)
        out, err = child.communicate()
        return Completed(code=child.returncode, stdout=_text(out), stderr=_text(err))


def follow(
    argv: Sequence[str],
    *,
    env: Mapping[str, str],
    on_stderr: Callable[[bytes], None],
    on_interrupt: Callable[[], None],
    stdin: int | None,
    prints: bool = True,
) -> int:
    """Run a long command, handing over its stderr as it comes; its stdout is this program's, or lost.

    ``on_stderr`` gets nothing, four times a second, while the child is silent; what it raises ends the child.
    ``on_interrupt`` is called when a signal ends the call, before the child is waited for. ``stdin`` is a file
    descriptor for the child, None for nothing to read; what it ``prints`` to stdout is kept. Returns the exit code.

    Raises:
        OSError: the program cannot be started.
    """
    source = subprocess.DEVNULL if stdin is None else stdin
    with _child(argv, env=env, stdin=source, stdout=None if prints else subprocess.DEVNULL) as child:
        if child.stderr is None:
            raise AssertionError
        try:
            for chunk in _chunks(child.stderr.fileno()):
                on_stderr(chunk)
            return child.wait()
        except InterruptedBuildError:
            on_interrupt()
            raise


@contextlib.contextmanager
def beside(
    argv: Sequence[str], *, env: Mapping[str, str], is_ready: Callable[[bytes], object], within: tuple[float, int]
) -> Iterator[bytes]:
    """Keep a command running for as long as the context lasts; yield its stderr up to when it was ready.

    Args:
        argv: the command.
        env: its environment.
        is_ready: whether what it has said on stderr says so.
        within: seconds that this may take, and bytes that it may say until then.

    Raises:
        OSError: it cannot be started, is at a limit (``TimeoutError``), or ends before (``ChildProcessError``, with its
            last words).
    """
    with _child(argv, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as child:
        if not child.stderr:
            raise AssertionError
        try:
            said = _read_until(child.stderr.fileno(), is_ready, within)
            draining = threading.Thread(target=_discard, args=(child.stderr.fileno(),), daemon=True)
            draining.start()
            yield said
        finally:
            _end(child)
        draining.join()


def _read_until(source: int, is_ready: Callable[[bytes], object], within: tuple[float, int]) -> bytes:
    seconds, most = within
    end = time.monotonic() + seconds
    said = b""
    for chunk in _chunks(source):
        said += chunk
        if is_ready(said):
            return said
        if time.monotonic() > end or len(said) > most:
            raise TimeoutError(errno.ETIMEDOUT, "it takes too long")
    raise ChildProcessError(errno.ECHILD, (_text(said).strip().splitlines() or ["it ended"])[-1])


def _discard(source: int) -> None:
    """Read on, so that a full pipe holds nobody up."""
    while os.read(source, _CHUNK):
        pass


def _end(child: subprocess.Popen[bytes]) -> None:
    """End a command and what it has started."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, sign)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(_LAST_GRACE)
            return


def _chunks(source: int) -> Iterator[bytes]:
    """Yield what comes from a descriptor until its end; nothing, whenever nothing came for a while."""
    ready = select.poll()
    ready.register(source, select.POLLIN)
    while True:
        if not ready.poll(_IDLE_MILLISECONDS):
            yield b""
        elif chunk := os.read(source, _CHUNK):
            yield chunk
        else:
            return


@contextlib.contextmanager
def _child(
    argv: Sequence[str], *, env: Mapping[str, str] | None, stdin: int, stdout: int | None
) -> Iterator[subprocess.Popen[bytes]]:
    with contextlib.ExitStack() as stack:
        with held():
            child = stack.enter_context(
                subprocess.Popen(
                    argv, env=env, stdin=stdin, stdout=stdout, stderr=subprocess.PIPE, start_new_session=True
                )
            )
            stack.enter_context(_guarded(child.pid))
            stack.push(lambda kind, *_: _stop(child) if kind else None)
        yield child


@contextlib.contextmanager
def _guarded(group: int) -> Iterator[None]:
    """Have a shell end a group of processes should this one die and not be able to: by SIGKILL, or for want of memory.

    It waits for a line that it only gets in time; where this process dies, what it reads from is closed.
    """
    try:
        guard = subprocess.Popen(
            ("/bin/sh", "-c", _GUARD, "sh", str(group)),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            cwd="/",
            env={"PATH": "/usr/bin:/bin"},
        )
    except OSError:
        yield
        return
    with guard:
        try:
            yield
        finally:
            guard.communicate(b"\n")


def _stop(child: subprocess.Popen[bytes]) -> None:
    """Cancel as Ctrl-C would, so that BuildKit stops the build; then insist.

    The docker command line passes an interrupt on to its plugin, and Buildx cancels the solve (exit code 130).
    """
    steps: tuple[tuple[Callable[[], None], float], ...] = (
        (lambda: child.send_signal(signal.SIGINT), _GRACE),
        (lambda: os.killpg(child.pid, signal.SIGTERM), _LAST_GRACE),
        (lambda: os.killpg(child.pid, signal.SIGKILL), _LAST_GRACE),
    )
    for send, grace in steps:
        with contextlib.suppress(ProcessLookupError):
            send()
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.communicate(timeout=grace)  # reads on, so that a full pipe does not hold the child back
            return


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")
