"""What changed since the build whose cache is there, and how many steps that has to execute."""

from __future__ import annotations

from dataclasses import dataclass

from tests.benchmarks.project import Variant


@dataclass(frozen=True, kw_only=True)
class Workload:
    """One kind of build."""

    name: str
    title: str
    variant: Variant
    executed: int
    """Steps of the Dockerfile that run, its FROM aside."""
    layers: int
    """Of the image, those that the registry does not have yet."""
    warm: bool = True
    """Whether there is a cache to begin with."""
    built: bool = False
    """Whether the builder has run every step and compressed every layer before."""


UNCHANGED = Workload(name="unchanged", title="unchanged", variant=Variant(), executed=0, layers=0)
SOURCE = Workload(name="source", title="source, COPY", variant=Variant(source="changed"), executed=1, layers=1)
LINKED = Workload(
    name="source-linked",
    title="source, COPY --link",
    variant=Variant(source="changed", linked=True),
    executed=1,
    layers=1,
)
DEPENDENCY = Workload(name="dependency", title="dependency", variant=Variant(packages="changed"), executed=5, layers=4)
COLD = Workload(name="cold", title="cold", variant=Variant(packages="changed"), executed=7, layers=4, warm=False)
EXPORT = Workload(
    name="export",
    title="cache export alone",
    variant=Variant(packages="changed"),
    executed=0,
    layers=0,
    warm=False,
    built=True,
)

WORKLOADS = (UNCHANGED, SOURCE, LINKED, DEPENDENCY, COLD, EXPORT)
