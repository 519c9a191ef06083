"""What the real engines say of themselves, and how often they are asked."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from buildx_cache.engine.docker import DockerEngine
from buildx_cache.engine.inspection import parse_builder
from buildx_cache.engine.plugin import buildx_itself
from buildx_cache.engine.questions import asking
from buildx_cache.plan import Place
from tests.integration.conftest import PROJECT, Docker
from tests.integration.test_plan import record
from tests.integration.tls import tls_front

PLACE = Place(project="app", cache_dir="/cache", today="2025-11-24")
PLAIN: Any = None  # without a context for TLS, asyncio serves plain TCP
OPTIONS = (("env.X", 'a, "b c" d=é\\e'), ("image", "a/b:1"), ("network", "host"))


def engine(docker: Docker, **env: str) -> DockerEngine:
    return DockerEngine(docker.child_env(**env))


def local(docker: Docker) -> Docker:
    if docker.env["ENGINE_KIND"] == "existing":
        pytest.skip("the Docker that is there may be anywhere")
    return docker


ENGINES = [("forky", "containerd"), ("forky", "classic"), ("trixie", "containerd")]


@pytest.mark.parametrize(("suite", "store"), ENGINES)
def test_an_engine_on_this_host_is_not_elsewhere(special: Callable[[str, str], Docker], suite: str, store: str) -> None:
    found = engine(special(suite, store)).facts(PLACE)
    assert (found.elsewhere, found.store, found.context) == ("", store, "default")


@pytest.mark.parametrize(("suite", "store"), ENGINES)
def test_buildx_is_found_where_docker_finds_it_and_says_the_same(
    special: Callable[[str, str], Docker], suite: str, store: str
) -> None:
    docker = special(suite, store)
    plugins = json.loads(docker.docker("info", "--format", "{{json .ClientInfo.Plugins}}"))
    found = buildx_itself(docker.child_env())
    assert found == next(plugin["Path"] for plugin in plugins if plugin["Name"] == "buildx")
    for name in ("", "default", "nowhere"):
        words = ("inspect", name) if name else ("inspect",)
        itself, asked = (
            subprocess.run((*program, *words), env=docker.child_env(), capture_output=True, text=True, check=False)
            for program in ((found,), ("docker", "buildx"))
        )
        assert (itself.returncode, parse_builder(itself.stdout)) == (asked.returncode, parse_builder(asked.stdout))


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


def test_an_engine_behind_a_port_is_elsewhere(docker: Docker) -> None:
    path = docker.env.get("DOCKER_HOST", "unix:///var/run/docker.sock").removeprefix("unix://")
    with tls_front(path, PLAIN) as port:
        host = f"tcp://127.0.0.1:{port}"
        assert engine(docker, DOCKER_HOST=host).facts(PLACE).elsewhere == f"the engine is at {host}"


def test_the_endpoint_of_a_context_is_found(docker: Docker) -> None:
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
    special: Callable[[str, str], Docker], suite: str, store: str
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


def test_a_network_has_a_gateway_or_none(docker: Docker) -> None:
    asked = engine(docker)
    docker.docker("network", "create", "--subnet", "10.254.17.0/24", "engine-test")
    try:
        assert asked.gateway("engine-test") == "10.254.17.1"
    finally:
        docker.docker("network", "rm", "engine-test")
    found = json.loads(docker.docker("network", "inspect", "bridge"))[0]["IPAM"]["Config"]
    assert asked.gateway("bridge") == found[0].get("Gateway", "")
    assert [asked.gateway(name) for name in ("host", "none", "engine-test")] == ["", "", ""]
    assert asked.calls == 5


def test_a_question_that_nobody_waits_for_is_ended(tmp_path: Path) -> None:
    started = tmp_path / "started"
    # The shell waits for a child of its own, as the docker command does for a plugin.
    script = f"sh -c 'echo $$ > {started}; exec sleep 600'; true"
    with asking(("sh", "-c", script), env=os.environ):
        while not started.exists() or not started.read_text():
            time.sleep(0.01)
    deadline = time.monotonic() + 10
    while not has_ended(int(started.read_text())):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def has_ended(child: int) -> bool:
    """Whether a process is no more, or is only waited for; whoever does that may come at any moment."""
    try:
        state = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return True
    return state == "Z"


def test_a_question_is_answered(tmp_path: Path) -> None:
    with asking(("sh", "-c", "pwd; echo no >&2; exit 3"), env={"PATH": os.environ["PATH"]}) as answer:
        said = answer()
    assert (said.code, said.stdout.strip(), said.stderr) == (3, os.fspath(Path.cwd()), "no\n")
    with pytest.raises(FileNotFoundError), asking((str(tmp_path / "absent"),), env={}):
        pass


@pytest.mark.parametrize(("name", "code"), [("default", 0), ("none-of-that-name", 3)], ids=["there", "absent"])
def test_buildx_is_asked_once_for_a_builder_that_was_named(
    docker: Docker, project: Path, tmp_path: Path, name: str, code: int
) -> None:
    """Buildx here is a script that notes its words."""
    log, plugin = tmp_path / "asked", tmp_path / "docker-buildx"
    (tmp_path / "config.json").write_text(json.dumps({"cliPluginsExtraDirs": [str(tmp_path)]}))
    real = buildx_itself(docker.child_env())
    plugin.write_text(f'#!/bin/sh\necho "$*" >> {log}\nexec {real} "$@"\n')
    plugin.chmod(0o755)
    words = ("-t", "app", "--load", "--builder", name, "--build-arg", f"BASE={docker.base}", str(project))
    ran = docker.tool("build", *words, env={"DOCKER_CONFIG": str(tmp_path)})
    assert ran.code == code, ran.stderr
    assert [line for line in log.read_text().splitlines() if "inspect" in line] == [f"inspect {name}"]


@pytest.mark.parametrize("load", [False, True], ids=["push", "load"])
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
    assert ran.report["docker_calls"] == len(called) + 1  # Buildx is asked for the builder without docker
    questions = [words[:2] for words in called if "build" not in words]
    assert questions == [("system", "info"), *(LOADING if load else ())]


# Which image has the tag before; that it has none any more once the other is loaded; what the builder keeps.
LOADING = (
    ("image", "inspect"),
    ("image", "load"),
    ("image", "inspect"),
    ("image", "rm"),
    ("buildx", "prune"),
)
