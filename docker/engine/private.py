"""A private engine from nothing to running and back: the order of the steps."""

import contextlib
import os
import re
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

import daemon
import image
import machine
import network
import packages
import registry
import state
from errors import EngineError
from processes import pid_of, run, say, succeeds
from state import RUN_ROOT, Name, Places, State

FORWARDING = RUN_ROOT / "ip_forward"
# Made by dockerd wherever its own folders are.
LITTER = (Path("/run/docker/plugins"), Path("/run/docker"))
BUILDER_PREFIX = "buildx_buildkit_"


def up(places: Places, env: Mapping[str, str]) -> State:
    """Have the engine, its registries and its images; whatever of it already runs is kept."""
    running = current(places.name)
    if running:
        return running
    _check_host()
    packages.ensure(places, env)
    before = state.load(places.home)
    # Whatever a run that died has left would be in the way of this one.
    _clear(places, before.pool if before else "")
    pool = network.choose_pool(places.name, before.pool if before else "")
    try:
        return _start(places, pool, before, env)
    except BaseException:
        _clear(places, pool)
        raise


def current(name: Name) -> State | None:
    """Return the engine's state if all of its daemons answer."""
    found = state.load(RUN_ROOT / name.text)
    if not found:
        return None
    places = places_of(found, name)
    answers = all(registry.is_running(places, part) for part in registry.NAMES) and daemon.version(places.socket)
    return found if answers else None


def places_of(found: State, name: Name) -> Places:
    """Return the folders the engine was started with, which need not be those of the caller's HOME."""
    return Places(cache=Path(found.cache), name=name)


def _check_host() -> None:
    if sys.platform != "linux":
        raise EngineError("a private engine needs Linux", "install Docker with Buildx, start it, and try again")
    if os.geteuid() != 0:
        raise EngineError(
            "a private engine needs root, and no Docker with Buildx answers here",
            "run as root, or start Docker and install its Buildx plugin",
        )
    if not shutil.which("apt-get"):
        raise EngineError(
            "a private engine is made of Debian packages, and apt-get is not here",
            "install Docker with Buildx",
        )


def _start(places: Places, pool: str, before: State | None, env: Mapping[str, str]) -> State:
    for folder in (places.run, places.home):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    daemon.check_overlayfs(places.home)
    # Kept beside the storage from here on, so that even a run that is killed can be cleaned up after.
    draft = _draft(places, pool, before)
    state.save(draft, places.home)
    say(f"starting the engine {places.name.text} …")
    network.make(places.name, pool, FORWARDING)
    host = machine.address(network.prefix_of(pool)) if places.name.is_remote else "127.0.0.1"
    addresses = [
        registry.start(places, name, preferred if preferred.startswith(f"{host}:") else "", host, env)
        for name, preferred in zip(registry.NAMES, (draft.registry, draft.auth_registry), strict=True)
    ]
    daemon.start(places, pool, addresses, env)
    _write_cli_config(places)
    docker_env = environment(places, env)
    base = image.ensure_base(addresses[0], docker_env)
    builder = image.ensure_builder(places, pool, addresses[0], docker_env)
    done = State(
        **{
            **vars(draft),
            "registry": addresses[0],
            "auth_registry": addresses[1],
            "base_image": base,
            "buildkit_image": builder,
            "docker_version": daemon.version(places.socket),
            "buildx_version": buildx_version(docker_env),
        }
    )
    state.save(done, places.home, places.run)
    return done


def _draft(places: Places, pool: str, before: State | None) -> State:
    far = machine.address(network.prefix_of(pool)) if places.name.is_remote else ""
    return State(
        kind="private",
        name=places.name.text,
        cache=str(places.cache),
        docker_host=f"tcp://{far}:{machine.PORT}" if far else f"unix://{places.socket}",
        certificates=str(machine.certificates(places)) if far else "",
        cli_folder=str(places.prefix / "cli"),
        docker_config=str(places.docker_config),
        registry=before.registry if before else "",
        auth_registry=before.auth_registry if before else "",
        auth_user=registry.USER,
        auth_password=registry.PASSWORD,
        base_image="",
        docker_version="",
        buildx_version="",
        pool=pool,
    )


