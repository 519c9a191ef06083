from __future__ import annotations

import time
from dataclasses import replace

import pytest

from buildx_cache.buildkit.trace import Step, Transfer
from buildx_cache.report.timeline import AFTER, BEFORE, CriticalPath, critical_path, make_timeline
from tests.unit.report.builds import RECORDINGS, generated, recorded, step, trace_of, transfer


def path_of(*steps: Step, transfers: tuple[Transfer, ...] = (), failed: Step | None = None) -> CriticalPath:
    return critical_path(trace_of(*steps, transfers=transfers, failed=failed))


def test_no_step_is_no_path() -> None:
    assert path_of() == CriticalPath()


def test_the_longer_of_two_chains_is_the_path() -> None:
    base = step("base", (0, 1))
    slow = step("slow", (1, 9), inputs=("base",))
    quick = step("quick", (1, 2), inputs=("base",))
    last = step("last", (9, 10), inputs=("quick", "slow"))
    assert path_of(last, quick, slow, base) == CriticalPath(digests=("base", "slow", "last"), seconds=10)


def test_many_short_steps_outweigh_a_long_one() -> None:
    chain = [step(str(each), (each, each + 1), inputs=(str(each - 1),) if each else ()) for each in range(5)]
    alone = step("alone", (0, 4))
    assert path_of(alone, *chain) == CriticalPath(digests=("0", "1", "2", "3", "4"), seconds=5)


def test_waiting_for_something_else_is_not_on_the_path() -> None:
    path = path_of(step("first", (0, 2)), step("last", (7, 8), inputs=("first",)))
    assert path == CriticalPath(digests=("first", "last"), seconds=3)


def test_time_is_counted_once_where_steps_overlap() -> None:
    path = path_of(step("first", (0, 6)), step("last", (2, 8), inputs=("first",)))
    assert path == CriticalPath(digests=("first", "last"), seconds=8)


def test_a_cached_step_passes_the_path_on() -> None:
    steps = step("a", (0, 3)), step("b", (3, 3), inputs=("a",), cached=True), step("c", (3, 4), inputs=("b",))
    assert path_of(*steps).digests == ("a", "b", "c")


def test_inputs_that_are_no_rows_are_passed_over() -> None:
    assert path_of(step("a", (0, 1), inputs=("unknown",))) == CriticalPath(digests=("a",), seconds=1)


def test_the_context_is_an_input_like_a_step() -> None:
    sent = transfer("context", "sent", (0, 5))
    path = path_of(step("base", (0, 1)), step("copy", (5, 6), inputs=("base", "sent")), transfers=(sent,))
    assert path.digests == ("sent", "copy")


def test_exports_wait_for_what_ended_before_them() -> None:
    exports = transfer("image-export", "image", (4, 6)), transfer("cache-export", "cache", (6, 9))
    path = path_of(step("a", (0, 4)), step("later", (5, 7)), transfers=exports)
    assert path == CriticalPath(digests=("a", "image", "cache"), seconds=9)


def test_looking_up_is_waited_for_by_no_export() -> None:
    looked_up, image = transfer("other", "metadata", (0, 5)), transfer("image-export", "image", (6, 7))
    assert path_of(transfers=(looked_up, image)).digests == ("metadata",)


def test_the_path_of_a_failed_build_leads_to_what_failed() -> None:
    failed = step("failed", (1, 3), inputs=("base",), error="exit code: 1")
    stopped = step("stopped", (1, 4), inputs=("base",), error="context canceled")
    path = path_of(step("base", (0, 1)), failed, stopped, failed=failed)
    assert path == CriticalPath(digests=("base", "failed"), seconds=3)


@pytest.mark.parametrize("inputs", [("a",), ("b",)])
def test_a_circle_does_not_hang(inputs: tuple[str, ...]) -> None:
    path = path_of(step("a", (0, 9), inputs=inputs), step("b", (0, 9), inputs=("a",)), step("c", (0, 1)))
    assert path == CriticalPath(digests=("c",), seconds=1)


def test_a_long_chain_needs_no_recursion() -> None:
    chain = [step(str(each), (each, each + 1), inputs=(str(each - 1),)) for each in range(3000)]
    assert path_of(*chain).seconds == 3000


def test_thousands_of_exports_take_no_time() -> None:
    exports = tuple(transfer("push", str(each), (each, each + 1)) for each in range(1, 4001))
    started = time.process_time()
    path = path_of(step("a", (0, 1)), transfers=exports)
    assert time.process_time() - started < 20.0
    assert path.digests[:3] == ("a", "1", "2")


