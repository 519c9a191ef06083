"""What is there: reading the answers of ``docker buildx inspect`` and the environment's TLS settings."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from buildx_cache.plan import Builder, Node, TlsEndpoint, parse_version


def parse_builder(text: str) -> Builder | None:
    """Read ``docker buildx inspect``, which has no machine-readable form; None if it names no driver.

    A head (Name, Driver), then ``Nodes:`` and one block a node, each starting with its Name
    (buildx' ``commands/inspect.go``).
    """
    head, _, rest = text.partition("Nodes:")
    fields = _fields(head.splitlines())
    if "driver" not in fields:
        return None
    return Builder(name=fields.get("name", ""), driver=fields["driver"], nodes=_nodes(rest))


def _nodes(text: str) -> tuple[Node, ...]:
    blocks: list[list[str]] = []
    for line in text.splitlines():
        if line.startswith("Name:"):
            blocks.append([])
        if blocks:
            blocks[-1].append(line)
    return tuple(_node(_fields(lines)) for lines in blocks)


def _node(fields: Mapping[str, str]) -> Node:
    platforms = fields.get("platforms", "").replace("*", "").split(",")
    return Node(
        name=fields.get("name", ""),
        endpoint=fields.get("endpoint", ""),
        status=fields.get("status", ""),
        buildkit=parse_version(fields.get("buildkit version") or fields.get("buildkit", "")),
        platforms=tuple(name for platform in platforms if (name := platform.strip())),
    )


def _fields(lines: list[str]) -> dict[str, str]:
    """``Key: value`` lines that are not indented; the first of each key."""
    fields: dict[str, str] = {}
    for line in lines:
        key, colon, value = line.partition(":")
        if colon and key and not key[0].isspace():
            fields.setdefault(key.strip().lower(), value.strip())
    return fields


def tls_from_environment(env: Mapping[str, str]) -> TlsEndpoint | None:
    """The engine that ``DOCKER_HOST`` names with TLS from ``DOCKER_CERT_PATH``, or None.

    Whether TLS is used at all is ``DOCKER_TLS_VERIFY`` being set, to whatever, or ``DOCKER_TLS``; an empty
    ``DOCKER_TLS_VERIFY`` counts as not set (``docker/cli`` ``cli/flags/options.go``).
    """
    host = env.get("DOCKER_HOST", "")
    verify = bool(env.get("DOCKER_TLS_VERIFY"))
    if not host.startswith("tcp://") or not (verify or env.get("DOCKER_TLS")):
        return None
    folder = env.get("DOCKER_CERT_PATH") or str(Path(env.get("HOME") or Path.home()) / ".docker")
    return TlsEndpoint(host=host, cert_path=folder, verify=verify)
