"""One measured build, and how it is read from what the build left."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from buildx_cache.buildkit.stream import StreamParser
from buildx_cache.buildkit.trace_builder import TraceBuilder

BOOT = "docker buildx create"
LISTING = "docker image ls"
# The builder's boot is told apart. A listing takes seconds on an engine that others use, and next to none on a new one.
NOT_COUNTED = (BOOT, LISTING)


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One build; all times in seconds. ``seconds`` is without the builder's boot and removal, and without listings."""

    size: int
    workload: str
    contender: str
    seconds: float
    boot: float
    removal: float
    parts: Mapping[str, float] = field(default_factory=dict)
    """Of the recipe: each command, by its first words."""
    peak: int = 0
    """Bytes of this program's own process."""
    report: Mapping[str, Any] = field(default_factory=dict)
    """Of this program."""

    @property
    def besides(self) -> float:
        """Seconds of this program's that were neither the build nor the builder's boot."""
        phases = self.report["phases"]
        return self.seconds - float(phases["build"]) - float(phases["builder"]) - float(phases["context"])


def executed_steps(report: Mapping[str, Any], stderr: bytes) -> int:
    """How many steps ran, FROM aside: it counts as one that ran where the base image had to be pulled."""
    if report:
        steps = [(step["name"], step["cached"]) for step in report["steps"]]
    else:
        parser, trace = StreamParser(), TraceBuilder()
        for event in (*parser.feed(stderr), *parser.close()):
            trace.add(event)
        steps = [(step.name, step.cached) for step in trace.trace().steps]
    return sum(not cached for name, cached in steps if not name.startswith("FROM"))


def recipe_parts(clock: Path) -> dict[str, float]:
    """Seconds of each command of the recipe, by its first three words."""
    noted = [line.split(" ", 1) for line in clock.read_text().splitlines()]
    begun = [(float(instant), " ".join(command.split()[:3])) for instant, command in noted]
    parts: dict[str, float] = {}
    for (start, command), (end, _) in itertools.pairwise(begun):
        parts[command] = parts.get(command, 0.0) + end - start
    return {command: seconds for command, seconds in parts.items() if command.startswith("docker")}
