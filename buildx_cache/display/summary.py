"""What a build did, said at its end."""

from __future__ import annotations

from collections.abc import Iterator

from buildx_cache.caches import BACKENDS
from buildx_cache.formatting import duration, short_digest, size
from buildx_cache.report import BuildReport

_TOLD = ("builder", "login", "verify", "build", "sweep", "prune")  # exports and pushes are part of the build


def summary_lines(report: BuildReport) -> Iterator[tuple[str, str]]:
    """What a call did, as pairs of a matter and what there is to say of it."""
    steps, cache = report.cache.steps, report.cache
    share = f"{cache.hit_ratio:.0%}" if cache.hit_ratio is not None else "none"
    yield "steps", f"{steps.total}: {steps.cached} cached ({share}), {steps.executed} executed"
    if cache.saved_seconds:
        yield "saved", f"{duration(cache.saved_seconds)} of steps not run again"
    lazily = f" ({size(cache.lazy.bytes)} read)" if cache.lazy and cache.lazy.used else ""
    for entry in cache.imports:
        yield (
            "cache from",
            f"{entry.status:<11} {entry.type} {entry.source}{lazily if BACKENDS[entry.type].is_folder else ''}",
        )
    for export in cache.exports:
        moved = f" ({size(export.bytes)})" if export.bytes else ""
        yield "cache to", f"{export.status:<11} {export.type} {export.target}{moved}"
    if cache.local:
        swept = f", {size(cache.local.swept_bytes)} swept" if cache.local.swept_bytes else ""
        state = "sound" if cache.local.sound else "damaged"
        yield "folder", f"{state:<11} {size(cache.local.live_bytes)} in use{swept}"
    if report.build_context and report.build_context.bytes:
        yield "context", f"{size(report.build_context.bytes)} sent"
    for image in report.images.values():
        if image.digest:
            yield "image", short_digest(image.digest)
    spent = {name: duration(report.phases.get(name, 0.0)) for name in _TOLD}
    yield "time", ", ".join(f"{name} {value}" for name, value in spent.items() if value != "0.0s")
