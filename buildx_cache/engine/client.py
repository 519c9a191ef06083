"""Extend python-on-whales' client where it falls short, and parse values that its models lack.

Each extension names the gap in python-on-whales 0.81; delete the extension when upstream closes the gap.
"""

from __future__ import annotations

import ast
import contextlib
import ipaddress
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import IO, TypeVar

import pydantic
from python_on_whales import DockerClient
from python_on_whales.components.buildx.cli_wrapper import BuildxCLI
from python_on_whales.components.image.cli_wrapper import ImageCLI
from python_on_whales.utils import run

from buildx_cache.engine.credentials import home_folder
from buildx_cache.engine.process import Completed, begin, capture, feed, follow
from buildx_cache.plan import Builder, BuildInvocation, Effect, ImageStore, Node, TlsEndpoint, parse_version
from buildx_cache.plan.effects import LoadImage
from buildx_cache.plan.facts import Registries

_CONTAINERD = "io.containerd.snapshotter"
# One driver option: buildx prints Go's `%s=%q`, in random order (``commands/inspect.go``).
_OPTION = re.compile(r'([^\s=]+)=("(?:[^"\\]|\\.)*")')


def store_of(driver_status: Sequence[Sequence[str]]) -> ImageStore:
    """Return the image store, from ``DriverStatus`` of ``docker info``."""
    is_containerd = any(value.startswith(_CONTAINERD) for _, value in driver_status)
    return ImageStore.CONTAINERD if is_containerd else ImageStore.CLASSIC


def registries_of(config: Mapping[str, object]) -> Registries:
    """Read ``RegistryConfig`` of ``docker info`` (moby's ``api/types/registry``); ignore values of other types."""
    indexes, networks, mirrors = (config.get(key) for key in ("IndexConfigs", "InsecureRegistryCIDRs", "Mirrors"))
    named = indexes.items() if isinstance(indexes, dict) else ()
    return Registries(
        insecure=tuple(
            sorted(name for name, index in named if isinstance(index, dict) and index.get("Secure") is False)
        ),
        insecure_networks=tuple(sorted(text for text in _texts(networks) if not _is_loopback(text))),
        mirrors=tuple(text.rstrip("/") for text in _texts(mirrors)),
    )


def _texts(value: object) -> Iterator[str]:
    return (text for text in value if isinstance(text, str)) if isinstance(value, list) else iter(())


def _is_loopback(network: str) -> bool:
    """Return whether a network has only loopback addresses; these need no configuration."""
    try:
        return ipaddress.ip_network(network).is_loopback
    except ValueError:
        return False


def gateway_of(pools: Sequence[Mapping[str, str]]) -> str:
    """Return the IPv4 gateway of a network's address pools, else the IPv6 one, else the empty string."""
    return min(filter(None, map(_gateway, pools)), key=lambda address: ":" in address, default="")


def _gateway(pool: Mapping[str, str]) -> str:
    """Return a pool's gateway; if only the subnet is known, its first address, as Docker does."""
    if pool.get("Gateway") or pool.get("IPRange") or not pool.get("Subnet"):
        return pool.get("Gateway", "").partition("/")[0]
    return str(next(iter(ipaddress.ip_network(pool["Subnet"]).hosts()), ""))


def parse_builder(text: str) -> Builder | None:
    """Parse the output of ``docker buildx inspect``, which has no machine-readable form; None if it names no driver.

    The output has a head (Name, Driver), then ``Nodes:`` and one block a node; each block starts with a Name
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
    """Return driver options, sorted by name. Go's quoting is valid Python, too."""
    return tuple(sorted((name, str(ast.literal_eval(value))) for name, value in _OPTION.findall(text)))


def _fields(lines: list[str]) -> dict[str, str]:
    """Return the ``Key: value`` lines that are not indented, keys in lower case; the first line of a key counts."""
    fields: dict[str, str] = {}
    for line in lines:
        key, colon, value = line.partition(":")
        if colon and key and not key[0].isspace():
            fields.setdefault(key.strip().lower(), value.strip())
    return fields


