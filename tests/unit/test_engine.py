from __future__ import annotations

import io
import json
import os
import stat
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from buildx_cache.caches.entry import CacheEntry
from buildx_cache.ci import GitFacts
from buildx_cache.engine import client, git, own_files
from buildx_cache.engine.client import parse_builder, tls_from_environment
from buildx_cache.engine.credentials import (
    buildx_folder,
    configuration_folder,
    private_configuration,
    stored_credentials,
)
from buildx_cache.engine.docker import DockerEngine
from buildx_cache.engine.failures import engine_error
from buildx_cache.engine.git import git_provenance, guarded
from buildx_cache.engine.process import Completed
from buildx_cache.plan import BuildArg, Builder, BuildInvocation, Node, Output, TlsEndpoint
from buildx_cache.plan.effects import CreateNode
from buildx_cache.plan.facts import Credentials
from buildx_cache.redaction import Secret

# --- docker buildx inspect, as it was said ------------------------------------------------------------------

ENGINE_NODE = """\
Name:   default
Driver: docker

Nodes:
Name:             default
Endpoint:         default
Status:           running
BuildKit version: v0.25.1+docker
Platforms:        linux/amd64, linux/amd64/v2, linux/amd64/v3, linux/amd64/v4
Labels:
 org.mobyproject.buildkit.worker.containerd.namespace: moby
 org.mobyproject.buildkit.worker.executor:             containerd
 org.mobyproject.buildkit.worker.hostname:             vm
 org.mobyproject.buildkit.worker.snapshotter:          overlayfs
"""
GC_NEW = """\
GC Policy rule#0:
 All:            false
 Filters:        type==source.local,type==exec.cachemount,type==source.git.checkout
 Keep Duration:  48h0m0s
 Max Used Space: 3.346GiB
GC Policy rule#1:
 All:            true
 Reserved Space: 24.21GiB
 Max Used Space: 188.1GiB
 Min Free Space: 47.5GiB
"""
GC_OLD = """\
GC Policy rule#0:
 All:           false
 Filters:       type==source.local,type==exec.cachemount,type==source.git.checkout
 Keep Duration: 48h0m0s
GC Policy rule#1:
 All:        true
 Keep Bytes: 24.21GiB
"""
CONTAINER_INACTIVE = """\
Name:          own
Driver:        docker-container
Last Activity: 2025-11-24 05:03:16 +0000 UTC

Nodes:
Name:                  own0
Endpoint:              unix:///var/run/docker.sock
Driver Options:        image="registry.example.com/buildkit:1" network="host"
Status:                inactive
BuildKit daemon flags: --allow-insecure-entitlement=network.host
Platforms:             linux/arm64*
"""
CONTAINER_RUNNING = """\
Name:          own
Driver:        docker-container
Last Activity: 2025-11-24 05:03:16 +0000 UTC

Nodes:
Name:                  own0
Endpoint:              unix:///var/run/docker.sock
Driver Options:        image="registry.example.com/buildkit:1" network="host"
Status:                running
BuildKit daemon flags: --allow-insecure-entitlement=network.host
BuildKit version:      v0.25.1+docker
Platforms:             linux/arm64*, linux/amd64, linux/amd64/v2
Labels:
 org.mobyproject.buildkit.worker.executor:             containerd
"""
REMOTE_DOWN = """\
Name:          fleet
Driver:        remote
Last Activity: 2025-11-24 05:03:17 +0000 UTC

Nodes:
Name:     one
Endpoint: tcp://127.0.0.1:9
Status:   inactive

Name:      two
Endpoint:  tcp://127.0.0.1:10
Status:    inactive
Platforms: linux/arm64*
"""
BEFORE_0_12 = """\
Name:   old
Driver: docker-container

Nodes:
Name:      old0
Endpoint:  unix:///var/run/docker.sock
Status:    running
Buildkit:  v0.11.6
Platforms: linux/amd64
"""
AMD64 = ("linux/amd64", "linux/amd64/v2", "linux/amd64/v3", "linux/amd64/v4")
ENGINE = Builder(
    name="default",
    driver="docker",
    nodes=(Node(name="default", endpoint="default", status="running", buildkit=(0, 25, 1), platforms=AMD64),),
)
IMAGE_AND_NETWORK = (("image", "registry.example.com/buildkit:1"), ("network", "host"))
OWN_NODE = Node(
    name="own0",
    endpoint="unix:///var/run/docker.sock",
    status="inactive",
    platforms=("linux/arm64",),
    options=IMAGE_AND_NETWORK,
)


