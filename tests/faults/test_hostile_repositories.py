"""Repositories that hold commands for git, by each command that asks git, in each CI: nothing runs, none is called."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from buildx_cache.ci.providers import PROVIDERS
from buildx_cache.cli.session import assumed_plan
from buildx_cache.engine.git import Provenance, git_provenance
from buildx_cache.request.build_request import BuildRequest, Driver
from tests.faults.hostile_repositories import PLAIN, POSITIONS, Hostile, Traps, honest, setting_traps, state_of
from tests.integration.conftest import Docker, old_docker, special
from tests.selection import quick

__all__ = ["old_docker", "special"]

PLAN = ("plan", "--assume-driver", "docker-container", "-t", "example.com/app:1")
PRUNE = ("cache", "prune", "127.0.0.1:1/app", "--keep-branches-from", "git")
# The program in a process of its own for each of the given command lines, imported once.
EACH = """
import json, os, sys
from buildx_cache.cli import main, session
from buildx_cache.display import base
for words in json.loads(sys.argv[1]):
    if not os.fork():
        sys.argv[1:] = words
        sys.exit(main())
    print("code", os.waitstatus_to_exitcode(os.wait()[1]), flush=True)
"""


@pytest.fixture
def traps(tmp_path: Path) -> Iterator[Traps]:
    with setting_traps(tmp_path / "traps") as traps:
        yield traps


def hostile(position: str, tmp_path: Path, traps: Traps) -> Hostile:
    return POSITIONS[position](tmp_path / "repository", traps)


def marks() -> Iterator[dict[str, str]]:
    """Each CI as its runner marks it, and nothing that git would tell: so git is asked for all of it."""
    for provider in PROVIDERS:
        name, pattern = provider.marks[0]
        yield {name: next(value for value in ("true", "woodpecker", "1") if re.fullmatch(pattern, value))}


@pytest.mark.parametrize("position", POSITIONS)
def test_git_alone_steps_into_every_trap(tmp_path: Path, traps: Traps, position: str) -> None:
    found = hostile(position, tmp_path, traps)
    ask_git(found, traps, "log", "-1", "--show-signature" if found.is_whole else "--")
    assert traps.sprung()


def test_git_alone_runs_the_commands_of_a_working_tree(tmp_path: Path, traps: Traps) -> None:
    found = hostile("archive-with-a-commit", tmp_path, traps)
    ask_git(found, traps, "status")
    assert {line.split()[1] for line in traps.sprung()} >= {"core.fsmonitor", "filter.process"}


def ask_git(found: Hostile, traps: Traps, *words: str) -> None:
    env = {**PLAIN, "PATH": traps.path}
    git = ("git", *found.asked, *words)
    subprocess.run(git, cwd=found.context, env=env, stdin=subprocess.DEVNULL, check=False, capture_output=True)


@pytest.mark.parametrize("position", POSITIONS)
def test_no_command_has_a_repository_run_its_own(tmp_path: Path, traps: Traps, home: Path, position: str) -> None:
    found = hostile(position, tmp_path, traps)
    before = state_of(tmp_path)
    commands = ((*PLAN, str(found.context)), ("doctor",), PRUNE, ("init", "--ci", "jenkins", "--dry-run"))
    ran = subprocess.run(
        (sys.executable, "-P", "-c", EACH, json.dumps(commands)),
        cwd=found.here,
        env={"PATH": traps.path, "HOME": str(home), "DOCKER_HOST": "unix:///nonexistent"},
        check=True,
        capture_output=True,
        text=True,
    )
    codes = [line for line in ran.stdout.splitlines() if line.startswith("code ")]
    assert codes[:-1] == ["code 0", "code 3", "code 2"], ran.stderr
    assert codes[-1] in ("code 0", "code 2"), ran.stderr  # where the Dockerfile is
    assert (traps.sprung(), state_of(tmp_path)) == ([], before)


@pytest.mark.parametrize("position", POSITIONS)
def test_no_ci_has_a_repository_run_its_commands(
    tmp_path: Path, traps: Traps, home: Path, monkeypatch: pytest.MonkeyPatch, position: str
) -> None:
    found = hostile(position, tmp_path, traps)
    monkeypatch.chdir(found.here)
    before = state_of(tmp_path)
    for mark in marks():
        env = {"PATH": traps.path, "HOME": str(home), **mark}
        plan = assumed_plan(BuildRequest(context=str(found.context)), env, Driver.DOCKER_CONTAINER)
        assert "1111111" not in str(plan)
        assert (traps.sprung(), state_of(tmp_path)) == ([], before), mark


# One position of each kind of repository; what is asked about each position is asked by the other commands above.
BUILT = ("context", "archive", "archive-with-a-commit", "archive-that-buildx-asks", "git-file")


@pytest.mark.parametrize("position", quick(POSITIONS, *BUILT))
def test_no_build_has_a_repository_run_its_commands(
    docker: Docker, tmp_path: Path, traps: Traps, home: Path, position: str
) -> None:
    found = hostile(position, tmp_path, traps)
    builds_harmlessly(docker, found, traps, home)


def builds_harmlessly(docker: Docker, found: Hostile, traps: Traps, home: Path) -> None:
    """Buildx asks git about the context, for the provenance."""
    before = state_of(found.here, found.context, traps.folder)
    words = ("--builder", "default", "--cache", "none", "--no-prune", "--provenance", "mode=max")
    asked = {"BUILDX_GIT_LABELS": "full", "BUILDX_GIT_CHECK_DIRTY": "true"}
    env = {"PATH": f"{traps.folder / 'bin'}{os.pathsep}{docker.env['PATH']}", **asked}
    ran = docker.tool("build", *words, str(found.context), env=env, cwd=found.here)
    assert ran.code == 0, ran.stderr
    assert (traps.sprung(), state_of(found.here, found.context, traps.folder)) == ([], before)
    assert {path.name for path in home.iterdir()} <= {".docker", ".cache", "tmp", "run"} | {
        path.name for path in home.glob("report-*")
    }


@pytest.mark.soak
@pytest.mark.parametrize("position", ["context", "archive", "archive-with-a-commit"])
def test_no_build_of_an_old_buildx_has_a_repository_run_its_commands(
    old_docker: Docker, tmp_path: Path, traps: Traps, home: Path, position: str
) -> None:
    builds_harmlessly(old_docker, hostile(position, tmp_path, traps), traps, home)


def test_buildx_asks_git_where_nothing_can_be_run(tmp_path: Path, traps: Traps) -> None:
    found = hostile("archive-that-buildx-asks", tmp_path, traps)
    assert git_provenance(found.context, found.here, {"PATH": traps.path}) == Provenance()
    signed = hostile("archive-with-a-signature", tmp_path / "signed", traps)
    assert git_provenance(signed.context, signed.here, {"PATH": traps.path}).note


def test_an_honest_partial_clone_keeps_its_provenance(tmp_path: Path, traps: Traps) -> None:
    origin, clone = honest(tmp_path / "origin"), tmp_path / "clone"
    config = ("-c", "uploadpack.allowFilter=true")
    words = ("git", *config, "clone", "--quiet", "--filter=blob:none", f"file://{origin}", str(clone))
    subprocess.run(words, env=PLAIN, check=True, capture_output=True)
    assert "promisor" in (clone / ".git/config").read_text()
    assert git_provenance(clone, clone, {"PATH": traps.path}) == Provenance()


def test_without_git_there_is_nothing_to_say(tmp_path: Path) -> None:
    top = honest(tmp_path / "own")
    assert not git_provenance(top, top, {"PATH": str(tmp_path)}).note
