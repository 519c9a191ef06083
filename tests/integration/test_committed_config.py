"""``HOME`` or ``DOCKER_CONFIG`` in the checkout: what the repository commits there neither runs nor leads anywhere.

A home in which anything is committed is refused as a whole. A home elsewhere may have links into the checkout.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from buildx_cache.engine.committed import refuse_committed_git, refuse_submodules
from buildx_cache.errors import UsageError
from buildx_cache.request.build_request import BuildRequest
from tests.faults.hostile_repositories import honest
from tests.integration.conftest import Docker
from tests.integration.test_git import git
from tests.selection import quick

Commit = Callable[[Path, Path], None]


def _program(file: Path, mark: Path) -> None:
    file.parent.mkdir(parents=True)
    file.write_text(f"#!/bin/sh\ntouch {mark}\n")
    file.chmod(0o755)


def a_plugin(config: Path, mark: Path) -> None:
    _program(config / "cli-plugins" / "docker-buildx", mark)


def a_plugin_elsewhere(config: Path, mark: Path) -> None:
    _program(config.parent / "tools" / "docker-buildx", mark)
    config.mkdir()
    (config / "config.json").write_text(json.dumps({"cliPluginsExtraDirs": [str(config.parent / "tools")]}))


def a_plugin_in_other_case(config: Path, mark: Path) -> None:
    a_plugin_elsewhere(config, mark)
    (config / "config.json").write_text(json.dumps({"clipluginsextradirs": [str(config.parent / "tools")]}))


def a_plugin_before_junk(config: Path, mark: Path) -> None:
    a_plugin_elsewhere(config, mark)
    with (config / "config.json").open("a") as out:
        out.write("junk")


def a_helper_in_the_checkout(config: Path, mark: Path) -> None:
    _program(config.parent / "docker-credential-x" / "y", mark)
    config.mkdir()
    (config / "config.json").write_text('{"credsStore": "x/y"}')


def a_helper_of_one_registry(config: Path, mark: Path) -> None:
    _program(config.parent / "docker-credential-x" / "y", mark)
    config.mkdir()
    (config / "config.json").write_text('{"credHelpers": {"r.example.com": "x/y"}, "credHelpers": {}}')


def a_helper_that_answers_for_every_host(config: Path, _: Path) -> None:
    """The attack: ``FROM evil.example/x`` gets the token of the job's cloud."""
    config.mkdir()
    (config / "config.json").write_text('{"credHelpers": {"gcr.io": "gcr", "evil.example": "gcr"}}')


def a_helper_for_all_hosts(config: Path, _: Path) -> None:
    config.mkdir()
    (config / "config.json").write_text('{"credsStore": "gcr"}')


def an_unknown_helper(config: Path, _: Path) -> None:
    config.mkdir()
    (config / "config.json").write_text('{"credHelpers": {"evil.example": "vault-login"}}')


def a_link_without_an_end(config: Path, _: Path) -> None:
    config.mkdir()
    (config / "config.json").symlink_to("/dev/zero")


def a_link(config: Path, mark: Path) -> None:
    _program(config.parent / "tools" / "cli-plugins" / "docker-buildx", mark)
    config.symlink_to("tools")


def a_link_to_what_is_not_committed(config: Path, mark: Path) -> None:
    """The attack: a cache that the CI has restored, or what an earlier build has exported."""
    a_plugin(config.parent / "restored", mark)
    (config.parent / ".git" / "info" / "exclude").write_text("restored\n")
    (config.parent / "between").symlink_to("restored")
    config.symlink_to("between")


def a_plugin_among_many(config: Path, mark: Path) -> None:
    a_plugin(config, mark)
    for number in range(6000):
        (config / f"{number:0200}").touch()


def a_plugin_of_what_looks_bare(config: Path, mark: Path) -> None:
    a_plugin(config, mark)
    for name in ("objects", "refs"):
        (config.parent / name).mkdir()
        (config.parent / name / "kept").touch()
    (config.parent / "HEAD").write_text("ref: refs/heads/trunk\n")


