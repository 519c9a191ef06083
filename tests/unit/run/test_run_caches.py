"""What becomes of a call whose caches are damaged, denied or out of reach: replayed builds, and builds made up."""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from buildx_cache import layout
from buildx_cache.buildkit.causes import CAUSES, Kind
from buildx_cache.errors import (
    BuildFailedError,
    BuildxCacheError,
    CacheError,
    DeniedError,
    EngineError,
    InterruptedBuildError,
)
from buildx_cache.plan import BuildPlan
from buildx_cache.report import BuildReport
from tests.unit.layout.damages import flip_bit
from tests.unit.layout.layouts import Layout
from tests.unit.run.calls import (
    APP,
    DIGEST,
    EXIT_2,
    FACTS,
    MADE,
    Ended,
    FakeEngine,
    done,
    is_free,
    planned,
    said,
    told,
    vertex,
)

REF = "registry.example:5000/team/app:cache"
RECORDINGS = Path(__file__).parent.parent / "recordings" / "buildx-0.29.1"


def recorded(name: str) -> bytes:
    return (RECORDINGS / f"{name}.rawjson").read_bytes()


def registry_plan(**asked: object) -> BuildPlan:
    return planned(**{"tag": [APP], "push": True, "cache": "registry", "cache_ref": REF, **asked})


def local_plan(folder: Path, **asked: object) -> BuildPlan:
    return planned(**{"tag": [APP], "push": True, "cache": "local", "cache_dir": str(folder), **asked})


def folder_of(place: Path) -> Layout:
    """A sound cache of three layers, tagged ``latest``."""
    layout = Layout(place)
    layout.tag("latest", layout.cache([b"one", b"two", b"three"]))
    layout.write_index()
    return layout


def imports_of(report: BuildReport) -> list[tuple[str, str]]:
    return [(each.source, each.status) for each in report.cache.imports]


def exports_of(report: BuildReport) -> list[tuple[str, str]]:
    return [(each.target, each.status) for each in report.cache.exports]


def sources(engine: FakeEngine) -> list[int]:
    """How many caches each build imports."""
    return [command.argv.count("--cache-from") for command in engine.built]


def targets(engine: FakeEngine) -> list[int]:
    return [command.argv.count("--cache-to") for command in engine.built]


# --- what builds say ---------------------------------------------------------------------------------------

FROM_REGISTRY = vertex(f"importing cache manifest from {REF}")
FROM_LOCAL = vertex("importing cache manifest from local:117")
CACHED = said(vertex("[build 1/2] FROM scratch", cached=True), vertex("[build 2/2] RUN make", cached=True))
TO_REGISTRY = said(vertex("exporting cache to registry"))
TO_LOCAL = said(vertex("exporting cache to client directory"))
LOST = (
    "failed to copy: httpReadSeeker: failed open: could not fetch content descriptor "
    f"sha256:{'a1' * 32} (application/vnd.oci.image.layer.v1.tar+gzip) from remote: not found"
)
FORBIDDEN = (
    "failed to copy: httpReadSeeker: failed open: unexpected status from GET request to "
    f"http://registry.example:5000/v2/team/app/blobs/sha256:{'a1' * 32}: 403 Forbidden\ndenied"
)
CUT = "short read: expected 41827 bytes but got 20913: unexpected EOF"


def failed(error: str, *, where: str = "exporting to image", imported: Mapping[str, object] = FROM_REGISTRY) -> bytes:
    """A build that took an import's word and failed over it."""
    return said(imported, vertex(where, error=error), text=f"ERROR: failed to build: failed to solve: {error}\n")


# --- recorded builds ---------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Replay:
    """A recorded build, its exit code, and what is to come of the call; a second build succeeds."""

    name: str
    code: int
    plan: Callable[[Path], BuildPlan]
    builds: int
    imported: str
    exported: str
    detail: str = ""
    error: type[BuildxCacheError] | None = None


def at_registry(folder: Path) -> BuildPlan:
    del folder
    return registry_plan()


REPLAYS = (
    Replay(name="registry-layer-lost", code=1, plan=at_registry, builds=2, imported="corrupt", exported="written"),
    Replay(name="registry-layer-denied", code=1, plan=at_registry, builds=2, imported="denied", exported="written"),
    Replay(
        name="registry-stage-layer-lost", code=0, plan=at_registry, builds=2, imported="corrupt", exported="written"
    ),
    Replay(
        name="registry-export-denied",
        code=0,
        plan=at_registry,
        builds=1,
        imported="absent",
        exported="failed",
        detail="denied: error writing layer blob",
    ),
    Replay(name="local-layer-lost", code=1, plan=local_plan, builds=2, imported="corrupt", exported="unchanged"),
    Replay(name="local-stage-layer-lost", code=0, plan=local_plan, builds=2, imported="corrupt", exported="unchanged"),
    Replay(
        name="local-disk-full",
        code=0,
        plan=local_plan,
        builds=1,
        imported="skipped",
        exported="failed",
        detail="full: error writing layer blob",
    ),
    Replay(
        name="base-layer-lost",
        code=1,
        plan=at_registry,
        builds=1,
        imported="skipped",
        exported="skipped",
        error=BuildFailedError,
    ),
    Replay(
        name="push-denied",
        code=1,
        plan=at_registry,
        builds=1,
        imported="skipped",
        exported="skipped",
        error=DeniedError,
    ),
    Replay(
        name="run-says-not-found",
        code=1,
        plan=at_registry,
        builds=1,
        imported="skipped",
        exported="skipped",
        error=BuildFailedError,
    ),
    Replay(name="cache-import-error", code=0, plan=at_registry, builds=1, imported="skipped", exported="skipped"),
)


