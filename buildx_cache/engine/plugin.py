"""Buildx itself, where the docker command finds it: it answers a question in less than half the time.

``docker buildx`` starts the plugin twice, the first time for its metadata, and the plugin then talks to the engine by
``docker system dial-stdio`` (``docker/cli`` ``cli-plugins/manager``, ``cli-plugins/plugin``). Run without docker, as
Compose runs it too (``docker/compose`` ``pkg/compose/build_bake.go``), it does neither.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from buildx_cache.engine.credentials import configuration_folder, read_configuration

_PLUGIN = "docker-buildx"
# ``defaultSystemPluginDirs`` of docker/cli's ``cli-plugins/manager/manager_unix.go``.
_SYSTEM = (
    "/usr/local/lib/docker/cli-plugins",
    "/usr/local/libexec/docker/cli-plugins",
    "/usr/lib/docker/cli-plugins",
    "/usr/libexec/docker/cli-plugins",
)
# Names docker to a plugin that it started; one without it is its own program.
_STARTED_BY = "DOCKER_CLI_PLUGIN_ORIGINAL_CLI_COMMAND"


def buildx_itself(env: Mapping[str, str]) -> str:
    """The plugin's path, found as docker does (``getPluginDirs`` in its ``manager.go``); empty if it is not there."""
    paths = (folder / _PLUGIN for folder in _folders(env))
    return next((str(path) for path in paths if _is_program(path)), "")


def inspection(name: str) -> tuple[str, ...]:
    """Buildx' words that ask for a builder, the current one for an empty name."""
    return ("inspect", name) if name else ("inspect",)


def without_docker(env: Mapping[str, str]) -> dict[str, str]:
    """The environment in which the plugin is its own program."""
    return {name: value for name, value in env.items() if name != _STARTED_BY}


def _is_program(path: Path) -> bool:
    try:
        return os.access(path, os.X_OK) and path.is_file()
    except ValueError:  # what JSON can spell and no path can be: a NUL, a lone surrogate
        return False


def _folders(env: Mapping[str, str]) -> Iterator[Path]:
    extra = read_configuration(env).get("cliPluginsExtraDirs")
    yield from (Path(folder) for folder in (extra if isinstance(extra, list) else ()) if isinstance(folder, str))
    yield configuration_folder(env) / "cli-plugins"
    yield from map(Path, _SYSTEM)
