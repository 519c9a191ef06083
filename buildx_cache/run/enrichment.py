"""Add to the report how large the sent build context was, and how many seconds the cache saved.

For that, the call records how long each step took when it last ran. The record is a file in the folder of a local
cache, because a CI keeps that folder between jobs; imports and sweeps ignore the file. With other caches, or if another
user may change the folder, the record is in the user's cache directory; a CI's job does not write it there, since its
machine is thrown away. The record holds only hashes and seconds. No build fails over it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from buildx_cache import layout
from buildx_cache.atomic import read_regular, write_text
from buildx_cache.buildkit.trace import BuildTrace
from buildx_cache.ci import CIContext
from buildx_cache.display import Display
from buildx_cache.formatting import size
from buildx_cache.plan import BuildPlan
from buildx_cache.report import ContextReport, HeavyReport, StepReport
from buildx_cache.request.build_request import BuildRequest
from buildx_cache.run.call import Outcome
from buildx_cache.working_copy import prepared_root

RECORD = "buildx-cache-steps.json"
"""The name of the record in a cache folder."""

STEPS = 2000
"""The number of steps that the record keeps; the oldest are dropped first."""

_MAIN = "load build context"
_LONGEST = 256 * 1024
_KEY = re.compile(r"[0-9a-f]{24}-[0-9]{1,9}")


@dataclass(frozen=True, kw_only=True)
class StepRecord:
    """The path of the record, and whether this call writes to it."""

    path: Path
    writes: bool


def step_record(plan: BuildPlan, ci: CIContext, project: str) -> StepRecord:
    """Return the record for a call that ended; ``project`` is the project's path in the user's cache directory."""
    if (folder := plan.cache.directory) and not layout.exposure(Path(folder)):
        writes = not plan.cache.read_only and os.path.isdir(folder)  # noqa: PTH112 -- False on an error, too
        return StepRecord(path=Path(folder) / RECORD, writes=writes)
    return StepRecord(path=Path(f"{project}-steps.json"), writes=not ci.is_ci)


def with_saved(outcome: Outcome, record: StepRecord) -> Outcome:
    """Add to the report the recorded seconds of the steps that were cached; record the steps that ran."""
    known = _known(record.path)
    steps = dict(_keyed(outcome.report.steps))
    if record.writes:
        _keep(record.path, known, steps)
    saved = [known[key] for key, step in steps.items() if step.cached and key in known]
    if not saved:
        return outcome
    cache = replace(outcome.report.cache, saved_seconds=math.fsum(saved))
    return replace(outcome, report=replace(outcome.report, cache=cache))


def _keyed(steps: tuple[StepReport, ...]) -> Iterator[tuple[str, StepReport]]:
    """Yield the steps with keys made of platform, stage and instruction.

    BuildKit's digest of a step is no key: that of a ``COPY`` is new in every build.

    Base images are left out: no step runs for them, and the time of their pull depends on the builder.
    """
    before: Counter[str] = Counter()
    for step in steps:
        if step.name.startswith("FROM "):
            continue
        words = f"{step.platform}\0{step.stage}\0{step.name}"
        key = hashlib.sha256(words.encode("utf-8", "surrogatepass")).hexdigest()[:24]
        before[key] += 1
        yield f"{key}-{before[key]}", step


def _keep(record: Path, known: Mapping[str, float], steps: Mapping[str, StepReport]) -> None:
    """Rewrite the record if a step ran. The steps of this build come last, so they are dropped last."""
    ran = {key: round(step.seconds, 3) for key, step in steps.items() if step.seconds > 0 and not step.error}
    if not ran:
        return
    used = {key: known[key] for key in steps if key in known} | ran
    kept = [*((key, seconds) for key, seconds in known.items() if key not in used), *used.items()][-STEPS:]
    with contextlib.suppress(OSError):
        write_text(record, json.dumps(dict(kept), indent=0) + "\n", below=prepared_root(record))


def _known(record: Path) -> dict[str, float]:
    """Read the record: seconds by step; empty if it is damaged or absent."""
    try:
        found = json.loads(read_regular(record, _LONGEST, below=prepared_root(record)))
    except (OSError, ValueError, RecursionError):
        return {}
    pairs = found.items() if isinstance(found, dict) else ()
    return {key: float(value) for key, value in pairs if _KEY.fullmatch(key) and _is_duration(value)}


def _is_duration(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 10**6


def with_context(outcome: Outcome, request: BuildRequest, display: Display) -> Outcome:
    """Add the size of the sent build context to the report; warn of the large files in a large context."""
    trace = outcome.trace
    sent = {each.digest: each.bytes for each in trace.transfers if each.kind == "context"} if trace else {}
    if trace is None or not sent:
        return outcome
    largest = _largest(trace, request)
    weighed = ContextReport(bytes=sum(sent.values()), largest=largest)
    hints = (context_hint(weighed),) if largest else ()
    for hint in hints:
        display.warn(hint)
    warnings = (*outcome.report.warnings, *hints)
    return replace(outcome, report=replace(outcome.report, build_context=weighed, warnings=warnings))


def _largest(trace: BuildTrace, request: BuildRequest) -> tuple[HeavyReport, ...]:
    from buildx_cache.request.large_files import LARGE, heavy_entries

    main = sum(each.bytes for each in trace.transfers if each.kind == "context" and each.name.endswith(_MAIN))
    if main <= LARGE:
        return ()
    return tuple(HeavyReport(line=each.line, bytes=each.bytes) for each in heavy_entries(request))


def context_hint(context: ContextReport) -> str:
    """Return the warning with the lines to add to ``.dockerignore``."""
    lines = ", ".join(f"`{each.line}` ({size(each.bytes)})" for each in context.largest)
    return (
        f"{size(context.bytes)} of build context were sent, and are sent in full to every new builder, however warm "
        f"the cache is; if the build does not need them, add to .dockerignore, one a line: {lines}"
    )
