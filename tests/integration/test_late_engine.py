"""An engine that answers some seconds after the call began, as a CI's service does."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.conftest import PROGRAM, PROJECT, Docker


def engine_socket(docker: Docker) -> str:
    host = docker.env.get("DOCKER_HOST") or "unix:///var/run/docker.sock"
    if not host.startswith("unix://"):
        pytest.skip("the engine has no socket to forward")
    return host.removeprefix("unix://")


def test_it_is_waited_for(docker: Docker, project: Path, tmp_path: Path) -> None:
    late, report = tmp_path / "late.sock", tmp_path / "report.json"
    words = ("-t", "late", "--cache", "none", *docker.new_builder, "--build-arg", f"BASE={docker.base}", str(project))
    said: list[str] = []
    with subprocess.Popen(
        (sys.executable, *PROGRAM, "build", "--report", str(report), *words),
        env=docker.child_env(DOCKER_HOST=f"unix://{late}", BUILDX_CACHE_NO_WAIT=""),
        cwd=PROJECT,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr
        for line in process.stderr:
            if "waiting for it" in line:
                said.append(line)
                late.symlink_to(engine_socket(docker))
    assert process.returncode == 0
    assert len(said) == 1
    assert [each["phase"] for each in json.loads(report.read_text())["retries"]] == ["engine"]


def test_it_is_not_waited_for_where_that_is_off(docker: Docker, project: Path, tmp_path: Path) -> None:
    ran = docker.tool("build", "--no-wait", str(project), env={"DOCKER_HOST": f"unix://{tmp_path / 'late.sock'}"})
    assert ran.code == 3
    assert ran.report["error"]["code"] == "docker-down"
    assert ran.report["retries"] == []


def test_tls_files_that_come_late_are_told_by_name(docker: Docker, project: Path, tmp_path: Path) -> None:
    env = {"DOCKER_HOST": "tcp://127.0.0.1:9", "DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": str(tmp_path / "certs")}
    ran = docker.tool("build", "--no-wait", str(project), env=env)
    assert ran.code == 3
    assert ran.report["error"]["code"] == "docker-tls-absent"
    assert str(tmp_path / "certs") in ran.report["error"]["message"]