@pytest.mark.parametrize("case", REPLAYS, ids=[case.name for case in REPLAYS])
def test_a_recorded_build(case: Replay, tmp_path: Path) -> None:
    folder_of(tmp_path / "cache")
    engine = FakeEngine(builds=[(recorded(case.name), case.code), (MADE + TO_REGISTRY + TO_LOCAL, 0)])
    outcome, _ = done(case.plan(tmp_path / "cache"), engine)
    assert len(engine.built) == case.builds
    (imported,), (exported,) = outcome.report.cache.imports, outcome.report.cache.exports
    assert (imported.status, exported.status) == (case.imported, case.exported)
    assert exported.detail.startswith(case.detail)
    assert (type(outcome.error) if outcome.error else None) == case.error
    assert outcome.results == (() if case.error else (f"{APP}@{DIGEST}",))


GITHUB = ["type=gha,scope=s"]


@pytest.mark.parametrize(
    ("name", "imported", "exported"),
    [
        ("gha-refused", "unreachable", "failed"),
        ("gha-denied", "denied", "failed"),
        ("gha-written", "hit", "written"),
    ],
)
def test_a_recorded_build_with_githubs_cache(name: str, imported: str, exported: str) -> None:
    engine = FakeEngine(builds=[(recorded(name), 0)], stays=True)
    outcome, display = done(planned(cache_from=GITHUB, cache_to=GITHUB), engine)
    assert outcome.error is None
    assert imports_of(outcome.report) == [("gha:s", imported)]
    assert exports_of(outcome.report) == [("gha:s", exported)]
    assert any("could not be written to gha:s" in warning for warning in display.warned) == (exported == "failed")


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize(
    ("error", "status"),
    [
        ("unexpected status from HEAD request to http://r/v2/a/manifests/c: 403 Forbidden", "denied"),
        ("unexpected status from HEAD request to http://r/v2/a/manifests/c: 503 Service Unavailable", "unreachable"),
        ("invalid character 'x' looking for beginning of value", "corrupt"),
        ("unknown cache importer: registry", "skipped"),
    ],
)
def test_an_import_that_is_not_read_is_told_once_with_its_cause(error: str, status: str, strict: bool) -> None:  # noqa: FBT001 -- a table
    stream = MADE + said(vertex(f"importing cache manifest from {REF}", error=error)) + TO_REGISTRY
    outcome, display = done(registry_plan(strict_cache=strict), FakeEngine(builds=[(stream, 0)], stays=True))
    assert imports_of(outcome.report) == [(REF, status)]
    assert isinstance(outcome.error, CacheError) == strict
    told_of = [text for text in (*display.warned, *([outcome.error.message] if outcome.error else [])) if REF in text]
    assert len(told_of) == 1
    assert told_of[0].startswith(f"the cache {REF} is {status}: {error}")


@pytest.mark.parametrize(
    ("entry", "variables", "missing"),
    [
        ("type=gha,scope=s", (), "ACTIONS_RUNTIME_TOKEN, ACTIONS_RESULTS_URL or ACTIONS_CACHE_URL"),
        ("type=gha,scope=s", ("ACTIONS_RUNTIME_TOKEN",), "ACTIONS_RESULTS_URL or ACTIONS_CACHE_URL"),
        ("type=gha,scope=s", ("ACTIONS_CACHE_URL",), "ACTIONS_RUNTIME_TOKEN"),
        ("type=gha,scope=s,token=x", (), "ACTIONS_RESULTS_URL or ACTIONS_CACHE_URL"),
        ("type=gha,scope=s,url_v2=https://x", (), "ACTIONS_RUNTIME_TOKEN"),
        ("type=gha,scope=s,url=https://x,token=x", (), ""),
        ("type=gha,scope=s", ("ACTIONS_RUNTIME_TOKEN", "ACTIONS_RESULTS_URL"), ""),
        ("type=s3,bucket=b,region=r", (), ""),
    ],
)
def test_a_cache_without_its_variables_is_left_out_and_the_variables_are_named(
    entry: str, variables: tuple[str, ...], missing: str
) -> None:
    facts = replace(FACTS, variables=frozenset(variables))
    asked: dict[str, object] = {"cache": "none", "cache_from": [entry], "cache_to": [entry]}
    plan = planned(facts, **asked)
    assert bool(plan.target.build.imports) == bool(plan.target.build.exports) == (not missing)
    notes = [note for note in plan.notes if "ACTIONS" in note]
    assert [missing in note for note in notes] == [True] * bool(missing)
    outcome, display = done(plan, FakeEngine(builds=[(MADE, 0)]))
    told_of = [warning for warning in display.warned if "ACTIONS" in warning]
    cache = outcome.report.cache
    reports = [(str(each.status), missing in each.detail) for each in cache.imports]
    reports += [(str(each.status), missing in each.detail) for each in cache.exports]
    if missing:
        assert told_of == notes
        assert reports == [("skipped", True)] * 2
        with pytest.raises(CacheError) as refused:
            planned(facts, **asked, strict_cache=True)
        assert (refused.value.code, refused.value.exit_code) == ("cache-variables-missing", 7)


