from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import os
import runpy
import shlex
import signal
import stat
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import jsonschema
import pytest

from buildx_cache import __version__, cli
from buildx_cache.cli import building, session
from buildx_cache.cli.displays import wants_color
from buildx_cache.engine import git, known_names
from buildx_cache.engine.process import Completed
from buildx_cache.errors import EngineError, ExitCode, InterruptedBuildError
from buildx_cache.plan import Builder, Facts, ImageStore, Node, Place
from buildx_cache.plan.facts import Registries
from buildx_cache.reference import FORKS
from buildx_cache.report import report_schema
from buildx_cache.request.build_request import NO_OPTIONS, BuildRequest, option_key
from tests.unit.command_line import Called, CommandLine

SECRET = "planted/Otter+4720"  # noqa: S105 -- it opens nothing
SHA = "83a20ec058e2fb00e7fa4558c4c6e81e2dcf253d"


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    for name in set(os.environ) - {"PYTEST_CURRENT_TEST"}:
        monkeypatch.delenv(name)
    folder = tmp_path / "app"
    (folder / ".git").mkdir(parents=True)
    (folder / "Dockerfile").write_text("FROM scratch AS cli\nFROM cli AS t\nFROM cli AS x\n")
    monkeypatch.chdir(folder)
    for name, value in {"HOME": str(tmp_path / "home"), "XDG_CACHE_HOME": "/cache", "COLUMNS": "80"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(git, "capture_within", _git)
    monkeypatch.setattr(sys.modules["__main__"], "__package__", "")  # else the usage line names pytest's
    return CommandLine(folder, monkeypatch, capsys)


def _git(argv: tuple[str, ...], *, env: Mapping[str, str], within: tuple[float, int]) -> Completed:
    assert all(within)
    assert argv[0] == "git"
    assert "HOME" in env
    said = f"commit {SHA}\n{SHA} HEAD -> topic" if "rev-list" in argv else "refs/remotes/origin/main"
    return Completed(code=0, stdout=said)


# --- help --------------------------------------------------------------------------------------------------


COMMANDS = {"build", "plan", "cache", "doctor", "init"}


@pytest.mark.parametrize("words", [(), ("--help",), ("-h",)], ids=["nothing", "long", "short"])
def test_help_lists_the_commands(call: CommandLine, words: tuple[str, ...]) -> None:
    called = call(*words)
    assert (called.code, called.err) == (0, "")
    assert "Usage: buildx-cache [OPTIONS] COMMAND [ARGS]..." in called.out
    assert {word for word in COMMANDS if f"│ {word} " in called.out} == COMMANDS


@pytest.mark.parametrize(
    "command", ["build", "plan", "doctor", "init", "cache", "cache inspect", "cache verify", "cache prune"]
)
def test_help_fits_80_columns(call: CommandLine, command: str) -> None:
    called = call(*command.split(), "--help")
    assert (called.code, called.err) == (0, "")
    assert f"Usage: buildx-cache {command} [OPTIONS]" in called.out
    assert max(map(len, called.out.splitlines())) <= 80


@pytest.mark.parametrize("command", ["build", "plan"])
def test_help_lists_every_option(call: CommandLine, command: str) -> None:
    listed = call(command, "--help").out.split()
    wanted = {f"--{option_key(field.name)}" for field in dataclasses.fields(BuildRequest)}
    assert wanted - {"--context", "--buildx-flags", *(f"--{option_key(name)}" for name in NO_OPTIONS)} <= set(listed)


@pytest.mark.parametrize("command", ["build", "plan"])
def test_help_has_the_groups_of_the_contract(call: CommandLine, command: str) -> None:
    heads = [line.strip("╭─╮ ") for line in call(command, "--help").out.splitlines() if line.startswith("╭─")]
    wanted = ["Image", "Build (as in docker buildx build)", "Cache", "Builder", "Login", "Prune", "Output"]
    assert [head for head in heads if head in wanted] == wanted


def test_the_version_is_told(call: CommandLine) -> None:
    assert call("--version") == Called(code=0, out=f"buildx-cache {__version__}\n", err="")


def test_the_module_runs_the_same_program(call: CommandLine) -> None:
    ended: list[int] = []
    call.patch.setattr(cli, "main", lambda: ExitCode.DENIED)
    call.patch.setattr(os, "_exit", ended.append)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    try:
        runpy.run_module("buildx_cache", run_name="__main__")
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    assert ended == [ExitCode.DENIED]


def test_a_python_too_old_is_named(call: CommandLine, capsys: pytest.CaptureFixture[str]) -> None:
    call.patch.setattr(sys, "version_info", (3, 10, 12, "final", 0))
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("buildx_cache", run_name="__main__")
    err = capsys.readouterr().err
    assert (ended.value.code, "3.11 or newer; this is 3.10" in err, err.count("hint: ")) == (3, True, 1)


@pytest.mark.parametrize("words", [("cache",), ("cache", "--help")], ids=["nothing", "help"])
def test_the_cache_command_lists_its_own(call: CommandLine, words: tuple[str, ...]) -> None:
    called = call(*words)
    assert (called.code, called.err) == (0, "")
    assert all(f"│ {word} " in called.out for word in ("ls", "inspect", "verify", "prune", "clear"))


@pytest.mark.parametrize("buffering", [-1, 1], ids=["buffered", "by line"])
@pytest.mark.parametrize(
    "words", [("--version",), ("plan", "--assume-driver", "docker", ".")], ids=lambda words: words[0]
)
def test_a_reader_that_leaves_is_no_bug(call: CommandLine, words: tuple[str, ...], buffering: int) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with contextlib.suppress(BrokenPipeError), os.fdopen(writing, "w", buffering) as gone:  # when that is closed
        call.patch.setattr(sys, "stdout", gone)
        called = call(*words)
    assert called == Called(code=128 + signal.SIGPIPE, out="", err="")


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        ("buildx-cache pl", ["plan"]),
        ("buildx-cache cache pr", ["prune"]),
        ("buildx-cache build --cache-c", ["--cache-compression"]),
        ("buildx-cache build . x --pu", ["--push", "--push-auto", "--pull"]),
        ("buildx-cache plan --format s", ["shell"]),
        ("buildx-cache build --cache re", ["registry"]),
        ("buildx-cache build --network h", ["host"]),
        ("buildx-cache init --ci bi", ["bitbucket"]),
        ("buildx-cache init --cache l", ["local"]),
    ],
)
def test_a_shell_completes_words(call: CommandLine, words: str, completed: list[str]) -> None:
    position = str(len(words.split()) - 1)
    called = call(_BUILDX_CACHE_COMPLETE="complete_bash", COMP_WORDS=words, COMP_CWORD=position)
    assert (called.code, called.out.split(), called.err) == (0, completed, "")


