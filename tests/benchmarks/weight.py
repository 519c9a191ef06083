"""What this program takes before it builds anything, beside an interpreter that does nothing."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.contenders import TOOL
from tests.benchmarks.measuring import Measured, measure
from tests.benchmarks.project import Variant, write_project
from tests.benchmarks.spread import Spread
from tests.integration.conftest import PROJECT, Docker

ROUNDS = 15


@dataclass(frozen=True, kw_only=True)
class Call:
    """A command without a build; ``goal`` in seconds, 0.0 for none."""

    title: str
    argv: tuple[str, ...]
    goal: float = 0.0


EMPTY = Call(title="`python -c pass`", argv=(sys.executable, "-c", "pass"))
CALLS = (
    EMPTY,
    Call(title="`import buildx_cache.cli`", argv=(sys.executable, "-c", "import buildx_cache.cli")),
    Call(title="`buildx-cache --help`", argv=(*TOOL, "--help"), goal=0.35),
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


def weigh(docker: Docker, folder: Path) -> tuple[Weight, ...]:
    """Run every call turn by turn, so that a busy moment of the machine meets them all; once before, from the disk.

    ``folder`` is made for it, with a project to plan for.
    """
    write_project(folder, Variant(), size=0, base=docker.base)
    env = docker.child_env(PYTHONPATH=str(PROJECT))
    runs = [[_run(call, env, folder) for call in CALLS] for _ in range(ROUNDS + 1)]
    return tuple(
        Weight(
            call=call,
            seconds=Spread.of([ran.seconds for ran in taken]),
            peak=max(ran.peak for ran in taken),
        )
        for call, taken in zip(CALLS, zip(*runs[1:], strict=True), strict=True)
    )


def _run(call: Call, env: Mapping[str, str], folder: Path) -> Measured:
    ran = measure(call.argv, env=env, cwd=folder, output=folder)
    assert ran.code == 0, f"{call.title}: {ran.stderr.decode(errors='replace')}"
    return ran
