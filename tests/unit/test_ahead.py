"""When Docker is asked before the program is imported, and what the question is told of the environment."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from buildx_cache.engine import ahead
from buildx_cache.engine.ahead import INFO, info_asked

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
