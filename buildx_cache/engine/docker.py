"""The Docker engine: python-on-whales is the client; the plan's own commands run as they are printed.

What python-on-whales does here: it finds the command line, asks the engine and the contexts what they are, and
looks after images. The plan's commands are child processes of ours, started from its ``client_config``, because in
0.81

- ``buildx.build`` cannot be cancelled, merges stdout and stderr, takes one ``cache_to``, stringifies a tuple of
  ``cache_from``, quotes no CSV, and lacks ``--annotation``, ``--no-cache-filter``, ``--shm-size``, ``--ulimit``;
- ``buildx.create``, ``inspect`` and ``build`` list every builder, which a dead remote one stalls for 20 seconds;
- ``buildx.create`` has no ``--append`` and ``--node``, ``buildx.prune`` no ``--builder`` and no space limit;
- ``login`` writes "Login Succeeded" to our stdout; ``context.create`` does not quote its endpoint;
- ``str(DockerException)`` holds the whole command line.

When upstream catches up, ``DockerEngine.run`` and ``DockerEngine.build`` are what to replace.
"""

from __future__ import annotations

import contextlib
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from typing import IO, TypeVar

from python_on_whales import DockerClient
from python_on_whales.client_config import ClientNotFoundError
from python_on_whales.exceptions import DockerException

from buildx_cache.engine.credentials import private_configuration
from buildx_cache.engine.inspection import parse_builder, tls_from_environment
from buildx_cache.engine.loaded import remember, remembered
from buildx_cache.engine.process import Completed, capture, follow
from buildx_cache.errors import EngineError
from buildx_cache.plan import Builder, Command, Facts, Place, Store, parse_version, show_version
from buildx_cache.redaction import redact

# rawjson progress and --metadata-file for every driver (docker/buildx#2218).
OLDEST_BUILDX = (0, 13, 0)
Answer = TypeVar("Answer")
_CONTAINERD = "io.containerd.snapshotter"


