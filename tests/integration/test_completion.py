"""A shell completes the names of real builders and contexts, and is never kept waiting or disturbed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.conftest import PROJECT, Docker, install_shell

# As its console script: Typer names the variable of the protocol after that.
PROGRAM = ("-c", "import sys; sys.argv[0] = 'buildx-cache'; from buildx_cache.__main__ import main; main()")


HOSTILE = (
    "$(touch${IFS}hit)",
    "`touch hit`",
    ";touch hit",
    "\x1b]0;title\x07",
    "'",
    '"',
    "\\n",
    ")",
    " c",
    "é",
    "a" * 200,
)
STAGES = "".join(f"FROM scratch AS {name}\n" for name in ("base", "Bins", "bins-2", *(f"b{each}" for each in HOSTILE)))
# How a shell's own script is asked what it would complete. Of zsh the function that lists it is another one here.
ASK = {
    "bash": """eval "$(buildx-cache)"; unset _BUILDX_CACHE_COMPLETE
COMP_WORDS=(buildx-cache "$@"); COMP_CWORD=$#
_buildx_cache_completion buildx-cache; printf '"%s"\\n' "${COMPREPLY[@]}\"""",
    "zsh": """compdef() { }; _arguments() { print -r -- "$1" }
eval "$(buildx-cache)"; unset _BUILDX_CACHE_COMPLETE
words=(buildx-cache "$@"); CURRENT=$#words; _buildx_cache_completion""",
    "fish": """buildx-cache | source; set -e _BUILDX_CACHE_COMPLETE
for each in (complete -C "buildx-cache $argv"); printf '"%s"\\n' $each; end""",
}


@pytest.fixture(params=["bash", "zsh", "fish"])
def asked(request: pytest.FixtureRequest, docker: Docker, tmp_path: Path) -> Callable[..., list[str]]:
    """What a real shell offers in a folder after these words."""
    shell, folder = str(request.param), tmp_path / "bin"
    install_shell(shell)
    folder.mkdir()
    (folder / "buildx-cache").write_text(f'#!/bin/sh\nexec {sys.executable} -c "{PROGRAM[1]}" "$@"\n')
    (folder / "buildx-cache").chmod(0o755)

    def ask(*words: str) -> list[str]:
        env = docker.child_env(PYTHONPATH=str(PROJECT), _BUILDX_CACHE_COMPLETE=f"source_{shell}")
        env["PATH"] = f"{folder}:{env['PATH']}"
        begin = (shell, "-c", ASK[shell], *((shell,) if shell != "fish" else ()))
        done = subprocess.run((*begin, *words), env=env, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        return re.findall(r'"([^"]*)"', done.stdout)

    return ask


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


@pytest.mark.soak
def test_each_shell_offers_the_stages_and_runs_nothing(asked: Callable[..., list[str]], tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text(STAGES)
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "Dockerfile").write_text("FROM scratch AS web\n")
    assert asked("build", "--target", "b") == ["base", "bins-2"]
    assert asked("plan", "app", "--target", "") == ["web"]
    assert asked("build", "-f", "app/Dockerfile", "--target", "") == ["web"]
    assert not (tmp_path / "hit").exists()


def test_the_stages_of_a_file_are_bounded(docker: Docker, tmp_path: Path) -> None:
    file = tmp_path / "Dockerfile"
    file.write_text("".join(f"FROM scratch AS stage{number}\n" for number in range(9999)))
    assert len(completed(docker, f"build {tmp_path} --target stage")) == 200
    assert completed(docker, "build --target stage123", BUILDX_CACHE_FILE=str(file))[0] == "stage123"
    file.write_text("FROM scratch AS stage\n" + "#" * (1 << 20))
    assert completed(docker, f"build -f {file} --target stage") == []


@pytest.mark.parametrize("kind", ["absent", "pipe", "endless", "link"])
def test_what_is_no_dockerfile_completes_nothing(docker: Docker, tmp_path: Path, kind: str) -> None:
    file, elsewhere = tmp_path / "app" / "Dockerfile", tmp_path / "elsewhere"
    file.parent.mkdir()
    elsewhere.write_text("FROM scratch AS secret\n")
    if kind == "pipe":
        os.mkfifo(file)
    elif kind != "absent":
        file.symlink_to("/dev/zero" if kind == "endless" else elsewhere)
    assert completed(docker, f"build {file.parent} --target s") == []
