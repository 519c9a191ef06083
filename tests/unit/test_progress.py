from __future__ import annotations

import base64
import json
import random
import tracemalloc
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from buildx_cache.buildkit.events import Event, LogEvent, StatusEvent, TextLine, VertexEvent, WarningEvent
from buildx_cache.buildkit.log_tail import LINE_LIMIT, TAIL_BYTES, TAIL_LINES, LogTail
from buildx_cache.buildkit.stream import TEXT_LIMIT, VALUE_LIMIT, StreamParser
from buildx_cache.buildkit.trace import BuildTrace, Step
from buildx_cache.buildkit.trace_builder import ERRORS as ERROR_LIMIT
from buildx_cache.buildkit.trace_builder import TraceBuilder
from buildx_cache.buildkit.vertex_names import TransferKind, step_label, transfer_kind
from tests.selection import quick
from tests.unit.streams import Layout, generated_stream, printed

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

RECORDINGS = Path(__file__).parent / "recordings"
NEW, OLD = "buildx-0.29.1", "buildx-0.13.1"
REPEATABLE = settings(derandomize=True, deadline=None)


def parsed(*chunks: bytes) -> list[Event]:
    parser = StreamParser()
    return [event for chunk in chunks for event in parser.feed(chunk)] + parser.close()


def reduced(events: Iterable[Event]) -> BuildTrace:
    builder = TraceBuilder()
    for event in events:
        builder.add(event)
    return builder.trace()


def line(status: Mapping[str, object]) -> bytes:
    return json.dumps(status, separators=(",", ":")).encode() + b"\n"


def vertex(
    digest: str,
    name: str = "",
    span: tuple[float | None, float | None] = (None, None),
    *,
    inputs: tuple[str, ...] = (),
    cached: bool = False,
    error: str = "",
) -> VertexEvent:
    started, completed = span
    return VertexEvent(
        digest=digest,
        inputs=inputs,
        name=name or f"[1/1] RUN {digest}",
        started=started,
        completed=completed,
        cached=cached,
        error=error,
    )


def log(digest: str, text: bytes, stream: int = 1) -> LogEvent:
    return LogEvent(vertex=digest, stream=stream, encoded=base64.b64encode(text).decode())


def status(digest: str, name: str, current: int, total: int = 0) -> StatusEvent:
    return StatusEvent(vertex=digest, id=name, current=current, total=total)


def only(trace: BuildTrace) -> Step:
    (step,) = trace.steps
    return step


# Names


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("[2/4] RUN make", ("RUN make", "", "", 2, 4)),
        ("[ 2/14] RUN make", ("RUN make", "", "", 2, 14)),
        ("[build 2/4] RUN make", ("RUN make", "build", "", 2, 4)),
        ("[build  2/14] RUN make", ("RUN make", "build", "", 2, 14)),
        ("[stage-1 10/12] COPY . .", ("COPY . .", "stage-1", "", 10, 12)),
        ("[go1.22_x 1/1] FROM a", ("FROM a", "go1.22_x", "", 1, 1)),
        ("[7 2/3] RUN x", ("RUN x", "7", "", 2, 3)),
        ("[web front end 2/3] RUN x", ("RUN x", "web front end", "", 2, 3)),
        ("[linux/amd64 2/4] RUN x", ("RUN x", "", "linux/amd64", 2, 4)),
        ("[linux/arm64 build 2/4] RUN x", ("RUN x", "build", "linux/arm64", 2, 4)),
        ("[linux/arm/v7 build  2/14] RUN x", ("RUN x", "build", "linux/arm/v7", 2, 14)),
        ("[linux/amd64->arm64 build 2/4] RUN x", ("RUN x", "build", "linux/amd64->arm64", 2, 4)),
        ("[linux/amd64->arm/v7 build 2/4] RUN x", ("RUN x", "build", "linux/amd64->arm/v7", 2, 4)),
        ("[linux/amd64->windows/amd64 b 1/2] RUN x", ("RUN x", "b", "linux/amd64->windows/amd64", 1, 2)),
        (
            "[windows(10.0.17763)/amd64 build 2/4] RUN x",
            ("RUN x", "build", "windows(10.0.17763)/amd64", 2, 4),
        ),
        ("[target linux/amd64 build 2/4] RUN x", ("RUN x", "target build", "linux/amd64", 2, 4)),
        (
            "[stage 1/1] FROM docker.io/library/a:1@sha256:ab",
            ("FROM docker.io/library/a:1@sha256:ab", "stage", "", 1, 1),
        ),
        ("[1/2] RUN <<EOF (apt-get update...)", ("RUN <<EOF (apt-get update...)", "", "", 1, 2)),
        ("[1/2] RUN <<EOF\nmake [3/4] all\nEOF", ("RUN <<EOF\nmake [3/4] all\nEOF", "", "", 1, 2)),
        ('[1/2] RUN ["make", "[x]", "2/3"]', ('RUN ["make", "[x]", "2/3"]', "", "", 1, 2)),
        ("[3/3] ONBUILD RUN make", ("ONBUILD RUN make", "", "", 3, 3)),
        ("[3/3] LINK COPY --link a b", ("COPY --link a b", "", "", 3, 3)),
        ("[3/3] ONBUILD LINK ADD --link a b", ("ONBUILD ADD --link a b", "", "", 3, 3)),
        ("[3/3] RUN LINK COPY x", ("RUN LINK COPY x", "", "", 3, 3)),
        ("[2/2] WORKDIR /src", ("WORKDIR /src", "", "", 2, 2)),
    ],
)
def test_step_names(name: str, expected: tuple[str, str, str, int, int]) -> None:
    label = step_label(name)
    assert label is not None
    assert (label.name, label.stage, label.platform, label.number, label.total) == expected


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("importing cache manifest from localhost:5000/app:cache", "cache-import"),
        ("importing cache manifest from local:15821783609297185231", "cache-import"),
        ("[linux/amd64] importing cache manifest from a", "cache-import"),
        ("exporting cache to registry", "cache-export"),
        ("exporting cache to client directory", "cache-export"),
        ("exporting cache to GitHub Actions Cache", "cache-export"),
        ("exporting cache", "cache-export"),
        ("preparing build cache for export", "cache-export"),
        ("preparing layers for inline cache", "cache-export"),
        ("exporting to image", "image-export"),
        ("[app] exporting to image", "image-export"),
        ("exporting to docker image format", "image-export"),
        ("exporting to oci image format", "image-export"),
        ("exporting to client directory", "image-export"),
        ("exporting to client tarball", "image-export"),
        ("pushing registry.example/app:1 with docker", "push"),
        ("merging manifest list registry.example/app:1", "push"),
        ("importing to docker", "load"),
        ("[app app] importing to docker", "load"),
        ("[internal] load build context", "context"),
        ("[linux/amd64 internal] load build context", "context"),
        ("[internal] load remote build context", "context"),
        ("[context assets] load from client", "context"),
        ("[internal] load .dockerignore", "other"),
        ("[internal] load build definition from Dockerfile", "other"),
        ("[internal] load metadata for docker.io/library/alpine:3", "other"),
        ("[linux/amd64 internal] load metadata for docker.io/library/alpine:3", "other"),
        ("[internal] booting buildkit", "other"),
        ("[internal] preparing inline document", "other"),
        ("[internal] settings cache mount permissions", "other"),
        ("[auth] library/alpine:pull token for registry-1.docker.io", "other"),
        ("resolve image config for docker-image://docker.io/docker/dockerfile:1", "other"),
        ("docker-image://docker.io/docker/dockerfile:1@sha256:ab", "other"),
        ("FROM docker.io/library/alpine:3", "other"),
        ("[linux/amd64] generating sbom using docker.io/docker/buildkit-syft-scanner:1", "other"),
        ("resolving provenance for metadata file", "other"),
    ],
)
def test_transfer_names(name: str, kind: TransferKind) -> None:
    assert step_label(name) is None
    assert transfer_kind(name) == kind


