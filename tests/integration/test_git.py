"""What git tells of an honest repository, by the program and by Buildx; and ways to hold git up."""

from __future__ import annotations

import base64
import http.server
import json
import os
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import trustme

from buildx_cache.ci import GitFacts
from buildx_cache.engine.git import ask, git_provenance, read_git
from buildx_cache.engine.git_index import tracked_names
from buildx_cache.engine.git_origin import branches
from buildx_cache.engine.process import capture_within
from buildx_cache.errors import UnreachableError
from tests.faults.hostile_repositories import PLAIN, WHO, honest
from tests.faults.watched import watch
from tests.integration.conftest import Docker

TOKEN = "glpat-correct-horse"  # noqa: S105
PRUNE = ("cache", "prune", "127.0.0.1:1/app", "--keep-branches-from", "git")


def commit_of(folder: Path, name: str = "HEAD") -> str:
    words = ("git", "-C", str(folder), "rev-parse", name)
    return subprocess.run(words, env=PLAIN, check=True, capture_output=True, text=True).stdout.strip()


def git(folder: Path, *words: str) -> None:
    subprocess.run(("git", "-C", str(folder), *WHO, *words), env=PLAIN, check=True, capture_output=True)


# --- which repository --------------------------------------------------------------------------------------


def test_an_embedded_repository_chooses_neither_commit_nor_branch_nor_project(tmp_path: Path, docker: Docker) -> None:
    """One with an honest commit, so that git would not complain."""
    top = honest(tmp_path / "top")
    other = honest(tmp_path / "other")
    git(other, "checkout", "--quiet", "-b", "release")
    git(other, "commit", "--quiet", "--allow-empty", "--message", "second")
    git(tmp_path, "clone", "--quiet", "--bare", str(other), str(top / "app"))
    (top / "app" / "Dockerfile").write_text("FROM scratch\n")
    words = ("plan", "--assume-driver", "docker-container", "--push", "-t", "example.com/x:{branch}-{short_sha}")
    for folder in (top, top / "app"):
        ran = docker.tool(*words, str(top / "app"), cwd=folder)
        assert (ran.code, ran.stderr) == (0, "")
        assert f"example.com/x:trunk-{commit_of(top)[:7]}" in ran.stdout
        assert "release" not in ran.stdout
        assert "buildx-cache-top-" in ran.stdout


def test_commit_branch_tag_and_default_branch_are_those_of_the_working_copy(tmp_path: Path) -> None:
    top, clone = honest(tmp_path / "top"), tmp_path / "clone"
    git(top, "tag", "--annotate", "v1", "--message", "one")
    git(tmp_path, "clone", "--quiet", "--filter=blob:none", f"file://{top}", str(clone))
    git(clone, "config", "color.ui", "always")
    git(clone, "checkout", "--quiet", "-b", "feature/x")
    facts = GitFacts(sha=commit_of(top), branch="feature/x", tag="v1", default_branch="trunk")
    assert read_git(clone, user(tmp_path, tmp_path)) == facts
    git(clone, "checkout", "--quiet", "--detach")
    assert read_git(clone, user(tmp_path, tmp_path)) == replace(facts, branch=None)


def test_an_honest_repository_is_in_the_provenance(tmp_path: Path, docker: Docker) -> None:
    top = honest(tmp_path / "top")
    git(top, "remote", "add", "origin", "https://token@example.com/org/app.git")
    assert vcs_of(docker, top, top) == {"revision": commit_of(top), "source": "https://example.com/org/app.git"}
    assert "provenance" not in docker.build(*words_of(top), str(top), cwd=top).stderr


def test_an_embedded_repository_is_not_in_the_provenance(tmp_path: Path, docker: Docker) -> None:
    top = honest(tmp_path / "top")
    honest(top / "app")
    assert vcs_of(docker, top / "app", top) == {}
    ran = docker.build(*words_of(top), str(top / "app"), cwd=top)
    assert f"provenance without the commit: {top / 'app'} is a repository" in ran.stderr


def words_of(folder: Path) -> tuple[str, ...]:
    kept = ("--metadata-file", str(folder.parent / "metadata"), "--provenance", "mode=max")
    return ("--builder", "default", "--cache", "none", "--no-prune", *kept)


def vcs_of(docker: Docker, context: Path, here: Path) -> object:
    docker.build(*words_of(here), str(context), cwd=here, env={"BUILDX_METADATA_PROVENANCE": "max"})
    found = json.loads((here.parent / "metadata").read_text())["buildx.build.provenance"]["metadata"]
    vcs = found["https://mobyproject.org/buildkit@v1#metadata"].get("vcs", {})
    return {name: text for name, text in vcs.items() if not name.startswith("localdir")}


# --- origin ------------------------------------------------------------------------------------------------


