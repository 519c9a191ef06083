"""``HOME`` or ``DOCKER_CONFIG`` in the checkout: what the repository commits there neither runs nor leads anywhere."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.hostile_repositories import honest
from tests.integration.conftest import Docker
from tests.integration.test_git import git

Commit = Callable[[Path, Path], None]


def _program(file: Path, mark: Path) -> None:
    file.parent.mkdir(parents=True)
    file.write_text(f"#!/bin/sh\ntouch {mark}\n")
    file.chmod(0o755)


def a_plugin(config: Path, mark: Path) -> None:
    _program(config / "cli-plugins" / "docker-buildx", mark)


def a_plugin_elsewhere(config: Path, mark: Path) -> None:
    _program(config.parent / "tools" / "docker-buildx", mark)
    config.mkdir()
    (config / "config.json").write_text(json.dumps({"cliPluginsExtraDirs": [str(config.parent / "tools")]}))


def a_link(config: Path, mark: Path) -> None:
    _program(config.parent / "tools" / "cli-plugins" / "docker-buildx", mark)
    config.symlink_to("tools")


def a_plugin_among_many(config: Path, mark: Path) -> None:
    a_plugin(config, mark)
    for number in range(6000):
        (config / f"{number:0200}").touch()


def a_plugin_of_what_looks_bare(config: Path, mark: Path) -> None:
    a_plugin(config, mark)
    for name in ("objects", "refs"):
        (config.parent / name).mkdir()
        (config.parent / name / "kept").touch()
    (config.parent / "HEAD").write_text("ref: refs/heads/trunk\n")


def an_odd_name(config: Path, mark: Path) -> None:
    _program(config / "cli-plugins" / "\n::error::planted\n\x1b[31m", mark)


def a_context(config: Path, _: Path) -> None:
    config.mkdir()
    (config / "config.json").write_text('{"currentContext": "theirs"}')


def a_builder(config: Path, _: Path) -> None:
    (config / "buildx" / "instances").mkdir(parents=True)
    (config / "buildx" / "instances" / "theirs").write_text("{}")


COMMITS: tuple[Commit, ...] = (
    a_plugin,
    a_plugin_elsewhere,
    a_link,
    a_plugin_among_many,
    a_plugin_of_what_looks_bare,
    an_odd_name,
    a_context,
    a_builder,
)


def _variables(home: Path, name: str) -> dict[str, str]:
    config = str(home / ".docker")
    return {"DOCKER_CONFIG": config} if name == "DOCKER_CONFIG" else {"HOME": str(home), "DOCKER_CONFIG": ""}


@pytest.mark.parametrize("name", ["HOME", "DOCKER_CONFIG"])
@pytest.mark.parametrize("commit", COMMITS, ids=lambda commit: commit.__name__)
def test_nothing_that_is_committed_there_takes_effect(
    commit: Commit, name: str, tmp_path: Path, docker: Docker
) -> None:
    top, mark = honest(tmp_path / "top"), tmp_path / "mark"
    commit(top / ".docker", mark)
    git(top, "add", "--all", "--force")
    git(top, "commit", "--quiet", "--message", "second")
    ran = docker.tool("build", "--cache", "none", ".", cwd=top, env=_variables(top, name))
    assert (ran.code, ran.report["error"]["code"]) == (2, "docker-config-committed")
    assert "\n::" not in ran.stderr
    assert "\x1b" not in ran.stderr
    assert docker.tool("doctor", cwd=top, env=_variables(top, name)).code == 2
    assert not mark.exists()


@pytest.mark.parametrize("committed", [{}, {"credHelpers": {"r.example.com": "absent"}}], ids=["nothing", "a helper"])
def test_what_the_job_puts_there_is_its_own(committed: dict[str, object], tmp_path: Path, docker: Docker) -> None:
    top = honest(tmp_path / "top")
    config = top / ".docker"
    config.mkdir()
    (config / "config.json").write_text(json.dumps(committed))
    git(top, "add", "--all")
    git(top, "commit", "--quiet", "--message", "second")
    own = Path(docker.env.get("DOCKER_CONFIG") or Path(os.environ["HOME"]) / ".docker")
    if not committed and (own / "config.json").exists():
        git(top, "rm", "--quiet", "--cached", ".docker/config.json")
        (config / "config.json").write_bytes((own / "config.json").read_bytes())
    elif committed:
        given = json.loads((own / "config.json").read_text()) if (own / "config.json").exists() else {}
        (config / "cli-plugins").mkdir()
        for folder in given.get("cliPluginsExtraDirs", ()):
            for plugin in Path(folder).iterdir():
                (config / "cli-plugins" / plugin.name).symlink_to(plugin)
    ran = docker.tool("plan", "--cache", "none", ".", cwd=top, env={"DOCKER_CONFIG": str(config)})
    assert ran.code == 0, ran.stderr
