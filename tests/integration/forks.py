"""The program in a process of its own for each call, forked from one that has imported it: half a second of a call's
work is Python's imports, and the calls of a test run are a thousand.

The commands and their options are made before the forks, too: they are the same for all calls.

The server (this file as a script) answers a request with two forks: the program, and its parent, which reports how it
ended. What is read while Python starts (its own variables, the locale) takes a call of its own: see ``can_run``.
"""

from __future__ import annotations

import atexit
import functools
import gc
import importlib
import json
import os
import pkgutil
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypedDict

_LARGEST = 1 << 17  # bytes of a request; the kernel takes twice that
_READ_AT_START = ("PYTHON", "LC_", "LANG", "TERMINAL_WIDTH")
_ANY_LOCALE = ("LANG", "LC_ALL")


class Request(TypedDict):
    """A call, as it is sent to the server."""

    words: list[str]
    env: dict[str, str]
    cwd: str


class Forks:
    """The server of one process, and the calls that it forks."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with there:
            self._server = subprocess.Popen(
                (sys.executable, "-P", __file__, str(there.fileno())),
                pass_fds=(there.fileno(),),
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env=own_locale(),
            )

    def close(self) -> None:
        self._here.close()
        self._server.wait()

    def run(
        self, words: tuple[str, ...], *, env: Mapping[str, str], cwd: Path, stdin: str | None
    ) -> subprocess.CompletedProcess[str]:
        """Run the program as ``subprocess.run`` would, with its output captured."""
        request = json.dumps(Request(words=list(words), env=dict(env), cwd=str(cwd))).encode()
        pipes = [os.pipe() for _ in range(4)]  # stdin, stdout, stderr, and the exit code
        (reads_in, writes_in), *outs = pipes
        theirs = [reads_in, *(out[1] for out in outs)]
        with self._lock:
            socket.send_fds(self._here, [request], theirs)
        for each in theirs:
            os.close(each)
        with ThreadPoolExecutor(4) as pool:
            pool.submit(_write, writes_in, stdin or "")
            stdout, stderr, code = pool.map(_read, [out[0] for out in outs])
        assert code, "the server of the forked program has ended"
        return subprocess.CompletedProcess(words, int(code), stdout, stderr)


def own_locale() -> dict[str, str]:
    return {name: os.environ[name] for name in ("PATH", "HOME", *_ANY_LOCALE) if name in os.environ}


def can_run(words: Sequence[str], env: Mapping[str, str]) -> bool:
    """Whether a request with these words is short enough, and the variables are none that Python reads at its start."""
    return sum(map(len, words)) < _LARGEST // 2 and not any(
        name.startswith(_READ_AT_START) and not (name in _ANY_LOCALE and env[name] == os.environ.get(name))
        for name in env
    )


@functools.cache
def forks() -> Forks:
    made = Forks()
    atexit.register(made.close)
    return made


def _read(pipe: int) -> str:
    with open(pipe) as stream:
        return stream.read()


def _write(pipe: int, text: str) -> None:
    try:
        with open(pipe, "w") as stream:
            stream.write(text)
    except BrokenPipeError:
        pass  # it has ended without having read it


# --- the server --------------------------------------------------------------------------------------------


def _serve(connection: socket.socket) -> None:
    import_all()
    make_commands()
    gc.freeze()
    while True:
        request, descriptors, *_ = socket.recv_fds(connection, _LARGEST, 4)
        if not request:
            return
        if not os.fork():
            connection.close()
            _call(json.loads(request), descriptors)
        for each in descriptors:
            os.close(each)
        while _is_one_gone():
            pass


def import_all() -> None:
    """Import what the program may import, but for what reads the environment meanwhile."""
    package = importlib.import_module("buildx_cache")
    for module in pkgutil.walk_packages(package.__path__, "buildx_cache."):
        importlib.import_module(module.name)


def make_commands() -> None:
    """Make the commands as each call does, and how their options' values are read, as is made for the first value."""
    main: Any = importlib.import_module("typer.main")
    main.get_command = functools.cache(main.get_command)
    waiting = [main.get_command(importlib.import_module("buildx_cache.cli").app)]
    while waiting:
        command = waiting.pop()
        waiting += getattr(command, "commands", {}).values()
        for parameter in command.params:
            parameter.get_runtime_param()
    assert "typer.rich_utils" not in sys.modules, "it reads the environment"


def _is_one_gone() -> bool:
    try:
        return os.waitpid(-1, os.WNOHANG)[0] != 0
    except ChildProcessError:
        return False


def _call(request: Request, descriptors: list[int]) -> None:
    *streams, ended = descriptors
    if program := os.fork():
        for each in (*streams, 0, 1, 2):
            os.close(each)
        _, status = os.waitpid(program, 0)
        os.write(ended, str(os.waitstatus_to_exitcode(status)).encode())
        os._exit(0)
    os.close(ended)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    main = importlib.import_module("buildx_cache.__main__")
    os.environ.clear()
    os.environ.update(request["env"])
    os.chdir(request["cwd"])
    sys.argv = [str(main.__file__), *request["words"]]
    main.main()


if __name__ == "__main__":
    with socket.socket(fileno=int(sys.argv[1])) as own_end:
        _serve(own_end)
