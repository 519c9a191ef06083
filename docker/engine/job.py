"""The image of a CI's job container, such as CircleCI's: a small Debian that has what a job is promised, and no more.

That is a normal user, Python without pip, git, an ssh client, and the docker command with Buildx. It is made of the
packages of the machine's own suite, unpacked.
"""

import hashlib
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import private
from errors import EngineError
from processes import run, say, succeeds
from state import Places

PACKAGES = (
    *("base-files", "base-passwd", "bash", "coreutils", "dash", "findutils", "grep", "gzip", "libc-bin", "sed", "tar"),
    *("git", "openssh-client", "python3"),
)
USER, NUMBER = "circleci", 3434
IMAGE = "buildx-cache/job"


def ensure(places: Places, env: Mapping[str, str]) -> str:
    """Have the image in the engine's store; return its name."""
    root = places.cache / "prefix" / "job"
    if not (root / ".complete").exists():
        _unpack(root, env)
    docker_env = private.environment(places, env)
    tools = {
        "docker": places.prefix / "usr/bin/docker",
        "docker-buildx": places.prefix / "usr/libexec/docker/cli-plugins/docker-buildx",
    }
    made_of = [(root / ".complete").read_text(), *(f"{path} {path.stat().st_mtime_ns}" for path in tools.values())]
    name = f"{IMAGE}:{hashlib.sha256(repr(made_of).encode()).hexdigest()[:12]}"
    if not succeeds(["docker", "image", "inspect", name], env=docker_env):
        say(f"making the image {name} …")
        shutil.copy(tools["docker"], root / "usr/bin/docker")
        plugins = root / "usr/libexec/docker/cli-plugins"
        plugins.mkdir(parents=True, exist_ok=True)
        shutil.copy(tools["docker-buildx"], plugins)
        _import(root, name, docker_env)
    return name


def _unpack(root: Path, env: Mapping[str, str]) -> None:
    """Have apt find what the packages need on a machine that has none."""
    say(f"downloading {', '.join(PACKAGES)} …")
    shutil.rmtree(root, ignore_errors=True)
    archives = root / "archives"
    (archives / "partial").mkdir(parents=True)
    status = archives / "status"
    status.touch()
    options = (f"Dir::State::status={status}", f"Dir::Cache::archives={archives}", "APT::Sandbox::User=root")
    words = [word for option in options for word in ("-o", option)]
    download = ["apt-get", "-qq", "-y", "--no-install-recommends", *words, "--download-only", "install", *PACKAGES]
    run(download, env=env, hint="make `apt-get update` work, then try again")
    found = sorted(archives.glob("*.deb"))
    for package in found:
        run(["dpkg", "-x", str(package), str(root)], hint=f"delete {root} and try again")
    shutil.rmtree(archives)
    _add_user(root)
    (root / ".complete").write_text("".join(f"{package.name}\n" for package in found))


def _add_user(root: Path) -> None:
    for name, line in (("passwd", f"{NUMBER}::/home/{USER}:/bin/bash"), ("group", "")):
        users = (root / "usr/share/base-passwd" / f"{name}.master").read_text()
        (root / "etc" / name).write_text(f"{users}{USER}:x:{NUMBER}:{line}\n")
    (root / "home" / USER).mkdir(parents=True, exist_ok=True)


def _import(root: Path, name: str, env: Mapping[str, str]) -> None:
    archive = ["tar", "--directory", str(root), "--owner=0", "--group=0", "--numeric-owner", "--create", "."]
    changes = [word for change in (f"USER {USER}", f"WORKDIR /home/{USER}") for word in ("--change", change)]
    importing = ["docker", "import", *changes, "-", name]
    with subprocess.Popen(archive, stdout=subprocess.PIPE) as packing:
        done = subprocess.run(importing, env=env, stdin=packing.stdout, stdout=subprocess.DEVNULL, check=False)
    if done.returncode or packing.returncode:
        raise EngineError(f"the image {name} could not be made", "check the free disk space")
