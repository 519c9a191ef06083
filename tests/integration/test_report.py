"""The report validates, and its counts are BuildKit's."""

from __future__ import annotations

import html
import json
import os
import re
import shlex
import subprocess
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import jsonschema
import pytest

from buildx_cache.report import report_schema
from tests.integration.conftest import Docker
from tests.selection import quick

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


@dataclass(frozen=True, kw_only=True)
class Vertex:
    """A step as BuildKit told of it, counted without this program's own reader."""

    name: str
    cached: bool
    seconds: float
    failed: bool


def steps_of(vertices: list[dict[str, Any]]) -> dict[str, Vertex]:
    """The steps' vertices by digest. They are told of again and again: what runs at once, and later anew, adds up."""
    told: dict[str, list[dict[str, Any]]] = {}
    for each in vertices:
        told.setdefault(each["digest"], []).append(each)
    return {
        digest: Vertex(
            name=STEP.sub("", states[0]["name"]),
            cached=any(each.get("cached") for each in states),
            seconds=worked({each["started"]: each["completed"] for each in states if each.get("completed")}),
            failed=any(each.get("error") for each in states),
        )
        for digest, states in told.items()
        if STEP.match(states[0]["name"])
    }


def worked(spans: dict[str, str]) -> float:
    seconds, until = 0.0, float("-inf")
    for start, end in sorted((moment(start), moment(end)) for start, end in spans.items()):
        seconds += max(end - max(start, until), 0.0)
        until = max(end, until)
    return seconds


