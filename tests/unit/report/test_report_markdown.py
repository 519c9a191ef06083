from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser

from buildx_cache.errors import BuildFailedError
from buildx_cache.report import CacheReport, ImageReport
from buildx_cache.report.markdown import STEPS, markdown
from tests.unit.report.builds import generated, recorded, report_of, step, trace_of

ALLOWED = {"p", "br", "code", "table", "tr", "th", "td", "details", "summary", "ul", "li"}


class Rows(HTMLParser):
    """The cells of all tables, and every tag there is."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.tags: set[str] = set()
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert not attrs
        self.tags.add(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_data(self, data: str) -> None:
        if self.rows and self.rows[-1]:
            self.rows[-1][-1] += data.partition("\n\n")[0]


def test_a_recorded_failure() -> None:
    text = markdown(recorded("failing-run").report, BuildFailedError("step 3 failed", hint="see its log"))
    blocks = text.split("\n\n")
    assert blocks[0] == "### ❌ Failed in 4.8s"
    assert blocks[3] == "<p><code>step 3 failed</code> [build-failed]<br><code>see its log</code></p>"
    assert blocks[4].startswith(
        "<p>7 steps: 1 cached, 25% of those reached, 3 executed. 2m 10s of steps not run again. "
    )
    assert blocks[4].endswith(" 64.8 MiB of build context sent.</p>")
    rows = Rows(text).rows
    assert [row for row in rows if row[0] == "broken"][-1] == ["broken", "RUN echo step one", "0.4s"]
    assert ["Builder", "Login", "Build", "Export", "Push", "Prune"] in rows
    assert ["folder", "/tmp/buildx-cache", "sound", "46.0 MiB"] in rows
    assert ["from", "registry registry.example.com/team/app:buildcache-main", "hit", ""] in rows


def test_a_build_that_succeeded() -> None:
    text = markdown(recorded("two-platforms").report)
    assert text.startswith("### ✅ Built in ")
    assert "<p><code>registry.example.com/team/app:main</code></p>" in text
    assert "Image sha256:abababababab." in text
    assert "Exit code" not in text


def test_the_slowest_steps_are_listed_and_the_rest_counted() -> None:
    report = generated(500).report
    rows = Rows(markdown(report)).rows
    first = next(index for index, row in enumerate(rows) if row[1] == "Executed step") + 1
    slowest = sorted((each.seconds for each in report.steps), reverse=True)
    assert rows[first][2] == f"{slowest[0]:.1f}s"
    more = sum(each.seconds > 0 for each in report.steps) - STEPS
    assert rows[first + STEPS] == ["", f"and {more} quicker ones", ""]


def test_a_summary_stays_short() -> None:
    assert len(markdown(generated(500, text="\n|`<" * 300).report).encode()) < 20_000


def test_hostile_texts_leave_no_tag_no_block_and_no_markdown() -> None:
    hostile = "`|*_[x](http://evil.example)</code></td><script>alert(1)</script>\n\n# head\r\n\r\n@user <!-- \x1b[31m"
    trace = trace_of(step("a", (0, 1), name=hostile, stage=hostile, platform=hostile, error=hostile))
    report = report_of(trace)
    report = replace(
        report,
        warnings=(hostile,),
        images={hostile: ImageReport(tags=(hostile,), digest=hostile)},
        cache=replace(report.cache, imports=(replace(report.cache.imports[0], source=hostile, type=hostile),)),
    )
    text = markdown(report, BuildFailedError(hostile, hint=hostile))
    assert Rows(text).tags <= ALLOWED
    headline, *blocks = text.rstrip("\n").split("\n\n")
    assert headline.startswith("### ")
    assert all(block.startswith(("<p>", "<table>", "<details>")) and "\n" not in block for block in blocks)


def test_nothing_known_leaves_no_empty_table() -> None:
    report = replace(
        report_of(trace_of()),
        status="failed",
        exit_code=3,
        cache=CacheReport(mode="none", scope="main", read_only=False),
        phases={},
        warnings=(),
    )
    text = markdown(report)
    assert "<table>" not in text
    assert "Exit code 3." in text


def test_a_phase_of_no_time_is_left_out() -> None:
    report = replace(report_of(trace_of()), phases={"build": 2.0, "prune": 0.01})
    assert ["Build"] in Rows(markdown(report)).rows