def environment(places: Places, env: Mapping[str, str]) -> dict[str, str]:
    """Return what a docker CLI needs to talk to this engine and to nothing else."""
    ours = {
        "PATH": f"{places.prefix}/cli:{packages.programs_path(places)}",
        "DOCKER_HOST": f"unix://{places.socket}",
        "DOCKER_CONFIG": str(places.docker_config),
    }
    return {
        **{name: text for name, text in env.items() if not name.startswith(("DOCKER_", "BUILDX_"))},
        **ours,
    }


def _write_cli_config(places: Places) -> None:
    """Make a configuration folder in which the CLI finds Buildx; a log-in kept there is left alone."""
    places.docker_config.mkdir(parents=True, exist_ok=True, mode=0o700)
    config = places.docker_config / "config.json"
    if not config.exists():
        plugins = places.prefix / "usr/libexec/docker/cli-plugins"
        config.write_text(f'{{"cliPluginsExtraDirs": ["{plugins}"]}}\n')


def buildx_version(docker_env: Mapping[str, str]) -> str:
    """Return the version of Buildx that the CLI of this environment runs, without its leading v."""
    found = re.search(r"\bv?(\d+\.\d+\.\d+)", run(["docker", "buildx", "version"], env=docker_env))
    return found[1] if found else "unknown"


def down(places: Places, env: Mapping[str, str], *, purge: bool) -> bool:
    """Stop the engine and remove its traces from the host; whether anything was running."""
    known = state.load(places.run) or state.load(places.home)
    was_running = any(pid_of(pidfile, f"{places.run}/") for pidfile in places.run.glob("*.pid"))
    if was_running:
        say(f"stopping {places.name.text} …")
    if daemon.version(places.socket):
        _remove_builders(places, env)
        _kill_containers(places, env)
    _clear(places, known.pool if known else "")
    if purge:
        shutil.rmtree(places.home, ignore_errors=True)
    return was_running


def _remove_builders(places: Places, env: Mapping[str, str]) -> None:
    """Builders with their volumes, and Buildx's records of them: these would make them again at the next use."""
    docker_env = environment(places, env)
    containers = run(["docker", "ps", "-aq", "--filter", f"name={BUILDER_PREFIX}"], env=docker_env).split()
    if containers:
        succeeds(["docker", "rm", "--force", "--volumes", *containers], env=docker_env)
    volumes = run(["docker", "volume", "ls", "-q", "--filter", f"name={BUILDER_PREFIX}"], env=docker_env).split()
    if volumes:
        succeeds(["docker", "volume", "rm", "--force", *volumes], env=docker_env)
    shutil.rmtree(places.docker_config / "buildx", ignore_errors=True)


def _kill_containers(places: Places, env: Mapping[str, str]) -> None:
    """End what still runs at once: a container whose first process ignores TERM would hold dockerd for 10 s."""
    docker_env = environment(places, env)
    running = run(["docker", "ps", "-q"], env=docker_env).split()
    if running:
        succeeds(["docker", "kill", *running], env=docker_env)


def _clear(places: Places, pool: str) -> None:
    daemon.halt(places)
    registry.halt(places)
    if shutil.which("busybox", path=packages.HOST_PATH):
        network.remove(places.name, pool)
    shutil.rmtree(places.run, ignore_errors=True)
    others = [folder for folder in RUN_ROOT.glob("*-*") if folder.is_dir()] if RUN_ROOT.is_dir() else []
    if not others:
        network.restore_forwarding(FORWARDING)
        for folder in LITTER:
            with contextlib.suppress(OSError):  # absent, or another Docker's
                folder.rmdir()
