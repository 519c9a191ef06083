"""What a container builder takes over from an engine that cannot do the job itself."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
import trustme

from tests.integration.conftest import Docker
from tests.integration.fronts import second_address
from tests.selection import quick


@pytest.fixture
def own_engine(special: Callable[[str, str], Docker]) -> Docker:
    """An engine that no other test uses, so that its configuration may change; its store is the classic one."""
    return special("trixie", "classic")


@pytest.fixture
def second_registry(own_engine: Docker) -> Iterator[str]:
    """The engine's registry at an address that is not loopback, and that its containers reach."""
    (pool,) = json.loads(own_engine.docker("network", "inspect", "bridge"))[0]["IPAM"]["Config"]
    with second_address(own_engine.registry, pool["Gateway"]) as address:
        yield address


@contextlib.contextmanager
def configured(docker: Docker, setting: str, *values: str) -> Iterator[None]:
    """Reload the engine with a list in its daemon.json, and in the end with an empty one."""
    folder = Path(docker.env["DOCKER_HOST"].removeprefix("unix://")).parent
    config, pid = folder / "daemon.json", int((folder / "dockerd.own.pid").read_text())
    before = config.read_text()

    def reload(texts: tuple[str, ...]) -> None:
        known = registry_config(docker)
        config.write_text(json.dumps({**json.loads(before), setting: texts}))
        os.kill(pid, signal.SIGHUP)
        deadline = time.monotonic() + 120
        while registry_config(docker) == known:
            assert time.monotonic() < deadline, "the engine does not take its new configuration"
            time.sleep(0.05)

    reload(values)
    try:
        yield
    finally:
        reload(())
        config.write_text(before)


def registry_config(docker: Docker) -> Mapping[str, object]:
    said = dict(json.loads(docker.docker("info", "--format", "{{json .RegistryConfig}}")))
    return {**said, "InsecureRegistryCIDRs": sorted(said["InsecureRegistryCIDRs"])}  # in no order


def test_a_registry_that_is_insecure_to_the_engine_is_so_to_its_builder(
    own_engine: Docker, project: Path, second_registry: str
) -> None:
    docker = own_engine
    words = (
        *("-t", f"{second_registry}/taken/over:1", "--push", "--cache", "registry", *docker.builder_image),
        *("--build-arg", f"BASE={second_registry}/library/busybox:1", "--rm-builder", str(project)),
    )
    with configured(docker, "insecure-registries", second_registry, "10.9.0.0/16"):
        planned = docker.tool("plan", "--format", "json", *words)
        said = json.loads(planned.stdout)["builder"]["registries"]
        assert said["insecure"] == [second_registry]
        assert "10.9.0.0/16" in said["left_out"][0]
        doctor = docker.tool("doctor")
        assert second_registry in doctor.stdout
        assert "10.9.0.0/16" in doctor.stdout
        ran = docker.build(*words)
        again = docker.build(*words)
    assert ran.report["images"]["default"]["pushed"] is True
    assert [export["status"] for export in ran.report["cache"]["exports"]] == ["written"]
    assert again.steps == (3, 3, 0)
    assert docker.left_in_scratch() == []


def test_a_mirror_of_the_engine_is_one_of_its_builder(own_engine: Docker, project: Path, second_registry: str) -> None:
    docker = own_engine
    words = (
        *("-t", "taken-over", "--load", "--cache", "local", "--cache-dir", str(project.parent / "cache")),
        *(*docker.builder_image, "--build-arg", "BASE=busybox:1", "--rm-builder", str(project)),
    )
    with configured(docker, "registry-mirrors", f"http://{second_registry}"):
        docker.build(*words)
    assert docker.greeting("taken-over") == "one"


