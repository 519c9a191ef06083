"""What the real engines say of themselves, and how often they are asked."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from buildx_cache.engine.docker import DockerEngine
from buildx_cache.plan import Place
from buildx_cache.plan.facts import Bridge
from tests.integration.conftest import PROJECT, Docker
from tests.integration.fronts import tls_front
from tests.integration.test_plan import record

PLACE = Place(project="app", cache_dir="/cache", today="2025-11-24")
PLAIN: Any = None  # without a context for TLS, asyncio serves plain TCP
OPTIONS = (("env.X", 'a, "b c" d=é\\e'), ("image", "a/b:1"), ("network", "host"))


Engines = Callable[..., DockerEngine]


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Engines:
    """Make the engine of a Docker, in its environment."""

    def make(docker: Docker, **env: str) -> DockerEngine:
        for name, value in docker.child_env(**env).items():
            monkeypatch.setenv(name, value)
        return DockerEngine(docker.child_env(**env))

    return make


def local(docker: Docker) -> Docker:
    if docker.env["ENGINE_KIND"] == "existing":
        pytest.skip("the Docker that is there may be anywhere")
    return docker


ENGINES = [("forky", "containerd"), ("forky", "classic"), ("trixie", "classic")]
"""The last one is the older engine of test_taken_over.py: starting another one takes a minute."""


@pytest.mark.parametrize(("suite", "store"), ENGINES)
def test_an_engine_on_this_host_is_not_elsewhere(
    special: Callable[[str, str], Docker], engine: Engines, suite: str, store: str
) -> None:
    found = engine(special(suite, store)).facts(PLACE)
    assert (found.elsewhere, found.store, found.context) == ("", store, "default")


WHERE = (
    "import os; from buildx_cache.engine.docker import DockerEngine; from tests.integration.test_engine import PLACE;"
    "print(DockerEngine(os.environ).facts(PLACE).elsewhere)"
)


@pytest.mark.skipif(os.geteuid() != 0, reason="another host name takes root")
def test_an_engine_whose_socket_is_mounted_in_is_elsewhere(docker: Docker) -> None:
    name = json.loads(local(docker).docker("info", "--format", "{{json .Name}}"))
    script = 'hostname job-1 && exec "$0" -c "$1"'
    said = subprocess.run(
        ("unshare", "--uts", "sh", "-c", script, sys.executable, WHERE),
        env=docker.child_env(),
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stdout == f"the engine's host is {name!r}, and this is 'job-1'\n"


def test_an_engine_behind_a_port_is_elsewhere(docker: Docker, engine: Engines) -> None:
    path = docker.env.get("DOCKER_HOST", "unix:///var/run/docker.sock").removeprefix("unix://")
    with tls_front(path, PLAIN) as port:
        host = f"tcp://127.0.0.1:{port}"
        assert engine(docker, DOCKER_HOST=host).facts(PLACE).elsewhere == f"the engine is at {host}"


def test_the_endpoint_of_a_context_is_found(docker: Docker, engine: Engines) -> None:
    path = docker.env.get("DOCKER_HOST", "unix:///var/run/docker.sock").removeprefix("unix://")
    with tls_front(path, PLAIN) as port:
        docker.docker("context", "create", "engine-test", "--docker", f"host=tcp://127.0.0.1:{port}")
        try:
            found = engine(docker, DOCKER_HOST="", DOCKER_CONTEXT="engine-test").facts(PLACE)
        finally:
            docker.docker("context", "rm", "engine-test")
    assert (found.context, found.elsewhere) == ("engine-test", f"the engine is at tcp://127.0.0.1:{port}")


@pytest.mark.parametrize(("suite", "store"), [ENGINES[0], ENGINES[2]])
def test_driver_options_are_read_as_buildx_prints_them(
    special: Callable[[str, str], Docker], engine: Engines, suite: str, store: str
) -> None:
    docker = special(suite, store)
    given = 'network=host,"env.X=a, ""b c"" d=é\\e"'
    docker.docker("buildx", "create", "--name", "own", "--driver-opt", given, "--driver-opt", "image=a/b:1")
    try:
        found = engine(docker).find_builder("own")
    finally:
        docker.docker("buildx", "rm", "own")
    assert found is not None
    assert [node.options for node in found.nodes] == [OPTIONS]


END = ("sleep", "60")


def test_a_network_has_a_gateway_or_none(docker: Docker, engine: Engines) -> None:
    asked = engine(docker)
    docker.docker("network", "create", "--subnet", "10.254.17.0/24", "engine-test")
    try:
        assert asked.bridge("engine-test") == Bridge(gateway="10.254.17.1")
        docker.docker("run", "--rm", "--detach", "--name", "engine-test", "--network", "engine-test", docker.base, *END)
        assert asked.bridge("engine-test").containers == {"engine-test"}
    finally:
        docker.docker("rm", "--force", "engine-test")
        docker.docker("network", "rm", "engine-test")
    found = json.loads(docker.docker("network", "inspect", "bridge"))[0]["IPAM"]["Config"]
    assert asked.bridge("bridge").gateway == found[0].get("Gateway", "")
    assert [asked.bridge(name).gateway for name in ("host", "none", "engine-test")] == ["", "", ""]
    assert asked.calls == 6


@pytest.mark.parametrize("load", [pytest.param(False, marks=pytest.mark.soak), True], ids=["push", "load"])
def test_every_call_of_docker_is_counted(docker: Docker, project: Path, tmp_path: Path, load: bool) -> None:  # noqa: FBT001 -- a table
    env, log = record(docker, tmp_path / "recorder")
    result = ("-t", "counted", "--load", "--prune") if load else ("-t", docker.repository(), "--push")
    words = (*result, *docker.container_builder, "--build-arg", f"BASE={docker.base}", str(project))
    first = docker.build(*words, env=env)
    log.write_text("")
    try:
        (project / "word").write_text("two\n")  # the first image loses its tag, and is removed
        ran = docker.build(*words, env=env)
        called = [tuple(line.split("\0")[:-1]) for line in log.read_text().splitlines()]
    finally:
        docker.docker("buildx", "rm", first.report["builder"]["name"])
    assert ran.report["docker_calls"] == len(called)
    questions = [words[:2] for words in called if "build" not in words]
    assert {*questions[:2]} == {("system", "info"), ("buildx", "inspect")}  # asked at the same time
    assert questions[2:] == [*(LOADING if load else ())]


# Which image has the tag before; that it has none any more once the other is loaded; what the builder keeps.
LOADING = (
    ("image", "inspect"),
    ("image", "load"),
    ("image", "inspect"),
    ("image", "rm"),
    ("buildx", "prune"),
)


def test_every_command_but_those_of_the_plan_is_python_on_whales_own(
    docker: Docker, project: Path, tmp_path: Path
) -> None:
    """With this variable set, python-on-whales prints each command that it runs.

    It waits for each: a builder is inspected beside its other questions.
    """
    env, log = record(docker, tmp_path / "recorder")
    words = ("-t", "whales", "--load", "--prune", *docker.new_builder)
    ran = docker.build(
        *words, "--build-arg", f"BASE={docker.base}", str(project), env={**env, "PYTHON_ON_WHALES_DEBUG": "1"}
    )
    called = [" ".join(line.split("\0")[:-1]) for line in log.read_text().splitlines()]
    asked = [line.partition("/docker ")[2] for line in ran.stdout.splitlines() if line.startswith("command: ")]
    planned = [" ".join(words[1:]) for words in ran.report["commands"]]
    others = [line for line in called if line not in planned and not line.startswith("buildx build ")]
    beside = [line for line in others if line.startswith("buildx inspect")]
    assert [line for line in others if line not in beside] == asked != []
    assert len(beside) == 1