@pytest.mark.parametrize("strict", [False, True])
def test_an_export_that_buildx_leaves_out_is_told(strict: bool) -> None:  # noqa: FBT001 -- a table
    outcome, display = done(planned(cache_to=GITHUB, strict_cache=strict), FakeEngine(builds=[(MADE, 0)]))
    assert exports_of(outcome.report) == [("gha:s", "skipped")]
    assert isinstance(outcome.error, CacheError) == strict
    assert any("ACTIONS_RUNTIME_TOKEN" in warning for warning in display.warned) != strict


# --- exports that BuildKit cannot begin: the words are a real engine's ---------------------------------------

UNBEGUN = {
    "s3": ("type=s3,bucket=b", 'unknown cache exporter: "s3"'),
    "azblob": ("type=azblob,account_url=https://a.example", 'unknown cache exporter: "azblob"'),
    "gha": ("type=gha,token=x,url=y", "failed to configure gha cache exporter: token is malformed"),
}


@pytest.mark.parametrize("kind", list(UNBEGUN))
def test_an_export_that_cannot_begin_is_left_out(kind: str, tmp_path: Path) -> None:
    text, error = UNBEGUN[kind]
    engine = FakeEngine(
        builds=[(f"ERROR: failed to build: failed to solve: {error}\n".encode(), 1), (MADE + TO_LOCAL, 0)]
    )
    outcome, display = done(local_plan(folder_of(tmp_path / "cache").folder, cache_to=[text]), engine)
    assert outcome.error is None
    assert targets(engine) == [2, 1]
    assert {status for target, status in exports_of(outcome.report) if target != str(tmp_path / "cache")} == {"failed"}
    assert any(error in warning for warning in display.warned)


def test_an_export_that_cannot_begin_fails_a_strict_call() -> None:
    text, error = UNBEGUN["s3"]
    engine = FakeEngine(builds=[(f"ERROR: failed to build: failed to solve: {error}\n".encode(), 1)])
    outcome, _ = done(planned(cache_to=[text], strict_cache=True), engine)
    assert isinstance(outcome.error, CacheError)


def test_of_two_exports_to_registries_the_denied_one_is_told() -> None:
    """Both have one name: the address in the error says which of them it is."""
    other = "registry.example:5000/team/other:cache"
    url = "http://registry.example:5000/v2/team/other/blobs/uploads/"
    error = f"error writing layer blob: unexpected status from POST request to {url}: 403 Forbidden"
    denied = {**vertex("exporting cache to registry", error=error), "digest": "sha256:2"}
    engine = FakeEngine(builds=[(MADE + TO_REGISTRY + said(denied), 0)])
    outcome, display = done(registry_plan(cache_to=[f"type=registry,ref={other}"]), engine)
    assert exports_of(outcome.report) == [(REF, "written"), (other, "failed")]
    assert not any(f"written to {REF}" in warning for warning in display.warned)


# --- a build that failed over an import --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "status"),
    [(LOST, "corrupt"), (FORBIDDEN, "denied"), (CUT, "corrupt")],
    ids=["lost", "denied", "cut"],
)
def test_a_build_that_failed_over_an_import_is_run_once_more_without_it(error: str, status: str) -> None:
    engine = FakeEngine(builds=[(failed(error), 1), (MADE + TO_REGISTRY, 0)])
    outcome, display = done(registry_plan(), engine)
    assert outcome.error is None
    assert (sources(engine), targets(engine)) == ([1, 0], [1, 1])
    assert imports_of(outcome.report) == [(REF, status)]
    assert exports_of(outcome.report) == [(REF, "written")]
    (line,) = [" ".join(error.split())]
    assert outcome.report.cache.imports[0].detail == line
    assert display.warned == [f"the cache {REF} is {status}: {line}; building again without it"]
    assert display.restarts == 1
    assert [(each.phase, each.reason, each.count) for each in outcome.report.retries] == [("build", error, 1)]
    assert outcome.results == (f"{APP}@{DIGEST}",)


def test_an_error_that_no_vertex_has_is_noticed_too() -> None:
    """BuildKit may end before it tells of the vertex that failed."""
    broken = failed("context canceled", where="[build 2/2] RUN make").replace(
        b"failed to solve: context canceled", f"failed to solve: {LOST}".encode()
    )
    engine = FakeEngine(builds=[(broken, 1), (MADE + TO_REGISTRY, 0)])
    outcome, _ = done(registry_plan(), engine)
    assert (outcome.error, sources(engine)) == (None, [1, 0])


