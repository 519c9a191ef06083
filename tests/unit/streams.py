"""Progress streams of any size, as current Buildx and 0.13 write them."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from enum import StrEnum

_STAGE = 25
_START, _RUNNING, _END = (f"2025-11-24T04:30:0{second}.123456789Z" for second in range(3))
_LINES = [b"[%4d/4000] compiling src/lib/part_%d/module.c with every warning on\n" % (n, n) for n in range(4000)]


class Layout(StrEnum):
    """How the JSON objects stand in the stream."""

    LINES = "one object a line"
    PRETTY = "pretty-printed"


def generated_stream(*, steps: int, log_bytes: int, piece: int, layout: Layout = Layout.LINES) -> Iterator[bytes]:
    """A build of ``steps`` in stages of 25, every fifth cached; the others print ``log_bytes`` in all, in pieces.

    Each item is one JSON object; pieces are cut anywhere.
    """
    printing = steps - steps // 5
    share = log_bytes // printing
    for number in range(steps):
        digest = _digest(number)
        vertex = {
            "digest": digest,
            "inputs": [_digest(number - 1)] if number % _STAGE else [],
            "name": f"[stage-{number // _STAGE} {number % _STAGE + 1}/{_STAGE}] RUN make part-{number}",
            "started": _START,
        }
        if number % 5 == 4:
            yield _written({"vertexes": [{**vertex, "completed": _START, "cached": True}]}, layout)
            continue
        yield _written({"vertexes": [vertex]}, layout)
        for data in _pieces(number, share, piece):
            log = {"vertex": digest, "stream": 1, "data": base64.b64encode(data).decode(), "timestamp": _RUNNING}
            yield _written({"logs": [log]}, layout)
        yield _written({"vertexes": [{**vertex, "completed": _END}]}, layout)


def printed(step: int, size: int) -> bytes:
    """What a step prints: lines that all differ, from another one on in every step."""
    return b"".join(_pieces(step, size, size))


def _pieces(step: int, size: int, piece: int) -> Iterator[bytes]:
    whole = b"".join([*_LINES[step:], *_LINES[:step]])
    for at in range(0, size, piece):
        first, length = at % len(whole), min(piece, size - at)
        yield (whole[first : first + length] + whole)[:length]


def _digest(number: int) -> str:
    return f"sha256:{number:064x}"


def _written(status: Mapping[str, object], layout: Layout) -> bytes:
    if layout is Layout.PRETTY:
        return json.dumps(status, indent="\t").encode() + b"\n"
    return json.dumps(status, separators=(",", ":")).encode() + b"\n"
