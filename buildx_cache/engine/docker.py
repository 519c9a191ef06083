"""Ask the Docker engine for facts, and carry out a plan's effects."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO

import pydantic
from python_on_whales.components.context.models import ContextInspectResult
from python_on_whales.components.image.models import ImageInspectResult
from python_on_whales.components.network.models import NetworkInspectResult
from python_on_whales.components.system.models import SystemInfo
from python_on_whales.exceptions import DockerException

from buildx_cache.engine.certificates import registry_certificates
from buildx_cache.engine.client import Docker, gateway_of, registries_of, store_of, tls_from_environment
from buildx_cache.engine.credentials import (
    DEFAULT_CONTEXT,
    buildx_folder,
    credential_for,
    current_context,
    private_configuration,
)
from buildx_cache.engine.failures import docker_starting, engine_error, usable_buildx
from buildx_cache.engine.git import guarded
from buildx_cache.engine.locality import Whereabouts, elsewhere
from buildx_cache.engine.own_files import remember, remembered
from buildx_cache.engine.pods import pod_entrances
from buildx_cache.engine.process import Completed
from buildx_cache.engine.tunnel import tunnel
from buildx_cache.errors import DeniedError, EngineError, UsageError
from buildx_cache.plan import (
    Builder,
    BuildInvocation,
    Container,
    Effect,
    Facts,
    Node,
    Place,
    Pods,
)
from buildx_cache.plan.effects import CreateNode, LoadImage
from buildx_cache.plan.facts import Bridge
from buildx_cache.redaction import redact
from buildx_cache.reference import Reference
from buildx_cache.scratch import making, scratch_folder

_LOCAL = "unix://"
_SOCKET = f"{_LOCAL}/var/run/docker.sock"
_PODMAN = "podman"
_PROXIES = frozenset({"HTTP_PROXY", "HTTPS_PROXY"})
# Errors of python-on-whales for an output that it cannot parse.
_UNREADABLE = (
    pydantic.ValidationError,
    json.JSONDecodeError,
    UnicodeDecodeError,
    RecursionError,
    TypeError,
)


class DockerEngine:
    """The engine of one environment and Docker context. Commands that only ask inherit this process' environment.

    Before each build but the first, ``before_another`` is called; an error that it raises stops the build.
    """

    def __init__(
        self, env: Mapping[str, str], context: str = "", *, before_another: Callable[[], object] = tuple
    ) -> None:
        self._env = guarded(env)  # Buildx asks git about the build context
        self._docker = Docker(context)
        self._before_another = before_another
        self._has_built = False
        self._kept_stdin: IO[bytes] | None = None
        self.context = context or current_context(env)
        self.tls = tls_from_environment(env) if self.context == DEFAULT_CONTEXT else None
        self.calls = 0
        """The number of docker commands that were run."""

    # --- facts -------------------------------------------------------------------------------------------

    def facts(self, place: Place, builder: str = "") -> Facts:
        """Ask the engine, Buildx, the context, and the builder of that name (the current one by default).

        Raises:
            EngineError: Docker or Buildx is absent, too old or not running, or there is no such context.
        """
        with self._inspecting(builder) as found:
            info, endpoint, contexts = self._info(), self._endpoint(), self._contexts()
            chosen = found()
        if chosen and endpoint.startswith(_LOCAL):
            chosen = replace(chosen, nodes=tuple(self._addressed(node, endpoint) for node in chosen.nodes))
        plugins = (info.client_info.plugins if info.client_info else None) or []
        whereabouts = Whereabouts(
            endpoint=endpoint,
            name=info.name or "",
            system=info.operating_system or "",
            security=tuple(info.security_options or ()),
            own_name=os.uname().nodename,
            own_platform=sys.platform,
        )
        return Facts(
            docker=info.server_version or "",
            buildx=usable_buildx(next((plugin.version or "" for plugin in plugins if plugin.name == "buildx"), None)),
            store=store_of(info.driver_status or []),
            context=self.context,
            place=place,
            tls=self.tls,
            builder=chosen,
            endpoint=endpoint,
            elsewhere=elsewhere(whereabouts),
            contexts=contexts,
            registries=replace(
                registries_of(info.registry_config or {}), certificates=registry_certificates(self._env, endpoint)
            ),
            default_config=self._default_config(),
        )

    def find_builder(self, name: str) -> Builder | None:
        """Return the builder of that name, or the current one for an empty name; None if there is none."""
        with self._inspecting(name) as found:
            return found()

    @contextlib.contextmanager
    def _inspecting(self, name: str) -> Iterator[Callable[[], Builder | None]]:
        """Inspect a builder beside other commands: it takes longer than all of them together."""
        with self._calling(), self._docker.buildx.inspecting(name) as answer:
            yield answer

    def _info(self) -> SystemInfo:
        try:
            return self._answered()
        except EngineError:
            self._refuse_podman()
            raise

    def _refuse_podman(self) -> None:
        with contextlib.suppress(DockerException), self._calling():
            if self._docker.called().lower().startswith(_PODMAN):
                raise EngineError(
                    "the docker command is podman, which has no Buildx",
                    code="docker-is-podman",
                    hint="install Docker's command line and an engine, or put them before podman's docker on PATH",
                )

    def _answered(self) -> SystemInfo:
        with self._asking():
            info = self._docker.system.info()
        if not info.server_version:  # older command lines end well although no engine answered (docker/cli#5900)
            with self._asking():
                self._docker.version()
            raise engine_error("`docker info` tells no version of the engine")
        return info

    def _endpoint(self) -> str:
        """Return the engine's address; that of the default context needs no command."""
        if self.context == DEFAULT_CONTEXT:
            return self._env.get("DOCKER_HOST") or _SOCKET
        with self._asking():
            context = self._docker.inspect_one(ContextInspectResult, "context", self.context)
        found = (context.endpoints or {}).get("docker")
        return (found.host or "").strip() if found else ""

    def _addressed(self, node: Node, engine: str) -> Node:
        """Return a node with the engine's address in place of another context's name, if both are the same address.

        So a builder on ``docker context create``'s context for the local socket counts as one of this engine.
        """
        if node.endpoint in ("", self.context) or "://" in node.endpoint:
            return node
        try:
            with self._reading():
                context = self._docker.inspect_one(ContextInspectResult, "context", node.endpoint)
        except DockerException:  # the context was removed
            return node
        found = (context.endpoints or {}).get("docker")
        return replace(node, endpoint=engine) if found and found.host == engine else node

    def _contexts(self) -> tuple[str, ...]:
        """Return the Docker contexts that exist; none if the plan does not need them."""
        if not self.tls:
            return ()
        with self._asking():
            return tuple(context.name for context in self._docker.context.list())

    def _default_config(self) -> str:
        """Return the path of the user's default configuration for builders (buildx' ``util/confutil``), or ""."""
        try:
            path = buildx_folder(self._env) / "buildkitd.default.toml"
        except UsageError:  # the user has no home folder
            return ""
        return str(path) if path.is_file() else ""

    def bridge(self, network: str) -> Bridge:
        """Return how containers of a Docker network reach this host, and which there are."""
        try:
            with self._reading():
                found = self._docker.inspect_one(NetworkInspectResult, "network", network)
        except DockerException:
            return Bridge()
        is_bridge = found.driver == "bridge"  # another driver's gateway is not this host
        return Bridge(
            gateway=gateway_of(found.ipam.config or []) if is_bridge and found.ipam else "",
            containers=frozenset(each.name or "" for each in (found.containers or {}).values()),
        )

    @contextlib.contextmanager
    def tunnel(self, ends: Sequence[Container | Pods], ports: Sequence[int]) -> Iterator[Mapping[int, int]]:
        """Forward ports of each container's loopback to ports of this machine's; yield the containers' port for each.

        Raises:
            ExhaustedError: ssh is missing here or in a container, or a tunnel does not open.
        """
        enters = [enter for end in ends for enter in self._entrances(end)]
        self.calls += len(enters)
        with tunnel(enters, ports, env=self._env) as there:
            yield there

    def _entrances(self, end: Container | Pods) -> tuple[tuple[str, ...], ...]:
        """Return the command that runs another command in a container, or in each of the pods."""
        if isinstance(end, Pods):
            builder = self.find_builder(end.builder)
            return pod_entrances(builder or Builder(name=end.builder, driver=""), self._env)
        program, *context = map(str, self._docker.docker_cmd)
        words = _at(end.endpoint) if end.endpoint else context
        return ((program, *words, "exec", "--interactive", end.name),)

    @contextlib.contextmanager
    def _asking(self) -> Iterator[None]:
        """Turn a failure of a docker command into an ``EngineError``."""
        try:
            with self._reading():
                yield
        except DockerException as error:
            raise engine_error(error.stderr or "") from None

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        """Run a docker command whose output python-on-whales parses.

        Raises:
            EngineError: the output cannot be parsed.
        """
        with self._calling():
            try:
                yield
            except _UNREADABLE:
                raise engine_error("its answer is not understood") from None

    @contextlib.contextmanager
    def _calling(self) -> Iterator[None]:
        """Count a docker command.

        Raises:
            EngineError: docker is not installed or cannot be started.
            UsageError: the command line is longer than the system allows.
        """
        self.calls += 1
        with docker_starting():
            yield

    # --- effects -----------------------------------------------------------------------------------------

    def perform(self, effect: Effect, *, password: bytes = b"") -> Completed:
        """Carry out a short effect of the plan.

        Raises:
            EngineError: there is no docker command.
        """
        with self._calling(), _with_config(effect) as complete:
            return self._docker.perform(complete, env=self._env, stdin=password)

    def load_image(self, effect: LoadImage, write: Callable[[IO[bytes]], None]) -> Completed:
        """Load an image from an archive that ``write`` writes.

        Raises:
            EngineError: there is no docker command.
            OSError: ``write`` raised it.
        """
        with self._calling():
            return self._docker.image.load_from(effect, write, env=self._env)

    def build(
        self, build: BuildInvocation, on_stderr: Callable[[bytes], None], on_interrupt: Callable[[], None]
    ) -> int:
        """Run a build and return its exit code; see ``process.follow`` for the callbacks.

        Raises:
            BuildxCacheError: ``before_another`` refuses the build, or there is no docker command.
        """
        if self._has_built:
            self._before_another()
        self._has_built = True
        stdin = self._stdin(build) if build.reads_stdin else None
        with self._calling():
            env = self._child_env(build)
            return self._docker.buildx.follow_build(
                build, env=env, stdin=stdin, on_stderr=on_stderr, on_interrupt=on_interrupt
            )

    def _stdin(self, build: BuildInvocation) -> int:
        """Return a descriptor of this program's stdin, or of a copy in a file if a cache may cause a second build."""
        if self._kept_stdin is None and not (build.imports or build.exports):
            return sys.stdin.fileno()
        if self._kept_stdin is None:
            with making("file"):
                self._kept_stdin = tempfile.TemporaryFile(prefix="buildx-cache-")  # noqa: SIM115 -- as long as the engine
                shutil.copyfileobj(sys.stdin.buffer, self._kept_stdin)
                self._kept_stdin.flush()
        self._kept_stdin.seek(0)
        return self._kept_stdin.fileno()

    def _child_env(self, build: BuildInvocation) -> dict[str, str]:
        given = {name: str(value) for name, value in build.secrets}
        return {**self._env, **given, **_unproxied(given, self._env)}

    # --- logins ------------------------------------------------------------------------------------------

    def has_login(self, registry: str) -> bool:
        """Return whether the user has a stored login to a registry that can be read."""
        try:
            return credential_for(self._env, registry) is not None
        except DeniedError:  # its helper does not work
            return False

    @contextlib.contextmanager
    def credentials(self, registry: str) -> Iterator[None]:
        """Use a private copy of the user's Docker configuration for logins and builds in this context."""
        outside = self._env
        with private_configuration(outside, registry) as env:
            self._env = env
            try:
                yield
            finally:
                self._env = outside

    def push_refusal(self, repository: Reference) -> str:
        """Return why the registry refuses a push to the repository; empty if it accepts or does not answer."""
        from buildx_cache.engine.registry_questions import push_refusal  # urllib3: 50 ms that few builds need

        return push_refusal(repository, self._env)

    def newest_step(self, cache: Reference) -> float | None:
        """Return when the newest step in a cache in a registry ran, in seconds since the epoch; None if unknown."""
        from buildx_cache.engine.registry_questions import newest_step  # urllib3: 50 ms that few builds need

        return newest_step(cache, self._env)

    def pull_refusal(self, image: Reference) -> str:
        """Return why the engine cannot have an image; empty where it has it, or its registry would give it."""
        from buildx_cache.engine.registry_questions import pull_refusal  # urllib3: 50 ms that few calls need

        return "" if self.image_id(str(image)) else pull_refusal(image, self._env)

    def is_podman(self) -> bool:
        """Return whether podman, whose API is like Docker's, answers at the engine's address."""
        try:
            with self._reading():
                server = self._docker.version().server
        except (DockerException, EngineError):
            return False
        components = (server.components if server else None) or ()
        return any((each.name or "").lower().startswith(_PODMAN) for each in components)

    # --- images ------------------------------------------------------------------------------------------

    def image_id(self, tag: str) -> str:
        """Return the ID of an image in the engine's store; empty if it is not there."""
        try:
            with self._reading():
                return self._docker.inspect_one(ImageInspectResult, "image", tag).id or ""
        except DockerException:
            return ""

    def image_digests(self, name: str) -> tuple[str, ...] | None:
        """Return the digests under which registries are known to have an image.

        None if it is not in the engine's store.
        """
        try:
            with self._reading():
                return tuple(self._docker.inspect_one(ImageInspectResult, "image", name).repo_digests or ())
        except DockerException:
            return None

    def save_image(self, name: str, archive: Path) -> str:
        """Write an image to an archive; return the reason of a failure, else ""."""
        try:
            with self._reading():
                self._docker.image.save(name, archive)
        except DockerException as error:
            return redact((error.stderr or "").strip()) or "docker image save failed"
        return ""

    def remember_loaded(self, image_id: str) -> None:
        """Record that this program loaded an image: only recorded images are removed when they are replaced."""
        remember(self._env, image_id)

    def remove_replaced(self, image_id: str) -> bool:
        """Remove an image that this program loaded, unless it has a tag or a container; return whether it is gone."""
        if image_id not in remembered(self._env):
            return False
        try:
            with self._reading():
                image = self._docker.inspect_one(ImageInspectResult, "image", image_id)
                if image.repo_tags:
                    return False
            with self._reading():
                self._docker.image.remove(image_id)
        except DockerException:
            return False
        return True


