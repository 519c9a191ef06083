"""Contexts and builders: which one runs the build, and what is left of it."""

from __future__ import annotations

import ssl
import tarfile
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import trustme

from tests.integration.conftest import Docker
from tests.integration.fronts import tls_front
from tests.selection import quick


def words(docker: Docker, project: Path) -> tuple[str, ...]:
    return ("-t", "builders", "--load", "--build-arg", f"BASE={docker.base}", str(project))


def test_the_engines_own_builder_is_used_where_it_can_do_the_job(docker: Docker, project: Path) -> None:
    ran = docker.build("--cache-dir", str(project.parent / "cache"), *words(docker, project))
    assert ran.report["builder"]["name"] == "default"
    assert ran.report["builder"]["created"] is False
    assert ran.stdout.startswith("sha256:")
    assert ran.stdout.strip() == docker.docker("image", "inspect", "builders", "--format", "{{.Id}}")


def test_on_the_classic_store_a_builder_is_made_and_used_again(classic_docker: Docker, project: Path) -> None:
    docker = classic_docker
    (project / "Dockerfile").write_text("FROM scratch\nCOPY word /word\n")
    words = ("-t", "builders", "--load", "--cache", "local", "--cache-dir", str(project.parent / "cache"), str(project))
    plain = docker.tool("plan", *words)
    assert "docker buildx create --name buildx-cache-project-" in plain.stdout
    opt = docker.builder_image
    first = docker.build(*opt, *words)
    name = first.report["builder"]["name"]
    try:
        second = docker.build(*opt, *words)
        assert (first.report["builder"]["created"], second.report["builder"]["created"]) == (True, False)
        assert second.report["builder"]["name"] == name
        assert second.steps == (1, 1, 0)
        docker.docker("stop", f"buildx_buildkit_{name}0")
        third = docker.build("-v", *opt, *words)
        assert f"+ docker buildx inspect --bootstrap {name}" in third.stderr
    finally:
        docker.docker("buildx", "rm", name)


def test_two_calls_at_once_share_the_builder_that_one_of_them_makes(docker: Docker, project: Path) -> None:
    opt = ("--cache", "none", *docker.container_builder)
    with ThreadPoolExecutor() as pool:
        calls = [pool.submit(docker.tool, "build", *opt, *words(docker, project)) for _ in range(2)]
        ran = [call.result() for call in calls]
    assert [each.code for each in ran] == [0, 0], ran
    names = {each.report["builder"]["name"] for each in ran}
    docker.docker("buildx", "rm", *names)


@pytest.mark.parametrize("given", [(), ("--cache-read-only",)], ids=["writes", "reads"])
def test_no_step_of_a_fork_leaves_anything_for_another_builds_step(
    docker: Docker, project: Path, given: tuple[str, ...]
) -> None:
    """A cache mount is in no step's key: what it holds comes into the image, and into the cache of the branch.

    A release that only reads caches pushes its image all the same.
    """
    mount = "ARG BASE\nFROM $BASE\nRUN --mount=type=cache,target=/kept "
    opt = ("--cache", "none", *docker.container_builder, "--build-arg", f"BASE={docker.base}")
    out = project.parent / "out"
    branch = {"CIRCLECI": "true", "CIRCLE_BRANCH": "main", "CIRCLE_SHA1": "1" * 40}
    fork = {**branch, "CIRCLE_BRANCH": "pull/7", "CIRCLE_PR_NUMBER": "7"}
    names = set()
    try:
        for env, step in ((fork, "echo evil > /kept/word"), (branch, "cat /kept/word > /word || echo good > /word")):
            (project / "Dockerfile").write_text(mount + step)
            asked = given if env is branch else ()
            ran = docker.build(*opt, *asked, "-o", f"type=tar,dest={out}", str(project), env=env)
            names.add(ran.report["builder"]["name"])
        with tarfile.open(out) as made:
            word = made.extractfile("word")
            assert word is not None
            assert word.read() == b"good\n"
    finally:
        docker.docker("buildx", "rm", *names)


def test_push_and_load_are_one_solve(docker: Docker, project: Path) -> None:
    tag = f"{docker.repository()}:1"
    base = ("--build-arg", f"BASE={docker.base}")
    ran = docker.build("--push", "--load", "-t", tag, *docker.new_builder, *base, str(project))
    assert len([command for command in ran.report["commands"] if command[1:3] == ["buildx", "build"]]) == 1
    assert docker.docker("image", "inspect", tag, "--format", "{{.Id}}")
    assert docker.greeting(tag) == "one"


