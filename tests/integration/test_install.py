"""The installer of the self-contained executable, with releases that hold a script in the program's place."""

from __future__ import annotations

import functools
import hashlib
import http.server
import io
import os
import subprocess
import tarfile
import threading
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.integration.conftest import PROJECT, Docker

INSTALLER = PROJECT / "docker" / "install.sh"
ARCHIVE = "buildx-cache-linux-amd64.tar.gz"
STARTS = "#!/bin/sh\necho buildx-cache {version}\n"


def release(folder: Path, program: str = STARTS.format(version="1.0")) -> Path:
    """A folder with the archive and its checksum, as docker/executable/build.sh leaves them."""
    folder.mkdir(exist_ok=True)
    with tarfile.open(folder / ARCHIVE, "w:gz") as tar:
        member = tarfile.TarInfo("buildx-cache")
        member.mode, member.size = 0o755, len(program)
        tar.addfile(member, io.BytesIO(program.encode()))
    (folder / "SHA256SUMS").write_text(f"{checksum(folder)}  {ARCHIVE}\n")
    return folder


def checksum(folder: Path) -> str:
    return hashlib.sha256((folder / ARCHIVE).read_bytes()).hexdigest()


def install(*words: str, releases: object, home: Path, **more: str) -> subprocess.CompletedProcess[str]:
    env = {"PATH": os.environ["PATH"], "HOME": str(home), "BUILDX_CACHE_RELEASES": str(releases), **more}
    return subprocess.run(("sh", str(INSTALLER), *words), env=env, capture_output=True, text=True, check=False)


def path_with(folder: Path, programs: Mapping[str, str]) -> str:
    """A PATH on which these scripts come first."""
    folder.mkdir()
    for name, body in programs.items():
        (folder / name).write_text(f"#!/bin/sh\n{body}\n")
        (folder / name).chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"


@pytest.fixture
def amd64(tmp_path: Path) -> str:
    """A PATH on which this machine is of the releases' platform."""
    return path_with(tmp_path / "amd64", {"uname": "case $1 in -s) echo Linux ;; -m) echo x86_64 ;; esac"})


def run(program: Path) -> str:
    return subprocess.run((str(program),), capture_output=True, text=True, check=True).stdout.strip()


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_the_command_is_installed_for_the_user(tmp_path: Path, amd64: str) -> None:
    done = install(releases=release(tmp_path / "release"), home=tmp_path / "home", PATH=amd64)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    folder = tmp_path / "home" / ".local" / "bin"
    assert run(folder / "buildx-cache") == "buildx-cache 1.0"
    assert f'export PATH="{folder}:$PATH"' in done.stderr
    assert len(left(folder)) == 2


def test_the_version_before_is_kept_and_older_ones_go(tmp_path: Path, amd64: str) -> None:
    folder = tmp_path / "a folder"
    for version in ("1.0", "1.1", "1.2", "1.2"):
        source = release(tmp_path / "release", STARTS.format(version=version))
        done = install("--to", str(folder), releases=source, home=tmp_path, PATH=amd64)
        assert done.returncode == 0, done.stderr
    assert run(folder / "buildx-cache") == "buildx-cache 1.2"
    assert len(left(folder)) <= 3


def test_a_pinned_archive_comes_over_plain_http_too(tmp_path: Path, amd64: str) -> None:
    source = release(tmp_path / "release")
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(source))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_address[1]}"
        pinned = {"BUILDX_CACHE_SHA256": checksum(source)}
        done = install("--to", str(tmp_path / "to"), releases=address, home=tmp_path, PATH=amd64, **pinned)
        absent = install("--to", str(tmp_path / "not"), releases=f"{address}/x", home=tmp_path, PATH=amd64, **pinned)
        open_ = install("--to", str(tmp_path / "not"), releases=address, home=tmp_path, PATH=amd64)
        server.shutdown()
    assert done.returncode == 0, done.stderr
    assert run(tmp_path / "to" / "buildx-cache") == "buildx-cache 1.0"
    assert (absent.returncode, open_.returncode) == (5, 2)
    assert left(tmp_path / "not") == []


def test_no_redirect_leads_an_address_with_https_to_plain_http(tmp_path: Path, amd64: str) -> None:
    said = tmp_path / "said"
    path_with(tmp_path / "curl", {"curl": f'echo "$@" >> {said}; exit 22'})
    path = f"{tmp_path}/curl:{amd64}"
    address = "https://releases.example.com"
    open_ = install("--to", str(tmp_path / "to"), releases=address, home=tmp_path, PATH=path)
    pinned = {"BUILDX_CACHE_SHA256": "0" * 64}
    safe = install("--to", str(tmp_path / "to"), releases=address, home=tmp_path, PATH=path, **pinned)
    assert (open_.returncode, safe.returncode) == (5, 5)
    assert [line.split()[2] for line in said.read_text().splitlines()] == ["=https", "=http,https"]


@pytest.mark.skipif(os.geteuid() != 0, reason="takes root to be another user")
def test_what_another_user_has_put_there_is_not_run(tmp_path: Path, amd64: str) -> None:
    source, folder, mark = release(tmp_path / "release"), tmp_path / "shared", tmp_path / "mark"
    planted = folder / f".buildx-cache-{checksum(source)[:12]}"
    planted.mkdir(parents=True)
    (planted / "buildx-cache").write_text(f"#!/bin/sh\ntouch {mark}\n")
    (planted / "buildx-cache").chmod(0o755)
    os.chown(planted, 4242, 4242)
    done = install("--to", str(folder), releases=source, home=tmp_path, PATH=amd64)
    assert (done.returncode, mark.exists(), (folder / "buildx-cache").exists()) == (6, False, False)


