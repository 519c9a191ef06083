"""A folder is served to every node of a builder, each of which has a loopback of its own: all find it at one port."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from buildx_cache import layout
from buildx_cache.engine.pods import pod_entrances
from buildx_cache.engine.tunnel import tunnel
from buildx_cache.plan import Builder, Node
from buildx_cache.serve import serve
from tests.integration.conftest import Docker, Ran
from tests.unit.layout.layouts import Layout

LARGE = 1_000_000
PLATFORMS = ("linux/amd64", "linux/arm64")
_DOCKERFILE = (
    "FROM scratch AS large\nCOPY large /large\nFROM scratch\nARG TARGETARCH\nCOPY --from=large /large /$TARGETARCH\n"
)
STAND_IN = """\
#!/bin/sh
# A stand-in for kubectl: the pods are containers of Docker's, and are entered by `docker exec`.
while [ "${1#--}" != "$1" ]; do shift; done
case $1 in
get) printf 'pod/%s\\n' $STAND_IN_PODS ;;
exec)
  [ "$2 $4 $5 $6" = "--stdin --container buildkitd --" ] || exit 64
  pod=${3#pod/}
  shift 6
  exec docker exec --interactive "$pod" "$@"
  ;;
*) exit 64 ;;
esac
"""


@contextmanager
def two_engines(far: Docker, near: Docker) -> Iterator[str]:
    """A builder with a node on either engine, of which one is another machine's."""
    mark = uuid.uuid4().hex[:8]
    keys = (f"{name}={far.env['DOCKER_CERT_PATH']}/{name}.pem" for name in ("ca", "cert", "key"))
    contexts = {
        f"far-{mark}": (far, ",".join((f"host={far.env['DOCKER_HOST']}", *keys))),
        f"near-{mark}": (near, f"host={near.env['DOCKER_HOST']}"),
    }
    builder = f"fleet-{mark}"
    try:
        for (name, (docker, endpoint)), platform in zip(contexts.items(), PLATFORMS, strict=True):
            far.docker("context", "create", name, "--docker", endpoint)
            first = not name.startswith("near")
            options = docker.buildx_options if first else docker.buildx_options[2:]
            which = ("--name", builder, "--node", f"{builder}-{name}", "--platform", platform)
            far.docker("buildx", "create", *which, *(() if first else ("--append",)), "--bootstrap", *options, name)
        yield builder
    finally:
        far.docker("buildx", "rm", "--force", builder, check=False)
        for name in contexts:
            far.docker("context", "rm", "--force", name, check=False)


@pytest.mark.soak
def test_each_node_reads_a_folder_through_a_tunnel_of_its_own(
    remote_docker: Docker, docker: Docker, tmp_path: Path
) -> None:
    source, cache = tmp_path / "project", tmp_path / "cache"
    source.mkdir()
    (source / "Dockerfile").write_text(_DOCKERFILE)
    (source / "large").write_bytes(os.urandom(LARGE))
    with two_engines(remote_docker, docker) as builder:
        words = ("--builder", builder, "--cache", "local", "--cache-dir", str(cache), "--platform", ",".join(PLATFORMS))

        def build() -> Ran:
            ran = remote_docker.build(*words, "--no-prune", str(source))
            assert ran.report["retries"] == []
            return ran

        first = build()
        remote_docker.docker("buildx", "prune", "--builder", builder, "--all", "--force")
        again = build().report["cache"]
        plan = remote_docker.tool("plan", *words, str(source)).stdout

    assert first.steps[1] == 0
    assert again["steps"]["executed"] == 0
    assert again["lazy"]["used"]
    assert 0 < again["lazy"]["bytes"] < LARGE
    assert [each["status"] for each in again["imports"]] == ["hit", "hit"]
    assert again["lazy"]["why"] in plan
    folders = [index.parent for index in cache.rglob("index.json")]
    assert len(folders) == len(PLATFORMS)
    assert [layout.verify(folder, deep=True) for folder in folders] == [(), ()]
    assert remote_docker.left_in_scratch() == []


@contextmanager
def containers(docker: Docker, count: int) -> Iterator[tuple[str, ...]]:
    names = tuple(f"pod-{uuid.uuid4().hex[:8]}" for _ in range(count))
    (_, image) = docker.builder_image
    try:
        for name in names:
            docker.docker("run", "--detach", "--rm", "--name", name, "--entrypoint", "sleep", image, "600")
        yield names
    finally:
        docker.docker("rm", "--force", *names, check=False)


def test_pods_are_entered_by_kubectl_of_which_a_stand_in_is_here(remote_docker: Docker, tmp_path: Path) -> None:
    folder = Layout(tmp_path / "cache")
    folder.tag("latest", folder.cache([b"one"]))
    folder.write_index()
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "kubectl").write_text(STAND_IN)
    (programs / "kubectl").chmod(0o755)
    nodes = (Node(name="cluster0", endpoint="kubernetes:///cluster?deployment=cluster0&kubeconfig="),)
    with containers(remote_docker, 2) as pods, serve(folder.folder) as served:
        env = remote_docker.child_env(STAND_IN_PODS=" ".join(pods))
        env["PATH"] = f"{programs}:{env['PATH']}"
        enters = pod_entrances(Builder(name="cluster", driver="kubernetes", nodes=nodes), env)
        assert len(enters) == len(pods)
        with tunnel(enters, [served.port], env=env) as there:
            path = f"/v2/{served.reference().partition('/')[2].replace(':', '/manifests/')}"
            ask = f"wget -q -O - http://127.0.0.1:{there[served.port]}{path}"
            answers = {remote_docker.docker("exec", pod, "sh", "-c", ask) for pod in pods}
        assert len(answers) == 1
        assert "application/vnd.buildkit.cacheconfig.v0" in answers.pop()
        assert served.requests.manifests == len(pods)