class DockerEngine:
    """One Docker command line in one environment and context."""

    def __init__(self, env: Mapping[str, str], context: str = "") -> None:
        self._env = dict(env)
        self._context = context
        self._client = DockerClient(context=context or None)
        self._index_server = ""
        self._kept_stdin: IO[bytes] | None = None
        self.calls = 0

    # --- what is there -----------------------------------------------------------------------------------

    def facts(self, place: Place, builder: str = "") -> Facts:
        """Ask the engine, Buildx, the context, and the builder of that name (the current one by default).

        Raises:
            EngineError: Docker or Buildx is absent, too old or not running, or there is no such context.
        """
        info = self._ask(self._client.system.info)
        plugins = (info.client_info.plugins or ()) if info.client_info else ()
        buildx = next((parse_version(plugin.version or "") for plugin in plugins if plugin.name == "buildx"), None)
        if buildx is None:
            raise EngineError(
                "Docker's Buildx plugin is not installed",
                hint="install the package docker-buildx-plugin (Docker's own) or docker-buildx (Debian, Ubuntu)",
            )
        if buildx < OLDEST_BUILDX:
            raise EngineError(
                f"Buildx {show_version(buildx)} is too old: {show_version(OLDEST_BUILDX)} is needed",
                hint="upgrade Docker or its Buildx plugin",
            )
        self._index_server = info.index_server_address or ""
        status = info.driver_status or []
        containerd = any(value.startswith(_CONTAINERD) for _, value in status)
        context = self._context or self._ask(lambda: self._client.context.inspect(None)).name
        tls = tls_from_environment(self._env) if context == "default" else None
        return Facts(
            docker=info.server_version or "",
            buildx=buildx,
            store=Store.CONTAINERD if containerd else Store.CLASSIC,
            context=context,
            place=place,
            tls=tls,
            builder=self.find_builder(builder),
            contexts=self._contexts() if tls else (),
        )

    def find_builder(self, name: str) -> Builder | None:
        """The builder of that name, or the current one for an empty name; None if there is none."""
        words = ("buildx", "inspect", *((name,) if name else ()))
        done = self.run(Command(argv=(*(("--context", self._context) if self._context else ()), *words)))
        return parse_builder(done.stdout) if done.code == 0 else None

    def _contexts(self) -> tuple[str, ...]:
        return tuple(context.name for context in self._ask(self._client.context.list))

    def _ask(self, question: Callable[[], Answer]) -> Answer:
        self.calls += 1
        try:
            return question()
        except ClientNotFoundError:
            raise EngineError(
                "the docker command is not on PATH", hint="install Docker's command line (docker-ce-cli or docker-cli)"
            ) from None
        except DockerException as error:
            raise _engine_error(error.stderr or "") from None

    # --- what is done ------------------------------------------------------------------------------------

    def run(self, command: Command, *, stdin: bytes = b"") -> Completed:
        """Run a short command of the plan.

        Raises:
            EngineError: there is no docker command.
        """
        self.calls += 1
        return capture(self._argv(command), env=self._child_env(command), stdin=stdin)

    def build(self, command: Command, on_stderr: Callable[[bytes], None]) -> int:
        """Run a build, handing over its stderr as it comes; returns its exit code.

        It may read this program's stdin where ``-`` stands for a Dockerfile or a build context.
        """
        self.calls += 1
        stdin = self._stdin(command) if "-" in command.argv else None
        return follow(self._argv(command), env=self._child_env(command), on_stderr=on_stderr, stdin=stdin)

    def _stdin(self, command: Command) -> int:
        """A descriptor of this program's stdin; where a cache may make a second build of it, of a copy in a file."""
        if self._kept_stdin is None and not any(word in command.argv for word in ("--cache-from", "--cache-to")):
            return sys.stdin.fileno()
        if self._kept_stdin is None:
            self._kept_stdin = tempfile.TemporaryFile(prefix="buildx-cache-")  # noqa: SIM115 -- for as long as the engine
            shutil.copyfileobj(sys.stdin.buffer, self._kept_stdin)
        self._kept_stdin.seek(0)
        return self._kept_stdin.fileno()

    @contextlib.contextmanager
    def credentials(self, registry: str) -> Iterator[None]:
        """While this lasts, commands use a private copy of the user's Docker configuration."""
        outside = self._env
        with private_configuration(outside, registry or self._index_server) as env:
            self._env = env
            try:
                yield
            finally:
                self._env = outside

    def _argv(self, command: Command) -> tuple[str, ...]:
        try:
            client = self._client.client_config.get_client_call_with_path()
        except ClientNotFoundError:
            raise EngineError("the docker command is not on PATH", hint="install Docker's command line") from None
        return (*map(str, client), *command.argv)

    def _child_env(self, command: Command) -> dict[str, str]:
        return {**self._env, **{name: str(value) for name, value in command.secrets}}

    # --- images ------------------------------------------------------------------------------------------

    def image_id(self, tag: str) -> str:
        """The ID of an image in the engine's store; empty if it is not there."""
        self.calls += 1
        try:
            return str(self._client.image.inspect(tag).id)
        except DockerException:
            return ""

    def remember_loaded(self, image_id: str) -> None:
        """Note that this program loaded an image, so that it may remove it when it is replaced."""
        remember(self._env, image_id)

    def remove_replaced(self, image_id: str) -> bool:
        """Remove an image that this program loaded, unless it has a tag or a container; whether it is gone."""
        if image_id not in remembered(self._env):
            return False
        self.calls += 1
        try:
            if self._client.image.inspect(image_id).repo_tags:
                return False
            self._client.image.remove(image_id)
        except DockerException:
            return False
        return True


_DOWN = "Docker is not running, or cannot be reached"
# What the command line says, what that means, what to do.
_ENGINE_ERRORS: tuple[tuple[str, str, str], ...] = (
    ("permission denied", "this user may not talk to Docker", "add the user to the group docker, or use sudo"),
    ("context not found", "there is no such Docker context", "`docker context ls` lists those there are"),
    ('context "', "there is no such Docker context", "`docker context ls` lists those there are"),
    ("cannot connect to the docker daemon", _DOWN, ""),
    ("error during connect", _DOWN, ""),
    ("failed to connect", _DOWN, ""),
)
_START = "start Docker; in CircleCI add a setup_remote_docker step, or use a machine executor"


def _engine_error(stderr: str) -> EngineError:
    """One line of what the docker command said, with what to do."""
    said = redact(stderr.strip().splitlines()[-1] if stderr.strip() else "")
    low = stderr.lower()
    for sign, message, hint in _ENGINE_ERRORS:
        if sign in low:
            return EngineError(message if message == _DOWN else f"{message}: {said}", hint=hint or _START)
    return EngineError(f"Docker does not answer: {said or 'it said nothing'}", hint=_START)
