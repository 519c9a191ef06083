from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from buildx_cache.buildkit.classify import classify
from buildx_cache.buildkit.trace import BuildTrace, Step, Transfer
from buildx_cache.buildkit.vertex_names import transfer_kind
from buildx_cache.caches.backend import CacheKind
from buildx_cache.caches.entry import CacheEntry
from buildx_cache.caches.parsing import parse_export, parse_import
from buildx_cache.plan import DIGEST, BuilderPlan, BuildInvocation, BuildPlan, CachePlan, ImagePlan, Target
from buildx_cache.redaction import Redactor
from buildx_cache.report import (
    BuilderReport,
    BuildReport,
    CacheReport,
    CIReport,
    ExportReport,
    ExportStatus,
    ImageReport,
    ImportReport,
    ImportStatus,
    LocalReport,
    StepCounts,
    StepReport,
    rewritten_report,
)
from buildx_cache.run.results import (
    CacheEvidence,
    ExportResult,
    Verdict,
    cache_report,
    export_result,
    failed_export,
    image_report,
    skipped_export,
    step_reports,
)
from buildx_cache.run.results import (
    imported as taken,
)

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
    build = BuildInvocation(builder="b", context=".")
    return BuildPlan(
        builder=BuilderPlan(name="b", driver="remote", why=""),
        cache=cache,
        targets=(Target(image=ImagePlan(), build=build),),
    )


INDEX, AMD, ARM = (f"sha256:{digit * 64}" for digit in "123")
PROVENANCE = {"buildx.build.provenance": {"invocation": {"environment": {"platform": "linux/s390x"}}}}
DESCRIPTOR = {"containerimage.descriptor": {"platform": {"os": "linux", "architecture": "riscv64"}}}
EXPORTED = Transfer(
    kind="image-export", name="exporting to image", error="", seconds=1.0, bytes=0, digest="sha256:e",
    manifests=(AMD, ARM), index=INDEX,
)  # fmt: skip
ONE = replace(EXPORTED, manifests=(AMD,))


@pytest.mark.parametrize(
    ("platforms", "metadata", "transfer", "expected"),
    [
        (("linux/amd64", "linux/arm64"), {DIGEST: INDEX}, EXPORTED, {"linux/amd64": AMD, "linux/arm64": ARM}),
        (("linux/amd64",), {DIGEST: INDEX}, ONE, {"linux/amd64": AMD}),
        (("linux/amd64",), {DIGEST: AMD}, replace(ONE, index=""), {"linux/amd64": AMD}),
        (("linux/amd64",), {DIGEST: AMD}, None, {"linux/amd64": AMD}),
        ((), {DIGEST: INDEX, **PROVENANCE}, ONE, {"linux/s390x": AMD}),
        ((), {DIGEST: AMD, **DESCRIPTOR, **PROVENANCE}, None, {"linux/riscv64": AMD}),
        ((), {DIGEST: AMD}, None, {}),
        (("linux/amd64", "linux/arm64"), {DIGEST: AMD}, None, {}),  # Buildx made the index of several nodes
        (("linux/amd64", "linux/amd64/v1"), {DIGEST: INDEX}, ONE, {}),  # one platform in two spellings
        (("linux/amd64",), {}, ONE, {}),
        (("linux/amd64",), {DIGEST: "no digest"}, ONE, {}),
        (("linux/amd64",), {DIGEST: ["x"], "containerimage.descriptor": 1, "buildx.build.provenance": []}, ONE, {}),
    ],
)
def test_each_platform_has_the_digest_of_its_manifest(
    platforms: tuple[str, ...], metadata: Mapping[str, object], transfer: Transfer | None, expected: Mapping[str, str]
) -> None:
    image = ImagePlan(platforms=platforms, push=True)
    told = image_report(image, metadata, trace(transfers=(transfer,) if transfer else ()))
    assert told.platform_digests == expected
    assert told.pushed
    assert image_report(image, None, trace()) == ImageReport(platforms=platforms)


def knowing(
    *verdicts: Verdict, exports: Mapping[CacheEntry, ExportResult] | None = None, local: LocalReport | None = None
) -> CacheEvidence:
    return CacheEvidence(verdicts={verdict.entry: verdict for verdict in verdicts}, exports=exports or {}, local=local)


