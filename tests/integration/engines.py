"""The engines of a test run. Its processes share them: one starts what they need, and all ask no more than once."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path
from threading import Thread

import pytest

ENGINE = Path(__file__).parents[2] / "docker" / "engine"


class Engines:
    """``record`` is a folder of the run's own, where its processes write down what they started.

    A new engine's data are in the user's cache, or below the folder ``cache``.
    """

    def __init__(self, record: Path, cache: Path | None = None) -> None:
        self.record = record
        self._env = {**os.environ, **({"XDG_CACHE_HOME": str(cache)} if cache else {})}
        self._known: dict[tuple[str, ...], dict[str, str]] = {}
        self._early: Thread | None = None

    def start_early(self) -> None:
        """Start the first engine beside what else is done; whoever needs it waits, and is told if it does not start."""
        if not self._early:
            self._early = Thread(target=self._try)
            self._early.start()

    def start(self, *which: str) -> dict[str, str]:
        """The variables that lead to the engine of these options, which is started unless it runs."""
        if which not in self._known:
            self._ensure(which)
            self._known[which] = json.loads(self._call("env", "--format", "json", *which).stdout)
        return self._known[which]

    def job_image(self, *which: str) -> str:
        """The image of a CI's job container, in the private engine of these options, which has to run."""
        return self._call("job", *which).stdout.strip()

    def stop(self) -> None:
        """Stop what any process of the run has started."""
        if self._early:
            self._early.join()
        started = self.record / "started"
        for line in started.read_text().splitlines() if started.exists() else ():
            self._call("down", *json.loads(line), check=False)

    def _try(self) -> None:
        with contextlib.suppress(pytest.fail.Exception):
            self.start()

    def _ensure(self, which: tuple[str, ...]) -> None:
        """One process at a time looks, so that one alone takes the engine for its own."""
        with (self.record / "started").open("a") as started:
            fcntl.flock(started, fcntl.LOCK_EX)
            if self._call("status", *which, check=False).returncode:
                started.write(json.dumps(which) + "\n")
                started.flush()
                self._call("up", *which)

    def _call(self, command: str, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            (sys.executable, str(ENGINE), command, *words), env=self._env, capture_output=True, text=True, check=False
        )
        if check and done.returncode:
            pytest.fail(f"docker/engine {command} {' '.join(words)}: {done.stderr}")
        return done


OF_THIS_RUN = pytest.StashKey[Engines]()