def tls_from_environment(env: Mapping[str, str]) -> TlsEndpoint | None:
    """Return the engine that ``DOCKER_HOST`` names with TLS from ``DOCKER_CERT_PATH``, or None.

    Any value of ``DOCKER_TLS_VERIFY`` or ``DOCKER_TLS`` turns TLS on; an empty ``DOCKER_TLS_VERIFY`` counts as not set
    (``docker/cli`` ``cli/flags/options.go``).
    """
    host = env.get("DOCKER_HOST", "")
    verify = bool(env.get("DOCKER_TLS_VERIFY"))
    if not host.startswith("tcp://") or not (verify or env.get("DOCKER_TLS")):
        return None
    folder = env.get("DOCKER_CERT_PATH") or str(home_folder(env) / ".docker")
    scheme, _, address = host.partition("//")
    host = f"{scheme}//{address.rpartition('@')[2]}"  # drop a login: the docker command ignores it, and would show it
    return TlsEndpoint(host=host, cert_path=folder, verify=verify)


_Model = TypeVar("_Model", bound=pydantic.BaseModel)


class Buildx(BuildxCLI):
    """``docker buildx``."""

    @contextlib.contextmanager
    def inspecting(self, name: str = "") -> Iterator[Callable[[], Builder | None]]:
        """Start to inspect a builder, the current one by default; yield a function that waits for the result.

        The result is None if there is no such builder. Upstream's ``inspect`` lists all builders and waits for each of
        them, and it cannot run beside other commands.
        """
        words = [*self.docker_cmd, "buildx", "inspect", *([name] if name else [])]

        def answer() -> Builder | None:
            done = end()
            return parse_builder(done.stdout) if done.code == 0 else None

        with begin(tuple(map(str, words))) as end:
            yield answer

    def follow_build(
        self,
        build: BuildInvocation,
        *,
        env: Mapping[str, str],
        stdin: int | None,
        on_stderr: Callable[[bytes], None],
        on_interrupt: Callable[[], None],
    ) -> int:
        """Run a build and return its exit code; see ``process.follow`` for the callbacks.

        Upstream's ``build`` cannot be cancelled, mixes stdout with stderr, takes one ``cache_to``, quotes no CSV, and
        lacks ``--annotation``, ``--no-cache-filter``, ``--shm-size``, ``--ulimit``, ``--cgroup-parent``.

        Stdout is discarded unless the build is to print there: any frontend can print a message through Buildx
        (``frontend.result.inlinemessage`` in ``commands/build.go``).
        """
        words = tuple(map(str, [*self.docker_cmd, *build.argv]))
        return follow(words, env=env, on_stderr=on_stderr, on_interrupt=on_interrupt, stdin=stdin, prints=build.prints)


class Images(ImageCLI):
    """``docker image``."""

    def load_from(self, effect: LoadImage, write: Callable[[IO[bytes]], None], *, env: Mapping[str, str]) -> Completed:
        """Load an archive that ``write`` writes. Upstream's ``load`` drops the reason of a failure."""
        return feed(tuple(map(str, [*self.docker_cmd, *effect.argv])), env=env, write=write)


class Docker(DockerClient):
    """The Docker command line in one context."""

    buildx: Buildx
    image: Images

    def __init__(self, context: str = "") -> None:
        super().__init__(context=context or None)
        self.buildx = Buildx(self.client_config)
        self.image = Images(self.client_config)

    def called(self) -> str:
        """Return the output of ``docker --version``; upstream has no such call. The command may be podman's."""
        return str(run([*self.docker_cmd, "--version"], return_stderr=False))

    def inspect_one(self, model: type[_Model], kind: str, name: str) -> _Model:
        """Inspect a context, a network or an image.

        Upstream's ``inspect`` writes an output that it cannot parse to a file in the temporary directory.

        Args:
            model: upstream's model of the output.
            kind: ``context``, ``network`` or ``image``.
            name: the name of the object.

        Raises:
            DockerException: there is no object of that name.
            pydantic.ValidationError: the output does not fit the model.
        """
        said = run([*self.docker_cmd, kind, "inspect", name], return_stderr=False)
        return pydantic.TypeAdapter(tuple[model]).validate_json(said)[0]  # type: ignore[valid-type]

    def perform(self, effect: Effect, *, env: Mapping[str, str], stdin: bytes = b"") -> Completed:
        """Carry out a short effect of a plan. If this program ends early, the command ends, too.

        In upstream, a signal kills ``docker`` alone and its plugin continues; if this program is killed, both continue.
        Besides, ``buildx.create`` has no ``--node`` and quotes no driver option, ``buildx.inspect`` lists all builders
        after ``--bootstrap``, ``buildx.prune`` has no ``--builder`` and no limit of space, ``context.create`` quotes no
        endpoint, ``volume.remove`` has no ``--force``, and ``login`` prints to our stdout and drops the reason of a
        failure.
        """
        return capture(tuple(map(str, [*self.docker_cmd, *effect.argv])), env=env, stdin=stdin)
