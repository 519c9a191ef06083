from __future__ import annotations

from dataclasses import replace

import pytest

from buildx_cache.caches import CacheEntry, CacheKind, parse_export, parse_import
from buildx_cache.outcome import cache_report, step_reports
from buildx_cache.plan import BuilderPlan, BuildPlan, CachePlan, Command, ImagePlan
from buildx_cache.progress import BuildTrace, Step, Transfer
from buildx_cache.progress.names import transfer_kind
from buildx_cache.report import CacheReport, ExportReport, ImportReport, StepCounts, StepReport

REF = "registry.example.com/app:buildcache-main"
OTHER = "registry.example.com/app:buildcache-topic"
REGISTRY = parse_import(REF)
LOCAL = parse_import("type=local,src=/c")


def step(number: int, *, cached: bool = False, started: float | None = 1.0, error: str = "") -> Step:
    return Step(
        name=f"RUN step {number}",
        stage="build",
        platform="linux/amd64",
        number=number,
        total=3,
        digest=f"sha256:{number}",
        inputs=("sha256:0",),
        cached=cached,
        seconds=0.0 if cached else 1.5,
        error=error,
        started=started,
        completed=started,
    )


def moved(name: str, *, error: str = "", count: int = 0) -> Transfer:
    return Transfer(kind=transfer_kind(name), name=name, error=error, seconds=0.1, bytes=count, digest=f"sha256:{name}")


def trace(*steps: Step, transfers: tuple[Transfer, ...] = (), text: tuple[str, ...] = ()) -> BuildTrace:
    return BuildTrace(steps=steps, transfers=transfers, warnings=(), text=text, failed=None, error="", log_tail=())


def plan(
    *,
    imports: tuple[CacheEntry, ...] = (),
    exports: tuple[CacheEntry, ...] = (),
    node_exports: tuple[tuple[str, CacheEntry], ...] = (),
) -> BuildPlan:
    cache = CachePlan(
        kind=CacheKind.REGISTRY, why="", scope="main", imports=imports, exports=exports, node_exports=node_exports
    )
    command = Command(argv=("buildx", "build", "."))
    return BuildPlan(
        builder=BuilderPlan(name="b", driver="remote", why=""), cache=cache, image=ImagePlan(), build=command
    )


def imported(entry: CacheEntry, known: BuildTrace | None) -> ImportReport:
    (found,) = cache_report(plan(imports=(entry,)), known, {}, done=True).imports
    return found


def exported(entry: CacheEntry, known: BuildTrace | None, *, done: bool = True) -> ExportReport:
    (found,) = cache_report(plan(exports=(entry,)), known, {}, done=done).exports
    return found


# --- imports -----------------------------------------------------------------------------------------------

FROM_REGISTRY = f"importing cache manifest from {REF}"
FROM_LOCAL = "importing cache manifest from local:8d7zaq"


@pytest.mark.parametrize(
    ("entry", "known", "status", "detail"),
    [
        pytest.param(REGISTRY, trace(step(1, cached=True), transfers=(moved(FROM_REGISTRY),)), "hit", "", id="hit"),
        pytest.param(
            REGISTRY,
            trace(step(1), transfers=(moved(FROM_REGISTRY),)),
            "miss",
            "nothing in it fits this build",
            id="miss",
        ),
        pytest.param(LOCAL, trace(step(1, cached=True), transfers=(moved(FROM_LOCAL),)), "hit", "", id="local-hit"),
        pytest.param(REGISTRY, None, "skipped", "the build did not run", id="no-build"),
        pytest.param(REGISTRY, trace(step(1)), "skipped", "BuildKit did not ask for it", id="not-asked"),
        pytest.param(
            REGISTRY,
            trace(step(1), transfers=(moved(f"importing cache manifest from {OTHER}"),)),
            "skipped",
            "BuildKit did not ask for it",
            id="another-one-asked",
        ),
        pytest.param(
            LOCAL,
            trace(text=("WARNING: local cache import at /c not found due to err: could not read /c/index.json",)),
            "absent",
            "local cache import at /c not found due to err: could not read /c/index.json",
            id="local-absent",
        ),
        pytest.param(
            LOCAL,
            trace(
                step(1, cached=True),
                text=("WARNING: local cache import at /other not found due to err: x",),
                transfers=(moved(FROM_LOCAL),),
            ),
            "hit",
            "",
            id="another-local-absent",
        ),
        pytest.param(
            REGISTRY,
            trace(transfers=(moved(f"importing cache manifest from x{REF[1:]}", error="not found"),)),
            "skipped",
            "BuildKit did not ask for it",
            id="another-host",
        ),
    ],
)
def test_what_became_of_an_import(entry: CacheEntry, known: BuildTrace | None, status: str, detail: str) -> None:
    found = imported(entry, known)
    assert (found.type, found.source, found.status, found.detail) == (entry.type, entry.place, status, detail)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (f"{REF}: not found", "absent"),
        ("unexpected status from HEAD request to https://registry.example.com/v2/x: 404 Not Found", "absent"),
        ("open /c/index.json: no such file or directory", "absent"),
        ("dial tcp 127.0.0.1:5000: connect: connection refused", "unreachable"),
        ("dial tcp: lookup registry.example.com: no such host", "unreachable"),
        ("pull access denied: insufficient_scope: authorization failed", "unreachable"),
        ("401 Unauthorized", "unreachable"),
        ("unexpected status from HEAD request: 503 Service Unavailable", "unreachable"),
        ("http: server gave HTTP response to HTTPS client", "unreachable"),
        ("x509: certificate signed by unknown authority", "unreachable"),
        ("read tcp: i/o timeout", "unreachable"),
        ("invalid character 'x' looking for beginning of value", "damaged"),
        ("unexpected commit digest sha256:1, expected sha256:2: failed precondition", "damaged"),
    ],
)
def test_what_an_import_error_means(error: str, status: str) -> None:
    found = imported(REGISTRY, trace(step(1, cached=True), transfers=(moved(FROM_REGISTRY, error=error),)))
    assert (found.status, found.detail) == (status, error)


