"""This project's own pipeline definition: valid, and every name in it defined."""

from __future__ import annotations

import re
import subprocess
import sys
from itertools import product
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.integration.conftest import PROJECT

CONFIG = PROJECT / ".circleci" / "config.yml"


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
    assert '{{ arch }}-{{ .Branch }}-{{ checksum "/home/circleci/buildx-cache/index.json" }}' in save["key"]
    assert all(save["key"].startswith(key.partition("{{ .Branch")[0].removesuffix("main-")) for key in restore["keys"])
    assert len(restore["keys"]) == 3
