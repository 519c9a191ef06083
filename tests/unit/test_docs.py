"""README and docs: links lead somewhere, examples are accepted, tables and steps are those of the program.

``python -m tests.unit.test_docs`` writes tables and steps anew.
"""

from __future__ import annotations

import os
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from ruamel.yaml import YAML

from buildx_cache.request.build_request import option_key
from buildx_cache.request.options import OPTIONS
from buildx_cache.starter.recipes import RECIPES, StepCache
from buildx_cache.starter.rendering import render
from buildx_cache.starter.source import Source, values_of
from buildx_cache.starter.survey import Findings
from tests.unit.command_line import CommandLine
from tests.unit.test_config_schema import VALIDATOR

PROJECT = Path(__file__).parents[2]
DOCS = PROJECT / "buildx_cache" / "docs"
PAGES = [PROJECT / name for name in ("README.md", "SECURITY.md", "CONTRIBUTING.md", "CHANGELOG.md")] + sorted(
    DOCS.glob("*.md")
)
README_LINES = 130
WRITTEN_PAGES = ("commands.md", "ci.md")
_LINK = re.compile(r"\]\(([^)#\s]+)(?:#([^)\s]+))?\)")
_SECTION = re.compile(r"(<!-- (options|steps) -->\n).*?(<!-- end -->)", re.DOTALL)
# What the examples' variables hold in a job.
VARIABLES = {
    "DOCKER_REGISTRY": "registry.example.com",
    "DOCKER_LOGIN": "me",
    "DOCKER_PASSWORD": "hunter2",
    "GITHUB_REPOSITORY": "team/app",
    "CI_REGISTRY_IMAGE": "registry.example.com/team/app",
    "PIPELINE_WORKSPACE": "/pipeline",
    "CIRCLECI": "true",
    "CIRCLE_BRANCH": "main",
    "CIRCLE_SHA1": "0123456789012345678901234567890123456789",
}


def options_tables() -> str:
    """Write a table for each group of options, as the help shows them."""
    lines: list[str] = []
    for panel in dict.fromkeys(option.panel for option in OPTIONS.values()):
        lines += ["", f"### {panel}", "", "| option | value | meaning |", "|---|---|---|"]
        for name, option in OPTIONS.items():
            if option.panel == panel:
                flags = ", ".join(f"`{flag}`" for flag in (option.short, f"--{option_key(name)}", option.off) if flag)
                value = f"`{option.metavar}`" if option.metavar.strip() else ""
                lines.append(f"| {flags} | {value} | {option.help.replace('|', chr(92) + '|')} |")
    return "\n".join((*lines[1:], "", ""))


def steps() -> str:
    """Write what ``init`` does for each CI, in a project called app; of local caches those of the first three."""
    lines: list[str] = []
    for recipe in RECIPES:
        language = {"yml": "yaml"}.get(recipe.suffix, recipe.suffix)
        kinds = (StepCache.REGISTRY, *((StepCache.LOCAL,) if recipe in RECIPES[:3] else ()))
        lines += ["", f"### {recipe.title}", ""]
        for kind in kinds:
            text = render(recipe, kind, values_of(Source(), Findings(top=Path("/app"))))
            note = f"With `init --cache {kind}`:" if kind is not StepCache.REGISTRY else f"In `{recipe.file}`:"
            lines += [note, "", f"```{language}", text.rstrip("\n"), "```", ""]
        beside = (recipe.login.format(registry=""), recipe.kept if len(kinds) > 1 else "")
        lines += [line for text in beside if text for line in (f"{text[0].upper()}{text[1:]}.", "")]
        lines.pop()
    return "\n".join((*lines[1:], "", ""))


WRITTEN = {"options": options_tables, "steps": steps}


def written(page: Path) -> str:
    """Put today's tables and steps into a page."""
    return _SECTION.sub(lambda found: f"{found[1]}{WRITTEN[found[2]]()}{found[3]}", page.read_text(encoding="utf-8"))


def blocks(language: str) -> Iterator[Any]:
    for page in PAGES:
        for number, block in enumerate(re.findall(rf"```{language}\n(.*?)```", page.read_text(), re.DOTALL)):
            yield pytest.param(block, id=f"{page.name}-{number}")


SHELL_KEYS = ("run", "command", "commands", "script")
"""What CIs call a step's shell lines."""


def runs(node: object) -> Iterator[str]:
    """Give the shell lines of a CI's configuration: a text, or a list of lines."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key in SHELL_KEYS and isinstance(value, str):
                yield value
            elif key in SHELL_KEYS and isinstance(value, list):
                yield from value
            else:
                yield from runs(value)
    elif isinstance(node, list):
        for item in node:
            yield from runs(item)


def commands(shell: str) -> Iterator[list[str]]:
    """Give the calls of this program in a shell's lines, as words, with the variables put in."""
    for name, value in VARIABLES.items():
        for spelled in (f"$${{{name}}}", f"$${name}", f"${name}"):  # two dollars: the CI makes one of them
            shell = shell.replace(spelled, value)
    for line in shell.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        joined = [number for number, word in enumerate(words) if word in {"&&", "|"}]
        for begin, end in zip([-1, *joined], [*joined, len(words)], strict=True):
            if words[begin + 1 : begin + 2] == ["buildx-cache"]:
                yield words[begin + 2 : end]


def examples() -> Iterator[Any]:
    for page in PAGES:
        text = page.read_text()
        shells = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
        for block in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL):
            shells += runs(YAML(typ="safe").load(block))
        for shell in shells:
            for words in commands(shell):
                yield pytest.param(words, id=f"{page.name}: {' '.join(words)[:60]}")


def test_the_readme_is_short() -> None:
    assert len((PROJECT / "README.md").read_text().splitlines()) <= README_LINES


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_a_file_and_its_heading(page: Path) -> None:
    for target, heading in _LINK.findall(page.read_text()):
        if "://" in target:
            continue
        file = page.parent / target
        assert file.is_file(), target
        headings = re.findall(r"^#+ (.*)$", file.read_text(), re.MULTILINE) if heading else []
        slugs = [re.sub(r"[^\w -]", "", each).lower().replace(" ", "-") for each in headings]
        assert not heading or heading in slugs, (target, heading)


@pytest.mark.parametrize("name", WRITTEN_PAGES)
def test_what_is_written_from_the_program_is_todays(name: str) -> None:
    page = DOCS / name
    assert written(page) == page.read_text(encoding="utf-8")
    assert _SECTION.search(written(page))


@pytest.mark.parametrize("block", list(blocks("toml")))
def test_a_configuration_is_a_valid_one(block: str) -> None:
    config = tomllib.loads(block)
    try:
        VALIDATOR.validate(config)
    except jsonschema.ValidationError as error:
        pytest.fail(error.message)


@pytest.mark.parametrize("words", list(examples()))
def test_an_example_is_accepted(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in set(os.environ) - {"PYTEST_CURRENT_TEST"}:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    for name in ("ca.pem", "cert.pem", "key.pem"):
        (tmp_path / name).touch()
    command_line = CommandLine(tmp_path, monkeypatch, capsys)
    if words[0] in {"build", "plan"}:
        called = command_line("plan", "--assume-driver", "docker-container", *words[1:], **VARIABLES)
    else:  # a cache command would delete
        called = command_line(*words, "--help")
    assert called.code == 0, called.err


if __name__ == "__main__":
    for each in WRITTEN_PAGES:
        (DOCS / each).write_text(written(DOCS / each), encoding="utf-8")
