"""What the upkeep of a folder of 5,000 blobs costs: a quick verification and a sweep, each run in a process of its own.

    python tests/benchmarks/layout.py

Prints seconds (medians), the same as a ratio to an interpreter that does nothing, and peak memory.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.unit.layout.layouts import Layout

TAGS = 45
BLOBS_PER_TAG = 100
DEAD = 500
RUNS = 7

PEAK = """
import resource, sys
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(peak / (1 << 20 if sys.platform == "darwin" else 1 << 10))
"""
UPKEEP = """
import sys, time
from pathlib import Path
folder = Path(sys.argv[1])
started = time.perf_counter()
from buildx_cache import layout
imported = time.perf_counter()
assert layout.verify(folder) == ()
verified = time.perf_counter()
swept = layout.sweep(folder)
assert len(swept.blobs) == 500 and not swept.obstacles
print(imported - started, verified - imported, time.perf_counter() - verified)
"""


def make(folder: Path) -> Layout:
    """Each tag is a manifest, a cacheconfig and layers of its own; a tenth of all blobs is dead."""
    made = Layout(folder)
    for tag in range(TAGS):
        made.tag(f"tag{tag}", made.cache([b"%d %d" % (tag, layer) for layer in range(BLOBS_PER_TAG - 2)]))
    made.write_index()
    return made


def run(*arguments: str) -> list[float]:
    """Seconds of the process, then what it printed."""
    started = time.perf_counter()
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=True)
    return [time.perf_counter() - started, *map(float, done.stdout.split())]


def upkeep(made: Layout) -> list[float]:
    for number in range(DEAD):
        made.put(b"dead %d" % number)
    return run("-c", UPKEEP + PEAK, str(made.folder))


def medians(rows: Sequence[Sequence[float]]) -> list[float]:
    return [statistics.median(column) for column in zip(*rows, strict=True)]


def main() -> str:
    with TemporaryDirectory() as place:
        made = make(Path(place) / "cache")
        # Turn by turn, so that a busy moment of the machine meets both.
        turns = [(upkeep(made), run("-c", PEAK)) for _ in range(RUNS)]
    whole, imported, verified, swept, peak = medians([mine for mine, _ in turns])
    bare, bare_peak = medians([other for _, other in turns])
    return f"""\
{TAGS * BLOBS_PER_TAG + DEAD} blobs in {TAGS} tags, {DEAD} of them dead; medians of {RUNS} runs
import           {imported:7.3f} s
quick verify     {verified:7.3f} s
sweep            {swept:7.3f} s
verify and sweep {verified + swept:7.3f} s, goal < 1 s
whole process    {whole:7.3f} s, {whole / bare:.1f} times that of an empty one ({bare:.3f} s)
peak memory      {peak:7.1f} MiB, goal < 150 MB; that of an empty process is {bare_peak:.1f} MiB
"""


if __name__ == "__main__":
    sys.stdout.write(main())
