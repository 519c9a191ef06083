from __future__ import annotations

import base64
import io
import re
import threading
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from buildx_cache.buildkit.events import Event, LogEvent, TextLine, VertexEvent
from buildx_cache.buildkit.trace import BuildTrace, Step
from buildx_cache.cli.checkup import checks_table
from buildx_cache.display import Display, PlainDisplay, QuietDisplay, base, plain, summary_lines
from buildx_cache.display.cache_tables import RegistryTables, Results, UnreadableCache
from buildx_cache.doctor import Check, CheckStatus
from buildx_cache.errors import BuildFailedError
from buildx_cache.formatting import age, counted, duration, printable, short_digest, size
from buildx_cache.layout import Finding, FindingKind, Shape
from buildx_cache.layout.model import Descriptor
from buildx_cache.registry.pruning import CacheTag, Decision, Deletion
from buildx_cache.registry.repository import RemoteCache, TagKind
from buildx_cache.report import (
    BuilderReport,
    BuildReport,
    CacheReport,
    CIReport,
    ExportReport,
    ImageReport,
    ImportReport,
    StepCounts,
)

REPEATABLE = settings(derandomize=True, deadline=None)
CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
REPORT = BuildReport(
    status="success",
    exit_code=0,
    started="2025-11-24T04:30:00.123Z",
    seconds=70.0,
    images={"default": ImageReport(digest="sha256:" + "0123456789abcdef" * 4)},
    builder=BuilderReport(name="own", driver="docker-container", buildkit="0.25.0", created=True),
    ci=CIReport(provider="none", branch=None, sha=None, pull_request=None, is_fork=False),
    cache=CacheReport(
        mode="registry",
        scope="main",
        read_only=False,
        imports=(
            ImportReport(type="registry", source="app:buildcache-x", status="absent"),
            ImportReport(type="registry", source="app:buildcache-main", status="hit"),
        ),
        exports=(
            ExportReport(type="registry", target="app:buildcache-x", status="written", bytes=1536),
            ExportReport(type="local", target="/c", status="unchanged"),
        ),
        steps=StepCounts(total=8, cached=5, executed=3),
        hit_ratio=0.625,
    ),
    phases={"builder": 1.04, "build": 65.4, "prune": 0.04},
)


def shown(what: Callable[[Display], None], *, verbose: bool = False, quiet: bool = False, color: bool = False) -> str:
    out = io.StringIO()
    what(QuietDisplay(out, color=color) if quiet else PlainDisplay(out, color=color, verbose=verbose))
    return out.getvalue()


def vertex(name: str, span: tuple[float, float | None] | None, *, cached: bool = False, error: str = "") -> VertexEvent:
    started, completed = span or (None, None)
    return VertexEvent(
        digest=f"sha256:{name}",
        inputs=(),
        name=name,
        started=started,
        completed=completed,
        cached=cached,
        error=error,
    )


def log(name: str, data: bytes, stream: int = 1) -> LogEvent:
    return LogEvent(vertex=f"sha256:{name}", stream=stream, encoded=base64.b64encode(data).decode())


def played(*events: Event) -> str:
    """What a build's events come to, the end of the call included."""

    def play(plain: Display) -> None:
        for event in events:
            plain.event(event)
        plain.summary(replace(REPORT, phases={}))

    return shown(play)


# --- numbers -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1.0, "0.0s"),
        (0.0, "0.0s"),
        (0.04, "0.0s"),
        (3.44, "3.4s"),
        (59.94, "59.9s"),
        (59.96, "1m 00s"),
        (60.0, "1m 00s"),
        (125.4, "2m 05s"),
        (3599.9, "60m 00s"),
        (4000.0, "66m 40s"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1, "1 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1536, "1.5 KiB"),
        (1024**2, "1.0 MiB"),
        (21 * 1024**2 + 300_000, "21.3 MiB"),
        (5 * 1024**3, "5.0 GiB"),
        (3 * 1024**4, "3.0 TiB"),
        (3 * 1024**5, "3072.0 TiB"),
    ],
)
def test_sizes(count: int, text: str) -> None:
    assert size(count) == text


def test_digests_are_shortened_for_people() -> None:
    assert short_digest("sha256:0123456789abcdef") == "sha256:0123456789ab"