def test_what_has_not_ended_is_on_no_path_and_reaches_to_the_end() -> None:
    trace = trace_of(step("a", (10, 12)), step("b", (11, None), inputs=("a",)), step("c"))
    assert critical_path(trace).digests == ("a",)
    done, running, waiting = make_timeline(trace).rows
    assert (done.start, done.end, done.critical) == (0, 2, True)
    assert (running.kind, running.start, running.end, running.seconds) == ("executed", 1, 2, 1)
    assert (waiting.kind, waiting.start, waiting.end, waiting.seconds) == ("unreached", 0, 0, 0)


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({}, "executed"),
        ({"cached": True}, "cached"),
        ({"cached": True, "bytes_total": 5}, "loading"),
        ({"cached": True, "loaded": (0.5, 1.0)}, "loading"),
        ({"name": "FROM alpine"}, "pulling"),
        ({"name": "FROM alpine", "cached": True}, "cached"),
        ({"error": "context canceled"}, "stopped"),
        ({"error": "context canceled", "started": None, "completed": None}, "stopped"),
        ({"started": None, "completed": None}, "unreached"),
    ],
)
def test_kinds_of_steps(fields: dict[str, object], kind: str) -> None:
    (row,) = make_timeline(trace_of(step("a", (0, 1), **fields))).rows
    assert row.kind == kind


def test_a_cached_step_whose_layers_were_pulled_took_that_time() -> None:
    (row,) = make_timeline(trace_of(step("a", (0, 3), cached=True, seconds=0.0, bytes_total=5, bytes=4))).rows
    assert (row.seconds, row.size) == (3, 5)


def test_the_failed_step_is_the_traces() -> None:
    failed = step("a", (0, 1), error="no")
    assert [row.kind for row in make_timeline(trace_of(failed, step("b", (0, 1)), failed=failed)).rows] == [
        "failed",
        "executed",
    ]


def test_lanes_are_stages_on_platforms_between_what_comes_before_and_after() -> None:
    trace = trace_of(
        step("a", (1, 2), platform="linux/amd64"),
        step("b", (1, 2), platform="linux/arm64"),
        step("c", (2, 3), stage=""),
        step("d", (3, 4), platform="linux/amd64"),
        transfers=(transfer("push", "p", (5, 6)), transfer("cache-import", "i", (0, 1)), transfer("load", "l", (4, 5))),
    )
    timeline = make_timeline(trace)
    assert [(lane.title, lane.platform, [row.digest for row in lane.rows]) for lane in timeline.lanes] == [
        (BEFORE, "", ["i"]),
        ("Stage build", "linux/amd64", ["a", "d"]),
        ("Stage build", "linux/arm64", ["b"]),
        ("Steps", "", ["c"]),
        (AFTER, "", ["p", "l"]),
    ]
    assert timeline.seconds == 6


def test_an_empty_build_has_no_lanes() -> None:
    timeline = make_timeline(trace_of())
    assert (timeline.lanes, timeline.seconds, timeline.critical_seconds) == ((), 0, 0)


def test_a_recorded_build_leads_to_its_exports() -> None:
    build = recorded("push-and-cache-export")
    timeline = make_timeline(build.trace)
    assert [row.name for row in timeline.rows if row.critical][-2:] == [
        "exporting to image",
        "exporting cache to registry",
    ]
    assert timeline.critical_seconds == pytest.approx(0.618, abs=0.001)


def test_a_recorded_failure_leads_to_what_failed() -> None:
    build = recorded("failing-run")
    critical = [row for row in make_timeline(build.trace).rows if row.critical]
    assert [row.kind for row in critical] == ["cached", "executed", "failed"]
    assert build.trace.failed is not None
    assert critical[-1].digest == build.trace.failed.digest


def test_no_path_is_longer_than_its_build() -> None:
    for seed in range(1, 200, 20):
        trace = generated(seed).trace
        timeline = make_timeline(trace)
        longest = max(each.seconds for each in trace.steps)
        assert longest <= timeline.critical_seconds + 1e-6 <= timeline.seconds + 2e-6


def test_the_order_of_the_steps_does_not_change_the_length() -> None:
    trace = generated(75).trace
    assert critical_path(replace(trace, steps=trace.steps[::-1])).seconds == pytest.approx(critical_path(trace).seconds)


RECORDED = sorted(f"{path.parent}/{path.stem}" for path in RECORDINGS.parent.rglob("*.rawjson"))
MOMENT = 0.1  # seconds


@pytest.mark.parametrize("name", RECORDED, ids=lambda name: "/".join(name.split("/")[-2:]))
def test_a_recorded_build_is_laid_out_as_it_was(name: str) -> None:
    trace = recorded(name).trace
    timeline = make_timeline(trace)
    rounding = 1e-6
    assert timeline.critical_seconds <= timeline.seconds + rounding
    moved = {step.digest for step in trace.steps if step.bytes_total or step.loaded}
    for row in timeline.rows:
        assert 0 <= row.start <= row.end <= timeline.seconds + rounding, row
        assert row.kind != "cached" or row.digest in moved or row.end - row.start <= MOMENT, row
        assert row.kind != "pulling" or row.name.startswith("FROM "), row


def test_a_cached_step_is_drawn_where_it_was_loaded_not_where_it_waited() -> None:
    waits = step("waits", (0, 9), cached=True)
    loads = replace(step("loads", (0, 9), inputs=("waits",), cached=True), loaded=(8.0, 8.5))
    runs = step("runs", (0, 2))
    rows = {row.digest: row for row in make_timeline(trace_of(waits, loads, runs)).rows}
    assert [(row.start, row.end) for row in (rows["waits"], rows["loads"])] == [(9, 9), (8, 8.5)]
    assert critical_path(trace_of(waits, loads, runs)) == CriticalPath(digests=("runs",), seconds=2)