# The stream


def test_objects_come_one_a_line_and_fields_are_upstreams() -> None:
    stream = line(
        {
            "vertexes": [
                {
                    "digest": "sha256:a",
                    "inputs": ["sha256:b"],
                    "name": "[1/1] RUN x",
                    "started": "1970-01-01T00:00:10.123456789Z",
                    "completed": "1970-01-01T01:00:11.5+01:00",
                    "cached": True,
                    "error": "no",
                }
            ],
            "statuses": [{"id": "layer", "vertex": "sha256:a", "current": 5, "total": 9, "timestamp": "x"}],
            "logs": [{"vertex": "sha256:a", "stream": 2, "data": "aGk="}],
            "warnings": [
                {
                    "vertex": "sha256:a",
                    "level": 1,
                    "short": "c2hvcnQ=",
                    "detail": ["bG9uZw=="],
                    "url": "https://docs.example",
                    "sourceInfo": {"filename": "Dockerfile", "data": "eA=="},
                    "range": [{"start": {"line": 3}, "end": {"line": 3}}],
                }
            ],
        }
    )
    run, layer, output, warning = parsed(stream)
    assert run == vertex("sha256:a", "[1/1] RUN x", (10.123456, 11.5), inputs=("sha256:b",), cached=True, error="no")
    assert layer == status("sha256:a", "layer", 5, 9)
    assert output == LogEvent(vertex="sha256:a", stream=2, encoded="aGk=")
    assert isinstance(output, LogEvent)
    assert output.data == b"hi"
    assert warning == WarningEvent(
        vertex="sha256:a",
        level=1,
        short="short",
        detail=("long",),
        url="https://docs.example",
        file="Dockerfile",
        line=3,
    )


ONE = {"vertexes": [{"digest": "sha256:a", "name": '[1/1] RUN echo "{[" \\', "inputs": ["x", "y"]}]}
TWO = {"logs": [{"vertex": "sha256:a", "stream": 1, "data": "aGk="}], "vertexes": []}


@pytest.mark.parametrize("newline", [b"\n", b"\r\n"])
@pytest.mark.parametrize("indent", [None, 0, 1, 2, 8, "\t"])
def test_layout_does_not_matter(indent: int | str | None, newline: bytes) -> None:
    plain = parsed(line(ONE), line(TWO))
    assert len(plain) == 2
    pretty = [json.dumps(each, indent=indent).encode() for each in (ONE, TWO)]
    for stream in (b"\n".join(pretty), b"\n".join(pretty) + b"\n", b"".join(pretty), b" ".join(pretty)):
        assert parsed(stream.replace(b"\n", newline)) == plain


@pytest.mark.parametrize("indent", [None, 2])
def test_plain_lines_come_in_between(indent: int | None) -> None:
    one, two = (json.dumps(each, indent=indent).encode() + b"\n" for each in (ONE, TWO))
    before = b"WARNING: local cache import at /c not found\n"
    after = b"------\nDockerfile:3\n   3 | >>> RUN {\n\nERROR: failed to solve"
    events = parsed(before + one + after + b"\n" + two)
    assert [each.text for each in events if isinstance(each, TextLine)] == (before + after).decode().split("\n")
    assert len(events) == 8


def test_an_empty_status_says_nothing() -> None:
    assert parsed(b"{}\n{\n}\n") == []


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "{ not json",
        '{"foo": 1}',
        "{]",
        '{"vertexes": [',
        '{"vertexes": "',
        "[1, 2]",
        "}",
        '{"a": {',
        "{\n  source {\n  }",
        "{\n    3 | RUN x",
    ],
)
def test_what_is_no_status_is_text_and_what_follows_survives(text: str) -> None:
    events = parsed(text.encode() + b"\n" + line(TWO) + json.dumps(ONE, indent=2).encode() + b"\nERROR: x\n")
    assert [each.text for each in events if isinstance(each, TextLine)] == [*text.split("\n"), "ERROR: x"]
    assert [type(each) for each in events if not isinstance(each, TextLine)] == [LogEvent, VertexEvent]


