"""How fast a progress stream becomes a trace, and in how much memory: each stream in a process of its own.

Run by itself, it replays one file: ``python -m tests.benchmarks.replay FILE``.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from buildx_cache.buildkit.stream import StreamParser
from buildx_cache.buildkit.trace_builder import TraceBuilder
from buildx_cache.redaction import Redactor
from buildx_cache.run.redactor import EventRedactor
from tests.benchmarks.measuring import measure
from tests.benchmarks.spread import Spread
from tests.integration.conftest import PROJECT
from tests.unit.streams import Layout, generated_stream

GOAL_RATE = 50
"""MB of the stream a second."""
GOAL_PEAK = 100_000_000
"""Bytes of memory."""

_ROUNDS = 5
_STEPS, _LOGS = 500, 100_000_000
_RECORDED = 20_000_000
_CHUNK = 64 * 1024  # as the engine's pipe gives it
_RECORDINGS = PROJECT / "tests" / "unit" / "recordings"


@dataclass(frozen=True, kw_only=True)
class Replay:
    """What the replay of a stream took; ``size`` and ``peak`` are bytes."""

    title: str
    size: int
    seconds: Spread
    peak: int

    @property
    def rate(self) -> float:
        """MB a second, of the median."""
        return self.size / 1e6 / self.seconds.median


def replays(folder: Path) -> Iterator[Replay]:
    """Every stream, made in ``folder`` and deleted again; the trace of a generated one is checked."""
    for version in ("buildx-0.29.1", "buildx-0.13.1"):
        recorded = b"".join(path.read_bytes() for path in sorted((_RECORDINGS / version).rglob("*.rawjson")))
        pieces = iter([recorded] * (_RECORDED // len(recorded) + 1))
        yield _replayed(f"recordings of {version}", pieces, folder)
    for layout in Layout:
        for piece in (32 * 1024, 1024):
            pieces = generated_stream(steps=_STEPS, log_bytes=_LOGS, piece=piece, layout=layout)
            title = f"{_LOGS // 1_000_000} MB of logs by {piece / 1024:g} KiB, {layout}"
            yield _replayed(title, pieces, folder, steps=_STEPS)


def _replayed(title: str, pieces: Iterator[bytes], folder: Path, *, steps: int = 0) -> Replay:
    path = folder / "stream"
    with path.open("wb") as out:
        out.writelines(pieces)
    argv = (sys.executable, "-m", "tests.benchmarks.replay", str(path))
    seconds, peaks = [], []
    for _ in range(_ROUNDS):
        ran = measure(argv, env={"PYTHONPATH": str(PROJECT)}, cwd=folder, output=folder)
        assert ran.code == 0, ran.stderr.decode(errors="replace")
        told = json.loads((folder / "stdout").read_bytes())
        assert not steps or (told["total"], told["cached"]) == (steps, steps // 5)
        seconds.append(told["seconds"])
        peaks.append(ran.peak)
    size = path.stat().st_size
    path.unlink()
    return Replay(title=title, size=size, seconds=Spread.of(seconds), peak=max(peaks))


def main(path: str) -> None:
    """Do what a build does with its stream, secret values taken out, and tell how long that took."""
    parser, trace = StreamParser(), TraceBuilder()
    hiding = EventRedactor(Redactor(["a value that is not there"]))
    started = time.process_time()
    with Path(path).open("rb", buffering=0) as stream:
        while chunk := stream.read(_CHUNK):
            for event in hiding.take(parser.feed(chunk)):
                trace.add(event)
        for event in (*hiding.take(parser.close()), *hiding.close()):
            trace.add(event)
    built = trace.trace()
    seconds = time.process_time() - started
    json.dump({"seconds": seconds, "total": built.total, "cached": built.cached}, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1])
