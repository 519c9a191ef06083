"""``--push auto``: the image is pushed, but in a fork's pull request it is only built."""

from __future__ import annotations

from pathlib import Path

import pytest

from buildx_cache.errors import ExitCode
from tests.unit.command_line import CommandLine

SHA = "0123456789012345678901234567890123456789"
BRANCH = {"CIRCLECI": "true", "CIRCLE_BRANCH": "main", "CIRCLE_SHA1": SHA}
FORK = {**BRANCH, "CIRCLE_BRANCH": "pull/7", "CIRCLE_PR_NUMBER": "7"}
PUSHED = "host.example/app:0123456"
IN_THE_SHELL = ("-t", "/app:{short_sha}", "--username", "", "--password-env", "NOBODY_SETS_IT")
"""What a recipe's variables come to where none of them is set."""


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    monkeypatch.chdir(tmp_path)
    for name in ("CI", "BUILDX_CACHE_PUSH"):
        monkeypatch.delenv(name, raising=False)
    return CommandLine(tmp_path, monkeypatch, capsys)


def build_line(call: CommandLine, *words: str, **env: str) -> str:
    called = call("plan", "--assume-driver", "docker-container", *words, **env)
    assert called.code == ExitCode.OK, called.err
    return next(line for line in called.out.splitlines() if line.startswith("docker buildx build"))


@pytest.mark.parametrize("spelled", [("--push", "auto"), ("--push=auto",), ("--push-auto",)], ids=" ".join)
@pytest.mark.parametrize(("ci", "pushes"), [(BRANCH, True), (FORK, False)], ids=["branch", "fork"])
def test_the_command_line_spells_it(
    call: CommandLine, spelled: tuple[str, ...], ci: dict[str, str], *, pushes: bool
) -> None:
    words = build_line(call, "-t", PUSHED, *spelled, ".", **ci).split()
    assert ("--push" in words) is pushes
    assert ("--cache-to" in words) is pushes
    assert any("type=registry,ref=host.example/app:buildcache-main" in word for word in words)


@pytest.mark.parametrize("text", ['push = "auto"', "push-auto = true"])
@pytest.mark.parametrize(("ci", "pushes"), [(BRANCH, True), (FORK, False)], ids=["branch", "fork"])
def test_the_repositorys_file_may_ask_for_it(call: CommandLine, text: str, ci: dict[str, str], *, pushes: bool) -> None:
    (call.folder / "buildx-cache.toml").write_text(text)
    assert ("--push" in build_line(call, "-t", PUSHED, **ci).split()) is pushes


def test_the_environment_may_ask_for_it_and_the_command_line_decides(call: CommandLine) -> None:
    env = {**FORK, "BUILDX_CACHE_PUSH": "auto"}
    assert "--push" not in build_line(call, "-t", PUSHED, **env).split()
    assert "--push" in build_line(call, "-t", "host.example/app:{pr}", "--push", **env).split()
    assert "--push" not in build_line(call, "-t", PUSHED, "--no-push", **{**env, **BRANCH, "CIRCLE_PR_NUMBER": ""})


@pytest.mark.parametrize("words", [("--push", "auto", "auto"), ("--push", ".", "auto")], ids=" ".join)
def test_only_the_word_after_push_is_taken(call: CommandLine, words: tuple[str, ...]) -> None:
    (call.folder / "auto").mkdir()
    (call.folder / "auto" / "Dockerfile").write_text("FROM scratch\n")
    called = call("plan", "--assume-driver", "docker", "-t", PUSHED, *words)
    assert called.code == (ExitCode.USAGE if words[1] == "." else ExitCode.OK)


def test_words_after_two_dashes_are_buildxs(call: CommandLine) -> None:
    assert build_line(call, "-t", PUSHED, ".", "--", "--push", "auto").endswith("--push auto .")


def test_a_fork_builds_with_nothing_of_what_is_withheld(call: CommandLine) -> None:
    words = build_line(call, *IN_THE_SHELL, "--push", "auto", ".", **FORK).split()
    assert words[words.index("--tag") + 1] == "app:0123456"


@pytest.mark.parametrize(("push", "ci"), [("--push", FORK), ("--push-auto", BRANCH)], ids=["fork", "branch"])
def test_otherwise_what_is_empty_is_an_error(call: CommandLine, push: str, ci: dict[str, str]) -> None:
    called = call("plan", "--assume-driver", "docker", *IN_THE_SHELL, push, **ci)
    assert called.code == ExitCode.USAGE
    assert "push auto" in called.err


def test_a_build_that_is_not_pushed_warns_once(call: CommandLine) -> None:
    called = call("plan", "--assume-driver", "docker-container", *IN_THE_SHELL, "--push-auto", **FORK)
    notes = [line for line in called.out.splitlines() if line.startswith("# note:")]
    assert len(notes) == 1
    assert "not pushed" in notes[0]


@pytest.mark.parametrize("ci", [BRANCH, FORK], ids=["branch", "fork"])
@pytest.mark.parametrize(
    "words",
    [
        ("-o", "type=registry", "."),
        ("-o", "type=image,push=true", "."),
        ("-o", "type=image,compression=zstd,push=", "."),
        (".", "--", "--push"),
        (".", "--", "--push=1"),
        (".", "--", "-otype=registry"),
    ],
    ids=" ".join,
)
def test_nothing_else_pushes_where_a_fork_would_not(
    call: CommandLine, words: tuple[str, ...], ci: dict[str, str]
) -> None:
    called = call("plan", "--assume-driver", "docker-container", "-t", PUSHED, "--push", "auto", *words, **ci)
    assert called.code == ExitCode.USAGE
    assert "--push auto" in called.err
    assert build_line(call, "-t", PUSHED, "--push", "auto", "-o", "type=image,compression=zstd", **ci)
