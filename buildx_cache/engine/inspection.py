"""What is there: reading the answers of ``docker``, and the environment's TLS settings."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from buildx_cache.engine.home import home_folder
from buildx_cache.plan import Builder, Node, Store, TlsEndpoint, parse_version
from buildx_cache.plan.facts import Version

_CONTAINERD = "io.containerd.snapshotter"
# One driver option: buildx prints Go's `%s=%q`, in no order (its ``commands/inspect.go``).
_OPTION = re.compile(r'([^\s=]+)=("(?:[^"\\]|\\.)*")')


@dataclass(frozen=True, kw_only=True)
class EngineInfo:
    """What ``docker info`` says of the engine and of the command line's plugins."""

    docker: str = ""
    buildx: Version | None = None
    """None: there is no such plugin."""
    store: Store = Store.CLASSIC
    name: str = ""
    system: str = ""
    security: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()
    """Why the engine did not answer: older command lines say so here, and end well (docker/cli#5900)."""


def parse_info(text: str) -> EngineInfo:
    """Read ``docker info --format {{json .}}``; what is not there stays empty.

    Raises:
        ValueError: it is something else.
    """
    try:
        return _info(json.loads(text))
    except (AttributeError, TypeError, RecursionError) as error:
        raise ValueError("not what docker info says") from error


def _info(said: Any) -> EngineInfo:  # noqa: ANN401 -- whatever JSON can say
    client = said.get("ClientInfo") or {}
    plugins = {plugin.get("Name"): plugin.get("Version") or "" for plugin in client.get("Plugins") or ()}
    status = said.get("DriverStatus") or ()
    containerd = any(value.startswith(_CONTAINERD) for _, value in status)
    return EngineInfo(
        docker=said.get("ServerVersion") or "",
        buildx=parse_version(plugins["buildx"]) if "buildx" in plugins else None,
        store=Store.CONTAINERD if containerd else Store.CLASSIC,
        name=said.get("Name") or "",
        system=said.get("OperatingSystem") or "",
        security=tuple(said.get("SecurityOptions") or ()),
        errors=tuple(said.get("ServerErrors") or ()),
    )


def parse_gateway(text: str) -> str:
    """Read the address configuration of ``docker network inspect``: the IPv4 gateway, else the IPv6 one, else empty."""
    gateways = [_gateway(pool) for pool in json.loads(text) or ()]
    return min(filter(None, gateways), key=lambda address: ":" in address, default="")


def _gateway(pool: Mapping[str, str]) -> str:
    """Docker does not tell the gateway where only the subnet was given: it takes the first address then."""
    if pool.get("Gateway") or pool.get("IPRange") or not pool.get("Subnet"):
        return pool.get("Gateway", "").partition("/")[0]
    import ipaddress

    return str(next(iter(ipaddress.ip_network(pool["Subnet"]).hosts()), ""))


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
        options=_options(fields.get("driver options", "")),
    )


def _options(text: str) -> tuple[tuple[str, str], ...]:
    """Driver options by name. What Go quotes is also quoted for Python."""
    return tuple(sorted((name, str(ast.literal_eval(value))) for name, value in _OPTION.findall(text)))


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
    folder = env.get("DOCKER_CERT_PATH") or str(home_folder(env) / ".docker")
    scheme, _, address = host.partition("//")
    host = f"{scheme}//{address.rpartition('@')[2]}"  # the docker command passes over a login, and would show it
    return TlsEndpoint(host=host, cert_path=folder, verify=verify)
