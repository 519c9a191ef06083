from __future__ import annotations

import signal
from collections.abc import Callable

import pytest

from buildx_cache.buildkit.classify import classify
from buildx_cache.errors import DeniedError, ExitCode, InterruptedBuildError, UnreachableError
from buildx_cache.plan import Effect
from buildx_cache.run.retry import Retrying, fault
from tests.unit.run.calls import (
    APP,
    BROKEN,
    DIGEST,
    FACTS,
    MADE,
    STOPPED_OWN,
    Ended,
    FakeEngine,
    done,
    planned,
    said,
    vertex,
)

BUSY = "unexpected status from PUT request to http://r.example.com/v2/a: 503 Service Unavailable"
LIMITED = "unexpected status from POST request to http://r.example.com/v2/a: 429 Too Many Requests"


def pushing(error: str) -> tuple[bytes, int]:
    words = f"failed to push {APP}: {error}"
    return MADE + said(vertex("exporting to image", error=words), text=f"ERROR: failed to solve: {words}\n"), 1


@pytest.mark.parametrize(
    "words",
    [
        BUSY,
        LIMITED,
        "toomanyrequests: slow down",
        "500 Internal Server Error",
        "read tcp 10.0.0.1:1->10.0.0.2:2: read: connection reset by peer",
        "dial tcp 10.0.0.1:443: i/o timeout",
        'failed to do request: Head "https://r.example.com/v2/": EOF',
        "Get https://r.example.com/v2/: net/http: request canceled (Client.Timeout exceeded while awaiting headers)",
        "net/http: TLS handshake timeout",
        "lookup r.example.com: temporary failure in name resolution",
    ],
)
def test_what_passes(words: str) -> None:
    assert fault("push", classify(words)) is not None


@pytest.mark.parametrize(
    "words",
    [
        "401 Unauthorized",
        "403 Forbidden",
        "unexpected status from HEAD request: 404 Not Found",
        f"failed to push {APP}: unknown: blob unknown to registry",
        "unauthorized: 503 while asking for a token",
        "tls: failed to verify certificate: x509: certificate signed by unknown authority",
        "http: server gave HTTP response to HTTPS client",
        "no space left on device",
        "odd",
        "",
    ],
)
def test_what_stays(words: str) -> None:
    assert fault("push", classify(words)) is None


def test_a_push_is_tried_again_by_the_same_build() -> None:
    engine = FakeEngine(builds=[pushing(BUSY), pushing(BUSY), (MADE, 0)])
    outcome, display = done(planned(tag=[APP], push=True), engine)
    assert outcome.error is None
    assert outcome.results == (f"{APP}@{DIGEST}",)
    assert len(set(engine.built)) == 1
    assert len(engine.built) == 3
    (retry,) = outcome.report.retries
    assert (retry.phase, retry.count) == ("push", 2)
    assert BUSY in retry.reason
    assert display.restarts == 2
    assert [line for line in display.said if line.startswith("push: ") and "trying again in" in line]
    first, second = engine.slept
    assert 1 <= first <= 2 <= second <= 3


def test_a_push_that_goes_on_failing_ends_the_call() -> None:
    engine = FakeEngine(builds=[pushing(BUSY)], stays=True)
    outcome, _ = done(planned(tag=[APP], push=True), engine)
    assert isinstance(outcome.error, UnreachableError)
    assert outcome.report.exit_code == ExitCode.UNREACHABLE
    assert [(retry.phase, retry.count) for retry in outcome.report.retries] == [("push", 4)]
    assert len(engine.built) == 5


def test_pauses_are_longer_where_requests_are_too_many_and_end() -> None:
    engine = FakeEngine(builds=[pushing(LIMITED)], stays=True)
    outcome, _ = done(planned(tag=[APP], push=True), engine)
    assert isinstance(outcome.error, UnreachableError)
    assert engine.slept[0] >= 4
    assert max(engine.slept) <= 20
    assert sum(engine.slept) <= 60


