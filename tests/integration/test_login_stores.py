"""No login of a call reaches a store of the user's: real credential helpers, driven by the real docker CLI."""

from __future__ import annotations

import base64
import json
import os
import socketserver
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from buildx_cache.ci import CIContext
from buildx_cache.engine.docker import DockerEngine
from buildx_cache.plan import Builder, Facts, ImageStore, Node, Place, make_plan
from buildx_cache.request.build_request import BuildRequest
from tests.integration.conftest import Docker

HUB = "https://index.docker.io/v1/"
HELPER = """#!/bin/sh
read -r server
echo "$1 $server" >> "$HELPER_LOG"
[ "$1" = store ] && exit 0
echo 'credentials not found in native keychain'
exit 1
"""
CI = CIContext(
    provider="none", sha=None, branch=None, tag=None, pull_request=None, target_branch=None, default_branch="main",
    build=None,
)  # fmt: skip
PLACE = Place(project="p", cache_dir="/nowhere", today="2026-01-01")
FACTS = Facts(
    docker="28", buildx=(0, 29, 0), store=ImageStore.CONTAINERD, context="default", place=PLACE, tls=None, elsewhere="",
    builder=Builder(name="default", driver="docker", nodes=(Node(name="n", status="running"),)),
)  # fmt: skip


class _Engine(BaseHTTPRequestHandler):
    """The little of an engine's API that a login asks for: it takes every one, and notes it."""

    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self.answer(b"")

    def do_GET(self) -> None:
        self.answer(b"OK")

    def do_POST(self) -> None:
        asked = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path.endswith("/auth"):
            self.server.logins.append(json.loads(asked))  # type: ignore[attr-defined]
        self.answer(b'{"Status":"Login Succeeded"}')

    def answer(self, content: bytes) -> None:
        self.send_response(200)
        self.send_header("Api-Version", "1.45")
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def address_string(self) -> str:
        return "client"

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""


