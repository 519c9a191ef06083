"""When Docker is asked before the program is imported, and what the question is told of the environment."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from buildx_cache.engine import ahead
from buildx_cache.engine.ahead import INFO, builder_asked, info_asked
from buildx_cache.engine.git_environment import guarded

Asked = list[tuple[tuple[str, ...], dict[str, str]]]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    seen: Asked = []

    @contextlib.contextmanager
    def record(argv: tuple[str, ...], *, env: Mapping[str, str]) -> Iterator[None]:
        seen.append((argv, dict(env)))
        yield

    monkeypatch.setattr(ahead, "asked_ahead", record)
    monkeypatch.setattr(shutil, "which", lambda name, path: f"{path}/{name}" if path else None)
    return seen


ENV = {"PATH": "/bin", "HOME": "/nowhere"}


@pytest.mark.parametrize(
    ("words", "env"),
    [
        (["build"], ENV),
        (["build", "-t", "app", "--builder", "default", "."], {**ENV, "DOCKER_CONTEXT": "default"}),
        (["build", "."], {**ENV, "DOCKER_HOST": "unix:///run/docker.sock", "DOCKER_CONTEXT": "far"}),
        (["build", "."], {**ENV, "DOCKER_HOST": ""}),
    ],
    ids=["bare", "default-context", "local-socket", "empty-host"],
)
def test_the_engine_of_this_host_is_asked(asked: Asked, words: list[str], env: dict[str, str]) -> None:
    with info_asked(words, env):
        assert asked == [(("/bin/docker", *INFO), env)]


@pytest.mark.parametrize(
    ("words", "env"),
    [
        (["build", "--help"], ENV),
        (["build", "-h"], ENV),
        (["build", "--docker-context", "far", "."], ENV),
        (["build", "--docker-context=far", "."], ENV),
        (["build", "."], {**ENV, "BUILDX_CACHE_DOCKER_CONTEXT": "far"}),
        (["build", "."], {**ENV, "DOCKER_CONTEXT": "far"}),
        (["build", "."], {**ENV, "DOCKER_HOST": "ssh://far"}),
        (["build", "."], {**ENV, "DOCKER_HOST": "tcp://10.0.0.5:2376"}),
        (["build", "."], {"HOME": "/nowhere"}),
    ],
    ids=["help", "h", "context", "context=", "variable", "dockers-variable", "ssh", "tcp", "no-docker"],
)
def test_no_other_engine_is_asked(asked: Asked, words: list[str], env: dict[str, str]) -> None:
    with info_asked(words, env):
        assert asked == []


def test_no_engine_of_the_configured_context_is_asked(asked: Asked, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"currentContext": "far"}))
    with info_asked(["build"], {**ENV, "DOCKER_CONFIG": str(tmp_path)}):
        assert asked == []


def test_without_a_home_folder_nothing_is_asked(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody() -> Path:
        raise RuntimeError

    monkeypatch.setattr(Path, "home", nobody)
    with info_asked(["build"], {"PATH": "/bin"}):
        assert asked == []


def test_the_question_knows_nothing_that_may_be_a_password(asked: Asked) -> None:
    secret = dict.fromkeys(("DOCKER_PASSWORD", "DOCKER_TOKEN", "DOCKER_AUTH_CONFIG", "TOKEN", "BUILDX_CACHE_TAG"), "x")
    needed = {**ENV, "DOCKER_CONFIG": "/config", "DOCKER_CERT_PATH": "/certs"}
    with info_asked(["build"], {**secret, **needed}):
        assert [env for _, env in asked] == [needed]


@pytest.fixture
def configuration(tmp_path: Path) -> Path:
    """Docker's configuration folder, with Buildx in it."""
    plugin = tmp_path / "cli-plugins" / "docker-buildx"
    plugin.parent.mkdir()
    plugin.touch(mode=0o755)
    return tmp_path


@pytest.mark.parametrize("env", [{}, {"DOCKER_HOST": "unix:///run/docker.sock"}], ids=["bare", "local-socket"])
def test_buildx_is_asked_for_a_builder_that_was_named(asked: Asked, configuration: Path, env: dict[str, str]) -> None:
    env = {**ENV, **env, "DOCKER_CONFIG": str(configuration)}
    with builder_asked("ci", env, context=""):
        assert asked == [((f"{configuration}/cli-plugins/docker-buildx", "inspect", "ci"), guarded(env))]


@pytest.mark.parametrize(
    ("name", "env", "context"),
    [("", {}, ""), ("ci", {}, "far"), ("ci", {"DOCKER_HOST": "tcp://10.0.0.5:2376"}, "")],
    ids=["not-named", "context", "tcp"],
)
def test_of_no_other_builder_buildx_is_asked(
    asked: Asked, configuration: Path, name: str, env: dict[str, str], context: str
) -> None:
    with builder_asked(name, {**ENV, **env, "DOCKER_CONFIG": str(configuration)}, context=context):
        assert asked == []


def test_without_buildx_no_builder_is_asked_for(asked: Asked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("buildx_cache.engine.plugin._SYSTEM", ())
    with builder_asked("ci", {**ENV, "DOCKER_CONFIG": str(tmp_path)}, context=""):
        assert asked == []
