"""Report the result of each cache import, cache export and image, from BuildKit's progress and other evidence."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from buildx_cache.buildkit.causes import Kind
from buildx_cache.buildkit.classify import Problem, absent_folder, classify
from buildx_cache.buildkit.error_texts import Operation
from buildx_cache.buildkit.trace import BuildTrace, Transfer
from buildx_cache.caches.entry import CacheEntry
from buildx_cache.caches.vertices import export_transfers, import_transfers
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

# The report's word for a failed export, by the error class of a build that fails with the same problem.
_EXPORT_CAUSES = {DeniedError: "refused", UnreachableError: "unreachable", ExhaustedError: "full"}
_LAYER_READS = frozenset({Operation.FETCH_LAYER, Operation.COMMIT_LAYER, Operation.READ_LAYER})
_ABSENT = frozenset({Kind.ABSENT, Kind.INDEX_UNUSABLE, Kind.NO_CACHE_TAG, Kind.NO_REPOSITORY})
NEVER_ASKED = frozenset({Kind.NO_CACHE_KIND, Kind.CACHE_UNCONFIGURED})
SOURCE_UNKNOWN = "a step was cached; BuildKit does not tell by which cache"
TROUBLED: frozenset[ImportStatus] = frozenset({"corrupt", "denied", "unreachable"})
"""The statuses of an import that exists, or may exist, and cannot be read."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """A finding about an import beside BuildKit's progress; ``status`` overrides the status read from the progress."""

    entry: CacheEntry
    detail: str
    status: ImportStatus | None = None


@dataclass(frozen=True, kw_only=True)
class ExportResult:
    """The result of a cache export; ``problem`` is why it failed, ``reason`` why it was skipped."""

    entry: CacheEntry
    status: ExportStatus
    problem: Problem | None = None
    reason: str = ""
    bytes: int = 0

    @property
    def detail(self) -> str:
        """Return the reason as text; the reason of a failure begins with its cause."""
        return f"{self.cause}: {self.problem.words}" if self.problem else self.reason

    @property
    def cause(self) -> str:
        """Return ``denied``, ``refused``, ``unreachable``, ``full`` or ``other``."""
        if self.problem and self.problem.is_denied:
            return "denied"
        return _EXPORT_CAUSES.get(self.problem.error, "other") if self.problem else "other"

    def report(self) -> ExportReport:
        """Return the result in the report's form."""
        target = self.entry.place
        return ExportReport(
            type=self.entry.type, target=target, status=self.status, detail=self.detail, bytes=self.bytes
        )


@dataclass(frozen=True, kw_only=True)
class CacheEvidence:
    """Evidence about the caches beside the trace: on imports, exports, local folders and lazy import."""

    has_own_steps: bool = False
    """Whether the builder may have cached steps from before the call."""
    verdicts: Mapping[CacheEntry, Verdict]
    exports: Mapping[CacheEntry, ExportResult]
    local: LocalReport | None = None
    lazy: LazyReport | None = None


NO_EVIDENCE = CacheEvidence(verdicts={}, exports={})


def step_reports(trace: BuildTrace | None) -> tuple[StepReport, ...]:
    """Return the steps in the report's form."""
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
    """Return a digest from Buildx' metadata, for stdout and CI steps; empty if the value is no valid digest."""
    value = metadata.get(key)
    return value if isinstance(value, str) and is_digest(value) else ""


def image_report(
    image: ImagePlan, metadata: Mapping[str, object] | None, trace: BuildTrace | None, image_id: str = ""
) -> ImageReport:
    """Return the report of an image.

    Args:
        image: the planned image.
        metadata: Buildx' metadata; None if the image was not built.
        trace: the build's trace.
        image_id: the engine's ID of the loaded image; empty if none was loaded.
    """
    is_known = image.push or not (image.load and image.id_key == CONFIG_DIGEST)
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
    """Return the pushed references, ``NAME@DIGEST``.

    BuildKit's progress has the digest of each tag. ``digest``, from Buildx' metadata, is the last tag's and stands in
    for a digest that the progress lacks.
    """
    told = {name: found for each in (trace.transfers if trace else ()) for name, found in each.pushed}
    digests = {name: told.get(str(parse_reference(name).canonical), digest) for name in image.pushed}
    if image.one_line:
        digests = {parse_reference(name).repository: found for name, found in islice(digests.items(), 1)}
    return tuple(f"{name}@{found}" if found else name for name, found in digests.items())


def _platform_digests(digest: str, platforms: Sequence[str], trace: BuildTrace | None) -> Mapping[str, str]:
    """Return the digest of each platform's manifest, from BuildKit's progress; empty if the progress lacks them.

    It lacks them for a builder with several nodes: there Buildx makes the index.
    """
    transfers = trace.transfers if trace and digest else ()
    manifests = next((each.manifests for each in transfers if each.index == digest), (digest,) if digest else ())
    return dict(zip(platforms, manifests, strict=True)) if len(platforms) == len(manifests) else {}


