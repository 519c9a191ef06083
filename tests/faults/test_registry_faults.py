"""A cache in a registry that loses, refuses, cuts or delays what is read: the build goes on, and says so."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from buildx_cache.run.results import SOURCE_UNKNOWN
from tests.faults.cases import READING, RegistryFault
from tests.faults.damage import Part
from tests.faults.example import STEPS
from tests.faults.laboratory import Laboratory, builds, imported
from tests.faults.proxy import Kind, Proxy, Rule, Status
from tests.selection import quick

# A lost blob and a refusal have tests below.
QUICK = ("wrong bytes: layer",)


@pytest.mark.parametrize("fault", quick(READING, *QUICK))
def test_a_faulty_registry_cache_fails_no_build(laboratory: Laboratory, proxy: Proxy, fault: RegistryFault) -> None:
    reference = f"{proxy.address}/{laboratory.registry_copy()}"
    image = f"{laboratory.docker.registry}/{uuid.uuid4().hex[:12]}/image:1"
    words = ("--cache", "registry", "--cache-ref", reference, "--tag", image, "--push")
    rules = fault.rules(laboratory.pristine.parts)

    with proxy.ruled(*rules):
        ran = laboratory.tool(*words)
        assert proxy.acted

    assert ran.code == 0, ran.stderr
    assert laboratory.says(image) == laboratory.pristine.says
    found = imported(ran, reference)
    assert found["status"] == fault.status
    assert found["detail"] in ("", SOURCE_UNKNOWN) if fault.status == "hit" else found["detail"]
    told = [warning for warning in ran.report["warnings"] if warning.startswith(f"the cache {reference} is ")]
    assert len(told) == (fault.status in ("corrupt", "denied", "unreachable"))

    with proxy.ruled(*(rules if fault.stays else ())):
        again = laboratory.tool(*words)

    assert again.code == 0, again.stderr
    assert again.steps == (STEPS, STEPS, 0)
    assert imported(again, reference)["status"] == "hit"
    assert again.report["retries"] == []


def test_a_lost_layer_costs_one_more_run_and_is_named(laboratory: Laboratory, proxy: Proxy) -> None:
    reference = f"{proxy.address}/{laboratory.registry_copy()}"
    digest = laboratory.pristine.parts[Part.MIDDLE]
    image = f"{laboratory.docker.registry}/{uuid.uuid4().hex[:12]}/image:1"

    with proxy.ruled(Rule(act=Status(code=404), digests=frozenset({digest}))):
        ran = laboratory.tool("--cache", "registry", "--cache-ref", reference, "--tag", image, "--push")

    assert ran.code == 0, ran.stderr
    (retry,) = ran.report["retries"]
    assert (retry["phase"], retry["count"]) == ("build", 1)
    assert digest in retry["reason"]
    assert digest in imported(ran, reference)["detail"]
    assert builds(ran) == 2


def test_a_slow_import_is_told_with_its_seconds(laboratory: Laboratory, proxy: Proxy) -> None:
    fault = next(fault for fault in READING if fault.name == "slow manifest")
    reference = f"{proxy.address}/{laboratory.registry_copy()}"

    with proxy.ruled(*fault.rules(laboratory.pristine.parts)):
        ran = laboratory.tool("--cache", "registry", "--cache-ref", reference)

    assert ran.code == 0, ran.stderr
    (warning,) = (warning for warning in ran.report["warnings"] if reference in warning)
    assert "s" in warning.split()[-1]
    assert float(warning.split()[-1].rstrip("s")) > 5


@pytest.mark.soak
def test_an_image_and_its_cache_behind_the_same_faulty_registry(laboratory: Laboratory, proxy: Proxy) -> None:
    cached = laboratory.registry_copy()
    reference = f"{proxy.address}/{cached}"
    image = f"{proxy.address}/{uuid.uuid4().hex[:12]}/image:1"
    lost = Rule(
        act=Status(code=404), path=cached.partition(":")[0], digests=frozenset(laboratory.pristine.parts.values())
    )

    with proxy.ruled(lost):
        ran = laboratory.tool("--cache", "registry", "--cache-ref", reference, "--tag", image, "--push")

    assert ran.code == 0, ran.stderr
    assert laboratory.says(image) == laboratory.pristine.says
    assert imported(ran, reference)["status"] == "corrupt"


def test_a_denied_push_is_not_taken_for_the_cache(laboratory: Laboratory, proxy: Proxy) -> None:
    reference = f"{laboratory.docker.registry}/{laboratory.registry_copy()}"
    repository = f"{uuid.uuid4().hex[:12]}/image"
    denied = Rule(act=Status(code=403), methods=frozenset({"POST"}), kinds=frozenset({Kind.UPLOAD}), path=repository)
    image = f"{proxy.address}/{repository}:1"
    context, _ = laboratory.context(1)

    with proxy.ruled(denied):
        ran = laboratory.tool(
            "--cache", "registry", "--cache-ref", reference, "--tag", image, "--push", context=context
        )

    assert ran.code == 4
    assert ran.report["retries"] == []
    assert builds(ran) == 1


def test_a_lost_layer_of_the_base_image_is_not_taken_for_the_cache(
    laboratory: Laboratory, proxy: Proxy, tmp_path: Path
) -> None:
    docker, registry = laboratory.docker, laboratory.docker.registry
    base = f"{uuid.uuid4().hex[:12]}/base:1"
    docker.docker("pull", "--quiet", docker.base)
    docker.docker("tag", docker.base, f"{registry}/{base}")
    docker.docker("push", "--quiet", f"{registry}/{base}")
    (tmp_path / "Dockerfile").write_text(f"FROM {proxy.address}/{base}\nRUN echo one > /one\n")
    lost = Rule(
        act=Status(code=404), kinds=frozenset({Kind.BLOB}), digests=frozenset({laboratory.pristine.parts[Part.BASE]})
    )

    with proxy.ruled(lost):
        ran = laboratory.tool("--cache", "local", "--cache-dir", str(laboratory.local_copy()), context=tmp_path)

    assert ran.code != 0
    assert builds(ran) <= 2
    assert imported(ran, "cache-")["status"] != "corrupt"


def test_a_cache_out_of_reach_fails_a_strict_call(laboratory: Laboratory, proxy: Proxy) -> None:
    reference = f"{proxy.address}/{uuid.uuid4().hex[:12]}/cache:pr-404"
    fault = next(fault for fault in READING if fault.name == "403 for everything")

    with proxy.ruled(*fault.rules(laboratory.pristine.parts)):
        ran = laboratory.tool("--cache", "registry", "--cache-ref", reference, "--cache-read-only", "--strict-cache")

    assert ran.code == 7
    assert "403" in ran.stderr
