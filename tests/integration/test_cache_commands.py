"""``cache inspect``, ``verify`` and ``prune`` of what real builds wrote to folders and registries."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from buildx_cache.cache_tags import scope_text
from tests.integration.conftest import Docker, Ran, write_project
from tests.integration.engines import Engines

LONG_AGO = 1_600_000_000
FEATURE = scope_text("feature/x")


def build(docker: Docker, project: Path, *words: str) -> Ran:
    return docker.build("-q", *docker.new_builder, "--build-arg", f"BASE={docker.base}", *words, str(project))


def document(ran: Ran) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(ran.stdout)
    assert found["schema"] == 1
    return found


def largest_blob(folder: Path) -> Path:
    return max((folder / "blobs" / "sha256").iterdir(), key=lambda path: path.stat().st_size)


def listing(folder: Path) -> dict[str, tuple[float, int]]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path): (path.stat().st_mtime, path.stat().st_size) for path in files}


def is_readable(ran: Ran) -> bool:
    return all(len(line) <= 80 and "\x1b" not in line for line in ran.stdout.splitlines())


# --- folders -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def built(engines: Engines, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a build left in a folder. Tests work on copies of it."""
    place = tmp_path_factory.mktemp("built")
    docker = Docker(env=engines.start(), home=place)
    build(docker, write_project(place / "project"), "--cache", "local", "--cache-dir", str(place / "cache"))
    return place / "cache"


@pytest.fixture
def folder(built: Path, tmp_path: Path) -> Path:
    """What a build of long ago left in a folder."""
    path = Path(shutil.copytree(built, tmp_path / "cache", symlinks=True))
    for blob in (path / "blobs" / "sha256").iterdir():
        os.utime(blob, (LONG_AGO, LONG_AGO))
    return path


def test_a_built_folder_is_inspected(docker: Docker, folder: Path) -> None:
    before = listing(folder)
    ran = docker.tool("cache", "inspect", str(folder))
    assert (ran.code, ran.stderr) == (0, "")
    assert is_readable(ran)
    assert "latest" in ran.stdout
    (cache,) = document(docker.tool("cache", "inspect", str(folder), "--format", "json"))["caches"]
    on_disk = sum(path.stat().st_size for path in (folder / "blobs" / "sha256").iterdir())
    assert cache["live_bytes"] + cache["dead_bytes"] == on_disk
    assert [tag["name"] for tag in cache["tags"]] == ["latest"]
    assert cache["layers"][0]["digest"] == f"sha256:{largest_blob(folder).name}"
    assert all(layer["created"] for layer in cache["layers"])
    assert cache["findings"] == []
    assert listing(folder) == before