def test_warnings_and_errors_are_one_line_with_short_digests() -> None:
    out = io.StringIO()
    display = QuietDisplay(out, color=False)
    digest = "sha256:" + "ab" * 32
    display.warn(f"{digest}: is lost\nerror: forged\r\n")
    display.failure(BuildFailedError(f"{digest}\n  is lost", hint="mend it"), None)
    assert out.getvalue().splitlines() == [
        "warning: sha256:abababababab: is lost error: forged ",
        "error: sha256:abababababab is lost [build-failed]",
        "hint: mend it",
    ]


# --- what a terminal must not be told ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("plain\ttext", "plain\ttext"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b[2J\x1b[Hcleared", "cleared"),
        ("\x1b]0;title\x07text", "text"),
        ("\x1b]8;;https://example.com\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1b(B", ""),
        ("\x1bM", ""),
        ("cut off \x1b[31", "cut off [31"),
        ("\x9b31mC1", "C1"),
        ("a\x00b\x08c\x7fd\re", "abcde"),
        ("größe \U0001f600", "größe \U0001f600"),
    ],
)
def test_control_sequences_are_taken_out(text: str, safe: str) -> None:
    assert printable(text) == safe


@REPEATABLE
@given(st.text())
def test_nothing_printable_is_a_control(text: str) -> None:
    assert not CONTROLS.search(printable(text))


@REPEATABLE
@given(st.lists(st.binary(max_size=60) | st.sampled_from([b"\x1b[2J", b"\n", b"\r", b"\xff\xfe"]), max_size=8))
def test_a_log_of_any_bytes_is_shown_as_lines_of_its_step(pieces: list[bytes]) -> None:
    name = "[build 2/3] RUN make"
    text = played(vertex(name, (1.0, None)), *(log(name, piece) for piece in pieces), vertex(name, (1.0, 2.0)))
    *lines, end = text.split("\n")
    assert end == ""
    assert lines.pop() == "    1.0s  [build 2/3] RUN make"
    assert all(line.startswith("          [build 2/3] | ") for line in lines)
    assert not CONTROLS.search(text.replace("\n", ""))


@pytest.mark.parametrize(
    "what",
    [
        pytest.param(lambda plain: plain.say("\x1b[2Jx"), id="say"),
        pytest.param(lambda plain: plain.warn("\x1b[2Jx"), id="warn"),
        pytest.param(lambda plain: plain.command("\x1b[2Jx"), id="command"),
        pytest.param(lambda plain: plain.failure(BuildFailedError("\x1b[2Jx", hint="\x9b2J"), None), id="failure"),
        pytest.param(lambda plain: plain.event(TextLine(text="WARNING: \x1b[2Jx")), id="text"),
    ],
)
@pytest.mark.parametrize("color", [False, True], ids=["plain", "color"])
def test_whatever_is_said_holds_no_control(what: Callable[[Display], None], color: bool) -> None:  # noqa: FBT001 -- a table
    text = shown(what, verbose=True, color=color)
    assert "x" in text
    assert not CONTROLS.search(text.replace("\n", ""))


@pytest.mark.parametrize("text", ["[bold]x[/]", "[/]", "[red", "\\[x]", "RUN [ -f x ]"])
def test_brackets_are_no_markup(text: str) -> None:
    assert shown(lambda plain: plain.warn(text)) == f"warning: {text}\n"
    assert shown(lambda plain: plain.failure(BuildFailedError(text, hint=text), None)) == (
        f"error: {text} [build-failed]\nhint: {text}\n"
    )


@pytest.mark.parametrize("text", ["registry.example.com/app:x: not found", "C:\\"], ids=["emoji", "backslash"])
def test_a_text_is_shown_as_it_is(text: str) -> None:
    assert shown(lambda plain: plain.warn(text)) == f"warning: {text}\n"


def test_a_long_line_is_not_wrapped() -> None:
    text = "word " * 100
    assert shown(lambda plain: plain.warn(text.strip())) == f"warning: {text.strip()}\n"


# --- a build, step by step ---------------------------------------------------------------------------------

MAKE = "[build 2/3] RUN make"


