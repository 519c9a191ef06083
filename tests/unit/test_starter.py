"""``init``: what it chooses, what it writes where, and that no name of a repository gets a say in it."""

from __future__ import annotations

import itertools
import json
import os
import re
import sys
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from ruamel.yaml import YAML

from buildx_cache import cli
from buildx_cache.ci import GitFacts
from buildx_cache.cli import first_step
from buildx_cache.errors import UsageError
from buildx_cache.starter.recipes import RECIPES, CIName, Recipe, StepCache, recipe_of
from buildx_cache.starter.rendering import render
from buildx_cache.starter.source import Source, choose_ci, choose_source, values_of
from buildx_cache.starter.survey import Findings, Remote, parse_remote, survey
from tests.unit.command_line import CommandLine

APP = Findings(top=Path("/app"))
# SchemaStore's and the CIs' own, as check-jsonschema brings them.
SCHEMAS = {
    CIName.CIRCLECI: "circle-ci",
    CIName.GITHUB: "github-workflows",
    CIName.GITLAB: "gitlab-ci",
    CIName.BUILDKITE: "buildkite",
    CIName.BITBUCKET: "bitbucket-pipelines",
    CIName.AZURE: "azure-pipelines",
    CIName.WOODPECKER: "woodpecker-ci",
}
STEPS = [(recipe, cache) for recipe in RECIPES for cache in recipe.caches]
HOSTILE = (
    *(
        "$(touch x)",
        "`touch x`",
        "a;b",
        "a b",
        "a'b",
        'a"b',
        "a\nb: c",
        "a\\b",
        "${{ secrets.X }}",
        "<< pipeline.id >>",
    ),
    *("$[[ inputs.x ]]", "$(PASSWORD)", "#a", "&a", "*a", "!a", "{a}", "[a]", "%a", "@image@", "-a", "a: b", "é", ""),
)


def rendered(recipe: Recipe, cache: StepCache, source: Source | None = None, findings: Findings = APP) -> str:
    return render(recipe, cache, values_of(source or Source(), findings))


def schema(name: str) -> dict[str, Any]:
    folder = resources.files("check_jsonschema").joinpath("builtin_schemas", "vendor")
    found: dict[str, Any] = json.loads(folder.joinpath(f"{name}.json").read_text(encoding="utf-8"))
    return found


# --- templates ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("recipe", "cache"), STEPS, ids=[f"{recipe.name}-{cache}" for recipe, cache in STEPS])
def test_a_step_is_whole_and_its_cache_as_asked(recipe: Recipe, cache: StepCache) -> None:
    text = rendered(recipe, cache)
    assert text.endswith("\n")
    assert ("@" in text.replace("@v4", "").replace("Cache@2", "")) is False
    assert ("--push auto" in text, "--cache inline" in text, "--load --cache local" in text) == (
        cache is not StepCache.LOCAL,
        cache is StepCache.INLINE,
        cache is StepCache.LOCAL,
    )
    assert max(map(len, text.splitlines())) <= 120


@pytest.mark.parametrize(
    ("recipe", "cache"),
    [step for step in STEPS if step[0].name in SCHEMAS],
    ids=lambda value: str(value.name if isinstance(value, Recipe) else value),
)
def test_a_step_is_valid_for_its_ci(recipe: Recipe, cache: StepCache) -> None:
    document = YAML(typ="safe").load(rendered(recipe, cache, Source(file="docker/api.Dockerfile")))
    validator = jsonschema.validators.validator_for(found := schema(SCHEMAS[recipe.name]))
    errors = [error.message[:300] for error in validator(found).iter_errors(document)]
    assert errors == []


@pytest.mark.parametrize(("recipe", "cache"), STEPS)
def test_no_step_starts_a_file_of_the_repository(recipe: Recipe, cache: StepCache) -> None:
    """``pipx run NAME`` starts a file ``NAME`` of the working directory, or one in ``__pypackages__``."""
    text = rendered(recipe, cache)
    calls = [line for line in text.splitlines() if "buildx-cache build" in line]
    assert calls
    assert all(re.match(r" *(?:- |script: )?buildx-cache build ", line) for line in calls), calls


@pytest.mark.parametrize(("recipe", "cache"), STEPS)
def test_no_step_runs_python_in_the_checkout(recipe: Recipe, cache: StepCache) -> None:
    """A pipx before 1.9 runs ``python -m pip``, which takes a committed ``pip.py`` for pip."""
    calls = [line.strip().removeprefix("- ") for line in rendered(recipe, cache).splitlines() if "pipx " in line]
    assert all(re.fullmatch(r"\(cd / && pipx install [\w-]+\)", call) for call in calls), calls


