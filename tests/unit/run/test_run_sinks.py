"""A secret that a build prints in pieces, with what is not seen between them, at every place that shows a build."""

from __future__ import annotations

import base64
import html
import io
import json
import re
from collections.abc import Iterator
from dataclasses import replace

import pytest

from buildx_cache.buildkit.events import Event
from buildx_cache.ci.step_outputs import annotate
from buildx_cache.display import Display
from buildx_cache.display.jsonl import JsonDisplay
from buildx_cache.display.live_state import LiveState, render_tree
from buildx_cache.display.plain import PlainDisplay
from buildx_cache.display.quiet import QuietDisplay
from buildx_cache.formatting import printable
from buildx_cache.redaction import Redactor, Secret
from buildx_cache.report.formats import FORMATS, ReportInput
from buildx_cache.run import Outcome, Secrets, execute
from tests.unit.run.calls import CI, Ended, FakeEngine, RecordingDisplay, planned

SECRET = "hunter2secret"  # noqa: S105 -- the test's own
SEQUENCES = {
    "CSI": "\x1b[0m",
    "CSI with parameters": "\x1b[38;2;1;2;3m",
    "CSI with an intermediate": "\x1b[1 q",
    "CSI of 8 bits": "\x9b31m",
    "OSC ended by BEL": "\x1b]0;title\x07",
    "OSC ended by ST": "\x1b]8;;http://127.0.0.1:9/\x1b\\",
    "OSC of 8 bits": "\x9d0;title\x9c",
    "DCS": "\x1bP1;2|x\x1b\\",
    "DCS of 8 bits": "\x90q\x9c",
    "APC": "\x1b_x\x1b\\",
    "PM": "\x1b^x\x1b\\",
    "SOS": "\x1bXx\x1b\\",
    "two characters": "\x1bM",
    "reset": "\x1bc",
    "private": "\x1b7",
    "character set": "\x1b(B",
    "several": "\x1b[0m\x1b(B\x00\u200b\x1b]0;x\x07",
    "nested": "\x1b\x1b[0m",
}
UNSEEN = (
    *(chr(code) for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in "\t\n\x1b\x90\x98\x9b\x9d\x9e\x9f"),
    *"\u00ad\u034f\u061c\u115f\u1160\u180e\u200b\u200c\u200d\u200e\u200f\u2028\u2029\u202a\u202b\u202c\u202d\u202e",
    *"\u2060\u2061\u2062\u2063\u2064\u2066\u2067\u2068\u2069\u206a\u3164\ufe00\ufe0f\ufeff\uffa0\ufff9\ufffe\uffff",
    *"\U000e0001\U000e0041\U000e0100",
)


def split(between: str) -> Iterator[str]:
    """The secret in two pieces, at each place, and in all its letters."""
    yield from (f"{SECRET[:at]}{between}{SECRET[at:]}" for at in range(1, len(SECRET)))
    yield between.join(SECRET)


def stream(texts: list[str]) -> bytes:
    """A build that says the texts wherever it can, its log in pieces of three bytes."""
    digest, number = "sha256:step", len(texts)
    lines = [f"log: {text}\n".encode() for text in texts]
    log = [part for line in lines for part in (line[at : at + 3] for at in range(0, len(line), 3))]

    def coded(raw: bytes) -> str:
        return base64.b64encode(raw).decode()

    step = {"digest": digest, "name": f"[a 1/{number}] RUN {' '.join(texts)}", "started": "2025-11-24T04:30:00Z"}
    pushing = {"digest": "sha256:push", "name": f"pushing {texts[0]}", "started": "2025-11-24T04:30:00Z"}
    ended = {"completed": "2025-11-24T04:30:02Z", "error": f"process failed: {' '.join(texts)}: exit code: 1"}
    warnings = [
        {"vertex": digest, "short": coded(text.encode()), "sourceInfo": {"filename": text}, "range": []}
        for text in texts[:8]
    ]
    messages = [
        {"vertexes": [step, pushing]},
        *({"logs": [{"vertex": digest, "stream": 2, "data": coded(part)}]} for part in log),
        {"warnings": warnings},
        {"vertexes": [{**step, **ended}, {**pushing, **ended}]},
    ]
    words = "".join(f"WARNING: {text}\n" for text in texts if "\r" not in text and "\n" not in text)
    excerpt = f"Dockerfile:1\n--------------------\n   1 | >>> RUN {texts[0]}\n--------------------\n"
    return ("".join(f"{json.dumps(each)}\n" for each in messages) + words + excerpt).encode("utf-8", "surrogatepass")


