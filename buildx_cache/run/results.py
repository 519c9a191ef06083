"""What became of each cache entry, read from BuildKit's progress and from what else is known."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from buildx_cache.buildkit import BuildTrace, Kind, Operation, Problem, Transfer, absent_folder, classify
from buildx_cache.caches import CacheEntry, export_transfers, import_transfers
from buildx_cache.errors import DeniedError, ExhaustedError, UnreachableError
from buildx_cache.layout.parse import is_digest
from buildx_cache.plan import CONFIG_DIGEST, DIGEST, BuildPlan, ImagePlan
from buildx_cache.reference import parse_reference
from buildx_cache.report import (
    CacheReport,
    ExportReport,
    ExportStatus,
    ImageReport,
    ImportReport,
    ImportStatus,
    LazyReport,
    LocalReport,
    StepCounts,
    StepReport,
)

# What a failed export is called in the report, by the error of a build that ends with the same problem.
_EXPORT_CAUSES = {DeniedError: "refused", UnreachableError: "unreachable", ExhaustedError: "full"}
_LAYER_READS = frozenset({Operation.FETCH_LAYER, Operation.COMMIT_LAYER, Operation.READ_LAYER})
_ABSENT = frozenset({Kind.ABSENT, Kind.INDEX_UNUSABLE, Kind.NO_CACHE_TAG, Kind.NO_REPOSITORY})
NEVER_ASKED = frozenset({Kind.NO_CACHE_KIND, Kind.CACHE_UNCONFIGURED})
NOT_TOLD = "a step was cached; BuildKit does not tell by which cache"
TROUBLED: frozenset[ImportStatus] = frozenset({"corrupt", "denied", "unreachable"})
"""What became of an import that is there, or may be, and cannot be read."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What is known of an import beside what BuildKit says of it; ``status`` is its own where that is wrong."""

    entry: CacheEntry
    detail: str
    status: ImportStatus | None = None


@dataclass(frozen=True, kw_only=True)
class ExportResult:
    """What became of an export; ``problem`` is why it failed, ``reason`` why it was skipped."""

    entry: CacheEntry
    status: ExportStatus
    problem: Problem | None = None
    reason: str = ""
    bytes: int = 0

    @property
    def detail(self) -> str:
        """Return the reason as people read it; that of a failure begins with its cause."""
        return f"{self.cause}: {self.problem.words}" if self.problem else self.reason

    @property
    def cause(self) -> str:
        """Return ``denied``, ``refused``, ``unreachable``, ``full`` or ``other``."""
        if self.problem and self.problem.is_denied:
            return "denied"
        return _EXPORT_CAUSES.get(self.problem.error, "other") if self.problem else "other"

    def report(self) -> ExportReport:
        """Return the result as the report shows it."""
        target = self.entry.place
        return ExportReport(
            type=self.entry.type, target=target, status=self.status, detail=self.detail, bytes=self.bytes
        )


@dataclass(frozen=True, kw_only=True)
class Known:
    """What is known of the caches beside the trace: of imports, of exports by what they came to, of the folder."""

    has_own_steps: bool = False
    """Whether the builder may have had steps before the call."""
    verdicts: Mapping[CacheEntry, Verdict]
    exports: Mapping[CacheEntry, ExportResult]
    local: LocalReport | None = None
    lazy: LazyReport | None = None


NOTHING_KNOWN = Known(verdicts={}, exports={})


def step_reports(trace: BuildTrace | None) -> tuple[StepReport, ...]:
    """Return the steps as the report shows them."""
    return tuple(
        StepReport(
            name=step.name,
            stage=step.stage,
            platform=step.platform,
            digest=step.digest,
            inputs=step.inputs,
            cached=step.cached,
            seconds=step.seconds,
            error=step.error,
        )
        for step in (trace.steps if trace else ())
    )


def digest_of(metadata: Mapping[str, object], key: str) -> str:
    """Return a digest from Buildx' metadata; empty where it is none: it goes to stdout and to later steps."""
    value = metadata.get(key)
    return value if isinstance(value, str) and is_digest(value) else ""