def test_an_unfinished_value_is_text_at_the_end() -> None:
    parser = StreamParser()
    assert parser.feed(b'{\n "vertexes": [\n  {') == []
    assert parser.close() == [TextLine(text="{"), TextLine(text=' "vertexes": ['), TextLine(text="  {")]
    assert parser.close() == []


def test_invalid_bytes_are_replaced() -> None:
    raw = line({"vertexes": [{"digest": "a", "name": "NAME"}]}).replace(b"NAME", b"[1/1] RUN \xff\xfe")
    (named, text) = parsed(raw + b"caf\xe9\n")
    assert named == vertex("a", "[1/1] RUN \ufffd\ufffd")
    assert text == TextLine(text="caf\ufffd")


def test_a_lone_surrogate_can_be_printed() -> None:
    (event,) = parsed(b'{"vertexes": [{"digest": "a", "name": "x\\ud800"}]}\n')
    assert isinstance(event, VertexEvent)
    assert event.name.encode() == b"x?"


def test_wrong_types_read_as_absent() -> None:
    stream = (
        line({"vertexes": 5, "logs": None, "statuses": {}, "warnings": "x"})
        + line({"vertexes": [None, 3, {"digest": [], "name": None, "inputs": 4, "started": 5, "cached": "yes"}]})
        + line({"statuses": [{"vertex": 1, "current": "x", "started": "yesterday"}]})
        + line({"logs": [{"vertex": None, "data": 5}, {"data": "%%%"}, {"data": "é"}, {"data": "A"}]})
        + line({"warnings": [{"short": "A", "detail": [5], "sourceInfo": 1, "range": [5]}, {"range": {}}]})
        + line({"vertexes": [{"digest": "b", "started": "0001-01-01T00:00:00Z", "completed": "9999-99"}]})
    )
    events = parsed(stream)
    assert [type(each).__name__ for each in events].count("LogEvent") == 4
    assert all(each.data == b"" for each in events if isinstance(each, LogEvent))
    assert events[-1] == VertexEvent(
        digest="b", inputs=(), name="", started=None, completed=None, cached=False, error=""
    )
    assert reduced(events).steps == ()


def test_a_huge_line_is_cut_the_same_way_in_any_chunks() -> None:
    huge = b'{"logs": [' + b" " * VALUE_LIMIT + b"]}\n" + line(TWO)
    whole = parsed(huge)
    assert whole == parsed(*(huge[at : at + 100_000] for at in range(0, len(huge), 100_000)))
    assert isinstance(whole[0], TextLine)
    assert len(whole[0].text) == TEXT_LIMIT
    assert isinstance(whole[1], LogEvent)