def complete(call: CommandLine, words: str) -> list[str]:
    called = call(_BUILDX_CACHE_COMPLETE="complete_bash", COMP_WORDS=words, COMP_CWORD=str(len(words.split()) - 1))
    assert (called.code, called.err) == (0, "")
    return called.out.split()


def test_a_shell_completes_names_that_docker_knows(call: CommandLine, tmp_path: Path) -> None:
    instances = tmp_path / "home" / ".docker" / "buildx" / "instances"
    instances.mkdir(parents=True)
    for name in ("mine", "more", "-m", "m\x1b[2J", "$(m)"):
        (instances / name).touch()
    asked: list[tuple[str, ...]] = []

    def listed(argv: tuple[str, ...], **_: object) -> Completed:
        asked.append(argv)
        return Completed(code=0, stdout="default\nmakers\nm;x\n", stderr="Warning: DOCKER_HOST overrides")

    call.patch.setattr(known_names, "capture_within", listed)
    assert complete(call, "buildx-cache build --builder m") == ["mine", "more", "makers"]
    assert complete(call, "buildx-cache plan --docker-context d") == ["default"]
    assert complete(call, "buildx-cache doctor --docker-context m") == ["makers"]
    assert set(asked) == {("docker", "context", "ls", "--quiet")}


@pytest.mark.parametrize("failure", [FileNotFoundError(), TimeoutError(), PermissionError()], ids=repr)
def test_a_docker_that_does_not_answer_completes_nothing(call: CommandLine, failure: OSError) -> None:
    def fails(*_: object, **__: object) -> Completed:
        raise failure

    call.patch.setattr(known_names, "capture_within", fails)
    for words in ("build --builder ", "build --docker-context ", "cache clear "):
        assert complete(call, f"buildx-cache {words}x") == []


def test_a_docker_that_refuses_completes_nothing(call: CommandLine) -> None:
    call.patch.setattr(known_names, "capture_within", lambda *_, **__: Completed(code=1, stdout="default", stderr="no"))
    assert complete(call, "buildx-cache build --docker-context d") == []


def test_a_shell_completes_the_names_of_caches(call: CommandLine, tmp_path: Path) -> None:
    call.patch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for name in ("app-1", "other-2"):
        (tmp_path / "buildx-cache" / name).mkdir(parents=True, mode=0o700)
        (tmp_path / "buildx-cache" / name / "oci-layout").touch()
    assert complete(call, "buildx-cache cache clear ap") == ["app-1"]


def test_a_shell_gets_no_name_that_it_could_evaluate(call: CommandLine, tmp_path: Path) -> None:
    """Zsh evaluates what Typer prints: ``\\$(…)`` ran a command there."""
    call.patch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for name in ("app-1", "app\\$(id)", "app`id`", "app'", "app\n;id", "-app", "*"):
        (tmp_path / "buildx-cache" / name).mkdir(parents=True, mode=0o700)
        (tmp_path / "buildx-cache" / name / "oci-layout").touch()
    called = call(_BUILDX_CACHE_COMPLETE="complete_zsh", _TYPER_COMPLETE_ARGS="buildx-cache cache clear ")
    assert (called.code, called.out, called.err) == (0, "_arguments '*: :((\"app-1\"))'\n", "")


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_complete_too(call: CommandLine, shell: str) -> None:
    words = "buildx-cache build --cache re"
    called = call(
        _BUILDX_CACHE_COMPLETE=f"complete_{shell}", _TYPER_COMPLETE_ARGS=words, _TYPER_COMPLETE_FISH_ACTION="get-args"
    )
    assert (called.code, "registry" in called.out, called.err) == (0, True, "")


@pytest.mark.parametrize("shell", ["zsh", "fish"])  # for bash, Typer asks bash for its version
def test_a_shell_is_told_how_to_complete(call: CommandLine, shell: str) -> None:
    called = call(_BUILDX_CACHE_COMPLETE=f"source_{shell}")
    assert (called.code, f"complete_{shell}" in called.out, called.err) == (0, True, "")


