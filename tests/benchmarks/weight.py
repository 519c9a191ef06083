"""What this program takes before it builds anything, beside an interpreter that does nothing."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.contenders import TOOL
from tests.benchmarks.measuring import Measured, measure
from tests.benchmarks.project import Variant, write_project
from tests.benchmarks.spread import Spread
from tests.integration.conftest import PROJECT, Docker

ROUNDS = 15
# Seconds of a machine that imports the library in 0.18 s, as multiples of that: what a call adds to its build (0.7 s),
# the same through a tunnel to another machine (0.9 s), and --help (0.35 s).
ADDED, ADDED_FAR, HELP = 3.9, 5.0, 1.94


@dataclass(frozen=True, kw_only=True)
class Call:
    """A command without a build."""

    title: str
    argv: tuple[str, ...]
    goal: float = 0.0
    """How many times as long as ``LIBRARY`` it may take; 0.0 for no goal."""


LIBRARY = Call(title="`import python_on_whales`", argv=(sys.executable, "-c", "import python_on_whales"))
"""How fast the machine is: what no call can do without. All goals for a fixed cost are multiples of it."""

CALLS = (
    LIBRARY,
    Call(title="`python -c pass`", argv=(sys.executable, "-c", "pass")),
    Call(title="`import buildx_cache.cli`", argv=(sys.executable, "-c", "import buildx_cache.cli")),
    Call(title="`buildx-cache --help`", argv=(*TOOL, "--help"), goal=HELP),
    Call(
        title="`buildx-cache plan`, no Docker",
        argv=(*TOOL, "plan", "--assume-driver", "docker-container", "--tag", "app", "."),
    ),
)


@dataclass(frozen=True, kw_only=True)
class Weight:
    """What a call took."""

    call: Call
    seconds: Spread
    peak: int
    """Bytes of memory, as in ``Measured``: an end that is quicker than two looks apart is missed."""


def weigh(docker: Docker, folder: Path, calls: Sequence[Call] = CALLS) -> tuple[Weight, ...]:
    """Run every call turn by turn, so that a busy moment of the machine meets them all; once before, from the disk.

    ``folder`` is made for it, with a project to plan for.
    """
    write_project(folder, Variant(), size=0, base=docker.base)
    env = docker.child_env(PYTHONPATH=str(PROJECT))
    runs = [[_run(call, env, folder) for call in calls] for _ in range(ROUNDS + 1)]
    return tuple(
        Weight(
            call=call,
            seconds=Spread.of([ran.seconds for ran in taken]),
            peak=max(ran.peak for ran in taken),
        )
        for call, taken in zip(calls, zip(*runs[1:], strict=True), strict=True)
    )


def _run(call: Call, env: Mapping[str, str], folder: Path) -> Measured:
    ran = measure(call.argv, env=env, cwd=folder, output=folder)
    assert ran.code == 0, f"{call.title}: {ran.stderr.decode(errors='replace')}"
    return ran