def test_a_changed_configuration_is_another_builder(own_engine: Docker, project: Path) -> None:
    docker = own_engine
    words = ("plan", "--format", "json", "-t", "taken-over", "--load", "--driver", "docker-container", str(project))

    def name() -> str:
        return str(json.loads(docker.tool(*words).stdout)["builder"]["name"])

    before = name()
    with configured(docker, "insecure-registries", "registry.test:5000"):
        during = name()
    assert during != before
    assert name() == before


def test_the_lines_of_a_plan_make_the_same_builder(own_engine: Docker, project: Path) -> None:
    docker = own_engine
    words = (
        *("-t", "taken-over", "--load", "--cache", "none", "--driver", "docker-container", *docker.builder_image),
        *("--build-arg", f"BASE={docker.base}", str(project)),
    )
    (project / "Dockerfile").write_text("FROM scratch\nCOPY word /word\n")
    with configured(docker, "insecure-registries", "registry.test:5000"):
        lines = docker.tool("plan", *words).stdout.splitlines()
        builder = json.loads(docker.tool("plan", "--format", "json", *words).stdout)["builder"]
        name = builder["name"]
        making = [line for line in lines if line.startswith(("mkdir ", "docker buildx create "))]
        try:
            subprocess.run(("sh", "-ec", "\n".join(making)), env=docker.child_env(), check=True)
            ran = docker.build(*words)
            made = docker.docker("exec", f"buildx_buildkit_{name}0", "cat", "/etc/buildkit/buildkitd.toml")
        finally:
            docker.docker("buildx", "rm", name, check=False)
            Path(builder["config"]["file"]).unlink()
    assert ran.report["builder"] == {**ran.report["builder"], "name": name, "created": False}
    assert "registry.test:5000" in made


@pytest.mark.parametrize("host", quick(["localhost", "127.0.0.1"], "localhost"))
def test_a_registry_on_loopback_is_reached_by_a_made_builder(classic_docker: Docker, project: Path, host: str) -> None:
    docker = classic_docker
    registry = docker.registry.replace("127.0.0.1", host)
    (project / "Dockerfile").write_text(f"FROM {registry}/library/busybox:1\nCOPY word /word\nRUN cat /word\n")
    words = (
        *("-t", f"{registry}/taken/{project.parent.name.lower()}:1", "--push", "--cache", "registry"),
        *(*docker.builder_image, "--rm-builder", str(project)),
    )
    ran = docker.build(*words)
    assert [export["status"] for export in ran.report["cache"]["exports"]] == ["written"]
    assert docker.build(*words).report["cache"]["hit_ratio"] == 1.0


def test_a_base_image_on_loopback_takes_the_callers_word(classic_docker: Docker, project: Path) -> None:
    """A Dockerfile does not have its steps share the host's network."""
    docker = classic_docker
    words = (
        *("-t", "taken-over", "--load", "--cache", "local", "--cache-dir", str(project.parent / "cache")),
        *(*docker.builder_image, "--build-arg", f"BASE={docker.base}", "--rm-builder", str(project)),
    )
    ran = docker.tool("build", *words)
    assert (ran.code, ran.report["error"]["code"]) == (5, "registry-on-loopback")
    assert "network=host" in ran.stderr
    docker.build("--driver-opt", "network=host", *words)
    assert docker.greeting("taken-over") == "one"


def test_a_builder_with_a_loopback_of_its_own_is_told_so_at_once(classic_docker: Docker, project: Path) -> None:
    docker = classic_docker
    words = ("-t", f"{docker.registry}/taken/over:1", "--push", "--cache", "registry", "--driver-opt", "network=bridge")
    (project / "Dockerfile").write_text("FROM scratch\nCOPY word /word\n")
    ran = docker.tool("build", *words, *docker.builder_image, "--rm-builder", str(project))
    assert (ran.code, ran.report["error"]["code"]) == (5, "registry-on-loopback")
    assert ran.report["retries"] == []


