"""The engine's two registries on the loopback: an open one, and one that asks for a password."""

import http.client
import shutil
import socket
from collections.abc import Mapping

import machine
from packages import programs_path
from processes import await_ready, fetch, pid_of, spawn, stop
from state import Places

USER = "tester"
PASSWORD = "correct-horse-battery-staple"  # noqa: S105 - of a registry on the loopback, for tests
# bcrypt of PASSWORD: neither the standard library nor openssl can make one.
HTPASSWD = f"{USER}:$2a$05$wwH1aUZSRhb5DK0ZkU7dyOc0Hipj5JoSI5cXhvB8rhAMxKkk2uNAG\n"

OPEN = "registry"
AUTH = "registry-auth"
NAMES = (OPEN, AUTH)

CONFIG = """\
version: 0.1
log:
  level: warn
  accesslog:
    disabled: true
storage:
  filesystem:
    rootdirectory: {folder}
  delete:
    enabled: true
http:
  addr: {address}
"""
CONFIG_AUTH = """\
auth:
  htpasswd:
    realm: buildx-cache-engine
    path: {htpasswd}
"""


def answers(address: str) -> bool:
    """Whether a registry serves the address; asking for a password is an answer."""
    host, _, port = address.rpartition(":")
    return fetch(http.client.HTTPConnection(host, int(port), timeout=5), "/v2/")[0] in (200, 401)


def has(address: str, repository: str, tag: str) -> bool:
    """Whether the open registry holds the tag."""
    host, _, port = address.rpartition(":")
    return fetch(http.client.HTTPConnection(host, int(port), timeout=5), f"/v2/{repository}/manifests/{tag}")[0] == 200  # noqa: PLR2004


def is_running(places: Places, name: str) -> bool:
    """Whether the registry's process lives."""
    return pid_of(places.run / f"{name}.pid", f"{places.run}/") is not None


def start(places: Places, name: str, preferred: str, host: str, env: Mapping[str, str]) -> str:
    """Start the registry on the host's address, the one it had last time if that is free, and give its address."""
    address = preferred if preferred and _is_free(preferred, places) else _free_address(host)
    folder = places.home / name
    folder.mkdir(parents=True, exist_ok=True)
    text = CONFIG.format(folder=folder, address=address)
    if name == AUTH:
        htpasswd = places.run / "htpasswd"
        htpasswd.touch(mode=0o600)
        htpasswd.write_text(HTPASSWD)
        text += CONFIG_AUTH.format(htpasswd=htpasswd)
    config = places.run / f"{name}.yml"
    config.write_text(text)
    program = shutil.which("docker-registry", path=programs_path(places)) or "docker-registry"
    log = places.home / f"{name}.log"
    argv = [*machine.inside(places.name), program, "serve", str(config)]
    process = spawn(argv, pidfile=places.run / f"{name}.pid", log=log, env=env)
    await_ready(process, lambda: answers(address), log, seconds=20)
    return address


def halt(places: Places) -> None:
    """Stop both registries; what they hold stays."""
    for name in NAMES:
        pid = pid_of(places.run / f"{name}.pid", f"{places.run}/")
        if pid:
            stop(pid, seconds=5)


def _is_free(address: str, places: Places) -> bool:
    if places.name.is_remote:  # nobody else is on that machine
        return True
    host, _, port = address.rpartition(":")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, int(port)))
        except OSError:
            return False
    return True


def _free_address(host: str) -> str:
    """Return a port the kernel picks. Taken again for tests and demos alike, it is remembered in the state."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"{host}:{probe.getsockname()[1]}"
