"""What became of each cache entry, read from BuildKit's progress and from what else is known."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from buildx_cache.caches import CacheEntry, export_transfers, import_transfers
from buildx_cache.diagnose import find_cause
from buildx_cache.errors import DeniedError, ExhaustedError, UnreachableError
from buildx_cache.plan import BuildPlan
from buildx_cache.progress import BuildTrace, Transfer
from buildx_cache.redaction import redact
from buildx_cache.report import (
    CacheReport,
    ExportReport,
    ImportReport,
    ImportStatus,
    LazyReport,
    LocalReport,
    StepCounts,
    StepReport,
)

# What an importer's error means, by what it says; anything else is damage.
_IMPORT_ERRORS: tuple[tuple[re.Pattern[str], ImportStatus], ...] = (
    (re.compile(r"content descriptor sha256:|content sha256:"), "damaged"),  # the manifest is there, a blob is not
    (re.compile(r"not found|no such file|could not read .*index\.json|404", re.IGNORECASE), "absent"),
    (
        re.compile(
            r"refused|denied|unauthorized|authorization|no such host|timeout|reset|EOF|unexpected status|forbidden"
            r"|HTTP response to HTTPS|x509|failed to do request|failed to configure \w+ cache importer"
            r"|unknown cache importer",
            re.IGNORECASE,
        ),
        "unreachable",
    ),
)
# What a failed export is called in the report, by the error that the same words would be of a build.
_EXPORT_CAUSES = {DeniedError: "denied", UnreachableError: "unreachable", ExhaustedError: "full"}
# Buildx says so and goes on without the import (buildx' ``build/opt.go`` and BuildKit's ``client/solve.go``).
_LOCAL_ABSENT = re.compile(r"(?:WARNING: )?local cache import at (?P<place>.+?) (?:not found due to err|skipped)\b")


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What is known of an import beside what BuildKit says of it; ``status`` is its own where that is wrong."""

    entry: CacheEntry
    detail: str
    status: ImportStatus | None = None


@dataclass(frozen=True, kw_only=True)
class Known:
    """What is known of the caches beside the trace: of imports, of exports by what they came to, of the folder."""

    verdicts: Mapping[CacheEntry, Verdict]
    exports: Mapping[CacheEntry, ExportReport]
    local: LocalReport | None = None
    lazy: LazyReport | None = None


NOTHING_KNOWN = Known(verdicts={}, exports={})


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


def cache_report(plan: BuildPlan, trace: BuildTrace | None, known: Known = NOTHING_KNOWN) -> CacheReport:
    """What the cache did; ``plan`` is the one that the call began with."""
    transfers = import_transfers(plan.cache.imports, trace.transfers) if trace else {}
    return CacheReport(
        mode=plan.cache.kind.value,
        scope=plan.cache.scope,
        read_only=plan.cache.read_only,
        imports=tuple(
            _import(entry, trace, transfers.get(entry, ()), known.verdicts.get(entry)) for entry in plan.cache.imports
        ),
        exports=tuple(known.exports.get(entry) or skipped_export(entry, _NOT_DONE) for entry in plan.cache.written),
        local=known.local,
        lazy=known.lazy,
        steps=StepCounts(total=trace.total, cached=trace.cached, executed=trace.executed) if trace else StepCounts(),
        hit_ratio=trace.hit_ratio if trace else None,
    )


def _import(
    entry: CacheEntry, trace: BuildTrace | None, transfers: Collection[Transfer], verdict: Verdict | None
) -> ImportReport:
    status, detail = _import_status(entry, trace, transfers) if trace else ("skipped", "the build did not run")
    if verdict:
        status, detail = verdict.status or status, verdict.detail
    return ImportReport(type=entry.type, source=redact(entry.place), status=status, detail=redact(detail))


def _import_status(entry: CacheEntry, trace: BuildTrace, transfers: Collection[Transfer]) -> tuple[ImportStatus, str]:
    if line := _absence(entry, trace):
        return "absent", line
    error = next((transfer.error for transfer in transfers if transfer.error), "")
    if error:
        return next((status for pattern, status in _IMPORT_ERRORS if pattern.search(error)), "damaged"), error
    if not transfers:
        return "skipped", _left_out("BuildKit did not ask for it", entry)
    if all(transfer.started and not transfer.completed for transfer in transfers):
        return "skipped", "the build ended before it was read"
    return ("hit", "") if trace.cached else ("miss", "nothing in it fits this build")


def _left_out(what: str, entry: CacheEntry) -> str:
    return f"{what}: Buildx leaves it out {entry.backend.left_out}" if entry.backend.left_out else what


def imported(imports: Sequence[CacheEntry], trace: BuildTrace) -> tuple[CacheEntry, ...]:
    """Return the imports whose word BuildKit took for what they hold."""
    transfers = import_transfers(imports, trace.transfers)
    return tuple(entry for entry in imports if _import_status(entry, trace, transfers[entry])[0] in ("hit", "miss"))


def _absence(entry: CacheEntry, trace: BuildTrace) -> str:
    for line in trace.text:
        if (match := _LOCAL_ABSENT.match(line)) and match["place"] == entry.folder:
            return line.removeprefix("WARNING:").strip()
    return ""


_NOT_DONE = "nothing is exported from a failed build"


def export_report(entry: CacheEntry, trace: BuildTrace, exports: Collection[CacheEntry] = ()) -> ExportReport:
    """What became of one of the exports of a build that succeeded; a failed one's detail begins with its cause.

    The causes are ``denied``, ``unreachable``, ``full`` and ``other``.
    """
    transfers = export_transfers(tuple(dict.fromkeys((entry, *exports))), trace.transfers)[entry]
    error = next((transfer.error for transfer in transfers if transfer.error), "")
    if error:
        return failed_export(entry, error)
    if not transfers and not entry.backend.is_in_image:
        return skipped_export(entry, _left_out("BuildKit did not write it", entry))
    return ExportReport(
        type=entry.type,
        target=redact(entry.place),
        status="written",
        bytes=sum(transfer.bytes for transfer in transfers),
    )


def failed_export(entry: CacheEntry, error: str) -> ExportReport:
    """An export that failed with these words."""
    cause = find_cause(error)
    name = _EXPORT_CAUSES.get(cause.error, "other") if cause else "other"
    return replace(skipped_export(entry, f"{name}: {redact(error)}"), status="failed")


def skipped_export(entry: CacheEntry, detail: str) -> ExportReport:
    """An export that was not tried."""
    return ExportReport(type=entry.type, target=redact(entry.place), status="skipped", detail=detail)
