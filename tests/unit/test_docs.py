"""README and docs: links lead somewhere, examples are accepted, tables of options are those of the program.

``python -m tests.unit.test_docs`` writes the tables anew.
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

from buildx_cache.request import option_key
from buildx_cache.request.options import OPTIONS
from tests.unit.command_line import CommandLine
from tests.unit.test_config_schema import VALIDATOR

PROJECT = Path(__file__).parents[2]
DOCS = PROJECT / "buildx_cache" / "docs"
PAGES = [PROJECT / name for name in ("README.md", "SECURITY.md", "CONTRIBUTING.md", "CHANGELOG.md")] + sorted(
    DOCS.glob("*.md")
)
README_LINES = 130
_LINK = re.compile(r"\]\(([^)#\s]+)(?:#([^)\s]+))?\)")
_SECTION = re.compile(r"(<!-- options -->\n).*?(<!-- end -->)", re.DOTALL)
# What the examples' variables hold in a job.
VARIABLES = {
    "DOCKER_REGISTRY": "registry.example.com",
    "DOCKER_LOGIN": "me",
    "DOCKER_PASSWORD": "hunter2",
    "GITHUB_REPOSITORY": "team/app",
    "CI_REGISTRY_IMAGE": "registry.example.com/team/app",
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


def written(page: Path) -> str:
    """Put today's tables into a page."""
    return _SECTION.sub(lambda found: f"{found[1]}{options_tables()}{found[2]}", page.read_text(encoding="utf-8"))


def blocks(language: str) -> Iterator[Any]:
    for page in PAGES:
        for number, block in enumerate(re.findall(rf"```{language}\n(.*?)```", page.read_text(), re.DOTALL)):
            yield pytest.param(block, id=f"{page.name}-{number}")


def runs(node: object) -> Iterator[str]:
    """Give the shell lines of a CI's configuration: ``run`` of CircleCI and GitHub, ``script`` of GitLab."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "run" and isinstance(value, str):
                yield value
            elif key == "script":
                yield from value
            else:
                yield from runs(value)
    elif isinstance(node, list):
        for item in node:
            yield from runs(item)


def commands(shell: str) -> Iterator[list[str]]:
    """Give the calls of this program in a shell's lines, as words, with the variables put in."""
    for name, value in VARIABLES.items():
        shell = shell.replace(f"${name}", value)
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


def test_the_tables_are_those_of_the_options() -> None:
    page = DOCS / "commands.md"
    assert page.read_text(encoding="utf-8") == written(page)


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
    commands_page = DOCS / "commands.md"
    commands_page.write_text(written(commands_page), encoding="utf-8")
