"""What is there: reading the answers of ``docker``, and the environment's TLS settings."""

from __future__ import annotations

import ast
import ipaddress
import re
from collections.abc import Mapping, Sequence

from buildx_cache.engine.paths import home_folder
from buildx_cache.plan import Builder, Node, Store, TlsEndpoint, parse_version

_CONTAINERD = "io.containerd.snapshotter"
# One driver option: buildx prints Go's `%s=%q`, in no order (its ``commands/inspect.go``).
_OPTION = re.compile(r'([^\s=]+)=("(?:[^"\\]|\\.)*")')


def store_of(driver_status: Sequence[Sequence[str]]) -> Store:
    """Tell the image store from what the engine says of its storage driver."""
    is_containerd = any(value.startswith(_CONTAINERD) for _, value in driver_status)
    return Store.CONTAINERD if is_containerd else Store.CLASSIC


def gateway_of(pools: Sequence[Mapping[str, str]]) -> str:
    """Return the IPv4 gateway of a network's address pools, else the IPv6 one, else the empty string."""
    return min(filter(None, map(_gateway, pools)), key=lambda address: ":" in address, default="")


def _gateway(pool: Mapping[str, str]) -> str:
    """Docker does not tell the gateway where only the subnet was given: it takes the first address then."""
    if pool.get("Gateway") or pool.get("IPRange") or not pool.get("Subnet"):
        return pool.get("Gateway", "").partition("/")[0]
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
