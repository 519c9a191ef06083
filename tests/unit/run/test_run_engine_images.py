"""Images that only the engine has: handed to a builder, or said to be where it cannot read them."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from buildx_cache.ci import CIContext
from buildx_cache.errors import BuildFailedError, DeniedError, UnreachableError
from buildx_cache.plan import BuildInvocation, ImageStore
from buildx_cache.run import Outcome, execute
from tests.unit.run.calls import CI, FACTS, MADE, FakeEngine, RecordingDisplay, planned_for, said, vertex

IMAGE = "docker.io/library/base:local"
MANIFEST = "sha256:" + "5e" * 32
NO_HOST = (
    'failed to do request: Head "https://registry-1.docker.io/v2/": dial tcp: lookup registry-1.docker.io: no such host'
)
NOT_FOUND = f"failed to resolve source metadata for {IMAGE}: {IMAGE}: not found"
DENIED = (
    f"failed to resolve source metadata for {IMAGE}: pull access denied, repository does not exist or may require "
    "authorization: server message: insufficient_scope: authorization failed"
)


def lacking(error: str, name: str = f"[internal] load metadata for {IMAGE}") -> tuple[bytes, int]:
    return said(vertex(name, error=error), text=f"ERROR: failed to solve: {error}\n"), 1


def archive(members: Mapping[str, bytes]) -> bytes:
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w") as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return written.getvalue()


FORK = replace(CI, is_fork=True)
LAYOUT = {
    "blobs/sha256/" + "5e" * 32: b"{}",
    "oci-layout": b"{}",
    "manifest.json": b"[]",
    "index.json": json.dumps({"manifests": [{"digest": MANIFEST}]}).encode(),
}


def run(engine: FakeEngine, /, **asked: object) -> Outcome:
    return run_for(CI, engine, **asked)


def run_for(ci: CIContext, engine: FakeEngine, /, **asked: object) -> Outcome:
    plan = planned_for(ci, FACTS, tag=["app"], load=True, **asked)
    return execute(plan, engine, RecordingDisplay(), ci, sleep=engine.slept.append)


def engine(*builds: tuple[bytes, int], digests: tuple[str, ...] | None = (), content: bytes = b"") -> FakeEngine:
    known = {} if digests is None else {IMAGE: digests}
    return FakeEngine(
        builds=[*builds, (MADE, 0)], digests=known, archive=content or archive(LAYOUT), images=["sha256:1"] * 9
    )


def place(build: BuildInvocation) -> str:
    (context,) = build.build_context
    name, _, address = context.partition("=")
    assert (name, address.endswith(f"@{MANIFEST}")) == ("base:local", True)
    return address.removeprefix("oci-layout://").partition("@")[0]


@pytest.mark.parametrize(
    ("error", "digests"),
    [
        pytest.param(NOT_FOUND, (), id="not-found"),
        pytest.param(NOT_FOUND, ("base@sha256:1",), id="not-found-any-more"),
        pytest.param(DENIED, (), id="denied"),
        pytest.param(NO_HOST, (), id="no-network"),
    ],
)
def test_an_image_that_no_registry_has_is_handed_over(error: str, digests: tuple[str, ...]) -> None:
    fake = engine(lacking(error), digests=digests)
    outcome = run(fake)
    assert outcome.error is None
    first, second = fake.built
    assert first.build_context == ()
    assert not Path(place(second)).exists()
    assert [(retry.phase, retry.count) for retry in outcome.report.retries] == [("pull", 1)]
    assert fake.slept == []


@pytest.mark.parametrize(
    ("error", "digests", "asked", "kind"),
    [
        pytest.param(NO_HOST, ("base@sha256:1",), {}, UnreachableError, id="a-registrys-image-without-network"),
        pytest.param(DENIED, ("base@sha256:1",), {}, DeniedError, id="a-registrys-image-that-is-denied"),
        pytest.param(NOT_FOUND, None, {}, BuildFailedError, id="nowhere"),
        pytest.param(NOT_FOUND, (), {"pull": True}, BuildFailedError, id="pull"),
        pytest.param(NOT_FOUND, (), {"buildx_flags": ("--pull",)}, BuildFailedError, id="pull-flag"),
        pytest.param(NOT_FOUND, (), {"driver": "docker"}, BuildFailedError, id="the-engines-own-builder"),
    ],
)
def test_any_other_image_is_not(
    error: str, digests: tuple[str, ...] | None, asked: Mapping[str, object], kind: type[Exception]
) -> None:
    fake = engine(lacking(error), digests=digests)
    outcome = run(fake, **asked)
    assert type(outcome.error) is kind
    assert "save_image" not in fake.order


@pytest.mark.parametrize(
    ("store", "error", "kind"),
    [
        (ImageStore.CONTAINERD, DENIED, type(None)),
        (ImageStore.CLASSIC, DENIED, DeniedError),
        (ImageStore.CONTAINERD, NO_HOST, UnreachableError),
    ],
)
def test_where_all_images_have_digests_a_denied_one_is_handed_over(store: ImageStore, error: str, kind: type) -> None:
    fake = engine(lacking(error), digests=("base@sha256:1",))
    plan = planned_for(CI, replace(FACTS, store=store), tag=["app"], load=True, driver="docker-container")
    outcome = execute(plan, fake, RecordingDisplay(), CI, sleep=fake.slept.append)
    assert type(outcome.error) is kind


@pytest.mark.parametrize(
    ("ci", "asked", "is_handed_over"),
    [
        pytest.param(replace(CI, is_remote=True), {}, False, id="an-address"),
        pytest.param(replace(CI, provider="drone"), {"cache_read_only": True}, False, id="a-ci-that-tells-no-fork"),
        pytest.param(replace(CI, provider="drone"), {}, True, id="such-a-ci-whose-builds-write"),
        pytest.param(replace(CI, provider="github"), {"cache_read_only": True}, True, id="no-fork"),
        pytest.param(replace(CI, provider="none"), {"cache_read_only": True}, True, id="no-ci"),
        pytest.param(FORK, {"cache_read_only": False}, True, id="a-fork-that-the-caller-trusts"),
    ],
)
def test_no_stranger_chooses_an_image_of_the_engine(
    ci: CIContext,
    asked: Mapping[str, object],
    is_handed_over: bool,  # noqa: FBT001 -- a table
) -> None:
    fake = engine(lacking(NOT_FOUND))
    outcome = run_for(ci, fake, **asked)
    assert (outcome.error is None, "save_image" in fake.order) == (is_handed_over, is_handed_over)


@pytest.mark.parametrize("digests", [(), ("base@sha256:1",)])
def test_a_fork_chooses_no_image_of_the_engine(digests: tuple[str, ...]) -> None:
    passing = lacking("failed to do request: unexpected status from HEAD request to https://r.test/v2/: 503 Busy")
    fake = engine(passing, lacking(NOT_FOUND), digests=digests)
    outcome = run_for(FORK, fake)
    assert type(outcome.error) is BuildFailedError
    assert sum("only the engine has" in warning for warning in outcome.report.warnings) == 1
    assert "save_image" not in fake.order


def test_a_fork_that_the_caller_trusts_with_caches_is_handed_images() -> None:
    fake = engine(lacking(NOT_FOUND))
    assert run_for(FORK, fake, cache_read_only=False).error is None
    assert fake.order.count("save_image") == 1


def test_a_dockerfile_has_no_end_of_images_copied() -> None:
    names = [f"docker.io/library/base{number}:local" for number in range(40)]
    failing = [lacking(NOT_FOUND.replace(IMAGE, name), f"[internal] load metadata for {name}") for name in names]
    fake = replace(engine(*failing), digests=dict.fromkeys(names, ()))
    assert type(run(fake).error) is BuildFailedError
    assert fake.order.count("save_image") == 16


def test_what_still_fails_is_not_handed_over_again() -> None:
    fake = engine(lacking(NOT_FOUND), lacking(NOT_FOUND))
    assert isinstance(run(fake).error, BuildFailedError)
    assert fake.order.count("save_image") == 1


def test_a_context_that_is_an_image_is_replaced() -> None:
    fake = engine(lacking(NOT_FOUND, name="[context x] load metadata for base:local"))
    assert run(fake, build_context=["x=docker-image://base:local", "y=../y"]).error is None
    first, second, third = fake.built[-1].build_context
    assert first.startswith("x=oci-layout://")
    assert second == "y=../y"
    assert third.partition("=")[2] == first.partition("=")[2]


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(archive({"manifest.json": b"[]"}), id="before-docker-25"),
        pytest.param(archive({**LAYOUT, "index.json": b"[]"}), id="no-index"),
        pytest.param(archive({**LAYOUT, "index.json": b"{"}), id="no-json"),
        pytest.param(b"no archive", id="no-archive"),
    ],
)
def test_an_image_that_the_engine_cannot_hand_over_is_said_to_be_there(content: bytes) -> None:
    outcome = run(engine(lacking(NOT_FOUND), content=content))
    assert outcome.error is not None
    assert (outcome.error.code, outcome.error.exit_code) == ("image-only-in-engine", 1)


def test_an_archive_writes_nothing_but_its_layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "scratch"))
    (tmp_path / "scratch").mkdir()
    found: list[str] = []

    def look() -> None:
        found.extend(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())

    names = ("../../x", str(tmp_path / "y"), "blobs/sha256/../../../z", "other")
    fake = engine(lacking(NOT_FOUND), content=archive({**LAYOUT, **dict.fromkeys(names, b"x")}))
    fake = replace(fake, deeds=(lambda: None, look))
    assert run(fake).error is None
    kept = sorted(name.partition("/buildx-cache-call-")[2].partition("/")[2] for name in found)
    assert [name for name in kept if not name.startswith(".lock")] == [
        "blobs/sha256/" + "5e" * 32,
        "index.json",
        "oci-layout",
    ]