def imported(entry: CacheEntry, known: BuildTrace | None, *verdicts: Verdict) -> ImportReport:
    (found,) = cache_report(plan(imports=(entry,)), known, knowing(*verdicts)).imports
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
        pytest.param(
            REGISTRY,
            trace(step(1, cached=True), transfers=(replace(moved(FROM_REGISTRY), started=1.0),)),
            "skipped",
            "the build ended before it was read",
            id="ended-before",
        ),
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
        ("pull access denied: insufficient_scope: authorization failed", "denied"),
        ("401 Unauthorized", "denied"),
        ("unexpected status from GET request to https://registry.example.com/v2/x: 405 Method Not Allowed", "denied"),
        ("unknown cache importer: s3", "skipped"),
        ("failed to configure gha cache importer: token is malformed", "skipped"),
        ("failed to configure s3 cache importer: region ($AWS_REGION) not set for s3 cache", "skipped"),
        (
            "operation error S3: HeadObject, failed to refresh cached credentials, no EC2 IMDS role found",
            "denied",
        ),
        ("DefaultAzureCredential: failed to acquire a token.", "denied"),
        ("unexpected status from HEAD request: 503 Service Unavailable", "unreachable"),
        ("http: server gave HTTP response to HTTPS client", "unreachable"),
        ("x509: certificate signed by unknown authority", "unreachable"),
        ("read tcp: i/o timeout", "unreachable"),
        ("invalid character 'x' looking for beginning of value", "corrupt"),
        ("unexpected commit digest sha256:1, expected sha256:2: failed precondition", "corrupt"),
    ],
)
def test_what_an_import_error_means(error: str, status: str) -> None:
    found = imported(REGISTRY, trace(step(1, cached=True), transfers=(moved(FROM_REGISTRY, error=error),)))
    assert (found.status, found.detail) == (status, error)


BASE = replace(step(1, cached=True), name="FROM scratch")
OTHERS = parse_import(OTHER)


@pytest.mark.parametrize(
    ("steps", "entries", "has_own_steps", "found"),
    [
        ((BASE, step(2)), (REGISTRY,), False, [("miss", True)]),
        ((BASE, step(2, cached=True)), (REGISTRY,), False, [("hit", False)]),
        ((BASE, step(2, cached=True)), (REGISTRY,), True, [("hit", True)]),
        ((BASE, step(2, cached=True)), (REGISTRY, OTHERS), False, [("hit", True)] * 2),
        ((BASE,), (REGISTRY,), True, [("miss", True)]),
    ],
    ids=["only-the-base-image", "a-step", "perhaps-the-builders-own", "which-of-two", "nothing-else"],
)
def test_a_hit_is_a_step_from_a_cache_and_what_is_not_told_is_said(
    steps: tuple[Step, ...],
    entries: tuple[CacheEntry, ...],
    has_own_steps: bool,  # noqa: FBT001 -- a table
    found: list[tuple[str, bool]],
) -> None:
    transfers = tuple(moved(f"importing cache manifest from {entry.place}") for entry in entries)
    known = replace(knowing(), has_own_steps=has_own_steps)
    reports = cache_report(plan(imports=entries), trace(*steps, transfers=transfers), known).imports
    assert [(each.status, bool(each.detail)) for each in reports] == found


def test_each_import_has_its_own_report() -> None:
    entries = (parse_import(OTHER), REGISTRY)
    known = trace(
        step(1, cached=True),
        transfers=(moved(f"importing cache manifest from {OTHER}", error="not found"), moved(FROM_REGISTRY)),
    )
    found = cache_report(plan(imports=entries), known).imports
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
        pytest.param(INLINE, (moved("exporting to image"),), "written", "", 0, id="inline-in-the-image"),
        pytest.param(INLINE, (), "skipped", "BuildKit did not write it", 0, id="inline-without-an-image"),
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
            "denied: 401 Unauthorized",
            0,
            id="failed",
        ),
    ],
)
def test_what_became_of_an_export(
    entry: CacheEntry, transfers: tuple[Transfer, ...], status: str, detail: str, count: int
) -> None:
    found = export_result(entry, trace(step(1), transfers=transfers)).report()
    assert found == ExportReport(type=entry.type, target=entry.place, status=found.status, detail=detail, bytes=count)
    assert found.status == status


@pytest.mark.parametrize("entry", [TO_REGISTRY, TO_LOCAL, INLINE], ids=str)
@pytest.mark.parametrize("known", [None, trace(step(1, error="x"))], ids=["no-build", "failed-build"])
def test_a_failed_build_exports_nothing(entry: CacheEntry, known: BuildTrace | None) -> None:
    found = cache_report(plan(exports=(entry,), node_exports=(("linux/amd64", entry),)), known).exports
    assert [(each.target, each.status, each.detail) for each in found] == 2 * [
        (entry.place, "skipped", "nothing is exported from a failed build")
    ]