def test_steps_are_told_when_they_end() -> None:
    assert played(
        vertex("[internal] load build definition from Dockerfile", (0.0, 1.0)),
        vertex("[linux/arm64 build 1/3] FROM scratch", (1.0, 1.0), cached=True),
        vertex(MAKE, (1.0, None)),
        log(MAKE, b"one\ntw"),
        log(MAKE, b"warned", stream=2),
        log(MAKE, b"o\nthree"),
        vertex(MAKE, (1.0, 66.0)),
        vertex("[build 3/3] COPY a   \\\n  b", (2.0, 3.0), error="not found"),
        vertex("[other 1/2] RUN wait", (2.0, 3.0), error="process canceled: context canceled"),
        vertex("exporting to image", (3.0, 4.0)),
    ).splitlines() == [
        "          [build 2/3] | one",
        "          [build 2/3] | two",
        "  CACHED  [linux/arm64 build 1/3] FROM scratch",
        "          [build 2/3] | three",
        "          [build 2/3] | warned",
        "  1m 05s  [build 2/3] RUN make",
        "  FAILED  [build 3/3] COPY a \\ b",
        " STOPPED  [other 1/2] RUN wait",
    ]


@pytest.mark.parametrize(
    ("data", "lines"),
    [
        (b"10%\r50%\r100%\n", ["100%"]),
        (b"text\r\n", ["text"]),
        (b"\n", [""]),
        (b"gr\xc3\xb6\xc3\x9fe\n", ["größe"]),
        (b"\xff\n", ["�"]),
        (b"x" * 20_000 + b"\n", ["x" * 16_384]),
        (b"x" * 20_000, ["x" * 16_384]),
    ],
    ids=["progress-bar", "windows", "empty", "utf-8", "no-utf-8", "long", "long-and-unfinished"],
)
def test_a_line_of_a_log(data: bytes, lines: list[str]) -> None:
    text = played(vertex(MAKE, (1.0, None)), log(MAKE, data), vertex(MAKE, (1.0, 2.0)))
    assert text.splitlines()[:-1] == [f"          [build 2/3] | {line}" for line in lines]


def test_a_log_of_no_step_is_not_shown() -> None:
    assert played(vertex("exporting to image", (1.0, None)), log("exporting to image", b"x\n"), log("?", b"y\n")) == ""


def test_a_step_that_goes_on_is_told_once() -> None:
    events = (vertex(MAKE, (1.0, 2.0)), vertex(MAKE, (1.0, None)), vertex(MAKE, (1.0, 4.0)), vertex(MAKE, (1.0, 4.0)))
    assert played(*events) == "    3.0s  [build 2/3] RUN make\n"


def test_a_step_that_turns_out_to_be_cached_is_told_as_such() -> None:
    assert played(vertex(MAKE, (1.0, 2.0)), vertex(MAKE, (1.0, 2.0), cached=True)) == (
        "  CACHED  [build 2/3] RUN make\n"
    )


def test_a_step_is_told_once_it_has_rested(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(plain, "time", SimpleNamespace(monotonic=lambda: now[0]))
    out = io.StringIO()
    display = PlainDisplay(out, color=False)
    display.event(vertex(MAKE, (1.0, 2.0)))
    assert out.getvalue() == ""
    now[0] += 1.0
    display.event(vertex("exporting to image", (3.0, None)))
    assert out.getvalue() == "    1.0s  [build 2/3] RUN make\n"


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("WARNING: No output specified", "warning: No output specified\n"),
        ("WARNING: local cache import at c not found due to err: x", ""),
        ("ERROR: failed to solve: x", ""),
        ("------", ""),
    ],
)
def test_of_plain_lines_only_warnings_are_shown(line: str, text: str) -> None:
    assert played(TextLine(text=line)) == text


# --- what was decided, and how it ended --------------------------------------------------------------------


def test_commands_are_shown_when_asked() -> None:
    assert shown(lambda plain: plain.command("docker buildx ls")) == ""
    assert shown(lambda plain: plain.command("docker buildx ls"), verbose=True) == "+ docker buildx ls\n"


