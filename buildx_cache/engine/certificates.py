"""Find Docker's certificates for registries, in one folder a host: ``certs.d/HOST[:PORT]``.

``*.crt`` are certificate authorities; a ``*.cert`` and a ``*.key`` of the same name are a client certificate
(moby's ``daemon/pkg/registry``).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from buildx_cache.engine.credentials import configuration_folder, home_folder
from buildx_cache.errors import UsageError
from buildx_cache.plan.facts import Certificates
from buildx_cache.plan.registry_choice import is_here
from buildx_cache.request.probe import read_inside

_FOLDER = "certs.d"
_ENGINES = Path("/etc/docker")
_MOST = 100  # hosts, and files for each host
_LIMIT = 1 << 20


def registry_certificates(env: Mapping[str, str], endpoint: str) -> tuple[Certificates, ...]:
    """Return the certificates for an engine's registries, one value a host.

    They are read from the engine's folder, if the engine is on this machine, and from the user's folder, which Docker
    Desktop copies to its engine.
    """
    hosts: dict[str, list[Path]] = {}
    for folder in _folders(env, endpoint):
        for host in _listed(folder):
            if host.is_dir():
                hosts.setdefault(host.name, []).extend(_listed(host))
    return tuple(filter(None, (_of_host(host, files) for host, files in sorted(hosts.items())[:_MOST])))


def _folders(env: Mapping[str, str], endpoint: str) -> Iterator[Path]:
    try:
        yield configuration_folder(env) / _FOLDER
        if is_here(endpoint):
            yield _ENGINES / _FOLDER
            # the folder of a rootless engine
            yield Path(env.get("XDG_CONFIG_HOME") or home_folder(env) / ".config") / "docker" / _FOLDER
    except UsageError:  # the user has no home folder
        return


def _listed(folder: Path) -> list[Path]:
    try:
        return sorted(folder.absolute().iterdir())[:_MOST]
    except OSError:
        return []


def _of_host(host: str, files: list[Path]) -> Certificates | None:
    keys = {file.with_suffix(".cert"): file for file in files if file.suffix == ".key"}
    pairs = [(keys[file], file) for file in files if file in keys]
    authorities = [file for file in files if file.suffix == ".crt"]
    content = hashlib.sha256()
    unreadable = ""
    for file in (*authorities, *(each for pair in pairs for each in pair)):
        try:
            real = Path(os.path.realpath(file))  # follow links: the user made them
            content.update(read_inside(real.parent, real, _LIMIT))
        except OSError as error:
            unreadable = f"{file}: {error.strerror}"
    if not (authorities or pairs):
        return None
    return Certificates(
        host=host,
        authorities=tuple(map(str, authorities)),
        pairs=tuple((str(key), str(certificate)) for key, certificate in pairs),
        digest=content.hexdigest()[:16],
        unreadable=unreadable,
    )