@pytest.mark.parametrize("status", ["written", "unchanged", "skipped", "failed"])
def test_an_export_is_told_as_what_it_came_to(status: ExportStatus) -> None:
    result = ExportResult(entry=TO_REGISTRY, status=status, reason="so", bytes=5)
    known = knowing(exports={TO_REGISTRY: result})
    asked = plan(exports=(TO_LOCAL,), node_exports=(("linux/amd64", TO_REGISTRY),))
    assert cache_report(asked, trace(step(1)), known).exports == (
        skipped_export(TO_LOCAL, "nothing is exported from a failed build").report(),
        ExportReport(type="registry", target=REF, status=status, detail="so", bytes=5),
    )


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (
            "unexpected status from POST request to http://r/v2/a/blobs/uploads/: 401 Unauthorized\nunauthorized",
            "denied",
        ),
        ("unexpected status from POST request to http://r/v2/a/blobs/uploads/: 403 Forbidden\ndenied", "denied"),
        ("unexpected status from POST request to http://r/v2/a/blobs/uploads/: 429 Too Many Requests", "unreachable"),
        (
            "unexpected status from POST request to http://r/v2/a/blobs/uploads/: 500 Internal Server Error",
            "unreachable",
        ),
        ('failed to do request: Head "https://r/v2/x": dial tcp r: connect: connection refused', "unreachable"),
        (
            "unexpected status from POST request to http://r/v2/a/blobs/uploads/: 507 Insufficient Storage",
            "unreachable",
        ),
        ("rpc error: code = Unknown desc = write /c/ingest/x/data: no space left on device", "full"),
        ("unexpected status from POST request: 404 Not Found\nunknown: blob unknown to registry", "refused"),
        ("mkdir /c/ingest/x: read-only file system", "other"),
    ],
)
def test_a_failed_export_begins_with_its_cause(error: str, cause: str) -> None:
    expected = ExportReport(type="registry", target=REF, status="failed", detail=f"{cause}: {error}")
    assert failed_export(TO_REGISTRY, classify(error, doing="exporting cache to registry")).report() == expected
    failed = trace(transfers=(moved("exporting cache to registry", error=error),))
    assert export_result(TO_REGISTRY, failed).report() == expected


# --- which vertex is whose -----------------------------------------------------------------------------------
# The names of vertices and the errors are those of BuildKit's sources (``Name`` in ``cache/remotecache``, ``cmKey`` in
# ``llbsolver/bridge.go``) and of containerd's ``remotes/docker``; gha's are recorded, too: see test_run_caches.

STORES = ("type=gha,scope=main", "type=s3,bucket=b,region=r", "type=azblob,account_url=https://a.example")
EXPORTERS = ("GitHub Actions Cache", "Amazon S3", "Azure Blob Storage")
EXPORT_NAMES = ("exporting to GitHub Actions Cache", *(f"exporting cache to {name}" for name in EXPORTERS[1:]))


@pytest.mark.parametrize("prefix", ["", "[node-1] "])
@pytest.mark.parametrize(("text", "name"), list(zip(STORES, EXPORT_NAMES, strict=True)))
def test_an_object_stores_vertices_are_its_own(text: str, name: str, prefix: str) -> None:
    source, target = parse_import(text), parse_export(text)
    read = moved(f"{prefix}importing cache manifest from {source.type}:8612763472634872")
    written = moved(f"{prefix}{name}", count=7)
    known = trace(step(1, cached=True), transfers=(read, written))
    assert imported(source, known).status == "hit"
    assert (export_result(target, known).status, export_result(target, known).bytes) == ("written", 7)
    failed = trace(step(1), transfers=(replace(read, error="refused"), replace(written, error="refused")))
    assert imported(source, failed).status == "unreachable"
    assert export_result(target, failed).status == "failed"


@pytest.mark.parametrize("other", ["s3", "azblob", "gha", "local", "x/gha"])
def test_no_vertex_is_another_stores(other: str) -> None:
    vertex = moved(f"importing cache manifest from {other}:8612763472634872")
    for source in (parse_import(text) for text in STORES if f"type={other}," not in text):
        assert imported(source, trace(step(1, cached=True), transfers=(vertex,))).status == "skipped"


