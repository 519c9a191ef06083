"""A folder that is served to BuildKit by a server that fails: the build reads the folder itself, and loses nothing."""

from __future__ import annotations

import uuid

import pytest

from buildx_cache import layout
from tests.faults.cases import LOCAL
from tests.faults.example import STEPS
from tests.faults.laboratory import Laboratory, builds, imported
from tests.faults.lazily import FAILURES
from tests.selection import quick


@pytest.mark.parametrize("failure", quick(FAILURES, "deaf", "killed at a later layer", "slow"))
def test_a_server_that_fails_fails_no_build_and_costs_no_cache(laboratory: Laboratory, failure: str) -> None:
    folder = laboratory.local_copy()
    image = f"faults-{uuid.uuid4().hex[:8]}:1"
    words = ("--cache", "local", "--cache-dir", str(folder), "--tag", image, "--load")

    ran = laboratory.tool(*words, program=("-m", "tests.faults.lazily", failure))

    assert ran.code == 0, ran.stderr
    assert laboratory.says(image) == laboratory.pristine.says
    assert ran.steps == (STEPS, STEPS, 0)
    assert imported(ran, str(folder))["status"] == "hit"
    assert layout.verify(folder, deep=True) == ()
    lazy = ran.report["cache"]["lazy"]
    is_slow = failure == "slow"
    assert lazy["used"] is is_slow
    assert builds(ran) == len(ran.report["retries"]) + 1 == (1 if is_slow else 2)
    assert is_slow or any("is imported whole" in warning for warning in ran.report["warnings"])
    laboratory.docker.docker("image", "rm", "--force", image)


def test_a_server_that_fails_is_no_fault_of_the_cache_for_a_strict_call(laboratory: Laboratory) -> None:
    folder = laboratory.local_copy()

    ran = laboratory.tool(
        *("--cache", "local", "--cache-dir", str(folder), "--strict-cache"),
        program=("-m", "tests.faults.lazily", "gone before it begins"),
    )

    assert ran.code == 0, ran.stderr
    assert ran.steps == (STEPS, STEPS, 0)
    assert ran.report["cache"]["lazy"]["used"] is False
    assert len(ran.report["retries"]) == 1


def test_damage_that_no_build_reads_costs_nothing_and_is_mended_by_the_build_that_does(laboratory: Laboratory) -> None:
    folder = laboratory.local_copy()
    fault = next(fault for fault in LOCAL if fault.name == "layer of another stage bit-flipped")
    named = fault.harm(folder, laboratory.pristine.chain)
    words = ("--cache", "local", "--cache-dir", str(folder))

    unread = laboratory.tool(*words)

    assert unread.code == 0, unread.stderr
    assert unread.steps == (STEPS, STEPS, 0)
    assert unread.report["retries"] == []
    assert imported(unread, str(folder))["status"] == "hit"

    read = laboratory.tool(*words, context=laboratory.changed("COPY --from=maker / /all\n"))

    assert read.code == 0, read.stderr
    found = imported(read, str(folder))
    assert found["status"] == "corrupt"
    assert named in found["detail"]
    assert read.report["cache"]["local"]["sound"] is True
    assert layout.verify(folder, deep=True) == ()
