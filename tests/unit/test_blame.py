"""BuildKit's words for what goes wrong, as real builds said them, and the imports that they are blamed on."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import pytest

from buildx_cache.buildkit.classify import classify
from buildx_cache.buildkit.stream import StreamParser
from buildx_cache.buildkit.trace import BuildTrace
from buildx_cache.buildkit.trace_builder import TraceBuilder
from buildx_cache.caches.entry import CacheEntry
from buildx_cache.caches.parsing import parse_import
from buildx_cache.run.results import blamed as blamed_for_problem
from buildx_cache.run.results import failed_read

A, B = "a1" * 32, "b2" * 32
SHORT = A[:-1]
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar+gzip"
HOST = "registry.example:5000"

FOLDER = parse_import("type=local,src=/c")
SEED = parse_import("type=local,src=/seed")
MAIN = parse_import(f"{HOST}/team/app:buildcache-main")
TOPIC = parse_import(f"type=registry,ref={HOST}/team/app:buildcache-topic")
OTHER = parse_import(f"{HOST}/team/other:buildcache-main")
ELSEWHERE = parse_import("ghcr.example/team/app:buildcache-main")
GITHUB = parse_import("type=gha,scope=main")
EVERY = (FOLDER, SEED, MAIN, TOPIC, OTHER, ELSEWHERE, GITHUB)
REMOTE = (MAIN, TOPIC, OTHER, ELSEWHERE, GITHUB)
OF_APP = (MAIN, TOPIC)

HELD = {FOLDER: {f"sha256:{A}"}, SEED: {f"sha256:{B}"}}


def held(entry: CacheEntry) -> Collection[str]:
    return HELD.get(entry, ())


def blamed(error: str, imports: Collection[CacheEntry] = EVERY) -> tuple[CacheEntry, ...]:
    return blamed_for_problem(classify(error), imports, held)


# --- layers that cannot be read ----------------------------------------------------------------------------

FETCH = "failed to copy: httpReadSeeker: failed open: "
GET = f"{FETCH}unexpected status from GET request to http://{HOST}/v2/team/app/blobs/sha256:{A}: "
LOST = f"NotFound: rpc error: code = NotFound desc = content sha256:{A}: not found"
COMMIT = f'failed commit on ref "layer-sha256:{A}": commit failed: '


@pytest.mark.parametrize(
    ("error", "expected", "status"),
    [
        pytest.param(LOST, (FOLDER,), "corrupt", id="lost"),
        pytest.param(f"failed to compute cache key: {LOST}", (FOLDER,), "corrupt", id="lost-for-the-next-step"),
        pytest.param(f"error writing layer blob: {LOST}", (FOLDER,), "corrupt", id="lost-for-the-export"),
        pytest.param("short read: expected 41827 bytes but got 20913: unexpected EOF", EVERY, "corrupt", id="cut"),
        pytest.param("short read: expected 41827 bytes but got 0: unexpected EOF", EVERY, "corrupt", id="cut-off"),
        pytest.param(
            f"{COMMIT}unexpected commit digest sha256:{'c3' * 32}, expected sha256:{A}: failed precondition",
            (FOLDER,),
            "corrupt",
            id="changed",
        ),
        pytest.param(
            f'{COMMIT}"layer-sha256:{A}" failed size validation: 41829 != 41826: failed precondition',
            (FOLDER,),
            "corrupt",
            id="too-long",
        ),
        pytest.param(
            f"{COMMIT}unexpected commit size 20913, expected 41827: failed precondition",
            (FOLDER,),
            "corrupt",
            id="too-short",
        ),
        pytest.param(
            'parsing time "2026-11-24T23:2 :31.802258952Z" as "2006-01-02T15:04:05Z07:00": cannot parse "2 " as "04"',
            EVERY,
            "corrupt",
            id="manifest-changed",
        ),
        pytest.param(
            f"failed to compute cache key: parent snapshot sha256:{'c3' * 32} does not exist: not found",
            EVERY,
            "corrupt",
            id="lost-below",
        ),
        pytest.param(LOST.replace(A, B), (SEED,), "corrupt", id="lost-in-another-folder"),
        pytest.param(LOST.replace(A, "c3" * 32), EVERY, "corrupt", id="lost-in-nobody-knows-which"),
        pytest.param(
            f"{FETCH}could not fetch content descriptor sha256:{A} ({LAYER_TYPE}) from remote: not found",
            REMOTE,
            "corrupt",
            id="lost-in-a-registry",
        ),
        pytest.param(
            f"error writing layer blob: {FETCH}could not fetch content descriptor sha256:{A} ({LAYER_TYPE})"
            " from remote: not found",
            REMOTE,
            "corrupt",
            id="lost-in-a-registry-for-the-export",
        ),
        pytest.param(f"{GET}401 Unauthorized\nunauthorized", OF_APP, "denied", id="401"),
        pytest.param(f"{GET}403 Forbidden\ndenied", OF_APP, "denied", id="403"),
        pytest.param(f"{GET}429 Too Many Requests\ntoomanyrequests", OF_APP, "unreachable", id="429"),
        pytest.param(f"{GET}500 Internal Server Error\nunknown", OF_APP, "unreachable", id="500"),
        pytest.param(
            f"{FETCH}unexpected status from GET request to https://bucket.example/docker/registry/v2/blobs/sha256/a1/"
            f"{A}/data?Signature=x: 503 Service Unavailable",
            REMOTE,
            "unreachable",
            id="503-where-the-registry-keeps-blobs",
        ),
        pytest.param(
            f'{FETCH}failed to do request: Get "https://{HOST}/v2/team/app/blobs/sha256:{A}": dial tcp 10.0.0.1:5000:'
            " connect: connection refused",
            OF_APP,
            "unreachable",
            id="refused",
        ),
    ],
)
def test_a_layer_that_cannot_be_read_is_blamed_on_the_imports_that_may_have_it(
    error: str, expected: tuple[CacheEntry, ...], status: str
) -> None:
    assert blamed(error) == expected
    assert blamed(error, expected[:1]) == expected[:1]
    assert blamed(error, ()) == ()
    assert failed_read(classify(error)) == status


def test_an_address_is_blamed_on_no_other_repository() -> None:
    assert blamed(f"{GET}403 Forbidden\ndenied", (FOLDER, OTHER, ELSEWHERE, GITHUB)) == ()


def test_what_a_registry_lost_is_blamed_on_no_folder() -> None:
    error = f"{FETCH}could not fetch content descriptor sha256:{A} ({LAYER_TYPE}) from remote: not found"
    assert blamed(error, (FOLDER, SEED)) == ()


@pytest.mark.parametrize(
    "ref", ["app:c", "library/app:c", "docker.io/app:c", "docker.io/library/app", "index.docker.io/app:c"]
)
def test_docker_hub_has_a_host_and_a_namespace_that_nobody_writes(ref: str) -> None:
    url = f"https://registry-1.docker.io/v2/library/app/blobs/sha256:{A}"
    error = f"{FETCH}unexpected status from GET request to {url}: 403 Forbidden"
    hub = parse_import(f"type=registry,ref={ref}")
    other = parse_import("org/app:c")
    assert blamed(error, (hub, other)) == (hub,)
    assert blamed(error.replace("library/app", "org/app"), (hub, other)) == (other,)


# --- failures that are none of an import's -----------------------------------------------------------------

POST = f"error writing layer blob: unexpected status from POST request to http://{HOST}/v2/team/app/blobs/uploads/: "
PUT = f'error writing manifest blob: failed commit on ref "sha256:{A}": unexpected status from PUT request to http://{HOST}'


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(
            f'process "/bin/sh -c echo {LOST} >&2; exit 3" did not complete successfully: exit code: 3', id="run"
        ),
        pytest.param(
            'process "/bin/sh -c cat <<E\nshort read: expected 1 bytes\nE" did not complete successfully: exit code: 2',
            id="run-of-several-lines",
        ),
        pytest.param(
            'failed to compute cache key: failed to calculate checksum of ref a::b: "/nothing": not found', id="copy"
        ),
        pytest.param("mkdir /three/httpReadSeeker: failed: not a directory", id="workdir"),
        pytest.param(
            'failed to load cache key: Get "http://127.0.0.1:1/httpReadSeeker: failed": dial tcp: connection refused',
            id="add",
        ),
        pytest.param(f"failed to push {HOST}/team/app:1: denied", id="push-denied"),
        pytest.param(f"failed to push {HOST}/team/app:1: {GET}403 Forbidden", id="push-403"),
        pytest.param(f"failed to push {HOST}/team/app:1: unknown: blob unknown to registry", id="push-404"),
        pytest.param(
            f'failed to push {HOST}/team/app:1: failed to do request: Head "https://{HOST}/v2/": connection refused',
            id="push-unreachable",
        ),
        *(
            pytest.param(f"{POST}{status}", id=f"export-{status[:3]}")
            for status in (
                "401 Unauthorized\nunauthorized",
                "403 Forbidden\ndenied",
                "404 Not Found\nunknown: blob unknown to registry",
                "429 Too Many Requests\ntoomanyrequests",
                "500 Internal Server Error\nunknown",
                "507 Insufficient Storage\nunknown",
            )
        ),
        pytest.param(f"{PUT}/v2/team/app/manifests/c: 404 Not Found\nunknown", id="export-of-a-manifest"),
        pytest.param(
            f'error writing layer blob: failed commit on ref "layer-sha256:{A}": failed to do request: Put'
            f' "http://{HOST}/v2/team/app/blobs/uploads/3c2a?_state=x&digest=sha256%3A{A}": EOF',
            id="export-cut",
        ),
        pytest.param(
            "error writing layer blob: failed to authorize: failed to fetch anonymous token: unexpected status from GET"
            f" request to http://{HOST}/token?scope=x: 403 Forbidden",
            id="export-without-a-token",
        ),
        pytest.param(
            f"error writing layer blob: unexpected status from HEAD request to http://{HOST}/v2/team/app/blobs/sha256:{A}:"
            " 500 Internal Server Error",
            id="export-that-cannot-look",
        ),
        pytest.param(
            "error writing layer blob: failed to copy: failed to send write: rpc error: code = Unknown desc = write"
            f" /c/ingest/{A}/data: no space left on device",
            id="export-to-a-full-disk",
        ),
        pytest.param(f"{HOST}/team/base:1: not found", id="base-image"),
        pytest.param(
            f"unexpected status from HEAD request to http://{HOST}/v2/team/app/manifests/1: 403 Forbidden",
            id="base-image-403",
        ),
        pytest.param(f"content sha256:{SHORT}: not found", id="no-digest"),
        pytest.param("context canceled: context canceled", id="cancelled"),
        pytest.param("dockerfile parse error on line 1: unknown instruction: SHEL", id="dockerfile"),
        pytest.param("", id="nothing-said"),
    ],
)
def test_other_failures_are_blamed_on_no_import(error: str) -> None:
    assert blamed(error) == ()


# --- recorded builds ---------------------------------------------------------------------------------------

RECORDINGS = Path(__file__).parent / "recordings" / "buildx-0.29.1"


def recorded(name: str) -> BuildTrace:
    parser, builder = StreamParser(), TraceBuilder()
    for event in [*parser.feed((RECORDINGS / f"{name}.rawjson").read_bytes()), *parser.close()]:
        builder.add(event)
    return builder.trace()


def blamed_for(name: str) -> set[CacheEntry]:
    return {entry for _, error in recorded(name).errors for entry in blamed(error)}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("damaged-cache", EVERY),
        ("local-layer-lost", EVERY),
        ("local-stage-layer-lost", EVERY),
        ("recovered-cache-load", EVERY),
        ("registry-layer-lost", REMOTE),
        ("registry-stage-layer-lost", REMOTE),
        ("registry-layer-denied", OF_APP),
        ("base-layer-lost", REMOTE),  # the same words as a cache's: only another build without the import can tell
    ],
)
def test_a_recorded_build_that_met_a_lost_layer(name: str, expected: tuple[CacheEntry, ...]) -> None:
    assert blamed_for(name) == set(expected)


@pytest.mark.parametrize(
    "name",
    [
        "cold",
        "failing-run",
        "missing-copy-source",
        "missing-base",
        "interrupted",
        "cache-import-error",
        "cache-export-error",
        "cache-export-ignored",
        "local-disk-full",
        "local-index-locked",
        "local-without-the-tag",
        "registry-export-denied",
        "push-denied",
        "run-says-not-found",
    ],
)
def test_a_recorded_build_with_any_other_trouble(name: str) -> None:
    assert blamed_for(name) == set()
