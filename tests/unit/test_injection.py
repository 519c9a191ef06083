"""Texts of others at every place of a plan: none is more than a text."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection, Iterator
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import pytest

from buildx_cache.caches.backend import CacheKind
from buildx_cache.ci import PROVIDERS, CIContext, GitFacts, detect
from buildx_cache.cli.session import _assumed
from buildx_cache.engine import credentials, git
from buildx_cache.engine.process import Completed
from buildx_cache.errors import UsageError
from buildx_cache.formatting import as_message, printable
from buildx_cache.plan import BuildPlan, Place, make_plan
from buildx_cache.plan.render import shell_lines
from buildx_cache.plan.tags import FIELDS as FIELD_VALUES
from buildx_cache.request.build_request import BuildRequest
from tests.faults.hostile import COMMANDS, NAME, TEXTS, commands
from tests.unit.command_line import CommandLine
from tests.unit.layout.layouts import OCI_LAYER, Layout, config_of, digest_of

# What a CI tells of a commit's branch or tag, and what says that it is this CI.
FIELDS = {
    "github": ({"GITHUB_ACTIONS": "true", "GITHUB_SHA": "c" * 40}, "GITHUB_REF", "refs/heads/{}"),
    "github pull request": (
        {"GITHUB_ACTIONS": "true", "GITHUB_EVENT_NAME": "pull_request", "GITHUB_REF": "refs/pull/1/merge"},
        "GITHUB_HEAD_REF",
        "{}",
    ),
    "azure": ({"TF_BUILD": "True"}, "BUILD_SOURCEBRANCH", "refs/heads/{}"),
    "gitlab": ({"GITLAB_CI": "true"}, "CI_COMMIT_BRANCH", "{}"),
    "gitlab tag": ({"GITLAB_CI": "true"}, "CI_COMMIT_TAG", "{}"),
    "circleci": ({"CIRCLECI": "true"}, "CIRCLE_BRANCH", "{}"),
    "buildkite": ({"BUILDKITE": "true"}, "BUILDKITE_BRANCH", "{}"),
}


@pytest.fixture
def called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    for name in set(os.environ) - {"PYTEST_CURRENT_TEST"}:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(git, "capture_within", lambda *_, **__: Completed(code=1))  # there is no repository
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    return CommandLine(tmp_path, monkeypatch, capsys)


def shared(rows: Collection[str]) -> Iterator[Any]:
    """Each row with every text, in the long run; on a push the rows share the texts among them."""
    for at, row in enumerate(rows):
        yield pytest.param(row, TEXTS[at :: len(rows)], id=row)
        yield pytest.param(row, TEXTS, id=f"{row}-all", marks=pytest.mark.soak)


def check(text: str) -> None:
    """No command for a terminal or a CI."""
    assert printable(text) == text
    assert [found for ci in ("github", "azure", "teamcity") for found in commands(ci, text)] == []


@pytest.mark.parametrize(("ci", "texts"), [*shared(FIELDS)])
def test_a_branch_or_tag_is_only_a_name(ci: str, texts: tuple[str, ...], called: CommandLine) -> None:
    marks, field, pattern = FIELDS[ci]
    words = ("--cache-ref", "r.example/app", "-t", "r.example/app:1", "--push", "--cache", "registry")
    for number, text in enumerate(texts):
        shape = ("shell", "json")[number % 2]
        env = {**marks, field: pattern.format(text)}
        ran = called("plan", "--assume-driver", "docker-container", "--format", shape, *words, **env)
        assert ran.code == 0, (text, ran.err)
        check(ran.out + ran.err)
        references = re.findall(r"type=registry,ref=([^ ,\"']*)", ran.out)
        assert references
        assert [each for each in references if not re.fullmatch(r"r\.example/app:buildcache-[\w.-]+", each)] == []


@pytest.mark.parametrize(
    ("head", "head_branch", "branch", "written"),
    [
        ("acme/app", "main", "main", "buildcache-main"),
        ("acme/app", "feature/x", "main", ""),
        ("octocat/app", "main", "main", ""),
        ("acme/app", "main\u2028", "main\u2028", ""),
        ("acme/app", "main-linux-arm64", "main-linux-arm64", "buildcache-main-linux-arm64-0c7ec74873ea8b2e"),
    ],
)
def test_whose_cache_a_run_after_another_one_writes(
    head: str, head_branch: str, branch: str, written: str, called: CommandLine
) -> None:
    run = {"event": "push", "head_branch": head_branch, "head_repository": {"full_name": head}}
    event = called.folder / "event.json"
    event.write_text(json.dumps({"workflow_run": run, "repository": {"full_name": "acme/app"}}))
    github = {"GITHUB_ACTIONS": "true", "GITHUB_EVENT_NAME": "workflow_run", "GITHUB_EVENT_PATH": str(event)}
    words = ("plan", "--assume-driver", "docker-container", "-t", "r.example/app:1", "--push")
    ran = called(*words, **github, GITHUB_REF=f"refs/heads/{branch}")
    assert ran.code == 0, ran.err
    assert re.findall(r"--cache-to type=registry,ref=r\.example/app:([^,]*)", ran.out) == ([written] if written else [])
    assert "--cache-from type=registry,ref=r.example/app:buildcache-main" in ran.out


# A row for each fact that a CI tells: its variables, and how it spells a value in them.
SPELLINGS = ("{}", "refs/heads/{}", "refs/tags/{}", "refs/pull/{}/merge", "1{}", "https://example.com/pull/{}")
TOLD = ("ref", "sha", "pull_sha", "branch", "source_branch", "target_branch", "tag", "pull_request", "build")
MARKS = {row.name: {"CI": row.name} if row.name == "woodpecker" else {row.marks[0][0]: "true"} for row in PROVIDERS}
TAGS = ("sha", "short_sha", "branch", "tag", "pr", "build")
FACTS = _assumed(Place(project="project", cache_dir="/cache", today="2026-01-02"), "default")


def contexts(provider: str, text: str) -> Iterator[CIContext]:
    """What is taken for a build where any fact of that CI is ``text``, in any spelling."""
    row = next(row for row in PROVIDERS if row.name == provider)
    names = dict.fromkeys(name for fact in TOLD for name in getattr(row, fact))
    for name, spelling in product(names or ("NOTHING",), SPELLINGS):
        # Facts of a file that a CI keeps come in the same way: it is read as further variables.
        event = json.dumps({"pull_request": {"number": text, "head": {"sha": text, "ref": spelling.format(text)}}})
        env = {**MARKS[provider], name: spelling.format(text), "GITHUB_EVENT_PATH": event}
        yield detect(env, git=lambda: GitFacts(branch=text, tag=text), read_text=str)


def planned(ci: CIContext, field: str) -> BuildPlan | None:
    """The plan of a build with that field as its tag; None where the CI told nothing of the kind."""
    tag = f"r.example/app:{{{field}}}"
    request = BuildRequest(cache=CacheKind.REGISTRY, push=not ci.is_fork, cache_ref="r.example/app", tag=(tag,))
    if FIELD_VALUES[field](ci, FACTS):
        return make_plan(request, ci, FACTS)
    with pytest.raises(UsageError, match=r"which this build does not have$"):
        make_plan(request, ci, FACTS)
    return None


@pytest.mark.parametrize(("provider", "texts"), [*shared(MARKS)])
def test_whatever_a_ci_tells_is_only_a_name(provider: str, texts: tuple[str, ...]) -> None:
    seen = set()
    for ci in dict.fromkeys(ci for text in texts for ci in contexts(provider, text)):
        assert ci.sha is None or re.fullmatch(r"[0-9a-fA-F]+", ci.sha)
        assert ci.pull_request is None or re.fullmatch(r"[0-9]+", ci.pull_request)
        for field, plan in ((field, planned(ci, field)) for field in TAGS):
            if plan is not None:
                seen.add(field)
                check(shell_lines(plan))
                references = [*plan.target.image.tags, *(entry.get("ref") for entry in plan.cache.imports)]
                assert [each for each in references if not re.fullmatch(r"r\.example/app:\w[\w.-]*", each)] == []
    assert seen >= {"branch", "tag"}


def test_what_a_ci_tells_of_no_fact_changes_nothing(called: CommandLine) -> None:
    """Messages, titles and authors of commits are read by nobody."""
    words = ("plan", "--assume-driver", "docker-container", "-t", "r.example/app:{short_sha}", "--push")
    marks = {"GITHUB_ACTIONS": "true", "GITHUB_SHA": "c" * 40, "GITHUB_REF": "refs/heads/main"}
    silent = called(*words, **marks)
    assert silent.code == 0
    for text in TEXTS:
        names = (
            "CI_COMMIT_MESSAGE",
            "CI_COMMIT_TITLE",
            "BUILDKITE_MESSAGE",
            "GITHUB_ACTOR",
            "BUILD_SOURCEVERSIONMESSAGE",
        )
        assert called(*words, **marks, **dict.fromkeys(names, text)) == silent


@pytest.mark.parametrize("option", ["label", "annotation", "build-arg"])
def test_values_made_of_what_a_ci_tells_are_only_values(option: str, called: CommandLine) -> None:
    """As of ``--label message="$CI_COMMIT_MESSAGE"``, and as a variable of this program."""
    for text in TEXTS:
        words = ("plan", "--assume-driver", "docker-container")
        ran = called(*words, f"--{option}", f"x={text}")
        assert ran.code == 0, ran.err
        check(ran.out + ran.err)
        ran = called(*words, **{f"BUILDX_CACHE_{option.upper().replace('-', '_')}": f"x={text}"})
        assert ran.code in {0, 2}, ran.err  # a list has an item a line: what follows a break may be none
        check(ran.out + ran.err)
        called.patch.delenv(f"BUILDX_CACHE_{option.upper().replace('-', '_')}", raising=False)


@pytest.mark.parametrize("option", ["label", "build-arg", "annotation"])
@pytest.mark.parametrize("shape", ["shell", "json"])
def test_values_of_the_configuration_file_are_only_values(option: str, shape: str, called: CommandLine) -> None:
    values = [f"x={text}" for text in TEXTS]
    (called.folder / "buildx-cache.toml").write_text(f"{option} = {json.dumps(values)}\n")
    ran = called("plan", "--assume-driver", "docker-container", "--format", shape)
    assert ran.code == 0, ran.err
    check(ran.out + ran.err)
    if shape == "json":
        argv = next(argv for each in json.loads(ran.out)["commands"] if "build" in (argv := each["argv"]))
        assert [word for before, word in pairwise(argv) if before == f"--{option}"] == values


@pytest.mark.parametrize("option", ["cache-scope", "cache-dir", "target", "tag", "builder", "docker-context"])
def test_a_value_of_the_configuration_file_is_only_a_value(option: str, called: CommandLine) -> None:
    for text in TEXTS:
        (called.folder / "buildx-cache.toml").write_text(
            f"{option} = {json.dumps([text] if option == 'tag' else text)}\n"
        )
        ran = called("plan", "--assume-driver", "docker-container", "--config", "buildx-cache.toml")
        assert ran.code in (0, 2), (text, ran.err)
        check(ran.out)
        assert printable(ran.err) == ran.err


READ_BY_ALL = dict.fromkeys(("GITHUB_ACTIONS", "TF_BUILD", "TEAMCITY_VERSION", "BUILDKITE"), "true")


def check_printed(text: str) -> None:
    check(text)
    assert [line for line in text.splitlines() if re.match(r"\s*(---|\+\+\+|~~~|\^\^\^)", line)] == []  # headings


@pytest.mark.parametrize("words", [("inspect", "--layers", "500"), ("verify",), ("prune", "--max-age", "1d")], ids=str)
def test_what_a_cache_holds_is_only_shown(words: tuple[str, ...], called: CommandLine) -> None:
    """Tags, media types, and the folder's own name."""
    folder = Layout(called.folder / "##vso[task.x]y##teamcity[x]")
    for number, text in enumerate(TEXTS):
        layer = f"layer {number}".encode()
        config = config_of([digest_of(layer)], "2020-01-01T00:00:00Z")
        folder.tag(text, folder.cache([layer], config=config, layer_type=f"{OCI_LAYER}+{text}"))
    folder.write_index()
    (folder.folder / "blobs/sha256" / digest_of(b"layer 1").removeprefix("sha256:")).unlink()
    for more in (("--format", "json"), ()):
        ran = called("cache", *words[:1], str(folder.folder), *words[1:], *more, **READ_BY_ALL)
        assert ran.code in {0, 7}
        assert ran.out
        check_printed(ran.out + ran.err)
        if words[0] == "inspect" and more:
            (found,) = json.loads(ran.out)["caches"]
            assert {tag["name"] for tag in found["tags"]} == {*TEXTS}