def test_a_named_builder_is_used_as_it_is(docker: Docker, project: Path) -> None:
    options = [f"image={docker.env['ENGINE_BUILDKIT_IMAGE']}"] if docker.builder_image else []
    options.append(docker.env["ENGINE_DRIVER_OPT"])
    opt = [word for option in options for word in ("--driver-opt", option)]
    docker.docker("buildx", "create", "--name", "mine", "--driver", "docker-container", *opt)
    try:
        ran = docker.build("--builder", "mine", *words(docker, project))
        assert ran.report["builder"] == {**ran.report["builder"], "name": "mine", "created": False}
        assert "mine" in docker.builders()
    finally:
        docker.docker("buildx", "rm", "mine")


def test_a_builder_that_does_not_exist(docker: Docker, project: Path) -> None:
    ran = docker.tool("build", "--builder", "nobody", *words(docker, project))
    assert (ran.code, ran.stdout) == (3, "")
    assert "error: there is no builder named 'nobody'" in ran.stderr


def test_a_builder_that_does_not_boot_is_not_left_behind(docker: Docker, project: Path) -> None:
    missing = f"{docker.registry}/no/such:image"
    ran = docker.tool("build", "--buildkit-image", missing, *words(docker, project))
    assert ran.code == 3, ran.stderr
    assert "could not be made or does not boot" in ran.stderr
    assert "hint: check --buildkit-image" in ran.stderr
    assert docker.left_of(ran.report["builder"]["name"]) == ""


def test_a_removed_builder_leaves_nothing(docker: Docker, project: Path) -> None:
    ran = docker.build(
        "--cache", "local", "--cache-dir", str(project.parent / "c"), *docker.new_builder, *words(docker, project)
    )
    assert ran.report["builder"]["created"] is True
    assert docker.left_of(ran.report["builder"]["name"]) == ""
    (project / "Dockerfile").write_text("FROM scratch\nCOPY nowhere /\n")
    failed = docker.tool("build", *docker.new_builder, *words(docker, project))
    assert failed.code == 1
    assert docker.left_of(failed.report["builder"]["name"]) == ""


@pytest.fixture
def fleet(docker: Docker) -> Iterator[tuple[str, str]]:
    """Two BuildKit daemons, as containers of two builders; what `docker-container://` reaches."""
    options = [f"image={docker.env['ENGINE_BUILDKIT_IMAGE']}"] if docker.builder_image else []
    opt = [word for option in (*options, docker.env["ENGINE_DRIVER_OPT"]) for word in ("--driver-opt", option)]
    names = ("fleet-a", "fleet-b")
    try:
        for name in names:
            docker.docker("buildx", "create", "--name", name, "--driver", "docker-container", *opt, "--bootstrap")
        yield f"docker-container://buildx_buildkit_{names[0]}0", f"docker-container://buildx_buildkit_{names[1]}0"
    finally:
        for name in names:
            docker.docker("buildx", "rm", name, check=False)


@pytest.mark.parametrize("kind", quick(["registry", "local"], "registry"))
def test_every_node_of_a_fleet_keeps_its_own_cache(
    docker: Docker, project: Path, fleet: tuple[str, str], kind: str
) -> None:
    (project / "Dockerfile").write_text("FROM scratch\nARG TARGETARCH\nCOPY word /word\nCOPY word /${TARGETARCH}\n")
    repository, cache = docker.repository(), project.parent / "cache"
    words = (
        *("-t", f"{repository}:1", "--push", "--driver", "remote", "--platform", "linux/amd64,linux/arm64"),
        *("--endpoint", f"{fleet[0]},platform=linux/amd64,name=a", "--endpoint", f"{fleet[1]},platform=linux/arm64"),
        *("--cache", kind, "--cache-dir", str(cache), "--rm-builder", str(project)),
    )
    cold = docker.build(*words)
    exports = cold.report["cache"]["exports"]
    assert [(export["status"], export["detail"]) for export in exports] == [("written", "")] * 2
    for name in ("fleet-a", "fleet-b"):
        docker.docker("buildx", "prune", "--builder", name, "--all", "--force")
    warm = docker.build(*words)
    assert warm.report["cache"]["hit_ratio"] == 1.0, warm.stderr
    assert {step["platform"] for step in warm.report["steps"]} == {"linux/amd64", "linux/arm64"}
    manifest = docker.docker("buildx", "imagetools", "inspect", f"{repository}:1")
    assert "linux/amd64" in manifest
    assert "linux/arm64" in manifest


