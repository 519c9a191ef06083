"""The steps that ``init`` writes do what they say: their shell lines are run as the CI would run them."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from tests.integration.conftest import HELLO, PROJECT, Docker
from tests.integration.test_readme import installed

SHA = "0123456789012345678901234567890123456789"
BASH = ("bash", "-eo", "pipefail", "-c")
SH = ("sh", "-e", "-c")


@dataclass(frozen=True, kw_only=True)
class Job:
    """How a CI runs a step, and what its variables say of a push to main and of a fork's pull request."""

    file: str
    shell: tuple[str, ...]
    own: Mapping[str, str]
    fork: Mapping[str, str]


JOBS = {
    "circleci": Job(
        file=".circleci/config.yml",
        shell=BASH,
        own={"CIRCLECI": "true", "CIRCLE_BRANCH": "main", "CIRCLE_SHA1": SHA},
        fork={"CIRCLECI": "true", "CIRCLE_BRANCH": "pull/7", "CIRCLE_PR_NUMBER": "7", "CIRCLE_SHA1": SHA},
    ),
    "github": Job(
        file=".github/workflows/image.yml",
        shell=BASH,
        own={
            "GITHUB_ACTIONS": "true",
            "GITHUB_REF": "refs/heads/main",
            "GITHUB_SHA": SHA,
            "GITHUB_REPOSITORY": "o/app",
        },
        fork={
            "GITHUB_ACTIONS": "true",
            "GITHUB_REF": "refs/pull/7/merge",
            "GITHUB_HEAD_REF": "main",
            "GITHUB_BASE_REF": "main",
            "GITHUB_EVENT_NAME": "pull_request",
            "GITHUB_SHA": SHA,
            "GITHUB_REPOSITORY": "o/app",
        },
    ),
    "gitlab": Job(
        file=".gitlab-ci.yml",
        shell=SH,
        own={"GITLAB_CI": "true", "CI_COMMIT_BRANCH": "main", "CI_DEFAULT_BRANCH": "main", "CI_COMMIT_SHA": SHA},
        fork={
            "GITLAB_CI": "true",
            "CI_PIPELINE_SOURCE": "merge_request_event",
            "CI_MERGE_REQUEST_IID": "7",
            "CI_MERGE_REQUEST_SOURCE_PROJECT_ID": "2",
            "CI_MERGE_REQUEST_PROJECT_ID": "1",
            "CI_COMMIT_SHA": SHA,
            "CI_REGISTRY_IMAGE": "registry.example.com/o/app",
        },
    ),
}


def shell_lines(node: object) -> Iterator[str]:
    """Give what the CI hands to a shell: the command of a ``run``, or a ``script``'s lines as one."""
    if isinstance(node, dict):
        run = node.get("run")
        if isinstance(run, str):
            yield run
        elif isinstance(run, dict):
            yield run["command"]
        if isinstance(node.get("script"), list):
            yield "\n".join(node["script"])
        for key, value in node.items():
            if key not in ("run", "script"):
                yield from shell_lines(value)
    elif isinstance(node, list):
        for item in node:
            yield from shell_lines(item)


class Step:
    """The step that ``init`` writes for a CI, in a repository that builds docker/hello."""

    def __init__(self, docker: Docker, folder: Path, ci: str, cache: str) -> None:
        self.docker, self.job = docker, JOBS[ci]
        self.project = shutil.copytree(HELLO, folder / "hello")
        dockerfile = self.project / "Dockerfile"
        dockerfile.write_text(dockerfile.read_text().replace("primes 600000", "primes 6000"))
        self.home = folder / "machine"
        self.home.mkdir()
        for words in (("init", "--quiet"), ("remote", "add", "origin", "https://git.example.com/o/app")):
            subprocess.run(("git", *words), cwd=self.project, check=True, env=docker.child_env())
        written = docker.tool("init", "--ci", ci, "--cache", cache, cwd=self.project)
        assert written.code == 0, written.stderr
        (lines,) = shell_lines(YAML(typ="safe").load((self.project / self.job.file).read_text()))
        self.lines = lines.replace("/home/circleci", str(self.home))
        self.programs = installed(folder)
        for name in ("curl", "uv", "pipx", "apk", "pip"):
            script = self.programs / name
            script.write_text("#!/bin/sh\n")
            script.chmod(0o755)

    def run(self, env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
        options = {
            "BUILDX_CACHE_DRIVER": "docker-container",
            "BUILDX_CACHE_BUILDKIT_IMAGE": self.docker.env["ENGINE_BUILDKIT_IMAGE"],
            "BUILDX_CACHE_DRIVER_OPT": self.docker.env["ENGINE_DRIVER_OPT"],
            "BUILDX_CACHE_RM_BUILDER": "true",
            "BUILDX_CACHE_BUILD_ARG": f"BASE={self.docker.base}",
            "BUILDX_CACHE_REPORT": str(self.home / "report.json"),
        }
        child = self.docker.child_env(**options, **env, PYTHONPATH=str(PROJECT), HOME=str(self.home))
        child["PATH"] = f"{self.programs}:{child['PATH']}"
        return subprocess.run(
            (*self.job.shell, self.lines), env=child, cwd=self.project, capture_output=True, text=True, check=False
        )

    def cached(self) -> tuple[int, int]:
        steps = json.loads((self.home / "report.json").read_text())["cache"]["steps"]
        return steps["cached"], steps["executed"]


@pytest.mark.parametrize("cache", ["registry", pytest.param("inline", marks=pytest.mark.soak)])
@pytest.mark.parametrize("ci", ["circleci", pytest.param("gitlab", marks=pytest.mark.soak)])
def test_a_step_pushes_and_the_next_job_hits_its_cache(docker: Docker, tmp_path: Path, ci: str, cache: str) -> None:
    step = Step(docker, tmp_path, ci, cache)
    place = docker.repository()
    env = {**step.job.own, "DOCKER_REGISTRY": place, "CI_REGISTRY_IMAGE": f"{place}/o/app"}
    done = step.run(env)
    assert done.returncode == 0, done.stderr
    assert f"{place}/o/app:{SHA[:7]}@sha256:" in done.stdout
    again = step.run(env)
    assert again.returncode == 0, again.stderr
    assert step.cached()[0] > 0


@pytest.mark.soak  # the demo of test_demo.py keeps a folder, too
@pytest.mark.parametrize("ci", ["circleci", "github", "gitlab"])
def test_a_local_step_keeps_its_cache_in_the_folder(docker: Docker, tmp_path: Path, ci: str) -> None:
    step = Step(docker, tmp_path, ci, "local")
    done = step.run(step.job.own)
    assert done.returncode == 0, done.stderr
    again = step.run(step.job.own)
    assert again.returncode == 0, again.stderr
    assert step.cached()[1] == 0


@pytest.mark.soak
@pytest.mark.parametrize("ci", JOBS)
def test_a_fork_passes_without_any_secret(docker: Docker, tmp_path: Path, ci: str) -> None:
    done = Step(docker, tmp_path, ci, "registry").run(JOBS[ci].fork)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert "not pushed" in done.stderr
