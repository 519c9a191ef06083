"""The forms in which a report is written: JSON, an HTML page, JUnit XML, Markdown.

Each imports what it needs: few calls write one, and the page takes 20 ms.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from buildx_cache.buildkit import BuildTrace
from buildx_cache.errors import BuildxCacheError
from buildx_cache.report.build_report import BuildReport


@dataclass(frozen=True, kw_only=True)
class Told:
    """All that a report tells; ``logs`` are the last lines of each vertex, by its digest."""

    report: BuildReport
    trace: BuildTrace | None = None
    logs: Mapping[str, tuple[str, ...]]
    error: BuildxCacheError | None = None


def _json(told: Told) -> str:
    return told.report.to_json()


def _html(told: Told) -> str:
    from buildx_cache.report.html import html_page

    return html_page(told.report, told.trace, told.logs, told.error)


def _junit(told: Told) -> str:
    from buildx_cache.report.junit import junit_xml

    return junit_xml(told.report, told.trace, told.logs, told.error)


def _markdown(told: Told) -> str:
    from buildx_cache.report.markdown import markdown

    return markdown(told.report, told.error)


# By the option that asks for one.
FORMS: Mapping[str, Callable[[Told], str]] = {
    "report": _json,
    "report_html": _html,
    "report_junit": _junit,
    "report_md": _markdown,
}