def test_an_error_that_another_vertex_had_before_is_noticed_too() -> None:
    """One step got over the layer, and the next failed over it: BuildKit tells of that only in its last line."""
    step = "[build 1/2] RUN prepare"
    before = said({**vertex(step, error=CUT), "cached": True}, vertex(step))
    broken = failed("context canceled", where="[build 2/2] RUN make").replace(
        b"failed to solve: context canceled", f"failed to solve: failed to compute cache key: {CUT}".encode()
    )
    engine = FakeEngine(builds=[(before + broken, 1), (MADE + TO_REGISTRY, 0)])
    outcome, _ = done(registry_plan(), engine)
    assert (outcome.error, sources(engine)) == (None, [1, 0])


@pytest.mark.parametrize(
    "where",
    ["exporting to image", "exporting to oci image format", "[build 2/2] RUN make"],
    ids=["push", "load", "step"],
)
def test_wherever_the_import_is_noticed(where: str) -> None:
    engine = FakeEngine(builds=[(failed(LOST, where=where), 1), (MADE + TO_REGISTRY, 0)])
    outcome, _ = done(registry_plan(), engine)
    assert (outcome.error, sources(engine)) == (None, [1, 0])


def test_only_the_import_at_fault_is_left_out() -> None:
    other = "registry.example:5000/team/other:cache"
    stream = said(vertex(f"importing cache manifest from {other}")) + failed(FORBIDDEN)
    engine = FakeEngine(builds=[(stream, 1), (CACHED + said(vertex(f"importing cache manifest from {other}")), 0)])
    outcome, _ = done(registry_plan(cache_from=[other]), engine)
    assert imports_of(outcome.report) == [(REF, "denied"), (other, "hit")]
    assert engine.built[1].argv.count(f"type=registry,ref={other}") == 1


def test_two_imports_at_fault_one_after_the_other_take_two_more_builds() -> None:
    other = "registry.example:5000/team/other:cache"
    second = FORBIDDEN.replace("team/app", "team/other")
    from_other = vertex(f"importing cache manifest from {other}")
    builds = [(said(from_other) + failed(FORBIDDEN), 1), (failed(second, imported=from_other), 1), (MADE, 0)]
    engine = FakeEngine(builds=builds)
    outcome, _ = done(registry_plan(cache_from=[other]), engine)
    assert outcome.error is None
    assert sources(engine) == [2, 1, 0]
    assert imports_of(outcome.report) == [(REF, "denied"), (other, "denied")]


def test_a_build_that_fails_again_with_the_same_words_was_not_the_caches_and_is_not_repeated() -> None:
    engine = FakeEngine(builds=[(failed(LOST), 1), (failed(LOST), 1)])
    outcome, _ = done(registry_plan(), engine)
    assert isinstance(outcome.error, BuildFailedError)
    assert sources(engine) == [1, 0]
    assert exports_of(outcome.report) == [(REF, "skipped")]


@pytest.mark.parametrize(
    "imported",
    [
        vertex(f"importing cache manifest from {REF}", error=f"{REF}: not found"),
        vertex("importing cache manifest from registry.example:5000/team/other:cache"),
    ],
    ids=["absent", "not-asked"],
)
def test_an_import_that_buildkit_did_not_take_is_at_no_fault(imported: Mapping[str, object]) -> None:
    engine = FakeEngine(builds=[(failed(LOST, imported=imported), 1)])
    outcome, _ = done(registry_plan(), engine)
    assert isinstance(outcome.error, BuildFailedError)
    assert len(engine.built) == 1


@pytest.mark.parametrize(
    "error",
    [
        EXIT_2,
        f'process "/bin/sh -c echo {CUT}" did not complete successfully: exit code: 1',
        'process "/bin/sh -c mkdir /app && make" did not complete successfully: exit code: 2',
        'process "/bin/sh -c echo could not read index.json" did not complete successfully: exit code: 2',
        'failed to calculate checksum of ref a::b: "/nothing": not found',
        "dockerfile parse error on line 1: unknown instruction: SHEL",
    ],
    ids=["run", "run-with-such-words", "run-of-mkdir", "run-with-an-index", "copy", "syntax"],
)
@pytest.mark.parametrize("cache", ["registry", "local"])
def test_a_failure_of_the_dockerfiles_is_never_retried(error: str, cache: str, tmp_path: Path) -> None:
    folder_of(tmp_path)
    plan = registry_plan() if cache == "registry" else local_plan(tmp_path)
    imported = FROM_REGISTRY if cache == "registry" else FROM_LOCAL
    engine = FakeEngine(builds=[(failed(error, where="[build 2/2] RUN make", imported=imported), 1)])
    outcome, display = done(plan, engine)
    assert isinstance(outcome.error, BuildFailedError)
    assert len(engine.built) == 1
    assert (outcome.report.retries, display.warned) == ((), [])


def test_a_failure_beside_a_lost_layer_is_the_one_that_counts() -> None:
    lost = said(FROM_REGISTRY, vertex("[build 1/2] FROM scratch", error=LOST, cached=True))
    stream = lost + said(vertex("[build 2/2] RUN make", error=EXIT_2), text=f"ERROR: failed to solve: {EXIT_2}\n")
    outcome, _ = done(registry_plan(), engine := FakeEngine(builds=[(stream, 1)]))
    assert isinstance(outcome.error, BuildFailedError)
    assert len(engine.built) == 1


