"""How long steps took when they last ran, so that a build from the cache can tell what it saved.

The record stands in the folder of a local cache, which a CI keeps from job to job: neither an import nor a sweep looks
at it there. Of other caches, and of a folder that another user may change, it is kept on the machine, but for a CI's,
which is thrown away. It holds hashes and seconds only; no build fails over it.
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
from buildx_cache.ci import CIContext
from buildx_cache.plan import BuildPlan
from buildx_cache.report import StepReport
from buildx_cache.run.call import Outcome
from buildx_cache.working_copy import prepared_root

RECORD = "buildx-cache-steps.json"
"""The record's name in a cache's folder."""

STEPS = 2000
"""Steps kept: those of the last builds."""

_LONGEST = 256 * 1024
_KEY = re.compile(r"[0-9a-f]{24}-[0-9]{1,9}")


@dataclass(frozen=True, kw_only=True)
class StepRecord:
    """The file, and whether what ran now is written to it."""

    path: Path
    writes: bool


def step_record(plan: BuildPlan, ci: CIContext, project: str) -> StepRecord:
    """Where the record of a call that ended is; ``project`` is the project's own path in the user's cache directory."""
    if (folder := plan.cache.directory) and not layout.exposure(Path(folder)):
        writes = not plan.cache.read_only and os.path.isdir(folder)  # noqa: PTH112 -- is False where nothing can be told
        return StepRecord(path=Path(folder) / RECORD, writes=writes)
    return StepRecord(path=Path(f"{project}-steps.json"), writes=not ci.is_ci)


def with_saved(outcome: Outcome, record: StepRecord) -> Outcome:
    """Return the outcome with the seconds that the cached steps took when they last ran, as far as that is on record.

    What ran now is put there.
    """
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
    """Yield the steps by what the Dockerfile's author wrote.

    BuildKit's own digest of one that copies is new in every build.

    Base images are left out: what their pull takes depends on the builder, and nothing of them runs.
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
    """Write the record anew if a step ran; the steps of this build come last, and so stay longest."""
    ran = {key: round(step.seconds, 3) for key, step in steps.items() if step.seconds > 0 and not step.error}
    if not ran:
        return
    used = {key: known[key] for key in steps if key in known} | ran
    kept = [*((key, seconds) for key, seconds in known.items() if key not in used), *used.items()][-STEPS:]
    with contextlib.suppress(OSError):
        write_text(record, json.dumps(dict(kept), indent=0) + "\n", below=prepared_root(record))


def _known(record: Path) -> dict[str, float]:
    """Return what is on record; nothing of one that is damaged."""
    try:
        found = json.loads(read_regular(record, _LONGEST, below=prepared_root(record)))
    except (OSError, ValueError, RecursionError):
        return {}
    pairs = found.items() if isinstance(found, dict) else ()
    return {key: float(value) for key, value in pairs if _KEY.fullmatch(key) and _is_duration(value)}


def _is_duration(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 10**6
