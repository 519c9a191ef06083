"""What cannot work gets one line that says so, one that says what to do, and the right exit code."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.integration.conftest import Docker
from tests.unit.command_line import ERROR_CODE


def refused(docker: Docker, *words: str, env: dict[str, str] | None = None) -> tuple[int, str, str]:
    """The exit code, what failed and what to do; nothing may be on stdout, and nothing else on stderr."""
    ran = docker.tool("build", *words, env=env)
    lines = ran.stderr.splitlines()
    assert (ran.stdout, len(lines)) == ("", 2), ran.stderr
    assert lines[0].startswith("error: ")
    assert lines[1].startswith("hint: ")
    return ran.code, ERROR_CODE.sub(r"\g<message>", lines[0]).removeprefix("error: "), lines[1].removeprefix("hint: ")


REQUESTS = {
    "cache mode": (("--cache-mode", "maximum"), 2, "--cache-mode", "did you mean 'max'?"),
    "cache kind": (("--cache", "registri"), 2, "--cache", "did you mean 'registry'?"),
    "option": (("--dockerfile", "Dockerfile"), 2, "--dockerfile", "--file"),
    "attribute": (
        ("--cache-to", "type=registry,ref=a/b,mod=max"),
        *(2, "has no attribute 'mod'", "did you mean 'mode'?"),
    ),
    "inline max": (("--cache", "inline", "--cache-mode", "max"), 2, "no --cache-mode max", "--cache registry"),
    "no tag": (("--push",), 2, "--push needs a tag", "add -t"),
    "reference": (("-t", "Org/App"), 2, "'Org/App' is not an image reference", "lower case"),
    "several references": (("-t", "r.example/app:1\nr.example/app:2"), 2, "is not an image reference", "--tag"),
    "port": (("-t", "localhost:99999/app:1"), 2, "is not an image reference", "HOST/REPOSITORY"),
    "secret folder": (("--secret", "id=x,src=/"), 2, "is a folder", "src="),
    "one node twice": (("--endpoint", "tcp://a:1", "--endpoint", "tcp://a:1"), 2, "one address twice", "leave one out"),
    "template": (("-t", "app:{pr}"), 2, "needs {pr}, which this build does not have", "only a pull request's"),
    "template field": (("-t", "app:{shaa}"), 2, "unknown field {shaa}", "'sha'"),
    "target": (("--target", "hallo"), 2, "--target 'hallo' names no stage", "AS NAME"),
    "architecture": (("--platform", "linux/arm65"), 2, "names an unknown architecture: arm65", "'arm64'"),
    "system": (("--platform", "lunix/amd64"), 2, "names an unknown system: lunix", "'linux'"),
    "dockerfile": (("-f", "nowhere"), 2, "the Dockerfile does not exist: nowhere", "-f/--file"),
    "cache file": (("--cache", "local", "--cache-dir", "{file}"), 2, "the cache folder is a file", "--cache-dir"),
    "cache root": (("--cache", "local", "--cache-dir", "/"), 2, "has no name", "a folder that has a name"),
    "cache twice": (
        ("--cache-to", "type=local,dest={file}-c", "--cache-to", "type=local,dest={file}-c,tag=x"),
        *(2, "two caches are written to the folder", "give each its own folder"),
    ),
    "cache letters": (
        ("--cache", "local", "--cache-dir", "größe", "--strict-cache"),
        *(2, "takes only printable ASCII in its path", "give another folder"),
    ),
    "cache digest": (
        ("--cache-from", "type=local,src=x,digest=latest"),
        *(2, "is not a digest", "64 hexadecimal digits"),
    ),
    "several loaded": (("--load", "--driver", "remote"), 2, "needs the address", "--endpoint"),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_wrong_options(docker: Docker, project: Path, name: str) -> None:
    words, code, message, hint = REQUESTS[name]
    file = project / "word"
    found = refused(docker, *(word.replace("{file}", str(file)) for word in words), str(project))
    assert found[0] == code
    assert message in found[1]
    assert hint in found[2]


def test_a_cache_folder_that_is_something_elses(docker: Docker, project: Path) -> None:
    site = project / "site"
    (site / "blobs").mkdir(parents=True)
    (site / "index.json").write_text("{}")
    code, message, hint = refused(docker, "--cache", "local", "--cache-dir", str(site), str(project))
    assert (code, message) == (2, f"the cache folder holds an index.json or blobs of something else: {site}")
    assert "its own folder" in hint
    assert sorted(path.name for path in site.iterdir()) == ["blobs", "index.json"]


def test_a_context_that_is_not_there(docker: Docker, project: Path) -> None:
    code, message, _ = refused(docker, str(project / "nowhere"))
    assert (code, "does not exist" in message) == (2, True)


def test_a_wrong_key_in_the_configuration(docker: Docker, project: Path) -> None:
    (project / "buildx-cache.toml").write_text('tag = "app"\n\ncache-mod = "max"\n')
    code, message, hint = refused(docker, str(project))
    assert (code, message) == (2, f"{project / 'buildx-cache.toml'}:3: unknown option 'cache-mod'")
    assert hint == "perhaps you meant 'cache-mode'?"


def test_several_platforms_cannot_be_loaded_into_the_classic_store(classic_docker: Docker, project: Path) -> None:
    code, message, _ = refused(classic_docker, "--load", "--platform", "linux/amd64,linux/arm64", str(project))
    assert (code, message) == (2, "--load of several platforms needs an engine with the containerd image store")


def test_the_classic_stores_own_builder_cannot_export(classic_docker: Docker, project: Path) -> None:
    code, message, _ = refused(classic_docker, "--driver", "docker", "--cache", "local", str(project))
    assert (code, "cannot export such a cache" in message) == (2, True)


def test_no_docker_command(docker: Docker, project: Path) -> None:
    code, message, _ = refused(docker, str(project), env={"PATH": "/nonexistent"})
    assert (code, message) == (3, "the docker command is not on PATH")


def test_docker_is_not_running(docker: Docker, project: Path) -> None:
    code, message, hint = refused(docker, "--no-wait", str(project), env={"DOCKER_HOST": "unix:///nonexistent.sock"})
    assert (code, message) == (3, "Docker is not running, or cannot be reached")
    assert "DOCKER_HOST" in hint


def test_podman_under_dockers_name(docker: Docker, project: Path, tmp_path: Path) -> None:
    """The script answers as podman 4.3 does; podman itself is asked where it is installed."""
    info = '{"host":{"os":"linux"},"version":{"Version":"4.3.1"}}'
    answers = f"case $1 in --version) echo podman version 4.3.1 ;; info|version) echo '{info}' ;; *) exit 125 ;; esac"
    podman = shutil.which("podman")
    command = tmp_path / "docker"
    command.write_text(f'#!/bin/sh\nexec {podman} "$@"\n' if podman else f"#!/bin/sh\n{answers}\n")
    command.chmod(0o755)
    code, message, _ = refused(docker, str(project), env={"PATH": f"{tmp_path}:/usr/bin:/bin", "CI": "true"})
    assert (code, "podman" in message) == (3, True)


def test_no_such_docker_context(docker: Docker, project: Path) -> None:
    code, message, _ = refused(docker, "--docker-context", "nowhere", str(project))
    assert (code, message.startswith("there is no such Docker context")) == (3, True)


def plugin_env(docker: Docker, folder: Path, script: str) -> dict[str, str]:
    """A docker command of which Buildx is what ``script`` is; empty: not installed."""
    real = subprocess.run(("which", "docker"), env=docker.child_env(), capture_output=True, text=True, check=True)
    command, config = folder / "bin", folder / "config"
    command.mkdir()
    shutil.copy(real.stdout.strip(), command / "docker", follow_symlinks=True)
    (config / "cli-plugins").mkdir(parents=True)
    if script:
        plugin = config / "cli-plugins" / "docker-buildx"
        plugin.write_text(script)
        plugin.chmod(0o755)
    return {"PATH": f"{command}:/usr/bin:/bin", "DOCKER_CONFIG": str(config)}


def test_no_buildx(docker: Docker, project: Path, tmp_path: Path) -> None:
    if docker.env["ENGINE_KIND"] == "existing":
        pytest.skip("this Docker has its Buildx in a system folder")
    code, message, hint = refused(docker, str(project), env=plugin_env(docker, tmp_path, ""))
    assert (code, message) == (3, "Docker's Buildx plugin is not installed")
    assert "docker-buildx" in hint


def test_an_old_buildx(docker: Docker, project: Path, tmp_path: Path) -> None:
    metadata = '{"SchemaVersion":"0.1.0","Vendor":"Docker Inc.","Version":"v0.9.1","ShortDescription":"Docker Buildx"}'
    env = plugin_env(docker, tmp_path, f"#!/bin/sh\necho '{metadata}'\n")
    code, message, _ = refused(docker, str(project), env=env)
    assert (code, message) == (3, "Buildx 0.9.1 is too old: 0.13.0 is needed")


def test_a_read_only_cache_folder(docker: Docker, project: Path) -> None:
    """Root may write anywhere but where nothing can be: /proc."""
    ran = docker.tool("build", "--cache", "local", "--cache-dir", "/proc/cache", str(project))
    assert (ran.code, ran.stdout) == (6, "")
    message, hint = ran.stderr.splitlines()[-2:]
    assert message.endswith(" [cache-dir-not-lockable]")
    assert hint.startswith("hint: make it a folder that this user can write")