def test_the_schemas_find_a_mistake() -> None:
    for recipe in (row for row in RECIPES if row.name in SCHEMAS):
        found = schema(SCHEMAS[recipe.name])
        assert not jsonschema.validators.validator_for(found)(found).is_valid(["nothing"]), recipe.name


@pytest.mark.parametrize("cache", recipe_of(CIName.JENKINS).caches)
def test_a_jenkinsfile_is_balanced_and_expands_nothing(cache: StepCache) -> None:
    text = rendered(recipe_of(CIName.JENKINS), cache)
    assert all(text.count(a) == text.count(b) for a, b in ("{}", "()", "[]"))
    assert text.count("'''") == 2
    assert '"""' not in text


def test_every_ci_has_its_row() -> None:
    assert [row.name for row in RECIPES] == list(CIName)


# --- choices -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "findings", "chosen"),
    [
        (CIName.AZURE, Findings(top=Path("/a"), cis=(CIName.GITHUB,)), CIName.AZURE),
        (None, Findings(top=Path("/a"), cis=(CIName.JENKINS,), remote=Remote(host="github.com")), CIName.JENKINS),
        (None, Findings(top=Path("/a"), remote=Remote(host="github.com")), CIName.GITHUB),
        (None, Findings(top=Path("/a"), remote=Remote(host="gitlab.example.com")), CIName.GITLAB),
        (None, Findings(top=Path("/a"), remote=Remote(host="bitbucket.org")), CIName.BITBUCKET),
        (None, Findings(top=Path("/a"), remote=Remote(host="ssh.dev.azure.com")), CIName.AZURE),
    ],
)
def test_the_ci_is_the_one_asked_for_or_found(asked: CIName | None, findings: Findings, chosen: CIName) -> None:
    assert choose_ci(asked, findings).name == chosen


@pytest.mark.parametrize(
    ("cis", "host", "code"),
    [
        ((CIName.GITHUB, CIName.CIRCLECI), "", "ci-ambiguous"),
        ((), "", "ci-unclear"),
        ((), "git.example.com", "ci-unclear"),
        ((), "github.com.example.com", "ci-unclear"),
    ],
)
def test_a_ci_is_not_guessed(cis: tuple[CIName, ...], host: str, code: str) -> None:
    with pytest.raises(UsageError) as raised:
        choose_ci(None, Findings(top=Path("/a"), cis=cis, remote=Remote(host=host)))
    assert raised.value.code == code


@pytest.mark.parametrize(
    ("file", "dockerfiles", "words"),
    [
        ("", ("Dockerfile", "api/Dockerfile"), "."),
        ("", ("dockerfile",), "."),
        ("", ("api/Dockerfile",), "api"),
        ("", ("Dockerfile.api",), "-f Dockerfile.api ."),
        ("", ("docker/api.Dockerfile",), "-f docker/api.Dockerfile ."),
        ("docker/x", ("Dockerfile",), "-f docker/x ."),
        (".docker/x", (), "-f .docker/x ."),
    ],
)
def test_the_dockerfile_is_the_one_asked_for_or_found(file: str, dockerfiles: tuple[str, ...], words: str) -> None:
    assert choose_source(file, Findings(top=Path("/a"), dockerfiles=dockerfiles)).words == words


@pytest.mark.parametrize(
    ("dockerfiles", "code"),
    [((), "dockerfile-not-found"), (("a/Dockerfile", "b/Dockerfile"), "dockerfile-ambiguous")],
)
def test_a_dockerfile_is_not_guessed(dockerfiles: tuple[str, ...], code: str) -> None:
    with pytest.raises(UsageError) as raised:
        choose_source("", Findings(top=Path("/a"), dockerfiles=dockerfiles))
    assert raised.value.code == code


@pytest.mark.parametrize("name", [name for name in HOSTILE if name], ids=repr)
def test_a_dockerfile_whose_name_could_mean_more_is_refused(name: str) -> None:
    for file, found in ((name, ()), ("", (f"{name}/Dockerfile",)), ("", (f"{name}.Dockerfile",))):
        with pytest.raises(UsageError) as raised:
            choose_source(file, Findings(top=Path("/a"), dockerfiles=found))
        assert raised.value.code == "dockerfile-name-unsafe"


