"""A login that leaves no trace: a private copy of the Docker configuration, gone afterwards."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from buildx_cache.doctor import Credentials

_MEMORY = Path("/dev/shm")  # noqa: S108 -- a tmpfs: the copy never reaches a disk; mkdtemp makes it private


@contextlib.contextmanager
def private_configuration(env: Mapping[str, str], registry: str) -> Iterator[dict[str, str]]:
    """Yield an environment whose Docker configuration is a private copy of the user's.

    Credentials, helpers, contexts and plugins stay usable: ``config.json`` is copied, everything beside it linked.
    A login to ``registry`` is written to the copy and never handed to a credential helper: an entry without a
    helper in ``credHelpers`` wins over ``credsStore`` (``docker/cli`` ``cli/config/configfile``).
    """
    user = configuration_folder(env)
    with _private_folder() as folder:
        _write_private(folder / "config.json", _copied_config(user / "config.json", registry))
        for entry in user.iterdir() if user.is_dir() else ():
            if entry.name != "config.json":
                (folder / entry.name).symlink_to(entry.absolute())
        yield {**env, "DOCKER_CONFIG": str(folder), "BUILDX_CONFIG": str(buildx_folder(env))}


def configuration_folder(env: Mapping[str, str]) -> Path:
    """The user's Docker configuration folder; it need not exist."""
    return Path(env.get("DOCKER_CONFIG") or Path(env.get("HOME") or Path.home()) / ".docker")


def buildx_folder(env: Mapping[str, str]) -> Path:
    """Where Buildx keeps its builders."""
    return Path(env.get("BUILDX_CONFIG") or configuration_folder(env) / "buildx").absolute()


def _copied_config(file: Path, registry: str) -> dict[str, object]:
    """The user's configuration with ``registry`` taken from its credential helper; empty if it cannot be read."""
    try:
        config = json.loads(file.read_bytes())
    except (OSError, ValueError):
        config = {}
    if not isinstance(config, dict):
        config = {}
    helpers = config.get("credHelpers")
    config["credHelpers"] = {**(helpers if isinstance(helpers, dict) else {}), registry: ""}
    return config


@contextlib.contextmanager
def _private_folder() -> Iterator[Path]:
    place = _MEMORY if os.access(_MEMORY, os.W_OK | os.X_OK) else None
    folder = Path(tempfile.mkdtemp(prefix="buildx-cache-", dir=place))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _write_private(file: Path, config: dict[str, object]) -> None:
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as out:
        json.dump(config, out)


def stored_credentials(env: Mapping[str, str]) -> Credentials:
    """Which registries the user is logged in to, and by which helpers; no secret is read into the answer."""
    folder = configuration_folder(env)
    file = folder / "config.json"
    try:
        config = json.loads(file.read_bytes()) if file.exists() else {}
    except (OSError, ValueError) as error:
        return Credentials(folder=str(folder), broken=str(error))
    if not isinstance(config, dict):
        return Credentials(folder=str(folder), broken="not a JSON object")
    auths, by_registry = (
        value if isinstance(value := config.get(key), dict) else {} for key in ("auths", "credHelpers")
    )
    helpers = dict.fromkeys(str(name) for name in (config.get("credsStore"), *by_registry.values()) if name)
    return Credentials(folder=str(folder), registries=tuple({**auths, **by_registry}), helpers=tuple(helpers))
