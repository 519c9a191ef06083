"""A cache's registry that takes what BuildKit asks and never answers: the builder that waits for it is restarted."""

from __future__ import annotations

import uuid

import pytest

from tests.faults.laboratory import Laboratory, builds, imported
from tests.faults.proxy import READ, Kind, Proxy, Rule, Stall
from tests.faults.watched import IMPATIENT


@pytest.mark.soak  # 90 seconds of silence
def test_a_silent_registry_costs_a_restart_of_the_builder_and_nothing_else(
    laboratory: Laboratory, proxy: Proxy
) -> None:
    docker = laboratory.docker
    cached = laboratory.registry_copy()
    reference, image = f"{proxy.address}/{cached}", f"{docker.registry}/{uuid.uuid4().hex[:12]}/image:1"
    silent = Rule(act=Stall(), kinds=frozenset({Kind.TAG}), methods=READ, path=cached.partition(":")[0])
    words = ("--cache", "registry", "--cache-ref", reference, "--tag", image, "--push", *docker.new_builder)
    end = ("--build-arg", f"BASE={docker.base}", str(laboratory.pristine.context))

    with proxy.ruled(silent):
        ran = docker.tool("build", *words, *end, program=IMPATIENT)
        assert proxy.acted

    assert ran.code == 0, ran.stderr
    assert laboratory.says(image) == laboratory.pristine.says
    assert imported(ran, reference)["status"] == "unreachable"
    (export,) = ran.report["cache"]["exports"]
    assert export["status"] == "skipped"
    assert reference in export["detail"]
    assert builds(ran) == 2
    (retry,) = ran.report["retries"]
    assert (retry["phase"], retry["count"]) == ("build", 1)
    assert reference in retry["reason"]
    assert "restarting the builder" in ran.stderr


def test_a_registry_that_never_answers_a_push_ends_the_call_at_its_time_limit(
    laboratory: Laboratory, proxy: Proxy
) -> None:
    image = f"{proxy.address}/{uuid.uuid4().hex[:12]}/image:1"

    with proxy.ruled(Rule(act=Stall(), kinds=frozenset({Kind.UPLOAD}))):
        ran = laboratory.tool("--cache", "none", "--tag", image, "--push", "--timeout", "12s")
        assert proxy.acted

    assert ran.code == 143, ran.stderr
    assert ran.report["status"] == "interrupted"
    assert "error: stopped by --timeout, during: exporting to image [timed-out]\n" in ran.stderr