def an_odd_name(config: Path, mark: Path) -> None:
    _program(config / "cli-plugins" / "\n::error::planted\n\x1b[31m", mark)


def settings_that_git_cannot_read(config: Path, mark: Path) -> None:
    a_plugin(config, mark)
    (config.parent / ".gitconfig").write_text("[[[ no settings\n")


def a_link_to_a_folder_elsewhere(config: Path, mark: Path) -> None:
    a_plugin(mark.parent / "elsewhere", mark)
    config.symlink_to(mark.parent / "elsewhere")


def a_context(config: Path, _: Path) -> None:
    config.mkdir()
    (config / "config.json").write_text('{"currentContext": "theirs"}')


def a_builder(config: Path, _: Path) -> None:
    (config / "buildx" / "instances").mkdir(parents=True)
    (config / "buildx" / "instances" / "theirs").write_text("{}")


COMMITS: tuple[Commit, ...] = (
    a_plugin,
    a_plugin_elsewhere,
    a_plugin_in_other_case,
    a_plugin_before_junk,
    a_helper_in_the_checkout,
    a_helper_of_one_registry,
    a_helper_that_answers_for_every_host,
    a_helper_for_all_hosts,
    an_unknown_helper,
    a_link_without_an_end,
    a_link,
    a_link_to_what_is_not_committed,
    a_plugin_among_many,
    a_plugin_of_what_looks_bare,
    settings_that_git_cannot_read,
    a_link_to_a_folder_elsewhere,
    an_odd_name,
    a_context,
    a_builder,
)


def _variables(home: Path, name: str) -> dict[str, str]:
    config = str(home / ".docker")
    return {"DOCKER_CONFIG": config} if name == "DOCKER_CONFIG" else {"HOME": str(home), "DOCKER_CONFIG": ""}


def _home_of(top: Path, *names: str) -> Path:
    """A home outside of the checkout, with links of these names into it; by default for all settings that are there."""
    home = top.parent / "linked-home"
    home.mkdir()
    for name in names or [place.name for place in top.iterdir() if place.name.startswith(".") and place.name != ".git"]:
        (home / name).symlink_to(top / name)
    return home


@pytest.mark.parametrize("name", ["HOME", "XDG_CONFIG_HOME"])
@pytest.mark.parametrize("place", quick([".", "made/home"], "made/home"))
def test_a_home_in_which_anything_is_committed_is_refused(
    name: str, place: str, tmp_path: Path, docker: Docker
) -> None:
    """No list of the files that programs read there is whole."""
    top = honest(tmp_path / "top")
    (top / place).mkdir(parents=True, exist_ok=True)
    (top / place / ".newrc").write_text("settings of a program that nobody thinks of")
    own = docker.env.get("DOCKER_CONFIG") or str(Path(os.environ["HOME"]) / ".docker")
    env = {"DOCKER_CONFIG": own, "XDG_CONFIG_HOME": "", name: str(top / place)}
    if place != ".":
        ran = docker.tool("build", "--cache", "none", ".", cwd=top, env=env)
        assert ran.code == 0, ran.stderr  # so far it is the job's own
    git(top, "add", "--all", "--force")
    for words in (
        ("plan", "--assume-driver", "docker", "."),
        ("build", "--cache", "none", "."),
        ("doctor",),
        ("init", "--dry-run"),
        ("cache", "ls"),
        ("cache", "inspect", "127.0.0.1:1/org/app:x"),
        ("cache", "prune", "--dry-run", "--keep-branches-from", "git", "127.0.0.1:1/org/app"),
    ):
        ran = docker.tool(*words, cwd=top, env=env)
        assert (ran.code, "[home-committed]" in ran.stderr) == (2, True), (words, ran.stderr)