def shown_by(outcome: Outcome, told: RecordingDisplay) -> Iterator[tuple[str, str]]:
    """Every place that shows something of a call, and what it shows."""
    out = io.StringIO()
    displays: dict[str, Display] = {
        "quiet": QuietDisplay(out, color=False),
        "plain": PlainDisplay(out, color=False, verbose=True),
        "colours": PlainDisplay(out, color=True),
        "folded": PlainDisplay(out, color=False, provider="github"),
        "json": JsonDisplay(out),
    }
    for name, display in displays.items():
        for event in told.events:
            display.event(event)
        for text in told.said:
            display.say(text)
        for text in told.warned:
            display.warn(text)
        for line in told.commands:
            display.command(line)
        display.close()
        display.summary(outcome.report)
        if outcome.error:
            display.failure(outcome.error, outcome.trace)
        yield name, out.getvalue()
        out.seek(0)
        out.truncate()
    yield "live", "\n".join(drawn(told.events))
    forms = ReportInput(report=outcome.report, trace=outcome.trace, logs=outcome.logs, error=outcome.error)
    for name, write in FORMATS.items():
        yield name, write(forms)
    for ci in ("github", "azure"):
        yield f"annotations of {ci}", "\n".join(annotate(ci, outcome.trace.warnings if outcome.trace else (), "x"))


def drawn(events: list[Event]) -> Iterator[str]:
    board = LiveState()
    for number, event in enumerate(events):
        board.take(event)
        if number % 4 == 0:  # as many as there are rows of a log
            yield from (line.plain for line in render_tree(board, head="", rows=40, columns=5000, now=0.0))


def read(text: str) -> str:
    """What a reader makes of it: escapes of JSON and HTML undone, nothing that is not seen."""
    return printable(html.unescape(_ESCAPED.sub(lambda match: chr(int(match[1], 16)), text)))


_ESCAPED = re.compile(r"\\u([0-9a-f]{4})")


@pytest.mark.parametrize("between", [*SEQUENCES.values(), *UNSEEN], ids=ascii)
def test_a_secret_in_pieces_is_found(between: str) -> None:
    redactor = Redactor([SECRET])
    assert {*map(redactor.text, split(between))} == {"***"}
    assert {*map(redactor.log, split(between))} == {"***"}


@pytest.mark.parametrize("between", [*SEQUENCES.values(), *UNSEEN[::6], "\r"], ids=ascii)
def test_a_secret_in_pieces_is_put_together_nowhere(between: str) -> None:
    engine = FakeEngine(builds=[(stream([*split(between)]), 1)])
    told = RecordingDisplay()
    secrets = Secrets(hidden=(Secret(SECRET),))
    outcome = execute(planned(), engine, told, CI, secrets, engine.slept.append)
    assert outcome.error is not None
    shown = dict(shown_by(outcome, told))
    assert [name for name, text in shown.items() if SECRET in read(text)] == []
    if between != "\r":  # of a log, only what follows the last is shown
        assert [name for name, text in shown.items() if "***" not in text] == []


@pytest.mark.parametrize(
    "text",
    [
        f"https://me:{SECRET}@example.com/x",
        f"https://{SECRET}@example.com/x",
        f"https://example.com/x?X-Amz-Signature={SECRET}&y=1",
        f"type=s3,secret_access_key={SECRET},name=x",
        f'type=s3,"secret_access_key={SECRET},x",name=x',
        f"https://me:{SECRET[:6]}\x1b[0m{SECRET[6:]}@example.com/x",
    ],
)
def test_credentials_that_nobody_told_are_shown_nowhere(text: str) -> None:
    engine = FakeEngine(builds=[(stream([text]), 1)], ends={"rm": Ended(code=1, stderr=f"ERROR: {text}\n")})
    told = RecordingDisplay()
    plan = replace(planned(rm_builder=True), notes=(text,))
    outcome = execute(plan, engine, told, CI, Secrets(), engine.slept.append)
    assert outcome.error is not None
    shown = dict(shown_by(outcome, told))
    assert [name for name, said in shown.items() if SECRET in read(said)] == []
    assert [name for name, said in shown.items() if "***" not in said] == []


@pytest.mark.parametrize("between", ["\x1b[0m", "\u200b"], ids=ascii)
def test_what_docker_and_a_registry_say_is_searched_too(between: str) -> None:
    """Ends of short commands, in errors, warnings and reasons to try again; and command lines."""
    text = " ".join(split(between))
    stderr = f"WARNING\nERROR: {text} connection refused\n"
    for ends in ({"rm": Ended(code=1, stderr=stderr)}, {"create": Ended(code=1, stderr=stderr)}):
        engine = FakeEngine(ends=ends)
        told = RecordingDisplay()
        plan = planned(label=[f"x={text}"], rm_builder=True)
        secrets = Secrets(hidden=(Secret(SECRET),))
        outcome = execute(plan, engine, told, CI, secrets, engine.slept.append)
        shown = dict(shown_by(outcome, told))
        assert [name for name, said in shown.items() if SECRET in read(said)] == []
        assert "***" in shown["report"]
        assert "***" in shown["plain"]
