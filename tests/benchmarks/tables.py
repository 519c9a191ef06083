"""The results as tables, which the terminal and the document both show."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from buildx_cache.formatting import size as in_units
from tests.benchmarks.contenders import RECIPE, Contender
from tests.benchmarks.goals import verdicts
from tests.benchmarks.replay import GOAL_PEAK, GOAL_RATE
from tests.benchmarks.results import Results
from tests.benchmarks.samples import Sample
from tests.benchmarks.spread import Spread
from tests.benchmarks.weight import ADDED, ADDED_FAR
from tests.benchmarks.workloads import UNCHANGED

_NONE = "—"


@dataclass(frozen=True, kw_only=True)
class Table:
    """Cells of text, and what they are about."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def markdown(self) -> str:
        """The table below a heading."""
        rule = ("---", *("---:" for _ in self.head[1:]))
        lines = "\n".join(f"| {' | '.join(cells)} |" for cells in (self.head, rule, *self.rows))
        return f"## {self.title}\n\n{lines}\n"


def tables(results: Results) -> Iterator[Table]:
    """Every table that has rows."""
    for size in results.sizes:
        yield _seconds(results, size)
    for table in (*_of_largest(results), _weight(results), _progress(results)):
        if table.rows:
            yield table


def _of_largest(results: Results) -> Iterator[Table]:
    if results.sizes:
        size = results.sizes[-1]
        yield _goals(results, size)
        yield _recipe(results, size)
        yield _own(results, size)
        yield _builders(results)


def _seconds(results: Results, size: int) -> Table:
    def cells(contender: Contender) -> Iterator[str]:
        for workload in results.workloads():
            yield _cell(results.spread(size, workload, contender, lambda sample: sample.seconds))

    return Table(
        title=f"An image of {size} MB",
        head=("", *(workload.title for workload in results.workloads())),
        rows=tuple((contender.title, *cells(contender)) for contender in results.contenders()),
    )


def _goals(results: Results, size: int) -> Table:
    return Table(
        title=f"Goals, {size} MB",
        head=("goal", "is", "at most", "ratio", ""),
        rows=tuple(
            (
                verdict.title,
                f"{verdict.ours:.2f}s",
                f"{verdict.limit:.2f}s",
                f"{verdict.ours / verdict.theirs:.2f}",
                _word(is_met=verdict.is_met),
            )
            for verdict in verdicts(results, size)
        ),
    )


def _recipe(results: Results, size: int) -> Table:
    """Where the recipe's time goes: medians of its commands."""
    taken = {workload: results.of(size, workload, RECIPE) for workload in results.workloads()}
    parts = dict.fromkeys(part for samples in taken.values() for sample in samples for part in sample.parts)
    return Table(
        title=f"The commands of the recipe, {size} MB",
        head=("", *(workload.title for workload in taken)),
        rows=tuple((f"`{part}`", *(_part(samples, part) for samples in taken.values())) for part in parts),
    )


def _part(samples: Sequence[Sample], part: str) -> str:
    return f"{statistics.median(sample.parts[part] for sample in samples):.2f}s" if samples else _NONE


def _own(results: Results, size: int) -> Table:
    """What this program adds to a build of which everything is in the cache."""
    taken = {
        contender: results.of(size, UNCHANGED, contender) for contender in results.contenders() if contender.reports
    }
    return Table(
        title=f"Besides the build: unchanged, {size} MB",
        head=("", f"not the build (goal {_besides_goal(results):.2f}s)", "", "docker calls", "peak memory", "lazily"),
        rows=tuple(
            (contender.title, *_own_cells(samples, _besides_goal(results)))
            for contender, samples in taken.items()
            if samples
        ),
    )


def _besides_goal(results: Results) -> float:
    """The most seconds that a call may take beside its build."""
    return results.library * (ADDED_FAR if results.remote else ADDED)


def _own_cells(samples: Sequence[Sample], goal: float) -> tuple[str, ...]:
    besides = Spread.of([sample.besides for sample in samples])
    lazy = {bool((sample.report["cache"].get("lazy") or {}).get("used")) for sample in samples}
    return (
        str(besides),
        _word(is_met=besides.median <= goal),
        _range([sample.report["docker_calls"] for sample in samples]),
        in_units(max(sample.peak for sample in samples)),
        "/".join("yes" if each else "no" for each in sorted(lazy)),
    )


def _builders(results: Results) -> Table:
    boots = Spread.of([sample.boot for sample in results.samples])
    removals = Spread.of([sample.removal for sample in results.samples])
    return Table(
        title="Builders, not counted above",
        head=("", "seconds"),
        rows=(("boot", str(boots)), ("removal", str(removals))),
    )


def _weight(results: Results) -> Table:
    rows = []
    for weight in results.weights:
        ratio = weight.seconds.median / results.library
        goal = weight.call.goal
        rows.append(
            (
                weight.call.title,
                str(weight.seconds),
                f"{ratio:.1f}",
                f"{goal:g}" if goal else _NONE,
                _word(is_met=ratio <= goal) if goal else "",
                in_units(weight.peak) if weight.peak else _NONE,
            )
        )
    return Table(title="Without a build", head=("", "seconds", "ratio", "at most", "", "peak memory"), rows=tuple(rows))


def _progress(results: Results) -> Table:
    """MB are millions of bytes here, as in the goals."""
    return Table(
        title="Progress streams",
        head=("", "MB", "seconds", f"MB/s (goal {GOAL_RATE})", "", f"peak memory (goal {in_units(GOAL_PEAK)})", ""),
        rows=tuple(
            (
                replay.title,
                f"{replay.size / 1e6:.0f}",
                str(replay.seconds),
                f"{replay.rate:.0f}",
                _word(is_met=replay.rate >= GOAL_RATE),
                in_units(replay.peak),
                _word(is_met=replay.peak < GOAL_PEAK),
            )
            for replay in results.replays
        ),
    )


def _cell(spread: Spread | None) -> str:
    return str(spread) if spread else _NONE


def _range(counts: Sequence[int]) -> str:
    low, high = min(counts), max(counts)
    return str(low) if low == high else f"{low} to {high}"


def _word(*, is_met: bool) -> str:
    return "met" if is_met else "**missed**"
