"""containerd and dockerd of one private engine: start, question, stop."""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import machine
import network
from errors import EngineError
from packages import programs_path
from processes import (
    UnixConnection,
    await_ready,
    command_lines,
    descendants,
    fetch,
    pid_of,
    run,
    spawn,
    stop,
    succeeds,
)
from state import Places

HERE = Path(__file__).parent


def version(socket: Path) -> str:
    """Return the version of the engine that answers on the socket, or nothing."""
    status, body = fetch(UnixConnection(socket), "/version")
    return str(json.loads(body)["Version"]) if status == 200 else ""  # noqa: PLR2004


def check_overlayfs(folder: Path) -> None:
    """Fail early and clearly where the engine's storage would fail late: overlayfs does not stack on itself."""
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        parts = [Path(scratch) / part for part in ("lower", "upper", "work", "merged")]
        for part in parts:
            part.mkdir()
        layers = ",".join(f"{part.name}dir={part}" for part in parts[:3])
        target = str(parts[3])
        if not succeeds(["mount", "-t", "overlay", "-o", layers, "overlay", target]):
            raise EngineError(
                f"overlayfs cannot be mounted in {folder}",
                "run with CAP_SYS_ADMIN and set XDG_CACHE_HOME to a folder on a plain filesystem such as ext4 or xfs",
            )
        run(["umount", target])


def start(places: Places, pool: str, registries: Sequence[str], env: Mapping[str, str]) -> None:
    """Start both daemons side by side and wait until dockerd answers.

    On a machine of its own it listens there with TLS, too; its socket stays this program's own way to it.
    """
    for folder in (places.home / "containerd", places.home / "docker", places.run / "exec"):
        folder.mkdir(parents=True, exist_ok=True)
    child_env = {**env, "PATH": programs_path(places)}
    child_env.pop("DOCKER_HOST", None)
    containerd = _start_containerd(places, child_env)
    far = machine.listening(places, network.prefix_of(pool), registries) if places.name.is_remote else {}
    dockerd = _start_dockerd(places, pool, far, child_env)
    socket = places.run / "containerd.sock"
    await_ready(containerd, socket.exists, places.home / "containerd.log", seconds=30)
    await_ready(dockerd, lambda: bool(version(places.socket)), places.home / "dockerd.log", seconds=60)


def _start_containerd(places: Places, env: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Return the builders' containerd configuration serves here too, but for its folders."""
    text = (HERE / "builder/containerd.toml").read_text()
    text = text.replace("/var/lib/buildkit/containerd", str(places.home / "containerd"))
    text = text.replace("/run/containerd/", f"{places.run}/")
    text = text.replace("# containerd inside a builder", f"# containerd of {places.name.text}")
    config = places.run / "containerd.toml"
    config.write_text(text)
    argv = [*machine.inside(places.name), "containerd", "--config", str(config), "--log-level", "error"]
    return spawn(argv, pidfile=places.run / "containerd.pid", log=places.home / "containerd.log", env=env)


def _start_dockerd(
    places: Places, pool: str, more: Mapping[str, object], env: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    runtime = places.run / "runtime"
    shutil.copyfile(HERE / "builder/runtime", runtime)
    runtime.chmod(0o755)
    settings: dict[str, object] = {
        "features": {"containerd-snapshotter": places.name.store == "containerd"},
        "runtimes": {"buildx-cache": {"path": str(runtime)}},
        "default-runtime": "buildx-cache",
        "data-root": str(places.home / "docker"),
        "exec-root": str(places.run / "exec"),
        "bridge": network.bridge_name(places.name),
        "default-address-pools": [{"base": f"{network.prefix_of(pool)}.32.0/19", "size": 24}],
        "iptables": False,
        "ip6tables": False,
        "ip-forward": False,
        "group": "root",
        # Not the file kept here: dockerd refuses one that names a living process, be it dockerd itself.
        "pidfile": str(places.run / "dockerd.own.pid"),
        "shutdown-timeout": 5,
        "hosts": [f"unix://{places.socket}"],
        **more,
    }
    config = places.run / "daemon.json"
    config.write_text(json.dumps(settings, indent=1) + "\n")
    argv = [*machine.inside(places.name), "dockerd", "--config-file", str(config), "--log-level", "warn"]
    argv += ["--containerd", str(places.run / "containerd.sock")]
    return spawn(argv, pidfile=places.run / "dockerd.pid", log=places.home / "dockerd.log", env=env)


def halt(places: Places) -> None:
    """End the daemons, the containers a dead dockerd left running, and the mounts of both."""
    marker = f"{places.run}/"
    for name, seconds in (("dockerd", 20.0), ("containerd", 10.0)):
        pid = pid_of(places.run / f"{name}.pid", marker)
        if pid:
            stop(pid, seconds=seconds)
    own = {os.getpid(), os.getppid()}
    for pid in [pid for pid, line in command_lines() if marker in line and _is_ours(line) and pid not in own]:
        for child in descendants(pid):
            stop(child, seconds=0)
        stop(pid, seconds=0)
    _unmount(places)


def _is_ours(line: str) -> bool:
    """Only the programs started here: a shell or an editor may name the same folder."""
    program = Path(line.split(" ", 1)[0]).name
    return program.startswith(("containerd", "dockerd", "docker-proxy", "docker-registry"))


def _unmount(places: Places) -> None:
    """Undo the mounts below the engine's folders, the innermost first."""
    roots = (f"{places.run}/", f"{places.home}/")
    points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    for point in reversed([point for point in points if point.startswith(roots)]):
        run(["umount", "--lazy", point.replace("\\040", " ")])
