"""Measure builds side by side, and show or write down what they took."""

from __future__ import annotations

import compileall
import contextlib
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import rich.table
from rich.console import Console

from buildx_cache.formatting import duration
from tests.benchmarks.chart import chart
from tests.benchmarks.choice import Choice, chosen
from tests.benchmarks.document import CHART, document
from tests.benchmarks.laboratory import Laboratory
from tests.benchmarks.machine import machine
from tests.benchmarks.replay import replays
from tests.benchmarks.results import Results
from tests.benchmarks.samples import Sample
from tests.benchmarks.tables import Table, tables
from tests.benchmarks.weight import CALLS, LIBRARY, weigh
from tests.integration.conftest import PROJECT, Docker
from tests.integration.engines import Engines

_DOCS = PROJECT / "buildx_cache" / "docs"


def samples(choice: Choice, docker: Docker, folder: Path) -> Iterator[Sample]:
    """All samples, round by round: whatever slows the machine down for a while meets everything alike."""
    with contextlib.ExitStack() as stack:
        laboratories = [stack.enter_context(Laboratory(docker, folder / str(size), size)) for size in choice.sizes]
        for number in range(max(choice.rounds, choice.goal_rounds)):
            for laboratory in laboratories:
                yield from _round(choice, laboratory, number)


def _round(choice: Choice, laboratory: Laboratory, number: int) -> Iterator[Sample]:
    """Every contender at every workload, in an order of its own: nobody always comes after the same one."""
    order = random.Random(number)  # noqa: S311 -- the same in every run
    for workload in choice.workloads:
        for contender in order.sample(choice.contenders, len(choice.contenders)):
            rounds = choice.rounds_of(laboratory.size, workload, contender)
            if number < rounds:
                sample = laboratory.sample(workload, contender)
                what = f"{sample.size} MB, {workload.name}, {contender.name}"
                _say(f"{number + 1}/{rounds}: {what}: {sample.seconds:.2f}s")
                yield sample


def measured(choice: Choice) -> Results:
    """Everything, on the engine that is up or one that is started for it. The client's configuration is a copy.

    The program is compiled before, as pip does it, also where Python is told to write no bytecode.
    """
    compileall.compile_dir(PROJECT / "buildx_cache", quiet=1)
    with tempfile.TemporaryDirectory(prefix="buildx-cache-benchmarks-", dir=choice.folder) as name:
        folder = Path(name)
        replayed = tuple(replays(folder)) if choice.progress else ()
        if not (choice.builds or choice.weight):
            return Results(machine=machine(os.environ, choice.folder), replays=replayed)
        home = folder / "home"
        home.mkdir()
        engines = Engines(home, folder if choice.folder else None)
        env = engines.start(*(["--remote"] if choice.remote else []))
        try:
            _check_place(choice, folder, env)
            docker = Docker(env={**env, "DOCKER_CONFIG": str(_client_configuration(env, home))}, home=home)
            weights = weigh(docker, folder / "project", CALLS if choice.weight else (LIBRARY,))
            taken = tuple(samples(choice, docker, folder)) if choice.builds else ()
        finally:
            engines.stop()
        return Results(
            machine=machine(env, choice.folder),
            remote=choice.remote,
            samples=taken,
            weights=weights,
            replays=replayed,
        )


def _check_place(choice: Choice, folder: Path, env: dict[str, str]) -> None:
    """An engine that ran before has its data elsewhere."""
    if choice.folder and not env.get("DOCKER_CONFIG", "").startswith(f"{folder}/"):
        sys.exit(f"An engine that runs already keeps no data in {choice.folder}. Stop it, and try again.")


def _client_configuration(env: dict[str, str], home: Path) -> Path:
    """A folder with the Docker client's configuration, but no builders and contexts of others."""
    folder = home / ".docker"
    folder.mkdir()
    configuration = Path(env.get("DOCKER_CONFIG", "")) / "config.json"
    if "DOCKER_CONFIG" in env and configuration.exists():
        shutil.copy(configuration, folder)
    return folder


def _drawn(table: Table) -> rich.table.Table:
    drawn = rich.table.Table(title=table.title, title_justify="left")
    for number, title in enumerate(table.head):
        drawn.add_column(title, justify="right" if number else "left")
    for row in table.rows:
        drawn.add_row(*(cell.replace("`", "").replace("*", "") for cell in row))
    return drawn


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def main() -> None:
    choice = chosen(sys.argv[1:])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that builders and folders do not stay
    started = time.monotonic()
    results = measured(choice)
    for table in tables(results):
        Console().print(_drawn(table))
    if choice.write:
        (_DOCS / "benchmarks.md").write_text(document(results))
        (_DOCS / CHART).write_text(chart(results, results.sizes[-1]))
    _say(f"It took {duration(time.monotonic() - started)}.")


if __name__ == "__main__":
    main()
