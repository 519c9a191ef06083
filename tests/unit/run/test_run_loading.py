"""A loaded image comes from the cache's folder where it can, and from BuildKit where it cannot."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import jsonschema
import pytest

from buildx_cache import layout
from buildx_cache.errors import BuildFailedError, InterruptedBuildError
from buildx_cache.plan import BuildInvocation, BuildPlan, ServingPlan
from buildx_cache.report import report_schema
from buildx_cache.run import Outcome, execute
from tests.unit.layout.layouts import Layout
from tests.unit.run.calls import (
    APP,
    BROKEN,
    CI,
    MADE,
    Ended,
    FakeEngine,
    RecordingDisplay,
    is_free,
    planned,
    said,
    vertex,
)

PLANNED, FROM_FOLDER = ["--load"], "type=oci,tar=false,dest="


@pytest.fixture
def cache(tmp_path: Path) -> Layout:
    made = Layout(tmp_path / "cache")
    made.tag("latest", made.cache([b"one", b"two"]))
    made.write_index()
    return made


def plan_of(cache: Layout, **asked: object) -> BuildPlan:
    """A plan by which no folder is served."""
    given = {"tag": [APP], "load": True, "cache_dir": str(cache.folder), "cache": "local", **asked}
    plan = planned(**given)
    return replace(plan, cache=replace(plan.cache, serving=ServingPlan()))


@dataclass(kw_only=True)
class Exporting(FakeEngine):
    """Writes the image where the build says, as Buildx does; ``outputs`` are those of each build."""

    images: list[str] = field(default_factory=lambda: ["sha256:id"])
    outputs: list[list[str]] = field(default_factory=list)
    exports: bool = True

    def build(
        self, build: BuildInvocation, on_stderr: Callable[[bytes], None], on_interrupt: Callable[[], None]
    ) -> int:
        self.outputs.append([*(each.spec for each in build.outputs), *(["--load"] if build.load else [])])
        if self.folder and self.exports:
            made = Layout(self.folder)
            root = made.image([b"one", b"two", b"three"])
            made.tag("1", root)
            made.write_index()
            self.metadata = {"containerimage.digest": root["digest"]}
        return super().build(build, on_stderr, on_interrupt)

    @property
    def folder(self) -> Path | None:
        """Where the last build was to write its image."""
        places = [word.removeprefix(FROM_FOLDER) for word in self.outputs[-1] if word.startswith(FROM_FOLDER)]
        return Path(places[0]) if places else None


def run(plan: BuildPlan, engine: FakeEngine, cache: Layout) -> tuple[Outcome, RecordingDisplay]:
    display = RecordingDisplay()
    outcome = execute(plan, engine, display, CI)
    jsonschema.validate(json.loads(outcome.report.to_json()), report_schema())
    assert list(cache.folder.glob(".buildx-cache-linked-*")) == []
    assert is_free(cache.folder)
    assert layout.verify(cache.folder) == ()
    return outcome, display


def test_the_engine_reads_what_the_build_wrote_beside_the_cache(cache: Layout) -> None:
    engine = Exporting()
    outcome, display = run(plan_of(cache), engine, cache)

    assert (outcome.error, outcome.results, outcome.report.images["default"].loaded) == (None, ("sha256:id",), True)
    assert engine.folder
    assert engine.folder.parent == cache.folder
    assert len(engine.fed) == 1
    assert b"three" in engine.fed[0]
    assert APP.encode() in engine.fed[0]
    assert engine.order == ["run create", "build", "run", "image_id", "loaded"]
    build, load = display.commands[1:]
    assert "--load" in build
    assert load == "docker image load"
    assert (display.warned, display.restarts) == ([], 0)


def test_what_the_engine_refuses_is_sent_by_buildkit(cache: Layout) -> None:
    engine = Exporting(builds=[(MADE, 0), (MADE, 0)], ends={"image load": Ended(code=1, stderr="no space\n  left\n")})
    outcome, display = run(plan_of(cache), engine, cache)
    assert (outcome.error, outcome.report.images["default"].loaded) == (None, True)
    assert engine.outputs[1] == PLANNED
    assert display.warned == ["the image could not be loaded from a folder; BuildKit sends it: no space left"]
    assert outcome.report.warnings == tuple(display.warned)


def test_a_folder_that_is_not_what_it_should_be_is_not_loaded(cache: Layout) -> None:
    engine = Exporting(builds=[(MADE, 0), (MADE, 0)], exports=False)
    outcome, display = run(plan_of(cache), engine, cache)
    assert outcome.error is None
    assert engine.fed == []
    assert engine.outputs[1] == PLANNED
    assert "its folder is damaged" in display.warned[0]


def test_a_layer_that_cannot_be_read_is_sent_by_buildkit(cache: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(layout.Archive, "write", refuse)
    engine = Exporting(builds=[(MADE, 0), (MADE, 0)])
    outcome, display = run(plan_of(cache), engine, cache)
    assert outcome.error is None
    assert "its folder cannot be read: Input/output error" in display.warned[0]


def test_where_buildkit_cannot_send_it_either_the_call_fails(cache: Layout) -> None:
    failed = said(vertex("exporting to docker image format", error="no space left on device"))
    engine = Exporting(
        builds=[(MADE, 0), (failed + b"ERROR: failed to solve: no space left on device\n", 1)],
        ends={"image load": Ended(code=1, stderr="no space left on device")},
    )
    outcome, _ = run(plan_of(cache), engine, cache)
    assert outcome.error
    assert "no space left" in outcome.error.message
    assert outcome.report.images["default"].loaded is False


def test_a_build_that_fails_over_the_folder_is_run_as_planned(cache: Layout) -> None:
    @dataclass(kw_only=True)
    class Failing(Exporting):
        def build(
            self, build: BuildInvocation, on_stderr: Callable[[bytes], None], on_interrupt: Callable[[], None]
        ) -> int:
            if not self.outputs:
                code = super().build(build, on_stderr, on_interrupt)
                on_stderr(f"ERROR: failed to build: mkdir {self.folder}: no space left on device\n".encode())
                return code
            return super().build(build, on_stderr, on_interrupt)

    engine = Failing(builds=[(b"", 1), (MADE, 0)])
    outcome, display = run(plan_of(cache), engine, cache)
    assert outcome.error is None
    assert engine.outputs[1] == PLANNED
    assert engine.fed == []
    assert display.restarts == 1


def test_a_broken_dockerfile_is_built_once(cache: Layout) -> None:
    engine = Exporting(builds=[(BROKEN, 1)])
    outcome, _ = run(plan_of(cache), engine, cache)
    assert isinstance(outcome.error, BuildFailedError)
    assert engine.fed == []


def test_an_interrupted_build_leaves_no_folder(cache: Layout) -> None:
    outcome, _ = run(plan_of(cache), Exporting(interrupt="build"), cache)
    assert isinstance(outcome.error, InterruptedBuildError)


def test_an_interrupted_load_leaves_no_folder_and_no_image(cache: Layout) -> None:
    outcome, _ = run(plan_of(cache), Exporting(interrupt="load"), cache)
    assert isinstance(outcome.error, InterruptedBuildError)
    assert outcome.report.images["default"].loaded is False


def test_without_a_cache_the_build_is_the_planned_one(cache: Layout) -> None:
    (cache.folder / "index.json").unlink()
    for blob in cache.blobs.iterdir():
        blob.unlink()
    engine = Exporting()
    execute(plan_of(cache), engine, RecordingDisplay(), CI)
    assert (engine.outputs, engine.fed) == ([PLANNED], [])


def test_where_no_blob_can_be_linked_the_build_is_the_planned_one(
    cache: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    engine = Exporting()
    outcome, display = run(plan_of(cache), engine, cache)
    assert outcome.error is None
    assert (engine.outputs, engine.fed, display.warned) == ([PLANNED], [], [])


def test_what_a_killed_call_left_goes_with_the_next_one(cache: Layout) -> None:
    left = layout.new_linked_folder(cache.folder)
    run(plan_of(cache, load=False, push=True), FakeEngine(), cache)
    assert not left.exists()
