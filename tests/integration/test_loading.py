"""A loaded image comes to the engine from the cache's folder, and is the one that BuildKit would have sent."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from buildx_cache import layout
from tests.integration.conftest import PROGRAM, Docker, Ran
from tests.integration.test_lazy import LARGE, build, source
from tests.integration.test_plan import record, shimmed
from tests.selection import quick
from tests.unit.layout.damages import flip_bit

__all__ = ["source"]
ONE, TWO = "loading:one", "loading:two"


def load(docker: Docker, source: Path, *words: str, **env: str) -> Ran:
    return build(docker, source, *docker.new_builder, "-t", ONE, "-t", TWO, "--load", *words, **env)


def outputs(log: Path) -> list[str]:
    """How the builds of a log gave their images out."""
    words = [word for line in log.read_text().splitlines() for word in line.split("\0")]
    return [word.partition(",")[0] for word in words if word.startswith(("--load", "type=oci", "type=docker"))]


def identity(docker: Docker, name: str) -> str:
    return docker.docker("image", "inspect", "--format", "{{.Id}}", name)


def content(docker: Docker, name: str) -> str:
    return docker.docker("image", "inspect", "--format", "{{json .Config}} {{json .RootFS}} {{.Architecture}}", name)


def manifests(docker: Docker, reference: str) -> list[tuple[str, object]]:
    """The platforms of a pushed image, and what is attested of them."""
    index = json.loads(docker.docker("buildx", "imagetools", "inspect", "--raw", reference))
    return [(each["platform"]["os"], each.get("annotations", {}).get(_TYPE)) for each in index["manifests"]]


_TYPE = "vnd.docker.reference.type"


def is_clean(cache: Path) -> bool:
    return not list(cache.glob(".buildx-cache-linked-*")) and not layout.verify(cache, deep=True)


# The others load an image without a name.
@pytest.mark.parametrize("kind", quick(["docker", "old_docker", "classic_docker"], "docker"))
def test_the_image_is_the_one_that_buildkit_sends(
    request: pytest.FixtureRequest, source: Path, tmp_path: Path, kind: str
) -> None:
    docker: Docker = request.getfixturevalue(kind)
    env, log = record(docker, tmp_path / "recorder")
    load(docker, source, **env)
    assert outputs(log) == ["--load"]  # there was no cache yet
    (source / "small").write_text("two\n")
    log.write_text("")
    near = load(docker, source, **env)
    assert outputs(log) == ["type=oci"]
    found = [content(docker, name) for name in (ONE, TWO)]
    assert near.stdout == f"{identity(docker, ONE)}\n" == f"{identity(docker, TWO)}\n"
    docker.docker("image", "rm", ONE, TWO)
    far = load(docker, source, "--lazy", "off")
    docker.docker("image", "rm", TWO)

    assert (near.steps, far.steps) == ((2, 1, 1), (2, 2, 0))
    assert found == [content(docker, ONE)] * 2
    assert far.stdout == f"{identity(docker, ONE)}\n"
    if kind != "old_docker":  # its Buildx sends the image with Docker's media types
        assert near.stdout == far.stdout
    assert near.report["images"]["default"]["loaded"] is True
    assert near.report["warnings"] == near.report["retries"] == []
    assert is_clean(source.parent / "cache")
    docker.docker("image", "rm", ONE)


@pytest.mark.parametrize("kind", quick(["docker", "old_docker", "classic_docker"], "classic_docker"))
def test_an_image_without_a_name_is_told_by_its_id(request: pytest.FixtureRequest, source: Path, kind: str) -> None:
    docker: Docker = request.getfixturevalue(kind)
    told = build(docker, source, *docker.new_builder, "--load").stdout.strip()
    assert identity(docker, told) == told
    docker.docker("image", "rm", told)


@pytest.mark.soak  # that the loaded image is the one that BuildKit sends: above
def test_what_is_attested_of_an_image_is_loaded_too(docker: Docker, source: Path) -> None:
    repository = docker.repository()
    load(docker, source)
    pushed = []
    for name, words in (("near", ()), ("far", ("--lazy", "off"))):
        tag = f"{repository}:{name}"
        load(docker, source, "--provenance", "mode=max", "-t", tag, *words)
        docker.docker("image", "push", "--quiet", tag)
        pushed.append(manifests(docker, tag))
        docker.docker("image", "rm", tag, ONE, TWO)
    assert pushed == [[("linux", None), ("unknown", "attestation-manifest")]] * 2


def test_the_digest_of_an_image_that_is_pushed_and_loaded_is_the_pushed_one(docker: Docker, source: Path) -> None:
    tag = f"{docker.repository()}:1"
    words = (*docker.new_builder, "-t", tag, "--load", "--push")
    for _ in ("cold", "warm"):
        ran = build(docker, source, *words)
        docker.docker("image", "rm", tag)
        docker.docker("image", "pull", "--quiet", tag)
        assert ran.stdout == f"{tag}@{identity(docker, tag)}\n"
    docker.docker("image", "rm", tag)


def test_an_image_of_several_platforms_is_loaded_whole(docker: Docker, source: Path, tmp_path: Path) -> None:
    words = ("--platform", "linux/amd64,linux/arm64")
    load(docker, source, *words)
    env, log = record(docker, tmp_path / "recorder")
    load(docker, source, *words, **env)
    assert outputs(log) == ["type=oci"]
    for platform in ("linux/amd64", "linux/arm64"):
        made = docker.docker("create", "--quiet", "--platform", platform, ONE, "none")
        docker.docker("rm", made)
    docker.docker("image", "rm", ONE, TWO)


def test_a_damaged_layer_comes_from_the_builder_after_all(docker: Docker, source: Path) -> None:
    """BuildKit has the cache in its builder, and does not see what became of the folder; it sends the layer again."""
    cache = source.parent / "cache"
    (source / "large").write_bytes(os.urandom(LARGE))  # no image that the engine had before has this
    words = (*docker.container_builder, "-t", ONE)
    first = build(docker, source, *words)
    try:
        layer = max((cache / "blobs" / "sha256").iterdir(), key=lambda path: path.stat().st_size)
        flip_bit(layer)
        ran = build(docker, source, *words, "--load")
    finally:
        docker.docker("buildx", "rm", "--force", first.report["builder"]["name"])
    assert ran.report["images"]["default"]["loaded"] is True
    assert ran.stdout == f"{identity(docker, ONE)}\n"
    assert ["other content" in warning for warning in ran.report["warnings"]] == [True]
    assert [each["status"] for each in ran.report["cache"]["exports"]] == ["unchanged"]
    assert is_clean(cache)
    docker.docker("image", "rm", ONE)


@pytest.mark.soak  # the phase `load` of tests/faults/test_signals.py
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_interrupted_load_leaves_nothing(
    docker: Docker, source: Path, tmp_path: Path, number: signal.Signals
) -> None:
    load(docker, source)
    docker.docker("image", "rm", ONE, TWO)
    started, report = tmp_path / "started", tmp_path / "report.json"
    script = f'#!/bin/sh\n[ "$1 $2" = "image load" ] && {{ touch {started}; sleep 60; }}\nexec {{docker}} "$@"\n'
    words = ("build", "--cache", "local", "--cache-dir", str(source.parent / "cache"), *docker.new_builder)
    env = docker.child_env(**shimmed(docker, tmp_path / "shim", script))
    argv = (sys.executable, *PROGRAM, *words, "-t", ONE, "--load", "--report", str(report), str(source))
    with subprocess.Popen(argv, env=env, stderr=subprocess.PIPE, stdout=subprocess.PIPE) as call:
        while call.poll() is None and not started.exists():
            time.sleep(0.05)
        os.kill(call.pid, number)
        assert call.wait(timeout=120) == 128 + number
    assert is_clean(source.parent / "cache")
    assert ONE not in docker.docker("image", "ls", "--format", "{{.Repository}}:{{.Tag}}")
    assert docker.left_of(json.loads(report.read_text())["builder"]["name"]) == ""


def test_the_classic_store_gives_one_answer_to_attestations(classic_docker: Docker, source: Path) -> None:
    """Cold and warm: where the image is read from the cache's folder, nobody else would refuse it."""
    load(classic_docker, source)
    for cache in ("none-yet", "cache"):
        words = ("--cache", "local", "--cache-dir", str(source.parent / cache))
        ran = classic_docker.tool(
            *("build", *classic_docker.new_builder, "-t", ONE, "--load", "--provenance", "mode=max", *words),
            *("--build-arg", f"BASE={classic_docker.base}", str(source)),
        )
        assert (ran.code, ran.report["error"]["code"]) == (2, "load-unsupported")
    classic_docker.docker("image", "rm", ONE, TWO)


