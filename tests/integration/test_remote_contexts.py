"""A context that BuildKit fetches from a git server, built inside another work tree."""

from __future__ import annotations

import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from buildx_cache.engine.git_origin import revision
from buildx_cache.errors import UnreachableError
from buildx_cache.reference import parse_reference
from buildx_cache.registry.repository import connect
from buildx_cache.request.remote_context import GitContext
from tests.faults.hostile_repositories import PLAIN, honest
from tests.integration.conftest import Docker
from tests.integration.test_git import commit_of, git

_EXEC_PATH = subprocess.run(("git", "--exec-path"), check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """The work tree in which the program is called; its branch is ``trunk``."""
    return honest(tmp_path / "here")


@pytest.fixture
def there(tmp_path: Path) -> Path:
    """The repository that a server has, two commits on its branch ``topic``."""
    top = honest(tmp_path / "served" / "o.git")
    git(top, "checkout", "--quiet", "-b", "topic")
    (top / "Dockerfile").write_text("FROM scratch\nCOPY . /\n")
    git(top, "add", ".")
    git(top, "commit", "--quiet", "--message", "second")
    git(top, "tag", "v1")
    git(top, "commit", "--quiet", "--allow-empty", "--message", "third")
    return top


@pytest.fixture
def address(there: Path) -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    words = ("--listen=127.0.0.1", f"--port={port}", f"--base-path={there.parent}", "--export-all", "--reuseaddr")
    daemon = subprocess.Popen((f"{_EXEC_PATH}/git-daemon", *words), env=PLAIN, stderr=subprocess.DEVNULL)
    address = f"git://127.0.0.1:{port}/o.git"
    try:
        while subprocess.run(("git", "ls-remote", address), env=PLAIN, capture_output=True, check=False).returncode:
            assert daemon.poll() is None
            time.sleep(0.05)
        yield address
    finally:
        daemon.terminate()
        daemon.wait()


def tags(repository: str) -> list[str]:
    return sorted(connect(parse_reference(repository), lambda _: None).tags())


def test_the_remotes_commit_and_branch_are_pushed(docker: Docker, here: Path, there: Path, address: str) -> None:
    name = docker.repository()
    words = ("--driver", "docker", "--push", "-t", f"{name}:{{branch}}-{{short_sha}}")
    ran = docker.build(*words, f"{address}#topic", cwd=here)
    sha = commit_of(there)
    assert ran.stdout.startswith(f"{name}:topic-{sha[:7]}@")
    assert tags(name) == ["buildcache-topic", f"topic-{sha[:7]}"]
    assert ran.report["ci"]["sha"] == sha
    assert any(f"{address}#{sha}" in command for command in ran.report["commands"])
    ran = docker.build("--driver", "docker", "--push", "-t", f"{name}:{{tag}}", f"{address}#v1", cwd=here)
    assert ran.report["ci"]["sha"] == commit_of(there, "v1") != sha


def plan(docker: Docker, here: Path, *words: str) -> tuple[int, str]:
    ran = docker.tool("plan", "--assume-driver", "docker", *words, cwd=here)
    return ran.code, ran.stdout + ran.stderr


@pytest.mark.parametrize(
    ("context", "code"),
    [
        ("deploy@localhost:org/repo.git#main", 5),
        ("https://127.0.0.1:9/org/repo.git", 5),
        ("git://127.0.0.1:9/o.git#master", 5),
        ("https://127.0.0.1:9/org/repo.git?ref=main", 2),
        ("https://127.0.0.1:9/app.tar.gz", 2),
    ],
)
def test_what_is_not_known_is_refused(docker: Docker, here: Path, context: str, code: int) -> None:
    found, said = plan(docker, here, "-t", "r.example/app:{branch}-{short_sha}", context)
    assert found == code
    assert commit_of(here)[:7] not in said
    assert "trunk" not in said


def test_no_folder_here_stands_for_the_commit_that_a_server_tells(
    docker: Docker, here: Path, there: Path, address: str, tmp_path: Path
) -> None:
    """Whoever commits here knows the commit, and that Buildx builds a folder of the address' name."""
    secret = tmp_path / "of-the-host"
    secret.mkdir()
    (secret / "Dockerfile").write_text("FROM scratch\nCOPY . /\n")
    place = here / f"{address}#{commit_of(there)}"
    place.parent.mkdir(parents=True)
    place.symlink_to(secret)
    for words in (("plan", "--assume-driver", "docker"), ("build", "--driver", "docker", "-o", "type=cacheonly")):
        ran = docker.tool(*words, "-t", "r.example/app:{short_sha}", f"{address}#topic", cwd=here)
        assert ran.code == 2
        assert "the folder of that name" in ran.stderr


def test_a_ref_that_is_not_there_is_refused(docker: Docker, here: Path, address: str) -> None:
    assert plan(docker, here, "-t", "r.example/app:{short_sha}", f"{address}#absent")[0] == 2


@pytest.mark.parametrize(
    ("ref", "scope"), [("#topic", "buildcache-topic"), ("#refs/heads/a/b", "buildcache-a-b"), ("", "")]
)
def test_a_scope_does_without_an_answer(docker: Docker, here: Path, ref: str, scope: str) -> None:
    code, said = plan(docker, here, "-t", "r.example/app:1", "--push", f"https://127.0.0.1:9/o.git{ref}")
    assert code == 0
    assert "trunk" not in said
    assert ("--cache-to" in said, scope in said) == (bool(scope), True)


def test_who_needs_no_answer_asks_nobody(docker: Docker, here: Path) -> None:
    for words in (("-t", "app:1"), ("-t", "r.example/app:1", "--push", "--cache-scope", "x")):
        code, said = plan(docker, here, *words, "https://127.0.0.1:9/o.git")
        assert (code, "ls-remote" in said, "trunk" in said) == (0, False, False)


@pytest.fixture
def locked() -> Iterator[tuple[str, list[str]]]:
    """Serve a repository that wants a login by plain HTTP: its address, and the logins that it is sent."""
    sent: list[str] = []

    class Locked(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            sent.append(self.headers.get("Authorization", ""))
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="git"')
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- the base class's name
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Locked) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/o.git", sent
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("source", ["helper", "command-line", "header", "netrc", "GIT_ASKPASS", "SSH_ASKPASS"])
def test_no_login_goes_by_plain_http(tmp_path: Path, locked: tuple[str, list[str]], source: str) -> None:
    address, sent = locked
    home, asked = tmp_path / "home", tmp_path / "asked"
    home.mkdir()
    asked.write_text("#!/bin/sh\necho planted\n")
    asked.chmod(0o700)
    helper = "!f() { echo username=x; echo password=planted; }; f"
    files = {
        "helper": (".gitconfig", f'[credential]\n\thelper = "{helper}"\n'),
        "header": (".gitconfig", "[http]\n\textraHeader = Authorization: Basic planted\n"),
        "netrc": (".netrc", "machine 127.0.0.1 login x password planted\n"),
    }
    name, text = files.get(source, ("nothing", ""))
    (home / name).write_text(text)
    env = {**PLAIN, "HOME": str(home)}
    if source == "command-line":
        env |= {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "credential.helper", "GIT_CONFIG_VALUE_0": helper}
    if source.endswith("ASKPASS"):
        env[source] = str(asked)
    subprocess.run(("git", "ls-remote", address), env=env, check=False)
    assert any(sent)
    sent.clear()
    with pytest.raises(UnreachableError):
        revision(GitContext(address=address), env)
    assert sent
    assert not any(sent)
