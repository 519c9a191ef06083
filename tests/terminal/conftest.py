"""A real terminal, driven through tmux; where it could be installed, a missing one fails these tests."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.integration.conftest import PROJECT, Docker, docker, engines, home, project

__all__ = ["docker", "engines", "home", "project"]

_PATIENCE = 120.0
_END = "the end: "


@dataclass(frozen=True, kw_only=True)
class Terminal:
    """One terminal with a shell in it."""

    socket: Path
    docker: Docker

    def tmux(self, *words: str) -> str:
        command = ("tmux", "-S", str(self.socket), "-f", "/dev/null", *words)
        done = subprocess.run(command, env=self._env(), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def build(self, *words: str, redirect: str = "", **env: str) -> None:
        """Begin a build in it."""
        command = shlex.join((sys.executable, "-m", "buildx_cache", "build", *words))
        setting = shlex.join(("env", *(f"{name}={value}" for name, value in env.items())))
        self.type(f"clear; {setting} {command} {redirect}; echo '{_END}'$?")

    def type(self, line: str) -> None:
        self.tmux("send-keys", "-l", line)
        self.tmux("send-keys", "Enter")

    def interrupt(self) -> None:
        self.tmux("send-keys", "C-c")

    def resize(self, columns: int, rows: int) -> None:
        self.tmux("resize-window", "-x", str(columns), "-y", str(rows))

    @property
    def screen(self) -> list[str]:
        """What is to be seen, without the empty rows below."""
        return self.tmux("capture-pane", "-p").rstrip("\n").splitlines()

    @property
    def styled(self) -> str:
        """All there was to be seen, with the control sequences of its colours."""
        return self.tmux("capture-pane", "-p", "-e", "-S", "-")

    @property
    def has_cursor(self) -> bool:
        return self.tmux("display-message", "-p", "#{cursor_flag}").strip() == "1"

    def wait(self, until: Callable[[list[str]], object], what: str) -> list[str]:
        """The first screen of which ``until`` is true."""
        end = time.monotonic() + _PATIENCE
        while not until(screen := self.screen):
            assert time.monotonic() < end, f"{what}:\n" + "\n".join(screen)
            time.sleep(0.05)
        return screen

    def wait_for(self, pattern: str) -> list[str]:
        """The first screen with a line that matches."""
        return self.wait(lambda screen: any(re.search(pattern, line) for line in screen), pattern)

    def wait_for_end(self) -> tuple[int, list[str]]:
        """The exit code, and the screen above it."""
        screen = self.wait_for(f"^{_END}[0-9]")
        last = next(row for row, line in enumerate(screen) if re.match(f"{_END}[0-9]", line))
        return int(screen[last].removeprefix(_END)), screen[:last]

    def _env(self) -> dict[str, str]:
        return self.docker.child_env(LC_ALL="C.UTF-8", PYTHONPATH=str(PROJECT))


Open = Callable[[int, int], Terminal]


@pytest.fixture
def opened(docker: Docker, tmp_path: Path) -> Iterator[Open]:
    """Opens a terminal of a size."""
    if shutil.which("tmux") is None:
        if os.geteuid() == 0 or os.environ.get("CI"):
            pytest.fail("these tests drive a terminal by tmux, and there is none: apt-get install tmux")
        pytest.skip("there is no tmux, and only root could install it")
    sockets = Path("/tmp") / f"terminal-{uuid.uuid4().hex[:8]}"  # a path of a socket is short
    terminal = Terminal(socket=sockets, docker=docker)

    def start(columns: int, rows: int) -> Terminal:
        size = ("-x", str(columns), "-y", str(rows))
        terminal.tmux("new-session", "-d", *size, "-c", str(tmp_path), "exec sh")
        terminal.wait_for(r"[$#] ?$")
        terminal.type("unset TMUX; TERM=screen-256color")
        return terminal

    yield start
    subprocess.run(("tmux", "-S", str(sockets), "kill-server"), capture_output=True, check=False)
    sockets.unlink(missing_ok=True)
