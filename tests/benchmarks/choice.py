"""What to measure, from the command line."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.contenders import CONTENDERS, Contender
from tests.benchmarks.goals import compared
from tests.benchmarks.workloads import WORKLOADS, Workload

_SIZES = (50, 1000)
_LEAST = 10
_WEIGHT, _PROGRESS = "weight", "progress"
_DESCRIPTION = "Measure builds side by side, and show or write down what they took."


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What to measure."""

    rounds: int
    goal_rounds: int
    """Of what a goal compares at the largest size; ``rounds`` of all else."""
    sizes: tuple[int, ...]
    workloads: tuple[Workload, ...]
    contenders: tuple[Contender, ...]
    builds: bool
    weight: bool
    progress: bool
    write: bool
    remote: bool
    """Whether the engine is on another machine, reached by TLS."""
    folder: Path | None
    """Where all data are kept, the engine's too; if None, where they are anyway."""

    def rounds_of(self, size: int, workload: Workload, contender: Contender) -> int:
        """How often the last is to build an image of that size at that workload."""
        if workload.name not in contender.workloads:
            return 0
        decides = size == max(self.sizes) and (workload, contender) in compared(remote=self.remote)
        return self.goal_rounds if decides else self.rounds


def chosen(words: Sequence[str]) -> Choice:
    """The command line; a wrong one ends the program with code 2."""
    names = [each.name for each in (*WORKLOADS, *CONTENDERS)] + [_WEIGHT, _PROGRESS]
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=_DESCRIPTION)
    parser.add_argument("--rounds", type=int, default=5, help="samples of each build (5)")
    parser.add_argument("--goal-rounds", type=int, help="of what the goals compare at the largest size (as many)")
    parser.add_argument("--size", type=int, nargs="+", default=_SIZES, help="MB of the image (50 and 1000)")
    parser.add_argument(
        "--only", nargs="+", default=(), choices=names, metavar="NAME", help=f"only these: {', '.join(names)}"
    )
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks.md and its chart")
    parser.add_argument("--remote", action="store_true", help="on an engine of another machine, reached by TLS")
    parser.add_argument(
        "--folder",
        type=Path,
        help="keep all data there, those of an engine of the run's own too; best in memory: /dev/shm",
    )
    given = parser.parse_args(words)
    goal_rounds = given.rounds if given.goal_rounds is None else given.goal_rounds
    if min(given.rounds, goal_rounds) < 0 or given.rounds + goal_rounds < 1 or min(given.size) < _LEAST:
        parser.error(f"at least one round, and {_LEAST} MB")
    if given.write and (given.only or given.remote or given.rounds < 1 or goal_rounds < given.rounds):
        what = "no --only and no --remote, --rounds of at least 1 and no fewer --goal-rounds"
        parser.error(f"what is written down is everything: {what}")
    if given.folder and not given.folder.is_dir():
        parser.error(f"{given.folder} is not a folder")
    return Choice(
        rounds=given.rounds,
        goal_rounds=goal_rounds,
        sizes=tuple(given.size),
        workloads=tuple(each for each in WORKLOADS if each.name in given.only) or WORKLOADS,
        contenders=tuple(each for each in CONTENDERS if each.name in given.only) or CONTENDERS,
        builds=not given.only or bool(set(given.only) - {_WEIGHT, _PROGRESS}),
        weight=not given.only or _WEIGHT in given.only,
        progress=not given.only or _PROGRESS in given.only,
        write=given.write,
        remote=given.remote,
        folder=given.folder and given.folder.resolve(),
    )
