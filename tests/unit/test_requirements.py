"""The lock of the development set is of what pyproject.toml asks for, and whole."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
LOCK = (ROOT / "requirements-dev.txt").read_text()
ENTRIES = [entry.replace("\\\n", " ") for entry in re.split(r"\n(?=\S)", LOCK) if not entry.startswith("#")]


def test_each_dependency_is_locked_at_a_version_that_is_allowed() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    locked = {}
    for entry in ENTRIES:
        requirement = Requirement(entry.partition("--hash")[0])
        (pin,) = requirement.specifier
        assert pin.operator == "=="
        locked[canonicalize_name(requirement.name)] = pin.version
    for text in (*project["dependencies"], *project["optional-dependencies"]["dev"]):
        asked = Requirement(text)
        assert asked.specifier.contains(locked[canonicalize_name(asked.name)]), text


def test_each_is_locked_by_its_hash_and_from_no_place_in_particular() -> None:
    assert [entry for entry in ENTRIES if not re.search(r"--hash=sha256:[0-9a-f]{64}", entry)] == []
    assert "://" not in LOCK
    assert len(ENTRIES) > 30


def test_the_licences_of_all_that_the_program_runs_with_are_listed() -> None:
    listed = (ROOT / "CONTRIBUTING.md").read_text().partition("| licence |")[2]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert [name for text in project["dependencies"] if (name := Requirement(text).name) not in listed] == []
