"""A local folder is served to a builder on another machine, which only Docker's API leads to; nothing is left of it."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from buildx_cache import layout
from tests.faults.lazily import CUTS
from tests.integration.conftest import PROGRAM, Docker, Ran

LARGE = 2_000_000
TUNNEL = "; a tunnel through Docker's API leads here"
_PATIENCE = 120.0  # seconds, on a busy machine
_DOCKERFILE = "ARG BASE\nFROM scratch AS large\nCOPY large /large\nFROM ${BASE}\nCOPY --from=large /large /large\n"
_LOOK = "ls -A /dev/shm/ /run/ | grep buildx-cache-; ps | grep -E 'ssh[d]'; netstat -ltn | grep -v '^Active\\|^Proto'"


class Elsewhere:
    """A builder that stays, on the other machine."""

    def __init__(self, docker: Docker, folder: Path) -> None:
        self.docker = docker
        self.source = folder / "project"
        self.cache = folder / "cache"
        self.source.mkdir()
        (self.source / "Dockerfile").write_text(_DOCKERFILE)
        (self.source / "large").write_bytes(os.urandom(LARGE))
        self.name = ""

    @property
    def words(self) -> tuple[str, ...]:
        place = ("--cache", "local", "--cache-dir", str(self.cache))
        opts = ("--driver", "docker-container", *self.docker.builder_image, "--driver-opt", "network=host")
        return (*place, *opts, "--build-arg", f"BASE={self.docker.base}", "--no-prune", str(self.source))

    def build(self, *words: str, program: tuple[str, ...] = PROGRAM, **env: str) -> Ran:
        ran = self.docker.tool("build", *words, *self.words, env=env, program=program)
        assert ran.code == 0, ran.stderr
        self.name = ran.report["builder"]["name"]
        return ran

    def forget(self) -> None:
        """Have the builder know nothing."""
        self.docker.docker("buildx", "prune", "--builder", self.name, "--all", "--force")

    @property
    def container(self) -> str:
        return f"buildx_buildkit_{self.name}0"

    def enter(self, script: str) -> str:
        return self.docker.docker("exec", self.container, "sh", "-c", script, check=False)

    def close(self) -> None:
        if self.name:
            self.docker.docker("buildx", "rm", "--force", self.name, check=False)


@pytest.fixture
def elsewhere(remote_docker: Docker, tmp_path: Path) -> Iterator[Elsewhere]:
    made = Elsewhere(remote_docker, tmp_path)
    yield made
    made.close()


def wait_until(holds: Callable[[], object]) -> None:
    end = time.monotonic() + _PATIENCE
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_folder_is_read_through_a_tunnel_of_which_nothing_is_left(elsewhere: Elsewhere) -> None:
    first = elsewhere.build()
    before = elsewhere.enter(_LOOK)
    key = layout.cache_key(elsewhere.cache)
    elsewhere.forget()
    again = elsewhere.build()

    assert first.steps in ((3, 0, 3), (3, 1, 2))  # BuildKit does not always tell that it pulled a small base image
    lazy = again.report["cache"]["lazy"]
    assert (lazy["used"], lazy["why"].endswith(TUNNEL)) == (True, True)
    assert 0 < lazy["bytes"] < 10_000
    assert again.steps == (3, 3, 0)
    assert again.report["cache"]["imports"][0]["status"] == "hit"
    assert again.report["cache"]["exports"][0]["status"] == "unchanged"
    assert again.report["retries"] == []
    assert layout.cache_key(elsewhere.cache) == key
    wait_until(lambda: elsewhere.enter(_LOOK) == before)
    assert "sshd" not in before
    assert elsewhere.docker.left_in_scratch() == []
    line = elsewhere.docker.tool("plan", *elsewhere.words).stdout
    assert f": {lazy['why']}" in line
    assert f"--cache-from type=local,src={elsewhere.cache}" in line


@pytest.mark.soak
def test_where_either_side_lacks_ssh_the_folder_itself_is_imported(elsewhere: Elsewhere) -> None:
    elsewhere.build()
    path = str(Path(shutil.which("docker", path=elsewhere.docker.child_env()["PATH"]) or "").parent)
    elsewhere.forget()
    no_ssh = elsewhere.build(PATH=path)
    elsewhere.forget()
    elsewhere.enter("rm /usr/sbin/sshd")
    no_sshd = elsewhere.build()

    for ran, lacking in ((no_ssh, "openssh-client"), (no_sshd, "moby/buildkit")):
        assert ran.steps == (3, 3, 0)
        assert ran.report["cache"]["lazy"]["used"] is False
        assert ran.report["cache"]["lazy"]["bytes"] == 0
        assert ran.report["retries"] == []
        assert ran.stderr.count(lacking) == 1


@pytest.mark.soak  # a server without a tunnel: tests/faults/test_lazy_faults.py
@pytest.mark.parametrize("cut", CUTS)
def test_a_tunnel_that_dies_fails_no_build_and_costs_no_cache(elsewhere: Elsewhere, tmp_path: Path, cut: str) -> None:
    elsewhere.build()
    elsewhere.forget()
    out = tmp_path / "out"
    ran = elsewhere.build("--output", f"type=tar,dest={out}", program=("-m", "tests.faults.lazily", cut))

    assert ran.steps == (3, 3, 0)
    assert ran.report["cache"]["imports"][0]["status"] == "hit"
    assert ran.report["cache"]["lazy"]["used"] is False
    assert ran.report["retries"]
    assert out.stat().st_size > LARGE
    assert layout.verify(elsewhere.cache, deep=True) == ()


@pytest.mark.soak
@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGKILL])
def test_a_stopped_call_leaves_neither_keys_nor_processes_nor_ports(elsewhere: Elsewhere, stop: signal.Signals) -> None:
    elsewhere.build()
    before = elsewhere.enter(_LOOK)
    (elsewhere.source / "Dockerfile").write_text(f"{_DOCKERFILE}RUN sleep 1000\n")
    call = subprocess.Popen(
        (sys.executable, "-m", "buildx_cache", "build", *elsewhere.words),
        env=elsewhere.docker.child_env(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert call.stderr
    for line in call.stderr:
        if "sleep 1000" in line:
            break
    assert "sshd" in elsewhere.enter(_LOOK)
    call.send_signal(stop)
    call.communicate()
    wait_until(lambda: elsewhere.enter(_LOOK) == before)
    (elsewhere.source / "Dockerfile").write_text(_DOCKERFILE)
    elsewhere.build()
    assert elsewhere.docker.left_in_scratch() == []


@pytest.mark.soak
def test_a_build_that_fails_leaves_nothing_either(elsewhere: Elsewhere) -> None:
    elsewhere.build()
    before = elsewhere.enter(_LOOK)
    (elsewhere.source / "Dockerfile").write_text(f"{_DOCKERFILE}RUN false\n")
    ran = elsewhere.docker.tool("build", *elsewhere.words)
    assert ran.code == 1
    assert ran.report["cache"]["lazy"]["used"]
    wait_until(lambda: elsewhere.enter(_LOOK) == before)
    assert elsewhere.docker.left_in_scratch() == []


@pytest.mark.soak
def test_the_other_machine_opens_no_connection_to_this_one(remote_docker: Docker) -> None:
    here = f"{remote_docker.registry.rpartition('.')[0]}.1"
    with socket.create_server((here, 0)) as listener, socket.create_connection(listener.getsockname()):
        port = str(listener.getsockname()[1])
        probe = f"nc -z -w 5 {here} {port} || echo refused"
        assert (
            remote_docker.docker("run", "--rm", "--network", "host", remote_docker.base, "sh", "-c", probe) == "refused"
        )