@pytest.mark.parametrize(
    ("ref", "source", "is_it"),
    [
        ("app:c", "app:c", True),
        ("app:c", "docker.io/library/app:c", True),
        ("app", "index.docker.io/library/app:latest", True),
        ("ghcr.io/x/app:c", "ghcr.io/x/app:c", True),
        ("app:c", "ghcr.io/x/app:c", False),
        ("app:c", "my-app:c", False),
        ("app:c", "app:c2", False),
        ("app:c", "org/app:c", False),
        ("app", "app:c", False),
        ("ghcr.io/x/app:c", "app:c", False),
        ("local:5000/app:c", "local:5000/app:c", True),
        ("local:5000", "local:5000", True),
        ("app:c", "local:5000/app:c", False),
    ],
)
def test_a_registrys_vertex_is_its_references(ref: str, source: str, is_it: bool) -> None:  # noqa: FBT001 -- a table
    entry = parse_import(f"type=registry,ref={ref}")
    known = trace(step(1, cached=True), transfers=(moved(f"importing cache manifest from {source}"),))
    assert (imported(entry, known).status == "hit") is is_it


def test_an_image_called_local_is_no_folder() -> None:
    entries = (parse_import("local:5000"), LOCAL)
    known = trace(transfers=(moved("importing cache manifest from local:5000", error="connection refused"),))
    found = cache_report(plan(imports=entries), known).imports
    assert [each.status for each in found] == ["unreachable", "skipped"]


HUB_DENIED = (
    "error writing layer blob: failed to authorize: failed to fetch oauth token: unexpected status from GET request to "
    "https://auth.docker.io/token?scope=repository%3Alibrary%2Fapp%3Apull%2Cpush&service=registry.docker.io: 401"
)


AZURE = "azblob,account_url=https://a.example"


def denied_at(url: str) -> str:
    return f"error writing layer blob: unexpected status from POST request to {url}: 403 Forbidden"


@pytest.mark.parametrize(
    ("one", "other", "error"),
    [
        ("registry,ref=r.example/a:c", "registry,ref=r.example/b:c", denied_at("https://r.example/v2/a/blobs/uploads/")),
        ("registry,ref=r.example/a:c", "registry,ref=s.example/a:c", denied_at("https://r.example/v2/a/blobs/uploads/")),
        ("registry,ref=r.example/a:c", "registry,ref=r.example/x/a:c", denied_at("https://r.example/v2/a/manifests/c")),
        ("registry,ref=r.example/a:c", "registry,ref=r.example/a:d", denied_at("https://r.example/v2/a/manifests/c")),
        ("registry,ref=app:c", "registry,ref=ghcr.io/x/app:c", denied_at("https://registry-1.docker.io/v2/library/app/blobs/uploads/")),
        ("registry,ref=app:c", "registry,ref=ghcr.io/library/other:c", HUB_DENIED),
        ("s3,bucket=one", "s3,bucket=two", 'Put "http://minio.example:9000/one/blobs/sha256:1": connection refused'),
        ("s3,bucket=one", "s3,bucket=two", 'Put "https://one.s3.eu.amazonaws.com/blobs/sha256:1": connection refused'),
        (AZURE, AZURE.replace("a.", "b."), 'Put "https://a.example/buildkit-cache/blobs/1": refused'),
        ("gha,scope=one", "gha,scope=two", 'Get "https://gha.example/cache?keys=index-one-1-f921bd05": refused'),
    ],
)  # fmt: skip
@pytest.mark.parametrize("first", [True, False])
def test_of_two_exports_of_a_kind_only_the_failed_one_is(one: str, other: str, error: str, first: bool) -> None:  # noqa: FBT001 -- both orders
    entries = (parse_export(f"type={one}"), parse_export(f"type={other}"))
    name = dict(zip(("registry", "gha", "s3", "azblob"), ("exporting cache to registry", *EXPORT_NAMES), strict=True))
    transfers = (moved(name[entries[0].type], error=error), replace(moved(name[entries[0].type]), digest="sha256:2"))
    known = trace(step(1), transfers=transfers if first else transfers[::-1])
    assert [export_result(entry, known, entries).status for entry in entries] == ["failed", "written"]


def test_an_export_that_names_nothing_may_be_either() -> None:
    entries = (parse_export("r.example/a:c"), parse_export("r.example/b:c"))
    transfers = (moved("exporting cache to registry", error="EOF"), moved("exporting cache to registry"))
    known = trace(step(1), transfers=transfers)
    assert {export_result(entry, known, entries).status for entry in entries} == {"failed"}