def test_each_import_has_its_own_report() -> None:
    entries = (parse_import(OTHER), REGISTRY)
    known = trace(
        step(1, cached=True),
        transfers=(moved(f"importing cache manifest from {OTHER}", error="not found"), moved(FROM_REGISTRY)),
    )
    found = cache_report(plan(imports=entries), known, {}, done=True).imports
    assert [(entry.source, entry.status) for entry in found] == [(OTHER, "absent"), (REF, "hit")]


# --- exports -----------------------------------------------------------------------------------------------

TO_REGISTRY = parse_export(f"type=registry,ref={REF},mode=max")
TO_LOCAL = parse_export("type=local,dest=/c")
INLINE = parse_export("inline")


@pytest.mark.parametrize(
    ("entry", "transfers", "status", "detail", "count"),
    [
        pytest.param(
            TO_REGISTRY, (moved("exporting cache to registry", count=1024),), "written", "", 1024, id="registry"
        ),
        pytest.param(TO_LOCAL, (moved("exporting cache to client directory", count=7),), "written", "", 7, id="local"),
        pytest.param(INLINE, (moved("preparing layers for inline cache"),), "written", "", 0, id="inline"),
        pytest.param(INLINE, (), "written", "", 0, id="inline-without-a-word"),
        pytest.param(TO_REGISTRY, (), "skipped", "BuildKit did not write it", 0, id="nothing-said"),
        pytest.param(
            TO_REGISTRY,
            (moved("exporting cache to client directory"),),
            "skipped",
            "BuildKit did not write it",
            0,
            id="another-written",
        ),
        pytest.param(
            TO_REGISTRY,
            (moved("exporting cache to registry", error="401 Unauthorized"),),
            "failed",
            "401 Unauthorized",
            0,
            id="failed",
        ),
    ],
)
def test_what_became_of_an_export(
    entry: CacheEntry, transfers: tuple[Transfer, ...], status: str, detail: str, count: int
) -> None:
    found = exported(entry, trace(step(1), transfers=transfers))
    assert found == ExportReport(type=entry.type, target=entry.place, status=found.status, detail=detail, bytes=count)
    assert found.status == status


@pytest.mark.parametrize("entry", [TO_REGISTRY, TO_LOCAL, INLINE], ids=str)
@pytest.mark.parametrize("known", [None, trace(step(1, error="x"))], ids=["no-build", "failed-build"])
def test_a_failed_build_exports_nothing(entry: CacheEntry, known: BuildTrace | None) -> None:
    found = exported(entry, known, done=False)
    assert (found.status, found.detail) == ("skipped", "nothing is exported from a failed build")


@pytest.mark.parametrize(
    ("errors", "done", "status", "detail"),
    [({}, True, "written", ""), ({}, False, "skipped", ""), ({str(TO_REGISTRY): "full"}, True, "failed", "full")],
    ids=["written", "failed-build", "failed"],
)
def test_exports_by_platform_are_told_by_their_own_errors(
    errors: dict[str, str],
    done: bool,  # noqa: FBT001 -- a table
    status: str,
    detail: str,
) -> None:
    cache = cache_report(plan(node_exports=(("linux/amd64", TO_REGISTRY),)), trace(step(1)), errors, done=done)
    assert [(each.target, each.status, each.detail) for each in cache.exports] == [(REF, status, detail)]


# --- the whole ---------------------------------------------------------------------------------------------


def test_the_counts_are_those_of_the_trace() -> None:
    known = trace(step(1, cached=True), step(2), step(3, started=None))
    report = cache_report(plan(), known, {}, done=True)
    assert report == CacheReport(
        mode="registry",
        scope="main",
        read_only=False,
        steps=StepCounts(total=3, cached=1, executed=1),
        hit_ratio=0.5,
    )


def test_without_a_build_there_are_no_counts() -> None:
    report = cache_report(plan(), None, {}, done=False)
    assert (report.steps, report.hit_ratio) == (StepCounts(), None)
    assert step_reports(None) == ()


def test_steps_are_reported_as_they_were() -> None:
    assert step_reports(trace(step(1, cached=True), step(2, error="exit code: 1"))) == (
        StepReport(
            name="RUN step 1",
            stage="build",
            platform="linux/amd64",
            digest="sha256:1",
            inputs=("sha256:0",),
            cached=True,
            seconds=0.0,
            error="",
        ),
        StepReport(
            name="RUN step 2",
            stage="build",
            platform="linux/amd64",
            digest="sha256:2",
            inputs=("sha256:0",),
            cached=False,
            seconds=1.5,
            error="exit code: 1",
        ),
    )


def test_nothing_secret_is_reported() -> None:
    secret = "https://me:abc123@example.com/x"  # noqa: S105 -- the test's own
    known = trace(
        replace(step(1), name=f"ADD {secret} /", error=f"{secret}: failed"),
        transfers=(moved(FROM_REGISTRY, error=secret), moved("exporting cache to registry", error=secret)),
    )
    report = cache_report(plan(imports=(REGISTRY,), exports=(TO_REGISTRY,)), known, {}, done=True)
    assert "abc123" not in repr((report, step_reports(known)))
    assert report.imports[0].detail == report.exports[0].detail == "https://***@example.com/x"