def test_nothing_that_a_repository_has_committed_is_run(tmp_path: Path, amd64: str) -> None:
    """The folder's name follows from the release's public checksum; HOME is the checkout, as some jobs set it."""
    source, top, mark = release(tmp_path / "release"), tmp_path / "top", tmp_path / "mark"
    planted = top / ".local" / "bin" / f".buildx-cache-{checksum(source)[:12]}"
    planted.mkdir(parents=True)
    (top / ".git").mkdir()
    (planted / "buildx-cache").write_text(f"#!/bin/sh\ntouch {mark}\necho buildx-cache 6.6\n")
    (planted / "buildx-cache").chmod(0o755)
    for _ in range(2):
        done = install(releases=source, home=top, PATH=amd64)
        assert done.returncode == 0, done.stderr
        assert run(planted.parent / "buildx-cache") == "buildx-cache 1.0"
        assert sorted(left(planted.parent)) == sorted([planted.name, "buildx-cache"])
    assert not mark.exists()


def test_no_settings_of_curl_that_a_repository_has_committed_count(tmp_path: Path, amd64: str) -> None:
    top, mark = tmp_path / "top", tmp_path / "mark"
    top.mkdir()
    (top / ".curlrc").write_text(f"dump-header = {mark}\n")
    address, pinned = "http://127.0.0.1:1", {"BUILDX_CACHE_SHA256": "0" * 64}
    for made, is_read in ((".hg", True), (".git", False)):
        (top / made).mkdir()
        mark.unlink(missing_ok=True)
        assert install(releases=address, home=top, PATH=amd64, **pinned).returncode == 5
        assert mark.exists() is is_read


def test_what_fails_leaves_what_was_there(tmp_path: Path, amd64: str) -> None:
    folder = tmp_path / "to"
    install("--to", str(folder), releases=release(tmp_path / "release"), home=tmp_path, PATH=amd64)
    before = left(folder)
    changed = release(tmp_path / "changed", STARTS.format(version="2.0"))
    (changed / "SHA256SUMS").write_text(f"{'0' * 64}  {ARCHIVE}\n")
    broken = release(tmp_path / "broken", "#!/bin/sh\necho 'GLIBC_2.35 not found' >&2\nexit 1\n")
    empty = tmp_path / "empty"
    empty.mkdir()
    for source, code in ((changed, 7), (broken, 3), (empty, 2)):
        done = install("--to", str(folder), releases=source, home=tmp_path, PATH=amd64)
        assert done.returncode == code, done.stderr
        assert "error: " in done.stderr
        assert "hint: " in done.stderr
        assert left(folder) == before
        assert run(folder / "buildx-cache") == "buildx-cache 1.0"


@pytest.mark.parametrize(("system", "machine"), [("Linux", "riscv64"), ("Darwin", "arm64"), ("FreeBSD", "amd64")])
def test_another_platform_is_refused_with_the_way_to_go(tmp_path: Path, system: str, machine: str) -> None:
    uname = f"case $1 in -s) echo {system} ;; -m) echo {machine} ;; esac"
    path = path_with(tmp_path / "bin", {"uname": uname})
    done = install("--to", str(tmp_path / "to"), releases=release(tmp_path / "release"), home=tmp_path, PATH=path)
    assert done.returncode == 3
    assert "uv tool install buildx-cache" in done.stderr
    assert left(tmp_path / "to") == []


@pytest.mark.parametrize(
    ("words", "changed", "code"),
    [
        (("--into", "x"), {}, 2),
        (("--to",), {}, 2),
        ((), {"HOME": ""}, 2),
        ((), {"BUILDX_CACHE_RELEASES": ""}, 2),
        (("--to", "/dev/null/x"), {}, 6),
    ],
)
def test_wrong_use_is_one_error_and_one_hint(
    tmp_path: Path, amd64: str, words: tuple[str, ...], changed: Mapping[str, str], code: int
) -> None:

    env = {"PATH": amd64, "HOME": str(tmp_path), "BUILDX_CACHE_RELEASES": str(release(tmp_path / "release")), **changed}
    done = subprocess.run(("sh", str(INSTALLER), *words), env=env, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    assert [line.partition(":")[0] for line in done.stderr.splitlines()] == ["error", "hint"]


def test_no_curl_and_no_wget(tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    for name in ("uname", "mkdir", "mktemp", "rm", "sed"):
        (bare / name).symlink_to(Path("/usr/bin") / name)
    env = {"PATH": str(bare), "HOME": str(tmp_path), "BUILDX_CACHE_RELEASES": "https://127.0.0.1:1/x"}
    done = subprocess.run(("/bin/sh", str(INSTALLER)), env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 3, done.stderr
    assert "curl" in done.stderr
    assert left(tmp_path / ".local" / "bin") == []


def test_musl_is_refused_by_name(docker: Docker) -> None:
    """The engine's base image has busybox alone, as Alpine has, but for the loader's file."""
    script = "mkdir -p /lib; : > /lib/ld-musl-x86_64.so.1; BUILDX_CACHE_RELEASES=/x HOME=/root sh /install.sh"
    mount = f"type=bind,source={INSTALLER},target=/install.sh,readonly"
    done = subprocess.run(
        ("docker", "run", "--rm", "--mount", mount, docker.base, "sh", "-c", script),
        env=docker.child_env(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 3, done.stderr
    assert "musl" in done.stderr
