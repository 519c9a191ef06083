"""The images of jobs: small Debians that have what a CI's job image has and no more, and a user of the number 1000."""

from __future__ import annotations

import hashlib
import json
import platform
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.integration.conftest import Docker

SUITE = "bookworm"
USER = 1000
DEBIAN = "buildx-cache-test/debian:bookworm"
PIP = "buildx-cache-test/pip:bookworm"
_INCLUDED = {DEBIAN: (), PIP: ("pipx", "python3-pip", "python3-venv")}
_ADD_USER = f"RUN useradd --create-home --uid {USER} ci\n"
_TOOLS = ("ca-certificates", "git", "openssh-client", "python3")
_NO_PART = ("__pycache__", "test", "site-packages", "*.a", "ensurepip", "venv")


def debian(docker: Docker, scratch: Path, image: str = DEBIAN) -> str:
    """Debian with its Python, but neither pip nor venv; or one that has those and pipx, too."""
    if not docker.docker("images", "--quiet", image):
        if not shutil.which("debootstrap"):
            _run("apt-get", "install", "-y", "-qq", "debootstrap")
        tree = scratch / "tree"
        included = ",".join((*_TOOLS, *_INCLUDED[image]))
        _run("debootstrap", "--variant=minbase", f"--include={included}", SUITE, str(tree))
        (tree / "etc" / "apt" / "sources.list").write_text("")
        import_tree(docker, tree, image)
        shutil.rmtree(tree)
    return image


def with_python(docker: Docker, scratch: Path) -> str:
    """A job with Python, but neither pip nor venv."""
    return _job(docker, "python", f"FROM {debian(docker, scratch)}\n", scratch)


def with_pip(docker: Docker, scratch: Path) -> str:
    """A job with Python, pip, venv and pipx."""
    return _job(docker, "pip", f"FROM {debian(docker, scratch, PIP)}\n", scratch)


def without_python(docker: Docker, scratch: Path) -> str:
    """A job with no Python."""
    return _job(docker, "bare", f"FROM {debian(docker, scratch)}\nRUN rm /usr/bin/python3*\n", scratch)


def with_old_python(docker: Docker, scratch: Path) -> str:
    """A job with Python 3.10 and neither pip nor venv, as CircleCI's cimg/base on Ubuntu 22.04."""
    copy_python("3.10", scratch)
    lines = f"FROM {debian(docker, scratch)}\nRUN rm /usr/bin/python3*\nCOPY python /usr/local\n"
    return _job(docker, "python3.10", lines, scratch)


def copy_python(version: str, folder: Path) -> str:
    """Copy pyenv's Python to ``folder/python``, which runs anywhere; without tests, packages, pip and venv.

    Returns its whole version.
    """
    if not shutil.which("pyenv"):
        pytest.skip(f"no Python {version}: this machine has no pyenv")
    found = [name for name in _run("pyenv", "versions", "--bare").split() if name.startswith(f"{version}.")]
    if not found:
        pytest.skip(f"pyenv has no Python {version} here")
    prefix = Path(_run("pyenv", "prefix", found[-1]))
    shutil.copytree(prefix, folder / "python", symlinks=True, ignore=shutil.ignore_patterns(*_NO_PART))
    program = folder / "python" / "bin" / f"python{version}"
    place = f"{prefix}/lib\0".encode()  # where it looks for its library
    program.write_bytes(program.read_bytes().replace(place, b"$ORIGIN/../lib".ljust(len(place), b"\0")))
    return found[-1]


def uv_downloads(folder: Path, version: str) -> Path:
    """Make a list of Pythons for uv to download, with one from this machine; return its file's path."""
    archive, file = folder / "python.tar.gz", folder / "downloads.json"
    full = copy_python(version, folder)
    _run("tar", "-C", str(folder), "-czf", str(archive), "python")
    major, minor, patch = map(int, full.split("."))
    row = {
        "name": "cpython",
        "arch": {"family": platform.machine(), "variant": None},
        "os": "linux",
        "libc": "gnu",
        "major": major,
        "minor": minor,
        "patch": patch,
        "prerelease": "",
        "variant": None,
        "build": "20260101",
        "url": f"file:///{folder.name}/{archive.name}",
        "sha256": hashlib.sha256(archive.read_bytes()).hexdigest(),
    }
    file.write_text(json.dumps({f"cpython-{full}-linux-{platform.machine()}-gnu": row}))
    return file


def import_tree(docker: Docker, tree: Path, image: str) -> None:
    """Import a folder as an image of one layer."""
    with subprocess.Popen(("tar", "-C", str(tree), "-c", "."), stdout=subprocess.PIPE) as tar:
        subprocess.run(
            ("docker", "import", "-", image), stdin=tar.stdout, env=docker.child_env(), check=True, capture_output=True
        )


def _job(docker: Docker, name: str, lines: str, scratch: Path) -> str:
    image = f"buildx-cache-test/job:{name}"
    (scratch / "Dockerfile").write_text(lines + _ADD_USER)
    docker.docker("build", "--quiet", "--tag", image, str(scratch))
    return image


def _run(*words: str) -> str:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout.strip()
