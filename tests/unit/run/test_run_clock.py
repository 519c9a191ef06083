"""A clock that is set back while a build runs: the builder's, by which BuildKit tells times, and this machine's."""

from __future__ import annotations

import io
import itertools
import json
import os
import re
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from buildx_cache.display import PlainDisplay
from buildx_cache.display.live_state import LiveState, render_tree
from buildx_cache.report.formats import FORMATS, ReportInput
from tests.unit.layout.layouts import digest_of
from tests.unit.run.calls import APP, EXIT_2, FakeEngine, done, planned, said
from tests.unit.run.test_run_folders import EXPORTED, IMPORTED, cache_in, local_of, local_plan, working

NEGATIVE = re.compile(r"(?<![\w:.-])-\s?\d")


def ran(name: str, started: str, completed: str = "", **more: object) -> Mapping[str, object]:
    times = {
        "started": f"2025-11-24T04:{started}Z",
        **({"completed": f"2025-11-24T04:{completed}Z"} if completed else {}),
    }
    return {"digest": f"sha256:{name}", "name": name, **times, **more}


BACKWARDS = said(
    ran("[internal] load build definition from Dockerfile", "40:00"),
    ran("[internal] load build definition from Dockerfile", "40:00", "10:00"),
    ran("[build 1/4] FROM scratch", "10:01", "09:00"),
    ran("[build 2/4] RUN make", "09:30", inputs=["sha256:[build 1/4] FROM scratch"]),
    ran("[build 2/4] RUN make", "09:30", "05:00", inputs=["sha256:[build 1/4] FROM scratch"]),
    ran("[build 3/4] RUN test", "04:00", "04:02", inputs=["sha256:[build 2/4] RUN make"]),
    ran("exporting to image", "03:00", "01:00"),
    ran("exporting cache to client directory", "00:30", "00:10"),
)
FAILED = BACKWARDS + said(ran("[build 4/4] RUN fail", "02:00", "01:00", error=EXIT_2))


def figures(document: object) -> list[float]:
    """Every number in a document."""
    if isinstance(document, Mapping):
        return [number for value in document.values() for number in figures(value)]
    if isinstance(document, list):
        return [number for value in document for number in figures(value)]
    return [document] if isinstance(document, int | float) else []


@pytest.fixture
def set_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine's clock loses an hour whenever it is looked at."""
    moments = itertools.count(1_764_000_000.0, -3600.0)
    monkeypatch.setattr(time, "time", lambda: next(moments))


@pytest.mark.usefixtures("set_back")
@pytest.mark.parametrize(("stream", "code"), [(BACKWARDS, 0), (FAILED, 1)], ids=["success", "failure"])
def test_no_duration_is_negative_and_every_report_is_whole(stream: bytes, code: int) -> None:
    outcome, display = done(planned(tag=[APP], push=True), FakeEngine(builds=[(stream, code)]))  # checks the schema
    assert bool(outcome.error) is bool(code)
    report = json.loads(outcome.report.to_json())
    assert min(figures(report)) >= 0
    seconds = {step["name"]: step["seconds"] for step in report["steps"]}
    assert (seconds["RUN make"], seconds["RUN test"]) == (0, 2)

    told = ReportInput(report=outcome.report, trace=outcome.trace, logs=outcome.logs, error=outcome.error)
    texts = [form(told) for form in FORMATS.values()]
    out = io.StringIO()
    plain, board = PlainDisplay(out, color=False), LiveState()
    for event in display.events:
        plain.event(event)
        board.take(event)
        texts += [str(line) for line in render_tree(board, head="building", rows=20, columns=80, now=time.time())]
    plain.close()
    plain.summary(outcome.report)
    for text in (*texts, out.getvalue()):
        assert NEGATIVE.search(re.sub(r"<(style|script)>.*?</\1>", "", text, flags=re.DOTALL)) is None
    assert "2.0s  [build 3/4] RUN test" in out.getvalue()


def test_what_others_write_after_the_clock_was_set_back_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plain export into the same folder holds no lock: by its files' times it looks older than the build."""
    layout = cache_in(tmp_path / "cache")
    real = time.time
    earlier = real() - 3600

    def write() -> None:
        monkeypatch.setattr(time, "time", lambda: real() - 3600)
        os.utime(layout.path(str(layout.put(b"young")["digest"])), (earlier + 30, earlier + 30))

    engine = working(write, stream=IMPORTED + EXPORTED)
    outcome, _ = done(local_plan(tmp_path / "cache"), engine)
    assert digest_of(b"young") in layout.present()
    assert local_of(outcome.report).swept_bytes == 0