@pytest.mark.soak  # the notes themselves: tests/unit/run/test_run_notes.py
@pytest.mark.parametrize("lazy", ["auto", "off"])
def test_the_steps_in_a_folder_pass_plain_buildx_and_go_when_it_writes_the_tag(
    docker: Docker, project: Path, tmp_path: Path, lazy: str
) -> None:
    """Buildx imports a folder with a note, keeps the note of another tag, and drops that of the tag that it writes."""
    folder, index = tmp_path / "cache", tmp_path / "cache" / "index.json"
    (project / "Dockerfile").write_text(
        "ARG BASE\nFROM ${BASE} AS made\nRUN cat /proc/sys/kernel/random/uuid > /made\n"
        "FROM scratch\nCOPY --from=made /made /\n"
    )
    words = ("--cache", "local", "--cache-dir", str(folder), "--lazy", lazy, "-o", f"type=local,dest={tmp_path}/first")
    build(docker, project, *words)
    noted = index.read_bytes()
    (step,) = [each for each in _noted(docker, folder)["latest"]["steps"] if "RUN" in each]
    assert step == "made: RUN cat /proc/sys/kernel/random/uuid > /made"
    shown = docker.tool("cache", "inspect", str(folder))
    assert is_readable(shown)
    assert f"  {step}" in [line.rstrip() for line in shown.stdout.splitlines()]

    ran = build(docker, project, *words)
    assert [each["status"] for each in ran.report["cache"]["exports"]] == ["unchanged"]
    assert index.read_bytes() == noted

    docker.docker("buildx", "create", "--name", "plain-notes", *docker.buildx_options)
    try:
        plain = ("buildx", "build", "--builder", "plain-notes", "--build-arg", f"BASE={docker.base}")
        read = ("--cache-from", f"type=local,src={folder}", "-o", f"type=local,dest={tmp_path}/plain")
        docker.docker(*plain, *read, "--cache-to", f"type=local,dest={folder},tag=plain,mode=max", str(project))
        assert (tmp_path / "plain" / "made").read_text() == (tmp_path / "first" / "made").read_text()
        found = _noted(docker, folder)
        assert (found["latest"]["steps"].count(step), found["plain"]) == (1, None)
        (project / "Dockerfile").write_text((project / "Dockerfile").read_text() + "COPY word /\n")
        docker.docker(*plain, "--cache-to", f"type=local,dest={folder},mode=max", str(project))
        assert _noted(docker, folder)["latest"] is None
    finally:
        docker.docker("buildx", "rm", "plain-notes")
    ran = build(docker, project, *words)
    assert ran.steps[2] == 0, ran.stderr
    assert docker.tool("cache", "verify", "--deep", str(folder)).code == 0


def _noted(docker: Docker, folder: Path) -> Mapping[str, Any]:
    (cache,) = document(docker.tool("cache", "inspect", str(folder), "--format", "json"))["caches"]
    return {tag["name"]: tag["build"] for tag in cache["tags"]}