def test_a_lost_base_image_is_no_caches() -> None:
    engine = FakeEngine(builds=[(failed(LOST, where="[internal] load metadata for registry.example:5000/base:1"), 1)])
    done(registry_plan(), engine)
    assert len(engine.built) == 1


def test_a_step_that_names_a_lookup_is_none() -> None:
    command = "[build 2/2] RUN echo load metadata for registry.example:5000/base:1"
    outcome, _ = done(registry_plan(), engine := FakeEngine(builds=[(failed(LOST, where=command), 1), (MADE, 0)]))
    assert (outcome.error, sources(engine)) == (None, [1, 0])


def test_a_strict_call_fails_over_an_import() -> None:
    engine = FakeEngine(builds=[(failed(LOST), 1)])
    outcome, _ = done(registry_plan(strict_cache=True), engine)
    assert told(outcome.error) == (
        CacheError,
        f"the cache {REF} fails: {LOST}",
        "`buildx-cache cache verify` shows more; drop --strict-cache to go on without",
    )
    assert (len(engine.built), outcome.report.exit_code) == (1, 7)


def test_nothing_secret_is_told_of_an_import() -> None:
    error = FORBIDDEN.replace("http://", "http://me:abc123@").replace("registry.example:5000/v2", "registry.example/v2")
    engine = FakeEngine(builds=[(failed(f"{LOST} {error}"), 1), (MADE, 0)])
    outcome, display = done(registry_plan(), engine)
    assert "abc123" not in repr((outcome.report, display.warned))


# --- a build that succeeded although an import is damaged --------------------------------------------------


def test_a_step_that_ran_after_all_tells_on_its_import() -> None:
    ran = said(
        FROM_REGISTRY, {**vertex("[build 2/2] RUN make", error=CUT), "cached": True}, vertex("[build 2/2] RUN make")
    )
    outcome, display = done(registry_plan(), engine := FakeEngine(builds=[(ran + TO_REGISTRY, 0)]))
    assert outcome.error is None
    assert len(engine.built) == 1
    assert imports_of(outcome.report) == [(REF, "corrupt")]
    assert display.warned == [f"the cache {REF} is corrupt: {CUT}; what it lacks is built again"]


def test_an_importers_own_error_is_held_against_no_other_import() -> None:
    other = "registry.example:5000/team/other:cache"
    lost = LOST.replace("oci.image.layer.v1.tar+gzip", "buildkit.cacheconfig.v0")
    stream = said(
        vertex(f"importing cache manifest from {REF}", error=lost), vertex(f"importing cache manifest from {other}")
    )
    outcome, display = done(registry_plan(cache_from=[other]), FakeEngine(builds=[(CACHED + stream + TO_REGISTRY, 0)]))
    assert imports_of(outcome.report) == [(REF, "corrupt"), (other, "hit")]
    (warning,) = display.warned
    assert warning.startswith(f"the cache {REF} is corrupt: {lost}")


def test_an_export_that_failed_over_an_import_is_written_again() -> None:
    stream = said(FROM_REGISTRY, vertex("exporting cache to registry", error=f"error writing layer blob: {LOST}"))
    engine = FakeEngine(builds=[(CACHED + stream, 0), (TO_REGISTRY, 0)])
    plan = registry_plan()
    outcome, display = done(plan, engine)
    assert outcome.error is None
    assert plan.target.cache_build is not None
    assert engine.built[1] == plan.target.cache_build.without(imports=plan.cache.imports)
    assert exports_of(outcome.report) == [(REF, "written")]
    assert [(each.phase, each.count) for each in outcome.report.retries] == [("export", 1)]
    assert display.warned == [
        f"the cache {REF} is corrupt: error writing layer blob: {LOST}; what it lacks is built again"
    ]
    assert outcome.report.cache.steps.cached == 2


@pytest.mark.parametrize(
    "again", [(b"ERROR: it broke\n", 1), (said(vertex("exporting cache to registry", error="it broke")), 0)]
)
def test_an_export_that_fails_again_only_warns(again: tuple[bytes, int]) -> None:
    stream = said(FROM_REGISTRY, vertex("exporting cache to registry", error=f"error writing layer blob: {LOST}"))
    engine = FakeEngine(builds=[(stream, 0), again])
    outcome, display = done(registry_plan(), engine)
    assert outcome.error is None
    assert [(each.status, each.detail) for each in outcome.report.cache.exports] == [("failed", "other: it broke")]
    assert display.warned[1:] == [
        f"the cache could not be written to {REF}: other: it broke; the next build tries again"
    ]
    assert len(engine.built) == 2


def test_an_export_that_failed_for_itself_is_not_written_again() -> None:
    denied = (
        "error writing layer blob: unexpected status from POST request to http://r/v2/a/blobs/uploads/: 403 Forbidden"
    )
    engine = FakeEngine(builds=[(said(FROM_REGISTRY, vertex("exporting cache to registry", error=denied)), 0)])
    outcome, _ = done(registry_plan(), engine)
    assert len(engine.built) == 1
    assert imports_of(outcome.report) == [(REF, "miss")]