# --- usage -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "message", "hint"),
    [
        (("build", "--tag", ""), "--tag is empty", "give REGISTRY/REPOSITORY:TAG; a variable in it may not be set"),
        (("build", "--push"), "--push needs a tag to push", "add -t REGISTRY/REPOSITORY:TAG"),
        (
            ("build", "--cache", "inline", "--cache-mode", "max"),
            "--cache inline has no --cache-mode max: the image carries only its own layers",
            "use --cache registry for the layers of every stage, or drop --cache-mode",
        ),
        (("build", "absent"), "the build context 'absent' does not exist", "give the folder that COPY reads from"),
        (("build", "-f", "absent"), "the Dockerfile does not exist: absent", "give it with -f/--file"),
        (
            ("plan", "--assume-driver", "docker", "-t", "app:{pr}"),
            "the tag 'app:{pr}' needs {pr}, which this build does not have",
            "only a pull request's build has one: use {branch} for the others",
        ),
        (
            ("plan", "--assume-driver", "docker", "-t", "App"),
            "'App' is not an image reference",
            "write the repository's name in lower case",
        ),
    ],
)
def test_a_wrong_call_is_told_in_two_lines(call: CommandLine, words: tuple[str, ...], message: str, hint: str) -> None:
    assert call(*words) == Called(code=2, out="", err=f"error: {message}\nhint: {hint}\n")


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("nope",), "nope"),
        (("--nope",), "--nope"),
        (("build", "--nope"), "--nope"),
        (("build", "--cach-dir", "x"), "--cache-dir"),
        (("build", "--no-puhs"), "--no-push"),
        (("build", "-x"), "-x"),
        (("build", "--target"), "--target"),
        (("build", "--push=yes"), "--push"),
        (("build", "--progress", "lvie"), "--progress"),
        (("build", "--cache", "regsitry"), "--cache"),
        (("build", "--cache-mode", ""), "--cache-mode"),
        (("build", "--cache-compression", "zip"), "--cache-compression"),
        (("build", "--lazy", "maybe"), "--lazy"),
        (("build", "--driver", "podman"), "--driver"),
        (("plan", "--format", "x"), "--format"),
        (("plan", "--assume-driver", "x"), "--assume-driver"),
        (("build", "--format", "json"), "plan"),
        (("build", "--assume-driver", "docker"), "plan"),
        (("build", "a", "b"), "build . -- --flag"),
        (("build", ".", "b", "--", "--call", "check"), "build . -- --flag"),
        (("build", ".", "--", "b"), "build . -- --flag"),
        (("build", "--", "--call", "check"), "build . -- --flag"),
        (("plan", "--", "--call", "check"), "build . -- --flag"),
        (("cache", "nope"), "nope"),
        (("cache", "inspect"), "DIR|REF"),
        (("cache", "inspect", "--layers", "x", "."), "--layers"),
        (("cache", "inspect", ".", "x"), "x"),
        (("cache", "prune", "--xyz"), "--xyz"),
        (("doctor", "x"), "x"),
    ],
    ids=" ".join,
)
def test_what_the_command_line_does_not_take_is_told_in_two_lines(
    call: CommandLine, words: tuple[str, ...], named: str
) -> None:
    called = call(*words, GITHUB_ACTIONS="true")  # whose log takes colours, Typer says
    assert (called.code, bool(called.error), called.out) == (2, True, "")
    first, second = called.err.splitlines()
    assert (first.partition(": ")[0], second.partition(": ")[0]) == ("error", "hint")
    assert named in called.err


@pytest.mark.parametrize(
    "words",
    [
        ("build", f"--pasword={SECRET}"),
        ("build", f"--password-stdin={SECRET}"),
        ("build", "--password-stdin", SECRET, "."),
        ("build", ".", "--build-arg", "TOKEN", f"={SECRET}"),
        ("build", ".", "--", SECRET),
        ("build", "--", f"--x={SECRET}"),
        ("build", f"-x{SECRET}"),
        ("build", ".", "--build-arg", f"={SECRET}"),
        *(
            (command, "-t", "r.example/x", "--push", "--username", "me", "--password-env", password)
            for command in ("build", "plan")
            for password in (f"{SECRET}-.", f"{SECRET}_x")
        ),
    ],
    ids=" ".join,
)
def test_no_value_is_shown_that_may_be_a_secret(call: CommandLine, words: tuple[str, ...]) -> None:
    called = call(*words)
    assert (called.code, SECRET in called.out + called.err) == (2, False)


def test_a_command_for_the_ci_in_a_wrong_word_is_none(call: CommandLine) -> None:
    called = call("x\n::error::y", "build", GITHUB_ACTIONS="true")
    assert called.code == 2
    assert not any(line.startswith("::") for line in called.err.splitlines())


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("build", "--cache", "regsitry"), "registry"),
        (("plan", "--driver", "dokcer"), "docker"),
        (("plan", "--assume-driver", "kubernets"), "kubernetes"),
        (("plan", "--format", "jsn"), "json"),
        (("cache", "inspect", "x", "--format", "tabel"), "table"),
        (("build", "--dockerfile", "x"), "--file"),
        (("plan", "--image=x"), "--tag"),
    ],
    ids=" ".join,
)
def test_the_right_word_for_a_wrong_one_is_named(call: CommandLine, words: tuple[str, ...], named: str) -> None:
    called = call(*words)
    assert (called.code, "Value error" in called.err) == (2, False)
    assert named in called.err.splitlines()[1]


