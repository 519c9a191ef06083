"""Write a report as JSON, an HTML page, JUnit XML or Markdown.

Each format imports its module when it is used: few calls write a report, and importing ``html`` takes 20 ms.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from buildx_cache.atomic import write_text
from buildx_cache.buildkit.trace import BuildTrace
from buildx_cache.errors import BuildxCacheError, ExhaustedError
from buildx_cache.formatting import size
from buildx_cache.report import BuildReport, CacheReport, LazyReport, LocalReport
from buildx_cache.working_copy import prepared_root


@dataclass(frozen=True, kw_only=True)
class CacheRow:
    """One row of the cache table, as shown; ``size`` is empty if unknown."""

    way: str
    where: str
    outcome: str
    size: str = ""
    detail: str = ""


def cache_rows(cache: CacheReport) -> Iterator[CacheRow]:
    """Yield the imports, the exports, and the local folder."""
    for read in cache.imports:
        yield CacheRow(way="from", where=f"{read.type} {read.source}", outcome=read.status, detail=read.detail)
    for written in cache.exports:
        yield CacheRow(
            way="to",
            where=f"{written.type} {written.target}",
            outcome=written.status,
            size=_known(written.bytes),
            detail=written.detail,
        )
    if cache.local:
        yield _folder(cache.local)
    if cache.lazy:
        yield _lazy(cache.lazy)
        if cache.lazy.exported:
            yield CacheRow(way="writing", where="local folders", outcome="pushed here")


def _folder(local: LocalReport) -> CacheRow:
    swept = f"{size(local.swept_bytes)} swept" if local.swept_bytes else ""
    state = "sound" if local.sound else "damaged"
    return CacheRow(way="folder", where=local.dir, outcome=state, size=size(local.live_bytes), detail=swept)


def _lazy(lazy: LazyReport) -> CacheRow:
    outcome = "lazy" if lazy.used else "not lazy"
    return CacheRow(way="reading", where="local folders", outcome=outcome, size=_known(lazy.bytes), detail=lazy.why)


def _known(count: int) -> str:
    return size(count) if count else ""


@dataclass(frozen=True, kw_only=True)
class ReportInput:
    """The values that the formats need; ``logs`` maps the digest of each vertex to its last lines."""

    report: BuildReport
    trace: BuildTrace | None = None
    logs: Mapping[str, tuple[str, ...]]
    error: BuildxCacheError | None = None


def _json(given: ReportInput) -> str:
    return given.report.to_json()


def _html(given: ReportInput) -> str:
    from buildx_cache.report.html import html_page

    return html_page(given.report, given.trace, given.logs, given.error)


def _junit(given: ReportInput) -> str:
    from buildx_cache.report.junit import junit_xml

    return junit_xml(given.report, given.trace, given.logs, given.error)


def _markdown(given: ReportInput) -> str:
    from buildx_cache.report.markdown import markdown

    return markdown(given.report, given.error)


# By the name of the option that requests the format.
FORMATS: Mapping[str, Callable[[ReportInput], str]] = {
    "report": _json,
    "report_html": _html,
    "report_junit": _junit,
    "report_md": _markdown,
}


def write_report(text: str, path: str, option: str) -> None:
    """Write a report to ``path`` atomically; ``option`` names the option of the path in an error.

    Raises:
        ExhaustedError: the report cannot be written.
    """
    try:
        write_text(Path(path), text, below=prepared_root(Path(path)))
    except OSError as error:
        raise ExhaustedError(
            f"the report cannot be written to {path}: {error.strerror}",
            code="report-not-writable",
            hint=f"give another {option}",
        ) from None
