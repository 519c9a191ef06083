"""A local cache folder that is damaged: the build goes on, says so, and leaves a sound folder."""

from __future__ import annotations

import uuid

import pytest

from buildx_cache import layout
from tests.faults.cases import LOCAL, LocalFault
from tests.faults.damage import How, Part, damage, paths_of
from tests.faults.example import STEPS
from tests.faults.laboratory import Laboratory, builds, imported
from tests.selection import quick

# Damage to what names the blobs; a flipped byte and an absent blob have tests below.
QUICK = ("index truncated",)


@pytest.mark.parametrize("fault", quick(LOCAL, *QUICK))
def test_a_damaged_folder_fails_no_build_and_is_sound_afterwards(laboratory: Laboratory, fault: LocalFault) -> None:
    folder = laboratory.local_copy()
    named = fault.harm(folder, laboratory.pristine.chain)
    image = f"faults-{uuid.uuid4().hex[:8]}:1"
    words = ("--cache", "local", "--cache-dir", str(folder), *fault.words)

    ran = laboratory.tool(*words, "--tag", image, "--load")

    assert ran.code == 0, ran.stderr
    assert laboratory.says(image) == laboratory.pristine.says
    found = imported(ran, str(folder))
    assert found["status"] == fault.status
    assert found["status"] != "corrupt" or named in found["detail"]
    assert found["status"] == "absent" or any(str(folder) in warning for warning in ran.report["warnings"])
    assert found["status"] != "hit" or ran.steps == (STEPS, STEPS, 0)
    assert ran.report["cache"]["exports"][0]["status"] in ("written", "unchanged")
    assert ran.report["cache"]["local"]["sound"] is True
    assert layout.verify(folder, deep=True) == ()

    again = laboratory.tool(*words)

    assert again.code == 0, again.stderr
    assert again.steps == (STEPS, STEPS, 0)
    assert imported(again, str(folder))["status"] == "hit"
    assert again.report["retries"] == []
    laboratory.docker.docker("image", "rm", "--force", image)


@pytest.mark.parametrize(
    ("part", "lazy", "more"),
    [
        (Part.FIRST, "auto", ""),
        *(
            pytest.param(*case, marks=pytest.mark.soak)
            for case in (
                (Part.BASE, "auto", "RUN true\n"),
                (Part.STAGE, "auto", ""),
                (Part.STAGE, "off", "RUN true\n"),
                (Part.MIDDLE, "auto", "RUN true\n"),
                (Part.LAST, "auto", "RUN true\n"),
                (Part.LAST, "off", ""),
                (Part.STAGE, "off", ""),
            )
        ),
    ],
)
def test_a_flipped_byte_costs_one_build_and_no_part_of_the_cache(
    laboratory: Laboratory, part: Part, lazy: str, more: str
) -> None:
    """After the build that met it, a new builder runs only what was changed since, also where it needs every stage."""
    folder = laboratory.local_copy()
    paths = paths_of(folder, laboratory.pristine.chain)
    damage(paths[part], How.FLIPPED, other=paths[Part.MANIFEST])
    words = ("--cache", "local", "--cache-dir", str(folder), "--lazy", lazy)
    push = ("--tag", f"{laboratory.docker.repository()}:1", "--push")

    met = laboratory.tool(*words, *push, context=laboratory.changed(more))

    assert met.code == 0, met.stderr
    assert imported(met, str(folder))["status"] == "corrupt"
    assert layout.verify(folder, deep=True) == ()
    again = laboratory.tool(*words, context=laboratory.changed(f"{more}COPY --from=maker / /all\n"))
    assert again.code == 0, again.stderr
    assert imported(again, str(folder))["status"] == "hit"
    assert again.steps[2] == 1
    assert again.report["retries"] == []


def test_a_failing_step_is_run_once_although_the_cache_is_damaged(laboratory: Laboratory) -> None:
    folder = laboratory.local_copy()
    fault = next(fault for fault in LOCAL if fault.name == "layer of another stage bit-flipped")
    fault.harm(folder, laboratory.pristine.chain)
    failing = "RUN echo content sha256:$(cat /parts/1 | sha256sum): not found; exit 3\n"

    ran = laboratory.tool("--cache", "local", "--cache-dir", str(folder), context=laboratory.changed(failing))

    assert ran.code == 1
    assert "exit code: 3" in ran.stderr
    assert ran.report["retries"] == []
    assert builds(ran) == 1


def test_a_damaged_folder_fails_a_strict_call(laboratory: Laboratory) -> None:
    folder = laboratory.local_copy()
    fault = next(fault for fault in LOCAL if fault.name == "middle layer absent")
    named = fault.harm(folder, laboratory.pristine.chain)

    ran = laboratory.tool("--cache", "local", "--cache-dir", str(folder), "--strict-cache")

    assert ran.code == 7
    assert named[:12] in ran.stderr