@pytest.mark.parametrize(
    ("words", "platform"),
    [
        ((), "linux/arm64"),
        (("--platform", "linux/s390x"), "linux/s390x"),
        ((".", "--", "--platform", "linux/s390x"), "linux/s390x"),
    ],
    ids=["variable", "option", "flag"],
)
def test_buildx_own_default_platform_is_one_of_the_build(
    call: CommandLine, words: tuple[str, ...], platform: str
) -> None:
    line = call("plan", "--assume-driver", "docker", *words, DOCKER_DEFAULT_PLATFORM="linux/arm64").out
    words_of_it = shlex.split(line, comments=True)
    assert [words_of_it[at + 1] for at, word in enumerate(words_of_it) if word == "--platform"] == [platform]


def test_jobs_of_a_default_platform_each_have_a_cache_each(call: CommandLine) -> None:
    words = ("plan", "--assume-driver", "docker", "--push", "-t", "r.example/app:1", "--cache-scope", "x")
    by_variable = call(*words, DOCKER_DEFAULT_PLATFORM="linux/arm64").out
    assert by_variable == call(*words, "--platform", "linux/arm64").out
    assert by_variable != call(*words, DOCKER_DEFAULT_PLATFORM="linux/s390x").out


def test_a_variable_that_is_no_option_is_told(call: CommandLine) -> None:
    lines = call("plan", "--assume-driver", "docker", BUILDX_CACHE_CACH="none", BUILDX_CACHE_DIGEST="x").out
    assert [line for line in lines.splitlines() if "BUILDX_CACHE" in line and "BUILDX_CACHE_CACHE" not in line] == []
    assert "BUILDX_CACHE_CACH is ignored" in lines


def test_a_wrong_variable_is_told_by_its_name(call: CommandLine) -> None:
    called = call("build", BUILDX_CACHE_CACHE="regsitry")
    assert (called.code, called.err.splitlines()[0]) == (
        2,
        "error: BUILDX_CACHE_CACHE: invalid value: 'regsitry'",
    )


def test_a_wrong_key_is_told_by_its_place(call: CommandLine) -> None:
    (call.folder / "buildx-cache.toml").write_text("\nplatfrom = []\n")
    called = call("build")
    assert (called.code, called.err.splitlines()) == (
        2,
        [
            f"error: {call.folder}/buildx-cache.toml:2: unknown option 'platfrom'",
            "hint: perhaps you meant 'platform'?",
        ],
    )


# --- plan --------------------------------------------------------------------------------------------------

NO_CACHE = ("--cache", "none")


@pytest.mark.parametrize(
    ("driver", "words", "lines"),
    [
        ("docker", (), ["docker buildx build --builder default ."]),
        (
            "docker-container",
            (),
            [
                "docker buildx create --name OWN --driver docker-container --bootstrap",
                "docker buildx build --builder OWN .",
            ],
        ),
        (
            "kubernetes",
            (),
            ["docker buildx create --name OWN --driver kubernetes --bootstrap", "docker buildx build --builder OWN ."],
        ),
        (
            "remote",
            ("--endpoint", "tcp://a:1"),
            [
                "docker buildx create --name OWN --driver remote --bootstrap tcp://a:1",
                "docker buildx build --builder OWN .",
            ],
        ),
    ],
)
def test_a_plan_for_a_driver_needs_no_docker(
    call: CommandLine, driver: str, words: tuple[str, ...], lines: list[str]
) -> None:
    planned = call.planned(*NO_CACHE, *words, driver=driver)
    name = planned[-1].split()[4]
    assert [line.replace(name, "OWN") if name != "default" else line for line in planned] == lines
    asked = ("plan", "--assume-driver", driver, "--driver", driver, "--format", "json", *NO_CACHE, *words)
    document = json.loads(call(*asked).out)
    assert document["builder"]["driver"] == driver
    assert [" ".join(command["argv"]) for command in document["commands"]] == planned


def test_the_engines_own_builder_is_taken_to_be_running(call: CommandLine) -> None:
    lines = call("plan", "--assume-driver", "docker", *NO_CACHE).out.splitlines()
    assert lines[2:] == ["docker buildx build --builder default ."]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ((".", "--", "--call", "check"), "docker buildx build --builder default --call check ."),
        (("--", ".", "--call", "check"), "docker buildx build --builder default --call check ."),
        (("-", "--", "--call", "check"), "docker buildx build --builder default --call check -"),
        ((".", "--", "--progress=tty", "--", "-t"), "docker buildx build --builder default --progress=tty -- -t ."),
        (("--target", "x", "--"), "docker buildx build --builder default --target x ."),
    ],
)
def test_what_follows_the_dashes_is_passed_on(call: CommandLine, words: tuple[str, ...], line: str) -> None:
    assert call.planned(*NO_CACHE, *words) == [line]


def test_a_project_has_one_cache_folder_and_each_source_its_cache_there(call: CommandLine) -> None:
    (call.folder / "sub").mkdir()
    for name in ("sub/Dockerfile", "sub/Other", "Other"):
        (call.folder / name).write_text("FROM scratch\n")

    def written(*words: str) -> tuple[str, str]:
        called = call("plan", "--assume-driver", "docker", "--format", "json", *words)
        cache = json.loads(called.out)["cache"]
        return cache["dir"], cache["exports"][0]

    own = written()
    assert own[0].startswith("/cache/buildx-cache/app-")
    assert "tag=" not in own[1]
    for same in ((".",), (str(call.folder),), ("-f", "Dockerfile"), ("-f", "sub/../Dockerfile")):
        assert written(*same) == own
    other = (("sub",), ("-f", "Other"), ("sub", "-f", "sub/Other"), ("--target", "t"))
    remote = [written(f"https://example.com/{name}") for name in ("x.git", "x.git#v1", "y.git", "x.git#v1:sub")]
    assert remote[0] == remote[1]
    assert len({own[0], *(folder for folder, _ in remote)}) == 3
    assert remote[3][0] == remote[0][0]
    assert remote[3][1] != remote[0][1]
    assert {written(*words)[0] for words in other} == {own[0]}
    assert len({own[1], *(written(*words)[1] for words in other)}) == 1 + len(other)