@contextlib.contextmanager
def _with_config(effect: Effect) -> Iterator[Effect]:
    """Write a new builder's configuration to a private folder for this context; yield the effect with its path."""
    if not isinstance(effect, CreateNode) or not effect.config_lines:
        yield effect
        return
    with scratch_folder() as folder:
        path = folder / "buildkitd.toml"
        with making("file"):
            path.write_text("".join(f"{line}\n" for line in effect.config_lines))
        yield replace(effect, config=str(path))


def _unproxied(given: Mapping[str, str], env: Mapping[str, str]) -> dict[str, str]:
    """Return variables that keep Buildx' own connections away from a proxy that is only a build argument.

    The value of a secret build argument is in Buildx' environment, where ``HTTP_PROXY`` would act on Buildx itself.
    Nothing is changed if the environment has proxy settings anyway.
    """
    if _PROXIES.isdisjoint(map(str.upper, given)) or not _PROXIES.isdisjoint(map(str.upper, env)):
        return {}
    return {} if {"NO_PROXY", "no_proxy"} & {*given, *env} else {"no_proxy": "*"}


def _at(endpoint: str) -> tuple[str, str]:
    """Return the option for a node's endpoint: a context, or an address, whose login docker passes over."""
    scheme, is_address, address = endpoint.partition("://")
    if not is_address:
        return "--context", endpoint
    return "--host", f"tcp://{address.rpartition('@')[2]}" if scheme == "tcp" else endpoint