@pytest.mark.parametrize(
    ("said", "builder", "running"),
    [
        pytest.param(ENGINE_NODE + GC_NEW, ENGINE, True, id="engine-buildx-0.29.1"),
        pytest.param(ENGINE_NODE + GC_OLD, ENGINE, True, id="engine-buildx-0.13.1"),
        pytest.param(
            CONTAINER_INACTIVE, Builder(name="own", driver="docker-container", nodes=(OWN_NODE,)), False, id="inactive"
        ),
        pytest.param(
            CONTAINER_RUNNING + GC_NEW,
            Builder(
                name="own",
                driver="docker-container",
                nodes=(
                    Node(
                        name="own0",
                        endpoint="unix:///var/run/docker.sock",
                        status="running",
                        buildkit=(0, 25, 1),
                        platforms=("linux/arm64", "linux/amd64", "linux/amd64/v2"),
                        options=IMAGE_AND_NETWORK,
                    ),
                ),
            ),
            True,
            id="running",
        ),
        pytest.param(
            REMOTE_DOWN,
            Builder(
                name="fleet",
                driver="remote",
                nodes=(
                    Node(name="one", endpoint="tcp://127.0.0.1:9", status="inactive"),
                    Node(name="two", endpoint="tcp://127.0.0.1:10", status="inactive", platforms=("linux/arm64",)),
                ),
            ),
            False,
            id="two-nodes",
        ),
        pytest.param(
            BEFORE_0_12,
            Builder(
                name="old",
                driver="docker-container",
                nodes=(
                    Node(
                        name="old0",
                        endpoint="unix:///var/run/docker.sock",
                        status="running",
                        buildkit=(0, 11, 6),
                        platforms=("linux/amd64",),
                    ),
                ),
            ),
            True,
            id="buildx-before-0.12",
        ),
    ],
)
def test_a_builder_is_read_from_what_buildx_says(said: str, builder: Builder, running: bool) -> None:  # noqa: FBT001 -- a table
    found = parse_builder(said)
    assert found == builder
    assert found.running is running


@pytest.mark.parametrize(
    "said", ["", "Name: x\n", 'ERROR: no builder "nope" found\n'], ids=["nothing", "name", "error"]
)
def test_without_a_driver_there_is_no_builder(said: str) -> None:
    assert parse_builder(said) is None


def test_the_oldest_node_decides_what_a_builder_can() -> None:
    nodes = tuple(Node(name=str(minor), status="running", buildkit=(0, minor, 0)) for minor in (25, 20, 21))
    assert Builder(name="x", driver="remote", nodes=nodes).buildkit == (0, 20, 0)
    assert Builder(name="x", driver="remote").buildkit == (0, 0, 0)
    assert not Builder(name="x", driver="remote").running


# --- the environment ---------------------------------------------------------------------------------------

HOST = "tcp://10.0.0.5:2376"


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ({}, None),
        ({"DOCKER_HOST": HOST}, None),
        ({"DOCKER_HOST": HOST, "DOCKER_TLS_VERIFY": ""}, None),
        ({"DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": "/c"}, None),
        ({"DOCKER_HOST": "unix:///x.sock", "DOCKER_TLS_VERIFY": "1"}, None),
        ({"DOCKER_HOST": "ssh://me@host", "DOCKER_TLS_VERIFY": "1"}, None),
        (
            {"DOCKER_HOST": HOST, "DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": "/c"},
            TlsEndpoint(host=HOST, cert_path="/c"),
        ),
        (
            {"DOCKER_HOST": HOST.replace("//", "//me:abc@"), "DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": "/c"},
            TlsEndpoint(host=HOST, cert_path="/c"),
        ),
        (
            {"DOCKER_HOST": HOST, "DOCKER_TLS_VERIFY": "0", "DOCKER_CERT_PATH": "/c"},
            TlsEndpoint(host=HOST, cert_path="/c"),
        ),
        (
            {"DOCKER_HOST": HOST, "DOCKER_TLS": "1", "DOCKER_CERT_PATH": "/c"},
            TlsEndpoint(host=HOST, cert_path="/c", verify=False),
        ),
        (
            {"DOCKER_HOST": HOST, "DOCKER_TLS_VERIFY": "1", "HOME": "/home/me"},
            TlsEndpoint(host=HOST, cert_path="/home/me/.docker"),
        ),
    ],
    ids=str,
)
def test_tls_from_the_environment(env: Mapping[str, str], expected: TlsEndpoint | None) -> None:
    assert tls_from_environment(env) == expected


