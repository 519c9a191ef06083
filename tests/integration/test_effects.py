"""Pruning, signals, progress and the doctor, on the real engine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from typing import IO

import pytest

from tests.integration.conftest import PROGRAM, PROJECT, Docker
from tests.selection import quick


def words(docker: Docker, project: Path) -> tuple[str, ...]:
    return ("-t", "effects", "--load", "--build-arg", f"BASE={docker.base}", str(project))


def cache_bytes(docker: Docker, builder: str) -> str:
    return docker.docker("buildx", "du", "--builder", builder).splitlines()[-1]


@pytest.mark.parametrize("engine", quick(["docker", "old_docker"], "docker"))
def test_prune_keeps_to_its_own_builder(engine: str, request: pytest.FixtureRequest, project: Path) -> None:
    docker: Docker = request.getfixturevalue(engine)
    options = [f"image={docker.env['ENGINE_BUILDKIT_IMAGE']}"] if docker.builder_image else []
    opt = [word for option in (*options, docker.env["ENGINE_DRIVER_OPT"]) for word in ("--driver-opt", option)]
    docker.docker("buildx", "create", "--name", "bystander", "--driver", "docker-container", *opt, "--bootstrap")
    name = ""
    try:
        docker.build("--builder", "bystander", "--cache", "none", *words(docker, project))
        before = cache_bytes(docker, "bystander")
        ran = docker.build(
            *("--cache", "none", "--prune", "--prune-older-than", "1s", *docker.container_builder),
            *words(docker, project),
        )
        name = ran.report["builder"]["name"]
        time.sleep(1.5)
        ran = docker.build(
            *("--cache", "none", "--prune", "--prune-keep", "1", *docker.container_builder), *words(docker, project)
        )
        assert ran.report["warnings"] == [warning for warning in ran.report["warnings"] if "prune" not in warning]
        assert ran.report["phases"]["prune"] > 0
        assert cache_bytes(docker, name).endswith("0B")
        assert cache_bytes(docker, "bystander") == before != "Total:\t0B"
    finally:
        for each in ("bystander", *([name] if name else [])):
            docker.docker("buildx", "rm", each)


def test_a_ci_does_not_prune_a_builder_that_is_not_its_own(docker: Docker, project: Path) -> None:
    ran = docker.build("--cache", "none", *words(docker, project), env={"CI": "true"})
    assert [command[1:3] for command in ran.report["commands"]] == [["buildx", "build"]]
    assert "it is not pruned" in ran.stderr


def test_only_an_image_that_this_program_loaded_is_removed_when_replaced(docker: Docker, project: Path) -> None:
    docker.docker("rmi", "--force", "effects", check=False)
    (project / "word").write_text("by someone else\n")
    docker.docker("buildx", "build", "--load", "--builder", "default", *words(docker, project))
    foreign = docker.docker("image", "inspect", "effects", "--format", "{{.Id}}")
    opt = ("--cache", "none", "--prune", *docker.container_builder)
    name = json.loads(docker.tool("plan", "--format", "json", *opt, *words(docker, project)).stdout)["builder"]["name"]
    loaded = []
    try:
        for word in ("one", "two"):
            (project / "word").write_text(f"{word}\n")
            loaded.append(docker.build(*opt, *words(docker, project)).stdout.strip())
        assert docker.greeting("effects") == "two"
        present = {
            image: docker.docker("image", "inspect", image, "--format", "{{.Id}}", check=False) == image
            for image in (foreign, *loaded)
        }
        assert present == {foreign: True, loaded[0]: False, loaded[1]: True}
    finally:
        docker.docker("buildx", "rm", name)
        docker.docker("rmi", "--force", foreign, check=False)


SLOW = "ARG BASE\nFROM ${BASE}\nRUN echo begun; sleep 97; echo $((6 * 7)) is over\n"


def test_a_hangup_stops_the_build(docker: Docker, project: Path) -> None:
    """The other signals, in every phase: tests/faults/test_signals.py."""
    (project / "Dockerfile").write_text(SLOW)
    path = project.parent / "report.json"
    child = subprocess.Popen(
        (
            *(sys.executable, "-m", "buildx_cache", "build", "--cache", "none", "--report", str(path)),
            *(*docker.new_builder, *words(docker, project)),
        ),
        env=docker.child_env(),
        cwd=PROJECT,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    assert child.stderr is not None
    with child, child.stderr:
        for line in child.stderr:
            if "begun" in line:
                break
        child.send_signal(signal.SIGHUP)
        rest = child.stderr.read()
        child.wait()
    assert child.returncode == 143, rest
    assert "42 is over" not in rest
    assert "error: stopped by SIGHUP" in rest
    report = json.loads(path.read_text())
    assert report["status"] == "interrupted"
    assert docker.left_of(report["builder"]["name"]) == ""
    assert running("sleep 97") == []


def running(command: str) -> list[str]:
    found = []
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        except OSError:
            continue
        if words == command and int(entry.name) != os.getpid():
            found.append(entry.name)
    return found


@pytest.mark.parametrize(
    ("name", "end", "ci", "told"),
    [
        ("stdout", "gone", "", (141, "success")),
        pytest.param("stdout", "gone", "GITHUB_ACTIONS", (141, "success"), marks=pytest.mark.soak),
        ("stdout", "full", "", (6, "success")),
        ("stderr", "gone", "", (141, "interrupted")),
        pytest.param("stderr", "full", "", (6, "failed"), marks=pytest.mark.soak),
    ],
)
def test_a_stream_that_takes_no_more_loses_nothing_else(
    docker: Docker, project: Path, name: str, end: str, ci: str, told: tuple[int, str]
) -> None:
    path = project.parent / "report.json"
    command = ("build", "--report", str(path), "--cache", "none", *docker.new_builder, *words(docker, project))
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as gone, Path("/dev/full").open("wb") as full:
        ends: dict[str, IO[bytes]] = {"gone": gone, "full": full}
        done = subprocess.run(
            (sys.executable, "-m", "buildx_cache", *command),
            env=docker.child_env(**({ci: "true"} if ci else {})),
            stdin=subprocess.DEVNULL,
            stdout=ends[end] if name == "stdout" else subprocess.PIPE,
            stderr=ends[end] if name == "stderr" else subprocess.PIPE,
            check=False,
        )
    report = json.loads(path.read_text())
    assert (done.returncode, report["status"]) == told, done.stderr
    assert b"BrokenPipeError" not in (done.stderr or b"")
    assert docker.left_of(report["builder"]["name"]) == ""


def test_plain_progress_is_plain(docker: Docker, project: Path) -> None:
    plain = ("--cache", "none", "--no-cache", "--driver", "docker", *words(docker, project))
    ran = docker.build(*plain)
    assert "\x1b" not in ran.stderr
    assert "[3/3] RUN cat /word > /said" in ran.stderr
    assert docker.build("-q", *plain).stderr.count("\n") <= 3


def test_buildx_flags_are_passed_on(docker: Docker, project: Path) -> None:
    ran = docker.build("--cache", "none", "--driver", "docker", *words(docker, project), "--", "--label", "a=b")
    assert ran.code == 0
    assert docker.docker("image", "inspect", "effects", "--format", '{{index .Config.Labels "a"}}') == "b"


def test_a_dockerfile_from_stdin(docker: Docker, project: Path) -> None:
    text = (project / "Dockerfile").read_text()
    ran = docker.tool("build", "-f", "-", "--cache", "none", "--driver", "docker", *words(docker, project), stdin=text)
    assert ran.code == 0, ran.stderr
    assert docker.greeting("effects") == "one"


def test_the_doctor_on_a_healthy_machine(docker: Docker) -> None:
    ran = docker.tool("doctor")
    assert ran.code == 0, ran.stdout
    assert [line[:4] for line in ran.stdout.splitlines()].count("ok  ") >= 5
    assert docker.env["ENGINE_DOCKER_VERSION"] in ran.stdout


def test_the_doctor_without_docker(docker: Docker) -> None:
    ran = docker.tool("doctor", env={"DOCKER_HOST": "unix:///nonexistent.sock"})
    assert ran.code == 3
    assert "fail docker" in ran.stdout
    assert "start Docker" in ran.stdout


def test_the_doctor_names_what_hurts_on_a_ci(docker: Docker, project: Path, tmp_path: Path) -> None:
    (project / ".git").mkdir()
    (project / ".circleci").mkdir()
    (project / ".circleci" / "config.yml").write_text("jobs:\n  a:\n    steps:\n      - setup_remote_docker\n")
    real = subprocess.run(("which", "docker"), env=docker.child_env(), capture_output=True, text=True, check=True)
    podman = '{"Server":{"Version":"4.9.3","Components":[{"Name":"Podman Engine","Version":"4.9.3"}]}}'
    command = tmp_path / "bin" / "docker"
    command.parent.mkdir()
    script = f"#!/bin/sh\ncase $1 in version) echo '{podman}' ;; *) exec {real.stdout.strip()} \"$@\" ;; esac\n"
    command.write_text(script)
    command.chmod(0o755)
    ci = {"CIRCLECI": "true", "CIRCLE_BRANCH": "main"}
    absent = {
        "PATH": f"{command.parent}:{docker.child_env()['PATH']}",
        "BUILDX_CACHE_BUILDKIT_IMAGE": f"{docker.registry}/none",
    }
    ran = docker.tool("doctor", "--cache-dir", "cache", cwd=project, env=ci | absent)
    assert (ran.code, [line.split()[1] for line in ran.stdout.splitlines() if line.startswith("warn")]) == (
        0,
        ["docker", "builder", "cache", "remote"],
    )
    assert "line 4 of .circleci/config.yml" in ran.stdout
    assert f"{docker.registry}/none" in ran.stdout
    there = {"BUILDX_CACHE_BUILDKIT_IMAGE": docker.env["ENGINE_BUILDKIT_IMAGE"]}
    (project / ".circleci" / "config.yml").write_text("")
    ran = docker.tool("doctor", cwd=project, env=ci | there)
    assert (ran.code, "warn" in ran.stdout) == (0, False)


def test_the_doctor_says_how_a_job_of_the_ci_has_an_engine(docker: Docker) -> None:
    ran = docker.tool("doctor", env={"DOCKER_HOST": "unix:///nonexistent.sock", "CIRCLECI": "true"})
    assert (ran.code, "setup_remote_docker" in ran.stdout) == (3, True)


@pytest.mark.parametrize("output", ["-", "type=tar,dest=-"])
def test_a_result_on_stdout_waits_for_no_stdin(docker: Docker, tmp_path: Path, output: str) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /\n")
    words = ("build", "-o", output, "--cache", "local", "--cache-dir", str(tmp_path / "cache"), str(tmp_path / "app"))
    with subprocess.Popen(
        (sys.executable, *PROGRAM, *words),
        env=docker.child_env(),
        stdin=subprocess.PIPE,  # stays open
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as call:
        try:
            assert call.stdout is not None
            with tarfile.open(fileobj=call.stdout, mode="r|") as archive:
                assert archive.getnames() != []
            assert call.wait(60) == 0
        finally:
            call.kill()
