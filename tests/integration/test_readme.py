"""The steps that the README gives for CircleCI do what it says, run by a shell as they stand there."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from tests.integration.conftest import HELLO, PROJECT, Docker
from tests.selection import quick

SECTION = re.search(r"## In CircleCI\n(.*?)\n## ", (PROJECT / "README.md").read_text(), re.DOTALL)
STEPS = tuple(
    step["run"]
    for block in re.findall(r"```yaml\n(.*?)```", SECTION[1] if SECTION else "", re.DOTALL)
    for step in YAML(typ="safe").load(block)
    if isinstance(step, dict) and "run" in step
)
BUILDS = tuple(step for step in STEPS if step.startswith("buildx-cache build "))
SHA = "0123456789012345678901234567890123456789"
FORK = {"CIRCLECI": "true", "CIRCLE_BRANCH": "pull/7", "CIRCLE_PR_NUMBER": "7", "CIRCLE_SHA1": SHA}


def installed(folder: Path) -> Path:
    """A folder for PATH that has the program."""
    script = folder / "buildx-cache"
    script.write_text(f'#!/bin/sh\nexec {sys.executable} -m buildx_cache "$@"\n')
    script.chmod(0o755)
    return folder


def test_the_readme_installs_the_program_once_and_builds_with_each_kind_of_cache() -> None:
    installs = [step for step in STEPS if step not in BUILDS]
    lines = tomllib.loads((PROJECT / "buildx_cache/starter/templates/install.toml").read_text())["uv"]
    assert len(BUILDS) == 3
    assert installs == [" && ".join(lines)]


PUSHES = dict(zip(("registry", "inline"), (step for step in BUILDS if "--push" in step), strict=True))


@pytest.mark.parametrize("kind", quick(PUSHES, "registry"))
def test_a_fork_passes_with_no_variable_set(docker: Docker, tmp_path: Path, kind: str) -> None:
    project = shutil.copytree(HELLO, tmp_path / "project")
    path = installed(tmp_path)
    options = {
        "BUILDX_CACHE_DRIVER": "docker-container",
        "BUILDX_CACHE_BUILDKIT_IMAGE": docker.env["ENGINE_BUILDKIT_IMAGE"],
        "BUILDX_CACHE_DRIVER_OPT": docker.env["ENGINE_DRIVER_OPT"],
        "BUILDX_CACHE_RM_BUILDER": "true",
        "BUILDX_CACHE_BUILD_ARG": f"BASE={docker.base}",
    }
    env = docker.child_env(**FORK, **options, PYTHONPATH=str(PROJECT))
    env["PATH"] = f"{path}:{env['PATH']}"
    done = subprocess.run(("sh", "-c", PUSHES[kind]), env=env, cwd=project, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert "not pushed" in done.stderr