@pytest.mark.parametrize("name", quick(["HOME", "DOCKER_CONFIG"], "DOCKER_CONFIG"))
@pytest.mark.parametrize("commit", COMMITS, ids=lambda commit: commit.__name__)
def test_nothing_that_is_committed_there_takes_effect(
    commit: Commit, name: str, tmp_path: Path, docker: Docker
) -> None:
    top, mark = honest(tmp_path / "top"), tmp_path / "mark"
    commit(top / ".docker", mark)
    git(top, "add", "--all", "--force")
    git(top, "commit", "--quiet", "--message", "second")
    env = _variables(_home_of(top) if name == "HOME" else top, name)
    ran = docker.tool("build", "--cache", "none", ".", cwd=top, env=env)
    assert (ran.code, ran.report["error"]["code"]) == (2, "docker-config-committed")
    assert "\n::" not in ran.stderr
    assert "\x1b" not in ran.stderr
    assert docker.tool("doctor", cwd=top, env=env).code == 2
    assert not mark.exists()


@pytest.mark.parametrize("how", ["absent", "failing"])
@pytest.mark.parametrize("name", quick(["HOME", "DOCKER_CONFIG"], "DOCKER_CONFIG"))
@pytest.mark.parametrize("commit", [a_plugin, a_plugin_elsewhere, a_context, a_builder], ids=lambda each: each.__name__)
def test_nothing_takes_effect_where_git_tells_nothing(
    commit: Commit, name: str, how: str, tmp_path: Path, docker: Docker
) -> None:
    """Many images have no git; and git fails in a worktree, or in the checkout of another user if it is old."""
    top, mark, tools = honest(tmp_path / "top"), tmp_path / "mark", tmp_path / "tools"
    commit(top / ".docker", mark)
    git(top, "add", "--all", "--force")
    git(top, "commit", "--quiet", "--message", "second")
    tools.mkdir()
    (tools / "docker").symlink_to(str(shutil.which("docker", path=docker.child_env()["PATH"])))
    if how == "failing":
        (tools / "git").write_text("#!/bin/sh\nexit 128\n")
        (tools / "git").chmod(0o755)
    env = {**_variables(top, name), "PATH": str(tools)}
    if name == "HOME":
        env["XDG_CONFIG_HOME"] = ""
    ran = docker.tool("build", "--cache", "none", ".", cwd=top, env=env)
    assert (ran.code, ran.report["error"]["code"]) == (
        2,
        "home-committed" if name == "HOME" else "docker-config-committed",
    )
    assert not mark.exists()


