"""Which of several imported caches a call leaves out: a fallback that cannot add a step to the build's own cache."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildx_cache.caches.entry import CacheEntry
from buildx_cache.plan import BuildPlan
from buildx_cache.plan.render import shell_lines
from buildx_cache.run.fallbacks import superseded
from buildx_cache.run.registry_answers import RegistryAnswers
from tests.unit.layout.layouts import Layout, config_of, digest_of
from tests.unit.run.calls import APP, CI, FACTS, FakeEngine, done, planned, planned_for, said, vertex

REPOSITORY = "registry.example.com/app"
MAIN = f"{REPOSITORY}:buildcache-main"
OWN = f"{REPOSITORY}:buildcache-work"
TARGET = f"{REPOSITORY}:buildcache-next"
BRANCH = replace(CI, branch="work", target_branch="next")
MADE = said(vertex("[build 1/1] RUN make", cached=True))
LOST = (
    "failed to copy: httpReadSeeker: failed open: could not fetch content descriptor "
    f"{digest_of(b'layer')} (application/vnd.oci.image.layer.v1.tar+gzip) from remote: not found"
)


def entry(name: str) -> CacheEntry:
    return CacheEntry(type="registry", attributes=(("ref", f"{REPOSITORY}:{name}"),))


@pytest.mark.parametrize(
    ("newest", "left_out"),
    [
        pytest.param({"own": 2, "main": 1}, {"main": "own"}, id="the-own-cache-is-newest"),
        pytest.param({"own": 2, "main": 2}, {"main": "own"}, id="they-are-as-new"),
        pytest.param({"own": 1, "main": 2}, {}, id="the-fallback-has-a-newer-step"),
        pytest.param({"main": 2}, {}, id="the-own-cache-is-absent-or-not-known"),
        pytest.param({"own": 2}, {}, id="the-fallback-is-not-known"),
        pytest.param({"target": 3, "main": 2}, {"main": "target"}, id="of-two-fallbacks-the-first-is-newer"),
        pytest.param({"own": 1, "target": 3, "main": 2}, {"main": "target"}, id="own-is-oldest"),
        pytest.param({"own": 2, "target": 1, "main": 3}, {"target": "own"}, id="only-the-last-is-newer"),
    ],
)
def test_a_fallback_is_left_out_if_it_has_no_newer_step(
    newest: Mapping[str, float], left_out: Mapping[str, str]
) -> None:
    group = [entry(name) for name in ("own", "target", "main")]
    found = superseded(group, {entry(name): moment for name, moment in newest.items()})
    assert found == {entry(name): entry(by) for name, by in left_out.items()}


@given(st.dictionaries(st.sampled_from("abcde"), st.floats(0, 9)))
def test_the_newest_cache_and_those_that_are_not_known_are_imported(newest: Mapping[str, float]) -> None:
    group = [entry(name) for name in "abcde"]
    left_out = superseded(group, {entry(name): moment for name, moment in newest.items()})
    kept = [each for each in group if each not in left_out]
    assert {entry(name) for name in "abcde" if name not in newest} <= {*kept}
    if newest:
        assert max(newest.values()) in [newest[each.get("ref")[-1]] for each in kept if each.get("ref")[-1] in newest]


def test_a_registry_that_does_not_answer_holds_up_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("buildx_cache.run.registry_answers._PATIENCE", 0.0)
    going_on = threading.Event()
    assert RegistryAnswers([entry("own")], lambda _: going_on.wait()).finish() == {}
    going_on.set()
    assert RegistryAnswers([], lambda _: 1.0).finish() == {}


# --- what a build imports ----------------------------------------------------------------------------------


def branch_plan(**asked: object) -> BuildPlan:
    return planned_for(BRANCH, FACTS, **{"tag": [APP], "push": True, "cache": "registry", **asked})


def imported(engine: FakeEngine) -> list[list[str]]:
    return [[each.place for each in build.imports] for build in engine.built]


@pytest.mark.parametrize("kind", ["registry", "inline"])
def test_a_branch_that_is_up_to_date_imports_its_own_cache_only(kind: str) -> None:
    engine = FakeEngine(builds=[(MADE, 0)], newest={OWN: 3.0, TARGET: 2.0, MAIN: 1.0})
    outcome, display = done(branch_plan(cache=kind), engine)
    assert imported(engine) == [[OWN]]
    statuses = {each.source: (each.status, each.detail) for each in outcome.report.cache.imports}
    assert statuses[MAIN] == statuses[TARGET] == ("skipped", f"not needed: no step in it is newer than those of {OWN}")
    assert not display.warned


def test_a_branch_imports_what_the_default_branch_has_newer() -> None:
    engine = FakeEngine(builds=[(MADE, 0)], newest={OWN: 2.0, MAIN: 3.0})
    done(branch_plan(), engine)
    assert imported(engine) == [[OWN, TARGET, MAIN]]  # the target's is not known


def test_a_new_branch_imports_its_fallbacks() -> None:
    engine = FakeEngine(builds=[(MADE, 0)])
    done(branch_plan(), engine)
    assert imported(engine) == [[OWN, TARGET, MAIN]]


def test_a_cache_that_fails_the_build_gives_its_fallbacks_back() -> None:
    read = vertex(f"importing cache manifest from {OWN}")
    failed = said(
        read, vertex("exporting to image", error=LOST), text=f"ERROR: failed to build: failed to solve: {LOST}\n"
    )
    engine = FakeEngine(builds=[(failed, 1), (MADE, 0)], newest={OWN: 3.0, TARGET: 1.0, MAIN: 2.0})
    outcome, _ = done(branch_plan(), engine)
    assert imported(engine) == [[OWN], [TARGET, MAIN]]
    assert {each.source: each.status for each in outcome.report.cache.imports}[OWN] == "corrupt"


@pytest.mark.parametrize(
    ("named", "read"),
    [
        pytest.param("r.example/base:cache", [OWN, "r.example/base:cache"], id="another-cache"),
        pytest.param(MAIN, [OWN, MAIN], id="a-fallback"),
    ],
)
def test_an_import_that_the_caller_names_is_never_left_out(named: str, read: list[str]) -> None:
    engine = FakeEngine(builds=[(MADE, 0)], newest={OWN: 3.0, TARGET: 2.0, MAIN: 1.0})
    done(branch_plan(cache_from=[f"type=registry,ref={named}"]), engine)
    assert imported(engine) == [read]


@pytest.mark.parametrize(
    ("asked", "is_asked"),
    [
        pytest.param({}, True, id="near"),
        pytest.param({"endpoint": ["ssh://elsewhere"]}, False, id="builder-elsewhere"),
        pytest.param({"tag": ["localhost:5000/app:1"], "driver_opt": ["network=bridge"]}, False, id="another-loopback"),
    ],
)
def test_a_registry_is_asked_only_where_the_builder_reaches_the_same(
    asked: Mapping[str, object],
    is_asked: bool,  # noqa: FBT001 -- a table
) -> None:
    plan = planned_for(BRANCH, FACTS, **{"tag": [APP], "push": True, "cache": "registry", **asked})
    (group,) = plan.cache.fallbacks
    assert plan.cache.asked == (group if is_asked else ())


def test_the_default_branch_asks_no_registry() -> None:
    plan = planned(tag=[APP], push=True, cache="registry")
    assert (plan.cache.fallbacks, plan.cache.asked) == ((), ())


def test_the_plan_shows_all_and_says_which_may_be_left_out() -> None:
    lines = shell_lines(branch_plan())
    assert [lines.count(f"ref={each}") for each in (TARGET, MAIN)] == [1, 1]
    assert [line for line in lines.splitlines() if line.startswith("# fallbacks: ")]


# --- folders -----------------------------------------------------------------------------------------------


def two_tags(folder: Path, own: str, usual: str, tag: str) -> None:
    layout = Layout(folder)
    for name, created in ((tag, own), ("latest", usual)):
        layer = name.encode()
        layout.tag(name, layout.cache([layer], config=config_of([digest_of(layer)], created)))
    layout.write_index()


@pytest.mark.parametrize(
    ("own", "usual", "count"),
    [
        pytest.param("2026-01-02T00:00:00Z", "2026-01-01T00:00:00Z", 1, id="own-is-newer"),
        pytest.param("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z", 2, id="the-usual-one-is-newer"),
    ],
)
def test_tags_of_a_folder_are_compared_without_asking(own: str, usual: str, count: int, tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    asked = {"tag": [APP], "cache": "local", "cache_dir": str(folder), "target": "test"}
    plan = planned(**asked)
    first = plan.cache.imports[0]
    assert plan.cache.asked == ()
    two_tags(folder, own, usual, first.tag)
    engine = FakeEngine(builds=[(MADE, 0)])
    done(plan, engine)
    assert [len(build.imports) for build in engine.built] == [count]