def test_git_is_asked_where_no_ci_tells(call: CommandLine) -> None:
    (line,) = call.planned(*NO_CACHE, "-t", "app:{short_sha}-{branch}")
    assert line == "docker buildx build --builder default --tag app:83a20ec-topic ."


@pytest.mark.parametrize(
    ("words", "env", "read"),
    [
        ((), {}, "main"),
        (("--default-branch", "trunk"), {}, "trunk"),
        (("--default-branch", "trunk"), {"BUILDX_CACHE_DEFAULT_BRANCH": "other", "CIRCLECI": "true"}, "trunk"),
        ((), {"BUILDX_CACHE_DEFAULT_BRANCH": "trunk"}, "trunk"),
    ],
)
def test_the_default_branch_is_the_callers_word(
    call: CommandLine, words: tuple[str, ...], env: dict[str, str], read: str
) -> None:
    push = ("-t", "r.example/app:1", "--push", "--cache-scope", "own")
    called = call("plan", "--assume-driver", "docker", "--format", "json", *push, *words, **env)
    imports = json.loads(called.out)["cache"]["imports"]
    assert [each.partition("buildcache-")[2].partition(",")[0] for each in imports] == ["own", read]


def test_a_default_branch_that_is_none_is_refused(call: CommandLine) -> None:
    called = call("plan", "--assume-driver", "docker", "--default-branch", "a\u2028b")
    assert (called.code, "--default-branch" in called.err) == (2, True)


def test_the_ci_is_asked_before_git(call: CommandLine) -> None:
    ci = {"CIRCLECI": "true", "CIRCLE_SHA1": "f" * 40, "CIRCLE_BRANCH": "fix/7", "CIRCLE_BUILD_NUM": "9"}
    (line,) = call.planned(*NO_CACHE, "-t", "app:{short_sha}-{branch}-{build}", **ci)
    assert line == "docker buildx build --builder default --tag app:fffffff-fix-7-9 ."


def test_options_come_from_everywhere(call: CommandLine) -> None:
    (call.folder / "pyproject.toml").write_text(
        '[tool.buildx-cache]\ntarget = "file"\nnetwork = "none"\nsbom = "false"\n'
    )
    (line,) = call.planned(
        *NO_CACHE,
        "--target",
        "cli",
        BUILDX_CACHE_TARGET="env",
        BUILDX_CACHE_NETWORK="env",
        BUILDX_CACHE_ADD_HOST="a:1\nb:2",
        BUILDX_CACHE_QUIET="true",
    )
    assert line == (
        "docker buildx build --builder default --target cli --network env --add-host a:1 --add-host b:2 --sbom false ."
    )


@pytest.mark.parametrize("driver", [("--assume-driver", "docker"), ()], ids=["plan", "no engine"])
def test_one_line_of_a_plan_names_the_configuration_file(call: CommandLine, driver: tuple[str, ...]) -> None:
    (call.folder / "buildx-cache.toml").write_text("quiet = true\n")
    called = call("plan", *driver, PATH="/nowhere")
    place = f"{call.folder}/buildx-cache.toml"
    assert (place in called.out, sum(place in line for line in called.err.splitlines())) == (False, 1)
    assert place not in call("plan", *driver, "--quiet", PATH="/nowhere").err


def test_one_line_of_a_build_names_the_configuration_file_though_that_asks_for_quiet(call: CommandLine) -> None:
    (call.folder / "buildx-cache.toml").write_text("quiet = true\n")
    called = call("build", PATH="/nowhere")
    assert called.code == 3
    assert sum("buildx-cache.toml" in line for line in called.err.splitlines()) == 1
    assert "buildx-cache.toml" not in call("build", BUILDX_CACHE_QUIET="1", PATH="/nowhere").err


@pytest.mark.parametrize("template", ["{nofield}-hunter2", "A{sha}:hunter2", "app:{pr}-hunter2", "x@sha256:hunter2"])
def test_no_refusal_of_a_plan_shows_a_value_of_the_configuration_file(call: CommandLine, template: str) -> None:
    (call.folder / "buildx-cache.toml").write_text(f"\ntag = [{json.dumps(template)}]\n")
    called = call("plan", "--assume-driver", "docker", "--quiet")
    assert (called.code, "hunter2" in called.err) == (2, False)
    assert f"{call.folder}/buildx-cache.toml:2: tag: " in called.err
    assert "hunter2" in call("plan", "--assume-driver", "docker", "-t", template).err


LOGIN = {"DOCKER_REGISTRY": "ci.example.com", "DOCKER_LOGIN": "robot", "DOCKER_PASSWORD": "hunter2"}


