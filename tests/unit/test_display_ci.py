"""The plain display in a CI's log: folds, signs of life, and texts that would be commands."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from buildx_cache.buildkit.events import LogEvent, VertexEvent
from buildx_cache.ci import PROVIDERS
from buildx_cache.ci.capabilities import without_commands
from buildx_cache.display import PlainDisplay, base, plain
from buildx_cache.errors import BuildFailedError
from buildx_cache.report import PHASES

FOLDING = [row.name for row in PROVIDERS if row.folding]
MAKE = "[build 2/3] RUN make"
COPY = "[build 3/3] COPY . ."


def vertex(name: str, ended: float | None, *, cached: bool = False, error: str = "") -> VertexEvent:
    return VertexEvent(
        digest=f"sha256:{name}", inputs=(), name=name, started=1.0, completed=ended, cached=cached, error=error
    )


def log(name: str, text: str) -> LogEvent:
    return LogEvent(vertex=f"sha256:{name}", stream=1, encoded=base64.b64encode(text.encode()).decode())


def shown(provider: str, what: Callable[[PlainDisplay], None], *, verbose: bool = False) -> list[str]:
    out = io.StringIO()
    display = PlainDisplay(out, color=False, provider=provider, verbose=verbose)
    what(display)
    display.close()
    return out.getvalue().splitlines()


def build(display: PlainDisplay) -> None:
    display.event(vertex(MAKE, None))
    display.event(log(MAKE, "one\ntwo"))
    display.event(vertex(COPY, None))
    display.event(vertex(MAKE, 2.0))
    display.event(vertex(COPY, 1.0, cached=True))
    display.warn("careful")


LOG = ["          | one", "          | two"]
TITLE = "    1.0s  [build 2/3] RUN make"
CACHED = "  CACHED  [build 3/3] COPY . ."


@pytest.mark.parametrize(
    ("provider", "lines"),
    [
        ("github", [f"::group::{TITLE}", *LOG, "::endgroup::", CACHED, "warning: careful"]),
        ("azure", [f"##[group]{TITLE}", *LOG, "##[endgroup]", CACHED, "warning: careful"]),
        ("buildkite", [f"--- {TITLE}", *LOG, f"--- {CACHED}", "+++ buildx-cache", "warning: careful"]),
        (
            "teamcity",
            [
                "##teamcity[blockOpened name='    1.0s  |[build 2/3|] RUN make']",
                *LOG,
                "##teamcity[blockClosed name='    1.0s  |[build 2/3|] RUN make']",
                CACHED,
                "warning: careful",
            ],
        ),
        (
            "gitlab",
            ["          [build 2/3] | one", "          [build 2/3] | two", TITLE, CACHED, "warning: careful"],
        ),
    ],
)
def test_the_log_of_a_step_is_folded_as_the_ci_folds(provider: str, lines: list[str]) -> None:
    assert shown(provider, build) == lines


@pytest.mark.parametrize("provider", FOLDING)
def test_the_log_of_a_failed_step_is_in_no_closed_fold(provider: str) -> None:
    def fail(display: PlainDisplay) -> None:
        display.event(vertex(MAKE, None))
        display.event(log(MAKE, "it broke\n"))
        display.event(vertex(MAKE, 2.0, error="exit code: 2"))

    title = "  FAILED  [build 2/3] RUN make"
    assert shown(provider, fail) == [f"+++ {title}" if provider == "buildkite" else title, "          | it broke"]


def test_what_a_step_said_before_it_was_interrupted_is_told() -> None:
    def stop(display: PlainDisplay) -> None:
        display.event(vertex(MAKE, None))
        display.event(log(MAKE, "half"))

    assert shown("github", stop) == [
        "::group:: STOPPED  [build 2/3] RUN make",
        "          | half",
        "::endgroup::",
    ]


def test_of_a_log_that_is_held_only_the_end_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain, "_HELD", 20)

    def speak(display: PlainDisplay) -> None:
        display.event(vertex(MAKE, None))
        display.event(log(MAKE, "".join(f"line {number}\n" for number in range(10))))
        display.event(vertex(MAKE, 2.0))

    assert shown("github", speak)[1:-1] == [
        "          | ... 8 lines before these are left out",
        "          | line 8",
        "          | line 9",
    ]


HOSTILE = (
    "::set-output name=x::y",
    "  ::stop-commands::z",
    "x ##[add-mask]y",
    "x ##vso[task.setvariable variable=PATH]y",
    "x ##VSO[task.complete]",
    "x ##v\u00adso[task.complete]",
    "x #\u200b#[group]",
    "##teamcity[buildStatus status='SUCCESS']",
    "--- heading",
    "+++ heading",
    "~~~ heading",
    "^^^ +++",
    "section_start:1:x\r\x1b[0Ky",
)
MARKS = ("##[", "##vso[", "##teamcity[")
STARTS = ("::", "---", "+++", "~~~", "^^^")


def is_command(line: str) -> bool:
    bare = "".join(sign for sign in line if sign not in "\u00ad\u200b").lower()
    return any(mark in bare for mark in MARKS) or bare.lstrip().startswith(STARTS) or "\x1b" in line


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("provider", [*FOLDING, "gitlab", "circleci"])
def test_no_text_is_a_command_to_a_ci(provider: str, text: str) -> None:
    name = f"[build 2/3] RUN {text}"

    def say(display: PlainDisplay) -> None:
        for tell in (display.say, display.warn, display.command):
            tell(text)
        display.event(vertex(name, None))
        display.event(log(name, f"{text}\n"))
        display.event(vertex(name, 2.0))
        display.failure(BuildFailedError(text, hint=text), None)

    own = ("::group::", "::endgroup::", "##[group]", "##[endgroup]", "--- ", "+++ buildx-cache", "##teamcity[block")
    for line in shown(provider, say, verbose=True):
        head = next((each for each in own if line.startswith(each)), "")
        assert not is_command(line[len(head) :]), line


@pytest.mark.parametrize("text", ["a: b", "#[x]", "## heading", "x :: y", "x --- y", "- - -", "größe", "#include"])
def test_what_is_no_command_stays_as_it_is(text: str) -> None:
    assert without_commands(text) == text


# --- time passes -------------------------------------------------------------------------------------------


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(plain, "time", SimpleNamespace(monotonic=lambda: now[0], time=lambda: now[0]))
    return now


def at(display: PlainDisplay, clock: list[float], moment: float) -> None:
    clock[0] = moment
    display.tick()


def test_after_a_silence_the_steps_that_run_are_named(clock: list[float]) -> None:
    def wait(display: PlainDisplay) -> None:
        display.event(vertex(MAKE, None))
        display.event(vertex(COPY, None))
        for moment in (120.0, 131.0, 132.0, 161.0, 162.0):
            at(display, clock, moment)

    assert shown("circleci", wait) == [
        "          still running: [build 2/3] RUN make (2m 10s) and 1 more",
        "          still running: [build 2/3] RUN make (2m 40s) and 1 more",
        " STOPPED  [build 2/3] RUN make",
        " STOPPED  [build 3/3] COPY . .",
    ]


def test_a_step_that_rests_is_told_without_a_further_event(clock: list[float]) -> None:
    def wait(display: PlainDisplay) -> None:
        display.event(vertex(MAKE, 2.0))
        at(display, clock, 101.0)
        display.say("later")

    assert shown("none", wait) == [TITLE, "later"]


def test_a_phase_is_told_when_it_takes_its_time(clock: list[float]) -> None:
    def wait(display: PlainDisplay) -> None:
        display.phase("builder")
        for moment in (100.9, 101.0, 102.0, 131.0):
            at(display, clock, moment)
        display.phase("")
        display.phase("login")
        at(display, clock, 131.9)
        display.phase("")
        display.phase("build")
        at(display, clock, 200.0)

    assert shown("circleci", wait) == [
        "starting the builder ...",
        "          still running: starting the builder (31.0s)",
    ]


def test_every_phase_that_is_worth_a_word_is_one_of_the_report() -> None:
    assert set(base._WORDS) <= set(PHASES)
