"""What the cache did, a row for each import, export and folder: the table of every report that people read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from buildx_cache.formatting import size
from buildx_cache.report.build_report import CacheReport, LazyReport, LocalReport


@dataclass(frozen=True, kw_only=True)
class CacheRow:
    """One row, as it is shown; ``size`` is empty where nothing is known of it."""

    way: str
    where: str
    outcome: str
    size: str = ""
    detail: str = ""


def cache_rows(cache: CacheReport) -> Iterator[CacheRow]:
    """The imports, the exports, and the local folder."""
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


def _folder(local: LocalReport) -> CacheRow:
    swept = f"{size(local.swept_bytes)} swept" if local.swept_bytes else ""
    state = "sound" if local.sound else "damaged"
    return CacheRow(way="folder", where=local.dir, outcome=state, size=size(local.live_bytes), detail=swept)


def _lazy(lazy: LazyReport) -> CacheRow:
    outcome = "lazy" if lazy.used else "not lazy"
    return CacheRow(way="reading", where="local folders", outcome=outcome, size=_known(lazy.bytes), detail=lazy.why)


def _known(count: int) -> str:
    return size(count) if count else ""
