"""Find the pods of a ``kubernetes`` builder, and the command that enters each: ``kubectl exec``."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from urllib.parse import parse_qs, urlsplit

from buildx_cache.engine.process import capture_within
from buildx_cache.errors import ExhaustedError
from buildx_cache.plan.facts import Builder, Node
from buildx_cache.redaction import redact

# Seconds, and bytes of output; a distant cluster is slow.
_LIMITS = (60.0, 1 << 16)
_POD = re.compile(r"pod/[a-z0-9][a-z0-9.-]{0,252}")
_CONTAINER = "buildkitd"  # of buildx' driver/kubernetes/manifest


def pod_entrances(builder: Builder, env: Mapping[str, str]) -> tuple[tuple[str, ...], ...]:
    """Return the command that runs another command in a pod, for each running pod of the builder.

    Buildx spreads builds over the pods of a node (``driver/kubernetes/podchooser``).

    Raises:
        ExhaustedError: ``kubectl`` is missing, does not answer, or finds no pod.
    """
    found = tuple(enter for node in builder.nodes for enter in _entrances(node, env))
    if not found:
        raise _failed("no pod of it runs")
    return found


def _entrances(node: Node, env: Mapping[str, str]) -> Iterator[tuple[str, ...]]:
    query = parse_qs(urlsplit(node.endpoint).query)
    flags = {"--kubeconfig": query.get("kubeconfig", [""])[0], "--namespace": dict(node.options).get("namespace", "")}
    kubectl = ("kubectl", *(f"{name}={value}" for name, value in flags.items() if value))
    app = node.name.replace("_", "-")  # buildx' driver/kubernetes/factory.go
    running = ("--selector", f"app={app}", "--field-selector", "status.phase=Running")
    try:
        done = capture_within((*kubectl, "get", "pods", *running, "--output", "name"), env=env, within=_LIMITS)
    except OSError as error:
        raise _failed(f"kubectl: {error.strerror or error}") from None
    if done.code != 0:
        raise _failed(done.stderr.strip() or "kubectl gives no reason")
    for pod in filter(_POD.fullmatch, done.stdout.split()):
        yield (*kubectl, "exec", "--stdin", pod, "--container", _CONTAINER, "--")


def _failed(said: str) -> ExhaustedError:
    return ExhaustedError(
        f"the builder's pods are not found: {redact(said.splitlines()[-1])}",
        code="tunnel-failed",
        hint="install kubectl, and check that `kubectl get pods` lists them",
    )
