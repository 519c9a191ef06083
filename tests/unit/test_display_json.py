"""Events on stdout: what is documented is what comes."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import buildx_cache
from buildx_cache.buildkit.events import LogEvent, TextLine, VertexEvent
from buildx_cache.buildkit.stream import StreamParser
from buildx_cache.buildkit.trace_builder import TraceBuilder
from buildx_cache.display.jsonl import VERSION, JsonDisplay
from buildx_cache.errors import BuildFailedError
from buildx_cache.report import report_schema
from tests.unit.test_display import REPORT

ALL = sorted((Path(__file__).parent / "recordings").glob("*/*.rawjson"))
DOCUMENT = Path(buildx_cache.__file__).parent / "docs" / "progress-json.md"
TYPES: dict[str, Any] = {
    "str": str,
    "int": int,
    "float": (int, float),
    "float?": (int, float, type(None)),
    "object": dict,
    "array": list,
}


def documented() -> dict[str, dict[str, str]]:
    rows = re.findall(r"^\| `(\w+)` \| ([^|]*)\|", DOCUMENT.read_text(), re.MULTILINE)
    return {event: dict(re.findall(r"`(\w+)` ([a-z?]+)", fields)) for event, fields in rows}


def told(recording: Path) -> tuple[list[dict[str, Any]], TraceBuilder]:
    out, parser, trace = io.StringIO(), StreamParser(), TraceBuilder()
    display = JsonDisplay(out)
    display.phase("build")
    for event in (*parser.feed(recording.read_bytes()), *parser.close()):
        display.event(event)
        trace.add(event)
    display.phase("")
    display.close()
    return [json.loads(line) for line in out.getvalue().splitlines()], trace


def check(events: list[dict[str, Any]]) -> None:
    """Every event is as the document says."""
    table = documented()
    for event in events:
        fields = dict(event)
        assert isinstance(fields.pop("time"), float)
        row = table[fields.pop("event")]
        assert fields.keys() == row.keys(), event
        for name, value in fields.items():
            assert isinstance(value, TYPES[row[name]]), event


@pytest.mark.parametrize("recording", ALL, ids=[f"{path.parent.name}/{path.stem}" for path in ALL])
def test_the_events_of_a_real_build_are_as_documented_and_end_as_the_trace_does(recording: Path) -> None:
    events, builder = told(recording)
    check(events)
    last = {event["id"]: event for event in events if event["event"] == "step"}
    steps = [step for step in builder.trace().steps if step.started is not None]
    assert len(last) == len(steps)
    by_place = {(each["platform"], each["stage"], each["number"], each["name"]): each for each in last.values()}
    for step in steps:
        told_last = by_place[step.platform, step.stage, step.number, " ".join(step.name.split())]
        assert (told_last["state"] == "cached") is step.cached
        assert told_last["seconds"] == round(step.seconds, 3)
        assert bool(told_last["error"]) is bool(step.error)


def test_everything_else_is_as_documented_too() -> None:
    out = io.StringIO()
    display = JsonDisplay(out)
    display.say("said\x1b[2J")
    display.warn("careful")
    display.command("docker buildx build --secret id=x")
    display.event(TextLine(text="WARNING: no output"))
    display.restart()
    display.result("app:1@sha256:0")
    display.summary(REPORT)
    display.failure(BuildFailedError("it failed", hint="mend it"), None)
    events = [json.loads(line) for line in out.getvalue().splitlines()]
    check(events)
    names = [event["event"] for event in events]
    assert names == ["start", "message", "warning", "command", "warning", "restart", "result", "report", "error"]
    assert events[0]["version"] == VERSION == 1
    assert events[1]["text"] == "said"
    assert (events[-1]["exit_code"], events[-1]["hint"]) == (1, "mend it")
    jsonschema.validate(events[-2]["report"], report_schema())


def test_a_log_is_told_by_line_and_its_unfinished_end_with_the_step() -> None:
    out = io.StringIO()
    display = JsonDisplay(out)
    about = {"inputs": (), "name": "[1/1] RUN x", "started": 1.0, "cached": False, "error": ""}
    display.event(VertexEvent(digest="sha256:a", completed=None, **about))  # type: ignore[arg-type]
    display.event(LogEvent(vertex="sha256:a", stream=2, encoded="b25lCnR3"))  # one, tw
    display.event(LogEvent(vertex="sha256:a", stream=2, encoded="bw=="))  # o
    display.event(VertexEvent(digest="sha256:a", completed=2.0, **about))  # type: ignore[arg-type]
    events = [json.loads(line) for line in out.getvalue().splitlines()][1:]
    check(events)
    assert [(each["event"], each.get("text", each.get("state"))) for each in events] == [
        ("step", "running"),
        ("log", "one"),
        ("log", "two"),
        ("step", "done"),
    ]
    assert {each["stream"] for each in events if each["event"] == "log"} == {"stderr"}


def test_each_line_is_handed_on_at_once() -> None:
    class Reader(io.StringIO):
        flushed = 0

        def flush(self) -> None:
            Reader.flushed += 1

    display = JsonDisplay(Reader())
    display.say("x")
    assert Reader.flushed == 2


def test_a_reader_that_went_away_ends_the_call() -> None:
    class Gone(io.StringIO):
        def flush(self) -> None:
            raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        JsonDisplay(Gone())