def test_the_quiet_display_shows_only_warnings_and_errors() -> None:
    def everything(quiet: Display) -> None:
        quiet.say("said")
        quiet.command("ran")
        quiet.event(vertex(MAKE, (1.0, 2.0)))
        quiet.event(TextLine(text="WARNING: x"))
        quiet.warn("careful")
        quiet.summary(REPORT)
        quiet.failure(BuildFailedError("it failed", hint="mend it"), None)

    assert shown(everything, quiet=True) == "warning: careful\nerror: it failed [build-failed]\nhint: mend it\n"


def test_a_failure_ends_with_the_log_of_its_step_and_the_place_in_the_dockerfile() -> None:
    failed = Step(
        name="RUN make",
        stage="build",
        platform="",
        number=2,
        total=3,
        digest="sha256:1",
        inputs=(),
        cached=False,
        seconds=1.0,
        error="exit code: 2",
        started=1.0,
        completed=2.0,
    )
    trace = BuildTrace(
        steps=(failed,),
        transfers=(),
        warnings=(),
        text=("------", " > [build 2/3] RUN make:", "Dockerfile:3", "--------------------", "   1 |     FROM scratch",
              "   3 | >>> RUN make", "ERROR: failed to solve: x"),
        failed=failed,
        error="x",
        log_tail=("make: \x1b[31m*** No rule", "stop"),
    )  # fmt: skip
    assert shown(lambda plain: plain.failure(BuildFailedError("it failed"), trace)).splitlines() == [
        "error: it failed [build-failed]",
        "  | make: *** No rule",
        "  | stop",
        "  | Dockerfile:3",
        "  |    1 |     FROM scratch",
        "  |    3 | >>> RUN make",
    ]


def test_the_summary_tells_steps_caches_image_and_times() -> None:
    assert list(summary_lines(REPORT)) == [
        ("steps", "8: 5 cached (62%), 3 executed"),
        ("cache from", "absent      registry app:buildcache-x"),
        ("cache from", "hit         registry app:buildcache-main"),
        ("cache to", "written     registry app:buildcache-x (1.5 KiB)"),
        ("cache to", "unchanged   local /c"),
        ("image", "sha256:0123456789ab"),
        ("time", "builder 1.0s, build 1m 05s"),
    ]


def test_the_summary_is_a_table_of_80_columns() -> None:
    lines = shown(lambda plain: plain.summary(REPORT)).splitlines()
    assert lines[0] == "steps       8: 5 cached (62%), 3 executed"
    assert lines[-1] == "time        builder 1.0s, build 1m 05s"
    assert max(map(len, lines)) <= 80


def test_without_a_build_there_is_no_summary() -> None:
    assert shown(lambda plain: plain.summary(replace(REPORT, phases={"builder": 1.0}))) == ""


def test_what_doctor_found_is_one_line_a_check() -> None:
    out = io.StringIO()
    checks = (
        Check(name="docker", status=CheckStatus.OK, found="engine [28]"),
        Check(name="cache folder", status=CheckStatus.WARN, found="\x1b[2Jodd", advice="mend [it]"),
        Check(name="ci", status=CheckStatus.FAIL, found="none"),
    )
    checks_table(checks, out, color=False)
    assert out.getvalue().splitlines() == [
        "ok   docker        engine [28]",
        "warn cache folder  odd",
        "                   mend [it]",
        "fail ci            none",
    ]


# --- the cache commands --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(-5, "0s"), (0, "0s"), (59.9, "59s"), (60, "1m"), (3599, "59m"), (3600, "1h"), (86399, "23h"), (864000, "10d")],
)
def test_an_age_is_in_its_largest_whole_unit(seconds: float, said: str) -> None:
    assert age(seconds) == said


@pytest.mark.parametrize(("count", "said"), [(0, "0 blobs"), (1, "1 blob"), (2, "2 blobs")])
def test_things_are_counted_in_words(count: int, said: str) -> None:
    assert counted(count, "blob") == said


LONG_TAG = "buildcache-" + "x" * 117


