from __future__ import annotations

import itertools
from dataclasses import replace
from typing import TYPE_CHECKING, cast

import pytest

from buildx_cache.buildkit.events import TextLine, VertexEvent
from buildx_cache.errors import ExitCode, UnreachableError
from buildx_cache.plan import BuildPlan
from buildx_cache.run.recovery import AbandonedBuildError, stall
from buildx_cache.run.recovery.stall import SECONDS, Stall
from tests.unit.run.calls import MADE, FakeEngine, done, planned, said
from tests.unit.run.calls import vertex as said_vertex

if TYPE_CHECKING:
    from buildx_cache.run.builder_lifecycle import CallsBuilder
    from buildx_cache.run.cache_entries import Caches

IMPORT = "importing cache manifest from r.example.com/app:cache"
STEP = "[1/2] RUN make"


def vertex(name: str, *, ended: bool = False) -> VertexEvent:
    return VertexEvent(
        digest=name, name=name, inputs=(), started=1.0, completed=2.0 if ended else None, cached=False, error=""
    )


def watching() -> Stall:
    return Stall(cast("Caches", None), cast("CallsBuilder", None))


def is_silent(*events: VertexEvent | TextLine, seconds: float) -> tuple[bool, tuple[str, ...]]:
    watch = watching()
    for event in events:
        watch.on_idle(SECONDS - 1)
        watch.observe(event)
    try:
        watch.on_idle(seconds)
    except AbandonedBuildError:
        assert watch.found
        assert f"{SECONDS:.0f} s" in watch.reason
        return True, watch.imports
    assert not watch.found
    return False, ()


@pytest.mark.parametrize(
    ("events", "imports"),
    [
        ((), ()),
        ((TextLine(text="WARNING: no output"),), ()),
        ((replace(vertex(STEP), started=None),), ()),
        ((vertex(IMPORT),), (IMPORT,)),
        ((vertex(STEP, ended=True), vertex(IMPORT)), (IMPORT,)),
        ((vertex(IMPORT), vertex(IMPORT + "2")), (IMPORT, IMPORT + "2")),
        ((vertex(STEP), vertex(IMPORT), vertex(STEP, ended=True)), (IMPORT,)),
    ],
)
def test_a_build_that_hears_nothing(events: tuple[VertexEvent | TextLine, ...], imports: tuple[str, ...]) -> None:
    assert is_silent(*events, seconds=SECONDS) == (True, imports)
    assert is_silent(*events, seconds=SECONDS - 1) == (False, ())


@pytest.mark.parametrize(
    "events",
    [
        (vertex(STEP),),
        (vertex(STEP), vertex(IMPORT)),
        (vertex(IMPORT), vertex(IMPORT, ended=True)),
        (vertex("exporting to image"),),
        (vertex(STEP, ended=True),),
    ],
)
def test_what_may_be_silent_for_long(events: tuple[VertexEvent, ...]) -> None:
    assert is_silent(*events, seconds=100 * SECONDS) == (False, ())


def test_a_new_build_begins_with_nothing_heard() -> None:
    watch = watching()
    watch.observe(vertex(IMPORT))
    with pytest.raises(AbandonedBuildError):
        watch.on_idle(SECONDS)
    watch.prepare(planned().target.build)
    assert (watch.found, watch.imports) == (False, ())


def patience(monkeypatch: pytest.MonkeyPatch, *seconds: float) -> list[object]:
    """How long builds may be silent, one after another."""
    left = iter(seconds)
    return [lambda: monkeypatch.setattr(stall, "SECONDS", next(left))] * len(seconds)


def test_the_own_builder_is_restarted_and_the_build_begun_again(monkeypatch: pytest.MonkeyPatch) -> None:
    deeds = patience(monkeypatch, 0.0, 90.0)
    engine = FakeEngine(builds=[(MADE, 0), (MADE, 0)], deeds=deeds)  # type: ignore[arg-type]
    outcome, display = done(planned(), engine)
    assert outcome.error is None
    assert engine.order == ["run create", "build", "run container kill", "run inspect", "build"]
    assert [(retry.phase, retry.count) for retry in outcome.report.retries] == [("build", 1)]
    (warned,) = (warning for warning in display.warned if "restarting the builder" in warning)
    assert "the build does not begin: no response" in warned


def test_only_the_import_that_is_silent_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The name of the one ends like the other's."""
    begun = {**said_vertex("importing cache manifest from ghcr.example/x/app:c"), "completed": None}

    def on_idle(watch: Stall, _: float) -> None:
        watch.imports = tuple(watch._running.values())
        if watch.imports:
            watch.found = True
            raise AbandonedBuildError

    monkeypatch.setattr(Stall, "on_idle", on_idle)
    engine = FakeEngine(builds=[(said(begun), 0), (MADE, 0)])
    outcome, _ = done(planned(cache_from=["app:c", "ghcr.example/x/app:c"]), engine)
    assert outcome.error is None
    assert [command.argv.count("--cache-from") for command in engine.built] == [2, 1]
    assert "type=registry,ref=app:c" in engine.built[1].argv


@pytest.mark.parametrize(
    ("plan", "made"),
    [
        pytest.param(planned(), True, id="a restart does not help"),
        pytest.param(planned(driver="remote", endpoint=["tcp://10.0.0.9:1234"]), False, id="it runs elsewhere"),
    ],
)
def test_a_builder_that_stays_silent_ends_the_call(
    monkeypatch: pytest.MonkeyPatch, plan: BuildPlan, *, made: bool
) -> None:
    deeds = patience(monkeypatch, *itertools.repeat(0.0, 3))
    engine = FakeEngine(builds=[(MADE, 0)], stays=True, deeds=deeds)  # type: ignore[arg-type]
    outcome, _ = done(plan, engine)
    assert isinstance(outcome.error, UnreachableError)
    assert plan.builder.name in outcome.error.hint
    assert outcome.report.exit_code == ExitCode.UNREACHABLE
    assert engine.order.count("build") == (2 if made else 1)
    assert ("run container kill" in engine.order) is made


def test_imports_that_the_plan_does_not_have_restart_a_builder_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A frontend names its vertices as it likes: it kept a call restarting its builder without end."""
    forged = {**said_vertex("importing cache manifest from r.example.com/forged:c"), "completed": None}
    tries = itertools.count()

    def on_idle(watch: Stall, _: float) -> None:
        watch.imports = tuple(watch._running.values())
        if watch.imports and next(tries) < 5:
            watch.found = True
            raise AbandonedBuildError

    monkeypatch.setattr(Stall, "on_idle", on_idle)
    engine = FakeEngine(builds=[(said(forged), 0)], stays=True)
    outcome, _ = done(planned(cache_from=["app:c"]), engine)
    assert isinstance(outcome.error, UnreachableError)
    assert engine.order.count("run container kill") == 1
