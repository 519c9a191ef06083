"""Everything that one run measured."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from tests.benchmarks.contenders import CONTENDERS, Contender
from tests.benchmarks.replay import Replay
from tests.benchmarks.samples import Sample
from tests.benchmarks.spread import Spread
from tests.benchmarks.weight import LIBRARY, Weight
from tests.benchmarks.workloads import WORKLOADS, Workload


@dataclass(frozen=True, kw_only=True)
class Results:
    """Samples of builds, the weight of other calls, replays of progress streams, and the machine."""

    machine: str
    remote: bool = False
    """Whether the engine is on another machine."""
    samples: tuple[Sample, ...] = ()
    weights: tuple[Weight, ...] = ()
    replays: tuple[Replay, ...] = ()

    @property
    def library(self) -> float:
        """Seconds of importing python-on-whales, the unit of every fixed cost; 0.0 if nothing was built or weighed."""
        return next((weight.seconds.median for weight in self.weights if weight.call is LIBRARY), 0.0)

    @property
    def sizes(self) -> tuple[int, ...]:
        """MB, rising."""
        return tuple(sorted({sample.size for sample in self.samples}))

    @property
    def rounds(self) -> tuple[int, ...]:
        """How many samples there are of a build, rising: of what a goal compares there may be more."""
        taken = Counter((sample.size, sample.workload, sample.contender) for sample in self.samples)
        return tuple(sorted(set(taken.values())))

    def contenders(self) -> tuple[Contender, ...]:
        names = {sample.contender for sample in self.samples}
        return tuple(contender for contender in CONTENDERS if contender.name in names)

    def workloads(self) -> tuple[Workload, ...]:
        names = {sample.workload for sample in self.samples}
        return tuple(workload for workload in WORKLOADS if workload.name in names)

    def of(self, size: int, workload: Workload, contender: Contender) -> tuple[Sample, ...]:
        wanted = (size, workload.name, contender.name)
        return tuple(each for each in self.samples if (each.size, each.workload, each.contender) == wanted)

    def spread(
        self, size: int, workload: Workload, contender: Contender, figure: Callable[[Sample], float]
    ) -> Spread | None:
        """A figure of these samples, None without any."""
        found = self.of(size, workload, contender)
        return Spread.of([figure(sample) for sample in found]) if found else None