def _platform(metadata: Mapping[str, object]) -> tuple[str, ...]:
    """Return the platform of an image built without ``--platform``: its manifest's, else the builder's."""
    match metadata.get("containerimage.descriptor"), metadata.get("buildx.build.provenance"):
        case {"platform": {"os": str(system), "architecture": str(machine)}}, _:
            return (f"{system}/{machine}",)
        case _, {"invocation": {"environment": {"platform": str(platform)}}}:
            return (platform,)
        case _, {"buildDefinition": {"internalParameters": {"builderPlatform": str(platform)}}}:
            return (platform,)
        case _:
            return ()


def cache_report(plan: BuildPlan, trace: BuildTrace | None, known: CacheEvidence = NO_EVIDENCE) -> CacheReport:
    """Return the report of the caches; ``plan`` is the call's first plan, with all imports and exports."""
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
            each if is_told or each.status != "hit" or each.detail else replace(each, detail=SOURCE_UNKNOWN)
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
    """Return the import status for an importer's error; a manifest that was fetched and is unreadable is corrupt."""
    if problem.kind in _ABSENT:
        return "absent"
    if problem.kind in NEVER_ASKED:
        return "skipped"
    if problem.is_refused:
        return "denied"
    is_unread = problem.kind is Kind.CORRUPT or (problem.kind is Kind.UNKNOWN and problem.status is None)
    return "corrupt" if is_unread else "unreachable"


def failed_read(problem: Problem) -> ImportStatus:
    """Return the import status for a layer's error: ``corrupt`` if the layer is lost or changed, else not fetched."""
    if problem.kind in (Kind.CORRUPT, Kind.ABSENT):
        return "corrupt"
    return "denied" if problem.is_refused else "unreachable"


def imported(imports: Sequence[CacheEntry], trace: BuildTrace) -> tuple[CacheEntry, ...]:
    """Return the imports that BuildKit read and relies on."""
    transfers = import_transfers(imports, trace.transfers)
    return tuple(entry for entry in imports if _import_status(entry, trace, transfers[entry])[0] in ("hit", "miss"))


def _absence(entry: CacheEntry, trace: BuildTrace) -> str:
    if not entry.folder:
        return ""
    absent = (line for line in trace.text if absent_folder(line) == entry.folder)
    return next(absent, "").removeprefix("WARNING:").strip()


_NOT_DONE = "nothing is exported from a failed build"


def export_result(entry: CacheEntry, trace: BuildTrace, exports: Collection[CacheEntry] = ()) -> ExportResult:
    """Return the result of one export of a build that succeeded."""
    transfers = export_transfers(tuple(dict.fromkeys((entry, *exports))), trace.transfers)[entry]
    failed = next((transfer for transfer in transfers if transfer.error), None)
    if failed:
        return failed_export(entry, classify(failed.error, doing=failed.name))
    if not transfers and not (entry.backend.is_in_image and _is_image_written(trace)):
        return skipped_export(entry, _left_out("BuildKit did not write it", entry))
    return ExportResult(entry=entry, status="written", bytes=sum(transfer.bytes for transfer in transfers))


def _is_image_written(trace: BuildTrace) -> bool:
    """Return whether BuildKit wrote an image, and with it an inline cache (``exporter/containerimage``)."""
    return any(each.kind in ("image-export", "push") and not each.error for each in trace.transfers)


def failed_export(entry: CacheEntry, problem: Problem) -> ExportResult:
    """Return the result of an export that failed with this problem."""
    return ExportResult(entry=entry, status="failed", problem=problem)


def skipped_export(entry: CacheEntry, reason: str) -> ExportResult:
    """Return the result of an export that was not tried."""
    return ExportResult(entry=entry, status="skipped", reason=reason)


# --- imports that cause a problem ----------------------------------------------------------------------------


def blamed(
    problem: Problem, imports: Collection[CacheEntry], digests: Callable[[CacheEntry], Collection[str]]
) -> tuple[CacheEntry, ...]:
    """Return the imports whose layer could not be read; none if no import is at fault.

    BuildKit trusts a cache's manifest. Only when it reads a layer does it notice that the layer is lost, truncated or
    changed. Then the build fails, or the cache export fails, or BuildKit runs the step after all.

    The imports at fault are, by the first rule that applies:

    1. the error names an address or a file: the imports of that repository or folder;
    2. a download failed: all imports that are not local;
    3. the error names blobs: the local imports that have one of them;
    4. a layer could not be committed: all imports that are not local;
    5. all imports.

    Args:
        problem: the problem of a step or an export.
        imports: the imports that BuildKit read.
        digests: returns the blobs of a local import.
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
