"""A registry with faults that pass: what is pushed and cached comes through, and every further try is told."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.faults.laboratory import Laboratory, builds, imported
from tests.faults.proxy import READ, WRITE, Act, Cut, Expire, Kind, Proxy, Rule, Slow, Status
from tests.faults.watched import IMPATIENT
from tests.selection import quick

_UPLOADS = frozenset({Kind.UPLOAD})
_TAG = frozenset({Kind.TAG})
_ALL = frozenset(Kind) - {Kind.TOKEN}
_ANY = READ | WRITE
_SOON = (("Retry-After", "1"),)


@dataclass(frozen=True, kw_only=True)
class Passing:
    """A fault of so many requests of a push, how often the push is then tried again, and how it ends."""

    name: str
    act: Act
    kinds: frozenset[Kind] = _UPLOADS
    methods: frozenset[str] = WRITE
    times: int = 1
    retries: int
    code: int = 0

    def __str__(self) -> str:
        return self.name


# What BuildKit goes through with by itself: a request refused for too many is sent six times, at once; a server's error
# is waited for about a quarter of a minute. Only what lasts longer comes to this program.
_BUILDKITS = 6
_LIMITED = Status(code=429, headers=_SOON)
PUSHES = (
    Passing(name="429 once", act=_LIMITED, retries=0),
    Passing(name="429 for the manifest", act=_LIMITED, kinds=_TAG, times=_BUILDKITS, retries=1),
    Passing(name="429 for longer", act=_LIMITED, kinds=_TAG, times=2 * _BUILDKITS, retries=2),
    Passing(name="500 once", act=Status(code=500), kinds=_TAG, retries=0),
    Passing(name="503 for longer", act=Status(code=503), kinds=_TAG, times=2 * _BUILDKITS, retries=1),
    Passing(name="reset in an upload", act=Cut(after=1_000, reset=True), methods=frozenset({"PUT"}), retries=0),
    Passing(name="slow", act=Slow(wait=2), retries=0),
    Passing(name="token for many requests", act=Expire(uses=1000), kinds=_ALL, methods=_ANY, times=0, retries=0),
    Passing(name="expiring token", act=Expire(uses=3), kinds=_ALL, methods=_ANY, times=0, retries=0, code=4),
    Passing(name="403", act=Status(code=403), times=0, retries=0, code=4),
    Passing(name="401", act=Status(code=401), times=0, retries=0, code=4),
    Passing(name="wrong digest", act=Status(code=400), kinds=_TAG, retries=0, code=4),
    Passing(name="404", act=Status(code=404), times=0, retries=0, code=4),
    *(
        Passing(name=f"{code} {error}", act=Status(code=code, error=(error, words)), times=0, retries=0, code=4)
        for code, error, words in (
            (404, "NAME_UNKNOWN", "The repository with name 'a' does not exist in the registry with id '1'"),
            (
                400,
                "TAG_INVALID",
                "The image tag '1' already exists in 'a' and cannot be overwritten because it is immutable.",
            ),
            (405, "UNSUPPORTED", "The operation is unsupported."),
            (409, "CONFLICT", "conflict"),
            (412, "PRECONDITION", "Failed to process request due to 'a:1' configured as immutable."),
            (422, "UNPROCESSABLE", "it is not processed"),
        )
    ),
    Passing(
        name="413",
        act=Status(code=413, page="<html><title>413 Request Entity Too Large</title></html>"),
        times=0,
        retries=0,
        code=4,
    ),
    Passing(name="501 for longer", act=Status(code=501, error=("UNSUPPORTED", "x")), kinds=_TAG, times=6, retries=1),
)


@pytest.fixture(scope="module")
def builder(laboratory: Laboratory) -> Iterator[str]:
    with laboratory.builders.new() as name:
        yield name


QUICK = (
    "429 for the manifest",
    "reset in an upload",
    "expiring token",
    "404 NAME_UNKNOWN",
)


@pytest.mark.parametrize("case", quick(PUSHES, *QUICK))
def test_a_push_comes_through(laboratory: Laboratory, proxy: Proxy, builder: str, case: Passing) -> None:
    repository = f"{uuid.uuid4().hex[:12]}/image"
    image = f"{proxy.address}/{repository}:403"  # a name is no cause
    rule = Rule(act=case.act, kinds=case.kinds, methods=case.methods, times=case.times)

    with proxy.ruled(rule):
        ran = laboratory.tool("--cache", "none", "--tag", image, "--push", builder=builder, program=IMPATIENT)
        assert proxy.acted

    assert ran.code == case.code, ran.stderr
    counts = {retry["phase"]: retry["count"] for retry in ran.report["retries"]}
    assert set(counts) <= {"push"}
    assert counts.get("push", 0) == case.retries
    assert builds(ran) == 1 + counts.get("push", 0)
    if counts:
        executed = re.findall(r"^ +[0-9.]+s +\[", ran.stderr, re.MULTILINE)
        assert len(executed) == ran.steps[2]  # none of them a second time
        assert "trying again in" in ran.stderr
    if case.code == 0:
        assert laboratory.says(f"{laboratory.docker.registry}/{repository}:403") == laboratory.pristine.says


@dataclass(frozen=True, kw_only=True)
class Import:
    """A fault of so many requests for a cache's manifest, how often the import is tried again, and its end."""

    name: str
    act: Act
    times: int = 0
    retries: int
    status: str

    def __str__(self) -> str:
        return self.name