@pytest.mark.parametrize(
    ("words", "env", "login"),
    [
        pytest.param(
            (), LOGIN, 'printf %s "$DOCKER_PASSWORD" | docker login --username robot --password-stdin ci.example.com',
            id="all-from-the-ci",
        ),
        pytest.param(
            (), {"DOCKER_LOGIN": "robot", "DOCKER_PASSWORD": "x"}, None, id="not-where-the-tag-goes",
        ),
        pytest.param(
            ("--registry", "r.example.com", "--username", "me", "--password-env", "MINE"), LOGIN,
            'printf %s "$MINE" | docker login --username me --password-stdin r.example.com',
            id="command-line-before-ci",
        ),
        pytest.param((), {"DOCKER_LOGIN": "robot"}, None, id="no-password"),
        pytest.param((), {"DOCKER_REGISTRY": "ci.example.com"}, None, id="only-a-registry"),
    ],
)  # fmt: skip
def test_the_login_of_the_ci_is_honoured(
    call: CommandLine, words: tuple[str, ...], env: dict[str, str], login: str | None
) -> None:
    lines = call.planned(*NO_CACHE, "-t", "registry.example.com/app:1", "--push", *words, **env)
    assert [line for line in lines[:-1] if not line.startswith("# note:")] == ([login] if login else [])
    assert "hunter2" not in "".join(lines)


def test_a_password_on_stdin_comes_before_that_of_the_ci(call: CommandLine) -> None:
    words = ("-t", "ci.example.com/app:1", "--push", "--username", "me", "--password-stdin")
    assert call.planned(*NO_CACHE, *words, **LOGIN)[0] == "docker login --username me --password-stdin ci.example.com"


@pytest.mark.parametrize(
    ("words", "noted"),
    [
        (("--cache-dir", ".cache"), ".cache"),
        (("--cache", "none", "--cache-to", "type=local,dest=c"), "c"),
        (("--cache-dir", ".cache", "--cache-read-only"), ""),
        (("--cache-dir", "../cache"), ""),
        ((), ""),
    ],
    ids=["inside", "added", "only-read", "outside", "default"],
)
def test_a_cache_inside_the_context_is_noted(call: CommandLine, words: tuple[str, ...], noted: str) -> None:
    called = call("plan", "--assume-driver", "docker", *words)
    notes = [line for line in called.out.splitlines() if line.startswith("# note: ")]
    assert notes == ([f"# note: '{in_context(noted)}'"] if noted else [])


def in_context(folder: str) -> str:
    return (
        f"the cache folder {folder} is in the build context .: `COPY . .` copies it, is never cached, and makes the "
        f"folder grow; add `{folder}*` to .dockerignore, or choose a folder outside of the context"
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--cache", "local", "--cache-dir", "/"), "the cache folder / has no name"),
        (
            ("--cache", "none", "--cache-to", "type=local,dest=site"),
            "the cache folder holds an index.json or blobs of something else: site",
        ),
        (
            ("--cache", "local", "--cache-dir", "c", "--cache-to", "type=local,dest=c,tag=x"),
            "two caches are written to the folder c: Buildx keeps only the last one's tag",
        ),
    ],
    ids=["root", "foreign", "twice"],
)
def test_a_folder_that_is_no_caches_is_refused_where_it_would_be_written(
    call: CommandLine, words: tuple[str, ...], message: str
) -> None:
    (call.folder / "site").mkdir()
    (call.folder / "site" / "index.json").write_text("{}")
    with_engine(call, _Engine())
    called = call("plan", *words)
    assert (called.code, called.out, called.err.splitlines()[0]) == (2, "", f"error: {message}")
    assert call("plan", *words, "--cache-read-only").code == 0


class _Engine:
    """An engine of some image store that has the builders named, running; it notes what it is asked for."""

    context = "default"
    tls = None

    def __init__(
        self,
        *,
        store: ImageStore = ImageStore.CONTAINERD,
        drivers: Mapping[str, str] | None = None,
        registries: Registries = Registries(),  # noqa: B008 -- frozen
        endpoint: str = "",
    ) -> None:
        self.endpoint = endpoint
        self.store = store
        self.registries = registries
        self.drivers = {"": "docker"} if drivers is None else drivers
        self.asked: list[str] = []

    def facts(self, place: Place, builder: str = "") -> Facts:
        found = self.find_builder(builder)
        return Facts(
            docker="28.0.0",
            buildx=(0, 29, 1),
            store=self.store,
            context="default",
            place=place,
            builder=found,
            registries=self.registries,
            endpoint=self.endpoint,
        )

    def find_builder(self, name: str) -> Builder | None:
        self.asked.append(name)
        driver = self.drivers.get(name)
        nodes = (Node(name="node", status="running"),)
        return Builder(name=name or "default", driver=driver, nodes=nodes) if driver else None


def with_engine(call: CommandLine, engine: _Engine) -> _Engine:
    call.patch.setattr(session, "DockerEngine", lambda *_, **__: engine)
    return engine


OWN = "buildx-cache-app-"


@pytest.mark.parametrize(
    ("words", "engine", "asked"),
    [
        pytest.param((), _Engine(), ["the current one"], id="current"),
        pytest.param(("--builder", "x"), _Engine(drivers={"x": "remote"}), ["x"], id="by-name"),
        pytest.param(("--driver", "docker"), _Engine(), ["the current one"], id="engine"),
        pytest.param(("--driver", "docker-container"), _Engine(), ["own"], id="own-by-driver"),
        pytest.param(("--rm-builder",), _Engine(), ["own"], id="own-by-option"),
        pytest.param((), _Engine(store=ImageStore.CLASSIC), ["the current one", "own"], id="own-instead"),
        pytest.param((), _Engine(drivers={}), ["the current one", "own"], id="none"),
    ],
)
def test_only_the_builders_that_matter_are_asked_for(
    call: CommandLine, words: tuple[str, ...], engine: _Engine, asked: list[str]
) -> None:
    with_engine(call, engine)
    called = call("plan", "-t", "registry.example.com/app", "--push", *words)
    assert (called.code, called.err) == (0, "")
    engine.asked[:] = ["own" if name.startswith(OWN) else name or "the current one" for name in engine.asked]
    assert engine.asked == asked