def image_report(
    image: ImagePlan, metadata: Mapping[str, object] | None, trace: BuildTrace | None, image_id: str = ""
) -> ImageReport:
    """Return what became of an image; without the ``metadata`` of Buildx, it was not built.

    ``image_id`` is what the engine calls a loaded one.
    """
    is_known = image.push or not (image.load and image.told_id == CONFIG_DIGEST)
    digest = digest_of(metadata or {}, DIGEST) if is_known else ""
    return ImageReport(
        digest=digest,
        id=image_id,
        platform_digests=_platform_digests(digest, image.platforms or _platform(metadata or {}), trace),
        tags=image.tags or image.pushed,
        pushed=image.push and metadata is not None,
        loaded=image.load and metadata is not None,
        platforms=image.platforms,
    )


def pushed_lines(image: ImagePlan, digest: str, trace: BuildTrace | None) -> tuple[str, ...]:
    """Return what was pushed, ``NAME@DIGEST``; BuildKit tells the digest of each tag, Buildx that of the last one."""
    told = {name: found for each in (trace.transfers if trace else ()) for name, found in each.pushed}
    digests = {name: told.get(str(parse_reference(name).canonical), digest) for name in image.pushed}
    if image.one_line:
        digests = {parse_reference(name).repository: found for name, found in islice(digests.items(), 1)}
    return tuple(f"{name}@{found}" if found else name for name, found in digests.items())


def _platform_digests(digest: str, platforms: Sequence[str], trace: BuildTrace | None) -> Mapping[str, str]:
    """Return the digests of an index's platforms, or the image's own; nothing where BuildKit and Buildx do not tell.

    Buildx itself makes the index of several nodes, and tells of none.
    """
    transfers = trace.transfers if trace and digest else ()
    manifests = next((each.manifests for each in transfers if each.index == digest), (digest,) if digest else ())
    return dict(zip(platforms, manifests, strict=True)) if len(platforms) == len(manifests) else {}


def _platform(metadata: Mapping[str, object]) -> tuple[str, ...]:
    """Return the platform of an image that none was asked for: its manifest's, else the builder's."""
    match metadata.get("containerimage.descriptor"), metadata.get("buildx.build.provenance"):
        case {"platform": {"os": str(system), "architecture": str(machine)}}, _:
            return (f"{system}/{machine}",)
        case _, {"invocation": {"environment": {"platform": str(platform)}}}:
            return (platform,)
        case _, {"buildDefinition": {"internalParameters": {"builderPlatform": str(platform)}}}:
            return (platform,)
        case _:
            return ()