@dataclass
class Server:
    """A git server by TLS that wants a login; of its two branches it tells without being asked twice."""

    port: int = 0
    asked: list[str] = field(default_factory=list)


@pytest.fixture
def authority(tmp_path: Path) -> Iterator[tuple[Server, Path]]:
    server, authority = Server(), trustme.CA()
    basic = base64.b64encode(f"ci:{TOKEN}".encode()).decode()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            server.asked.append(self.headers.get("Authorization", ""))
            known = server.asked[-1] == f"Basic {basic}"
            body = "".join(f"{'a' * 40}\trefs/heads/{name}\n" for name in ("main", "topic")).encode()
            self.send_response(200 if known else 401)
            if not known:
                self.send_header("WWW-Authenticate", 'Basic realm="x"')
            self.send_header("Content-Type", "text/plain")
            self.send_header("Content-Length", str(len(body) if known else 0))
            self.end_headers()
            self.wfile.write(body if known else b"")

        def log_message(self, *_: object) -> None:
            pass

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        running.socket = context.wrap_socket(running.socket, server_side=True)
        server.port = running.server_address[1]
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield server, tmp_path / "ca.pem"
        running.shutdown()


def user(tmp_path: Path, ca: Path, **more: str) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "GIT_SSL_CAINFO": str(ca), **more}


def test_a_token_in_origins_address_reaches_its_server_and_no_command_line(
    tmp_path: Path, docker: Docker, authority: tuple[Server, Path]
) -> None:
    server, ca = authority
    top = honest(tmp_path / "top")
    git(top, "remote", "add", "origin", f"https://ci:{TOKEN}@localhost:{server.port}/org/app.git")
    assert branches(top, user(tmp_path, ca)) == ("main", "topic")
    run = watch(docker, *PRUNE, cwd=top, env={"GIT_SSL_CAINFO": str(ca)})
    assert run.code == 5, run.stderr  # there is no registry
    assert any(b"remote-https" in each.argv for each in run.children)
    assert [each.argv for each in run.seen if TOKEN.encode() in each.argv] == []
    assert TOKEN.encode() not in run.stderr


def test_a_users_credential_helper_is_asked_and_the_repositorys_is_not(
    tmp_path: Path, authority: tuple[Server, Path]
) -> None:
    server, ca = authority
    top = honest(tmp_path / "top")
    git(top, "remote", "add", "origin", f"https://ci@localhost:{server.port}/org/app.git")
    git(top, "config", "credential.helper", f"!touch {tmp_path / 'ran'}; false")
    env = user(tmp_path, ca, TOKEN=TOKEN)
    with pytest.raises(UnreachableError):
        branches(top, env)
    (tmp_path / ".gitconfig").write_text('[credential]\n\thelper = "!f() { echo password=$TOKEN; }; f"\n')
    assert branches(top, env) == ("main", "topic")
    assert not (tmp_path / "ran").exists()


def test_no_setting_of_the_user_leads_to_another_protocol(tmp_path: Path) -> None:
    top = honest(tmp_path / "top")
    git(top, "remote", "add", "origin", "https://example.com/app.git")
    for instead in (f"ext::touch {tmp_path / 'ran'} ", f"file://{top}/#"):
        url = f'[url "{instead}"]\n\tinsteadOf = https://example.com\n'
        (tmp_path / ".gitconfig").write_text(f"[protocol]\n\tallow = always\n{url}")
        with pytest.raises(UnreachableError):
            branches(top, user(tmp_path, tmp_path))
    assert not (tmp_path / "ran").exists()


# --- limits ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", [".git/HEAD", ".git/config", "included"])
def test_a_repository_does_not_hold_git_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    """As an archive can: with a FIFO where git reads a file."""
    monkeypatch.setattr("buildx_cache.engine.git._LIMITS", (0.5, 1 << 20))
    top = honest(tmp_path / "top")
    git(top, "config", "include.path", str(top / "included"))
    (top / place).unlink(missing_ok=True)
    os.mkfifo(top / place)
    assert read_git(top, user(tmp_path, tmp_path)).sha is None
    assert ask(top, user(tmp_path, tmp_path), "config", "--list", "--show-scope") == ""


@pytest.mark.parametrize("place", [".git", ".git/HEAD", ".git/config", ".git/packed-refs", ".git/refs/heads/trunk"])
@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero")], ids=["pipe", "device"])
def test_git_is_not_asked_where_it_would_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, make: Callable[[Path], None]
) -> None:
    top = honest(tmp_path / "top")
    assert ask(top, user(tmp_path, tmp_path), "rev-parse", "HEAD")
    if os.path.lexists(top / place):
        (top / place).rename(tmp_path / "before")
    make(top / place)
    started: list[object] = []
    monkeypatch.setattr("buildx_cache.engine.git.run_git", lambda *words: started.append(words))
    assert read_git(top, user(tmp_path, tmp_path)).sha is None
    assert started == []


