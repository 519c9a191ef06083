"""This project's own pipeline definition: valid, and every name in it defined."""

from __future__ import annotations

import re
import subprocess
import sys
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.integration.conftest import PROJECT

CONFIG = PROJECT / ".circleci" / "config.yml"
RECIPES = (
    CONFIG,
    PROJECT / "buildx_cache" / "starter" / "templates" / "circleci.local.yml",
    PROJECT / "docker" / "packages" / "circleci" / "src" / "commands" / "cache_restore.yml",
)


@pytest.fixture(scope="module")
def config() -> dict[str, Any]:
    loaded: dict[str, Any] = YAML(typ="safe").load(CONFIG)
    return loaded


def test_the_schema_holds() -> None:
    done = subprocess.run(
        (sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.circle-ci", str(CONFIG)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_job_and_executor_is_defined(config: dict[str, Any]) -> None:
    for job in config["jobs"].values():
        executor = job["executor"]["name"] if isinstance(job["executor"], dict) else job["executor"]
        if parameter := re.fullmatch(r"<< parameters\.(\w+) >>", executor):
            assert set(job["parameters"][parameter[1]]["enum"]) <= set(config["executors"])
        else:
            assert executor in config["executors"]
    for entry in (*config["workflows"]["check"]["jobs"], *config["workflows"]["release"]["jobs"]):
        name, details = (entry, {}) if isinstance(entry, str) else next(iter(entry.items()))
        assert name in config["jobs"]
        assert set(details.get("requires", ())) <= set(config["jobs"])


def test_every_executor_meets_every_kind_of_cache(config: dict[str, Any]) -> None:
    hello = [entry["hello"] for entry in config["workflows"]["check"]["jobs"] if "hello" in entry]
    matrices = [entry["matrix"]["parameters"] for entry in hello if isinstance(entry, dict)]
    met = {pair for matrix in matrices for pair in product(matrix["executor"], matrix["cache"])}
    assert met == set(product(("remote-docker", "machine"), ("local", "registry", "inline")))


def test_a_release_starts_from_its_tag_alone(config: dict[str, Any]) -> None:
    for entry in config["workflows"]["release"]["jobs"]:
        filters = next(iter(entry.values()))["filters"]
        assert filters["branches"] == {"ignore": "/.*/"}
        assert re.fullmatch(filters["tags"]["only"].strip("/"), "v1.2.3")
        assert not re.fullmatch(filters["tags"]["only"].strip("/"), "v1.2.3; true")


def test_the_build_is_one_step(config: dict[str, Any]) -> None:
    runs = [step for step in config["jobs"]["hello"]["steps"] if "run" in step]
    assert len(runs) == 1
    assert "buildx-cache build" in runs[0]["run"]["command"]


def test_a_local_cache_is_keyed_on_its_index(config: dict[str, Any]) -> None:
    steps = [step for each in config["jobs"]["hello"]["steps"] if "when" in each for step in each["when"]["steps"]]
    save = next(step["save_cache"] for step in steps if isinstance(step, dict) and "save_cache" in step)
    restore = next(step["restore_cache"] for step in steps if isinstance(step, dict) and "restore_cache" in step)
    assert save["key"].endswith('{{ checksum "/home/circleci/buildx-cache/index.json" }}')
    assert read_by("main", restore["keys"], save["key"], ("main", "feature/x")) == ["main"]
    assert read_by("feature/x", restore["keys"], save["key"], ("main", "feature/x")) == ["feature/x", "main"]


def read_by(branch: str, keys: list[str], saved: str, branches: tuple[str, ...]) -> list[str]:
    """The branches whose caches this branch restores, by CircleCI's rule: a key begins like it, the first key first."""

    def filled(key: str, name: str) -> str:
        return re.sub(r"\{\{ checksum .* \}\}", "0f1e", key.replace("{{ .Branch }}", name))

    caches = {filled(saved, name): name for name in branches}
    found = (name for key in keys for at, name in caches.items() if at.startswith(filled(key, branch)))
    return list(dict.fromkeys(found))


@pytest.mark.parametrize("file", RECIPES, ids=lambda file: file.name)
def test_no_branch_restores_the_cache_of_one_that_is_named_like_it(file: Path) -> None:
    """Whoever may push `main-x` would choose the layers of `main` otherwise."""
    text = file.read_text().replace("@branch@", "main").replace("<< parameters.default_branch >>", "main")
    saving = file.with_name(file.name.replace("_restore", "_save")).read_text()
    saved = re.findall(r"^ +key: (.*\{\{ \.Branch.*)$", saving, re.MULTILINE)
    keys = re.findall(r"^ +- (.*\{\{ arch.*)$", text, re.MULTILINE)
    assert (len(saved), len(keys)) == (1, 2)
    assert read_by("main", keys, saved[0], ("main-x", "main.x", "main/x", "mai", "x-main", "x")) == []
