"""python-on-whales' client, extended where it falls short. Each extension names the gap, and goes when that closes.

The gaps are those of python-on-whales 0.81.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import IO, TypeVar

import pydantic
from python_on_whales import DockerClient
from python_on_whales.components.buildx.cli_wrapper import BuildxCLI
from python_on_whales.components.image.cli_wrapper import ImageCLI
from python_on_whales.utils import run

from buildx_cache.engine.parsers import parse_builder
from buildx_cache.engine.process import Completed, begin, capture, feed, follow
from buildx_cache.plan import Builder, BuildInvocation, Effect
from buildx_cache.plan.effects import LoadImage

_Model = TypeVar("_Model", bound=pydantic.BaseModel)


class Buildx(BuildxCLI):
    """``docker buildx``."""

    @contextlib.contextmanager
    def inspecting(self, name: str = "") -> Iterator[Callable[[], Builder | None]]:
        """Inspect one builder, the current one by default, beside other questions; the value waits for the answer.

        The answer is None where there is no such builder. Upstream's ``inspect`` lists all builders, which waits for
        each of them, and nothing else can be asked meanwhile.
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

    def inspect_one(self, model: type[_Model], kind: str, name: str) -> _Model:
        """Inspect a context, a network or an image, whose ``model`` is upstream's.

        Upstream's ``inspect`` leaves an answer that it does not understand in a file in the temporary directory.

        Raises:
            DockerException: there is none of that name.
            pydantic.ValidationError: the answer is not understood.
        """
        said = run([*self.docker_cmd, kind, "inspect", name], return_stderr=False)
        return pydantic.TypeAdapter(tuple[model]).validate_json(said)[0]  # type: ignore[valid-type]

    def perform(self, effect: Effect, *, env: Mapping[str, str], stdin: bytes = b"") -> Completed:
        """Carry out a short effect of a plan. Whatever ends this program, ends the effect.

        Upstream runs every command so that a signal kills ``docker`` alone, and its plugin goes on; of a killed
        program, both go on. Besides, ``buildx.create`` has no ``--node`` and quotes no driver option,
        ``buildx.inspect`` lists all builders after ``--bootstrap``, ``buildx.prune`` has no ``--builder`` and no limit
        of space, ``context.create`` quotes no endpoint, ``volume.remove`` has no ``--force``, and ``login`` prints to
        our stdout and drops the reason of a failure.
        """
        return capture(tuple(map(str, [*self.docker_cmd, *effect.argv])), env=env, stdin=stdin)