@pytest.mark.parametrize("opening", [b"{\n", b'{"a":\n'])
def test_an_endless_value_is_given_up(opening: bytes) -> None:
    filler = b' "a": [' + b" " * 100_000 + b"\n"
    stream = opening + filler * (VALUE_LIMIT // len(filler) + 3)
    events = StreamParser().feed(stream)
    assert len(events) > 50
    assert all(isinstance(event, TextLine) for event in events)
    assert parsed(*(stream[at : at + 70_000] for at in range(0, len(stream), 70_000))) == parsed(stream)


def test_deep_nesting_does_not_raise() -> None:
    assert len(parsed(b'{"vertexes":' + b"[" * 200_000 + b"\n" + line(TWO))) == 2


@REPEATABLE
@given(st.lists(st.binary(max_size=40)))
def test_garbage_never_raises(chunks: list[bytes]) -> None:
    reduced(parsed(*chunks))


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
FIELDS = st.sampled_from(
    [
        "digest",
        "name",
        "inputs",
        "started",
        "completed",
        "cached",
        "error",
        "vertex",
        "id",
        "current",
        "data",
        "stream",
        "short",
        "range",
    ]
)


@REPEATABLE
@given(
    st.dictionaries(
        st.sampled_from(["vertexes", "statuses", "logs", "warnings"]),
        st.lists(st.dictionaries(FIELDS, VALUES), max_size=3) | VALUES,
    ),
    st.sampled_from([None, 0, 2]),
)
def test_any_json_never_raises(value: dict[str, object], indent: int | None) -> None:
    reduced(parsed(json.dumps(value, indent=indent).encode()))


SNIPPETS = st.sampled_from(
    [
        b"{",
        b"}",
        b"\n",
        b"\r\n",
        b'"',
        b"[",
        b"]",
        b",",
        b" ",
        b"  x",
        b"ERROR: x\n",
        b"\xc3\xa9",
        b'{"logs":[',
        b"{\n",
        b"}\n",
        b'  "logs": [\n',
        b"  ]\n",
        line(TWO),
        json.dumps(TWO, indent=2).encode(),
        json.dumps(ONE, indent=1).encode() + b"\n",
    ]
)


@REPEATABLE
@given(st.lists(SNIPPETS, max_size=12), st.data())
def test_chunks_do_not_matter(snippets: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(snippets)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    chunks = [stream[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert parsed(*chunks) == parsed(stream) == parsed(*(bytes([byte]) for byte in stream))


# Merging


def test_a_vertex_is_merged_by_digest_over_several_runs() -> None:
    trace = reduced(
        [
            vertex("a", "[build 2/3] RUN x", inputs=("z",)),
            vertex("a", "[build 2/3] RUN x", (10, None)),
            vertex("a", "[build 2/3] RUN x", (10, 12)),
            vertex("a", "[build 2/3] RUN x", (20, None)),
            vertex("a", "[build 2/3] RUN x", (20, 23)),
            vertex("a", "[build 2/3] RUN x"),
        ]
    )
    step = only(trace)
    assert (step.stage, step.number, step.total, step.inputs) == ("build", 2, 3, ("z",))
    assert (step.seconds, step.started, step.completed) == (5, 10, 23)
    assert (trace.total, trace.cached, trace.executed, trace.hit_ratio) == (1, 0, 1, 0.0)


def test_overlapping_runs_count_once() -> None:
    step = only(reduced([vertex("a", span=(10, 20)), vertex("a", span=(15, 18)), vertex("a", span=(19, 25))]))
    assert step.seconds == 15


def test_a_running_step_is_not_completed() -> None:
    trace = reduced([vertex("a", span=(10, 20)), vertex("a", span=(30, None))])
    assert (only(trace).seconds, only(trace).completed) == (10, None)
    assert trace.executed == 1


def test_a_cached_step_took_no_time() -> None:
    trace = reduced([vertex("a", span=(10, 12), cached=True)])
    assert (only(trace).cached, only(trace).seconds) == (True, 0.0)
    assert (trace.cached, trace.executed, trace.hit_ratio) == (1, 0, 1.0)


def test_cached_with_an_error_is_a_failure() -> None:
    trace = reduced([vertex("a", span=(10, 12), cached=True, error="short read")])
    assert (only(trace).cached, only(trace).seconds) == (False, 2)
    assert (trace.failed, trace.error, trace.executed) == (only(trace), "short read", 1)


def test_the_newest_state_decides_as_in_upstreams_display() -> None:
    painted = [vertex("a", span=(10, 10), cached=True), vertex("a", span=(8, 15))]
    assert only(reduced(painted)).cached is False
    assert only(reduced(reversed(painted))).cached is True


def test_a_step_never_reached_is_counted_but_not_in_the_ratio() -> None:
    trace = reduced([vertex("a", span=(1, 1), cached=True), vertex("b", span=(2, 3), error="x"), vertex("c")])
    assert (trace.total, trace.cached, trace.executed, trace.hit_ratio) == (3, 1, 1, 0.5)
    assert trace.steps[2].started is None
    assert reduced([vertex("c")]).hit_ratio is None


def test_completed_without_a_start_is_cached_at_no_cost() -> None:
    step = only(reduced([vertex("a", span=(None, 9), cached=True)]))
    assert (step.cached, step.started, step.completed) == (True, 9, 9)


def test_a_linked_copy_is_one_step() -> None:
    trace = reduced(
        [
            vertex("copy", "[2/3] COPY --link a /", inputs=("context",)),
            vertex("merge", "[2/3] LINK COPY --link a /", inputs=("base", "copy")),
            vertex("run", "[3/3] RUN x", inputs=("merge",)),
            vertex("copy", "[2/3] COPY --link a /", (1, 3), inputs=("context",)),
            vertex("merge", "[2/3] LINK COPY --link a /", (4, 5), inputs=("base", "copy")),
        ]
    )
    step = trace.steps[0]
    assert trace.total == 2
    assert (step.name, step.digest, step.inputs) == ("COPY --link a /", "merge", ("context", "base"))
    assert (step.seconds, step.started, step.completed, step.cached) == (3, 1, 5, False)


def test_a_linked_copy_is_cached_only_as_a_whole() -> None:
    names = ("[2/2] COPY --link a /", "[2/2] LINK COPY --link a /")
    events = [vertex("copy", names[0], (1, 1), cached=True), vertex("merge", names[1], (1, 2), inputs=("copy",))]
    assert only(reduced(events)).cached is False
    events[1] = vertex("merge", names[1], (1, 1), inputs=("copy",), cached=True)
    assert only(reduced(events)).cached is True


def test_platforms_are_steps_of_their_own() -> None:
    trace = reduced([vertex("a", "[linux/amd64 2/2] RUN x", (1, 2)), vertex("b", "[linux/arm64 2/2] RUN x", (1, 9))])
    assert [(step.platform, step.seconds) for step in trace.steps] == [("linux/amd64", 1), ("linux/arm64", 8)]


def test_bytes_are_the_sum_of_the_last_statuses() -> None:
    trace = reduced(
        [
            vertex("a", "[1/2] FROM x", (1, None)),
            status("a", "sha256:1", 5, 10),
            status("a", "sha256:1", 10, 10),
            status("a", "sha256:2", 1, 20),
            status("unknown", "x", 1),
            vertex("c", "[internal] load build context", (1, 2)),
            status("c", "transferring context:", 700),
        ]
    )
    assert (only(trace).bytes, only(trace).bytes_total) == (11, 30)
    assert [(each.kind, each.bytes, each.seconds) for each in trace.transfers] == [("context", 700, 1)]


@pytest.mark.parametrize(
    ("events", "cached"),
    [
        ([vertex("a", "[1/2] FROM x", (1, 2))], True),
        ([vertex("a", "[1/2] FROM x", (1, None))], False),
        ([vertex("a", "[1/2] FROM x", (1, 2)), status("a", "sha256:1", 10, 10)], False),
        ([vertex("a", "[1/2] FROM x", (1, 2), error="not found")], False),
        ([vertex("a", "[2/2] RUN x", (1, 2))], False),
    ],
    ids=["resolved", "being resolved", "pulled", "failed", "not a base"],
)
def test_a_base_image_is_cached_when_nothing_is_pulled(events: list[Event], cached: bool) -> None:  # noqa: FBT001
    assert only(reduced(events)).cached is cached


def test_bytes_do_not_fall_back_at_the_end() -> None:
    push = vertex("p", "pushing registry.example/app:1 with docker", (1, None))
    trace = reduced([push, status("p", "layer", 900, 1000), status("p", "layer", 0)])
    assert (trace.transfers[0].bytes, trace.transfers[0].bytes_total) == (900, 1000)


def test_extracting_a_cached_layer_is_not_running_the_step() -> None:
    events = [
        vertex("a", inputs=("z",)),
        vertex("a", span=(1, 2), inputs=("z",), cached=True),
        vertex("a", span=(3, None)),
        vertex("a", span=(3, 5)),
    ]
    step = only(reduced(events))
    assert (step.cached, step.seconds, step.completed, step.inputs) == (True, 0.0, 5, ("z",))


LOADING = "short read: expected 92 bytes but got 46: unexpected EOF"


def test_a_step_that_ran_after_all_keeps_no_error_of_loading_it() -> None:
    events = [
        vertex("a", span=(1, 2), inputs=("z",), cached=True, error=LOADING),
        vertex("a", span=(3, None), inputs=("z",), error=LOADING),
        vertex("a", span=(3, 5), inputs=("z",), error=LOADING),
    ]
    trace = reduced(events)
    assert (only(trace).error, only(trace).cached, trace.failed, trace.executed) == ("", False, None, 1)
    assert only(reduced(events[:2])).error == ""
    failed = reduced([*events[:2], vertex("a", span=(3, 5), inputs=("z",), error=EXIT)])
    assert failed.error == EXIT


def test_of_many_errors_of_loading_the_quoted_or_the_last_one_counts() -> None:
    events = [
        vertex("a", "[3/3] RUN a", (1, 2), cached=True, error=LOADING),
        vertex("b", "[2/3] RUN b", (3, 4), cached=True, error=LOADING),
        vertex("c", "[1/3] RUN c", (5, 6), cached=True, error="layer not found"),
    ]
    assert reduced(events).failed == reduced(events).steps[2]
    quoted = reduced([*events, TextLine(text=f"ERROR: failed to solve: {LOADING}")])
    assert quoted.failed == quoted.steps[1]
    ran = reduced([*events, vertex("d", "[x 1/1] RUN d", (3, 4), error=EXIT)])
    assert ran.error == EXIT


def test_every_error_is_kept_with_its_name_also_one_that_buildkit_got_over() -> None:
    events: list[Event] = [
        vertex("i", "importing cache manifest from x", (1, 2), error="x: not found"),
        vertex("a", "[2/2] RUN a", (1, 2), inputs=("z",), cached=True, error=LOADING),
        vertex("a", "[2/2] RUN a", (3, None), inputs=("z",), error=LOADING),
        vertex("a", "[2/2] RUN a", (3, 5), inputs=("z",)),
        vertex("e", "exporting cache to registry", (6, 7), error="denied"),
    ]
    trace = reduced(events)
    assert trace.errors == (
        ("importing cache manifest from x", "x: not found"),
        ("[2/2] RUN a", LOADING),
        ("exporting cache to registry", "denied"),
    )
    assert (trace.failed, trace.error) == (None, "")


def test_an_error_without_a_name_has_that_of_its_vertex() -> None:
    events = [vertex("a", "[1/1] RUN a"), vertex("a", span=(1, 2), error=EXIT)]
    assert reduced(events).errors == (("[1/1] RUN a", EXIT),)


def test_several_errors_of_one_vertex_are_all_kept() -> None:
    events = [vertex("a", "[1/1] RUN a", (number, None), error=f"{number % 3}") for number in range(1, 9)]
    assert [error for _, error in reduced(events).errors] == ["1", "2", "0"]


def test_errors_are_bounded() -> None:
    events = [vertex("a", "[1/1] RUN a", (1, None), error=f"{number}") for number in range(2 * ERROR_LIMIT)]
    assert [error for _, error in reduced(events).errors] == [f"{number}" for number in range(ERROR_LIMIT)]


def test_warnings_are_short_and_not_repeated() -> None:
    warning = WarningEvent(vertex="a", level=1, short="Bad: x (line 3)", detail=(), url="", file="Dockerfile", line=3)
    placeless = WarningEvent(vertex="a", level=1, short="Bad: y", detail=(), url="", file="", line=0)
    assert reduced([warning, placeless, warning]).warnings == ("Bad: x (Dockerfile:3)", "Bad: y")


def test_text_keeps_the_last_lines() -> None:
    trace = reduced(TextLine(text=f"{number}") for number in range(1000))
    assert trace.text == tuple(str(number) for number in range(800, 1000))
    assert reduced([TextLine(text=""), TextLine(text="  ")]).text == ()


# What failed

EXIT = 'process "/bin/sh -c false" did not complete successfully: exit code: 1'
CANCELLED = [
    "context canceled",
    'process "/bin/sh -c x" did not complete successfully: context canceled',
    "rpc error: code = Canceled desc = grpc: the client connection is closing",
]


@pytest.mark.parametrize("cancelled", CANCELLED)
def test_a_cancelled_step_is_not_the_cause(cancelled: str) -> None:
    events: list[Event] = [
        vertex("a", "[x 1/1] RUN sleep", (1, 4), error=cancelled),
        vertex("b", "[y 1/1] RUN false", (1, 5), error=EXIT),
        log("a", b"sleeping\n"),
        log("b", b"failing\n"),
        log("a", b"still\n"),
        TextLine(text="ERROR: failed to build: failed to solve: " + EXIT),
    ]
    trace = reduced(events)
    assert trace.failed is not None
    assert (trace.failed.digest, trace.error, trace.log_tail) == ("b", EXIT, ("failing",))


def test_the_first_of_two_failures_is_the_cause() -> None:
    events = [vertex("a", "[x 1/1] RUN a", (1, 9), error="a"), vertex("b", "[y 1/1] RUN b", (1, 5), error="b")]
    assert reduced(events).error == "b"


def test_an_interrupted_build_names_the_step_and_the_last_error_line() -> None:
    trace = reduced([vertex("a", span=(1, 4), error="context canceled"), TextLine(text="ERROR: interrupted")])
    assert (trace.failed, trace.error) == (only(trace), "interrupted")
    assert reduced([vertex("a", span=(1, 4), error="context canceled")]).error == "context canceled"


def test_a_transfer_can_be_the_cause() -> None:
    trace = reduced(
        [
            vertex("m", "[internal] load metadata for nowhere/x", (1, 2), error="pull access denied"),
            vertex("a", span=(1, 2), error="context canceled"),
            TextLine(text="ERROR: failed to build: failed to solve: pull access denied"),
        ]
    )
    assert (trace.failed, trace.error) == (None, "pull access denied")


@pytest.mark.parametrize("name", ["importing cache manifest from x", "exporting cache to registry"])
def test_a_cache_error_alone_fails_no_build(name: str) -> None:
    trace = reduced([vertex("i", name, (1, 2), error="connection refused")])
    assert (trace.failed, trace.error) == (None, "")
    assert trace.transfers[0].error == "connection refused"
    assert reduced([vertex("i", name, (1, 2), error="x"), TextLine(text="ERROR: why")]).error == "why"


def test_without_a_vertex_the_last_error_line_counts() -> None:
    assert reduced([TextLine(text="ERROR: one"), TextLine(text="ERROR: two"), TextLine(text="x")]).error == "two"


# Logs


def tail(*pieces: bytes) -> tuple[str, ...]:
    log_tail = LogTail()
    for piece in pieces:
        log_tail.add(1, piece)
    return log_tail.lines()


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        ((b"one\ntwo\n",), ("one", "two")),
        ((b"on", b"e\ntw", b"o"), ("one", "two")),
        ((b"caf\xc3", b"\xa9\n"), ("caf\u00e9",)),
        ((b"\xff\n",), ("\ufffd",)),
        ((b"10%\r50%\r100%\n",), ("100%",)),
        ((b"10%\r", b"50%\r", b"100%\r\n"), ("100%",)),
        ((b"10%\r", b"\nnext\r\n"), ("10%", "next")),
        ((b"10%\r20%",), ("20%",)),
        ((b"\n\na\n",), ("", "", "a")),
        ((b"",), ()),
        ((b"x" * 50_000, b"y\n"), ("x" * LINE_LIMIT,)),
        ((b"x" * 50_000 + b"\r", b"y\n"), ("y",)),
        ((b"x" * 50_000, b"\rdone", b"\n"), ("done",)),
        ((b"a\n" + b"x" * 50_000 + b"\nb\n",), ("a", "x" * LINE_LIMIT, "b")),
    ],
)
def test_log_lines(pieces: tuple[bytes, ...], expected: tuple[str, ...]) -> None:
    assert tail(*pieces) == expected


def test_streams_are_assembled_apart() -> None:
    builder = TraceBuilder()
    builder.add(vertex("a", span=(1, None)))
    for event in (log("a", b"out"), log("a", b"err", 2), log("a", b"put\n"), log("a", b"or\n", 2)):
        builder.add(event)
    assert builder.trace().log_tail == ("output", "error")
    assert builder.log("a") == ("output", "error")
    assert builder.log("nothing") == ()


def test_the_log_shown_is_the_last_active_one() -> None:
    events: list[Event] = [vertex("a", span=(1, None)), vertex("b", "[2/2] RUN b", (1, None))]
    lines = b"".join(b"%d\n" % number for number in range(50))
    assert reduced([*events, log("a", lines), log("b", b"b\n")]).log_tail == ("b",)
    assert reduced([*events, log("b", b"b\n"), log("a", lines)]).log_tail == tuple(map(str, range(30, 50)))
    assert reduced([*events, log("b", b"b\n"), log("unknown", lines)]).log_tail == ("b",)


@REPEATABLE
@given(st.lists(st.sampled_from([b"ab", b"\n", b"\r", b"\xc3", b"\xa9"]), max_size=30), st.randoms())
def test_log_cuts_do_not_matter(parts: list[bytes], shuffle: random.Random) -> None:
    whole = b"".join(parts)
    cuts = sorted(shuffle.randint(0, len(whole)) for _ in range(4))
    pieces = [whole[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    assert tail(*pieces) == tail(whole)


@pytest.mark.parametrize("piece", [b"x" * 1000, b"line\n", b"x" * 60_000 + b"\n", b"5%\r", b"y" * 100_000])
def test_a_log_tail_is_bounded(piece: bytes) -> None:
    log_tail = LogTail()
    for _ in range(2000):
        log_tail.add(1, piece)
    kept = log_tail.lines()
    assert len(kept) <= TAIL_LINES + 1
    assert sum(map(len, kept)) <= 2 * TAIL_BYTES + LINE_LIMIT


@pytest.mark.parametrize("layout", quick(Layout, Layout.LINES))
def test_five_hundred_steps_and_a_hundred_megabytes_of_logs(layout: Layout) -> None:
    steps, log_bytes = 500, 100_000_000
    parser, builder = StreamParser(), TraceBuilder()
    raw = 0
    tracemalloc.start(1)
    try:
        for chunk in generated_stream(steps=steps, log_bytes=log_bytes, piece=64 * 1024 + 1, layout=layout):
            raw += len(chunk)
            for event in parser.feed(chunk):
                builder.add(event)
        trace, logs = builder.trace(), builder.logs()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert raw > 4 / 3 * log_bytes
    assert peak < 100_000_000
    assert (trace.total, trace.cached, trace.executed, trace.hit_ratio) == (500, 100, 400, 0.2)
    assert [step.cached for step in trace.steps] == [number % 5 == 4 for number in step_numbers(trace)]
    assert {round(step.seconds, 6) for step in trace.steps} == {0.0, 2.0}
    assert len(logs) == 400
    for number in (0, 498):
        lines = printed(number, log_bytes // 400).decode().splitlines()
        assert logs[f"sha256:{number:064x}"] == tuple(lines[-TAIL_LINES:])


def step_numbers(trace: BuildTrace) -> list[int]:
    return [int(step.name.removeprefix("RUN make part-")) for step in trace.steps]


def test_memory_stays_bounded() -> None:
    names = [line({"vertexes": [{"digest": f"d{i}", "name": f"[{i + 1}/50] RUN {i}"}]}) for i in range(50)]
    text = b"".join(b"%d compiling something or other\n" % number for number in range(3000))
    encoded = base64.b64encode(text).decode()
    outputs = [line({"logs": [{"vertex": f"d{i}", "stream": 1, "data": encoded}]}) for i in range(50)]
    parser, builder = StreamParser(), TraceBuilder()
    tracemalloc.start()
    try:
        for chunk in [*names, *outputs * 4]:
            for event in parser.feed(chunk):
                builder.add(event)
        builder.trace()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert sum(map(len, outputs * 4)) > 20_000_000
    assert peak < 5_000_000


# Recordings of real builds (see recordings/README.md)


def recording(name: str) -> bytes:
    return (RECORDINGS / f"{name}.rawjson").read_bytes()


ALL = sorted(str(path.relative_to(RECORDINGS).with_suffix("")) for path in RECORDINGS.glob("*/*.rawjson"))

COUNTS = {
    "cold": (9, 0, 9),
    "warm": (9, 9, 0),
    "failing-run": (7, 1, 3),
    "missing-copy-source": (3, 1, 1),
    "parallel-stages": (7, 1, 6),
    "two-platforms": (8, 1, 7),
    "cache-import-error": (9, 9, 0),
    "push-and-cache-export": (9, 9, 0),
    "cache-export-error": (9, 0, 9),
    "cache-export-ignored": (9, 9, 0),
    "gha-refused": (1, 0, 1),
    "gha-denied": (1, 0, 1),
    "gha-written": (1, 1, 0),
    "local-cache-export": (9, 9, 0),
    "damaged-cache": (9, 6, 3),
    "recovered-cache-load": (9, 8, 1),
    "interrupted": (2, 1, 1),
    "missing-base": (0, 0, 0),
    "docker-driver-push": (9, 1, 8),
    "syntax-error": (0, 0, 0),
    "local-layer-lost": (10, 8, 2),
    "local-stage-layer-lost": (10, 10, 0),
    "local-stage-layer-changed": (10, 10, 0),
    "local-without-the-tag": (0, 0, 0),
    "local-index-locked": (10, 0, 10),
    "local-disk-full": (10, 0, 10),
    "registry-layer-lost": (10, 10, 0),
    "registry-layer-denied": (10, 10, 0),
    "registry-stage-layer-lost": (10, 10, 0),
    "registry-export-denied": (10, 0, 10),
    "base-layer-lost": (10, 0, 3),
    "push-denied": (10, 0, 10),
    "run-says-not-found": (11, 0, 5),
}


@pytest.mark.parametrize("name", ALL)
def test_recorded_counts(name: str) -> None:
    trace = reduced(parsed(recording(name)))
    assert (trace.total, trace.cached, trace.executed) == COUNTS[Path(name).name]
    assert all(not step.seconds for step in trace.steps if step.cached)
    assert all(step.completed is not None for step in trace.steps if step.started is not None)


@pytest.mark.parametrize("name", ALL)
@settings(derandomize=True, deadline=None, max_examples=15)
@given(data=st.data())
def test_recorded_streams_in_any_chunks(name: str, data: st.DataObject) -> None:
    stream = recording(name)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=20)))
    chunks = [stream[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert parsed(*chunks) == parsed(stream)


@pytest.mark.parametrize("name", ALL)
def test_recorded_streams_by_the_byte_with_other_newlines_and_layouts(name: str) -> None:
    stream = recording(name)
    events = parsed(stream)
    assert parsed(*(bytes([byte]) for byte in stream)) == events
    assert parsed(stream.replace(b"\n", b"\r\n")) == events


@pytest.mark.parametrize("name", ALL)
def test_recorded_lines_that_are_no_json_come_out_whole(name: str) -> None:
    text = [event.text for event in parsed(recording(name)) if isinstance(event, TextLine)]
    assert not [each for each in text if each.startswith(("{", "}")) or '"vertexes"' in each]


ERRORS = {
    "failing-run": ("RUN for i in", 'process "/bin/sh -c for i in', "did not complete successfully: exit code: 3"),
    "missing-copy-source": ("COPY no-such", "failed to calculate checksum of ref", '"/no-such-file.txt": not found'),
    "cache-export-error": ("", "failed to build: failed to solve: error writing layer blob", "connection refused"),
    "damaged-cache": ("RUN for i in", "", "unexpected EOF"),
    "interrupted": ("RUN echo slow", "failed to build: failed to solve: Canceled", "context canceled"),
    "missing-base": ("", "registry.example:5000/team/nowhere:1", "not found"),
    "syntax-error": ("", "failed to solve: dockerfile parse error on line 1", "(did you mean shell?)"),
    "local-layer-lost": (
        "COPY --from=maker",
        "NotFound: rpc error: code = NotFound desc = content sha256:",
        "not found",
    ),
    "local-stage-layer-lost": ("", "(*service).Write failed", "context canceled"),  # the build went on all the same
    "local-without-the-tag": ("", "failed to build: local cache importer requires", "custom tag on index.json"),
    "local-index-locked": ("", "failed to build: could not lock", "index.json.lock"),
    "local-disk-full": ("", "(*service).Write failed", "no space left on device"),  # so did this one
    "registry-layer-lost": ("", "failed to copy: httpReadSeeker: failed open", "from remote: not found"),
    "registry-layer-denied": ("", "failed to copy: httpReadSeeker: failed open", "403 Forbidden\ndenied"),
    "base-layer-lost": ("COPY seed /seed", "failed to copy: httpReadSeeker: failed open", "from remote: not found"),
    "push-denied": ("", "failed to push registry.example:5000/team/app:1", "denied"),
    "run-says-not-found": ("RUN echo content", 'process "/bin/sh -c echo content', "exit code: 3"),
}


@pytest.mark.parametrize("name", ALL)
def test_recorded_failures(name: str) -> None:
    trace = reduced(parsed(recording(name)))
    step, start, end = ERRORS.get(Path(name).name, ("", "", ""))
    assert (trace.failed.name if trace.failed else "").startswith(step)
    assert (trace.failed is None) == (step == "")
    assert (trace.error == "") == (end == "")
    assert (trace.error.startswith(start), trace.error.endswith(end)) == (True, True)


@pytest.mark.parametrize("version", [NEW, OLD])
def test_a_recorded_failing_run(version: str) -> None:
    trace = reduced(parsed(recording(f"{version}/failing-run")))
    assert trace.failed is not None
    assert (trace.failed.stage, trace.failed.number, trace.failed.total) == ("broken", 3, 4)
    assert set(trace.log_tail) == {"test 1: ok", "test 2: ok", "test 3: ok", "test 4: FAILED [3/4]"}
    cancelled = next(step for step in trace.steps if step.stage == "slow" and step.number == 2)
    assert cancelled.error.endswith("context canceled")
    assert [step.started for step in trace.steps].count(None) == 3
    assert "fail.Dockerfile:7" in trace.text


@pytest.mark.parametrize("version", [NEW, OLD])
def test_a_recorded_cold_build(version: str) -> None:
    trace = reduced(parsed(recording(f"{version}/cold")))
    steps = {(step.stage, step.number): step for step in trace.steps}
    base = next(step for step in trace.steps if step.name.startswith("FROM "))
    assert base.bytes == base.bytes_total > 1_000_000
    assert 0.5 < steps["build", 4].seconds < 2
    assert steps["build", 5].name.startswith("RUN <<SCRIPT (printf")
    assert steps["stage-2", 4].name == "COPY --link --from=build /out.txt ./"
    assert steps["build", 4].digest in steps["build", 5].inputs
    assert trace.log_tail == ("fetching 100%", "caf\u00e9")
    assert [each.bytes for each in trace.transfers if each.kind == "context"] == [113]


@pytest.mark.parametrize("version", [NEW, OLD])
def test_recorded_platforms(version: str) -> None:
    trace = reduced(parsed(recording(f"{version}/two-platforms")))
    run = {step.platform: step.name for step in trace.steps if step.name.startswith("RUN ")}
    assert run == {
        "linux/amd64": 'RUN echo "building for linux/amd64" | tee /out',
        "linux/amd64->arm64": 'RUN echo "building for linux/arm64" | tee /out',
    }
    copies = {step.platform for step in trace.steps if step.name == "COPY --from=build /out /out"}
    assert copies == {"linux/amd64", "linux/arm64"}


@pytest.mark.parametrize("version", [NEW, OLD])
def test_recorded_parallel_stages(version: str) -> None:
    steps = reduced(parsed(recording(f"{version}/parallel-stages"))).steps
    assert {step.stage for step in steps if step.name.startswith("RUN ")} == {"one-1", "two_2", "three.3"}
    assert list(steps) == sorted(steps, key=lambda step: step.started or 0)
    one, two = (next(each for each in steps if each.name.endswith(word)) for word in ("echo one", "echo two"))
    assert one.started is not None
    assert two.started is not None
    assert abs(one.started - two.started) < 0.4


@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("warm", {"image-export", "load"}),
        ("cache-import-error", {"cache-import"}),
        ("push-and-cache-export", {"image-export", "cache-export"}),
        (f"{NEW}/local-cache-export", {"cache-export"}),
        (f"{NEW}/docker-driver-push", {"image-export", "push"}),
    ],
)
def test_recorded_transfers(name: str, kinds: set[str]) -> None:
    for path in [name] if "/" in name else [f"{NEW}/{name}", f"{OLD}/{name}"]:
        transfers = reduced(parsed(recording(path))).transfers
        assert {each.kind for each in transfers} == kinds | {"context", "other"}


@pytest.mark.parametrize("version", [NEW, OLD])
def test_recorded_cache_errors_do_not_fail_the_build(version: str) -> None:
    trace = reduced(parsed(recording(f"{version}/cache-import-error")))
    errors = [each.error for each in trace.transfers if each.kind == "cache-import"]
    assert len(errors) == 2
    assert errors[0].endswith("not found")
    assert errors[1].endswith("connection refused")


def test_recorded_ignored_export_error_is_kept_where_it_belongs() -> None:
    trace = reduced(parsed(recording(f"{NEW}/cache-export-ignored")))
    (export,) = (each for each in trace.transfers if each.kind == "cache-export")
    assert export.error.endswith("connection refused")


def test_recorded_steps_over_a_lost_layer_are_told_from_the_last_to_the_lost_one() -> None:
    trace = reduced(parsed(recording(f"{NEW}/local-layer-lost")))
    assert [name.partition(" RUN ")[0].partition(" COPY ")[0] for name, _ in trace.errors] == [
        "[stage-1 7/7]",
        "[stage-1 6/7]",
    ]
    assert len({error for _, error in trace.errors}) == 1


def test_a_recorded_layer_that_changed_is_dropped_from_the_export_without_a_word() -> None:
    trace = reduced(parsed(recording(f"{NEW}/local-stage-layer-changed")))
    assert (trace.errors, trace.error, trace.executed) == ((), "", 0)


def test_recorded_push_with_docker_has_bytes() -> None:
    trace = reduced(parsed(recording(f"{NEW}/docker-driver-push")))
    (push,) = (each for each in trace.transfers if each.kind == "push")
    assert push.name == "pushing registry.example:5000/team/app:1 with docker"
    assert push.bytes > 1_000_000


def test_recorded_warnings() -> None:
    trace = reduced(parsed(recording(f"{NEW}/cold")))
    assert trace.warnings[-1].startswith("JSONArgsRecommended: ")
    assert trace.warnings[-1].endswith("related to OS signals (Dockerfile:18)")


def test_recorded_damaged_cache_was_extracted_in_part() -> None:
    steps = {(step.stage, step.number): step for step in reduced(parsed(recording(f"{NEW}/damaged-cache"))).steps}
    assert steps["build", 3].cached
    assert [steps["build", number].error != "" for number in (4, 5)] == [True, True]
    assert steps["stage-2", 4].error != ""


def test_recorded_recovery_ran_the_step_whose_layer_could_not_be_loaded() -> None:
    events = parsed(recording(f"{NEW}/recovered-cache-load"))
    assert any("does not exist: not found" in each.error for each in events if isinstance(each, VertexEvent))
    trace = reduced(events)
    assert [(step.name, step.cached) for step in trace.steps if step.stage == "stage-2" and step.number == 4] == [
        ("COPY --link --from=build /out.txt ./", False)
    ]
    assert not any(step.error for step in trace.steps)