@pytest.mark.parametrize(
    ("name", "recipe"), list(itertools.product(HOSTILE, RECIPES)), ids=lambda value: getattr(value, "name", repr(value))
)
def test_names_that_could_mean_more_are_left_out(name: str, recipe: Recipe) -> None:
    hostile = Findings(top=Path("/", name), remote=Remote(host=name, path=f"team/{name}"), branch=name)
    for cache in recipe.caches:
        assert rendered(recipe, cache, findings=hostile) == rendered(recipe, cache)


@pytest.mark.parametrize(
    ("address", "remote"),
    [
        ("git@github.com:Org/App.git", Remote(host="github.com", path="Org/App")),
        ("https://me:secret@gitlab.com/group/sub/app.git", Remote(host="gitlab.com", path="group/sub/app")),
        ("ssh://git@ssh.dev.azure.com:22/v3/o/p/r", Remote(host="ssh.dev.azure.com", path="v3/o/p/r")),
        ("/srv/git/app.git", Remote()),
        ("../app", Remote()),
        ("https://[::1/x", Remote()),
        ("file:///srv/app", Remote()),
        ("", Remote()),
    ],
)
def test_an_origin_is_read_without_its_login(address: str, remote: Remote) -> None:
    assert parse_remote(address) == remote


@pytest.mark.parametrize(
    ("remote", "folder", "image"),
    [
        (Remote(host="github.com", path="Org/App"), "x", "org/app"),
        (Remote(host="dev.azure.com", path="o/p/_git/r"), "Shop", "shop"),
        (Remote(), "my shop", "app"),
    ],
)
def test_the_image_is_called_like_the_repository(remote: Remote, folder: str, image: str) -> None:
    assert values_of(Source(), Findings(top=Path("/", folder), remote=remote))["image"] == image


# --- looking -----------------------------------------------------------------------------------------------


def test_a_repository_is_looked_at_without_following_links(tmp_path: Path) -> None:
    for name in ("b/Dockerfile", "a/b/c/Dockerfile", "a/b/c/d/Dockerfile", "node_modules/x/Dockerfile"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    for name in ("Dockerfile.dev", "Dockerfile.dev.dockerignore", "x.Dockerfile", "Dockerfile~", ".gitlab-ci.yml"):
        (tmp_path / name).touch()
    (tmp_path / ".github" / "workflows").mkdir(parents=True)
    (tmp_path / "linked").symlink_to(tmp_path / "b")
    (tmp_path / "Dockerfile").symlink_to("/etc/passwd")
    os.mkfifo(tmp_path / "pipe.Dockerfile")
    found = survey(tmp_path, origin="", branch="")
    assert found.dockerfiles == ("Dockerfile.dev", "x.Dockerfile", "b/Dockerfile", "a/b/c/Dockerfile")
    assert found.cis == (CIName.GITHUB, CIName.GITLAB)


def test_a_huge_repository_is_looked_at_in_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("buildx_cache.starter.survey._MOST_ENTRIES", 50)
    for folder, number in itertools.product("abcdefghij", range(20)):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / f"{number}.Dockerfile").touch()
    assert 40 <= len(survey(tmp_path, origin="", branch="").dockerfiles) < 60


# --- the command -------------------------------------------------------------------------------------------


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    for name in set(os.environ) - {"PYTEST_CURRENT_TEST"}:
        monkeypatch.delenv(name)
    folder = tmp_path / "shop"
    (folder / ".git").mkdir(parents=True)
    (folder / "sub").mkdir()
    (folder / "Dockerfile").write_text("FROM scratch\n")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(
        first_step, "ask", lambda _top, _env, *words: "git@github.com:o/shop" if "config" in words else ""
    )
    monkeypatch.setattr(first_step, "read_git", lambda _top, _env: GitFacts(default_branch="trunk"))
    monkeypatch.setattr(sys.modules["__main__"], "__package__", "")
    assert cli
    return CommandLine(folder, monkeypatch, capsys)


def test_the_file_is_written_at_the_top(call: CommandLine) -> None:
    call.patch.chdir(call.folder / "sub")
    called = call("init")
    file = call.folder / ".github" / "workflows" / "image.yml"
    assert (called.code, called.out) == (0, "")
    assert 'branches: ["trunk"]' in file.read_text()
    assert file.stat().st_mode & 0o777 == 0o644 & ~_umask()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_a_dry_run_prints_and_writes_nothing(call: CommandLine) -> None:
    called = call("init", "--ci", "circleci", "--dry-run")
    assert called.code == 0
    assert "$DOCKER_REGISTRY/o/shop:{short_sha}" in called.out
    assert "ghcr.io" in called.err
    assert not (call.folder / ".circleci").exists()


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        (".dockerignore", None, ".buildx-cache*\n"),
        (".dockerignore", "*.log", "*.log\n.buildx-cache*\n"),
        (".dockerignore", "!x\n.buildx-cache*\n", "!x\n.buildx-cache*\n"),
        ("Dockerfile.dockerignore", "docs\n", "docs\n.buildx-cache*\n"),
    ],
)
def test_a_cache_in_the_project_is_left_out_of_the_build_context(
    call: CommandLine, name: str, before: str | None, after: str
) -> None:
    file = call.folder / name
    if before is not None:
        file.write_text(before)
    assert call("init", "--ci", "gitlab", "--cache", "local").code == 0
    assert file.read_text() == after
    assert {path.name for path in call.folder.glob("*.dockerignore")} | {".dockerignore"} == {name, ".dockerignore"}