def test_a_built_folder_is_sound_until_a_bit_flips(docker: Docker, folder: Path) -> None:
    assert docker.tool("cache", "verify", "--deep", str(folder)).code == 0
    blob = largest_blob(folder)
    content = bytearray(blob.read_bytes())
    content[len(content) // 2] ^= 1
    blob.chmod(0o644)
    blob.write_bytes(content)
    assert docker.tool("cache", "verify", str(folder)).code == 0
    ran = docker.tool("cache", "verify", "--deep", str(folder))
    assert ran.code == 7
    assert is_readable(ran)
    assert f"sha256:{blob.name[:12]}: has other content than its digest says" in ran.stdout
    assert ran.stderr.splitlines()[0] == f"error: the cache in {folder} is damaged: 1 fault [cache-damaged]"
    (cache,) = document(docker.tool("cache", "verify", "--deep", str(folder), "--format", "json"))["caches"]
    assert [finding["blob"] for finding in cache["findings"]] == [f"sha256:{blob.name}"]


def test_a_pruned_folder_is_as_warm_as_before(docker: Docker, folder: Path, project: Path) -> None:
    junk = folder / "blobs" / "sha256" / ("0" * 64)
    junk.write_bytes(b"junk")
    os.utime(junk, (LONG_AGO, LONG_AGO))
    before = listing(folder)
    told = document(docker.tool("cache", "prune", str(folder), "--dry-run", "--format", "json"))
    assert listing(folder) == before
    done = document(docker.tool("cache", "prune", str(folder), "--format", "json"))
    assert told["caches"] == done["caches"]
    assert f"sha256:{junk.name}" in done["caches"][0]["blobs"]
    assert not junk.exists()
    (cache,) = document(docker.tool("cache", "inspect", str(folder), "--format", "json"))["caches"]
    assert cache["dead_blobs"] == 0
    ran = build(docker, project, "--cache", "local", "--cache-dir", str(folder), "-t", "app", "--load")
    assert ran.steps[2] == 0


def test_age_empties_a_folder_which_the_next_build_fills_again(docker: Docker, folder: Path, project: Path) -> None:
    ran = docker.tool("cache", "prune", str(folder), "--max-age", "0s")
    assert (ran.code, ran.stderr) == (0, "")
    assert "dropped   1 tag: latest" in ran.stdout
    assert docker.tool("cache", "verify", str(folder)).code == 0
    build(docker, project, "--cache", "local", "--cache-dir", str(folder), "-t", "app", "--load")
    assert docker.tool("cache", "verify", "--deep", str(folder)).code == 0


def test_a_folder_whose_index_is_lost_is_damaged_until_the_next_build(
    docker: Docker, folder: Path, project: Path
) -> None:
    (folder / "index.json").unlink()
    ran = docker.tool("cache", "verify", str(folder))
    assert ran.code == 7
    assert "index.json: names no cache, though there are" in ran.stdout
    build(docker, project, "--cache", "local", "--cache-dir", str(folder), "-t", "app", "--load")
    assert docker.tool("cache", "verify", "--deep", str(folder)).code == 0


def test_an_output_that_takes_no_more_is_no_bug(docker: Docker, folder: Path) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            (sys.executable, "-m", "buildx_cache", "cache", "inspect", str(folder)),
            env=docker.child_env(),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert (done.returncode, done.stderr.splitlines()[0]) == (
        6,
        "error: the output cannot be written: no space left [stdout-full]",
    )


# --- registries --------------------------------------------------------------------------------------------


@pytest.fixture
def repository(docker: Docker, project: Path) -> str:
    """A repository of one test's own, which may delete what is in it."""
    return filled(docker, project)


@pytest.fixture(scope="module")
def shared(engines: Engines, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A repository for the tests after which all of it is still there."""
    place = tmp_path_factory.mktemp("kept")
    return filled(Docker(env=engines.start(), home=place), write_project(place / "project"))


def filled(docker: Docker, project: Path) -> str:
    """A repository with an image, its cache, and that cache under two other branches' names, in manifests apart."""
    name = docker.repository()
    build(docker, project, "--cache", "registry", "--cache-scope", "main", "-t", f"{name}:1", "--push")
    with asked(name, "buildcache-main", "GET") as answer:
        media_type, manifest = answer.headers["Content-Type"], json.load(answer)
    for branch in (FEATURE, "gone"):
        content = json.dumps({**manifest, "annotations": {"branch": branch}}).encode()
        with asked(name, f"buildcache-{branch}", "PUT", {"Content-Type": media_type}, content) as answer:
            assert answer.status == 201
    return name


def asked(
    repository: str, tag: str, method: str, headers: Mapping[str, str] | None = None, content: bytes | None = None
) -> Any:  # noqa: ANN401 -- what urllib gives
    """The registry's answer to a request for a manifest."""
    host, _, path = repository.partition("/")
    accept = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json"
    request = urllib.request.Request(
        f"http://{host}/v2/{path}/manifests/{tag}",
        method=method,
        headers={"Accept": accept, **(headers or {})},
        data=content,
    )
    return urllib.request.urlopen(request, timeout=30)  # noqa: S310 -- the test's own registry


def tags(docker: Docker, repository: str) -> set[str]:
    found = document(docker.tool("cache", "inspect", repository, "--format", "json"))
    return {cache["tag"].removeprefix("buildcache-") for cache in found["caches"]}


def test_a_repositorys_caches_are_listed(docker: Docker, shared: str) -> None:
    ran = docker.tool("cache", "inspect", shared)
    assert (ran.code, ran.stderr) == (0, "")
    assert is_readable(ran)
    listed = {line.split()[0] for line in ran.stdout.splitlines() if line.startswith("buildcache-")}
    assert listed == {"buildcache-main", f"buildcache-{FEATURE}", "buildcache-gone"}
    assert tags(docker, shared) == {"main", FEATURE, "gone"}


def test_one_tags_cache_is_inspected(docker: Docker, shared: str) -> None:
    ran = docker.tool("cache", "inspect", f"{shared}:buildcache-main", "--layers", "1")
    assert (ran.code, ran.stderr) == (0, "")
    assert is_readable(ran)
    (cache,) = document(docker.tool("cache", "inspect", f"{shared}:buildcache-main", "--format", "json"))["caches"]
    assert (cache["tag"], cache["holds"]) == ("buildcache-main", "cache")
    assert cache["digest"] == digest_in_registry(shared, "buildcache-main")
    sizes = [layer["bytes"] for layer in cache["layers"]]
    assert sizes == sorted(sizes, reverse=True)
    assert cache["bytes"] > sum(sizes)


def digest_in_registry(repository: str, tag: str) -> str:
    with asked(repository, tag, "HEAD") as answer:
        return str(answer.headers["Docker-Content-Digest"])


@pytest.mark.parametrize("deep", [(), ("--deep",)])
def test_a_repositorys_caches_are_verified(docker: Docker, shared: str, deep: tuple[str, ...]) -> None:
    ran = docker.tool("cache", "verify", shared, *deep)
    assert ran.code == 0, ran.stderr
    assert is_readable(ran)
    assert [line.split()[0] for line in ran.stdout.splitlines() if shared in line] == ["sound"] * 3
    found = document(docker.tool("cache", "verify", f"{shared}:buildcache-main", "--format", "json", *deep))
    assert (found["sound"], found["deep"]) == (True, bool(deep))


def test_branches_that_git_no_longer_has_lose_their_caches(docker: Docker, repository: str, tmp_path: Path) -> None:
    clone = clone_of_an_origin_with(tmp_path, "main", "feature/x")
    ssh = by_ssh(tmp_path)
    before = tags(docker, repository)
    ran = docker.tool("cache", "prune", repository, "--keep-branches-from", "git", "--dry-run", cwd=clone, env=ssh)
    assert (ran.code, ran.stderr) == (0, "")
    assert is_readable(ran)
    assert "would delete  1 tag\n" in "".join(f"{line.rstrip()}\n" for line in ran.stdout.splitlines())
    assert tags(docker, repository) == before
    words = ("--keep-branches-from", "git", "--format", "json")
    told = docker.tool("cache", "prune", repository, *words, cwd=clone, env=ssh)
    assert told.code == 0, told.stderr
    assert [each["tag"] for each in document(told)["deleted"]] == ["buildcache-gone"]
    assert {each["tag"] for each in document(told)["kept"]} == {"buildcache-main", f"buildcache-{FEATURE}"}
    assert tags(docker, repository) == {"main", FEATURE}
    assert digest_in_registry(repository, "1").startswith("sha256:")


def clone_of_an_origin_with(folder: Path, *branches: str) -> Path:
    """A shallow clone of a single branch, as CI systems make it, of an origin that ``by_ssh`` reaches."""
    origin, clone = folder / "origin", folder / "clone"
    git = ("git", "-c", "user.name=t", "-c", "user.email=t@example.com")
    subprocess.run(("git", "init", "--quiet", "--initial-branch", branches[0], origin), check=True)
    subprocess.run((*git, "-C", origin, "commit", "--quiet", "--allow-empty", "-m", "first"), check=True)
    for branch in branches[1:]:
        subprocess.run(("git", "-C", origin, "branch", branch), check=True)
    subprocess.run(
        ("git", "clone", "--quiet", "--depth", "1", "--single-branch", f"file://{origin}", clone), check=True
    )
    subprocess.run(("git", "-C", clone, "remote", "set-url", "origin", f"git@example.com:{origin}"), check=True)
    return clone


def by_ssh(folder: Path) -> dict[str, str]:
    """The user's own way to a server: an ssh that runs what it is told on this machine."""
    ssh = folder / "ssh"
    ssh.write_text('#!/bin/sh\nfor last; do :; done\n[ "$1" = -G ] || eval "$last"\n')
    ssh.chmod(0o755)
    return {"GIT_SSH_COMMAND": str(ssh)}


def test_an_origin_that_does_not_answer_keeps_every_cache(docker: Docker, shared: str, tmp_path: Path) -> None:
    clone = clone_of_an_origin_with(tmp_path, "main")
    (tmp_path / "origin").rename(tmp_path / "elsewhere")
    ran = docker.tool("cache", "prune", shared, "--keep-branches-from", "git", cwd=clone, env=by_ssh(tmp_path))
    assert (ran.code, ran.stdout) == (5, "")
    assert "git ls-remote --heads" in ran.stderr
    assert tags(docker, shared) == {"main", FEATURE, "gone"}


def test_scopes_from_stdin_are_kept(docker: Docker, repository: str) -> None:
    ran = docker.tool("cache", "prune", repository, "--keep-branches-from", "-", stdin="gone\n# main\n")
    assert ran.code == 0, ran.stderr
    assert tags(docker, repository) == {"gone"}


def test_young_caches_outlive_their_branch_where_age_is_asked_for(docker: Docker, shared: str) -> None:
    words = ("--keep-branches-from", "-", "--max-age", "7d")
    assert docker.tool("cache", "prune", shared, *words, stdin="main\n").code == 0
    assert docker.tool("cache", "prune", shared, "--max-age", "7d").code == 0
    assert tags(docker, shared) == {"main", FEATURE, "gone"}


def test_an_image_is_never_pruned(docker: Docker, shared: str) -> None:
    ran = docker.tool("cache", "prune", f"{shared}:1")
    assert (ran.code, ran.stdout) == (2, "")
    assert ran.stderr.startswith(f"error: {shared}:1 is an image, not a cache [not-a-cache]\n")
    assert digest_in_registry(shared, "1").startswith("sha256:")


def test_one_named_cache_is_pruned(docker: Docker, repository: str) -> None:
    ran = docker.tool("cache", "prune", f"{repository}:buildcache-gone")
    assert (ran.code, "untagged" in ran.stdout) == (0, True), ran.stdout
    assert tags(docker, repository) == {"main", FEATURE}


@pytest.mark.parametrize("path", ["absent/app", "absent/app:1"])
@pytest.mark.parametrize("command", ["inspect", "verify"])
def test_what_is_not_in_the_registry_is_a_usage_error(docker: Docker, command: str, path: str) -> None:
    ran = docker.tool("cache", command, f"{docker.registry}/{path}")
    assert (ran.code, ran.stdout) == (2, "")
    assert len(ran.stderr.splitlines()) == 2


def test_a_registry_that_wants_a_login_gets_the_cis_or_the_stored_one(docker: Docker) -> None:
    target = f"{docker.auth_registry}/private/app"
    own = str(docker.home / "docker")
    user, password = docker.env["ENGINE_AUTH_USER"], docker.env["ENGINE_AUTH_PASSWORD"]

    def inspected(**env: str) -> Ran:
        return docker.tool(
            "cache", "inspect", target, env={"DOCKER_CONFIG": own, "DOCKER_REGISTRY": docker.auth_registry, **env}
        )

    assert inspected().code == 4
    wrong = inspected(DOCKER_LOGIN=user, DOCKER_PASSWORD="wrong-word")  # noqa: S106 -- it opens nothing
    assert wrong.code == 4
    assert "wrong-word" not in wrong.stderr
    given = inspected(DOCKER_LOGIN=user, DOCKER_PASSWORD=password)
    assert (given.code, given.stderr.splitlines()[0]) == (
        2,
        f"error: {target} is not in the registry [repository-absent]",
    )
    docker.docker("login", "--username", user, "--password", password, docker.auth_registry, DOCKER_CONFIG=own)
    stored = inspected()
    assert (stored.code, stored.stderr) == (given.code, given.stderr)


def test_a_registry_that_does_not_answer_has_its_exit_code(docker: Docker) -> None:
    ran = docker.tool("cache", "inspect", "127.0.0.1:1/app")
    assert (ran.code, ran.stdout) == (5, "")
    assert "error: no answer from 127.0.0.1:1" in ran.stderr
