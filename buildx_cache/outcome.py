"""What became of each cache entry, read from BuildKit's progress."""

from __future__ import annotations

import re
from collections.abc import Mapping

from buildx_cache.caches import CacheEntry, CacheKind
from buildx_cache.plan import BuildPlan
from buildx_cache.progress import BuildTrace, Transfer
from buildx_cache.redaction import redact
from buildx_cache.report import CacheReport, ExportReport, ImportReport, ImportStatus, StepCounts, StepReport

# What an importer's error means, by what it says; anything else is damage.
_IMPORT_ERRORS: tuple[tuple[re.Pattern[str], ImportStatus], ...] = (
    (re.compile(r"not found|no such file|could not read .*index\.json|404", re.IGNORECASE), "absent"),
    (
        re.compile(
            r"refused|denied|unauthorized|authorization|no such host|timeout|reset|EOF|unexpected status|forbidden"
            r"|HTTP response to HTTPS|x509|failed to do request",
            re.IGNORECASE,
        ),
        "unreachable",
    ),
)
# Buildx says so and goes on without the import (buildx' ``build/opt.go`` and BuildKit's ``client/solve.go``).
_LOCAL_ABSENT = re.compile(r"local cache import at (?P<place>.+?) not found due to err")


def step_reports(trace: BuildTrace | None) -> tuple[StepReport, ...]:
    """The steps as the report shows them."""
    return tuple(
        StepReport(
            name=redact(step.name),
            stage=step.stage,
            platform=step.platform,
            digest=step.digest,
            inputs=step.inputs,
            cached=step.cached,
            seconds=step.seconds,
            error=redact(step.error),
        )
        for step in (trace.steps if trace else ())
    )


def cache_report(
    plan: BuildPlan, trace: BuildTrace | None, export_errors: Mapping[str, str], *, done: bool
) -> CacheReport:
    """What the cache did; ``export_errors`` are those of exports that ran apart, by entry."""
    exports = [_export(entry, trace, done=done) for entry in plan.cache.exports]
    for _, entry in plan.cache.node_exports:
        error = export_errors.get(str(entry), "")
        status = "failed" if error else "written" if done else "skipped"
        exports.append(_export_report(entry, status, error))
    return CacheReport(
        mode=plan.cache.kind.value,
        scope=plan.cache.scope,
        read_only=plan.cache.read_only,
        imports=tuple(_import(entry, trace) for entry in plan.cache.imports),
        exports=tuple(exports),
        steps=StepCounts(total=trace.total, cached=trace.cached, executed=trace.executed) if trace else StepCounts(),
        hit_ratio=trace.hit_ratio if trace else None,
    )


def _import(entry: CacheEntry, trace: BuildTrace | None) -> ImportReport:
    status, detail = _import_status(entry, trace) if trace else ("skipped", "the build did not run")
    return ImportReport(type=entry.type, source=redact(entry.place), status=status, detail=redact(detail))


def _import_status(entry: CacheEntry, trace: BuildTrace) -> tuple[ImportStatus, str]:
    if entry.type == "local" and (line := _absence(entry, trace)):
        return "absent", line
    transfers = [transfer for transfer in trace.transfers if _imports(transfer, entry)]
    error = next((transfer.error for transfer in transfers if transfer.error), "")
    if error:
        return next((status for pattern, status in _IMPORT_ERRORS if pattern.search(error)), "damaged"), error
    if not transfers:
        return "skipped", "BuildKit did not ask for it"
    return ("hit", "") if trace.cached else ("miss", "nothing in it fits this build")


def _absence(entry: CacheEntry, trace: BuildTrace) -> str:
    for line in trace.text:
        if (match := _LOCAL_ABSENT.search(line)) and match["place"] == entry.place:
            return line.removeprefix("WARNING:").strip()
    return ""


def _imports(transfer: Transfer, entry: CacheEntry) -> bool:
    """Whether a vertex is this entry's: it names a registry's reference, or ``local:<session>`` for any folder."""
    if transfer.kind != "cache-import":
        return False
    source = transfer.name.partition(" from ")[2]
    return source.startswith("local:") if entry.type == "local" else source.endswith(entry.place)


def _export(entry: CacheEntry, trace: BuildTrace | None, *, done: bool) -> ExportReport:
    transfers = [transfer for transfer in (trace.transfers if trace else ()) if _exports(transfer, entry)]
    error = next((transfer.error for transfer in transfers if transfer.error), "")
    if error:
        return _export_report(entry, "failed", error)
    if not done:
        return _export_report(entry, "skipped", "nothing is exported from a failed build")
    if not transfers and entry.type != CacheKind.INLINE:
        return _export_report(entry, "skipped", "BuildKit did not write it")
    return _export_report(entry, "written", "", moved=sum(transfer.bytes for transfer in transfers))


_EXPORTERS = {"registry": "registry", "local": "client", "inline": "inline"}


def _exports(transfer: Transfer, entry: CacheEntry) -> bool:
    return transfer.kind == "cache-export" and _EXPORTERS.get(entry.type, entry.type) in transfer.name


def _export_report(entry: CacheEntry, status: str, detail: str, *, moved: int = 0) -> ExportReport:
    match status:
        case "failed" | "skipped" | "written":
            return ExportReport(
                type=entry.type, target=redact(entry.place), status=status, detail=redact(detail), bytes=moved
            )
        case _:
            raise AssertionError(status)
