from __future__ import annotations

import ast
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import buildx_cache

Failed = pytest.fail.Exception


def connect_to_docker() -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect("/var/run/docker.sock")


def connect_to_a_registry() -> None:
    with socket.create_connection(("127.0.0.1", 5000)):
        pass


def look_up_a_host() -> None:
    socket.getaddrinfo("registry.example.com", 443)


def replace_the_process() -> None:
    os.execv(sys.executable, [sys.executable, "-c", ""])  # noqa: S606 -- the guard stops it


def spawn() -> None:
    os.posix_spawn(sys.executable, [sys.executable, "-c", ""], {})


def use_a_shell() -> None:
    os.system("true")  # noqa: S605 -- the guard stops it


@pytest.mark.parametrize(
    ("deed", "event"),
    [
        pytest.param(lambda: subprocess.Popen(["docker", "info"]), "subprocess.Popen", id="popen"),
        pytest.param(lambda: subprocess.run(["git", "status"], check=False), "subprocess.Popen", id="run"),
        pytest.param(os.fork, "os.fork", id="fork"),
        pytest.param(replace_the_process, "os.exec", id="exec"),
        pytest.param(spawn, "os.posix_spawn", id="posix-spawn"),
        pytest.param(use_a_shell, "os.system", id="shell"),
        pytest.param(connect_to_docker, "socket.connect", id="docker-socket"),
        pytest.param(connect_to_a_registry, r"socket\.\w+", id="registry"),
        pytest.param(look_up_a_host, "socket.getaddrinfo", id="name-lookup"),
    ],
)
def test_what_leaves_the_process_fails_the_test(deed: Callable[[], object], event: str) -> None:
    with pytest.raises(Failed, match=rf"a unit test .+: {event} .*hand in a fake"):
        deed()


def test_the_guard_cannot_be_swallowed_as_an_ordinary_error() -> None:
    assert not issubclass(Failed, Exception)


PACKAGE = Path(buildx_cache.__file__).parent
STARTS = re.compile(r"\bsubprocess\b|\bos\.(exec|spawn|posix_spawn|fork|system|popen)|\bpty\b|create_subprocess")


def test_one_module_starts_processes() -> None:
    starting = [path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py") if STARTS.search(path.read_text())]
    assert starting == [Path("engine/process.py")]


def test_no_two_modules_have_one_name() -> None:
    names = [path.stem for path in PACKAGE.rglob("*.py") if path.name != "__init__.py"]
    assert sorted({name for name in names if names.count(name) > 1}) == []


def test_no_two_public_classes_have_one_name() -> None:
    trees = [ast.parse(path.read_text()) for path in PACKAGE.rglob("*.py")]
    names = [node.name for tree in trees for node in tree.body if isinstance(node, ast.ClassDef)]
    assert {name for name in names if names.count(name) > 1 and not name.startswith("_")} == set()