def test_the_projects_own_builder_is_used_again(call: CommandLine) -> None:
    engine = with_engine(call, _Engine())
    words = ("plan", "--driver", "docker-container", "--cache", "none")
    made = call(*words).out.splitlines()[-2:]
    (own,) = engine.asked
    engine.drivers = {own: "docker-container"}
    used = call(*words).out.splitlines()[-1:]
    assert made == [
        f"docker buildx create --name {own} --driver docker-container --bootstrap",
        f"docker buildx build --builder {own} .",
    ]
    assert used == made[1:]


def test_a_dockerfile_does_not_choose_its_builders_network(call: CommandLine) -> None:
    with_engine(call, _Engine(store=ImageStore.CLASSIC, endpoint="unix:///var/run/docker.sock"))
    (call.folder / "Dockerfile").write_text("FROM localhost:5000/base\n")
    called = call("plan", "--cache", "local", "--load", CIRCLECI="true", CIRCLE_BRANCH="topic")
    assert called.code == 0
    assert "network=host" not in called.out


def test_a_builder_that_the_engines_registries_name_anew_is_looked_for(call: CommandLine) -> None:
    engine = with_engine(call, _Engine(registries=Registries(insecure=("registry.test",))))
    call("plan", "--driver", "docker-container", "--cache", "none")
    *_, own = engine.asked
    engine.drivers = {own: "docker-container"}
    assert call("plan", "--driver", "docker-container", "--cache", "none").out.splitlines()[-1:] == [
        f"docker buildx build --builder {own} ."
    ]


# --- build, where it ends before Docker ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("--username", "me", "--password-env", "ABSENT"),
            "there is no password in the variable that --password-env names",
        ),
        (("--username", "me", "--password-stdin"), "there is no password in stdin"),
    ],
)
def test_a_login_without_a_password_is_refused(call: CommandLine, words: tuple[str, ...], message: str) -> None:
    call.patch.setattr(sys, "stdin", _Lines(b"\n"))
    called = call("build", "-t", "app", "--push", *words)
    assert called == Called(
        code=2,
        out="",
        err=f"error: {message}\nhint: set it in the CI's settings, or drop --username; {FORKS}\n",
    )


@pytest.mark.parametrize(
    ("words", "where"), [(("--password-env", "MINE"), "the variable MINE"), (("--password-stdin",), "stdin")]
)
def test_a_password_that_is_no_text_is_refused(call: CommandLine, words: tuple[str, ...], where: str) -> None:
    call.patch.setattr(sys, "stdin", _Lines(b"p\xe4ss\n"))
    called = call("build", "-t", "app", "--push", "--username", "me", *words, MINE=os.fsdecode(b"p\xe4ss"))
    assert called == Called(
        code=2, out="", err=f"error: the password in {where} is not text in UTF-8\nhint: store it as UTF-8\n"
    )


def test_a_call_without_a_plan_leaves_no_value_of_an_earlier_one(call: CommandLine) -> None:
    output, dotenv, report = (call.folder / name for name in ("output", "new/.env", "report.json"))
    output.write_text("digest=sha256:1\n")
    called = call(
        *("build", "--dotenv", str(dotenv), "--report", str(report)),
        GITHUB_ACTIONS="true",
        GITHUB_OUTPUT=str(output),
        PATH="/none",
    )
    assert (called.code, called.err.splitlines()[-2]) == (3, "error: the docker command is not on PATH")
    assert output.read_text().splitlines()[1].startswith("digest<<")
    assert output.read_text().splitlines()[2] == ""
    assert "BUILDX_CACHE_DIGEST=\n" in dotenv.read_text()
    written = json.loads(report.read_text())
    assert (written["status"], written["exit_code"], written["ci"]["provider"]) == ("failed", 3, "github")
    jsonschema.validate(written, report_schema())


def test_where_no_folder_is_there_is_nothing_to_do(call: CommandLine) -> None:
    gone = call.folder / "gone"
    gone.mkdir()
    call.patch.chdir(gone)
    gone.rmdir()
    for words in (("plan", "--assume-driver", "docker"), ("doctor",), ("build",)):
        assert call(*words) == Called(
            code=2,
            out="",
            err=(
                "error: the working directory cannot be read: No such file or directory\n"
                "hint: change to a folder that exists\n"
            ),
        )


def test_without_a_home_there_is_no_place_for_a_cache(call: CommandLine) -> None:
    call.patch.delenv("HOME", raising=False)
    call.patch.delenv("XDG_CACHE_HOME", raising=False)
    call.patch.setattr(Path, "home", _raise_no_home)
    called = call("plan", "--assume-driver", "docker")
    assert (called.code, called.err) == (
        2,
        "error: this user has no home folder\nhint: set HOME to a folder that it can write\n",
    )


def _raise_no_home() -> Path:
    raise RuntimeError("Could not determine home directory.")


