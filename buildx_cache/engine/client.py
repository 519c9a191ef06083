"""python-on-whales' client, extended where it falls short. Each extension names the gap, and goes when that closes.

The gaps are those of python-on-whales 0.81.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import IO

from python_on_whales import DockerClient
from python_on_whales.components.buildx.cli_wrapper import BuildxCLI
from python_on_whales.components.context.cli_wrapper import ContextCLI
from python_on_whales.components.image.cli_wrapper import ImageCLI
from python_on_whales.components.volume.cli_wrapper import VolumeCLI
from python_on_whales.utils import run

from buildx_cache.engine.inspection import parse_builder
from buildx_cache.engine.process import Completed, feed, follow
from buildx_cache.plan import Builder, BuildInvocation
from buildx_cache.plan.steps import BootBuilder, CreateContext, CreateNode, LoadImage, LogIn, PruneBuilder, RemoveVolume


class Buildx(BuildxCLI):
    """``docker buildx``."""

    def find(self, name: str = "") -> Builder | None:
        """Inspect one builder, the current one by default. Upstream's ``inspect`` lists all, and waits for each.

        Raises:
            DockerException: there is no such builder.
        """
        words = ["buildx", "inspect", name] if name else ["buildx", "inspect"]
        return parse_builder(run([*self.docker_cmd, *words], return_stderr=False))

    def create_node(self, node: CreateNode) -> None:
        """Create or extend a builder. Upstream's ``create`` has no ``--node`` and does not quote driver options."""
        run([*self.docker_cmd, *node.argv])

    def boot(self, step: BootBuilder) -> None:
        """Boot a builder. Upstream's ``inspect`` lists all builders afterwards."""
        run([*self.docker_cmd, *step.argv])

    def prune_builder(self, step: PruneBuilder) -> None:
        """Prune the cache of one builder. Upstream's ``prune`` has no ``--builder`` and no limit of space."""
        run([*self.docker_cmd, *step.argv])

    def follow_build(
        self,
        build: BuildInvocation,
        *,
        env: Mapping[str, str],
        stdin: int | None,
        on_stderr: Callable[[bytes], None],
    ) -> int:
        """Build, handing over stderr as it comes, and return the exit code; an error of ``on_stderr`` cancels it.

        Upstream's ``build`` cannot be cancelled, mixes stdout with stderr, takes one ``cache_to``, quotes no CSV, and
        lacks ``--annotation``, ``--no-cache-filter``, ``--shm-size``, ``--ulimit``, ``--cgroup-parent``.
        """
        words = tuple(map(str, [*self.docker_cmd, *build.argv]))
        return follow(words, env=env, on_stderr=on_stderr, stdin=stdin)


class Contexts(ContextCLI):
    """``docker context``."""

    def create_for_tls(self, step: CreateContext) -> None:
        """Create a context. Upstream's ``create`` does not quote the endpoint, and inspects the context afterwards."""
        run([*self.docker_cmd, *step.argv])


class Images(ImageCLI):
    """``docker image``."""

    def load_from(self, step: LoadImage, write: Callable[[IO[bytes]], None], *, env: Mapping[str, str]) -> Completed:
        """Load an archive that ``write`` writes. Upstream's ``load`` does not say why it failed."""
        return feed(tuple(map(str, [*self.docker_cmd, *step.argv])), env=env, write=write)


class Volumes(VolumeCLI):
    """``docker volume``."""

    def remove_if_there(self, step: RemoveVolume) -> None:
        """Remove a volume. Upstream's ``remove`` has no ``--force``."""
        run([*self.docker_cmd, *step.argv])


class Docker(DockerClient):
    """The Docker command line in one context."""

    buildx: Buildx
    context: Contexts
    image: Images
    volume: Volumes

    def __init__(self, context: str = "") -> None:
        super().__init__(context=context or None)
        self.buildx = Buildx(self.client_config)
        self.context = Contexts(self.client_config)
        self.image = Images(self.client_config)
        self.volume = Volumes(self.client_config)

    def log_in(self, step: LogIn, password: bytes, *, env: Mapping[str, str]) -> None:
        """Log in to a registry. Upstream's ``login`` prints to our stdout and drops the reason of a failure."""
        run([*self.docker_cmd, *step.argv], input=password, env=dict(env))