@pytest.mark.parametrize(
    ("text", "name"),
    [("s3,bucket=one", "s3:1"), ("azblob,account_url=https://one.example", "azblob:1"), ("gha,scope=one", "gha:1")],
)
def test_of_two_imports_of_a_kind_only_the_failed_one_is(text: str, name: str) -> None:
    entries = (parse_import(f"type={text}"), parse_import(f"type={text.replace('one', 'two')}"))
    error = 'Get "https://one.example/buildkit-cache/x?keys=index-one-1-2": https://s.example/one/x: connection refused'
    vertices = (
        moved(f"importing cache manifest from {name}", error=error),
        moved(f"importing cache manifest from {name}2"),
    )
    found = cache_report(plan(imports=entries), trace(step(1, cached=True), transfers=vertices)).imports
    assert [each.status for each in found] == ["unreachable", "hit"]


def test_a_folder_that_is_served_has_its_own_vertex() -> None:
    entries = (parse_import("type=local,src=/c"), parse_import("type=local,src=/a/c"))
    vertices = (
        moved("importing cache manifest from the folder /a/c", error="connection refused"),
        moved("importing cache manifest from local:1"),
    )
    found = cache_report(plan(imports=entries), trace(step(1, cached=True), transfers=vertices)).imports
    assert [each.status for each in found] == ["hit", "unreachable"]


# --- what is known beside the trace ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("verdict", "status", "detail"),
    [
        (
            Verdict(entry=REGISTRY, status="corrupt", detail="drop the builder's damaged copy"),
            "corrupt",
            "drop the builder's damaged copy",
        ),
        (
            Verdict(entry=REGISTRY, detail="mended: drop the builder's damaged copy"),
            "hit",
            "mended: drop the builder's damaged copy",
        ),
        (Verdict(entry=LOCAL, status="corrupt", detail="another's"), "hit", ""),
    ],
    ids=["with-a-status", "with-buildkits-status", "of-another-import"],
)
def test_what_is_known_of_an_import_goes_before_what_buildkit_says(
    verdict: Verdict, status: ImportStatus, detail: str
) -> None:
    found = imported(REGISTRY, trace(step(1, cached=True), transfers=(moved(FROM_REGISTRY),)), verdict)
    assert (found.status, found.detail) == (status, detail)


def test_what_is_known_of_an_import_is_told_also_where_no_build_ran() -> None:
    found = imported(REGISTRY, None, Verdict(entry=REGISTRY, status="corrupt", detail="so"))
    assert (found.status, found.detail) == ("corrupt", "so")


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        (trace(step(1, cached=True), transfers=(moved(FROM_REGISTRY),)), True),
        (trace(step(1), transfers=(moved(FROM_REGISTRY),)), True),
        (trace(step(1), transfers=(moved(FROM_REGISTRY, error="not found"),)), False),
        (trace(step(1)), False),
    ],
    ids=["hit", "miss", "failed", "not-asked"],
)
def test_an_import_is_one_only_if_buildkit_took_its_word(known: BuildTrace, expected: bool) -> None:  # noqa: FBT001 -- a table
    assert taken((REGISTRY,), known) == ((REGISTRY,) if expected else ())


def test_the_local_folder_is_reported() -> None:
    local = LocalReport(dir="/c", live_bytes=5, swept_bytes=7, sound=True)
    assert cache_report(plan(), None, knowing(local=local)).local == local
    assert cache_report(plan(), None).local is None


# --- the whole ---------------------------------------------------------------------------------------------


def test_the_counts_are_those_of_the_trace() -> None:
    known = trace(step(1, cached=True), step(2), step(3, started=None))
    report = cache_report(plan(), known)
    assert report == CacheReport(
        mode="registry",
        scope="main",
        read_only=False,
        steps=StepCounts(total=3, cached=1, executed=1),
        hit_ratio=0.5,
    )


def test_without_a_build_there_are_no_counts() -> None:
    report = cache_report(plan(), None)
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
        step(1), transfers=(moved(FROM_REGISTRY, error=secret), moved("exporting cache to registry", error=secret))
    )
    asked = plan(imports=(REGISTRY, LOCAL), exports=(TO_REGISTRY,))
    verdict = Verdict(entry=LOCAL, status="corrupt", detail=secret)
    cache = cache_report(asked, known, knowing(verdict, exports={TO_REGISTRY: export_result(TO_REGISTRY, known)}))
    whole = BuildReport(
        status="failed",
        exit_code=1,
        started="",
        seconds=0.0,
        images={},
        builder=BuilderReport(name="b", driver="remote", buildkit="", created=False),
        ci=CIReport(provider="none", branch=None, sha=None, pull_request=None, is_fork=False),
        cache=cache,
    )
    report = rewritten_report(whole, Redactor(()).text).cache
    assert "abc123" not in repr(report)
    hidden = "https://***@example.com/x"
    assert [each.detail for each in report.imports] == [hidden, hidden]
    assert [each.detail for each in report.exports] == [f"other: {hidden}"]