IMPORTS = (
    Import(name="429 for a while", act=_LIMITED, times=_BUILDKITS, retries=1, status="hit"),
    Import(name="503 for a while", act=Status(code=503), times=2, retries=1, status="hit"),
    Import(name="reset once", act=Cut(after=0, reset=True), times=1, retries=0, status="hit"),
    Import(name="503 for good", act=Status(code=503), retries=2, status="unreachable"),
    Import(name="403 for good", act=Status(code=403), retries=0, status="denied"),
    Import(name="404 for good", act=Status(code=404), retries=0, status="absent"),
)


@pytest.mark.parametrize("case", quick(IMPORTS, "429 for a while", "404 for good"))
def test_a_cache_import_comes_through(laboratory: Laboratory, proxy: Proxy, case: Import) -> None:
    reference = f"{proxy.address}/{laboratory.registry_copy()}"
    rule = Rule(act=case.act, kinds=_TAG, methods=READ, times=case.times)

    with proxy.ruled(rule):
        words = ("--cache", "registry", "--cache-ref", reference, "--cache-read-only")
        ran = laboratory.tool(*words, program=IMPATIENT)
        assert proxy.acted

    assert ran.code == 0, ran.stderr
    assert imported(ran, reference)["status"] == case.status
    counts = {retry["phase"]: retry["count"] for retry in ran.report["retries"]}
    assert counts == ({"import": case.retries} if case.retries else {})
    assert builds(ran) == 1 + case.retries
    assert (ran.steps[1] == ran.steps[0]) is (case.status == "hit")


@pytest.mark.soak  # the same retries as a push's
def test_a_cache_export_comes_through(laboratory: Laboratory, proxy: Proxy, builder: str) -> None:
    reference = f"{proxy.address}/{uuid.uuid4().hex[:12]}/cache:main"
    image = f"{laboratory.docker.registry}/{uuid.uuid4().hex[:12]}/image:1"
    limited = Rule(act=_LIMITED, kinds=_TAG, methods=WRITE, times=_BUILDKITS)

    with proxy.ruled(limited):
        words = ("--cache", "registry", "--cache-ref", reference, "--tag", image, "--push")
        ran = laboratory.tool(*words, builder=builder, program=IMPATIENT)
        assert proxy.acted

    assert ran.code == 0, ran.stderr
    assert [export["status"] for export in ran.report["cache"]["exports"]] == ["written"]
    assert [(retry["phase"], retry["count"]) for retry in ran.report["retries"]] == [("export", 1)]


# How the registry of a base image fails, by what of it, and how often; 429 is sent six times by BuildKit itself.
_TOKEN = Rule(act=Expire(uses=1000), kinds=_ALL)
HICCUPS = {
    "two 503": (Rule(act=Status(code=503), kinds=_TAG, times=2),),
    "one 502": (Rule(act=Status(code=502), kinds=_TAG, times=1),),
    "one 504 of the token": (Rule(act=Status(code=504), kinds=frozenset({Kind.TOKEN}), times=1), _TOKEN),
    "429": (Rule(act=_LIMITED, kinds=_TAG, times=_BUILDKITS),),
}


@pytest.mark.parametrize("name", quick(HICCUPS, "one 504 of the token"))
def test_a_base_image_comes_through(
    laboratory: Laboratory, proxy: Proxy, builder: str, tmp_path: Path, name: str
) -> None:
    docker = laboratory.docker
    path = docker.base.partition("/")[2]
    (tmp_path / "Dockerfile").write_text(f"FROM {proxy.address}/{path}\nRUN echo {uuid.uuid4().hex} > /one\n")

    with proxy.ruled(*HICCUPS[name]):
        ran = laboratory.tool("--cache", "none", context=tmp_path, builder=builder)

    assert ran.code == 0, ran.stderr
    assert [each["phase"] for each in ran.report["retries"]] == ["pull"]
    assert all(f"{proxy.address}/{path}" in each["reason"] for each in ran.report["retries"])


def test_a_step_that_fails_by_itself_is_not_tried_again(laboratory: Laboratory, builder: str, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text(f"FROM {laboratory.docker.base}\nRUN echo 503 Service Unavailable; exit 1\n")
    ran = laboratory.tool("--cache", "none", context=tmp_path, builder=builder)
    assert (ran.code, ran.report["retries"], builds(ran)) == (1, [], 1)


def test_a_host_that_does_not_exist_fails_at_once(laboratory: Laboratory, builder: str, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /\n")
    ran = laboratory.tool(
        "--cache", "none", "--tag", "nowhere.invalid/a:1", "--push", context=tmp_path, builder=builder
    )
    assert (ran.code, ran.report["retries"], builds(ran)) == (5, [], 1)
    assert ran.stderr.count("COPY Dockerfile /") == 1