@pytest.mark.parametrize(
    ("env", "folder", "buildx"),
    [
        ({"HOME": "/home/me"}, "/home/me/.docker", "/home/me/.docker/buildx"),
        ({"HOME": "/home/me", "DOCKER_CONFIG": "/d"}, "/d", "/d/buildx"),
        ({"DOCKER_CONFIG": "/d", "BUILDX_CONFIG": "/b"}, "/d", "/b"),
    ],
)
def test_where_docker_keeps_its_configuration(env: Mapping[str, str], folder: str, buildx: str) -> None:
    assert (str(configuration_folder(env)), str(buildx_folder(env))) == (folder, buildx)


DOWN = "Docker is not running, or cannot be reached"
START = "start Docker, or name the engine with DOCKER_HOST or --docker-context"


@pytest.mark.parametrize(
    ("said", "message", "hint"),
    [
        ("Cannot connect to the Docker daemon at unix:///x. Is the docker daemon running?", DOWN, START),
        ("error during connect: Get https://x: dial tcp: i/o timeout", DOWN, START),
        ("failed to connect to the docker API at unix:///x", DOWN, START),
        (
            "permission denied while trying to connect to the Docker daemon socket",
            "this user may not talk to Docker: permission denied while trying to connect to the Docker daemon socket",
            "add the user to the group docker, or use sudo",
        ),
        (
            'Failed to initialize: unable to resolve: context "x": context not found',
            'there is no such Docker context: Failed to initialize: unable to resolve: context "x": context not found',
            "`docker context ls` lists the Docker contexts",
        ),
        (
            (
                "WARNING: Error loading config file: open /home/me/.docker/config.json: permission denied\n"
                "Cannot connect to the Docker daemon at unix:///x. Is the docker daemon running?"
            ),
            DOWN,
            START,
        ),
        (
            "Error response from daemon: client version 1.41 is too old. Minimum supported API version is 1.44",
            (
                "the docker command and the engine do not fit: Error response from daemon: client version 1.41 is too "
                "old. Minimum supported API version is 1.44"
            ),
            "upgrade the docker command or the engine, whichever is older; unset DOCKER_API_VERSION",
        ),
        ("first line\nsomething else\n", "Docker does not answer: something else", START),
        ("", "Docker does not answer: it said nothing", START),
    ],
)
def test_what_the_docker_command_says_becomes_one_line(said: str, message: str, hint: str) -> None:
    error = engine_error(said)
    assert (error.message, error.hint) == (message, hint)


# --- credentials -------------------------------------------------------------------------------------------

CONFIG = {
    "auths": {"registry.example.com": {"auth": "bWU6c2VjcmV0"}},
    "credsStore": "desktop",
    "credHelpers": {"aws.example.com": "ecr-login"},
    "currentContext": "elsewhere",
    "HttpHeaders": {"X": "y"},
}


@pytest.fixture
def user(tmp_path: Path) -> Path:
    folder = tmp_path / "user"
    (folder / "cli-plugins").mkdir(parents=True)
    (folder / "cli-plugins" / "docker-buildx").write_text("plugin")
    (folder / "contexts").mkdir()
    (folder / "config.json").write_text(json.dumps(CONFIG, indent=3))
    return folder


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_login_is_private_and_gone_afterwards(user: Path) -> None:
    before = (user / "config.json").read_bytes()
    with private_configuration({"DOCKER_CONFIG": str(user), "PATH": "/bin"}, "registry.example.com") as env:
        folder = Path(env["DOCKER_CONFIG"])
        assert folder != user
        assert (mode(folder), mode(folder / "config.json")) == (0o700, 0o600)
        (folder / "config.json").write_text("a login")
        assert (user / "config.json").read_bytes() == before
    assert not folder.exists()
    assert (user / "config.json").read_bytes() == before
    assert (user / "cli-plugins" / "docker-buildx").read_text() == "plugin"