def test_a_strict_call_fails_over_an_import_that_the_build_got_over() -> None:
    ran = said(
        FROM_REGISTRY, {**vertex("[build 2/2] RUN make", error=CUT), "cached": True}, vertex("[build 2/2] RUN make")
    )
    outcome, _ = done(registry_plan(strict_cache=True), FakeEngine(builds=[(ran + TO_REGISTRY, 0)]))
    assert told(outcome.error)[:2] == (CacheError, f"the cache {REF} fails: {CUT}")


@pytest.mark.parametrize(
    ("error", "status"),
    [
        ("unexpected status from HEAD request to http://r/v2/a/manifests/c: 403 Forbidden", "denied"),
        ("unexpected end of JSON input", "corrupt"),
    ],
)
def test_a_strict_call_fails_over_an_import_that_buildkit_could_not_read(error: str, status: str) -> None:
    stream = said(vertex(f"importing cache manifest from {REF}", error=error))
    outcome, _ = done(registry_plan(strict_cache=True), FakeEngine(builds=[(MADE + stream + TO_REGISTRY, 0)]))
    assert told(outcome.error)[:2] == (CacheError, f"the cache {REF} is {status}: {error}")
    assert (outcome.report.status, outcome.report.images["default"].pushed) == ("failed", True), (
        "the image is there all the same"
    )
    outcome, _ = done(registry_plan(), FakeEngine(builds=[(MADE + stream + TO_REGISTRY, 0)]))
    assert (outcome.error, imports_of(outcome.report)) == (None, [(REF, status)])


def test_a_strict_call_does_without_an_absent_import() -> None:
    stream = said(vertex(f"importing cache manifest from {REF}", error=f"{REF}: not found"))
    outcome, _ = done(registry_plan(strict_cache=True), FakeEngine(builds=[(MADE + stream + TO_REGISTRY, 0)]))
    assert (outcome.error, imports_of(outcome.report)) == (None, [(REF, "absent")])


# --- failed exports ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "cause", "hint"),
    [
        ("x: 401 Unauthorized", "denied", "log in with"),
        ("x: 403 Forbidden\ndenied", "denied", "check the repository's name"),
        ("x: 429 Too Many Requests", "unreachable", "log in to raise"),
        ("x: connection refused", "unreachable", "check the address"),
        ("write /c: no space left on device", "full", "free disk space"),
        ("mkdir /c: read-only file system", "other", "the next build tries again"),
    ],
)
def test_a_failed_export_fails_no_build(error: str, cause: str, hint: str) -> None:
    outcome, display = done(
        registry_plan(),
        FakeEngine(builds=[(MADE + said(vertex("exporting cache to registry", error=error)), 0)], stays=True),
    )
    assert outcome.error is None
    assert outcome.results == (f"{APP}@{DIGEST}",)
    (warning,) = display.warned
    assert warning.startswith(f"the cache could not be written to {REF}: {cause}: {error}; {hint}")
    assert [(each.status, each.detail) for each in outcome.report.cache.exports] == [("failed", f"{cause}: {error}")]


@pytest.mark.parametrize(
    "error",
    [
        "x: 404 Not Found\nunknown: blob unknown to registry",
        "x: 400 Bad Request\nmanifest invalid",
        "x: 405 Method Not Allowed\nunsupported",
    ],
)
def test_a_refused_export_promises_nothing_of_the_next_build(error: str) -> None:
    stream = MADE + said(vertex("exporting cache to registry", error=error))
    _, display = done(registry_plan(), FakeEngine(builds=[(stream, 0)]))
    assert display.warned == [f"the cache could not be written to {REF}: refused: {error}"]


def test_a_failed_export_fails_a_strict_call() -> None:
    stream = MADE + said(vertex("exporting cache to registry", error="x: 403 Forbidden"))
    outcome, _ = done(registry_plan(strict_cache=True), FakeEngine(builds=[(stream, 0)]))
    assert told(outcome.error)[:2] == (CacheError, f"the cache could not be written to {REF}: denied: x: 403 Forbidden")


def test_an_import_that_took_long_is_warned_about() -> None:
    slow = said(
        vertex(f"importing cache manifest from {REF}", seconds=7.25), vertex("exporting cache to registry", seconds=9)
    )
    _, display = done(registry_plan(), FakeEngine(builds=[(CACHED + slow, 0)]))
    assert display.warned == [f"importing cache manifest from {REF} took 7.2s"]


# --- what Buildx itself cannot do with a folder ------------------------------------------------------------


