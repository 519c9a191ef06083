"""What the figures ought to be, as ratios within one run, and whether they are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tests.benchmarks.contenders import (
    BUILDX_EXPORT,
    BUILDX_REGISTRY,
    BUILDX_UNKEPT,
    LOCAL,
    LOCAL_EXPORT,
    LOCAL_LOAD,
    LOCAL_UNKEPT,
    RECIPE,
    REGISTRY,
    REGISTRY_UNKEPT,
    Contender,
)
from tests.benchmarks.results import Results
from tests.benchmarks.samples import Sample
from tests.benchmarks.weight import ADDED, ADDED_FAR
from tests.benchmarks.workloads import COLD, DEPENDENCY, EXPORT, LINKED, SOURCE, UNCHANGED, Workload


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Whose seconds: of the whole, or of one of the recipe's commands."""

    contender: Contender
    part: str = ""

    @property
    def title(self) -> str:
        return f"{self.contender.title}'s `{self.part}`" if self.part else self.contender.title

    def seconds(self, sample: Sample) -> float:
        return sample.parts[self.part] if self.part else sample.seconds


@dataclass(frozen=True, kw_only=True)
class Goal:
    """``ours`` takes at most ``factor`` times ``theirs`` and ``plus`` times the import of python-on-whales."""

    workload: Workload
    ours: Timing
    theirs: Timing
    factor: float
    plus: float = 0.0

    @property
    def title(self) -> str:
        plus = f" + {self.plus:g} imports" if self.plus else ""
        return f"{self.workload.title}: {self.ours.title} ≤ {self.factor:g} times {self.theirs.title}{plus}"


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """A goal, the medians, and the most that ours may be."""

    title: str
    ours: float
    theirs: float
    limit: float

    @property
    def is_met(self) -> bool:
        return self.ours <= self.limit


_RECIPE = Timing(contender=RECIPE)
_RECIPE_BUILD = Timing(contender=RECIPE, part="docker buildx build")
_LOCAL, _LOAD, _REGISTRY = Timing(contender=LOCAL), Timing(contender=LOCAL_LOAD), Timing(contender=REGISTRY)
_BARE = Timing(contender=BUILDX_REGISTRY)

_LOCAL_UNKEPT, _REGISTRY_UNKEPT = Timing(contender=LOCAL_UNKEPT), Timing(contender=REGISTRY_UNKEPT)
_BARE_UNKEPT = Timing(contender=BUILDX_UNKEPT)
_LOCAL_EXPORT, _BARE_EXPORT = Timing(contender=LOCAL_EXPORT), Timing(contender=BUILDX_EXPORT)

GOALS = (
    *(Goal(workload=workload, ours=_LOCAL_UNKEPT, theirs=_RECIPE, factor=0.1) for workload in (UNCHANGED, LINKED)),
    Goal(workload=UNCHANGED, ours=_LOCAL_UNKEPT, theirs=_BARE_UNKEPT, factor=1.4, plus=ADDED),
    *(
        Goal(workload=workload, ours=_REGISTRY_UNKEPT, theirs=_BARE_UNKEPT, factor=1.1, plus=ADDED)
        for workload in (UNCHANGED, LINKED)
    ),
    Goal(workload=UNCHANGED, ours=_LOCAL, theirs=_RECIPE, factor=0.1),
    Goal(workload=UNCHANGED, ours=_LOCAL, theirs=_BARE, factor=1.4, plus=ADDED),
    Goal(workload=LINKED, ours=_LOCAL, theirs=_RECIPE, factor=0.1),
    Goal(workload=UNCHANGED, ours=_LOAD, theirs=_RECIPE_BUILD, factor=0.5),
    *(
        Goal(workload=workload, ours=_REGISTRY, theirs=_BARE, factor=1.1, plus=ADDED)
        for workload in (UNCHANGED, SOURCE, LINKED, DEPENDENCY)
    ),
    Goal(workload=COLD, ours=_REGISTRY, theirs=_BARE, factor=1.05, plus=ADDED),
    Goal(workload=COLD, ours=_LOCAL, theirs=_REGISTRY, factor=1.1),
    Goal(workload=EXPORT, ours=_LOCAL_EXPORT, theirs=_BARE_EXPORT, factor=1.5, plus=ADDED),
)
REMOTE_GOALS = (
    *(Goal(workload=workload, ours=_LOCAL_UNKEPT, theirs=_RECIPE, factor=0.1) for workload in (UNCHANGED, LINKED)),
    *(
        Goal(workload=workload, ours=_LOCAL_UNKEPT, theirs=_BARE_UNKEPT, factor=1.3, plus=ADDED_FAR)
        for workload in (UNCHANGED, LINKED)
    ),
    Goal(workload=COLD, ours=_LOCAL, theirs=_REGISTRY, factor=1.1),
    Goal(workload=EXPORT, ours=_LOCAL_EXPORT, theirs=_BARE_EXPORT, factor=1.5, plus=ADDED_FAR),
)


def goals(*, remote: bool) -> tuple[Goal, ...]:
    """The goals on this machine's engine, or on one of another machine."""
    return REMOTE_GOALS if remote else GOALS


def compared(*, remote: bool) -> frozenset[tuple[Workload, Contender]]:
    """Who is to build at which workload, for a verdict on every goal."""
    return frozenset(
        (goal.workload, side.contender) for goal in goals(remote=remote) for side in (goal.ours, goal.theirs)
    )


def verdicts(results: Results, size: int) -> Iterator[Verdict]:
    """The goals of which both sides were measured."""
    for goal in goals(remote=results.remote):
        ours = results.spread(size, goal.workload, goal.ours.contender, goal.ours.seconds)
        theirs = results.spread(size, goal.workload, goal.theirs.contender, goal.theirs.seconds)
        if ours and theirs:
            limit = goal.factor * theirs.median + goal.plus * results.library
            yield Verdict(title=goal.title, ours=ours.median, theirs=theirs.median, limit=limit)
