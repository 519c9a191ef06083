"""Whether a loaded image comes to the engine by way of a folder, and why not."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import pytest

from buildx_cache.errors import UsageError
from buildx_cache.plan import Facts, ImageStore, LoadingPlan
from buildx_cache.plan.render import command_line, plan_json
from tests.unit.run.calls import APP, FACTS, FLEET, planned
from tests.unit.test_plan_serving import given

LOCAL = {"tag": [APP], "load": True, "cache": "local", "cache_dir": "/nowhere/cache"}


@dataclass(frozen=True, kw_only=True)
class Case:
    why: str
    asked: Mapping[str, object] = field(default_factory=dict)
    facts: Facts = FACTS


CASES: Mapping[str, Case] = {
    "nothing to load": Case(asked={"load": False, "push": True}, why=""),
    "the engine's own builder": Case(
        asked={"driver": "docker"}, facts=replace(FACTS, store=ImageStore.CONTAINERD), why=""
    ),
    "not lazily": Case(asked={"lazy": "off"}, why="--lazy off"),
    "a cache in a registry": Case(asked={"cache": "registry"}, why="no cache is in a folder"),
    "no name to load it by": Case(asked={"tag": []}, why="the image has no tag"),
    "a file with the image's ID": Case(
        asked={"iidfile": "id"}, why="--iidfile is to say what the engine calls the image"
    ),
    "what is pushed, too": Case(asked={"push": True}, why="the image goes elsewhere, too"),
    "what is written, too": Case(asked={"output": ["type=local,dest=out"]}, why="the image goes elsewhere, too"),
    "Buildx' own flags": Case(
        asked={"buildx_flags": ["--call", "check"]}, why="Buildx' own flags may change what is loaded"
    ),
    "a builder of several nodes": Case(facts=given(FLEET), why="the builder has several nodes"),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_what_keeps_an_image_from_being_loaded_from_a_folder(case: Case) -> None:
    plan = planned(case.facts, **{**LOCAL, **case.asked})
    assert plan.target.image.loading == LoadingPlan(why=case.why)
    assert json.loads(plan_json(plan))["images"]["default"]["loading"] == {"from_folder": False, "why": case.why}


def test_the_engine_that_is_asked_for_loads_it() -> None:
    plan = planned(**LOCAL, docker_context="there", lazy="on")
    loading = plan.target.image.loading
    assert loading.effect
    assert command_line(plan, loading.effect) == ("docker", "--context", "there", "image", "load")
    assert loading.names == (APP,)
    assert loading.why == "the cache is in a folder"


def test_the_planned_build_says_load() -> None:
    plan = planned(**LOCAL)
    assert plan.target.build.argv[-2:] == ("--load", ".")
    assert all("image load" not in " ".join(step.argv) for _, step in plan.phases())
    assert json.loads(plan_json(plan))["images"]["default"]["loading"]["from_folder"] is True


ATTESTED: tuple[dict[str, object], ...] = (
    {"provenance": "mode=max"},
    {"provenance": "true"},
    {"provenance": "mode=min,inline-only=true"},
    {"sbom": "true"},
    {"attest": ["type=provenance,mode=min"]},
    {"attest": ["type=sbom,disabled=true", "type=provenance"]},
)
PLAIN: tuple[dict[str, object], ...] = (
    {},
    {"provenance": "false"},
    {"provenance": "0"},
    {"provenance": "mode=max,disabled=true"},
    {"sbom": "false"},
    {"attest": ["type=sbom,disabled=1"]},
)
LOADED: tuple[dict[str, object], ...] = ({"load": True}, {"output": ["type=docker"]}, {"load": True, "push": True})


@pytest.mark.parametrize("asked", ATTESTED, ids=str)
@pytest.mark.parametrize("loaded", LOADED, ids=str)
def test_the_classic_store_is_handed_no_attestations(asked: dict[str, object], loaded: dict[str, object]) -> None:
    words = {"tag": [APP], **asked, **loaded}
    for store in ImageStore:
        with pytest.raises(UsageError) if store is ImageStore.CLASSIC else contextlib.nullcontext() as refused:
            planned(replace(FACTS, store=store), **words)
        if refused:
            assert (refused.value.code, refused.value.exit_code) == ("load-unsupported", 2)
    planned(replace(FACTS, store=ImageStore.CLASSIC), **{"tag": [APP], "output": ["type=oci,dest=x.tar"], **asked})


@pytest.mark.parametrize("asked", PLAIN, ids=str)
def test_without_attestations_the_classic_store_takes_it(asked: dict[str, object]) -> None:
    assert planned(replace(FACTS, store=ImageStore.CLASSIC), **{"tag": [APP], "load": True, **asked}).target.image.load
