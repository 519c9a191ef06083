"""A call imports no more than it needs: what is heavy comes with the work that it is for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.conftest import PROJECT, Docker

IMPORT = "import time:"
HEAVY = {"markdown_it", "pydantic", "pygments", "python_on_whales", "rich", "urllib3"}
PLAN = ("plan", "--assume-driver", "docker-container", "-t", "org/app:1", "--push", "--format", "json")


def imported(*words: str, env: dict[str, str], cwd: Path = PROJECT) -> set[str]:
    """The heavy packages that a call has imported in the end."""
    modules = {line.rpartition("|")[2].strip() for line in told(*words, env=env, cwd=cwd) if line.startswith(IMPORT)}
    assert "buildx_cache.cli" in modules
    return modules & HEAVY


def told(*words: str, env: dict[str, str], cwd: Path) -> list[str]:
    """What a call says on stderr, with a line for each import in between."""
    done = subprocess.run(
        (sys.executable, "-X", "importtime", "-m", "buildx_cache", *words),
        env=env,
        cwd=cwd,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stderr.splitlines()


@pytest.mark.parametrize(
    ("words", "heavy"),
    [
        pytest.param(("--version",), set(), id="version"),
        pytest.param(("--help",), {"rich"}, id="help"),
        pytest.param(("build", "--help"), {"rich"}, id="help-of-build"),
    ],
)
def test_without_docker_little_is_imported(
    docker: Docker, project: Path, words: tuple[str, ...], heavy: set[str]
) -> None:
    assert imported(*words, env=docker.child_env(), cwd=project) == heavy
