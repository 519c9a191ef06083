"""A Docker with Buildx that is already there: nothing is installed, and two containers serve as registries."""

import re
import shutil
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import registry
import state
from errors import EngineError
from private import buildx_version
from processes import run, say, succeeds
from state import EXISTING, State

REGISTRY_IMAGE = "registry:2"
BASE_IMAGE = "busybox:1.36-musl"
CONTAINERS = ("buildx-cache-registry", "buildx-cache-registry-auth")
SETTINGS = ("REGISTRY_STORAGE_DELETE_ENABLED=true",)
AUTH_SETTINGS = (
    *SETTINGS,
    "REGISTRY_AUTH=htpasswd",
    "REGISTRY_AUTH_HTPASSWD_REALM=buildx-cache-engine",
    "REGISTRY_AUTH_HTPASSWD_PATH=/htpasswd",
)


def answers(env: Mapping[str, str]) -> bool:
    """Whether the caller's own docker reaches a daemon and has Buildx."""
    return succeeds(["docker", "buildx", "version"], env=env) and succeeds(["docker", "info"], env=env)


def up(env: Mapping[str, str]) -> State:
    """Start the two registries, unless they run, and describe the engine."""
    known = state.load(state.run_root(env) / EXISTING)
    if known and known.docker_host == env.get("DOCKER_HOST", "") and is_running(known):
        return known
    if not succeeds(["docker", "image", "inspect", REGISTRY_IMAGE], env=env):
        say(f"pulling {REGISTRY_IMAGE} …")
        run(
            ["docker", "pull", "--quiet", REGISTRY_IMAGE],
            env=env,
            hint=f"make `docker pull {REGISTRY_IMAGE}` work, or ask for a private engine with --suite forky",
        )
    addresses = [
        _start(name, settings, env) for name, settings in zip(CONTAINERS, (SETTINGS, AUTH_SETTINGS), strict=True)
    ]
    found = State(
        kind=EXISTING,
        name=EXISTING,
        docker_host=env.get("DOCKER_HOST", ""),
        docker_config=env.get("DOCKER_CONFIG", ""),
        registry=addresses[0],
        auth_registry=addresses[1],
        auth_user=registry.USER,
        auth_password=registry.PASSWORD,
        base_image=BASE_IMAGE,
        docker_version=run(["docker", "version", "--format", "{{.Server.Version}}"], env=env).strip(),
        buildx_version=buildx_version(env),
    )
    state.save(found, state.run_root(env) / EXISTING)
    return found


def down(env: Mapping[str, str]) -> bool:
    """Remove the two registries and nothing else; whether there were any."""
    folder = state.run_root(env) / EXISTING
    known = state.load(folder)
    docker_env = {**env, **({"DOCKER_HOST": known.docker_host} if known and known.docker_host else {})}
    found = [name for name in CONTAINERS if succeeds(["docker", "container", "inspect", name], env=docker_env)]
    if found:
        run(["docker", "rm", "--force", "--volumes", *found], env=docker_env)
    shutil.rmtree(folder, ignore_errors=True)
    return bool(found)


def is_running(known: State) -> bool:
    """Whether both registries still serve."""
    return registry.answers(known.registry) and registry.answers(known.auth_registry)


def _start(name: str, settings: tuple[str, ...], env: Mapping[str, str]) -> str:
    if address := _address(name, env):
        return address
    succeeds(["docker", "rm", "--force", "--volumes", name], env=env)
    options = [word for setting in settings for word in ("--env", setting)]
    run(
        ["docker", "create", "--name", name, "--publish", "127.0.0.1::5000", *options, REGISTRY_IMAGE],
        env=env,
    )
    with tempfile.TemporaryDirectory() as scratch:
        htpasswd = Path(scratch) / "htpasswd"
        htpasswd.write_text(registry.HTPASSWD)
        # Copied, not mounted: the daemon may be on another machine.
        run(["docker", "cp", str(htpasswd), f"{name}:/htpasswd"], env=env)
    run(["docker", "start", name], env=env)
    address = _address(name, env)
    if not address:
        raise EngineError(f"the container {name} does not stay up", f"read `docker logs {name}`")
    # With a daemon on another machine it never answers here, though it may serve the builders there.
    deadline = time.monotonic() + 5
    while not registry.answers(address) and time.monotonic() < deadline:
        time.sleep(0.05)
    return address


def _address(name: str, env: Mapping[str, str]) -> str:
    """Where a running registry container is published, or nothing."""
    if not succeeds(["docker", "port", name, "5000"], env=env):
        return ""
    found = re.search(r"127\.0\.0\.1:\d+", run(["docker", "port", name, "5000"], env=env))
    return found[0] if found else ""
