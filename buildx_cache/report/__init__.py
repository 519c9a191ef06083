"""The report of a call: its values; ``formats`` writes them as JSON, HTML, JUnit and Markdown."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from importlib import resources
from typing import Any, Literal

from buildx_cache import __version__

SCHEMA = 1
PHASES = ("context", "builder", "login", "verify", "build", "export", "push", "sweep", "prune")
"""The phases that every report has, in order."""

ImportStatus = Literal["hit", "miss", "absent", "corrupt", "denied", "unreachable", "skipped"]
ExportStatus = Literal["written", "unchanged", "skipped", "failed"]
Status = Literal["success", "failed", "interrupted"]


@dataclass(frozen=True, kw_only=True)
class ToolReport:
    """The program that wrote the report."""

    name: str = "buildx-cache"
    version: str = __version__


@dataclass(frozen=True, kw_only=True)
class ErrorReport:
    """The error of a failed call: the stable name of the cause, and one line for people."""

    code: str
    message: str


@dataclass(frozen=True, kw_only=True)
class ImageReport:
    """The image of a target; ``digest`` is empty if the image has none.

    ``id`` is the engine's ID of a loaded image. The classic image store has no manifests: an image that is only loaded
    there has no digest.

    ``platform_digests`` maps each platform to the digest of its manifest, if BuildKit reports it: an image with
    attestations is an index, which some tools cannot deploy.
    """

    digest: str = ""
    id: str = ""
    platform_digests: Mapping[str, str] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    pushed: bool = False
    loaded: bool = False
    platforms: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Return the image's digest or ID, which names it without a tag."""
        return self.digest or self.id


@dataclass(frozen=True, kw_only=True)
class BuilderReport:
    """The builder that ran the build."""

    name: str
    driver: str
    buildkit: str
    created: bool


@dataclass(frozen=True, kw_only=True)
class CIReport:
    """The CI job of the call: provider, branch, commit, pull request."""

    provider: str
    branch: str | None
    sha: str | None
    pull_request: str | None
    is_fork: bool


@dataclass(frozen=True, kw_only=True)
class ImportReport:
    """The result of one ``--cache-from``."""

    type: str
    source: str
    status: ImportStatus
    detail: str = ""


@dataclass(frozen=True, kw_only=True)
class ExportReport:
    """The result of one ``--cache-to``; ``bytes`` were transferred, 0 if BuildKit does not say."""

    type: str
    target: str
    status: ExportStatus
    detail: str = ""
    bytes: int = 0


@dataclass(frozen=True, kw_only=True)
class StepCounts:
    """The numbers of steps, counted as instructions of the Dockerfile."""

    total: int = 0
    cached: int = 0
    executed: int = 0


@dataclass(frozen=True, kw_only=True)
class LocalReport:
    """The folder of a local cache after the build; ``sound``: every referenced blob is present and has its size."""

    dir: str
    live_bytes: int
    swept_bytes: int
    sound: bool


@dataclass(frozen=True, kw_only=True)
class LazyReport:
    """Whether BuildKit imported local folders lazily, the reason, and the bytes that it read lazily.

    ``exported`` says whether BuildKit pushed one to this program.
    """

    used: bool
    why: str
    bytes: int = 0
    exported: bool = False


@dataclass(frozen=True, kw_only=True)
class CacheReport:
    """The results of all cache imports and exports."""

    mode: str
    scope: str
    read_only: bool
    imports: tuple[ImportReport, ...] = ()
    exports: tuple[ExportReport, ...] = ()
    local: LocalReport | None = None
    lazy: LazyReport | None = None
    steps: StepCounts = StepCounts()
    hit_ratio: float | None = None
    saved_seconds: float | None = None
    """The total time of the cached steps when they last ran; None if no such time is known."""


@dataclass(frozen=True, kw_only=True)
class HeavyReport:
    """A large entry of the build context: its bytes, and the line of ``.dockerignore`` that excludes it."""

    line: str
    bytes: int


@dataclass(frozen=True, kw_only=True)
class ContextReport:
    """The bytes of all build contexts that were sent; ``largest`` lists the largest entries of a large context."""

    bytes: int
    largest: tuple[HeavyReport, ...] = ()


@dataclass(frozen=True, kw_only=True)
class StepReport:
    """One step; ``digest`` and ``inputs`` are BuildKit's vertex digests."""

    name: str
    stage: str
    platform: str
    digest: str
    inputs: tuple[str, ...]
    cached: bool
    seconds: float
    error: str


@dataclass(frozen=True, kw_only=True)
class RetryReport:
    """The number of retries of a phase, and the reason."""

    phase: str
    reason: str
    count: int


@dataclass(frozen=True, kw_only=True)
class BuildReport:
    """The whole report of a call; version 1 of the public format."""

    status: Status
    exit_code: int
    error: ErrorReport | None = None
    started: str
    """RFC 3339, UTC."""
    seconds: float
    images: Mapping[str, ImageReport]
    """The images by target."""
    builder: BuilderReport
    ci: CIReport
    cache: CacheReport
    build_context: ContextReport | None = None
    """None if no build context was sent."""
    steps: tuple[StepReport, ...] = ()
    phases: Mapping[str, float] = field(default_factory=dict)
    """Seconds in each phase; ``export`` and ``push`` are parts of ``build``, as BuildKit reports them."""
    retries: tuple[RetryReport, ...] = ()
    warnings: tuple[str, ...] = ()
    commands: tuple[tuple[str, ...], ...] = ()
    """Redacted command lines, in the order in which they ran."""
    docker_calls: int = 0
    """The number of docker commands that ran, queries included."""
    tool: ToolReport = ToolReport()
    schema: int = SCHEMA

    def to_json(self) -> str:
        """Return the report as an indented JSON document; seconds with millisecond precision."""
        document = _rounded(dataclasses.asdict(self))
        document["phases"] = {**dict.fromkeys(PHASES, 0.0), **document["phases"]}
        head = ("schema", "tool", "status")
        ordered = {key: document[key] for key in (*head, *document)}
        return json.dumps(ordered, indent=2, ensure_ascii=False) + "\n"


def rewritten_report(report: BuildReport, change: Callable[[str], str]) -> BuildReport:
    """Apply ``change`` to the texts of Docker and registries in a report; steps and warnings are redacted earlier."""
    cache = report.cache
    return replace(
        report,
        cache=replace(
            cache,
            imports=tuple(
                replace(each, source=change(each.source), detail=change(each.detail)) for each in cache.imports
            ),
            exports=tuple(
                replace(each, target=change(each.target), detail=change(each.detail)) for each in cache.exports
            ),
            lazy=cache.lazy and replace(cache.lazy, why=change(cache.lazy.why)),
        ),
        retries=tuple(replace(each, reason=change(each.reason)) for each in report.retries),
    )


def _rounded(value: Any) -> Any:  # noqa: ANN401 -- any JSON value
    match value:
        case float():
            return round(value, 3)
        case dict():
            return {key: _rounded(item) for key, item in value.items()}
        case list() | tuple():
            return [_rounded(item) for item in value]
        case _:
            return value


def report_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of the report, a file of the package."""
    text = resources.files("buildx_cache").joinpath("report.schema.json").read_text(encoding="utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema
