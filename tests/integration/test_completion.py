"""A shell completes the names of real builders and contexts, and is never kept waiting or disturbed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.integration.conftest import Docker

# As its console script: Typer names the variable of the protocol after that.
PROGRAM = ("-c", "import sys; sys.argv[0] = 'buildx-cache'; from buildx_cache.__main__ import main; main()")


@pytest.fixture
def own(docker: Docker) -> str:
    """A Docker configuration of the test's own, which builders and contexts can be added to."""
    config = docker.home / ".docker"
    config.mkdir()
    if folder := docker.env.get("DOCKER_CONFIG"):
        shutil.copy(Path(folder) / "config.json", config)
    return str(config)


def completed(docker: Docker, words: str, **env: str) -> list[str]:
    protocol = {"_BUILDX_CACHE_COMPLETE": "complete_bash", "COMP_WORDS": f"buildx-cache {words}"}
    position = str(len(words.split()))
    ran = docker.tool("", program=PROGRAM, env={**protocol, "COMP_CWORD": position, **env})
    assert (ran.code, ran.stderr) == (0, "")
    return ran.stdout.split()


def test_builders_and_contexts_are_completed(docker: Docker, own: str) -> None:
    far = "host=tcp://203.0.113.1:2376"
    docker.docker("context", "create", "remote-machine", "--docker", far, DOCKER_CONFIG=own)
    docker.docker("buildx", "create", "--name", "remaker", *docker.buildx_options, DOCKER_CONFIG=own)
    assert completed(docker, "build --builder rem", DOCKER_CONFIG=own) == ["remaker", "remote-machine"]
    assert completed(docker, "doctor --docker-context rem", DOCKER_CONFIG=own) == ["remote-machine"]


@pytest.mark.parametrize("body", ["sleep 600", "echo rem; echo broken >&2; exit 1", "yes remote-machine"])
def test_a_docker_that_misbehaves_completes_nothing(docker: Docker, tmp_path: Path, body: str) -> None:
    script = tmp_path / "docker"
    script.write_text(f"#!/bin/sh\n{body}\n")
    script.chmod(0o755)
    path = f"{tmp_path}:{docker.child_env()['PATH']}"
    assert completed(docker, "build --docker-context rem", PATH=path) == []
