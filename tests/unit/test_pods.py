"""The pods of a builder in a cluster, and what is made of a kubectl that says what it likes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from buildx_cache.engine import pods
from buildx_cache.engine.process import Completed
from buildx_cache.errors import ExhaustedError
from buildx_cache.plan import Builder, Node

BUILDER = Builder(
    name="fleet",
    driver="kubernetes",
    nodes=(
        Node(
            name="fleet_one0",
            endpoint="kubernetes:///fleet?deployment=fleet_one0&kubeconfig=%2Fhome%2Fme%2Fkube",
            options=(("namespace", "builds"), ("replicas", "2")),
        ),
        Node(name="two", endpoint="kubernetes:///fleet?deployment=two&kubeconfig="),
    ),
)


def answering(monkeypatch: pytest.MonkeyPatch, answer: Callable[[tuple[str, ...]], Completed]) -> list[tuple[str, ...]]:
    asked: list[tuple[str, ...]] = []

    def capture_within(argv: tuple[str, ...], **_: Any) -> Completed:  # noqa: ANN401
        asked.append(argv)
        return answer(argv)

    monkeypatch.setattr(pods, "capture_within", capture_within)
    return asked


def test_every_running_pod_of_every_node_is_entered(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {"app=fleet-one0": "pod/fleet-one0-a\npod/fleet-one0-b\n", "app=two": "pod/two-c\n"}
    asked = answering(monkeypatch, lambda argv: Completed(code=0, stdout=known[argv[argv.index("--selector") + 1]]))
    there = ("kubectl", "--kubeconfig=/home/me/kube", "--namespace=builds", "exec", "--stdin")
    assert pods.pod_entrances(BUILDER, {}) == (
        (*there, "pod/fleet-one0-a", "--container", "buildkitd", "--"),
        (*there, "pod/fleet-one0-b", "--container", "buildkitd", "--"),
        ("kubectl", "exec", "--stdin", "pod/two-c", "--container", "buildkitd", "--"),
    )
    assert all("status.phase=Running" in argv for argv in asked)


def missing(_: tuple[str, ...]) -> Completed:
    raise FileNotFoundError(2, "No such file or directory")


@pytest.mark.parametrize(
    "answer",
    [
        missing,
        lambda _: Completed(code=0),
        lambda _: Completed(code=0, stdout="--help\npod/../x\nnode/one\npod/-x\n"),
        lambda _: Completed(code=1, stderr="error: You must be logged in to the server (Unauthorized)\n"),
        lambda _: Completed(code=1),
    ],
    ids=["no kubectl", "no pod", "no name of a pod", "refused", "refused for no reason"],
)
def test_where_no_pod_is_found_there_is_no_tunnel(
    monkeypatch: pytest.MonkeyPatch, answer: Callable[[tuple[str, ...]], Completed]
) -> None:
    answering(monkeypatch, answer)
    with pytest.raises(ExhaustedError) as raised:
        pods.pod_entrances(BUILDER, {})
    assert raised.value.code == "tunnel-failed"