def test_an_index_that_stays_locked_costs_the_export_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("buildx_cache.layout.index._INDEX_SECONDS", 0.0)
    folder = folder_of(tmp_path)
    with (folder.folder / "index.json.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        engine = FakeEngine(builds=[(MADE + TO_LOCAL, 0)])
        outcome, display = done(local_plan(tmp_path), engine)
    assert (outcome.error, targets(engine)) == (None, [1])
    assert [each.status for each in outcome.report.cache.exports] == ["failed"]
    assert display.warned[0].endswith(CAUSES[Kind.INDEX_LOCKED].advice)


@pytest.mark.parametrize(
    "line", ["could not write {}/index.json: no space left on device", "mkdir {}: not a directory"]
)
def test_of_two_folders_the_one_that_an_error_names_is_not_written(line: str, tmp_path: Path) -> None:
    """The name of the one begins like the other's."""
    own, other = folder_of(tmp_path / "cache").folder, folder_of(tmp_path / "cache-2").folder
    plan = local_plan(own, cache_to=[f"type=local,dest={other}"])
    error = f"ERROR: failed to build: {line.format(other)}\n".encode()
    engine = FakeEngine(builds=[(MADE + error, 1), (MADE + TO_LOCAL, 0)])
    outcome, _ = done(plan, engine)
    assert (outcome.error, targets(engine)) == (None, [2, 1])
    assert [target for target, status in exports_of(outcome.report) if status == "failed"] == [str(other)]


@pytest.mark.parametrize(
    "line",
    [
        "failed to build: mkdir /c: not a directory",
        "mkdir /c: read-only file system",
        "failed to build: could not lock /c/index.json.lock: open /c/index.json.lock: read-only file system",
        'failed to build: could not unmarshal /c/index.json ("{…"): invalid character',
        "failed to build: could not write /c/index.json: no space left on device",
    ],
)
def test_a_folder_that_buildx_cannot_write_costs_the_export_only(line: str, tmp_path: Path) -> None:
    folder_of(tmp_path)
    engine = FakeEngine(builds=[(MADE + f"ERROR: {line}\n".encode(), 1), (MADE, 0)])
    outcome, display = done(local_plan(tmp_path), engine)
    assert (outcome.error, targets(engine)) == (None, [1, 0])
    assert outcome.report.cache.exports[0].status == "failed"
    assert len(display.warned) == 1


def test_a_folder_whose_tag_went_after_it_was_looked_at_costs_the_import_only(tmp_path: Path) -> None:
    folder_of(tmp_path)
    engine = FakeEngine(builds=[(recorded("local-without-the-tag"), 1), (MADE + TO_LOCAL, 0)])
    outcome, _ = done(local_plan(tmp_path), engine)
    assert (outcome.error, sources(engine), targets(engine)) == (None, [1, 0], [1, 1])


def test_a_strict_call_fails_over_a_folder_that_buildx_cannot_write(tmp_path: Path) -> None:
    folder_of(tmp_path)
    engine = FakeEngine(builds=[(MADE + b"ERROR: failed to build: mkdir /c: not a directory\n", 1)])
    outcome, _ = done(local_plan(tmp_path, strict_cache=True), engine)
    assert told(outcome.error)[:2] == (
        CacheError,
        "the cache could not be written: failed to build: mkdir /c: not a directory",
    )
    assert len(engine.built) == 1


def test_a_folder_that_buildx_cannot_write_costs_no_other_one(tmp_path: Path) -> None:
    folder_of(tmp_path / "good")
    bad = tmp_path / "bad"
    line = f"ERROR: failed to build: mkdir {bad}: read-only file system\n"
    engine = FakeEngine(builds=[(MADE + line.encode(), 1), (MADE + TO_LOCAL, 0)])
    outcome, _ = done(local_plan(tmp_path / "good", cache_to=[f"type=local,dest={bad}"]), engine)
    assert (outcome.error, targets(engine)) == (None, [2, 1])
    assert {each.target: each.status for each in outcome.report.cache.exports}[str(bad)] == "failed"
    assert [each.status for each in outcome.report.cache.exports].count("failed") == 1


def test_a_call_without_a_local_cache_is_not_retried_over_a_folder() -> None:
    engine = FakeEngine(builds=[(MADE + b"ERROR: failed to build: mkdir /c: not a directory\n", 1)])
    outcome, _ = done(registry_plan(), engine)
    assert outcome.error is not None
    assert len(engine.built) == 1


# --- local folders whose layers have changed ---------------------------------------------------------------


def changed(layout: Layout, content: bytes) -> str:
    """Change a layer without a trace in the listing; its digest."""
    digest = str(layout.put(content)["digest"])
    flip_bit(layout.path(digest))
    return digest


def test_a_layer_that_changed_in_the_folder_is_set_aside_before_the_second_build(tmp_path: Path) -> None:
    layout = folder_of(tmp_path / "cache")
    digest = changed(layout, b"two")
    there: list[bool] = []
    engine = FakeEngine(
        builds=[
            (failed(CUT, where="[build 2/2] RUN make", imported=FROM_LOCAL), 1),
            (MADE + TO_LOCAL, 0),
            (TO_LOCAL, 0),
        ],
        deeds=2 * [lambda: there.append(layout.path(digest).exists())],
    )
    outcome, display = done(local_plan(tmp_path / "cache"), engine)
    assert outcome.error is None
    assert there == [True, False]
    assert sources(engine)[:2] == [1, 0]
    assert [each.status for each in outcome.report.cache.imports] == ["corrupt"]
    assert digest in outcome.report.cache.imports[0].detail
    assert "it is set aside as" in display.warned[0]
    assert is_free(tmp_path / "cache")


@pytest.mark.parametrize(
    "first",
    [
        (failed(CUT, where="[build 2/2] RUN make", imported=FROM_LOCAL), 1),
        (CACHED + said(FROM_LOCAL, vertex("exporting cache to client directory", error=CUT)), 0),
    ],
    ids=["the build fails", "the export fails"],
)
def test_a_changed_layer_does_not_come_back_by_the_folder_of_the_attempt_before(
    first: tuple[bytes, int], tmp_path: Path
) -> None:
    """The folder that BuildKit's session gets begins with the blobs that the cache folder has at that moment."""
    cache = folder_of(tmp_path / "cache")
    digest = changed(cache, b"two")
    engine = FakeEngine(
        builds=[first, (MADE + TO_LOCAL, 0), (TO_LOCAL, 0)],
        deeds=[lambda: None, lambda: folder_of(tmp_path / "cache")],
    )
    outcome, _ = done(local_plan(tmp_path / "cache"), engine)
    assert outcome.error is None
    assert [each.status for each in outcome.report.cache.imports] == ["corrupt"]
    assert cache.path(digest).read_bytes() == b"two"
    assert layout.verify(tmp_path / "cache", deep=True) == ()


@pytest.mark.parametrize("ran", [CACHED, MADE], ids=["cached", "a step ran"])
def test_layers_that_the_build_did_not_need_and_the_export_dropped_are_built_again(ran: bytes, tmp_path: Path) -> None:
    layout = folder_of(tmp_path / "cache")
    digest = changed(layout, b"two")

    def export_less() -> None:
        layout.entries.clear()
        layout.tag("latest", layout.cache([b"one"]))
        layout.write_index()

    engine = FakeEngine(
        builds=[(ran + said(FROM_LOCAL) + TO_LOCAL, 0), (TO_LOCAL, 0)],
        deeds=[export_less, lambda: folder_of(tmp_path / "cache")],
    )
    plan = local_plan(tmp_path / "cache")
    outcome, display = done(plan, engine)
    assert outcome.error is None
    assert sources(engine) == [1, 0]
    assert engine.built[1].argv[-3:] == ("--output", "type=cacheonly", ".")
    assert ["--no-cache" in build.argv for build in engine.built] == [False, True]
    assert [each.status for each in outcome.report.cache.imports] == ["corrupt"]
    assert digest in outcome.report.cache.imports[0].detail
    assert outcome.report.cache.local is not None
    assert outcome.report.cache.local.sound
    assert layout.path(digest).read_bytes() == b"two"
    assert display.warned[-1].endswith("what it lacks is built again")


def test_a_folder_that_did_not_change_is_not_looked_into(tmp_path: Path) -> None:
    changed(folder_of(tmp_path / "cache"), b"two")
    engine = FakeEngine(builds=[(CACHED + said(FROM_LOCAL) + TO_LOCAL, 0)])
    outcome, display = done(local_plan(tmp_path / "cache"), engine)
    assert (len(engine.built), display.warned) == (1, [])
    assert exports_of(outcome.report) == [(str(tmp_path / "cache"), "unchanged")]


# --- locks -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Ending:
    engine: FakeEngine
    error: type[BuildxCacheError] | None


def endings() -> dict[str, Ending]:
    failing = replace(FakeEngine(), builds=[(failed(EXIT_2, where="[build 2/2] RUN make", imported=FROM_LOCAL), 1)])
    return {
        "success": Ending(engine=FakeEngine(builds=[(MADE + TO_LOCAL, 0)]), error=None),
        "failed-build": Ending(engine=failing, error=BuildFailedError),
        "interrupted-build": Ending(engine=FakeEngine(interrupt="build"), error=InterruptedBuildError),
        "interrupted-boot": Ending(engine=FakeEngine(interrupt="create"), error=InterruptedBuildError),
        "bug": Ending(engine=FakeEngine(builds=[]), error=None),
    }


@pytest.mark.parametrize("name", list(endings()))
def test_the_folder_is_free_however_a_call_ends(name: str, tmp_path: Path) -> None:
    folder_of(tmp_path / "cache")
    ending = endings()[name]
    plan = local_plan(tmp_path / "cache", rm_builder=True)
    if name == "bug":
        with pytest.raises(IndexError):
            done(plan, ending.engine)
    else:
        outcome, _ = done(plan, ending.engine)
        assert (type(outcome.error) if outcome.error else None) == ending.error
    assert is_free(tmp_path / "cache")


def test_the_folder_is_held_while_the_build_runs(tmp_path: Path) -> None:
    folder_of(tmp_path / "cache")
    free: list[bool] = []
    engine = FakeEngine(
        builds=[(failed(CUT, imported=FROM_LOCAL), 1), (MADE + TO_LOCAL, 0)],
        deeds=2 * [lambda: free.append(is_free(tmp_path / "cache"))],
    )
    done(local_plan(tmp_path / "cache"), engine)
    assert free == [False, False]


def test_a_builder_that_does_not_boot_leaves_the_folder_as_it_is(tmp_path: Path) -> None:
    layout = folder_of(tmp_path / "cache")
    before = layout.present()
    outcome, _ = done(local_plan(tmp_path / "cache"), FakeEngine(ends={"create": Ended(code=1, stderr="x")}))
    assert isinstance(outcome.error, EngineError)
    assert layout.present() == before
    assert not (tmp_path / "cache-key").exists()