@pytest.mark.parametrize(
    "build",
    [
        pytest.param((BROKEN, 1), id="step"),
        pytest.param(pushing("unexpected status: 403 Forbidden"), id="denied"),
        pytest.param(pushing("unexpected status: 404 Not Found"), id="absent"),
        pytest.param((said(vertex("[build 1/2] ADD https://a.example.com/b", error=BUSY)), 1), id="download of a step"),
    ],
)
def test_other_failures_are_not_tried_again(build: tuple[bytes, int]) -> None:
    engine = FakeEngine(builds=[build])
    outcome, _ = done(planned(tag=[APP], push=True), engine)
    assert outcome.error is not None
    assert (outcome.report.retries, engine.slept) == ((), [])


def ending(engine: FakeEngine, word: str, ends: list[Ended]) -> Callable[[], int]:
    """Have the commands with this word end like that, one after another; how many are left."""
    perform = engine.perform

    def perform_next(effect: Effect, *, password: bytes = b"") -> Ended:
        ended = perform(effect, password=password)
        return ends.pop(0) if word in effect.argv and ends else ended

    engine.perform = perform_next  # type: ignore[method-assign]
    return lambda: len(ends)


def test_a_login_is_tried_again_with_the_password() -> None:
    engine = FakeEngine()
    left = ending(engine, "login", [Ended(code=1, stderr=f"Error response from daemon: {BUSY}")])
    outcome, _ = done(planned(tag=[APP], push=True, username="me", password_env="P"), engine)  # noqa: S106 -- a name
    assert outcome.error is None
    assert left() == 0
    assert [act for act, _ in engine.acts].count("run <hunter2") == 2
    assert [(retry.phase, retry.count) for retry in outcome.report.retries] == [("login", 1)]


def test_a_refused_login_is_not_tried_again() -> None:
    engine = FakeEngine(ends={"login": Ended(code=1, stderr="401 Unauthorized")})
    outcome, _ = done(planned(tag=[APP], push=True, username="me", password_env="P"), engine)  # noqa: S106 -- a name
    assert isinstance(outcome.error, DeniedError)
    assert engine.order.count("run login") == 1


@pytest.mark.parametrize("facts", [FACTS, STOPPED_OWN], ids=["made", "booted"])
def test_a_builder_that_does_not_boot_is_booted_again_not_made_again(facts: object) -> None:
    plan = planned(facts)  # type: ignore[arg-type]
    engine = FakeEngine()
    word = "create" if plan.builder.create else "inspect"
    ending(engine, word, [Ended(code=1, stderr=f"ERROR: pulling image: {BUSY}")])
    outcome, _ = done(plan, engine)
    assert outcome.error is None
    assert engine.order == [f"run {word}", "run inspect", "build"]
    assert [(retry.phase, retry.count) for retry in outcome.report.retries] == [("builder", 1)]


def test_a_cache_export_is_tried_again_alone() -> None:
    failed = MADE + said(vertex("exporting cache to registry", error=BUSY))
    written = MADE + said(vertex("exporting cache to registry"))
    plan = planned(tag=[APP], push=True, cache="registry")
    engine = FakeEngine(builds=[(failed, 0), (written, 0)])
    outcome, display = done(plan, engine)
    assert outcome.error is None
    assert [each.status for each in outcome.report.cache.exports] == ["written"]
    assert [(retry.phase, retry.count) for retry in outcome.report.retries] == [("export", 1)]
    assert engine.built == [plan.target.build, plan.target.cache_build]
    assert display.warned == []


IMPORTING = f"importing cache manifest from {APP.removesuffix(':1')}:buildcache-main"


def importing(error: str) -> tuple[bytes, int]:
    """A build that goes on without its cache, as far as BuildKit is concerned."""
    return said(vertex(IMPORTING, error=error)) + MADE, 0


