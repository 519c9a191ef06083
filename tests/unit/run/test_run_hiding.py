from __future__ import annotations

import base64
import html
import json
import re
import shlex
import time
from collections.abc import Iterable, Sequence
from itertools import pairwise
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildx_cache.buildkit.events import Event, LogEvent, StatusEvent, TextLine, VertexEvent, WarningEvent
from buildx_cache.buildkit.trace_builder import TraceBuilder
from buildx_cache.formatting import MESSAGE_LIMIT
from buildx_cache.plan import BuildArg, BuildInvocation
from buildx_cache.redaction import Redactor, Secret
from buildx_cache.run.redactor import LINE_LIMIT, EventRedactor, Secrets

VALUE = "p/w+d ü-4711"


def hiding(*values: str) -> EventRedactor:
    return EventRedactor(Redactor(values))


def spoken(data: bytes, vertex: str = "a", stream: int = 1) -> LogEvent:
    return LogEvent(vertex=vertex, stream=stream, encoded=base64.b64encode(data).decode())


def vertex(digest: str = "a", *, name: str = "RUN", error: str = "", completed: float | None = None) -> VertexEvent:
    return VertexEvent(digest=digest, inputs=(), name=name, started=1.0, completed=completed, cached=False, error=error)


def said(events: Iterable[Event]) -> bytes:
    return b"".join(event.data for event in events if isinstance(event, LogEvent))


def shown(hides: EventRedactor, pieces: Sequence[bytes]) -> bytes:
    return said([*hides.take([spoken(piece) for piece in pieces]), *hides.close()])


def split(data: bytes, cuts: Iterable[int]) -> list[bytes]:
    places = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[start:end] for start, end in pairwise(places)]


def test_nothing_to_hide_changes_nothing() -> None:
    events: list[Event] = [vertex(), spoken(b"a\n"), TextLine(text="b")]
    assert [*map(id, hiding().take(events))][:2] == [*map(id, events)][:2]
    assert [*hiding("a value").take(events)] == events


