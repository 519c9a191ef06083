"""What a build from the cache saved, by what its steps took when they last ran."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from buildx_cache.buildkit.trace import Step
from buildx_cache.run import Outcome, with_saved
from buildx_cache.run.enrichment import STEPS, StepRecord
from tests.unit.report.builds import report_of, step, trace_of


def ran(name: str, seconds: float, stage: str = "build", platform: str = "", error: str = "") -> Step:
    return step(f"{stage}{name}{seconds}", (10, 10 + seconds), name=name, stage=stage, platform=platform, error=error)


def cached(name: str, stage: str = "build", platform: str = "") -> Step:
    return step(f"new digest of {stage}{name}", (10, 10), name=name, stage=stage, platform=platform, cached=True)


def built(*steps: Step) -> Outcome:
    report = report_of(trace_of(*steps))
    return Outcome(report=replace(report, cache=replace(report.cache, saved_seconds=None)))


def saved(record: Path, *steps: Step, writes: bool = True) -> float | None:
    return with_saved(built(*steps), StepRecord(path=record, writes=writes)).report.cache.saved_seconds


@pytest.fixture
def record(tmp_path: Path) -> Path:
    return tmp_path / "steps.json"


def test_cached_steps_save_what_they_took_when_they_last_ran(record: Path) -> None:
    assert saved(record, ran("RUN a", 100.0), ran("RUN b", 20.0)) is None
    assert saved(record, cached("RUN a"), ran("RUN b", 30.0)) == 100.0
    assert saved(record, cached("RUN a"), cached("RUN b"), cached("RUN c")) == 130.0


def test_another_stage_or_platform_is_another_step(record: Path) -> None:
    saved(record, ran("RUN a", 1.0), ran("RUN a", 2.0, stage="x"), ran("RUN a", 4.0, platform="linux/arm64"))
    assert saved(record, cached("RUN a", stage="x")) == 2.0
    assert saved(record, cached("RUN a", platform="linux/arm64")) == 4.0
    assert saved(record, cached("RUN a", stage="y")) is None


def test_the_same_instruction_twice_is_two_steps(record: Path) -> None:
    saved(record, ran("RUN make", 1.0), ran("RUN make", 5.0))
    assert saved(record, cached("RUN make"), ran("RUN make", 6.0)) == 1.0
    assert saved(record, cached("RUN make"), cached("RUN make")) == 7.0


def test_base_images_and_failures_are_not_recorded(record: Path) -> None:
    saved(record, ran("FROM x", 9.0), ran("RUN a", 3.0, error="exit code: 1"))
    assert not record.exists()


def test_a_build_from_the_cache_writes_nothing(record: Path) -> None:
    saved(record, ran("RUN a", 1.0))
    before = record.stat().st_ino
    saved(record, cached("RUN a"))
    assert record.stat().st_ino == before


def test_a_record_that_is_not_to_be_written_is_read_all_the_same(record: Path) -> None:
    assert saved(record, ran("RUN a", 1.0), writes=False) is None
    assert not record.exists()
    saved(record, ran("RUN a", 1.0))
    assert saved(record, cached("RUN a"), ran("RUN b", 3.0), writes=False) == 1.0
    assert saved(record, cached("RUN b")) is None


def test_the_record_is_bounded_and_keeps_the_last_used(record: Path) -> None:
    saved(record, ran("RUN old", 1.0), ran("RUN used", 2.0))
    saved(record, cached("RUN used"), *(ran(f"RUN {number}", 1.0) for number in range(STEPS - 1)))
    assert len(json.loads(record.read_text())) == STEPS
    assert saved(record, cached("RUN used"), cached("RUN old")) == 2.0
    assert record.stat().st_size < 128 * 1024


def test_nothing_but_hashes_and_seconds_is_recorded(record: Path) -> None:
    saved(record, ran("RUN secret thing", 1.5))
    ((key, seconds),) = json.loads(record.read_text()).items()
    assert set(key) <= set("0123456789abcdef-")
    assert seconds == 1.5


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"3", b"\xff\xfe", b"[" * 100_000, b'{"a": "x", "b": true, "c": null, "d": -1}', b" " * 300_000],
)
def test_a_damaged_record_is_as_good_as_none(record: Path, content: bytes) -> None:
    record.write_bytes(content)
    assert saved(record, cached("RUN a")) is None
    saved(record, ran("RUN a", 1.0))
    assert saved(record, cached("RUN a")) == 1.0


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-1", "true", "1e300", '"1"', "null"])
def test_only_durations_count(record: Path, value: str) -> None:
    saved(record, ran("RUN a", 1.0))
    record.write_text(record.read_text().replace("1.0", value))
    assert saved(record, cached("RUN a")) is None


def test_a_record_that_cannot_be_written_or_read_fails_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "file" / "steps.json", tmp_path):
        assert saved(path, ran("RUN a", 1.0), cached("RUN b")) is None


def test_what_is_known_of_the_report_otherwise_stays(record: Path) -> None:
    outcome = replace(built(ran("RUN a", 1.0)), results=("x",))
    assert with_saved(outcome, StepRecord(path=record, writes=True)) is outcome
    again = replace(outcome, report=built(cached("RUN a")).report)
    told = with_saved(again, StepRecord(path=record, writes=True))
    assert told.results == ("x",)
    assert told.report.steps == again.report.steps