class _Lines:
    def __init__(self, text: bytes) -> None:
        self.buffer = io.BytesIO(text)


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (EngineError("Docker is not running", hint="start it"), 3, "error: Docker is not running\nhint: start it\n"),
        (
            InterruptedBuildError(signal.SIGTERM),
            143,
            "error: stopped by SIGTERM\nhint: run it again; a builder that is kept has the finished steps\n",
        ),
        (
            InterruptedBuildError(signal.SIGINT),
            130,
            "error: stopped by SIGINT\nhint: run it again; a builder that is kept has the finished steps\n",
        ),
    ],
    ids=["no-docker", "terminated", "interrupted"],
)
def test_an_expected_error_has_its_exit_code(call: CommandLine, error: Exception, code: int, message: str) -> None:
    _fail_with(call, error)
    assert call("build") == Called(code=code, out="", err=message)


def _fail_with(call: CommandLine, error: BaseException) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    call.patch.setattr(building, "open_session", fail)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_a_signal_ends_a_build_in_order_and_only_once(call: CommandLine, number: signal.Signals) -> None:
    def stopped(*_: object, **__: object) -> None:
        try:
            signal.raise_signal(number)
        finally:
            signal.raise_signal(number)

    call.patch.setattr(building, "open_session", stopped)
    before = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    called = call("build")
    assert called.code == (130 if number is signal.SIGINT else 143)
    assert called.err.startswith(f"error: stopped by {number.name}\n")
    assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == before


def test_a_bug_is_logged_and_shows_no_traceback(call: CommandLine, tmp_path: Path) -> None:
    with _temporary_files_in(call, tmp_path / "logs") as logs:
        _fail_with(call, RuntimeError("token=abc123"))
        called = call("build")
    (log,) = logs.iterdir()
    assert called == Called(
        code=70,
        out="",
        err=f"error: internal error in buildx-cache; the log is {log}\n"
        "hint: run `buildx-cache doctor`, and report this with the log\n",
    )
    text = log.read_text()
    assert text.splitlines()[0] == f"buildx-cache {__version__}"
    assert text.splitlines()[-1] == "RuntimeError"
    assert "cli/building.py" in text
    assert "abc123" not in text
    assert stat.S_IMODE(log.stat().st_mode) == 0o600


def _buggy(*_: object, **__: object) -> None:
    """A bug that has a secret in what it says, in what it comes from, in a note, and in what its frames hold."""
    held = {"password": SECRET}
    try:
        {"": ""}[held["password"]]
    except KeyError as cause:
        error = RuntimeError(f"it was {SECRET}", SECRET)
        error.add_note(SECRET)
        raise error from cause


def test_no_secret_is_in_the_log_of_a_bug(call: CommandLine, tmp_path: Path) -> None:
    call.patch.setattr(building, "open_session", _buggy)
    words = ("build", "--progress", "json", "--username", "me", "--password-env", "MINE", "--secret", "id=MINE")
    with _temporary_files_in(call, tmp_path / "logs") as logs:
        called = call(*words, "--build-arg", f"A_TOKEN={SECRET}", "--registry", "r.example", MINE=SECRET)
    (log,) = logs.iterdir()
    assert called.code == 70
    assert "_buggy" in log.read_text()
    assert "4720" not in called.out + called.err + log.read_text()
    assert stat.S_IMODE(log.stat().st_mode) == 0o600


def test_a_bug_without_a_place_for_its_log_shows_where_it_is(call: CommandLine, tmp_path: Path) -> None:
    call.patch.setattr(building, "open_session", _buggy)
    call.patch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    called = call("build")
    assert called.code == 70
    assert "its log, which follows, could not be written\nhint: " in called.err
    assert called.err.endswith("RuntimeError\n")
    assert "4720" not in called.err


def test_a_bug_in_a_thread_is_told_and_no_secret_with_it(call: CommandLine, tmp_path: Path) -> None:
    def part(*_: object, **__: object) -> None:
        thread = threading.Thread(target=_buggy)
        thread.start()
        thread.join()
        raise EngineError("the end", hint="")

    call.patch.setattr(building, "open_session", part)
    with _temporary_files_in(call, tmp_path / "logs") as logs:
        called = call("build")
    (log,) = logs.iterdir()
    assert called.code == 3
    assert f"error: internal error in a part of buildx-cache; the log is {log}\n" in called.err
    assert log.read_text().splitlines()[-1] == "RuntimeError"
    assert "4720" not in called.err + log.read_text()
    assert stat.S_IMODE(log.stat().st_mode) == 0o600


@contextmanager
def _temporary_files_in(call: CommandLine, folder: Path) -> Iterator[Path]:
    folder.mkdir()
    call.patch.setattr(tempfile, "tempdir", str(folder))
    yield folder


@pytest.mark.parametrize(
    ("env", "no_color", "terminal", "wanted"),
    [
        ({}, False, True, True),
        ({}, False, False, False),
        ({}, True, True, False),
        ({"NO_COLOR": "1"}, False, True, False),
        ({"NO_COLOR": ""}, False, True, True),
        ({"TERM": "dumb"}, False, True, False),
    ],
)
def test_colours_are_for_terminals_that_want_them(
    env: dict[str, str],
    no_color: bool,  # noqa: FBT001 -- a table
    terminal: bool,  # noqa: FBT001 -- same
    wanted: bool,  # noqa: FBT001 -- same
) -> None:
    assert wants_color(env, no_color=no_color, terminal=terminal) is wanted
