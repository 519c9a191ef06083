"""python-on-whales' client, extended where it falls short. Each extension names the gap, and goes when that closes.

The gaps are those of python-on-whales 0.81.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import IO

from python_on_whales import DockerClient
from python_on_whales.components.buildx.cli_wrapper import BuildxCLI
from python_on_whales.components.image.cli_wrapper import ImageCLI
from python_on_whales.utils import run

from buildx_cache.engine.parsers import parse_builder
from buildx_cache.engine.process import Completed, capture, feed, follow
from buildx_cache.plan import Builder, BuildInvocation, Effect
from buildx_cache.plan.effects import LoadImage


class Buildx(BuildxCLI):
    """``docker buildx``."""

    def find(self, name: str = "") -> Builder | None:
        """Inspect one builder, the current one by default. Upstream's ``inspect`` lists all, and waits for each.

        Raises:
            DockerException: there is no such builder.
        """
        words = ["buildx", "inspect", name] if name else ["buildx", "inspect"]
        return parse_builder(run([*self.docker_cmd, *words], return_stderr=False))

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


class Images(ImageCLI):
    """``docker image``."""

    def load_from(self, effect: LoadImage, write: Callable[[IO[bytes]], None], *, env: Mapping[str, str]) -> Completed:
        """Load an archive that ``write`` writes. Upstream's ``load`` does not say why it failed."""
        return feed(tuple(map(str, [*self.docker_cmd, *effect.argv])), env=env, write=write)


class Docker(DockerClient):
    """The Docker command line in one context."""

    buildx: Buildx
    image: Images

    def __init__(self, context: str = "") -> None:
        super().__init__(context=context or None)
        self.buildx = Buildx(self.client_config)
        self.image = Images(self.client_config)

    def perform(self, effect: Effect, *, env: Mapping[str, str], stdin: bytes = b"") -> Completed:
        """Carry out a short effect of a plan. Whatever ends this program, ends the effect.

        Upstream runs every command so that a signal kills ``docker`` alone, and its plugin goes on; of a killed
        program, both go on. Besides, ``buildx.create`` has no ``--node`` and quotes no driver option,
        ``buildx.inspect`` lists all builders after ``--bootstrap``, ``buildx.prune`` has no ``--builder`` and no limit
        of space, ``context.create`` quotes no endpoint, ``volume.remove`` has no ``--force``, and ``login`` prints to
        our stdout and drops the reason of a failure.
        """
        return capture(tuple(map(str, [*self.docker_cmd, *effect.argv])), env=env, stdin=stdin)
