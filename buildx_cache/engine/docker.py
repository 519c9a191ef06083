"""The Docker engine: what is asked of it, and the plan's own commands, which run as they are printed.

python-on-whales looks after loaded images. What every call needs is asked, and the plan's commands are run, by child
processes of ours, because in 0.81

- it asks one question after the other, and its import takes longer than most answers, 130 milliseconds;
- what it was told is asked again once it is 10 milliseconds old, so that nobody knows how often it runs ``docker``;
- ``buildx.build`` cannot be cancelled, merges stdout and stderr, takes one ``cache_to``, stringifies a tuple of
  ``cache_from``, quotes no CSV, and lacks ``--annotation``, ``--no-cache-filter``, ``--shm-size``, ``--ulimit``;
- ``buildx.create``, ``inspect`` and ``build`` list every builder, which a dead remote one stalls for 20 seconds;
- ``buildx.create`` has no ``--append`` and ``--node``, ``buildx.prune`` no ``--builder`` and no space limit;
- ``login`` writes "Login Succeeded" to our stdout; ``context.create`` does not quote its endpoint;
- ``str(DockerException)`` holds the whole command line.

When upstream catches up, ``DockerEngine.asking``, ``DockerEngine.run`` and ``DockerEngine.build`` are what to replace.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import IO, TYPE_CHECKING

from buildx_cache.engine.credentials import DEFAULT_CONTEXT, credential_for, current_context, private_configuration
from buildx_cache.engine.elsewhere import Whereabouts, elsewhere
from buildx_cache.engine.git_environment import guarded
from buildx_cache.engine.inspection import parse_builder, parse_gateway, parse_info, tls_from_environment
from buildx_cache.engine.loaded import remember, remembered
from buildx_cache.engine.plugin import buildx_itself, inspection, without_docker
from buildx_cache.engine.process import Completed, capture, feed, follow
from buildx_cache.engine.questions import Answer, asking
from buildx_cache.errors import DeniedError, EngineError, UsageError
from buildx_cache.plan import Builder, Command, Facts, Place, show_version
from buildx_cache.plan.facts import Version
from buildx_cache.redaction import redact
from buildx_cache.scratch import making

if TYPE_CHECKING:
    from python_on_whales.components.image.cli_wrapper import ImageCLI

# rawjson progress and --metadata-file for every driver (docker/buildx#2218).
OLDEST_BUILDX = (0, 13, 0)
_SOCKET = "unix:///var/run/docker.sock"


class DockerEngine:
    """One Docker command line in one environment and context."""

    def __init__(self, env: Mapping[str, str], context: str = "") -> None:
        self._env = guarded(env)  # Buildx asks git about the build context
        self._given_context = context
        self._kept_stdin: IO[bytes] | None = None
        self.context = context or current_context(env)
        self.tls = tls_from_environment(env) if self.context == DEFAULT_CONTEXT else None
        self.calls = 0
        """How often the docker command line was run."""

    # --- what is there -----------------------------------------------------------------------------------

    def facts(self, place: Place, builder: str = "") -> Facts:
        """Ask the engine, Buildx, the context, and the builder of that name (the current one by default).

        Raises:
            EngineError: Docker or Buildx is absent, too old or not running, or there is no such context.
        """
        with self.asking(builder) as facts:
            return facts(place)

    @contextlib.contextmanager
    def asking(self, builder: str = "") -> Iterator[Callable[[Place], Facts]]:
        """Ask the same, everything at once; what this yields waits for the answers.

        Raises:
            EngineError: there is no docker command; what the answers mean is raised when they are waited for.
        """
        with (
            self._question("system", "info", "--format", "{{json .}}") as info,
            self._asked_builder(builder) as found,
            self._asked_endpoint() as endpoint,
            self._asked_contexts() as contexts,
        ):
            yield lambda place: self._facts(place, info, found, endpoint, contexts)

    def _facts(self, place: Place, info: Answer, found: Answer, endpoint: Answer, contexts: Answer) -> Facts:
        try:
            engine = parse_info(_said(info()))
        except ValueError:
            raise _engine_error("`docker info` does not say it in JSON") from None
        if engine.errors:
            raise _engine_error("\n".join(engine.errors))
        whereabouts = Whereabouts(
            endpoint=_said(endpoint()).strip(),
            name=engine.name,
            system=engine.system,
            security=engine.security,
            own_name=os.uname().nodename,
            own_platform=sys.platform,
        )
        return Facts(
            docker=engine.docker,
            buildx=_usable(engine.buildx),
            store=engine.store,
            context=self.context,
            place=place,
            tls=self.tls,
            builder=_builder(found()),
            endpoint=whereabouts.endpoint,
            elsewhere=elsewhere(whereabouts),
            contexts=tuple(_said(contexts()).split()),
        )

    @contextlib.contextmanager
    def _asked_builder(self, name: str) -> Iterator[Answer]:
        """One builder, the current one for an empty name: a list of all would ask each of them.

        Buildx itself is asked, but for a context and TLS, which docker alone tells it of.
        """
        words = inspection(name)
        plugin = "" if self._given_context or self.tls else buildx_itself(self._env)
        if plugin:
            with self._starting(plugin), asking((plugin, *words), env=without_docker(self._env)) as answer:
                yield answer
        else:
            with self._question("buildx", *words) as answer:
                yield answer

    def _asked_endpoint(self) -> AbstractContextManager[Answer]:
        """Where the engine is; of the default context that is known."""
        if self.context == DEFAULT_CONTEXT:
            return _known(self._env.get("DOCKER_HOST") or _SOCKET)
        return self._question("context", "inspect", "--format", "{{.Endpoints.docker.Host}}", self.context)

    def _asked_contexts(self) -> AbstractContextManager[Answer]:
        """Which contexts there are, as far as the plan needs them."""
        return self._question("context", "ls", "--format", "{{.Name}}") if self.tls else _known("")

    @contextlib.contextmanager
    def _question(self, *words: str) -> Iterator[Answer]:
        given = ("--context", self._given_context) if self._given_context else ()
        with self._starting() as docker, asking((docker, *given, *words), env=self._env) as answer:
            yield answer

    def _ask(self, *words: str) -> Completed:
        with self._question(*words) as answer:
            return answer()

    def find_builder(self, name: str) -> Builder | None:
        """The builder of that name, or the current one for an empty name; None if there is none."""
        with self._asked_builder(name) as found:
            return _builder(found())

    def gateway(self, network: str) -> str:
        """The numerical address by which containers of a Docker network reach this host; empty if there is none."""
        done = self._ask("network", "inspect", "--format", "{{.Driver}} {{json .IPAM.Config}}", network)
        driver, _, pools = done.stdout.partition(" ")
        return parse_gateway(pools) if driver == "bridge" else ""  # others' gateways are the network's around the host

    # --- what is done ------------------------------------------------------------------------------------

    def run(self, command: Command, *, stdin: bytes = b"") -> Completed:
        """Run a short command of the plan.

        Raises:
            EngineError: there is no docker command.
        """
        with self._starting() as docker:
            return capture((docker, *command.argv), env=self._child_env(command), stdin=stdin)

    def feed(self, command: Command, write: Callable[[IO[bytes]], None]) -> Completed:
        """Run a command of the plan that reads what ``write`` writes.

        Raises:
            EngineError: there is no docker command.
            OSError: ``write`` raised it.
        """
        with self._starting() as docker:
            return feed((docker, *command.argv), env=self._child_env(command), write=write)

    def build(self, command: Command, on_stderr: Callable[[bytes], None]) -> int:
        """Run a build, handing over its stderr as it comes; returns its exit code.

        It may read this program's stdin where ``-`` stands for a Dockerfile or a build context.
        """
        stdin = self._stdin(command) if "-" in command.argv else None
        with self._starting() as docker:
            return follow(
                (docker, *command.argv),
                env=self._child_env(command),
                on_stderr=on_stderr,
                stdin=stdin,
            )

    def _stdin(self, command: Command) -> int:
        """A descriptor of this program's stdin; where a cache may make a second build of it, of a copy in a file."""
        if self._kept_stdin is None and not any(word in command.argv for word in ("--cache-from", "--cache-to")):
            return sys.stdin.fileno()
        if self._kept_stdin is None:
            with making("file"):
                self._kept_stdin = tempfile.TemporaryFile(prefix="buildx-cache-")  # noqa: SIM115 -- as long as the engine
                shutil.copyfileobj(sys.stdin.buffer, self._kept_stdin)
                self._kept_stdin.flush()
        self._kept_stdin.seek(0)
        return self._kept_stdin.fileno()

    def has_login(self, registry: str) -> bool:
        """Whether the user has a stored login to a registry, as far as can be told."""
        try:
            return credential_for(self._env, registry) is not None
        except DeniedError:  # its helper does not work
            return False

    @contextlib.contextmanager
    def credentials(self, registry: str) -> Iterator[None]:
        """While this lasts, commands use a private copy of the user's Docker configuration."""
        outside = self._env
        with private_configuration(outside, registry) as env:
            self._env = env
            try:
                yield
            finally:
                self._env = outside

    @contextlib.contextmanager
    def _starting(self, program: str = "") -> Iterator[str]:
        """The path of the docker command, or of a program instead of it, which is run once with it.

        Raises:
            EngineError: there is none, or it cannot be started.
            UsageError: its command line is longer than the system takes.
        """
        docker = program or shutil.which("docker", path=self._env.get("PATH"))
        if docker is None:
            raise EngineError(
                "the docker command is not on PATH", hint="install Docker's command line (docker-ce-cli or docker-cli)"
            )
        self.calls += 1
        try:
            yield docker
        except OSError as error:
            if error.filename != docker:
                raise
            if error.errno == errno.E2BIG:
                raise UsageError(
                    "the docker command line is longer than this system takes: 128 KiB a word, some 2 MB in all",
                    hint="give large values in files: --secret id=NAME,src=FILE, or files of the build context",
                ) from None
            raise EngineError(f"{docker} cannot be started: {error.strerror}", hint="install Docker anew") from None

    def _child_env(self, command: Command) -> dict[str, str]:
        given = {name: str(value) for name, value in command.secrets}
        return {**self._env, **given, **_unproxied(given, self._env)}

    # --- images ------------------------------------------------------------------------------------------

    def image_id(self, tag: str) -> str:
        """The ID of an image in the engine's store; empty if it is not there."""
        from python_on_whales.exceptions import DockerException

        self.calls += 1
        try:
            return str(self._images().inspect(tag).id)
        except DockerException:
            return ""

    def remember_loaded(self, image_id: str) -> None:
        """Note that this program loaded an image, so that it may remove it when it is replaced."""
        remember(self._env, image_id)

    def remove_replaced(self, image_id: str) -> bool:
        """Remove an image that this program loaded, unless it has a tag or a container; whether it is gone."""
        if image_id not in remembered(self._env):
            return False
        tags = self._ask("image", "inspect", "--format", "{{json .RepoTags}}", image_id)
        if tags.code != 0 or json.loads(tags.stdout):
            return False
        return self._remove_image(image_id)

    def _remove_image(self, image_id: str) -> bool:
        from python_on_whales.exceptions import DockerException

        self.calls += 1
        try:
            self._images().remove(image_id)
        except DockerException:
            return False
        return True

    def _images(self) -> ImageCLI:
        from python_on_whales import DockerClient

        return DockerClient(context=self._given_context or None).image


def _builder(done: Completed) -> Builder | None:
    return parse_builder(done.stdout) if done.code == 0 else None


def _known(text: str) -> AbstractContextManager[Answer]:
    """The answer to a question that need not be asked."""
    return nullcontext(lambda: Completed(code=0, stdout=text))


def _said(done: Completed) -> str:
    if done.code != 0:
        raise _engine_error(done.stderr)
    return done.stdout


def _usable(buildx: Version | None) -> Version:
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
    return buildx


_PROXIES = frozenset({"HTTP_PROXY", "HTTPS_PROXY"})


def _unproxied(given: Mapping[str, str], env: Mapping[str, str]) -> dict[str, str]:
    """What keeps Buildx itself from a proxy that is only meant for the build, where it has none of its own.

    A build argument's value that goes by the environment is a variable like any other to Buildx' own connections.
    """
    if _PROXIES.isdisjoint(map(str.upper, given)) or not _PROXIES.isdisjoint(map(str.upper, env)):
        return {}
    return {} if {"NO_PROXY", "no_proxy"} & {*given, *env} else {"no_proxy": "*"}


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
