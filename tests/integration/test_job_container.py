"""A CI's job as CircleCI runs it: a container with a normal user, whose engine is another machine, reached by TLS.

Each job restores what the one before has saved, builds on a new builder, and saves.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.integration.conftest import PROJECT, Docker
from tests.integration.engines import Engines

ENGINE = ("--suite", "forky", "--store", "containerd")
USER = 3434
HOME = "/home/circleci"
FOLDER = f"{HOME}/buildx-cache"
MODES: Mapping[str, tuple[str, ...]] = {
    "local": ("--cache", "local", "--cache-dir", FOLDER),
    "registry": ("--cache", "registry"),
    "inline": ("--cache", "inline"),
}
_DEPENDENCIES = (
    "import tomllib; print('\\n'.join(tomllib.load(open('pyproject.toml', 'rb'))['project']['dependencies']))"
)
_VERSION = "import sys; print('%d.%d' % sys.version_info[:2])"


@dataclass(frozen=True, kw_only=True)
class Job:
    """What all jobs have: the image, the program with its packages, and the engine's address and certificates."""

    docker: Docker
    remote: Docker
    image: str
    packages: Path
    folder: Path

    def run(self, number: int, *words: str) -> dict[str, Any]:
        """Run a job from a clean checkout, with the cache that the last one saved; return its report."""
        home = self.folder / f"job-{number}"
        shutil.copytree(self.folder / "project", home / "project")
        shutil.copytree(self.remote.env["DOCKER_CERT_PATH"], home / "certs")
        saved = self.folder / "saved"
        if saved.exists():
            shutil.copytree(saved, home / "buildx-cache")
        for path in (home, *home.rglob("*")):
            os.chown(path, USER, USER)
        self._in_container(home, *words)
        shutil.rmtree(saved, ignore_errors=True)
        if (home / "buildx-cache").exists():
            shutil.copytree(home / "buildx-cache", saved)
        return dict(json.loads((home / "report.json").read_text()))

    def _in_container(self, home: Path, *words: str) -> None:
        env = {
            "CIRCLECI": "true",
            "CIRCLE_SHA1": "83a20ec058e2fb00e7fa4558c4c6e81e2dcf253d",
            "CIRCLE_BRANCH": "main",
            "HOME": HOME,
            "DOCKER_HOST": self.remote.env["DOCKER_HOST"],
            "DOCKER_TLS_VERIFY": "1",
            "DOCKER_CERT_PATH": f"{HOME}/certs",
            "PYTHONPATH": "/opt/program:/opt/packages",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        mounts = {
            home: HOME,
            PROJECT / "buildx_cache": "/opt/program/buildx_cache:ro",
            self.packages: "/opt/packages:ro",
        }
        options = [
            *(word for name, value in env.items() for word in ("--env", f"{name}={value}")),
            *(word for place, there in mounts.items() for word in ("--volume", f"{place}:{there}")),
        ]
        call = ("python3", "-m", "buildx_cache", "build", "--report", f"{HOME}/report.json", *words)
        self.docker.docker("run", "--rm", *options, "--workdir", f"{HOME}/project", self.image, *call)


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for what the program runs with."""
    return tmp_path_factory.mktemp("packages")


@pytest.fixture
def job(
    special: Callable[[str, str], Docker],
    remote_docker: Docker,
    engines: Engines,
    hello: Path,
    packages: Path,
    tmp_path: Path,
) -> Job:
    docker = special("forky", "containerd")
    image = engines.job_image(*ENGINE)
    if not (packages / "typer").exists():
        _install(packages, docker.docker("run", "--rm", image, "python3", "-c", _VERSION))
    shutil.copytree(hello, tmp_path / "jobs" / "project")
    return Job(docker=docker, remote=remote_docker, image=image, packages=packages, folder=tmp_path / "jobs")


def _install(packages: Path, version: str) -> None:
    """Have what the program depends on for a version of Python."""
    wanted = subprocess.run(
        (sys.executable, "-c", _DEPENDENCIES), cwd=PROJECT, capture_output=True, text=True, check=True
    ).stdout.split("\n")
    pip = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "install", "--only-binary=:all:")
    target = ("--target", str(packages), "--python-version", version)
    subprocess.run((*pip, *target, *filter(None, wanted)), check=True)
    packages.chmod(0o755)  # the container's user is nobody here


@pytest.fixture
def hello(docker: Docker) -> Path:
    """A project of a few quick steps."""
    return Path(docker.hello[-1])


@pytest.mark.soak
@pytest.mark.parametrize("mode", MODES)
def test_the_next_job_runs_no_step_again(job: Job, mode: str) -> None:
    repository = job.remote.repository()
    words = (*MODES[mode], *job.remote.new_builder, "--build-arg", f"BASE={job.remote.base}", "-t", f"{repository}:1")

    first = job.run(1, *words, "--push", ".")
    key = (job.folder / "saved" / "index.json").read_bytes() if mode == "local" else b""
    second = job.run(2, *words, "--push", ".")

    assert first["cache"]["steps"]["cached"] == 0
    assert second["cache"]["steps"]["executed"] == 0
    assert second["cache"]["imports"][0]["status"] == "hit"
    assert second["status"] == "success"
    assert second["retries"] == []
    if mode == "local":
        assert second["cache"]["lazy"]["used"], second["cache"]["lazy"]
        assert second["cache"]["exports"][0]["status"] == "unchanged"
        assert (job.folder / "saved" / "index.json").read_bytes() == key
