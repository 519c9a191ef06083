"""The longest questions, asked before what needs the answers is imported: that takes as long as they do."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator, Mapping, Sequence

from buildx_cache.engine.credentials import DEFAULT_CONTEXT, current_context
from buildx_cache.engine.git_environment import guarded
from buildx_cache.engine.plugin import buildx_itself, inspection, without_docker
from buildx_cache.engine.questions import asked_ahead
from buildx_cache.errors import UsageError

INFO = ("system", "info", "--format", "{{json .}}")
# What docker reads to find an engine on this host, and no more: of the rest, the options may say that it is a password.
_READ = ("PATH", "HOME", "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR", "DOCKER_CONFIG", "DOCKER_HOST", "DOCKER_CONTEXT",
         "DOCKER_API_VERSION", "DOCKER_TLS", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH")  # fmt: skip
_LOCAL = "unix://"


@contextlib.contextmanager
def info_asked(words: Sequence[str], env: Mapping[str, str]) -> Iterator[None]:
    """While this lasts, the engine that a ``build`` of these words is going to ask what it is has been asked already.

    That is, the one on this host: another may need more of the environment, and takes long to be unreachable.
    """
    docker = docker_command(env) if _will_ask(words, env) else None
    if docker is None:
        yield
        return
    with asked_ahead((docker, *INFO), env={name: env[name] for name in _READ if name in env}):
        yield


@contextlib.contextmanager
def builder_asked(name: str, env: Mapping[str, str], *, context: str) -> Iterator[None]:
    """While this lasts, Buildx has been asked already for a builder that was named, if it needs no docker to tell it.

    It does for a Docker context that was named, and may for an engine that is not on this host.
    """
    plugin = buildx_itself(env) if name and not context and _is_local(env) else ""
    if not plugin:
        yield
        return
    with asked_ahead((plugin, *inspection(name)), env=without_docker(guarded(env))):
        yield


def docker_command(env: Mapping[str, str]) -> str | None:
    """The path of the docker command. What is asked ahead has to be asked by the same one later."""
    return shutil.which("docker", path=env.get("PATH"))


def _will_ask(words: Sequence[str], env: Mapping[str, str]) -> bool:
    if {"-h", "--help"} & set(words) or _names_context(words, env):
        return False
    if not _is_local(env):
        return False
    try:
        return current_context(env) == DEFAULT_CONTEXT
    except UsageError:  # there is no home folder, which will be told
        return False


def _is_local(env: Mapping[str, str]) -> bool:
    """Whether ``DOCKER_HOST`` names no engine elsewhere."""
    return (env.get("DOCKER_HOST") or _LOCAL).startswith(_LOCAL)


def _names_context(words: Sequence[str], env: Mapping[str, str]) -> bool:
    return "BUILDX_CACHE_DOCKER_CONTEXT" in env or any(word.startswith("--docker-context") for word in words)