def test_a_login_is_gone_after_a_failure_too(user: Path) -> None:
    seen: list[Path] = []

    def fail() -> None:
        with private_configuration({"DOCKER_CONFIG": str(user)}, "r") as env:
            seen.append(Path(env["DOCKER_CONFIG"]))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert [folder.exists() for folder in seen] == [False]


def test_what_the_user_has_stays_usable_beside_a_login(user: Path) -> None:
    with private_configuration({"DOCKER_CONFIG": str(user), "PATH": "/bin"}, "registry.example.com") as env:
        folder = Path(env["DOCKER_CONFIG"])
        assert {entry.name for entry in folder.iterdir()} == {".lock", "config.json", "cli-plugins", "contexts"}
        assert (folder / "cli-plugins").is_symlink()
        assert (folder / "cli-plugins").resolve() == user / "cli-plugins"
        assert not (folder / "config.json").is_symlink()
        assert json.loads((folder / "config.json").read_text()) == {
            **CONFIG,
            "credHelpers": {"aws.example.com": "ecr-login", "registry.example.com": ""},
        }
        assert env["BUILDX_CONFIG"] == str(user / "buildx")
        assert env["PATH"] == "/bin"


def test_a_login_is_not_handed_to_the_helper_of_its_registry(user: Path) -> None:
    with private_configuration({"DOCKER_CONFIG": str(user)}, "aws.example.com") as env:
        config = json.loads((Path(env["DOCKER_CONFIG"]) / "config.json").read_text())
    assert config["credHelpers"] == {"aws.example.com": ""}


@pytest.mark.parametrize("text", [None, "", "{", "[]", "\xff"], ids=["absent", "empty", "broken", "list", "binary"])
def test_a_login_needs_no_configuration(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "config.json").write_text(text, encoding="latin-1")
    with private_configuration({"DOCKER_CONFIG": str(tmp_path)}, "r") as env:
        assert json.loads((Path(env["DOCKER_CONFIG"]) / "config.json").read_text()) == {"credHelpers": {"r": ""}}


def test_a_login_needs_no_configuration_folder(tmp_path: Path) -> None:
    with private_configuration({"DOCKER_CONFIG": str(tmp_path / "absent")}, "r") as env:
        assert {entry.name for entry in Path(env["DOCKER_CONFIG"]).iterdir()} == {".lock", "config.json"}
    assert not (tmp_path / "absent").exists()