def test_a_repositorys_longest_tags_fit_80_columns() -> None:
    out = io.StringIO()
    tables = RegistryTables(Results(out, color=False), now=1e9)
    found = RemoteCache(
        tag=LONG_TAG,
        digest="sha256:" + "a" * 64,
        media_type="application/vnd.oci.image.manifest.v1+json",
        shape=Shape.IMAGE,
        holds=TagKind.INLINE,
        layers=(Descriptor(digest="sha256:" + "b" * 64, size=2**40, media_type="a/b.tar+zstd", created=1e9 - 90),),
        records=None,
        size=2**50,
        created=None,
        findings=(
            Finding(kind=FindingKind.MISSING, blob="sha256:" + "c" * 64, referrer=LONG_TAG, problem="is not there"),
        ),
    )
    unreadable = UnreadableCache(tag=LONG_TAG, problem=f"{LONG_TAG} \x1b[31mis not JSON")
    judged = Decision(tag=CacheTag(name=LONG_TAG), reason="its branch does not exist, " * 9)
    tables.listed("registry.example.com/" + "team/" * 20, (found, unreadable))
    tables.inspected("registry.example.com/team/app", found, layers=1)
    tables.verified("registry.example.com/team/app", found.findings, deep=False)
    tables.pruned("registry.example.com/team/app", Deletion(deleted=(judged,), kept=(judged,)), dry_run=True)
    assert max(map(len, out.getvalue().splitlines())) <= 80
    assert "\x1b" not in out.getvalue()
    assert out.getvalue().replace("\n", "").replace(" ", "").count("x" * 30) > 6


def test_a_repository_without_caches_says_so() -> None:
    out = io.StringIO()
    RegistryTables(Results(out, color=False), now=0).listed("registry.example.com/app", ())
    assert [line.rstrip() for line in out.getvalue().splitlines()] == [
        "repository  registry.example.com/app",
        "caches      none: it has no tag buildcache-*",
    ]


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_what_is_quick_is_not_announced_off_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "_PATIENCE", 3600.0)
    out = io.StringIO()
    with base.working("reading", out, color=False):
        pass
    assert out.getvalue() == ""


def test_what_takes_long_is_said_in_one_line_off_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "_PATIENCE", 0.0)
    out = io.StringIO()
    with base.working("reading\x1b[31m", out, color=False):
        for thread in threading.enumerate():
            if isinstance(thread, threading.Timer):
                thread.join()
    assert out.getvalue() == "reading ...\n"


def test_what_takes_long_is_gone_from_a_terminal_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    out = _Terminal()
    with base.working("reading", out, color=True):
        pass
    assert "reading …" in out.getvalue()
    assert out.getvalue().endswith("\x1b[?25h\r\x1b[1A\x1b[2K")


def test_a_push_that_is_tried_again_tells_no_cached_step_again() -> None:
    """The second attempt finds cached what the first ran; a step that runs again is told again."""

    def play(plain: Display) -> None:
        plain.event(vertex("[1/3] RUN a", (0.0, 1.0)))
        plain.event(vertex("[2/3] RUN b", (1.0, 2.0)))
        plain.restart()
        plain.event(vertex("[1/3] RUN a", (3.0, 3.0), cached=True))
        plain.event(vertex("[2/3] RUN b", (3.0, 4.0)))
        plain.event(vertex("[3/3] RUN c", (4.0, 4.0), cached=True))
        plain.close()

    told = [line.partition("RUN ")[2] for line in shown(play).splitlines()]
    assert told == ["a", "b", "b", "c"]


def test_a_steps_line_comes_before_the_log_of_a_later_one() -> None:
    def play(plain: Display) -> None:
        plain.event(vertex("[build 1/2] RUN a", (0.0, 1.0)))
        plain.event(vertex("[other 1/1] RUN o", (0.0, 1.0)))
        plain.event(vertex("[build 2/2] RUN b", (1.0, None)))
        plain.event(log("[build 2/2] RUN b", b"working\n"))
        plain.close()

    lines = shown(play).splitlines()
    assert ["RUN a" in lines[0], "working" in lines[1]] == [True, True]


@pytest.mark.parametrize("name", ["a[/b]", "[link=https://evil.example]click[/link]", "[red]x"])
def test_a_name_is_no_markup_on_a_terminal(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    out = _Terminal()
    with base.working(f"reading {name}", out, color=True):
        pass
    assert f"reading {name} …" in out.getvalue()
    assert "\x1b]8" not in out.getvalue()