def test_a_build_that_would_go_without_a_cache_is_begun_again() -> None:
    engine = FakeEngine(builds=[importing(BUSY), importing(BUSY), importing("")])
    outcome, display = done(planned(tag=[APP], push=True, cache="registry"), engine)
    assert outcome.error is None
    assert [each.status for each in outcome.report.cache.imports] == ["miss"]
    assert [(retry.phase, retry.count) for retry in outcome.report.retries] == [("import", 2)]
    assert (len(engine.built), len(engine.slept), display.restarts) == (3, 2, 2)


def test_githubs_cache_is_asked_again_like_a_registrys() -> None:
    failing = said(vertex("importing cache manifest from gha:117", error=BUSY)) + MADE
    engine = FakeEngine(builds=[(failing, 0), (said(vertex("importing cache manifest from gha:117")) + MADE, 0)])
    outcome, _ = done(planned(cache_from=["type=gha,scope=s"]), engine)
    assert [each.status for each in outcome.report.cache.imports] == ["miss"]
    assert [(retry.phase, retry.count) for retry in outcome.report.retries] == [("import", 1)]


def test_after_some_tries_it_goes_without() -> None:
    engine = FakeEngine(builds=[importing(LIMITED)], stays=True)
    outcome, _ = done(planned(tag=[APP], push=True, cache="registry"), engine)
    assert outcome.error is None
    assert [each.status for each in outcome.report.cache.imports] == ["unreachable"]
    assert [(retry.phase, retry.count) for retry in outcome.report.retries] == [("import", 2)]
    assert len(engine.built) == 3


@pytest.mark.parametrize("error", ["not found", "403 Forbidden", "401 Unauthorized", "context canceled"])
def test_a_cache_that_will_not_be_there_is_not_waited_for(error: str) -> None:
    engine = FakeEngine(builds=[importing(error)])
    outcome, _ = done(planned(tag=[APP], push=True, cache="registry"), engine)
    assert outcome.error is None
    assert (outcome.report.retries, len(engine.built)) == ((), 1)


def test_a_build_that_only_writes_a_cache_goes_on_without_another() -> None:
    failed = MADE + said(vertex("exporting cache to registry", error=BUSY))
    written = said(vertex(IMPORTING, error=BUSY)) + MADE + said(vertex("exporting cache to registry"))
    engine = FakeEngine(builds=[(failed, 0), (written, 0)])
    outcome, _ = done(planned(tag=[APP], push=True, cache="registry"), engine)
    assert outcome.error is None
    assert [each.status for each in outcome.report.cache.exports] == ["written"]
    assert [(retry.phase, retry.count) for retry in outcome.report.retries] == [("export", 1)]


def test_the_steps_are_those_of_the_run_that_did_them() -> None:
    names = ("[build 1/2] FROM scratch", "[build 2/2] RUN make")
    cached = said(*(vertex(name, cached=True) for name in names)) + said(vertex("exporting to image"))
    engine = FakeEngine(builds=[pushing(BUSY), (cached, 0)])
    outcome, _ = done(planned(tag=[APP], push=True), engine)
    assert outcome.error is None
    assert [step.cached for step in outcome.report.steps] == [True, False]
    assert (outcome.report.cache.steps.executed, outcome.report.cache.hit_ratio) == (1, 0.5)
    assert outcome.trace is not None
    assert [(each.kind, each.error) for each in outcome.trace.transfers] == [("image-export", "")]


def test_a_signal_ends_a_pause_at_once() -> None:
    def interrupted(_: float) -> None:
        raise InterruptedBuildError(signal.SIGTERM)

    again: list[str] = []
    retrying = Retrying(interrupted, again.append)
    with pytest.raises(InterruptedBuildError):
        retrying.tried("", lambda: "", lambda _: fault("push", classify(BUSY)))
    assert [retry.count for retry in retrying.reports] == [1]