def test_a_relative_configuration_folder_is_linked_by_its_full_path(
    user: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(user.parent)
    with private_configuration({"DOCKER_CONFIG": "user"}, "r") as env:
        assert (Path(env["DOCKER_CONFIG"]) / "cli-plugins" / "docker-buildx").read_text() == "plugin"
        assert env["BUILDX_CONFIG"] == str(user / "buildx")


@pytest.mark.parametrize(
    ("text", "registries", "helpers", "broken"),
    [
        pytest.param(None, (), (), "", id="absent"),
        pytest.param("{}", (), (), "", id="empty"),
        pytest.param(
            json.dumps(CONFIG), ("registry.example.com", "aws.example.com"), ("desktop", "ecr-login"), "", id="full"
        ),
        pytest.param('{"auths": [], "credHelpers": 3}', (), (), "", id="odd"),
        pytest.param("[]", (), (), "not a JSON object", id="list"),
        pytest.param(
            "{", (), (), "Expecting property name enclosed in double quotes: line 1 column 2 (char 1)", id="cut"
        ),
        pytest.param(
            "[" * 100_000,
            (),
            (),
            "maximum recursion depth exceeded while decoding a JSON array from a unicode string",
            id="deep",
        ),
    ],
)
def test_stored_credentials_are_read_by_name(
    tmp_path: Path, text: str | None, registries: tuple[str, ...], helpers: tuple[str, ...], broken: str
) -> None:
    if text is not None:
        (tmp_path / "config.json").write_text(text)
    found = stored_credentials({"DOCKER_CONFIG": str(tmp_path)})
    assert found == Credentials(folder=str(tmp_path), registries=registries, helpers=helpers, broken=broken)
    assert "bWU6c2VjcmV0" not in repr(found)


# --- git ---------------------------------------------------------------------------------------------------

SHA = "83a20ec058e2fb00e7fa4558c4c6e81e2dcf253d"


@pytest.mark.parametrize(
    ("head", "origin", "facts"),
    [
        pytest.param(
            f"commit {SHA}\n{SHA} HEAD -> feature/x, tag: v1, origin/feature/x\n",
            "refs/remotes/origin/trunk\n",
            GitFacts(sha=SHA, branch="feature/x", tag="v1", default_branch="trunk"),
            id="branch-with-a-tag",
        ),
        pytest.param(
            f"commit {SHA}\n{SHA} HEAD, origin/main\n",
            "",
            GitFacts(sha=SHA, branch=None, tag=None, default_branch=None),
            id="detached",
        ),
        pytest.param(
            f"commit {SHA}\n{SHA} \n",
            "",
            GitFacts(sha=SHA, branch=None, tag=None, default_branch=None),
            id="bare-commit",
        ),
        pytest.param("", "", GitFacts(sha=None, branch=None, tag=None, default_branch=None), id="no-repository"),
    ],
)
def test_git_is_read_in_two_calls(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, head: str, origin: str, facts: GitFacts
) -> None:
    calls: list[tuple[str, ...]] = []

    def answer(argv: tuple[str, ...], *, env: Mapping[str, str], within: tuple[float, int]) -> Completed:
        assert all(within)
        assert env["GIT_ALLOW_PROTOCOL"] == "none"
        assert "TOKEN" not in env
        calls.append(argv)
        said = head if "rev-list" in argv else origin
        return Completed(code=0 if said else 128, stdout=said, stderr="" if said else "fatal: not a git repository")

    monkeypatch.setattr(git, "capture_within", answer)
    assert git.read_git(tmp_path, {"PATH": "/bin", "TOKEN": "x"}) == facts
    assert [argv[argv.index("-C") + 1] for argv in calls] == [str(tmp_path)] * 2


def test_without_git_nothing_is_known(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def absent(argv: tuple[str, ...], *, env: Mapping[str, str], within: tuple[float, int]) -> Completed:
        raise FileNotFoundError(argv[0], env, within)

    monkeypatch.setattr(git, "capture_within", absent)
    assert git.read_git(tmp_path, {}) == GitFacts(sha=None, branch=None, tag=None, default_branch=None)


@pytest.mark.parametrize(
    ("there", "found"),
    [
        (("HEAD", "objects", "refs"), True),
        (("HEAD", "commondir"), True),
        (("HEAD", "objects"), False),
        (("objects", "refs", "config"), False),
        (("HEAD",), False),
    ],
    ids=str,
)
def test_a_folder_that_may_be_a_bare_repository_is_not_asked_about(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, there: tuple[str, ...], *, found: bool
) -> None:
    for name in (*there, ".git"):
        (tmp_path / name).mkdir()
    asked: list[object] = []

    def answer(argv: tuple[str, ...], **_: object) -> Completed:
        asked.append(argv)
        return Completed(code=0, stdout=SHA)

    monkeypatch.setattr(git, "capture_within", answer)
    assert git.is_bare(tmp_path) is found
    assert (git.read_git(tmp_path, {}).sha is None) is found
    assert (asked == []) is found


def test_without_a_working_copy_git_is_not_asked() -> None:
    assert git.read_git(None, {}) == GitFacts(sha=None, branch=None, tag=None, default_branch=None)


@pytest.mark.parametrize(
    ("own", "count"),
    [
        ({}, "5"),
        ({"GIT_CONFIG_COUNT": ""}, "5"),
        ({"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": "*"}, "6"),
        ({"GIT_CONFIG_COUNT": "many"}, "many"),  # git refuses to run
    ],
    ids=str,
)
def test_the_users_own_settings_of_git_stay(own: dict[str, str], count: str) -> None:
    env = guarded({**own, "GIT_ALLOW_PROTOCOL": "ext"})
    assert env == {**env, **own, "GIT_CONFIG_COUNT": count, "GIT_ALLOW_PROTOCOL": "none", "GIT_NO_LAZY_FETCH": "1"}
    numbers = range(int(count)) if count.isdecimal() else range(0)
    settings = {env[f"GIT_CONFIG_KEY_{number}"]: env[f"GIT_CONFIG_VALUE_{number}"] for number in numbers}
    assert settings.get("safe.bareRepository") == ("explicit" if numbers else None)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Have git list settings of a repository whose HEAD it does not have."""

    def tell(names: str) -> None:
        listed = "".join(f"{name.replace(' ', chr(0))}\0" for name in names.splitlines())
        answers = {True: Completed(code=0, stdout=listed), False: Completed(code=128)}
        monkeypatch.setattr(git, "capture_within", lambda argv, **_: answers["config" in argv])

    return tell


@pytest.mark.parametrize(
    ("names", "env", "expected"),
    [
        ("local core.bare\nlocal remote.origin.url\nlocal http.https://github.com/.extraheader", {}, {}),
        ("global remote.x.promisor\nlocal core.bare\ncommand mailmap.file", {}, {}),
        ("local core.bare", {"BUILDX_GIT_CHECK_DIRTY": "false"}, {}),
        ("local core.bare", {"BUILDX_GIT_CHECK_DIRTY": "True"}, {"BUILDX_GIT_CHECK_DIRTY": "false"}),
        ("local core.bare\nlocal remote.origin.promisor", {}, None),
        ("local core.bare\nlocal extensions.partialClone", {}, None),
        ("local core.bare\nworktree remote.a.b.partialclonefilter", {}, None),
        ("local core.bare\nlocal mailmap.file", {}, None),
        ("local core.bare\nlocal log.showSignature", {}, None),
        ("local core.bare\nlocal gpg.ssh.program", {}, None),
        ("global core.bare", {}, None),
        ("", {"BUILDX_GIT_INFO": "true"}, None),
    ],
    ids=str,
)
def test_buildx_asks_git_only_where_nothing_of_the_repository_runs(
    told: Callable[[str], None], tmp_path: Path, names: str, env: dict[str, str], expected: dict[str, str] | None
) -> None:
    (tmp_path / ".git").mkdir()
    told(names)
    found = git_provenance(tmp_path, tmp_path, env)
    off = {"BUILDX_GIT_INFO": "false", "BUILDX_GIT_LABELS": "false"}
    assert (dict(found.env), bool(found.note)) == (off if expected is None else expected, expected != {})


@pytest.mark.parametrize(
    "embedded", ["app/.git", "app/HEAD app/objects app/refs", "HEAD objects refs", "app/HEAD app/commondir"]
)
def test_buildx_does_not_ask_git_where_another_repository_is_in_the_way(
    told: Callable[[str], None], tmp_path: Path, embedded: str
) -> None:
    told("local core.bare")
    context = tmp_path / "app" / "deeper"
    for folder in (".git", "app/deeper", *embedded.split()):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
    assert git_provenance(context, tmp_path, {}).env["BUILDX_GIT_INFO"] == "false"


def test_buildx_does_not_ask_git_about_a_remote_context(tmp_path: Path) -> None:
    """It would look for the folder of that name, which a repository can have."""
    found = git_provenance(None, tmp_path, {})
    assert (found.env["BUILDX_GIT_INFO"], found.note) == ("false", "")


# --- images that were loaded -------------------------------------------------------------------------------


def test_loaded_images_are_remembered_once_and_in_order(tmp_path: Path) -> None:
    env = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    assert own_files.remembered(env) == ()
    for image in ("a", "b", "a", "c"):
        own_files.remember(env, image)
    assert own_files.remembered(env) == ("b", "a", "c")
    assert [file.name for file in (tmp_path / "cache" / "buildx-cache").iterdir()] == ["loaded.json"]


@pytest.mark.parametrize("kind", ["deep", "pipe"])
def test_a_record_from_elsewhere_ends_no_call_and_keeps_none_waiting(tmp_path: Path, kind: str) -> None:
    env = {"XDG_CACHE_HOME": str(tmp_path)}
    record = tmp_path / "buildx-cache" / "loaded.json"
    record.parent.mkdir()
    if kind == "pipe":
        os.mkfifo(record)
    else:
        record.write_text("[" * 100_000)
    assert own_files.remembered(env) == ()
    own_files.remember(env, "a")
    assert own_files.remembered(env) == ("a",)


def test_only_the_newest_loaded_images_are_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_files, "_REMEMBERED", 2)
    env = {"XDG_CACHE_HOME": str(tmp_path)}
    for image in ("a", "b", "c"):
        own_files.remember(env, image)
    assert own_files.remembered(env) == ("b", "c")


@pytest.mark.parametrize("text", ["", "{", "{}", '"a"'])
def test_a_broken_record_of_loaded_images_holds_none(tmp_path: Path, text: str) -> None:
    env = {"XDG_CACHE_HOME": str(tmp_path)}
    (tmp_path / "buildx-cache").mkdir()
    (tmp_path / "buildx-cache" / "loaded.json").write_text(text)
    assert own_files.remembered(env) == ()
    own_files.remember(env, "a")
    assert own_files.remembered(env) == ("a",)


def test_a_record_that_cannot_be_written_is_done_without(tmp_path: Path) -> None:
    (tmp_path / "buildx-cache").write_text("a file")
    env = {"XDG_CACHE_HOME": str(tmp_path)}
    own_files.remember(env, "a")
    assert own_files.remembered(env) == ()


@pytest.mark.parametrize(
    ("env", "folder"),
    [
        ({"XDG_CACHE_HOME": "/c", "HOME": "/h"}, "/c/buildx-cache"),
        ({"XDG_CACHE_HOME": "", "HOME": "/h"}, "/h/.cache/buildx-cache"),
    ],
)
def test_where_caches_are_kept(env: Mapping[str, str], folder: str) -> None:
    assert str(own_files.cache_home(env)) == folder


# --- a build that reads this program's stdin ---------------------------------------------------------------


class StandardInput:
    """A stdin that can be read once, like a pipe."""

    def __init__(self, content: bytes, descriptor: int) -> None:
        self.buffer = io.BytesIO(content)
        self.fileno = lambda: descriptor


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bytes | None]]:
    """What each build reads; the engine's own child processes are not started."""
    seen: list[bytes | None] = []

    def follow(
        argv: tuple[str, ...],
        *,
        env: Mapping[str, str],
        on_stderr: Callable[[bytes], None],
        on_interrupt: Callable[[], None],
        stdin: int | None,
        prints: bool,
    ) -> int:
        del argv, env, on_stderr, on_interrupt, prints
        seen.append(None if stdin is None else os.read(stdin, 1 << 20))
        return 0

    monkeypatch.setattr(client, "follow", follow)
    reader, writer = os.pipe()
    os.write(writer, b"straight from the pipe")
    monkeypatch.setattr(sys, "stdin", StandardInput(b"FROM scratch\n" * 9000, reader))
    yield seen
    os.close(reader)
    os.close(writer)


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Iterator[DockerEngine]:
    monkeypatch.setattr("shutil.which", lambda name: f"/bin/{name}")
    made = DockerEngine({"HOME": "/nowhere"})
    yield made
    if made._kept_stdin is not None:
        made._kept_stdin.close()


CACHE = CacheEntry(type="local", attributes=(("src", "c"),))
STDIN = BuildInvocation(builder="b", context="-")


@pytest.mark.parametrize(
    "build",
    [
        replace(STDIN, imports=(CACHE,)),
        replace(STDIN, exports=(CACHE,)),
        replace(STDIN, context=".", file="-", exports=(CACHE,)),
        *(
            replace(STDIN, context=".", flags=flags, exports=(CACHE,))
            for flags in (("-f", "-"), ("--file=-",), ("-f-",))
        ),
    ],
    ids=["import", "export", "dockerfile", "flag", "long-flag", "short-flag"],
)
def test_every_build_of_a_call_with_a_cache_reads_the_same_stdin(
    build: BuildInvocation, engine: DockerEngine, read: list[bytes | None]
) -> None:
    for each in (build, build, build.without(imports=[CACHE], exports=[CACHE])):
        engine.build(each, print, print)
    assert read == 3 * [b"FROM scratch\n" * 9000]


def test_a_build_without_a_cache_reads_stdin_as_it_comes(engine: DockerEngine, read: list[bytes | None]) -> None:
    engine.build(STDIN, print, print)
    assert read == [b"straight from the pipe"]


@pytest.mark.parametrize("output", ["", "-", "type=tar,dest=-"])
def test_a_build_that_needs_no_stdin_gets_none(output: str, engine: DockerEngine, read: list[bytes | None]) -> None:
    outputs = (Output(spec=output),) if output else ()
    engine.build(BuildInvocation(builder="b", context=".", imports=(CACHE,), outputs=outputs), print, print)
    assert read == [None]


@pytest.mark.parametrize(
    ("build", "expected"),
    [
        (BuildInvocation(builder="b", context="."), False),
        (BuildInvocation(builder="b", context=".", outputs=(Output(spec="type=oci,dest=x"),)), False),
        (BuildInvocation(builder="b", context=".", flags=("--output", "x", "--check-not")), False),
        (BuildInvocation(builder="b", context=".", outputs=(Output(spec="type=oci"),)), True),
        *(
            (BuildInvocation(builder="b", context=".", flags=flags), True)
            for flags in (("--call=check",), ("-q",), ("-o", "-"), ("--output=-",), ("-qo-",))
        ),
    ],
    ids=str,
)
def test_buildx_prints_only_what_was_asked_for(
    build: BuildInvocation, engine: DockerEngine, monkeypatch: pytest.MonkeyPatch, *, expected: bool
) -> None:
    seen: list[bool] = []

    def follow(argv: tuple[str, ...], *, prints: bool, **_: object) -> int:
        del argv
        seen.append(prints)
        return 0

    monkeypatch.setattr(client, "follow", follow)
    engine.build(build, print, print)
    assert seen == [expected]


def test_a_bug_of_a_listener_is_no_answer_of_docker(engine: DockerEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    def follow(argv: tuple[str, ...], *, on_stderr: Callable[[bytes], None], **_: object) -> int:
        del argv
        on_stderr(b"")
        return 0

    def listen(chunk: bytes) -> None:
        raise TypeError(chunk)

    monkeypatch.setattr(client, "follow", follow)
    with pytest.raises(TypeError):
        engine.build(BuildInvocation(builder="b", context="."), listen, print)


PROXY = "http://me:abc123@proxy.example.com:3128"


@pytest.mark.parametrize(
    ("own", "given", "expected"),
    [
        ({}, {"NPM_TOKEN": "x"}, {"NPM_TOKEN": "x"}),
        ({}, {"HTTP_PROXY": PROXY}, {"HTTP_PROXY": PROXY, "no_proxy": "*"}),
        ({}, {"https_proxy": PROXY}, {"https_proxy": PROXY, "no_proxy": "*"}),
        ({"HTTP_PROXY": PROXY}, {"HTTP_PROXY": PROXY}, {"HTTP_PROXY": PROXY}),
        ({"https_proxy": "http://other"}, {"HTTP_PROXY": PROXY}, {"https_proxy": "http://other", "HTTP_PROXY": PROXY}),
        ({"NO_PROXY": "a"}, {"HTTP_PROXY": PROXY}, {"NO_PROXY": "a", "HTTP_PROXY": PROXY}),
    ],
    ids=str,
)
def test_a_proxy_that_is_meant_for_the_build_is_not_used_by_buildx_itself(
    own: dict[str, str], given: dict[str, str], expected: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Mapping[str, str]] = []

    def follow(argv: tuple[str, ...], *, env: Mapping[str, str], **_: object) -> int:
        del argv
        seen.append(env)
        return 0

    monkeypatch.setattr(client, "follow", follow)
    monkeypatch.setattr("shutil.which", lambda name: f"/bin/{name}")
    arguments = tuple(BuildArg(name=name, value=Secret(text), is_secret=True) for name, text in given.items())
    DockerEngine({"HOME": "/nowhere", **own}).build(
        BuildInvocation(builder="b", context=".", build_args=arguments), print, print
    )
    shown = {name: text for name, text in seen[0].items() if not name.startswith("GIT_")}
    assert shown == {"HOME": "/nowhere", **expected}


def test_a_configuration_that_is_made_for_a_builder_lasts_as_long_as_its_creation(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    found: list[Path] = []

    def perform(_: object, effect: CreateNode, **__: object) -> Completed:
        found.append(Path(effect.config))
        assert found[0].read_text() == "a\nb\n"
        assert mode(found[0].parent) == 0o700
        return Completed(code=0)

    monkeypatch.setattr(client.Docker, "perform", perform)
    DockerEngine({"HOME": str(tmp_path)}).perform(CreateNode(builder="b", config="/planned", config_lines=("a", "b")))
    assert not found[0].exists()