# Of an image without attestations, Buildx tells the digest of the configuration, which the containerd store lacks.
@pytest.mark.parametrize(
    ("kind", "driver"), [("docker", ("--driver", "docker")), ("classic_docker", ())], ids=["engines", "made"]
)
def test_every_id_of_a_loaded_image_is_the_engines(
    request: pytest.FixtureRequest, project: Path, tmp_path: Path, kind: str, driver: tuple[str, ...]
) -> None:
    docker: Docker = request.getfixturevalue(kind)
    builder = driver or docker.new_builder
    words = ("--cache", "none", "--provenance", "false", "--build-arg", f"BASE={docker.base}", str(project))
    values = {"GITHUB_ACTIONS": "true", "GITHUB_OUTPUT": str(tmp_path / "outputs")}
    files = ("--iidfile", str(tmp_path / "iid"))
    ran = docker.tool("build", *builder, "-t", ONE, "--load", *files, *words, env=values)
    name = identity(docker, ONE)
    image = ran.report["images"]["default"]
    told = set(re.findall(r"sha256:[0-9a-f]{64}", (tmp_path / "outputs").read_text()))
    assert (ran.stdout, (tmp_path / "iid").read_text(), image["id"]) == (f"{name}\n", name, name), ran.stderr
    assert (image["digest"] in ("", name), told) == (True, {name})
    docker.docker("image", "rm", ONE)