@pytest.fixture
def tls_engine(docker: Docker, tmp_path: Path) -> Iterator[dict[str, str]]:
    """The engine behind TLS, as the environment variables of CircleCI's remote Docker name it."""
    certificates = tmp_path / "certificates"
    certificates.mkdir()
    authority = trustme.CA()
    server, client = authority.issue_cert("127.0.0.1"), authority.issue_cert("client")
    authority.cert_pem.write_to_path(str(certificates / "ca.pem"))
    client.private_key_pem.write_to_path(str(certificates / "key.pem"))
    client.cert_chain_pems[0].write_to_path(str(certificates / "cert.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.configure_cert(context)
    context.verify_mode = ssl.CERT_REQUIRED
    authority.configure_trust(context)
    path = docker.env.get("DOCKER_HOST", "unix:///var/run/docker.sock").removeprefix("unix://")
    with tls_front(path, context) as port:
        yield {
            "DOCKER_HOST": f"tcp://127.0.0.1:{port}",
            "DOCKER_TLS_VERIFY": "1",
            "DOCKER_CERT_PATH": str(certificates),
        }


def test_tls_from_the_environment_gets_a_named_context(
    docker: Docker, project: Path, tls_engine: dict[str, str]
) -> None:
    cache = ("--cache", "local", "--cache-dir", str(project.parent / "cache"))
    ran = docker.build(*cache, *docker.new_builder, *words(docker, project), env=tls_engine)
    assert [command[1:3] for command in ran.report["commands"]] == [
        ["context", "create"],
        ["buildx", "create"],
        ["buildx", "build"],
        ["buildx", "rm"],
        ["context", "rm"],
    ]
    assert docker.greeting("builders") == "one"
    assert ran.report["commands"][0][3] not in docker.docker("context", "ls", "--quiet").split()
    again = docker.build(*cache, *docker.new_builder, *words(docker, project), env=tls_engine)
    assert again.steps == (3, 3, 0)


@pytest.mark.parametrize("name", quick(["elsewhere", "build"], "build"))  # "build" is Buildx' own word, too
def test_a_docker_context_is_used_for_all_of_it(docker: Docker, project: Path, name: str) -> None:
    host = docker.env.get("DOCKER_HOST", "unix:///var/run/docker.sock")
    docker.docker("context", "create", name, "--docker", f"host={host}")
    try:
        ran = docker.build(
            *("--docker-context", name, "--cache", "none", *docker.new_builder, *words(docker, project)),
            env={"DOCKER_HOST": "unix:///nonexistent.sock"},
        )
        assert all(command[1:3] == ["--context", name] for command in ran.report["commands"])
        assert docker.greeting("builders") == "one"
    finally:
        docker.docker("context", "rm", "--force", name)


def test_a_builder_by_another_context_of_the_same_socket_is_on_this_engine(docker: Docker, project: Path) -> None:
    """``docker context create`` and ``buildx create CONTEXT``, as people copy it: no tunnel, and no slower."""
    host, name = docker.env.get("DOCKER_HOST", "unix:///var/run/docker.sock"), f"same-{uuid.uuid4().hex[:8]}"
    docker.docker("context", "create", name, "--docker", f"host={host}")
    builder = f"{name}-builder"
    options = ("--name", builder, *docker.buildx_options, "--driver-opt", "network=host")
    cache = ("--cache", "local", "--cache-dir", str(project.parent / "cache"))
    try:
        docker.docker("buildx", "create", *options, name)
        ran = docker.build("--builder", builder, *cache, *words(docker, project))
        assert "tunnel" not in ran.report["cache"]["lazy"]["why"]
        assert ran.report["cache"]["lazy"]["exported"]
    finally:
        docker.docker("buildx", "rm", "--force", builder, check=False)
        docker.docker("context", "rm", "--force", name, check=False)


@pytest.mark.parametrize(("ci", "notes"), [({}, 1), ({"CIRCLECI": "true", "CIRCLE_BRANCH": "main"}, 2)], ids=["", "ci"])
def test_what_no_cache_helps_is_noted_once(docker: Docker, project: Path, ci: dict[str, str], notes: int) -> None:
    """The history that is copied with the context; in a CI, cache mounts too: the next job may be elsewhere."""
    (project / ".git").mkdir()
    (project / "Dockerfile").write_text(
        "ARG BASE\nFROM $BASE\nCOPY . /src\n" + 2 * "RUN --mount=type=cache,target=/kept true\n"
    )
    opt = ("--cache", "local", "--cache-dir", str(project.parent / "cache"), "--driver", "docker", "--no-prune")
    ran = docker.build(*opt, "--build-arg", f"BASE={docker.base}", str(project), env=ci)
    found = [line for line in ran.report["warnings"] if ".git" in line or "type=cache" in line]
    assert len(found) == notes, ran.report["warnings"]
