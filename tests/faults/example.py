"""The project that the fault tests build: every layer differs, compresses badly, and shows in what the image says."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path

_DOCKERFILE = """\
ARG BASE
FROM ${BASE} AS maker
COPY seed /seed
RUN tail -c +2 /seed > /made
RUN tail -c +3 /seed > /also-made

FROM ${BASE}
COPY seed /parts/1
RUN tail -c +4 /parts/1 > /parts/2
RUN tail -c +5 /parts/1 > /parts/3
COPY --from=maker /made /parts/4
COPY --from=maker /also-made /parts/5
RUN tail -c +6 /parts/1 > /parts/6
CMD ["sh", "-c", "cat /parts/* | sha256sum"]
"""
STEPS = 10
"""Steps of the Dockerfile as its author counts them: two FROM (one base), and eight more."""

_SIZE = 40_000


def noise(size: int, number: int) -> bytes:
    """So many bytes that compress badly, the same for the same number."""
    return random.Random(number).randbytes(size)  # noqa: S311 - nothing secret


def write_project(folder: Path, *, number: int = 0) -> str:
    """A build context in ``folder``; what its image prints. Another number makes every layer another."""
    folder.mkdir(parents=True, exist_ok=True)
    seed = noise(_SIZE, number)
    (folder / "Dockerfile").write_text(_DOCKERFILE)
    (folder / "seed").write_bytes(seed)
    parts = (seed, seed[3:], seed[4:], seed[1:], seed[2:], seed[5:])
    return hashlib.sha256(b"".join(parts)).hexdigest() + "  -"
