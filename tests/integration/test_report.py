"""The report validates, and its counts are BuildKit's."""

from __future__ import annotations

import html
import json
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import jsonschema
import pytest

from buildx_cache.report import report_schema
from tests.integration.conftest import Docker

TEE = """#!/bin/sh
case " $* " in
*" build "*)
    exec 3>&1
    {{ {docker} "$@" 2>&1 >&3; echo $? > {log}.code; }} | tee -a {log} >&2
    exit "$(cat {log}.code)"
    ;;
*) exec {docker} "$@" ;;
esac
"""
# A step's vertex, by the name that the Dockerfile frontend gives it.
STEP = re.compile(r"\[(?:[^\]]* )?\s*\d+/\d+\] ")


def build_and_record(docker: Docker, tmp_path: Path, *words: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A build's report, and the vertices that Buildx told of while it ran."""
    folder = tmp_path / "tee"
    folder.mkdir(exist_ok=True)
    log = folder / "log"
    log.write_text("")
    real = subprocess.run(("which", "docker"), env=docker.child_env(), capture_output=True, text=True, check=True)
    (folder / "docker").write_text(TEE.format(log=shlex.quote(str(log)), docker=real.stdout.strip()))
    (folder / "docker").chmod(0o755)
    ran = docker.tool("build", *words, env={"PATH": f"{folder}:{docker.child_env()['PATH']}"})
    jsonschema.validate(ran.report, report_schema())
    vertices: list[dict[str, Any]] = []
    decoder, text, at = json.JSONDecoder(), log.read_text(), 0
    while (start := text.find("{", at)) >= 0:
        try:
            value, at = decoder.raw_decode(text, start)
        except ValueError:
            at = start + 1
            continue
        vertices += value.get("vertexes") or [] if isinstance(value, dict) else []
    return ran.report, vertices


def digests(vertices: list[dict[str, Any]]) -> dict[str, str]:
    return {each["digest"]: STEP.sub("", each["name"]) for each in vertices if STEP.match(each["name"])}


@pytest.mark.parametrize("engine", ["docker", "old_docker"])
def test_counts_are_buildkits(engine: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    docker: Docker = request.getfixturevalue(engine)
    words = (
        *("-t", f"{docker.repository()}:1", "--push", "--cache", "local", "--cache-dir", str(tmp_path / "cache")),
        *docker.new_builder,
    )
    cold, vertices = build_and_record(docker, tmp_path, *words, *docker.hello)
    cached = {each["digest"] for each in vertices if each.get("cached")}
    assert {step["digest"]: step["name"] for step in cold["steps"]} == digests(vertices)
    assert cold["cache"]["steps"] == {"total": len(digests(vertices)), "cached": 0, "executed": len(digests(vertices))}
    assert cached & set(digests(vertices)) == set()

    warm, vertices = build_and_record(docker, tmp_path, *words, *docker.hello)
    cached = {each["digest"] for each in vertices if each.get("cached")} & set(digests(vertices))
    bases = {digest for digest, name in digests(vertices).items() if name.startswith("FROM ")}
    assert {step["digest"] for step in warm["steps"] if step["cached"]} == cached | bases
    assert warm["cache"]["hit_ratio"] == 1.0
    assert warm["image"]["digest"].startswith("sha256:")


def test_a_failing_build(docker: Docker, project: Path, tmp_path: Path) -> None:
    (project / "Dockerfile").write_text("ARG BASE\nFROM ${BASE} AS app\nRUN echo one\nRUN echo why it failed; exit 9\n")
    words = ("-t", "app", "--load", "--cache-dir", str(tmp_path / "cache"), "--build-arg", f"BASE={docker.base}")
    report, vertices = build_and_record(docker, tmp_path, *words, str(project))
    failed = [step for step in report["steps"] if step["error"]]
    assert [step["name"] for step in failed] == ["RUN echo why it failed; exit 9"]
    assert {each["digest"] for each in vertices if each.get("error")} >= {failed[0]["digest"]}
    assert (report["status"], report["exit_code"]) == ("failed", 1)
    ran = docker.tool("build", *words, str(project))
    assert ran.code == 1
    assert ran.stdout == ""
    error, hint, log, *_ = ran.stderr.partition("error:")[2].splitlines()
    assert "exit code: 9" in error
    assert hint.startswith("to do: ")
    assert "why it failed" in log


def test_the_same_is_told_in_every_form(docker: Docker, project: Path, tmp_path: Path) -> None:
    page, cases, text, env = (tmp_path / name for name in ("report.html", "report.xml", "report.md", "env"))
    forms = ("--report-html", str(page), "--report-junit", str(cases), "--report-md", str(text))
    ran = docker.build(
        *("-t", "app", *docker.new_builder, "--cache", "none", "--build-arg", f"BASE={docker.base}", *forms),
        str(project),
        env={"CIRCLECI": "true", "BASH_ENV": str(env)},
    )
    assert f"export BUILDX_CACHE_STEPS_TOTAL={ran.steps[0]}\n" in env.read_text()
    suite = ET.parse(cases).getroot()  # noqa: S314 - our own
    assert suite.get("tests") == str(ran.steps[0])
    names = [step["name"] for step in ran.report["steps"] if step["name"].startswith("RUN")]
    assert names
    for name in names:
        assert any(case.get("name") == name for case in suite.iter("testcase"))
        assert html.escape(name) in page.read_text()
    assert f"{ran.steps[0]} steps" in text.read_text()
    assert all(path.stat().st_mode & 0o077 == 0 for path in (page, cases, text))