@pytest.mark.parametrize(
    "words",
    [
        ("doctor", "--cache-dir", "{}"),
        ("doctor", "--docker-context", "{}"),
        ("cache", "inspect", "{}"),
        ("cache", "prune", ".", "--max-age", "{}"),
        ("build", "{}"),
        ("build", ".", "{}"),
        ("build", "--{}"),
        ("build", "--secret", "{}", "-t", "{}"),
        ("build", "-q", "--cache-from", "{}"),
        ("build", "--progress", "{}"),
        ("plan", "--report-md", "{}/x"),
        ("{}",),
    ],
    ids=str,
)
def test_what_is_refused_is_only_told(words: tuple[str, ...], called: CommandLine) -> None:
    called.patch.setattr(credentials, "capture_within", lambda *_, **__: Completed(code=1))
    for text in COMMANDS:
        ran = called(*(word.format(text) for word in words), **READ_BY_ALL, PATH="/nowhere")
        assert ran.code in {2, 3, 6}, (text, ran.err)
        check_printed(ran.out + ran.err)


def test_a_message_is_one_line_without_commands_for_a_terminal() -> None:
    for text in TEXTS:
        shown = printable(as_message(text))
        assert "\n" not in shown
        assert printable(shown) == shown, ascii(text)


def test_the_table_finds_what_it_looks_for() -> None:
    """The search is no mirror of the defence: raw, nearly all of these are commands to the one CI or the other."""
    found = [text for text in TEXTS if any([*commands(ci, text)] for ci in ("github", "azure", "teamcity"))]
    assert len(found) >= 24
    assert len(TEXTS) >= 60
    assert NAME in "".join(found)
