"""An engine that is not there yet is waited for."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from buildx_cache.cli.session import POLICY, facts_when_up
from buildx_cache.errors import EngineError
from buildx_cache.plan import Facts, ImageStore
from tests.unit.test_engine_facts import PLACE

FACTS = Facts(docker="28", buildx=(0, 29, 1), store=ImageStore.CONTAINERD, context="default", place=PLACE)


def coming(*codes: str) -> Callable[[], Facts]:
    """An engine that fails with each of these codes, then answers."""
    left = list(codes)

    def ask() -> Facts:
        if left:
            raise EngineError("it is not there", code=left.pop(0), hint="its own")
        return FACTS

    return ask


def test_an_engine_that_comes_late_is_counted_and_told_of_once() -> None:
    said: list[str] = []
    slept: list[float] = []
    facts, retries = facts_when_up(
        coming("docker-down", "docker-tls-absent", "docker-down"), said.append, may_come=True, sleep=slept.append
    )
    assert facts is FACTS
    assert [(each.phase, each.count) for each in retries] == [("engine", 3)]
    assert len(said) == 1
    assert len(slept) == 3


def test_an_engine_that_is_there_is_asked_once() -> None:
    assert facts_when_up(coming(), pytest.fail, may_come=True) == (FACTS, ())


@pytest.mark.parametrize(
    ("code", "may_come", "hint"),
    [("docker-down", False, "the CI's"), ("docker-failed", True, "its own"), ("docker-absent", True, "its own")],
)
def test_nothing_else_is_waited_for(code: str, hint: str, *, may_come: bool) -> None:
    with pytest.raises(EngineError) as refused:
        facts_when_up(
            coming(code), pytest.fail, may_come=may_come, hint="the CI's", sleep=lambda _: pytest.fail("it waits")
        )
    assert (refused.value.code, refused.value.hint) == (code, hint)


def test_the_waiting_ends() -> None:
    slept: list[float] = []
    with pytest.raises(EngineError) as refused:
        facts_when_up(coming(*["docker-down"] * 1000), lambda _: None, may_come=True, sleep=slept.append)
    assert refused.value.code == "docker-down"
    assert refused.value.hint == "its own"
    assert POLICY.total - POLICY.longest - POLICY.first < sum(slept) <= POLICY.total