@pytest.mark.parametrize("words", [("--cache", "registry"), ("--cache", "local", "--dry-run")])
def test_no_other_step_changes_what_the_build_context_has(call: CommandLine, words: tuple[str, ...]) -> None:
    assert call("init", "--ci", "gitlab", *words).code == 0
    assert not (call.folder / ".dockerignore").exists()


def test_a_context_below_the_cache_needs_no_line(call: CommandLine) -> None:
    (call.folder / "Dockerfile").rename(call.folder / "sub" / "Dockerfile")
    assert call("init", "--ci", "gitlab", "--cache", "local").code == 0
    assert not list(call.folder.rglob(".dockerignore"))


def test_an_ignore_file_behind_a_link_stays_and_is_told(call: CommandLine, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("mine\n")
    (call.folder / ".dockerignore").symlink_to(target)
    called = call("init", "--ci", "gitlab", "--cache", "local")
    assert called.code == 0
    assert ".dockerignore" in called.err
    assert target.read_text() == "mine\n"


@pytest.mark.parametrize("name", [".circleci/config.yml", ".circleci/config.yaml"])
@pytest.mark.parametrize("force", [(), ("--force",)], ids=["plain", "force"])
def test_a_file_that_exists_stays_unless_it_is_replaced_by_name(
    call: CommandLine, name: str, force: tuple[str, ...]
) -> None:
    file = call.folder / name
    file.parent.mkdir()
    file.write_text("mine\n")
    called = call("init", *force)
    is_replaced = bool(force) and name.endswith(".yml")
    assert called.code == (0 if is_replaced else 2)
    assert (file.read_text() == "mine\n") is not is_replaced
    assert ("setup_remote_docker" in called.out) is not is_replaced
    assert os.listdir(file.parent) == [file.name]  # noqa: PTH208 -- names are asked for


@pytest.mark.parametrize("force", [(), ("--force",)], ids=["plain", "force"])
@pytest.mark.parametrize("name", [".github", ".github/workflows", ".github/workflows/image.yml"])
def test_no_link_is_written_through(call: CommandLine, tmp_path: Path, name: str, force: tuple[str, ...]) -> None:
    target = tmp_path / "target"
    if name.endswith("yml"):
        target.write_text("mine\n")
    else:
        target.mkdir()
    (call.folder / name).parent.mkdir(parents=True, exist_ok=True)
    (call.folder / name).symlink_to(target)
    called = call("init", "--ci", "github", *force)
    assert called.code == (0 if force and name.endswith("yml") else 2 if name.endswith("yml") else 6)
    assert target.read_text() == "mine\n" if target.is_file() else not list(target.iterdir())


def test_what_stands_in_the_way_is_named(call: CommandLine) -> None:
    (call.folder / ".github").touch()
    assert call("init", "--ci", "github").code == 6


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("--ci", "cirleci"), 2),
        (("--cache", "gha"), 2),
        (("--ci", "woodpecker", "--cache", "local"), 2),
        (("--file", "absent"), 2),
        (("--file", "../outside"), 2),
        (("--file", "/etc/passwd"), 2),
        (("--file", "sub"), 2),
        (("--file", ""), 0),
    ],
)
def test_bad_input_is_refused_before_any_effect(call: CommandLine, words: tuple[str, ...], code: int) -> None:
    (call.folder.parent / "outside").touch()
    called = call("init", *words)
    assert called.code == code
    assert (call.folder / ".github").exists() is not bool(code)
    assert called.err.count("error: ") == bool(code)
    assert called.err.count("hint: ") == bool(code)


def test_a_file_is_named_from_where_the_caller_is(call: CommandLine) -> None:
    (call.folder / "sub" / "api.Dockerfile").touch()
    call.patch.chdir(call.folder / "sub")
    assert "-f sub/api.Dockerfile ." in call("init", "--file", "api.Dockerfile", "--dry-run").out
