"""The forms in which a report is written to files: JSON, an HTML page, JUnit XML, Markdown."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from buildx_cache.errors import BuildxCacheError
from buildx_cache.progress import BuildTrace
from buildx_cache.report.html import html_page
from buildx_cache.report.junit import junit_xml
from buildx_cache.report.markdown import markdown
from buildx_cache.report.model import BuildReport


@dataclass(frozen=True, kw_only=True)
class Told:
    """All that a report tells; ``logs`` are the last lines of each vertex, by its digest, not redacted yet."""

    report: BuildReport
    trace: BuildTrace | None = None
    logs: Mapping[str, tuple[str, ...]]
    error: BuildxCacheError | None = None


# By the option that asks for one.
FORMS: Mapping[str, Callable[[Told], str]] = {
    "report": lambda told: told.report.to_json(),
    "report_html": lambda told: html_page(told.report, told.trace, told.logs, told.error),
    "report_junit": lambda told: junit_xml(told.report, told.trace, told.logs, told.error),
    "report_md": lambda told: markdown(told.report, told.error),
}