@pytest.mark.parametrize("tools", ["git", "nothing"])
def test_a_name_in_other_letters_may_be_the_same_place(
    tools: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a Mac it is: a hard link is one here."""
    top = honest(tmp_path / "top")
    monkeypatch.chdir(top)
    (top / "Own [1].conf").touch()
    git(top, "add", "--all")
    env = {"PATH": os.environ["PATH"] if tools == "git" else "/nonexistent", "HOME": str(tmp_path)}
    env["GIT_CONFIG_GLOBAL"] = str(top / "own [1].conf")
    refuse_committed_git(BuildRequest(), env)
    (top / "own [1].conf").touch()  # another file, of the job
    refuse_committed_git(BuildRequest(), env)
    (top / "own [1].conf").unlink()
    (top / "own [1].conf").hardlink_to(top / "Own [1].conf")
    with pytest.raises(UsageError):
        refuse_committed_git(BuildRequest(), env)


def test_it_is_refused_in_a_checkout_of_another_user(tmp_path: Path, docker: Docker) -> None:
    top, mark = honest(tmp_path / "top"), tmp_path / "mark"
    a_plugin(top / ".docker", mark)
    git(top, "add", "--all", "--force")
    git(top, "commit", "--quiet", "--message", "second")
    if os.geteuid():
        pytest.skip("only root gives files to another user")
    os.chown(top, 1, 1)
    os.chown(top / ".git", 1, 1)
    ran = docker.tool("build", "--cache", "none", ".", cwd=top, env=_variables(_home_of(top), "HOME"))
    assert ran.report["error"]["code"] == "docker-config-committed"
    assert not mark.exists()


def _commands(mark: Path) -> str:
    """Settings of git that run commands, and write to a file of any name."""
    return "\n".join(
        (
            f"[trace2]\n\tnormalTarget = {mark}",
            f'[core]\n\tsshCommand = "touch {mark};false"',
            '[url "ssh://git@127.0.0.1/"]\n\tinsteadOf = https://example.com/\n',
        )
    )


@pytest.mark.parametrize("place", [".gitconfig", ".config/git/config", "linked", "system"])
def test_no_settings_of_git_that_are_committed_are_read(place: str, tmp_path: Path, docker: Docker) -> None:
    top, mark = honest(tmp_path / "top"), tmp_path / "mark"
    file = tmp_path / "elsewhere" if place == "linked" else top / place
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(_commands(mark))
    if place == "linked":
        (top / ".gitconfig").symlink_to(file)
    git(top, "add", "--all", "--force")
    git(top, "commit", "--quiet", "--message", "second")
    git(top, "remote", "add", "origin", "https://example.com/org/app.git")
    own = docker.env.get("DOCKER_CONFIG") or str(Path(os.environ["HOME"]) / ".docker")
    home = {"GIT_CONFIG_SYSTEM": str(file)} if place == "system" else {"HOME": str(_home_of(top))}
    env = {**home, "DOCKER_CONFIG": own, "XDG_CONFIG_HOME": ""}
    for words in (
        ("plan", "--assume-driver", "docker", "."),
        ("build", "--cache", "none", "."),
        ("doctor",),
        ("cache", "prune", "--dry-run", "--keep-branches-from", "git", "127.0.0.1:1/org/app"),
    ):
        ran = docker.tool(*words, cwd=top, env=env)
        assert (ran.code, "GIT_CONFIG_GLOBAL" in ran.stderr) == (2, True), ran.stderr
    assert not mark.exists()
    without = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    ran = docker.tool("build", "--cache", "none", ".", cwd=top, env={**env, **without})
    assert ran.code == 0, ran.stderr


@pytest.mark.parametrize("place", [".cache", ".cache/buildx-cache/loaded.json"])
def test_no_committed_link_leads_to_other_caches(place: str, tmp_path: Path, docker: Docker) -> None:
    top, elsewhere = honest(tmp_path / "top"), tmp_path / "elsewhere"
    elsewhere.mkdir()
    (top / place).parent.mkdir(parents=True, exist_ok=True)
    (top / place).symlink_to(elsewhere)
    own = docker.env.get("DOCKER_CONFIG") or str(Path(os.environ["HOME"]) / ".docker")
    env = {"HOME": str(_home_of(top, ".cache")), "DOCKER_CONFIG": own, "XDG_CACHE_HOME": ""}
    ran = docker.tool("build", "--cache", "none", ".", cwd=top, env=env)
    assert ran.code == 0, ran.stderr  # the link is the job's own so far
    git(top, "add", "--all", "--force")
    ran = docker.tool("build", "--cache", "local", ".", cwd=top, env=env)
    assert (ran.code, ran.report["error"]["code"]) == (2, "cache-home-committed")
    for words in (("ls",), ("clear", "--all")):
        ran = docker.tool("cache", *words, cwd=top, env=env)
        assert (ran.code, "XDG_CACHE_HOME" in ran.stderr) == (2, True), ran.stderr
    assert [*elsewhere.iterdir()] == []


def test_users_may_keep_their_settings_in_a_repository_of_their_own(tmp_path: Path, docker: Docker) -> None:
    """As people do who link them into their home."""
    top, home, mine = honest(tmp_path / "top"), tmp_path / "home", honest(tmp_path / "mine")
    (home / ".config").mkdir(parents=True)
    (mine / "gitconfig").write_text("[user]\n\tname = me\n")
    (mine / "git").mkdir()
    (mine / "git" / "config").write_text("[user]\n\temail = me@example.com\n")
    own = Path(docker.env.get("DOCKER_CONFIG") or Path(os.environ["HOME"]) / ".docker") / "config.json"
    given = json.loads(own.read_text()) if own.exists() else {}
    (mine / "docker").mkdir()
    (mine / "docker" / "config.json").write_text(json.dumps({"currentContext": "default", **given}))
    git(mine, "add", "--all")
    git(mine, "commit", "--quiet", "--message", "second")
    for name, place in ((".gitconfig", "gitconfig"), (".config/git", "git"), (".docker", "docker")):
        (home / name).symlink_to(mine / place)
    env = {**_variables(home, "HOME"), "XDG_CONFIG_HOME": "", "XDG_CACHE_HOME": "", "BUILDX_CONFIG": ""}
    ran = docker.tool("plan", "--cache", "none", ".", cwd=top, env=env)
    assert ran.code == 0, ran.stderr
    assert docker.tool("plan", "--cache", "none", str(mine), cwd=top, env=env).code == 2


def test_no_image_is_exported_over_the_settings_of_the_user(tmp_path: Path, docker: Docker) -> None:
    """It would bring a plug-in, which the next effect of the call runs."""
    top, mark = honest(tmp_path / "top"), tmp_path / "mark"
    a_plugin(top / "image" / ".docker", mark)
    (top / "Dockerfile").write_text("FROM scratch\nCOPY image /\n")
    config = top / ".docker"
    config.mkdir()
    own = Path(docker.env.get("DOCKER_CONFIG") or Path(os.environ["HOME"]) / ".docker") / "config.json"
    if own.exists():
        (config / "config.json").write_bytes(own.read_bytes())
    env = {
        **_variables(_home_of(top, ".docker", ".config", ".aws", ".kube"), "HOME"),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "BUILDX_CONFIG": "",
        "XDG_CONFIG_HOME": "",
    }
    for folder in (".", ".docker", ".docker/buildx/x", ".config", ".aws", ".kube/cache"):
        ran = docker.tool("build", "--cache", "none", "--prune", "-o", folder, ".", cwd=top, env=env)
        assert (ran.code, ran.report["error"]["code"]) == (2, "output-over-settings"), folder
    ran = docker.tool("build", "--cache", "none", "--prune", "-o", "out", ".", cwd=top, env=env)
    assert ran.code == 0, ran.stderr
    assert (top / "out" / ".docker").is_dir()
    assert not mark.exists()


@pytest.mark.parametrize("kind", ["tar", "oci", "docker"])
def test_no_archive_is_written_over_the_settings_of_the_user(kind: str, tmp_path: Path, docker: Docker) -> None:
    """The attack: an archive begins with the name of a file, which the next docker command reads as its settings.

    With ``HOME`` in the checkout, a file of a fork may name the place.
    """
    top, mark = honest(tmp_path / "top"), tmp_path / "mark"
    _program(top / "tools" / "docker-buildx", mark)
    (top / '{"cliPluginsExtraDirs":["tools"]}').touch()
    (top / "Dockerfile").write_text("FROM scratch\nCOPY {* /\n")
    (top / "buildx-cache.toml").write_text(f'output = ["type={kind},dest=.docker/config.json"]\n')
    git(top, "add", "--all")
    config = top / ".docker"
    config.mkdir()
    own = Path(docker.env.get("DOCKER_CONFIG") or Path(os.environ["HOME"]) / ".docker") / "config.json"
    before = own.read_text() if own.exists() else "{}"
    (config / "config.json").write_text(before)
    env = {
        **_variables(_home_of(top, ".docker"), "HOME"),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "BUILDX_CONFIG": "",
        "XDG_CONFIG_HOME": "",
    }
    ran = docker.tool("build", "--cache", "none", "--driver", "docker", ".", cwd=top, env=env)
    assert not mark.exists()
    assert (ran.code, ran.report["error"]["code"]) == (2, "output-over-settings"), ran.stderr
    assert (config / "config.json").read_text() == before


def test_no_command_that_is_committed_gives_a_cache_its_login(tmp_path: Path, docker: Docker) -> None:
    top, mark = honest(tmp_path / "top"), tmp_path / "mark"
    (top / ".aws").mkdir()
    (top / ".aws" / "config").write_text(f"[default]\nregion = x\ncredential_process = touch {mark}\n")
    git(top, "add", "--all", "--force")
    git(top, "commit", "--quiet", "--message", "second")
    own = docker.env.get("DOCKER_CONFIG") or str(Path(os.environ["HOME"]) / ".docker")
    names = ("AWS_CONFIG_FILE", "AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_REGION")
    env = {"HOME": str(_home_of(top)), "DOCKER_CONFIG": own, **dict.fromkeys(names, "")}
    entry = "type=s3,region=x,bucket=b,name=n"
    for words in (("--cache-from", entry, "."), (".", "--", "--cache-from", entry)):
        ran = docker.tool("build", "--cache", "none", *words, cwd=top, env=env)
        assert ran.report["error"]["code"] == "cloud-config-committed", ran.stderr
    assert not mark.exists()
    ran = docker.tool("build", "--cache", "none", ".", cwd=top, env=env)
    assert ran.code == 0, ran.stderr


CLUSTER = "kubernetes:///there?deployment=&kubeconfig="


@pytest.mark.parametrize(
    ("name", "address"),
    [
        (".kube/config", CLUSTER),
        (".kube/config", "kube-pod://there"),
        ("clusters", f"{CLUSTER}{{place}}"),
        *(
            (each, CLUSTER)
            for each in (".kube/.kubeconfig", ".kube/kuberc", ".aws/config", ".config/gcloud/properties")
        ),
    ],
)
def test_no_builder_in_a_cluster_reads_settings_that_are_committed(
    name: str,
    address: str,
    tmp_path: Path,
    docker: Docker,
) -> None:
    """Of a builder that a step before has made, Buildx reads kubectl's settings, which name a command.

    kubectl's library copies ``.kubeconfig`` to ``config`` if the latter is absent, and reads the copy. kubectl, which
    enters the pods, takes options from ``kuberc``, among them which settings it reads. A cloud's command, which gives
    the login to its cluster, reads the cloud's settings.
    """
    top, mark, config = honest(tmp_path / "top"), tmp_path / "mark", tmp_path / "config"
    user = {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "touch", "args": [str(mark)]}}
    user["exec"]["interactiveMode"] = "Never"
    clusters = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:1"}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "users": [{"name": "u", "user": user}],
    }
    place = top / name
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(json.dumps(clusters))
    git(top, "add", "--all", "--force")
    git(top, "commit", "--quiet", "--message", "second")
    own = Path(docker.env.get("DOCKER_CONFIG") or Path(os.environ["HOME"]) / ".docker") / "config.json"
    (config / "buildx" / "instances").mkdir(parents=True)
    (config / "config.json").write_text(own.read_text() if own.exists() else "{}")
    driver = "remote" if address.startswith("kube-pod") else "kubernetes"
    nodes = [{"Name": "there0", "Endpoint": address.format(place=place)}]
    builder = {"Name": "there", "Driver": driver, "Nodes": nodes}
    (config / "buildx" / "instances" / "there").write_text(json.dumps(builder))
    names = ("BUILDX_CONFIG", "XDG_CONFIG_HOME", "KUBECONFIG")
    env = {"HOME": str(_home_of(top)), "DOCKER_CONFIG": str(config), **dict.fromkeys(names, "")}
    ran = docker.tool("build", "--cache", "none", "--builder", "there", ".", cwd=top, env=env)
    assert not mark.exists()
    assert (ran.code, ran.report["error"]["code"]) == (2, "cloud-config-committed"), ran.stderr
    (config / "buildx" / "instances" / "there").unlink()
    ran = docker.tool("build", "--cache", "none", ".", cwd=top, env=env)
    assert ran.code == 0, ran.stderr


def test_no_committed_file_gives_later_steps_variables(tmp_path: Path, docker: Docker) -> None:
    """A line that is there already, such as ``LD_PRELOAD=…``, would be one of the job's."""
    top = honest(tmp_path / "top")
    (top / "job.env").write_text("LD_PRELOAD=theirs.so\n")
    git(top, "add", "--all", "--force")
    ran = docker.tool("build", "--cache", "none", "--dotenv", "job.env", ".", cwd=top)
    assert (ran.code, "dotenv-committed" in ran.stderr) == (2, True), ran.stderr
    assert (top / "job.env").read_text() == "LD_PRELOAD=theirs.so\n"
    (top / "job.env").unlink()
    ran = docker.tool("build", "--cache", "none", "--dotenv", "job.env", ".", cwd=top)
    assert ran.code == 0, ran.stderr
    assert "LD_PRELOAD" not in (top / "job.env").read_text()


def test_no_image_is_exported_where_git_expects_a_submodule(tmp_path: Path, docker: Docker) -> None:
    """The attack: a fork commits a submodule's place and has its image with a `.git` exported there."""
    top = honest(tmp_path / "top")
    git(top, "update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},deep/dist")
    (top / "buildx-cache.toml").write_text('output = ["type=local,dest=deep/dist"]\n')
    ran = docker.tool("build", "--cache", "none", ".", cwd=top)
    assert (ran.code, "output-unsafe" in ran.stderr) == (2, True), ran.stderr
    (top / "buildx-cache.toml").unlink()
    for output in (f"{top}/deep", f"{top}/deep/dist", f"type=local,dest={top}/sub/../deep/dist"):
        with pytest.raises(UsageError, match="submodule"):
            refuse_submodules(BuildRequest(output=(output,)), os.environ)
    for output in (f"{top}/deep/dist/below", f"{top}/deep/other", str(top), f"type=tar,dest={top}/deep/dist/x.tar"):
        refuse_submodules(BuildRequest(output=(output,)), os.environ)


@pytest.mark.parametrize(
    ("helpers", "place"),
    [
        ('{"credHelpers": {"r.example.com": "ecr-login"}, "credHelpers": {}}', ".aws/config"),
        ('{"credsStore": "gcloud"}', ".config/gcloud/properties"),
        ('{"credsStore": "pass"}', ".gnupg/gpg-agent.conf"),
    ],
)
def test_no_credential_helper_reads_settings_that_are_committed(
    helpers: str, place: str, tmp_path: Path, docker: Docker
) -> None:
    """AWS' ``credential_process`` and GnuPG's ``pinentry-program`` are commands."""
    top, mark = honest(tmp_path / "top"), tmp_path / "mark"
    for file, text in ((top / place, f"credential_process = touch {mark}\n"), (top / ".docker/config.json", helpers)):
        file.parent.mkdir(parents=True)
        file.write_text(text)
    git(top, "add", "--all", "--force")
    git(top, "commit", "--quiet", "--message", "second")
    names = ("AWS_CONFIG_FILE", "CLOUDSDK_CONFIG", "GNUPGHOME", "XDG_CONFIG_HOME")
    env = {**_variables(_home_of(top), "HOME"), **dict.fromkeys(names, "")}
    ran = docker.tool("build", "--cache", "none", ".", cwd=top, env=env)
    assert ran.report["error"]["code"] == "cloud-config-committed", ran.stderr
    for command in ("inspect", "verify", "prune"):
        ran = docker.tool("cache", command, "127.0.0.1:1/org/app:x", cwd=top, env=env)
        assert (ran.code, place.partition("/")[0] in ran.stderr) == (2, True), ran.stderr


def test_no_certificates_that_are_committed_are_taken_over(tmp_path: Path, docker: Docker) -> None:
    """A rootless engine's are in the folder of the user's settings."""
    top = honest(tmp_path / "top")
    (folder := top / ".config" / "docker" / "certs.d" / "r.example.com").mkdir(parents=True)
    (folder / "ca.crt").write_text("theirs")
    git(top, "add", "--all", "--force")
    git(top, "commit", "--quiet", "--message", "second")
    own = docker.env.get("DOCKER_CONFIG") or str(Path(os.environ["HOME"]) / ".docker")
    env = {"HOME": str(_home_of(top)), "DOCKER_CONFIG": own, "XDG_CONFIG_HOME": ""}
    ran = docker.tool("plan", "--cache", "none", ".", cwd=top, env=env)
    assert (ran.code, "certs.d" in ran.stderr) == (2, True), ran.stderr


@pytest.mark.parametrize("helper", ["gcr", "gcloud"])
def test_no_credentials_of_google_that_are_committed_are_used(helper: str, tmp_path: Path, docker: Docker) -> None:
    """Those of a workload hold no secret, so that people commit them; they say where the job's token is sent."""
    top, config = honest(tmp_path / "top"), tmp_path / "config"
    (top / "wif.json").write_text('{"type": "external_account"}')
    own = Path(docker.env.get("DOCKER_CONFIG") or Path(os.environ["HOME"]) / ".docker") / "config.json"
    given = json.loads(own.read_text()) if own.exists() else {}
    config.mkdir()
    (config / "config.json").write_text(json.dumps({**given, "credHelpers": {"r.example.com": helper}}))
    env = {"DOCKER_CONFIG": str(config), "GOOGLE_APPLICATION_CREDENTIALS": str(top / "wif.json")}
    assert docker.tool("build", "--cache", "none", ".", cwd=top, env=env).code == 0  # so far it is the job's own
    git(top, "add", "--all", "--force")
    ran = docker.tool("build", "--cache", "none", ".", cwd=top, env=env)
    assert ran.report["error"]["code"] == "cloud-config-committed", ran.stderr


HELPERS = {
    "r.example.com": "pass",
    "https://eu.gcr.io": "gcr",
    "europe-docker.pkg.dev": "gcr",
    "x.azurecr.io": "acr-env",
}


@pytest.mark.parametrize("committed", [{}, {"credHelpers": HELPERS}], ids=["nothing", "helpers"])
def test_what_the_job_puts_there_is_its_own(committed: dict[str, object], tmp_path: Path, docker: Docker) -> None:
    top = honest(tmp_path / "top")
    config = top / ".docker"
    config.mkdir()
    (config / "config.json").write_text(json.dumps(committed))
    git(top, "add", "--all")
    git(top, "commit", "--quiet", "--message", "second")
    own = Path(docker.env.get("DOCKER_CONFIG") or Path(os.environ["HOME"]) / ".docker")
    if not committed and (own / "config.json").exists():
        git(top, "rm", "--quiet", "--cached", ".docker/config.json")
        (config / "config.json").write_bytes((own / "config.json").read_bytes())
    elif committed:
        given = json.loads((own / "config.json").read_text()) if (own / "config.json").exists() else {}
        (config / "cli-plugins").mkdir()
        for folder in given.get("cliPluginsExtraDirs", ()):
            for plugin in Path(folder).iterdir():
                (config / "cli-plugins" / plugin.name).symlink_to(plugin)
    ran = docker.tool("plan", "--cache", "none", ".", cwd=top, env={"DOCKER_CONFIG": str(config)})
    assert ran.code == 0, ran.stderr