def moment(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def check_steps(report: dict[str, Any], vertices: list[dict[str, Any]]) -> None:
    """The report's steps are BuildKit's: their names, their cached flags, their durations, what failed, the counts."""
    theirs, ours = steps_of(vertices), {step["digest"]: step for step in report["steps"]}
    assert {digest: step["name"] for digest, step in ours.items()} == {
        digest: vertex.name for digest, vertex in theirs.items()
    }
    for digest, vertex in theirs.items():
        step = ours[digest]
        if not vertex.name.startswith("FROM "):  # never flagged: for people it is cached when nothing of it is pulled
            assert step["cached"] is vertex.cached, vertex
        assert step["seconds"] == pytest.approx(0.0 if step["cached"] else vertex.seconds, abs=0.002), vertex
        assert bool(step["error"]) is vertex.failed, vertex
    cached = sum(step["cached"] for step in ours.values())
    executed = sum(not step["cached"] and bool(started(digest, vertices)) for digest, step in ours.items())
    assert report["cache"]["steps"] == {"total": len(theirs), "cached": cached, "executed": executed}


def started(digest: str, vertices: list[dict[str, Any]]) -> list[str]:
    return [each["started"] for each in vertices if each["digest"] == digest and each.get("started")]


def digests(vertices: list[dict[str, Any]]) -> dict[str, str]:
    return {each["digest"]: STEP.sub("", each["name"]) for each in vertices if STEP.match(each["name"])}


@pytest.mark.soak  # the table below counts more
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
    assert warm["images"]["default"]["digest"].startswith("sha256:")


TWO = ("linux/arm64", "linux/amd64")


@pytest.mark.parametrize(
    ("engine", "platforms"),
    [("docker", ()), ("docker", TWO), pytest.param("old_docker", TWO, marks=pytest.mark.soak)],
)
def test_the_digest_of_each_platform_is_the_registrys(
    engine: str, platforms: tuple[str, ...], request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    docker: Docker = request.getfixturevalue(engine)
    (tmp_path / "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /\n")
    tag, wanted = f"{docker.repository('platforms')}:1", [word for name in platforms for word in ("--platform", name)]
    words = ("-t", tag, "--push", "--cache", "none", "--attest", "type=provenance,mode=min", *wanted)
    ran = docker.tool("build", *words, *docker.container_builder, str(tmp_path))
    image = ran.report["images"]["default"]
    index = json.loads(docker.docker("buildx", "imagetools", "inspect", "--raw", tag))["manifests"]
    named = {f"{each['platform']['os']}/{each['platform']['architecture']}": each["digest"] for each in index}
    assert named.pop("unknown/unknown")
    assert image["platform_digests"] == named
    assert image["digest"] not in named.values()
    assert list(named) == [*(platforms or ("linux/amd64",))]


PARALLEL = """\
ARG BASE
FROM ${BASE} AS base
WORKDIR /work
FROM base AS one
RUN sleep 1; echo one > out
FROM base AS two
COPY word .
RUN sleep 1.2; cat word > out
FROM base AS three
RUN sleep 0.3; echo three > out
FROM scratch
COPY --from=one /work/out /one
COPY --from=two /work/out /two
COPY --from=three /work/out /three
"""
# Nothing of it runs on another platform than the builder's.
PLATFORMS = """\
ARG BASE
FROM --platform=$BUILDPLATFORM ${BASE} AS make
ARG TARGETARCH
RUN sleep 0.2; echo "$TARGETARCH" > /made
FROM scratch
COPY word /word
COPY --from=make /made /made
"""
# The same file in an empty image is one step for BuildKit, whatever the platform.
PLATFORM_STEPS = {
    'RUN sleep 0.2; echo "amd64" > /made': 1,
    'RUN sleep 0.2; echo "arm64" > /made': 1,
    "COPY --from=make /made /made": 2,
    "COPY word /word": 1,
}
FAILING = """\
ARG BASE
FROM ${BASE} AS slow
RUN sleep 20
FROM ${BASE} AS bad
RUN sleep 0.5; echo why it failed; exit 9
FROM scratch
COPY --from=slow /word /
COPY --from=bad /word /
"""


@pytest.mark.parametrize("engine", quick(["docker", "old_docker"], "docker"))
@pytest.mark.parametrize(
    ("dockerfile", "words", "code", "lines"),
    [
        pytest.param("", (), 0, {}, marks=pytest.mark.soak),
        (PARALLEL, (), 0, {"RUN sleep 1; echo one > out": 1}),
        pytest.param(PLATFORMS, ("--platform", "linux/amd64,linux/arm64"), 0, PLATFORM_STEPS, marks=pytest.mark.soak),
        (FAILING, (), 1, {"RUN sleep 20": 1}),
    ],
    ids=["demo", "parallel-stages", "platforms", "failing"],
)
def test_steps_are_buildkits(  # noqa: PLR0913, PLR0917 -- a table of builds
    engine: str,
    dockerfile: str,
    words: tuple[str, ...],
    code: int,
    lines: dict[str, int],
    project: Path,
    request: pytest.FixtureRequest,
    tmp_path: Path,
) -> None:
    docker: Docker = request.getfixturevalue(engine)
    (project / "Dockerfile").write_text(dockerfile)
    context = (str(project), "--build-arg", f"BASE={docker.base}") if dockerfile else docker.hello
    image = ("-t", f"{docker.repository()}:1", "--push", "--cache", "local", "--cache-dir", str(tmp_path / "cache"))
    for number in range(2):
        report, vertices = build_and_record(docker, tmp_path, *image, *docker.new_builder, *words, *context)
        assert report["exit_code"] == code
        check_steps(report, vertices)
        names = [step["name"] for step in report["steps"]]
        assert {name: names.count(name) for name in lines} == lines
        assert (report["cache"]["hit_ratio"] == 1.0) is (number == 1 and code == 0)


@pytest.mark.soak  # the figure: tests/unit/run/test_durations.py
def test_a_build_from_the_cache_tells_what_it_saved(docker: Docker, project: Path, tmp_path: Path) -> None:
    (project / "Dockerfile").write_text("ARG BASE\nFROM ${BASE}\nCOPY word /word\nRUN sleep 1.5; cat /word > /said\n")
    cache, image = tmp_path / "cache", docker.repository()
    words = ("--build-arg", f"BASE={docker.base}", str(project))
    ours = (*docker.new_builder, "-t", f"{image}:1", "--push", "--cache", "local", "--cache-dir", str(cache), *words)
    cold = docker.build(*ours)
    assert cold.report["cache"]["saved_seconds"] is None
    took = sum(step["seconds"] for step in cold.report["steps"] if not step["name"].startswith("FROM"))
    assert took >= 1.5
    before = {path.name: path.stat().st_mtime_ns for path in cache.iterdir() if path.is_file()}
    warm = docker.build(*ours)
    assert warm.report["cache"]["hit_ratio"] == 1.0
    assert warm.report["cache"]["saved_seconds"] == pytest.approx(took, abs=0.01)
    assert re.search(r"^saved +\d\.\ds of steps not run again$", warm.stderr, re.MULTILINE)
    assert before["buildx-cache-steps.json"] == (cache / "buildx-cache-steps.json").stat().st_mtime_ns
    assert docker.tool("cache", "verify", "--deep", str(cache)).code == 0

    plain = ("--cache-from", f"type=local,src={cache}", "--cache-to", f"type=local,dest={cache}")
    docker.docker("buildx", "build", *plain, "--output", "type=cacheonly", *words)
    assert docker.tool("cache", "verify", "--deep", str(cache)).code == 0
    assert docker.tool("cache", "prune", str(cache)).code == 0
    assert docker.build(*ours).report["cache"]["saved_seconds"] == pytest.approx(took, abs=0.01)


def test_a_large_context_is_told_with_what_would_leave_it_out(docker: Docker, project: Path) -> None:
    (project / "node_modules").mkdir()
    (project / "node_modules" / "x").write_bytes(os.urandom(60_000_000))
    (project / ".git").mkdir()
    (project / ".git" / "pack").write_bytes(os.urandom(10_000_000))
    words = ("--driver", "docker", "--cache", "none", "--build-arg", f"BASE={docker.base}", str(project))
    (project / "Dockerfile").write_text("ARG BASE\nFROM ${BASE}\nCOPY . /src\n")
    large = docker.build(*words)
    lines = {"node_modules": 60_000_000, ".git": 10_000_000}
    assert {each["line"]: each["bytes"] for each in large.report["build_context"]["largest"]} == lines
    assert large.report["build_context"]["bytes"] == pytest.approx(sum(lines.values()), rel=0.01)
    assert "`node_modules` (57.2 MiB), `.git` (9.5 MiB)" in large.stderr
    assert re.search(r"^context +66\.\d MiB sent$", large.stderr, re.MULTILINE)

    (project / ".dockerignore").write_text("".join(f"{line}\n" for line in lines))
    small = docker.build(*words)
    assert small.report["build_context"] == {"bytes": pytest.approx(0, abs=10_000), "largest": []}
    assert ".dockerignore" not in small.stderr


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
    assert hint.startswith("hint: ")
    assert "why it failed" in log


def test_the_same_is_told_in_every_form(docker: Docker, project: Path, tmp_path: Path) -> None:
    page, cases, text, env = (tmp_path / name for name in ("report.html", "report.xml", "report.md", "env"))
    forms = ("--report-html", str(page), "--report-junit", str(cases), "--report-md", str(text))
    ran = docker.build(
        *("-t", "app", "--driver", "docker", "--cache", "none", "--build-arg", f"BASE={docker.base}", *forms),
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
