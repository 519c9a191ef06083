"""A folder that is served to BuildKit by a server that fails: the build reads the folder itself, and loses nothing."""

from __future__ import annotations

import uuid

import pytest

from buildx_cache import layout
from tests.faults.cases import LOCAL
from tests.faults.example import STEPS
from tests.faults.laboratory import Laboratory, builds, imported
from tests.faults.lazily import FAILURES, FULL, UNSENT
from tests.selection import quick


@pytest.mark.parametrize("failure", quick(FAILURES, "deaf", "killed at a later layer"))
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


def test_damage_that_no_step_reads_is_found_by_the_export_and_mended_with_the_steps_cached(
    laboratory: Laboratory,
) -> None:
    folder = laboratory.local_copy()
    fault = next(fault for fault in LOCAL if fault.name == "layer of another stage bit-flipped")
    named = fault.harm(folder, laboratory.pristine.chain)
    words = ("--cache", "local", "--cache-dir", str(folder))

    unread = laboratory.tool(*words)

    assert unread.code == 0, unread.stderr
    assert unread.steps == (STEPS, STEPS, 0)
    found = imported(unread, str(folder))
    assert found["status"] == "corrupt"
    assert named in found["detail"]
    assert unread.report["cache"]["exports"][0]["status"] == "written"
    assert unread.report["cache"]["local"]["sound"] is True
    assert layout.verify(folder, deep=True) == ()

    read = laboratory.tool(*words, context=laboratory.changed("COPY --from=maker / /all\n"))

    assert read.code == 0, read.stderr
    assert read.steps[2] == 1
    assert imported(read, str(folder))["status"] == "hit"
    assert read.report["retries"] == []


@pytest.mark.parametrize("failure", quick(UNSENT, "cut"))
def test_a_cache_that_cannot_be_sent_here_is_written_all_the_same(laboratory: Laboratory, failure: str) -> None:
    folder = laboratory.local_copy()
    words = ("--cache", "local", "--cache-dir", str(folder))
    changed = laboratory.changed("RUN date > /date\n")

    ran = laboratory.tool(*words, context=changed, program=("-m", "tests.faults.lazily", failure))

    assert ran.code == 0, ran.stderr
    assert ran.report["cache"]["exports"][0]["status"] == "written"
    assert ran.report["cache"]["lazy"]["exported"] is False
    assert any("is written by BuildKit's session" in warning for warning in ran.report["warnings"])
    assert layout.verify(folder, deep=True) == ()
    assert not any((folder / "ingest").iterdir())

    again = laboratory.tool(*words, context=changed)

    assert again.steps == (STEPS + 1, STEPS + 1, 0)
    assert again.report["cache"]["exports"][0]["status"] == "unchanged"
    assert again.report["cache"]["lazy"]["exported"] is True


def test_a_full_disk_fails_no_build_and_leaves_the_folder_as_it_was(laboratory: Laboratory) -> None:
    folder = laboratory.local_copy()
    key = layout.cache_key(folder)

    ran = laboratory.tool(
        *("--cache", "local", "--cache-dir", str(folder)),
        context=laboratory.changed("RUN date > /date\n"),
        program=("-m", "tests.faults.lazily", FULL),
    )

    assert ran.code == 0, ran.stderr
    export = ran.report["cache"]["exports"][0]
    assert (export["status"], export["detail"].partition(":")[0]) == ("failed", "full")
    assert builds(ran) == 1
    assert layout.cache_key(folder) == key
    assert layout.verify(folder, deep=True) == ()
