"""An output that pushes is a push: its cache is beside it, and what was pushed stands on stdout."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from buildx_cache.reference import parse_reference
from buildx_cache.registry.repository import connect
from tests.integration.conftest import Docker, Ran

DIGEST = re.compile("sha256:[0-9a-f]{64}")


def tags(repository: str) -> list[str]:
    return sorted(connect(parse_reference(repository), lambda _: None).tags())


def manifest(docker: Docker, reference: str) -> str:
    """The digest under which the registry has what a reference names."""
    shown = docker.docker("buildx", "imagetools", "inspect", "--format", "{{json .Manifest}}", reference)
    return str(json.loads(shown)["digest"])


def build(docker: Docker, project: Path, *words: str) -> Ran:
    return docker.build("--build-arg", f"BASE={docker.base}", *words, str(project))


def check(docker: Docker, ran: Ran, *names: str) -> None:
    """What stdout names is in the registry, under the digest that stands there; the report says that it was pushed."""
    lines = ran.stdout.splitlines()
    assert [line.partition("@")[0] for line in lines] == list(names)
    for line in lines:
        assert DIGEST.fullmatch(line.partition("@")[2])
        assert manifest(docker, line) == line.partition("@")[2]
    image = ran.report["images"]["default"]
    assert (image["pushed"], image["digest"]) == (True, lines[-1].partition("@")[2])
    assert ran.report["cache"]["mode"] == "registry"


@pytest.mark.parametrize("output", ["type=registry", "type=image,push=1"])
def test_the_engines_builder_pushes_to_a_tag(docker: Docker, project: Path, output: str) -> None:
    name = docker.repository()
    ran = build(docker, project, "--driver", "docker", "-t", f"{name}:1", "-o", output)
    check(docker, ran, f"{name}:1")
    assert tags(name) == ["1", "buildcache-main"]


def test_a_push_by_digest_leaves_no_tag_and_takes_a_builder_that_can(
    docker: Docker, project: Path, tmp_path: Path
) -> None:
    name = docker.repository()
    values = tmp_path / "values.env"
    words = (*docker.builder_image, "--driver-opt", "network=host", "--rm-builder", "--dotenv", str(values))
    ran = build(docker, project, *words, "-t", name, "-o", "type=image,push-by-digest=true,push=true")
    check(docker, ran, name)
    assert tags(name) == ["buildcache-main"]
    assert ran.report["builder"]["driver"] == "docker-container"
    assert f"BUILDX_CACHE_DIGEST={ran.stdout.strip().partition('@')[2]}" in values.read_text().replace('"', "")


def test_names_of_the_outputs_are_pushed_each_with_its_own_digest(docker: Docker, project: Path) -> None:
    one, two = docker.repository("one"), docker.repository("two")
    plain, squeezed = f'type=image,"name={one}:1,{one}:2",push=true', f"type=registry,name={two},compression=zstd"
    archive = f"type=oci,dest={project.parent / 'app.tar'}"
    ran = build(docker, project, *docker.new_builder, "-o", plain, "-o", squeezed, "-o", archive)
    check(docker, ran, f"{one}:1", f"{one}:2", f"{two}:latest")
    assert len({line.partition("@")[2] for line in ran.stdout.splitlines()}) == 2


def test_the_classic_store_pushes_too(classic_docker: Docker, project: Path) -> None:
    name = classic_docker.repository()
    ran = build(
        classic_docker, project, "--driver", "docker", "--cache", "none", "-t", f"{name}:1", "-o", "type=registry"
    )
    line = ran.stdout.strip()
    assert (line.partition("@")[0], manifest(classic_docker, line)) == (f"{name}:1", line.partition("@")[2])


def test_two_images_of_a_job_have_a_line_and_variables_of_their_own(
    docker: Docker, project: Path, tmp_path: Path
) -> None:
    repository, values = docker.repository(), tmp_path / "values.env"
    words = ("--driver", "docker", "--cache", "none", "--push", "--build-arg", f"BASE={docker.base}", str(project))
    digests = {}
    for prefix in ("web", "api"):
        (project / "word").write_text(prefix)
        tags = ("-t", f"{repository}:{prefix}", "-t", f"{repository}:{prefix}-latest", "--one-line")
        ran = docker.build(*tags, "--output-prefix", prefix, "--dotenv", str(values), *words)
        digests[prefix] = ran.report["images"]["default"]["digest"]
        assert ran.stdout == f"{repository}@{digests[prefix]}\n"
    told = dict(line.split("=", 1) for line in values.read_text().splitlines())
    assert {prefix: told[f"BUILDX_CACHE_{prefix.upper()}_DIGEST"].strip("'\"") for prefix in digests} == digests
    assert "BUILDX_CACHE_DIGEST" not in told
    again = docker.tool("plan", "--assume-driver", "docker", str(project), env=dict.fromkeys(told, "x"))
    assert "no such option" not in again.stderr + again.stdout