@pytest.fixture
def only_here(classic_docker: Docker, tmp_path: Path) -> Iterator[str]:
    """An image that no registry has."""
    docker, name = classic_docker, f"only-here-{tmp_path.name.lower().replace('_', '-')[-20:].strip('-')}:local"
    (folder := tmp_path / "base").mkdir()
    (folder / "Dockerfile").write_text(f"FROM {docker.base}\nRUN echo base > /base\n")
    docker.docker("build", "--quiet", "--tag", name, str(folder))
    yield name
    docker.docker("image", "rm", "--force", name)


USES = {
    "from": ("FROM {image}\nCOPY word /word\nRUN cat /word /base > /said\n", ()),
    "copy": ("FROM {base}\nCOPY --from={image} /base /base\nCOPY word /word\nRUN cat /word /base > /said\n", ()),
    "mount": ("FROM {base}\nCOPY word /word\nRUN --mount=from={image},target=/b cat /word /b/base > /said\n", ()),
    "context": (
        "FROM x\nCOPY word /word\nRUN cat /word /base > /said\n",
        ("--build-context", "x=docker-image://{image}"),
    ),
}


@pytest.mark.parametrize("use", quick(USES, "from"))
def test_an_image_that_only_the_engine_has_is_handed_over(
    classic_docker: Docker, project: Path, only_here: str, use: str
) -> None:
    docker, (text, options) = classic_docker, USES[use]
    (project / "Dockerfile").write_text(text.format(image=only_here, base=docker.base) + "CMD cat /said\n")
    words = (
        *("-t", "taken-over", "--load", "--cache", "local", "--cache-dir", str(project.parent / "cache")),
        *(*docker.builder_image, *(option.format(image=only_here) for option in options), "--rm-builder", str(project)),
    )
    docker.build(*words)
    assert docker.greeting("taken-over") == "one\nbase"
    again = docker.build(*words)
    assert again.report["cache"]["hit_ratio"] == 1.0
    assert docker.left_in_scratch() == []


def test_an_image_of_the_containerd_store_is_handed_over_where_its_registry_denies_it(
    docker: Docker, project: Path
) -> None:
    """To that store, every image has a digest in the registry of its name, pushed or not."""
    image = docker.repository().replace(docker.registry, docker.auth_registry) + ":local"
    docker.docker("build", "--quiet", "--tag", image, "--build-arg", f"BASE={docker.base}", str(project))
    try:
        (project / "Dockerfile").write_text(f"FROM {image}\nRUN cat /said > /again\nCMD cat /again\n")
        docker.build("-t", "taken-over", "--load", "--cache", "none", *docker.new_builder, "--rm-builder", str(project))
        assert docker.greeting("taken-over") == "one"
    finally:
        docker.docker("image", "rm", "--force", image)


@pytest.mark.parametrize("kind", quick(["docker", "old_docker"], "docker"))
def test_a_registrys_certificates_are_copied_into_the_builder(
    request: pytest.FixtureRequest, project: Path, tmp_path: Path, kind: str
) -> None:
    docker: Docker = request.getfixturevalue(kind)
    config, authority, own = tmp_path / "config", trustme.CA(), docker.env.get("DOCKER_CONFIG")
    docker.copy_configuration(config)
    (folder := config / "certs.d/registry.test:5000").mkdir(parents=True)
    authority.cert_pem.write_to_path(str(folder / "ca.crt"))
    env = {"DOCKER_CONFIG": str(config), "BUILDX_CONFIG": str(Path(own or Path.home() / ".docker") / "buildx")}
    words = (*docker.container_builder, "--cache", "none", "--build-arg", f"BASE={docker.base}", str(project))
    name = docker.build(*words, env=env).report["builder"]["name"]
    try:
        made = f"buildx_buildkit_{name}0"
        toml = tomllib.loads(docker.docker("exec", made, "cat", "/etc/buildkit/buildkitd.toml"))
        (copied,) = toml["registry"]["registry.test:5000"]["ca"]
        assert docker.docker("exec", made, "cat", copied) == authority.cert_pem.bytes().decode().strip()
    finally:
        docker.docker("buildx", "rm", name)
