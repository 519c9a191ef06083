"""A call imports no more than it needs: what is heavy comes with the work that it is for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

IMPORT = "import time:"
HEAVY = {"buildx_cache.display", "buildx_cache.engine", "buildx_cache.run", "python_on_whales", "urllib3"}
PLAN = ("plan", "--assume-driver", "docker", "-t", "org/app:1", "--push")


@pytest.mark.parametrize(
    ("words", "left_out"),
    [
        (("--version",), HEAVY),
        (("--help",), HEAVY),
        (("build", "--help"), HEAVY),
        (PLAN, {"buildx_cache.run", "rich", "urllib3"}),
    ],
    ids=["version", "help", "help-of-build", "plan"],
)
def test_a_call_that_builds_nothing_imports_little(tmp_path: Path, words: tuple[str, ...], left_out: set[str]) -> None:
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    done = subprocess.run(
        (sys.executable, "-X", "importtime", "-m", "buildx_cache", *words),
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    modules = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith(IMPORT)}
    assert "buildx_cache.cli" in modules
    assert modules & left_out == set()
