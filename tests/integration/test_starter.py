"""The steps that ``init`` writes do what they say: their shell lines are run as the CI would run them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from tests.integration.conftest import HELLO, PROJECT, Docker
from tests.integration.test_readme import installed

SHA = "0123456789012345678901234567890123456789"
BASH = ("bash", "-eo", "pipefail", "-c")
SH = ("sh", "-e", "-c")
MACHINE = "/home/circleci"
"""In lines and variables: the folder of the machine that the test makes."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """How a CI runs a step, and what its variables say of a push to main and of a fork's pull request."""

    file: str
    shell: tuple[str, ...]
    own: Mapping[str, str]
    fork: Mapping[str, str] | None = None


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
    "buildkite": Job(
        file=".buildkite/pipeline.yml",
        shell=BASH,
        own={"BUILDKITE": "true", "BUILDKITE_BRANCH": "main", "BUILDKITE_COMMIT": SHA},
        fork={
            "BUILDKITE": "true",
            "BUILDKITE_BRANCH": "someone:main",
            "BUILDKITE_COMMIT": SHA,
            "BUILDKITE_PULL_REQUEST": "7",
            "BUILDKITE_PULL_REQUEST_REPO": "git://git.example.com/someone/app",
            "BUILDKITE_REPO": "git://git.example.com/o/app",
        },
    ),
    "azure": Job(
        file="azure-pipelines.yml",
        shell=BASH,
        own={
            "TF_BUILD": "True",
            "BUILD_SOURCEBRANCH": "refs/heads/main",
            "BUILD_SOURCEVERSION": SHA,
            "PIPELINE_WORKSPACE": MACHINE,
        },
        # A variable that is not there leaves its name where the file has it.
        fork={
            "TF_BUILD": "True",
            "BUILD_REASON": "PullRequest",
            "BUILD_SOURCEBRANCH": "refs/pull/7/merge",
            "BUILD_SOURCEVERSION": SHA,
            "SYSTEM_PULLREQUEST_ISFORK": "True",
            "SYSTEM_PULLREQUEST_PULLREQUESTNUMBER": "7",
            "DOCKER_PASSWORD": "$(DOCKER_PASSWORD)",
        },
    ),
    "jenkins": Job(
        file="Jenkinsfile",
        shell=SH,
        own={"JENKINS_URL": "https://ci.example.com", "BRANCH_NAME": "main", "GIT_COMMIT": SHA},
        fork={
            "JENKINS_URL": "https://ci.example.com",
            "BRANCH_NAME": "PR-7",
            "CHANGE_ID": "7",
            "CHANGE_BRANCH": "main",
            "CHANGE_FORK": "someone",
            "CHANGE_TARGET": "main",
            "GIT_COMMIT": SHA,
            "DOCKER_REGISTRY": "registry.example.com",
        },
    ),
    # Neither builds a fork's pull request by this step.
    "bitbucket": Job(
        file="bitbucket-pipelines.yml",
        shell=SH,
        own={"CI": "true", "BITBUCKET_BUILD_NUMBER": "1", "BITBUCKET_BRANCH": "main", "BITBUCKET_COMMIT": SHA},
    ),
    "woodpecker": Job(
        file=".woodpecker.yaml",
        shell=SH,
        own={"CI": "woodpecker", "CI_COMMIT_BRANCH": "main", "CI_COMMIT_SHA": SHA, "CI_PIPELINE_EVENT": "push"},
    ),
}
EACH_NIGHT = pytest.mark.soak


def each(first: str, *others: str) -> tuple[object, ...]:
    """CIs of which the first alone is tried by day."""
    return (first, *(pytest.param(name, marks=EACH_NIGHT) for name in others))


def shell_lines(file: Path) -> tuple[str, ...]:
    """What the CI hands to a shell: a text, or lines that are read as one."""
    text = file.read_text()
    if file.name == "Jenkinsfile":
        return tuple(textwrap.dedent(found) for found in re.findall("'''(.*?)'''", text, re.DOTALL))
    found = dict.fromkeys(_lines(YAML(typ="safe").load(text)))  # an alias gives the same again
    # Buildkite and Woodpecker expand the file's own variables first, and $$ is a dollar.
    return tuple(found if ".buildkite" not in str(file) and "woodpecker" not in file.name else _undoubled(found))


def _undoubled(found: Iterable[str]) -> Iterator[str]:
    return (lines.replace("$$", "$") for lines in found)


def _lines(node: object) -> Iterator[str]:
    if isinstance(node, dict):
        for key, value in node.items():
            if key in _SHELL_KEYS and isinstance(value, str):
                yield value
            elif key in _SHELL_KEYS and isinstance(value, list):
                yield "\n".join(value)
            else:
                yield from _lines(value)
    elif isinstance(node, list):
        for item in node:
            yield from _lines(item)


_SHELL_KEYS = ("run", "command", "commands", "script")


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
        (lines,) = shell_lines(self.project / self.job.file)
        self.lines = lines.replace(MACHINE, str(self.home))
        self.programs = installed(folder)
        for name in ("curl", "uv", "pipx", "apk", "pip"):
            script = self.programs / name
            script.write_text('#!/bin/sh\n[ "$1" != run ] || { shift; exec "$@"; }\n')  # as pipx does
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
        given = {name: value.replace(MACHINE, str(self.home)) for name, value in env.items()}
        child = self.docker.child_env(**options, **given, PYTHONPATH=str(PROJECT), HOME=str(self.home))
        child["PATH"] = f"{self.programs}:{child['PATH']}"
        return subprocess.run(
            (*self.job.shell, self.lines), env=child, cwd=self.project, capture_output=True, text=True, check=False
        )

    def cached(self) -> tuple[int, int]:
        steps = json.loads((self.home / "report.json").read_text())["cache"]["steps"]
        return steps["cached"], steps["executed"]


@pytest.mark.parametrize("cache", each("registry", "inline"))
@pytest.mark.parametrize("ci", each("circleci", *(name for name in JOBS if name not in ("circleci", "github"))))
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
@pytest.mark.parametrize("ci", each("circleci", "github", "gitlab", "buildkite", "azure", "jenkins"))
def test_a_local_step_keeps_its_cache_in_the_folder(docker: Docker, tmp_path: Path, ci: str) -> None:
    step = Step(docker, tmp_path, ci, "local")
    done = step.run(step.job.own)
    assert done.returncode == 0, done.stderr
    again = step.run(step.job.own)
    assert again.returncode == 0, again.stderr
    assert step.cached()[1] == 0


@pytest.mark.soak
@pytest.mark.parametrize("ci", [name for name, job in JOBS.items() if job.fork])
def test_a_fork_passes_without_any_secret(docker: Docker, tmp_path: Path, ci: str) -> None:
    done = Step(docker, tmp_path, ci, "registry").run(JOBS[ci].fork or {})
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert "not pushed" in done.stderr
