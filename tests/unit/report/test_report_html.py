from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from buildx_cache.errors import DeniedError
from buildx_cache.report import ImageReport, LazyReport, RetryReport
from buildx_cache.report.html import html_page
from tests.unit.report.builds import Build, generated, recorded, report_of, step, trace_of, transfer

SMALL = 500_000
VOID = {"meta", "input", "br", "wbr"}
ATTRIBUTES = {
    "aria-hidden", "aria-label", "charset", "checked", "class", "content", "data-name", "height", "href", "http-equiv",
    "id", "lang", "name", "open", "rx", "scope", "tabindex", "title", "type", "width", "x",
}  # fmt: skip


class Page(HTMLParser):
    """The texts of a page by the elements they are in, and all elements; a tag that is not closed in order fails."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: list[tuple[str, str]] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = {name for name, _ in attrs}
        assert names <= ATTRIBUTES
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append((self.open[-1] if self.open else "", data))

    def all(self, tag: str, class_: str = "") -> list[dict[str, str]]:
        return [
            found
            for name, found in self.elements
            if name == tag and {*class_.split()} <= {*found.get("class", "").split()}
        ]

    def said(self, tag: str) -> list[str]:
        return [text for name, text in self.texts if name == tag]


def page_of(build: Build) -> str:
    return html_page(build.report, build.trace, build.logs)


@pytest.mark.parametrize("build", [recorded("failing-run"), generated(60)], ids=["recorded", "generated"])
def test_a_page_is_one_file_that_lets_nothing_in(build: Build) -> None:
    text = page_of(build)
    page = Page(text)
    (style,), (script,) = page.said("style"), page.said("script")
    hashes = [base64.b64encode(hashlib.sha256(each.encode()).digest()).decode() for each in (style, script)]
    (policy,) = [each["content"] for each in page.all("meta") if "http-equiv" in each]
    assert policy == (
        f"default-src 'none'; style-src 'sha256-{hashes[0]}'; script-src 'sha256-{hashes[1]}'; "
        "base-uri 'none'; form-action 'none'"
    )
    assert text.index("Content-Security-Policy") < text.index("<style>")
    assert [each["href"] for each in page.all("a")] == ["#timeline"]
    assert not re.search(r"url\(|@import|https?:", style)
    assert not re.search(r"fetch|XMLHttpRequest|innerHTML|https?:|eval", script)


def test_every_step_and_transfer_has_a_row() -> None:
    build = recorded("push-and-cache-export")
    page = Page(page_of(build))
    assert len(page.all("details", "row")) == len(build.trace.steps) + len(build.trace.transfers)
    assert len(page.all("details", "row cached")) == 9
    assert len(page.all("details", "row exporting critical")) == 2
    assert len(page.all("rect")) == len(page.all("details", "row")) + sum(
        seconds > 0 for seconds in build.report.phases.values()
    )


def test_bars_stay_on_their_track_and_can_be_seen() -> None:
    page = Page(page_of(generated(200)))
    bars = [(float(bar["x"][:-1]), float(bar["width"][:-1])) for bar in page.all("rect") if "x" in bar]
    assert len(bars) == 205
    assert all(left >= 0 and width >= 0.4 and left + width <= 100.01 for left, width in bars)
    assert bars[-1][0] + bars[-1][1] == pytest.approx(100, abs=0.02)


def test_a_bar_at_the_very_end_can_be_seen() -> None:
    trace = trace_of(step("a", (0, 1000)), step("b", (1000, 1000)))
    page = Page(html_page(report_of(trace), trace, {}))
    assert [(bar["x"], bar["width"]) for bar in page.all("rect") if "x" in bar] == [
        ("0.00%", "100.00%"),
        ("99.60%", "0.40%"),
    ]


def test_a_failure_stands_at_the_top() -> None:
    build = recorded("failing-run")
    text = page_of(build)
    assert text.index("What failed") < text.index("Timeline</h2>")
    texts = Page(text).texts
    assert ("p", "Step 3 of 4 of broken:") in texts
    assert ("pre", "test 1: ok\ntest 2: ok\ntest 3: ok\ntest 4: FAILED [3/4]") in texts
    assert any(tag == "p" and "exit code: 3" in said for tag, said in texts)


def test_an_error_that_is_no_steps_is_told_with_its_hint() -> None:
    report = replace(report_of(trace_of()), status="failed", exit_code=4)
    texts = Page(html_page(report, None, {}, DeniedError("the login failed", hint="check the password"))).texts
    assert [said for tag, said in texts if tag == "p"][2:4] == [
        "the login failed [registry-denied]",
        "check the password",
    ]
    assert ("h2", "Timeline") not in texts


def test_a_failure_of_which_nothing_is_known_has_its_exit_code() -> None:
    report = replace(report_of(trace_of()), status="interrupted", exit_code=143)
    page = Page(html_page(report, None, {}))
    assert "Exit code 143." in page.said("p")
    assert " Interrupted in 2.4s" in page.said("p")


def test_a_build_that_succeeded_says_nothing_of_failure() -> None:
    assert "What failed" not in Page(page_of(recorded("warm"))).said("h2")


def test_what_the_cache_did_is_told_with_sizes() -> None:
    build = recorded("warm")
    cache = replace(build.report.cache, lazy=LazyReport(used=True, why="the builder can reach it", bytes=2048))
    page = Page(page_of(replace(build, report=replace(build.report, cache=cache))))
    cells = page.said("td")
    for told in (
        "registry registry.example.com/team/app:buildcache-main",
        "hit",
        "12.0 MiB",
        "46.0 MiB",
        "1.2 MiB swept",
        "2.0 KiB",
    ):
        assert told in cells
    assert "nothing is exported from a failed build" not in cells


def test_the_environment_and_the_commands_are_told() -> None:
    build = recorded("warm")
    report = replace(build.report, retries=(RetryReport(phase="push", reason="503", count=2),))
    page = Page(page_of(replace(build, report=report)))
    facts = page.said("dd")
    for told in ("circleci", "feature/faster-builds", "12", "docker-container", "push: 2 times, 503", "linux/amd64"):
        assert told in facts
    assert "docker buildx create \\\n    --name buildx-cache-2f9b1c \\\n    --driver docker-container" in page.said(
        "pre"
    )


@pytest.mark.parametrize(("count", "is_open"), [(1, True), (3, True), (4, False), (150, False)])
def test_many_warnings_are_folded(count: int, is_open: bool) -> None:  # noqa: FBT001
    build = recorded("warm")
    page = Page(page_of(replace(build, report=replace(build.report, warnings=("careful",) * count))))
    (warnings,) = page.all("details", "warnings")
    assert ("open" in warnings) is is_open
    assert page.said("li").count("careful") == min(count, 100)
    assert ("and 50 more" in page.said("li")) is (count == 150)


HOSTILE = (
    "</pre></script></style><img src=x onerror=alert(1)>\" onclick='x' &lt; <!-- \x00\x1b[31m\x9b\u202e\udcff\uffff"
)


def test_hostile_texts_stay_texts() -> None:
    failed = step("a", (0, 1), name=HOSTILE, stage=HOSTILE, platform=HOSTILE, error=HOSTILE)
    trace = replace(
        trace_of(failed, transfers=(replace(transfer("push", "b", (1, 2)), name=HOSTILE),), failed=failed),
        log_tail=(HOSTILE,),
    )
    report = report_of(trace)
    report = replace(
        report,
        images={
            HOSTILE: ImageReport(
                tags=(HOSTILE,), digest=HOSTILE, platforms=(HOSTILE,), platform_digests={HOSTILE: HOSTILE}
            )
        },
        builder=replace(report.builder, name=HOSTILE),
        ci=replace(report.ci, branch=HOSTILE, sha=HOSTILE, provider=HOSTILE, pull_request=HOSTILE),
        cache=replace(
            report.cache, scope=HOSTILE, mode=HOSTILE, imports=(replace(report.cache.imports[0], detail=HOSTILE),)
        ),
        warnings=(HOSTILE,),
        commands=((HOSTILE, HOSTILE),),
        retries=(RetryReport(phase=HOSTILE, reason=HOSTILE, count=1),),
    )
    text = html_page(report, trace, {"a": (HOSTILE,), "b": (HOSTILE,)}, DeniedError(HOSTILE, hint=HOSTILE))
    page = Page(text)
    assert not page.all("img")
    assert len(page.all("script")) == len(page.all("style")) == 1
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\ufffe\uffff\ud800-\udfff]", text)
    assert sum("<img src=x onerror=alert(1)>" in said for _, said in page.texts) >= 20


@pytest.mark.parametrize("text", ["", '"&<' * 400, "é🐋" * 400, "x" * 2000], ids=["plain", "escaped", "wide", "long"])
def test_a_page_of_two_hundred_steps_is_small(text: str) -> None:
    build = generated(200, text=text)
    report = replace(
        build.report,
        warnings=(f"careful{text}",) * 300,
        commands=(("docker", *(f"--build-arg=A=1{text}",) * 5),) * 30,
    )
    assert len(page_of(replace(build, report=report)).encode()) < SMALL


def test_a_page_of_five_hundred_steps_is_below_twice_that() -> None:
    build = generated(500, text='"&<' * 400)
    assert len(page_of(build).encode()) < 2 * SMALL


def test_a_small_build_has_the_last_lines_of_its_logs() -> None:
    trace = trace_of(step("a", (0, 1)))
    logs = {"a": tuple(f"line {number}" for number in range(100))}
    assert "\n".join(f"line {number}" for number in range(80, 100)) in Page(
        html_page(report_of(trace), trace, logs)
    ).said("pre")


def test_a_long_line_is_cut_and_shown() -> None:
    trace = trace_of(step("a", (0, 1)))
    logged = Page(html_page(report_of(trace), trace, {"a": ("first", "x" * 10_000)})).said("pre")
    assert logged[0].startswith("first\nxxx")
    assert logged[0].endswith("x…")