def test_the_middle_of_a_long_error_is_left_out_and_no_part_of_a_value_stays_at_the_cut() -> None:
    value = "0123456789" * 10
    for before in range(MESSAGE_LIMIT // 2 - 120, MESSAGE_LIMIT // 2 + 20, 7):
        error = "x" * before + value + "y" * 5 * MESSAGE_LIMIT + value + "z" * before
        (seen,) = hiding(value).take([vertex(error=error)])
        assert isinstance(seen, VertexEvent)
        assert len(seen.error) < MESSAGE_LIMIT + 10
        assert (seen.error[0], seen.error[-1]) == ("x", "z")
        assert "012" not in seen.error
        assert "789" not in seen.error


def test_names_and_warnings_are_cut_after_the_search() -> None:
    """A frontend names its vertices as it likes, with megabytes each, and a trace keeps all of them."""
    text = "x" * (MESSAGE_LIMIT // 2 - 2) + VALUE + "y" * 5 * MESSAGE_LIMIT + VALUE
    warning = WarningEvent(vertex="a", level=1, short=text, detail=(text,), url=text, file=text, line=1)
    seen, warned = hiding(VALUE).take([vertex(name=text), warning])
    assert isinstance(seen, VertexEvent)
    assert isinstance(warned, WarningEvent)
    for each in (seen.name, warned.short, *warned.detail, warned.url, warned.file):
        assert len(each) < MESSAGE_LIMIT + 10
        assert each.endswith("***")
        assert VALUE[:3] not in each


RAW = VALUE.encode()
FORMS = {
    "itself": RAW,
    "in a URL": quote(VALUE, safe="").encode(),
    "in a form": quote_plus(VALUE).encode(),
    "in a URL, small digits": quote(VALUE, safe="").lower().encode(),
    "in JSON": b"p/w+d \\u00fc-4711",
    "base64": base64.b64encode(RAW),
    "base64 for URLs": base64.urlsafe_b64encode(RAW),
    "user and password": base64.b64encode(b"me:" + RAW),
    "after one more": base64.b64encode(b"user:" + RAW + b"\n"),
    "after two more": base64.b64encode(b"user2:" + RAW + b"xyz"),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())
@given(cuts=st.lists(st.integers(0, 10_000), max_size=6))
def test_a_value_is_found_in_each_form_wherever_the_pieces_end(form: bytes, cuts: list[int]) -> None:
    out = shown(hiding(VALUE), split(b"before\n<" + form + b">\nafter\n", cuts))
    assert form[len(form) // 2 :][:6] not in out
    assert out.startswith(b"before\n<") and out.endswith(b">\nafter\n")  # noqa: PT018 -- one thing: what stands around


ODD = """p/w+d=\u00fc&<a>'b'"c\\d $x`y%z"""
JSON = ODD.replace("\\", "\\\\").replace('"', '\\"')
QUOTED = {
    "encodeURIComponent": quote(ODD, safe="!'()*"),
    "encodeURI": quote(ODD, safe="!'()*;,/?:@&=+$#"),
    "quote of Python": quote(ODD),
    "Go's user of a URL": quote(ODD, safe="$&+,;="),
    "JSON of Go": JSON.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e"),
    "JSON of PHP": json.dumps(ODD)[1:-1].replace("/", "\\/"),
    "JSON of Gson": JSON.replace("&", "\\u0026").replace("=", "\\u003d").replace("'", "\\u0027"),
    "JSON of .NET": "p/w\\u002Bd=\\u00FC\\u0026\\u003Ca\\u003E\\u0027b\\u0027\\u0022c\\\\d $x\\u0060y%z",
    "JSON in JSON": json.dumps(json.dumps(ODD, ensure_ascii=False), ensure_ascii=False)[3:-3],
    "HTML": html.escape(ODD),
    "XML": "p/w+d=&#xFC;&amp;&lt;a&gt;&apos;b&apos;&#34;c\\d $x`y%z",
    "a shell's trace": shlex.quote(ODD)[1:-1],
    "the trace of bash": ODD.replace("'", "'\\''"),
    "export -p of bash": re.sub(r'(["$`\\])', r"\\\1", ODD),
}


@pytest.mark.parametrize("form", QUOTED.values(), ids=QUOTED.keys())
def test_a_value_is_found_however_its_signs_are_quoted(form: str) -> None:
    assert shown(hiding(ODD), [f"<{form}>\n".encode()]) == b"<***>\n"
    assert Redactor([ODD]).text(f"<{form}>") == "<***>"


HOSTILE = {
    "a backslash": ("\\x", "\\" * 200_000),
    "backslashes": ("\\" * 40 + "x", "\\" * 200_000),
    "quoted quotes": ('\\"' * 40 + "x", '\\\\\\\\"' * 40_000),
    "a shell's quotes": ("'\"" * 40 + "x", "'\"" * 100_000),
    "quotes": ("'" * 40 + "x", "'" * 200_000),
    "percents": ("%25" * 40 + "x", "%25" * 60_000),
    "entities": ("&amp;" * 40 + "x", "&amp;" * 40_000),
    "controls": ("\x01" * 40 + "abcd", "\\" * 200_000),
    "blanks": ("a +" * 40 + "b", "a +" * 60_000),
}


@pytest.mark.parametrize(("value", "text"), HOSTILE.values(), ids=HOSTILE.keys())
def test_no_value_and_no_text_makes_that_take_long(value: str, text: str) -> None:
    started = time.process_time()
    shown(hiding(value), [text.encode() + b"\n"])
    assert time.process_time() - started < 20.0


@given(
    values=st.lists(st.text("ab", min_size=4, max_size=7), min_size=1, max_size=3),
    text=st.text("abc\n", max_size=60),
    cuts=st.lists(st.integers(0, 100), max_size=8),
)
def test_no_value_of_several_is_shown_whole_and_nothing_else_is_lost(
    values: list[str], text: str, cuts: list[int]
) -> None:
    out = shown(hiding(*values), split(text.encode(), cuts)).decode()
    assert not [value for value in values if value in out]
    if not any(value in text for value in values):
        assert out == text + ("" if text.endswith("\n") or not text else "\n")


@given(cuts=st.lists(st.integers(0, 100), max_size=5))
def test_a_value_that_begins_like_another_is_hidden_to_its_end(cuts: list[int]) -> None:
    assert shown(hiding("token", "token-of-mine"), split(b"token-of-mine token\n", cuts)) == b"*** ***\n"


def test_a_line_is_shown_as_soon_as_it_ends() -> None:
    hides = hiding("secret-word")
    for piece, expected in ((b"secret-w", b""), (b"alk\n", b"secret-walk\n"), (b"more\nsec\n", b"more\nsec\n")):
        assert said(hides.take([spoken(piece)])) == expected
    assert said(hides.close()) == b""


@pytest.mark.parametrize("opening", [b"", b"\x1b]0;", b"\x1b["], ids=["text", "OSC without end", "CSI without end"])
def test_what_waits_of_a_line_is_bounded(opening: bytes) -> None:
    hides = hiding("aaaaaaaab")
    out = [said(hides.take([spoken(opening if number == 0 else b"7" * 1000)])) for number in range(200)]
    assert b"".join(out) == b""
    assert sum(len(line.data) for line in hides._begun.values()) <= LINE_LIMIT + 100
    (shown,) = (said(hides.take([spoken(piece)])) for piece in [b"aaaaaaaab\nnext\n"])
    assert shown.endswith(b"\nnext\n")
    assert len(shown) <= LINE_LIMIT + 100


def test_a_value_at_the_end_of_what_is_kept_of_a_line_is_not_shown_by_half() -> None:
    value = "hunter2-secret-and-more"
    for before in range(LINE_LIMIT, LINE_LIMIT + len(value) + 1):
        shown_of = shown(hiding(value), [b"-" * before, f"{value}-and-the-rest\n".encode()])
        assert b"hunt" not in shown_of


def test_a_line_is_what_the_last_carriage_return_leaves() -> None:
    pieces = [b"10%\r20%", b"\r", b"30%", b"\r\r40", b"%\r", b"\nnext\r\n"]
    assert shown(hiding("secret-word"), pieces) == b"40%\nnext\n"
    assert shown(hiding("secret-word"), [b"x" * 2 * LINE_LIMIT + b"\r", b"secret-", b"word\r", b"\r\n"]) == b"***\n"
    assert shown(hiding("secret-word"), [b"secret-\rword\n"]) == b"word\n"


def test_streams_and_steps_do_not_mix() -> None:
    hides = hiding("secret-word")
    came = [spoken(b"secret-"), spoken(b"word\n", stream=2), spoken(b"word\n", vertex="b"), spoken(b"word\n")]
    assert [each.data for each in hides.take(came) if isinstance(each, LogEvent)] == [b"word\n", b"word\n", b"***\n"]


def test_what_waits_is_shown_before_its_step_ends() -> None:
    hides = hiding("secret-word")
    events = [*hides.take([spoken(b"secret-"), vertex("b", completed=2.0), vertex(completed=2.0)])]
    assert events == [vertex("b", completed=2.0), spoken(b"secret-\n"), vertex(completed=2.0)]
    assert [*hides.close()] == []


def test_the_log_of_the_message_that_ends_a_step_is_that_step_s_too() -> None:
    hides = hiding("secret-word")
    assert [*hides.take([spoken(b"secret-")])] == []
    events = [*hides.take([vertex(completed=2.0), spoken(b"wo"), spoken(b"rd")])]
    assert events == [vertex(completed=2.0), spoken(b"***\n")]


def test_nothing_is_put_together_with_what_was_said_after_the_end_of_a_step() -> None:
    hides, trace = hiding("secret-word"), TraceBuilder()
    for events in ([vertex()], [spoken(b"secret-")], [vertex(completed=2.0)], [spoken(b"word\n")], [vertex()]):
        for event in hides.take(events):
            trace.add(event)
    assert trace.log("a") == ("secret-", "word")


def test_what_waits_at_the_end_is_shown() -> None:
    assert shown(hiding("secret-word", "secret"), [b"secret"]) == b"***\n"


def test_every_other_text_is_cleared() -> None:
    events: list[Event] = [
        vertex(name=f"RUN echo {VALUE}", error=f"did not: {VALUE}"),
        WarningEvent(vertex="a", level=1, short=VALUE, detail=(VALUE,), url=f"x/{VALUE}", file=VALUE, line=1),
        TextLine(text=f"ERROR: {VALUE}"),
        StatusEvent(vertex="a", id="pull", current=0, total=0),
    ]
    assert VALUE not in repr([*hiding(VALUE).take(events)])


@pytest.mark.parametrize("value", ["", "abc", "\n", "a\nb\n"])
def test_what_is_too_short_is_no_secret(value: str) -> None:
    assert shown(hiding(value), [b"a abc b\n"]) == b"a abc b\n"


def test_of_several_lines_each_is_hidden() -> None:
    key = "-----BEGIN KEY-----\nMIIEvQIBADANBg\nkqhkiG9w0BAQEF\n-----END KEY-----\n"
    out = shown(hiding(key), [b"1: MIIEvQIBADANBg\r\n", b"2: kqhkiG9w", b"0BAQEF\n"])
    assert out == b"1: ***\n2: ***\n"


def test_of_a_file_of_settings_the_secret_ones_are_hidden_alone_too() -> None:
    hides = hiding("//registry.example/:_authToken=hunter2-of-npm\nnpm.color=always-on\n")
    assert shown(hides, [b"hunter2-of-npm always-on\n"]) == b"*** always-on\n"


@pytest.mark.parametrize(
    "value",
    [
        "0123456789abcdef" * 12,
        "-----BEGIN KEY-----\n" + "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcw\n" * 9 + "-----END KEY-----\n",
        "  indented: hunter2-of-mine\r\n" * 8,
        bytes(range(256)).decode("utf-8", "surrogateescape"),
        "one\ntwo\nten\n" * 12,
    ],
    ids=["one line", "a key", "indented", "bytes", "short lines"],
)
def test_base64_that_is_wrapped_is_hidden(value: str) -> None:
    wrapped = base64.encodebytes(value.encode("utf-8", "surrogateescape"))
    for said_so in (wrapped, wrapped.replace(b"\n", b"")):
        left = shown(hiding(value), [said_so]).replace(b"***", b"").strip(b"=\n")
        assert len(left) < 8  # what a short last line has


def test_of_values_that_overlap_no_rest_is_shown() -> None:
    assert shown(hiding("first-half-12", "12-second-half"), [b"<first-half-12-second-half>\n"]) == b"<***>\n"


def test_bytes_that_are_no_text() -> None:
    assert shown(hiding("\udcff\udcfepass"), [b"<\xff", b"\xfepass\xff>\n"]) == b"<***\xff>\n"


def test_the_password_secrets_and_secret_arguments_are_hidden_but_not_ordinary_ones() -> None:
    arguments = (("NPM_TOKEN", "of-the-argument"), ("AUTH", "disabled"), ("A_TOKEN", "short"), ("P", "http://u:p@host"))
    given = tuple(BuildArg(name=name, value=Secret(value), is_secret=True) for name, value in arguments)
    build = BuildInvocation(builder="b", context=".", build_args=given)
    redactor = Secrets(hidden=(Secret("of-a-login"), Secret("true"))).redactor(build)
    said_of_all = "of-the-argument disabled short http://u:p@host of-a-login true"
    assert redactor.text(said_of_all) == "*** disabled short *** *** ***"
