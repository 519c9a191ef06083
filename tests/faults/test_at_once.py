"""Several calls on one cache folder at once, and calls that are killed: no build fails, and nothing live is lost."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from buildx_cache import layout
from tests.faults.laboratory import Laboratory
from tests.integration.conftest import Ran

_ROUNDS = 20
_KILLS = 10
_SEED = 20
_DOCKERFILE = "ARG BASE\nFROM ${BASE}\nCOPY word /word\nRUN tail -c +2 /word > /most\nRUN tail -c +3 /word > /less\n"


def _context(folder: Path, content: bytes) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "Dockerfile").write_text(_DOCKERFILE)
    (folder / "word").write_bytes(content)
    return folder


@pytest.mark.soak
def test_two_builds_at_once_on_one_folder_both_succeed(laboratory: Laboratory, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    words = ("--cache", "local", "--cache-dir", str(cache))
    numbers = random.Random(_SEED)  # noqa: S311 - nothing secret

    def build(name: str, builder: str) -> Ran:
        return laboratory.tool(*words, context=tmp_path / name, builder=builder)

    with laboratory.builders.new() as one, laboratory.builders.new() as two, ThreadPoolExecutor(2) as pool:
        for _ in range(_ROUNDS):
            for name in ("one", "two"):
                _context(tmp_path / name, numbers.randbytes(20_000))
            for ran in pool.map(build, ("one", "two"), (one, two)):
                assert ran.code == 0, ran.stderr
                assert ran.report["cache"]["exports"][0]["status"] == "written"
            assert layout.verify(cache, deep=True) == ()
        last = build("one", one)

    assert last.code == 0, last.stderr
    assert not any((cache / "ingest").iterdir())
    assert layout.reach(cache).dead_bytes == 0


def _family(pid: int) -> Iterator[int]:
    """A process, and those that it started, and so on."""
    children = defaultdict(list)
    for line in subprocess.run(
        ("ps", "-eo", "ppid=,pid="), capture_output=True, text=True, check=True
    ).stdout.splitlines():
        parent, child = map(int, line.split())
        children[parent].append(child)
    pending = [pid]
    while pending:
        yield (current := pending.pop())
        pending += children[current]


@pytest.mark.soak
def test_a_call_killed_at_any_moment_leaves_a_folder_that_the_next_one_uses(
    laboratory: Laboratory, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    words = ("--cache", "local", "--cache-dir", str(cache))
    numbers = random.Random(_SEED)  # noqa: S311 - nothing secret
    print(f"seed {_SEED}")  # noqa: T201 - pytest shows it with a failure
    docker = laboratory.docker
    tool = (sys.executable, "-m", "buildx_cache", "build")
    context = _context(tmp_path / "context", numbers.randbytes(1_000_000))
    with laboratory.builders.new() as builder:
        began = time.monotonic()
        laboratory.tool(*words, context=context, builder=builder)
        seconds = time.monotonic() - began
        killed = 0
        while killed < _KILLS:
            _context(context, numbers.randbytes(1_000_000))
            child = subprocess.Popen(
                (*tool, "--builder", builder, *words, "--build-arg", f"BASE={docker.base}", str(context)),
                env=docker.child_env(TMPDIR=str(tmp_path)),  # a killed call cannot tidy up
                cwd=context,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            time.sleep(numbers.uniform(0.2, 1.1) * seconds)
            for pid in list(_family(child.pid)):
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            if child.wait() == -signal.SIGKILL:
                killed += 1
            else:  # it had ended before
                seconds *= 0.8

            ran = laboratory.tool(*words, context=context, builder=builder)

            assert ran.code == 0, ran.stderr
            assert ran.report["cache"]["local"]["sound"] is True
            assert layout.verify(cache, deep=True) == ()
    partial = list((cache / "ingest").iterdir())  # of the last kills: another writer might still be at them
    for path in (*partial, *(file for folder in partial for file in folder.iterdir())):
        os.utime(path, (0, 0))
    assert layout.sweep(cache).ingests == len(partial)
    assert not any((cache / "ingest").iterdir())