@pytest.mark.parametrize("place", [".mailmap", ".git/refs/heads/trunk", ".git/packed-refs"])
def test_buildx_does_not_ask_git_where_that_does_not_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    top = honest(tmp_path / "top")
    assert git_provenance(top, top, user(tmp_path, tmp_path)).note == ""
    monkeypatch.setattr("buildx_cache.engine.git._LIMITS", (0.5, 1 << 20))
    (top / place).unlink(missing_ok=True)
    os.mkfifo(top / place)
    found = git_provenance(top, top, user(tmp_path, tmp_path))
    assert (found.env.get("BUILDX_GIT_INFO"), bool(found.note)) == ("false", True)


def test_a_repository_without_a_commit_is_honest(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet", "top")
    top = tmp_path / "top"
    assert git_provenance(top, top, user(tmp_path, tmp_path)).note == ""


def test_what_a_command_says_has_a_limit() -> None:
    env = {"PATH": os.environ["PATH"]}
    assert capture_within(("printf", "abc"), env=env, within=(60.0, 3)).stdout == "abc"
    for words in (("yes",), ("sleep", "60"), ("sh", "-c", "exec >&-; sleep 60"), ("sh", "-c", "trap '' INT; yes")):
        with pytest.raises(TimeoutError):
            capture_within(words, env=env, within=(0.3, 1 << 16))


# --- python -m ---------------------------------------------------------------------------------------------


def test_the_module_imports_nothing_from_the_working_folder(tmp_path: Path, docker: Docker) -> None:
    """But what Python itself imports to find the module, which no program can keep it from."""
    marks = tmp_path / "marks"
    for name in ("typer", "rich", "click", "signal", "gc", "__future__", "json", "subprocess", "pathlib", "urllib3"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(f"open({str(marks)!r}, 'a').write('{name}\\n')\n")
    ran = docker.tool("--version", cwd=tmp_path, env={"PYTHONPATH": ":"})
    assert (ran.code, ran.stderr, marks.exists()) == (0, "", False)


@pytest.mark.parametrize("version", ["2", "3", "4"])
@pytest.mark.parametrize("hashes", ["sha1", "sha256"])
def test_the_index_tells_what_git_tracks(version: str, hashes: str, tmp_path: Path) -> None:
    top = tmp_path / "top"
    top.mkdir()
    git(top, "init", "--quiet", f"--object-format={hashes}")
    for name in (
        ".docker/config.json",
        "a/b",
        "a/b c",
        "a/\u00e9",
        *(f"long/{'x' * length}" for length in range(1, 130)),
    ):
        (top / name).parent.mkdir(exist_ok=True)
        (top / name).write_text(name)
    git(top, "add", "--all")
    if version == "3":
        (top / "later").touch()
        git(top, "add", "--intent-to-add", "later")
    else:
        git(top, "update-index", f"--index-version={version}")
    names = ask(top, {"PATH": os.environ["PATH"]}, "ls-files", "-z").strip("\0").split("\0")
    assert (top / ".git" / "index").read_bytes()[7] == int(version)
    assert [*tracked_names(top, ".")] == names
    for below in ("a", "a/b c", "long/x", f"long/{'x' * 99}", "absent", "later"):
        told = ask(top, {"PATH": os.environ["PATH"]}, "ls-files", "-z", "--", below).strip("\0").split("\0")
        assert [*tracked_names(top, below)] == [*filter(None, told)]
    git(top, "commit", "--quiet", "--message", "first")
    git(top, "worktree", "add", "--quiet", "-b", "other", str(tmp_path / "other"))
    assert [*tracked_names(tmp_path / "other", ".")] == [name for name in names if name != "later"]


def test_what_is_no_index_is_not_read(tmp_path: Path) -> None:
    """One without an end in memory neither: from version 4 on, a name repeats the one before."""
    top = honest(tmp_path / "top")
    index = top / ".git" / "index"
    content = index.read_bytes()
    with index.open("r+b") as opened:
        opened.truncate(1 << 27)
    assert [*tracked_names(top, ".docker")] == ["."]
    endless = content[:12] + (bytes(62) + b"\0" + b"x" * 100 + b"\0") * 10000
    for changed in (
        b"",
        b"DIRC",
        content[:20],
        content[:70],
        b"DIRC\0\0\0\4\xff\xff\xff\xff" + endless[12:],
        b"X" * 99,
    ):
        index.write_bytes(changed)
        with pytest.raises(ValueError, match=r"\S"):
            list(tracked_names(top, "."))
    index.unlink()
    os.mkfifo(index)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / ".git").write_text("gitdir: /nonexistent\n")
    for folder in (top, tmp_path / "other", tmp_path):
        with pytest.raises(ValueError, match=r"\S"):
            list(tracked_names(folder, "."))
