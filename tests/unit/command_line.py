"""The program as its console script calls it, in a process that starts no other and reaches no network."""

from __future__ import annotations

import dataclasses
import functools
import re
import sys
from pathlib import Path

import pytest
import typer.main

from buildx_cache import cli

ERROR_CODE = re.compile(r"^(?P<message>error: .*) \[(?P<code>[a-z0-9-]+)\]$", re.MULTILINE)


_made_once = functools.cache(typer.main.get_command)
"""The commands with their options, which the program makes once a process: most of a short call's work."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Called:
    """What a call ended with; ``err`` is stderr without the error's code, which ``error`` is."""

    code: int
    out: str
    err: str
    error: str = dataclasses.field(default="", compare=False)


class CommandLine:
    """Calls the program as its console script does, in a small project and an empty environment."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch, capture: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self.patch = patch
        self._capture = capture

    def __call__(self, *words: str, **env: str) -> Called:
        self.patch.setattr(sys, "argv", ["buildx-cache", *words])
        self.patch.setattr(typer.main, "get_command", _made_once)
        for name, value in env.items():
            self.patch.setenv(name, value)
        code = cli.main()
        said = self._capture.readouterr()
        error = ERROR_CODE.search(said.err)
        err = ERROR_CODE.sub(r"\g<message>", said.err)
        return Called(code=code, out=said.out, err=err, error=error["code"] if error else "")

    def planned(self, *words: str, driver: str = "docker", **env: str) -> list[str]:
        """The command lines of a plan, comments left out."""
        called = self("plan", "--assume-driver", driver, "--driver", driver, *words, **env)
        assert (called.code, called.err) == (0, "")
        return [line for line in called.out.splitlines() if not line.startswith("#")]