class _Socket(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    logins: list[dict[str, str]]


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[_Socket]:
    with _Socket(str(tmp_path / "engine.sock"), _Engine) as server:
        server.logins = []
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield server
        server.shutdown()


def with_helper(folder: Path, docker: Docker, config: Mapping[str, object]) -> dict[str, str]:
    """An environment whose Docker configuration names a helper that notes how it is called."""
    (folder / "bin").mkdir()
    (folder / "bin" / "docker-credential-fake").write_text(HELPER)
    (folder / "bin" / "docker-credential-fake").chmod(0o755)
    (folder / "config").mkdir()
    (folder / "config" / "config.json").write_text(json.dumps({**of_engine(docker), **config}))
    path = f"{folder / 'bin'}:{docker.env.get('PATH', os.environ['PATH'])}"
    return {"PATH": path, "DOCKER_CONFIG": str(folder / "config"), "HELPER_LOG": str(folder / "log")}


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A build context without a step to run."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    (folder / "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /\n")
    return folder


def of_engine(docker: Docker) -> dict[str, object]:
    """What the engine's Docker configuration says, such as where plugins are."""
    own = Path(docker.env.get("DOCKER_CONFIG", "")) / "config.json"
    return dict(json.loads(own.read_text())) if own.is_file() else {}


def helper_calls(folder: Path) -> list[str]:
    log = folder / "log"
    return log.read_text().splitlines() if log.exists() else []


def written(folder: Path) -> list[str]:
    """What the helper was told to keep or to forget."""
    return [line for line in helper_calls(folder) if not line.startswith(("get ", "list "))]


@pytest.mark.parametrize("stored", [{"credsStore": "fake"}, {"credHelpers": "each"}], ids=["store", "each"])
@pytest.mark.parametrize(
    "spelled",  # a tag, --registry, and the key
    [
        ("r.example.com/app", "", "r.example.com"),
        ("r.example.com/app", "https://r.example.com", "r.example.com"),
        ("r.example.com/app", "r.example.com/", "r.example.com"),
        ("r.example.com/app", "r.example.com/team", "r.example.com"),
        ("r.example.com/app", "R.Example.Com", "r.example.com"),
        ("R.Example.Com/app", "r.example.com", "R.Example.Com"),
        ("o/app", "r.example.com:5000", "r.example.com:5000"),
        ("o/app", "https://r.example.com:443/v2/", "r.example.com:443"),
        ("localhost:5000/app", "http://localhost:5000", "localhost:5000"),
        ("[::1]:5000/app", "", "[::1]:5000"),
        ("o/app", "", HUB),
        ("docker.io/o/app", "", HUB),
        ("registry-1.docker.io/o/app", "", HUB),
        ("r.example.com/app", "docker.io", HUB),
        ("r.example.com/app", "index.docker.io", HUB),
        ("r.example.com/app", "registry-1.docker.io", HUB),
        ("r.example.com/app", HUB, HUB),
        ("r.example.com/app", "https://hub.docker.com/", HUB),
    ],
)
def test_a_login_is_kept_in_the_private_copy_alone(
    docker: Docker, engine: _Socket, tmp_path: Path, spelled: tuple[str, str, str], stored: Mapping[str, Any]
) -> None:
    tag, registry, key = spelled
    config = {"credHelpers": {key: "fake", "other": "fake"}} if "credHelpers" in stored else dict(stored)
    env = docker.child_env(**with_helper(tmp_path, docker, config), DOCKER_HOST=f"unix://{engine.server_address}")
    before = (tmp_path / "config" / "config.json").read_bytes()
    request = BuildRequest(tag=(tag,), push=True, registry=registry, username="me", password_env="P")  # noqa: S106
    login = make_plan(request, CI, FACTS).login
    assert login is not None
    real = DockerEngine(env)
    with real.credentials(login.registry):
        done = real.perform(login.effect, password=b"hunter2")
        assert done.code == 0, done.stderr
        kept = json.loads((Path(real._env["DOCKER_CONFIG"]) / "config.json").read_text())["auths"]
    assert {name: base64.b64decode(entry["auth"]) for name, entry in kept.items()} == {key: b"me:hunter2"}
    assert [(each["username"], each["password"]) for each in engine.logins] == [("me", "hunter2")]
    assert written(tmp_path) == []
    assert (tmp_path / "config" / "config.json").read_bytes() == before


def test_a_helper_is_not_written_by_a_whole_build(docker: Docker, tiny: Path, tmp_path: Path) -> None:
    target = docker.repository().replace(docker.registry, docker.auth_registry)
    env = {**with_helper(tmp_path, docker, {"credsStore": "fake"}), "P": docker.env["ENGINE_AUTH_PASSWORD"]}
    words = ("--registry", f"https://{docker.auth_registry}/team", "--username", docker.env["ENGINE_AUTH_USER"])
    image = ("--driver", "docker", "--cache", "none")
    ran = docker.build(*words, "--password-env", "P", "-t", f"{target}:1", "--push", *image, str(tiny), env=env)
    assert ran.stdout.startswith(f"{target}:1@sha256:")
    assert written(tmp_path) == []
    assert docker.left_in_scratch() == []


# --- which login a build pushes with ----------------------------------------------------------------------------------


def wrong_auth(registry: str) -> str:
    login = base64.b64encode(b"tester:not-the-password").decode()
    return json.dumps({"auths": {registry: {"auth": login}}})


def stored_login(folder: Path, docker: Docker) -> None:
    """ImageStore the right login as ``docker login`` does without a helper."""
    login = f"{docker.env['ENGINE_AUTH_USER']}:{docker.env['ENGINE_AUTH_PASSWORD']}"
    auths = {docker.auth_registry: {"auth": base64.b64encode(login.encode()).decode()}}
    (folder / "config" / "config.json").write_text(json.dumps({**of_engine(docker), "auths": auths}))


# What is set beside a stored login that works, the options, and the exit code.
_WRONG = {"DOCKER_LOGIN": "tester", "DOCKER_PASSWORD": "not-the-password"}
_GIVEN = ("--username", "tester", "--password-env", "P")


@pytest.mark.parametrize(
    ("env", "words", "code"),
    [
        pytest.param(_WRONG, (), 0, id="docker-hubs"),
        pytest.param({**_WRONG, "DOCKER_REGISTRY": "{A}"}, (), 0, id="refused"),
        pytest.param({**_WRONG, "DOCKER_REGISTRY": "https://{A}/team"}, (), 0, id="refused-spelled-otherwise"),
        pytest.param({"DOCKER_LOGIN": "tester"}, (), 0, id="half"),
        pytest.param({"P": "not-the-password"}, _GIVEN, 4, id="given-and-refused"),
        pytest.param(
            {"P": "{P}", "DOCKER_AUTH_CONFIG": "{W}"}, _GIVEN, 0, id="given-beside-another-in-the-environment"
        ),
        pytest.param({"DOCKER_AUTH_CONFIG": "{W}"}, (), 4, id="another-in-the-environment"),
    ],
)
def test_a_push_uses_the_login_that_is_meant(
    docker: Docker, tiny: Path, tmp_path: Path, env: dict[str, str], words: tuple[str, ...], code: int
) -> None:
    own = with_helper(tmp_path, docker, {})
    stored_login(tmp_path, docker)
    for name, text in env.items():
        known = {"{P}": docker.env["ENGINE_AUTH_PASSWORD"], "{W}": wrong_auth(docker.auth_registry)}
        own[name] = known.get(text, text.replace("{A}", docker.auth_registry))
    target = docker.repository().replace(docker.registry, docker.auth_registry)
    image = ("--driver", "docker", "--cache", "none")
    ran = docker.tool("build", *words, "-t", f"{target}:1", "--push", *image, str(tiny), env=own)
    assert ran.code == code, ran.stderr
    told = [text for text in ran.report["warnings"] if "DOCKER_" in text or "login" in text]
    assert len(told) == ("DOCKER_LOGIN" in env)
    assert "not-the-password" not in ran.stderr + ran.stdout + json.dumps(ran.report)
    assert docker.left_in_scratch() == []