def cache_report(plan: BuildPlan, trace: BuildTrace | None, known: Known = NOTHING_KNOWN) -> CacheReport:
    """Return what the cache did; ``plan`` is the one that the call began with."""
    transfers = import_transfers(plan.cache.imports, trace.transfers) if trace else {}
    imports = tuple(
        _import(entry, trace, transfers.get(entry, ()), known.verdicts.get(entry)) for entry in plan.cache.imports
    )
    is_told = not known.has_own_steps and sum(each.status == "hit" for each in imports) == 1
    return CacheReport(
        mode=plan.cache.kind.value,
        scope=plan.cache.scope,
        read_only=plan.cache.read_only,
        imports=tuple(
            each if is_told or each.status != "hit" or each.detail else replace(each, detail=NOT_TOLD)
            for each in imports
        ),
        exports=tuple(
            (known.exports.get(entry) or skipped_export(entry, _NOT_DONE)).report() for entry in plan.cache.written
        ),
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
    return ImportReport(type=entry.type, source=entry.place, status=status, detail=detail)


def _import_status(entry: CacheEntry, trace: BuildTrace, transfers: Collection[Transfer]) -> tuple[ImportStatus, str]:
    if line := _absence(entry, trace):
        return "absent", line
    error = next((transfer.error for transfer in transfers if transfer.error), "")
    if error:
        return failed_import(classify(error)), error
    if not transfers:
        return "skipped", _left_out("BuildKit did not ask for it", entry)
    if all(transfer.started and not transfer.completed for transfer in transfers):
        return "skipped", "the build ended before it was read"
    return ("hit", "") if trace.reused else ("miss", "nothing in it fits this build")


def _left_out(what: str, entry: CacheEntry) -> str:
    return f"{what}: Buildx leaves it out {entry.backend.left_out}" if entry.backend.left_out else what


def failed_import(problem: Problem) -> ImportStatus:
    """Tell what an importer's error means; a manifest that it got and could not read is corrupt."""
    if problem.kind in _ABSENT:
        return "absent"
    if problem.kind in NEVER_ASKED:
        return "skipped"
    if problem.is_refused:
        return "denied"
    is_unread = problem.kind is Kind.CORRUPT or (problem.kind is Kind.UNKNOWN and problem.status is None)
    return "corrupt" if is_unread else "unreachable"


def failed_read(problem: Problem) -> ImportStatus:
    """Tell what the error of a layer means: it is lost or changed, or could only not be fetched."""
    if problem.kind in (Kind.CORRUPT, Kind.ABSENT):
        return "corrupt"
    return "denied" if problem.is_refused else "unreachable"


def imported(imports: Sequence[CacheEntry], trace: BuildTrace) -> tuple[CacheEntry, ...]:
    """Return the imports whose word BuildKit took for what they hold."""
    transfers = import_transfers(imports, trace.transfers)
    return tuple(entry for entry in imports if _import_status(entry, trace, transfers[entry])[0] in ("hit", "miss"))


def _absence(entry: CacheEntry, trace: BuildTrace) -> str:
    if not entry.folder:
        return ""
    absent = (line for line in trace.text if absent_folder(line) == entry.folder)
    return next(absent, "").removeprefix("WARNING:").strip()


_NOT_DONE = "nothing is exported from a failed build"


def export_result(entry: CacheEntry, trace: BuildTrace, exports: Collection[CacheEntry] = ()) -> ExportResult:
    """Return what became of one of the exports of a build that succeeded."""
    transfers = export_transfers(tuple(dict.fromkeys((entry, *exports))), trace.transfers)[entry]
    failed = next((transfer for transfer in transfers if transfer.error), None)
    if failed:
        return failed_export(entry, classify(failed.error, doing=failed.name))
    if not transfers and not (entry.backend.is_in_image and _is_image_written(trace)):
        return skipped_export(entry, _left_out("BuildKit did not write it", entry))
    return ExportResult(entry=entry, status="written", bytes=sum(transfer.bytes for transfer in transfers))


def _is_image_written(trace: BuildTrace) -> bool:
    """Tell whether BuildKit wrote an image, with which a cache in it is written (``exporter/containerimage``)."""
    return any(each.kind in ("image-export", "push") and not each.error for each in trace.transfers)


def failed_export(entry: CacheEntry, problem: Problem) -> ExportResult:
    """Return an export that failed over this."""
    return ExportResult(entry=entry, status="failed", problem=problem)


def skipped_export(entry: CacheEntry, reason: str) -> ExportResult:
    """Return an export that was not tried."""
    return ExportResult(entry=entry, status="skipped", reason=reason)


# --- which import a problem comes from -----------------------------------------------------------------------


def blamed(
    problem: Problem, imports: Collection[CacheEntry], digests: Callable[[CacheEntry], Collection[str]]
) -> tuple[CacheEntry, ...]:
    """Return the imports whose layer could not be read; none where no import is at fault.

    BuildKit takes a cache's word for it that a layer is there, and notices only when it reads the layer that it is
    lost, cut short or changed. Then the build fails, or the cache export does, or BuildKit runs the step after all.

    An error that names an address is blamed on the imports of that repository, one that names a file on the folder that
    it was served from, one that names a blob on the folder that has it; one of a download, as far as no folder has the
    blob, on all imports that are not local; any other on all.

    Args:
        problem: of a step or an export.
        imports: what was imported.
        digests: the blobs of a local import.
    """
    if problem.operation not in _LAYER_READS:
        return ()
    named = tuple(entry for entry in imports if entry.is_named_by(problem.words))
    if named or problem.subject:
        return named
    remote = tuple(entry for entry in imports if not entry.folder)
    if problem.operation is Operation.FETCH_LAYER:
        return remote
    holders = tuple(entry for entry in imports if problem.digests.intersection(digests(entry)))
    return holders or (remote if problem.operation is Operation.COMMIT_LAYER else ()) or tuple(imports)
