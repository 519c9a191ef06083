"""`plan` prints what `build` runs, and the lines do the same when pasted."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from buildx_cache.layout.store import LINKED
from tests.integration.conftest import Docker

# What a build asks before it decides; a plan asks the same.
QUESTIONS = (("system", "info"), ("context", "inspect"), ("buildx", "inspect"), ("image", "inspect"))
# How `build` listens to Buildx; see run.listening.
LISTENING = ("--progress", "--metadata-file")

RECORDER = """#!/bin/sh
for word in "$@"; do printf '%s\\0' "$word"; done >> {log}
printf '\\n' >> {log}
exec {docker} "$@"
"""

# Buildx exports to a folder inside of the planned one: see layout.linked.
_LINKED = re.compile(rf"/{re.escape(LINKED)}\w+")


@pytest.fixture
def recorder(tmp_path: Path) -> Path:
    """A folder for PATH whose `docker` writes down its command line and then runs the real one."""
    return tmp_path / "recorder"


def record(docker: Docker, folder: Path) -> tuple[dict[str, str], Path]:
    folder.mkdir(exist_ok=True)
    log = folder / "log"
    log.write_text("")
    return shimmed(docker, folder, RECORDER.replace("{log}", shlex.quote(str(log)))), log


def shimmed(docker: Docker, folder: Path, script: str) -> dict[str, str]:
    """A PATH whose `docker` is this script; ``{docker}`` in it is the real one."""
    folder.mkdir(exist_ok=True)
    real = subprocess.run(("which", "docker"), env=docker.child_env(), stdout=subprocess.PIPE, text=True, check=True)
    shim = folder / "docker"
    shim.write_text(script.replace("{docker}", real.stdout.strip()))
    shim.chmod(0o755)
    return {"PATH": f"{folder}:{docker.child_env()['PATH']}"}


def effects(log: Path) -> list[tuple[str, ...]]:
    """The commands that were run, but for questions, and without the flags by which a build is listened to."""
    lines = [tuple(line.split("\0")[:-1]) for line in log.read_text().splitlines()]
    return [without_listening(line) for line in lines if line[:2] not in QUESTIONS]


def without_listening(words: tuple[str, ...]) -> tuple[str, ...]:
    for flag in LISTENING:
        if flag in words:
            at = words.index(flag)
            words = (*words[:at], *words[at + 2 :])
    return words


def options(docker: Docker, project: Path, repository: str) -> tuple[str, ...]:
    return (
        *("-t", f"{repository}:{{date}}", "-t", f"{repository}:latest", "--push", *docker.new_builder),
        *("--build-arg", f"BASE={docker.base}", "--build-arg", "GREETING=it's $HOME", "--label", 'a=b "c"'),
        *("--cache", "local", "--cache-dir", str(project.parent / "a, b"), str(project)),
    )


def test_plan_prints_what_build_runs(docker: Docker, project: Path, recorder: Path) -> None:
    env, log = record(docker, recorder)
    words = ("--lazy", "off", *options(docker, project, docker.repository()))  # test_lazy.py has what is served
    planned = json.loads(docker.tool("plan", "--format", "json", *words, env=env).stdout)
    assert effects(log) == []
    ran = docker.build(*words, env=env)
    run = [tuple(_LINKED.sub("", word) for word in words) for words in effects(log)]
    assert [("docker", *words) for words in run] == [tuple(each["argv"]) for each in planned["commands"]]
    assert [each["phase"] for each in planned["commands"]] == ["builder", "build", "remove"]
    assert [tuple(each) for each in ran.report["commands"]] == [("docker", *words) for words in run]


def test_pasted_lines_do_the_same(docker: Docker, project: Path) -> None:
    repository = docker.repository()
    words = options(docker, project, repository)
    lines = docker.tool("plan", *words).stdout
    done = subprocess.run(
        ("sh", "-e"), input=lines, env=docker.child_env(), text=True, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert docker.greeting(f"{repository}:latest") == "one"
    assert (project.parent / "a, b" / "index.json").exists()
    ran = docker.build(*words)
    assert ran.steps == (3, 3, 0)


def test_planning_without_a_daemon(docker: Docker, project: Path) -> None:
    env = {"DOCKER_HOST": "unix:///nonexistent.sock", "PATH": str(Path(shutil_which("sh")).parent)}
    ran = docker.tool("plan", "-t", "org/app", "--push", "--assume-driver", "docker-container", str(project), env=env)
    assert ran.code == 0, ran.stderr
    assert "docker buildx create --name buildx-cache-" in ran.stdout
    assert "--cache-to type=registry,ref=org/app:buildcache-main," in ran.stdout


def test_secret_build_arguments_reach_the_build_by_the_environment(
    docker: Docker, project: Path, recorder: Path
) -> None:
    (project / "Dockerfile").write_text(
        "ARG BASE\nFROM ${BASE}\nARG API_TOKEN\nRUN echo ${#API_TOKEN} > /n\nCMD cat /n\n"
    )
    env, log = record(docker, recorder)
    words = (
        *("-t", "secretive", "--load", "--cache", "none", "-v", *docker.new_builder),
        *("--build-arg", f"BASE={docker.base}", "--build-arg", "API_TOKEN=xyzzy-123456", str(project)),
    )
    ran = docker.build(*words, env=env)
    assert docker.greeting("secretive") == "12"
    shown = [ran.stdout, ran.stderr, json.dumps(ran.report), log.read_text(), docker.tool("plan", *words).stdout]
    assert [text for text in shown if "xyzzy" in text] == []


def shutil_which(name: str) -> str:
    return subprocess.run(("which", name), stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
