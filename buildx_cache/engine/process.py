"""Run child processes and collect or follow their output. No child outlives an error of this program.

Every child leads a new session. So a terminal's Ctrl-C reaches only this program, which passes it on.
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
# Seconds between SIGINT, SIGTERM and SIGKILL: together less than the five seconds that a user waits.
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
    """A child that ended. ``code`` is its exit code, or the negated signal that ended it."""

    code: int
    stdout: str = ""
    stderr: str = ""


def capture(argv: Sequence[str], *, env: Mapping[str, str], stdin: bytes = b"") -> Completed:
    """Run a short command to its end and collect its output.

    Raises:
        OSError: the program cannot be started.
    """
    with _child(argv, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        out, err = child.communicate(stdin)
        return Completed(code=child.returncode, stdout=_text(out), stderr=_text(err))


@contextlib.contextmanager
def begin(argv: Sequence[str]) -> Iterator[Callable[[], Completed]]:
    """Start a short command in the background; yield a function that waits for its end.

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
    """Run a short command with limits on its time and output.

    Args:
        argv: the command.
        env: the command's environment.
        within: seconds for the command, and bytes for each of stdout and stderr.
        stdin: the command's input, less than a pipe holds.

    Raises:
        OSError: the program cannot be started; or it exceeds a limit (``TimeoutError``), and is killed.
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
            os.killpg(child.pid, signal.SIGKILL)  # after a gentler signal it might go on writing
            raise TimeoutError(errno.ETIMEDOUT, f"{argv[0]} is at its limit") from None


def _read_within(out: int, err: int, end: float, most: int) -> Iterator[bytes]:
    """Read ``out`` to its end, and ``err`` as long as that takes.

    A process that the child leaves running, such as ssh's shared connection, may keep ``err`` open.

    Args:
        out: the descriptor of the child's stdout.
        err: the descriptor of the child's stderr.
        end: the limit of time, on the monotonic clock.
        most: the limit of bytes for each descriptor.

    Raises:
        TimeoutError: a limit is exceeded.
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
    """Run a command whose stdin ``write`` writes; the command may end before it has read everything.

    Raises:
        OSError: the program cannot be started, or ``write`` raised the error.
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
    """Run a long command, pass on its stderr as it arrives, and return its exit code.

    Args:
        argv: the command.
        env: the command's environment.
        on_stderr: takes each piece of stderr, and ``b""`` four times a second while the command is silent. An exception
            that it raises cancels the command.
        on_interrupt: called when a signal ends the call, before the command is cancelled.
        stdin: a file descriptor for the command; None for an empty input.
        prints: whether the command's stdout goes to this program's stdout; else it is discarded.

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
        is_over = threading.Event()
        draining = threading.Thread(target=_discard, args=(child, is_over), daemon=True)
        try:
            said = _read_until(child, is_ready, within)
            draining.start()
            yield said
        finally:
            _end(child)
            is_over.set()
            if draining.ident is not None:
                draining.join()


def _read_until(
    child: subprocess.Popen[bytes], is_ready: Callable[[bytes], object], within: tuple[float, int]
) -> bytes:
    """Read stderr until the command is ready; what it leaves running may keep the pipe open after its end."""
    if not child.stderr:
        raise AssertionError
    seconds, most = within
    end = time.monotonic() + seconds
    said = b""
    for chunk in _chunks(child.stderr.fileno()):
        said += chunk
        if is_ready(said):
            return said
        if time.monotonic() > end or len(said) > most:
            raise TimeoutError(errno.ETIMEDOUT, "it takes too long")
        if not chunk and child.poll() is not None:
            break
    raise ChildProcessError(errno.ECHILD, (_text(said).strip().splitlines() or ["it ended"])[-1])


def _discard(child: subprocess.Popen[bytes], is_over: threading.Event) -> None:
    """Read on, so that a full pipe holds nobody up; stop soon after the command is over.

    A process that the command has started in another session may hold the pipe open, and write to it without end.
    """
    if not child.stderr:
        raise AssertionError
    for _ in _chunks(child.stderr.fileno()):
        if is_over.is_set():
            return


def _end(child: subprocess.Popen[bytes]) -> None:
    """End a command and what it has started."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError, PermissionError):  # the latter where all have ended, on macOS
            os.killpg(child.pid, sign)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(_LAST_GRACE)
            return


def _chunks(source: int) -> Iterator[bytes]:
    """Yield the pieces that arrive at a descriptor until its end; yield ``b""`` while it is silent."""
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
    """Have a shell end a process group if this process dies without cleaning up: by SIGKILL, or out of memory.

    The shell waits for a line on its stdin. This process writes the line at the end of the context. If this process
    dies before, the pipe closes without the line, and the shell sends the signals.
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
    """Cancel with SIGINT, as Ctrl-C does, so that BuildKit stops the build; then send SIGTERM and SIGKILL.

    The docker command passes SIGINT on to its plugin, and Buildx cancels the solve (exit code 130).
    """
    if child.returncode is not None:
        return  # what it has left running may keep its pipes open
    steps: tuple[tuple[Callable[[], None], float], ...] = (
        (lambda: child.send_signal(signal.SIGINT), _GRACE),
        (lambda: os.killpg(child.pid, signal.SIGTERM), _LAST_GRACE),
        (lambda: os.killpg(child.pid, signal.SIGKILL), _LAST_GRACE),
    )
    for send, grace in steps:
        with contextlib.suppress(ProcessLookupError):
            send()
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.communicate(timeout=grace)  # goes on reading, so that a full pipe does not block the child
            return


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")
