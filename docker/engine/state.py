"""Which engines there can be, where their files are, and what is remembered about a running one."""

import contextlib
import dataclasses
import fcntl
import json
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

SUITES = ("forky", "trixie")
STORES = ("containerd", "classic")
EXISTING = "existing"

# Short on purpose: the path of a Unix socket may not exceed 107 bytes.
RUN_ROOT = Path("/run/buildx-cache-engine")


@dataclass(frozen=True, kw_only=True)
class Name:
    """One private engine: the Debian suite of its packages, the kind of its image store, and the machine it is on."""

    suite: str = SUITES[0]
    store: str = STORES[0]
    is_remote: bool = False
    """Whether it is on a machine of its own (see machine.py), reached by TLS only."""

    @property
    def text(self) -> str:
        """The engine's name in folders and on the terminal."""
        return f"{self.suite}-{self.store}{'-remote' if self.is_remote else ''}"

    @property
    def number(self) -> int:
        """A small number no other engine has: its bridge and its address pool follow from it."""
        kinds = len(SUITES) * len(STORES)
        return self.is_remote * kinds + SUITES.index(self.suite) * len(STORES) + STORES.index(self.store)


@dataclass(frozen=True, kw_only=True)
class Places:
    """The folders of one private engine."""

    cache: Path
    name: Name

    @property
    def prefix(self) -> Path:
        """Where the suite's packages are unpacked; engines of one suite share it."""
        return self.cache / "prefix" / self.name.suite

    @property
    def home(self) -> Path:
        """What outlives a stop: images, registry contents, logs, the last state."""
        return self.cache / "engines" / self.name.text

    @property
    def run(self) -> Path:
        """What a stop removes: sockets, pid files, the state of the running engine."""
        return RUN_ROOT / self.name.text

    @property
    def docker_config(self) -> Path:
        """The docker CLI's configuration, apart from the user's own."""
        return self.home / "config"

    @property
    def socket(self) -> Path:
        """Where dockerd listens."""
        return self.run / "docker.sock"


@dataclass(frozen=True, kw_only=True)
class State:
    """A running engine as `env` and `status` report it."""

    kind: str
    name: str
    cache: str = ""
    docker_host: str = ""
    cli_folder: str = ""
    docker_config: str = ""
    certificates: str = ""
    registry: str
    auth_registry: str
    auth_user: str
    auth_password: str
    buildkit_image: str = ""
    driver_opt: str = "network=host"
    base_image: str
    docker_version: str
    buildx_version: str
    pool: str = ""


def cache_root(env: Mapping[str, str]) -> Path:
    """Return the folder for downloads, unpacked packages and the engines' own storage."""
    base = env.get("XDG_CACHE_HOME") or str(Path(env.get("HOME") or "~").expanduser() / ".cache")
    return Path(base) / "buildx-cache-engine"


def run_root(env: Mapping[str, str]) -> Path:
    """Return the folder of the lock and the states.

    Without root only an existing engine is possible, so anywhere will do.
    """
    return RUN_ROOT if os.geteuid() == 0 and Path("/run").is_dir() else cache_root(env) / "run"


def load(folder: Path) -> State | None:
    """Return the state kept in a folder, or None where there is none that can be read."""
    try:
        return State(**json.loads((folder / "state.json").read_text()))
    except (OSError, ValueError, TypeError):
        return None


def save(state: State, *folders: Path) -> None:
    """Write the state into each folder, whole or not at all; it holds a password, so for its owner only."""
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
        draft = folder / "state.json.new"
        draft.touch(mode=0o600)
        draft.write_text(json.dumps(dataclasses.asdict(state), indent=1) + "\n")
        draft.replace(folder / "state.json")


@contextlib.contextmanager
def locked(root: Path) -> Iterator[None]:
    """Hold the one lock of all engines: they share downloads, the firewall and the host's forwarding switch."""
    root.mkdir(parents=True, exist_ok=True)
    with (root / "lock").open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("waiting for another run of this program …", file=sys.stderr)
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
