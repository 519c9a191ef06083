"""The report as Markdown, short enough for a job's summary page (``GITHUB_STEP_SUMMARY``).

The tables are HTML, which Markdown copies unchanged until the next blank line: only HTML needs escaping, and no text in
a step's name can become a link, a mention or a cell. Texts of other programs are in ``<code>``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from xml.etree.ElementTree import Element, tostring

from buildx_cache.errors import BuildxCacheError
from buildx_cache.formatting import counted, duration, short_digest, size
from buildx_cache.report import BuildReport, CacheReport, StepReport
from buildx_cache.report.formats import cache_rows
from buildx_cache.report.html_elements import clipped, element, one_line, step_title

STEPS = 20
"""The most steps that are listed, the slowest first."""

_WARNINGS = 10
_TEXT = 200
_HEADLINES = {"success": "✅ Built", "failed": "❌ Failed", "interrupted": "⚠️ Interrupted"}


def markdown(report: BuildReport, error: BuildxCacheError | None = None) -> str:
    """Return a headline and tables of the slowest steps, the cache and the phases; ``error``: why the call failed."""
    return "\n\n".join(_blocks(report, error)) + "\n"


def _blocks(report: BuildReport, error: BuildxCacheError | None) -> Iterator[str]:
    yield f"### {_HEADLINES[report.status]} in {duration(report.seconds)}"
    for image in report.images.values():
        for name in image.tags or filter(None, (image.name,)):
            yield _block(element("p", _code(name)))
    yield from _failure(report, error)
    yield _block(element("p", *_counts(report)))
    yield from _tables(report)
    if report.warnings:
        yield _block(_warnings(report.warnings))


def _tables(report: BuildReport) -> Iterator[str]:
    executed = [step for step in report.steps if step.seconds > 0 or step.error]
    if executed:
        yield _block(_steps(executed))
    if any(cache_rows(report.cache)):
        yield _block(_cache(report.cache))
    if any(report.phases.values()):
        yield _block(_phases(report.phases))


def _failure(report: BuildReport, error: BuildxCacheError | None) -> Iterator[str]:
    if error:
        hint = [element("br"), _code(error.hint)] if error.hint else []
        yield _block(element("p", _code(error.message), f" [{error.code}]", *hint))
    elif report.status != "success":
        yield _block(element("p", f"Exit code {report.exit_code}."))


def _counts(report: BuildReport) -> tuple[str, ...]:
    steps, ratio = report.cache.steps, report.cache.hit_ratio
    share = f", {ratio:.0%} of those reached" if ratio is not None else ""
    saved = f" {duration(report.cache.saved_seconds)} of steps not run again." if report.cache.saved_seconds else ""
    named = (each.name for each in report.images.values() if each.name and each.tags)
    digest = "".join(f" Image {short_digest(digest)}." for digest in named)
    sent = f" {size(report.build_context.bytes)} of build context sent." if report.build_context else ""
    executed = f"{steps.executed} executed."
    return (f"{counted(steps.total, 'step')}: {steps.cached} cached{share}, {executed}{saved}{sent}{digest}",)


def _steps(steps: list[StepReport]) -> Element:
    slowest = sorted(steps, key=lambda step: (not step.error, -step.seconds))
    rows: list[tuple[Element | str, ...]] = [
        (_code(_place(step)), element("code", step_title(step.name, _TEXT)), _outcome(step)) for step in slowest[:STEPS]
    ]
    if len(slowest) > STEPS:
        rows.append(("", f"and {len(slowest) - STEPS} quicker ones", ""))
    return _table(("Stage", "Executed step", "Time"), rows)


def _place(step: StepReport) -> str:
    return " ".join(filter(None, (step.stage, step.platform))) or "-"


def _outcome(step: StepReport) -> str:
    return f"{duration(step.seconds)}, stopped by an error" if step.error else duration(step.seconds)


def _cache(cache: CacheReport) -> Element:
    rows = [(row.way, _code(row.where), row.outcome, row.size) for row in cache_rows(cache)]
    return _table(("Cache", "Where", "Outcome", "Size"), rows)


def _phases(phases: Mapping[str, float]) -> Element:
    spent = [(name, seconds) for name, seconds in phases.items() if round(seconds, 1) > 0]
    return _table([name.capitalize() for name, _ in spent], [[duration(seconds) for _, seconds in spent]])


def _warnings(warnings: tuple[str, ...]) -> Element:
    items = [element("li", _code(each)) for each in warnings[:_WARNINGS]]
    if len(warnings) > _WARNINGS:
        items.append(element("li", f"and {len(warnings) - _WARNINGS} more"))
    return element("details", element("summary", counted(len(warnings), "warning")), element("ul", *items))


def _table(head: Iterable[str], rows: Iterable[Iterable[Element | str]]) -> Element:
    return element(
        "table",
        element("tr", *(element("th", name) for name in head)),
        *(element("tr", *(element("td", cell) for cell in row)) for row in rows),
    )


def _code(text: str) -> Element:
    return element("code", clipped(one_line(text), _TEXT))


def _block(block: Element) -> str:
    return tostring(block, encoding="unicode", method="html")
