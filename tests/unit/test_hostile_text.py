"""Long texts of anybody's take linear time wherever they are read with regular expressions."""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from buildx_cache.ci.folding import json_without_commands, without_commands
from buildx_cache.progress import StreamParser
from buildx_cache.progress.names import _STEP
from buildx_cache.registry.distribution import _NEXT
from buildx_cache.request import BuildRequest
from buildx_cache.request.layers import _DAYS
from buildx_cache.request.weighing import heavy_entries
from buildx_cache.wording import as_message, printable

LENGTH = 200_000


def parsed(text: str) -> None:
    parser = StreamParser()
    list(parser.feed(text.encode()))
    list(parser.close())


READERS: dict[str, Callable[[str], object]] = {
    "message": as_message,
    "printable": printable,
    "commands": without_commands,
    "json-commands": json_without_commands,
    "stream": parsed,
    "stream-json": lambda text: parsed("{\n" + text),
    "step": _STEP.match,
    "link": _NEXT.search,
    "days": lambda text: _DAYS.sub("", text),
}
PIECES = {
    "spaces": " ",
    "newlines": "\n",
    "returns": "\r",
    "quotes": '\\"',
    "strings": '{"a": "',
    "veils": "\u200b",
    "veiled": "#\u200b",
    "line-separators": "\u2028",
    "escapes": "\x1b[0",
    "angles": "<",
    "ends": "<>;",
    "digits": "0",
    "places": "[ ",
}


# A stream of 200,000 lines is as many events.
PAIRS = [each for each in itertools.product(READERS, PIECES) if each[0][:6] != "stream" or each[1] != "newlines"]


@pytest.mark.parametrize(("reader", "piece"), PAIRS)
def test_a_long_text_takes_no_time(reader: str, piece: str) -> None:
    text = (PIECES[piece] * LENGTH)[:LENGTH]
    for each in (text, f"{text}x", f"x{text}\0", f"[{text}", f"##{text}"):
        begin = time.process_time()
        READERS[reader](each)
        assert time.process_time() - begin < 1.5


DOCKERFILES = {
    "newlines": "\n" * LENGTH,
    "spaces": "\\" + " " * LENGTH + "x",
    "onbuild": "ONBUILD " * (LENGTH // 8),
    "flags": "COPY " + "--a=b " * (LENGTH // 6) + "x /",
    "flag": "COPY --" + "a" * LENGTH,
    "nested": "COPY " + "[" * LENGTH,
    "names": "COPY " + "a/b " * (LENGTH // 4) + " /",
    "long-name": "COPY " + "a/" * (LENGTH // 2) + " /",
    "mounts": "RUN " + "--mount=type=bind,source=a " * (LENGTH // 27),
    "continued": "COPY \\\n" * (LENGTH // 7),
}


@pytest.mark.parametrize("name", DOCKERFILES)
def test_a_hostile_dockerfile_is_read_in_no_time(tmp_path: Path, name: str) -> None:
    (tmp_path / "Dockerfile").write_text(f"FROM scratch\n{DOCKERFILES[name]}\n")
    for at in range(300):
        (tmp_path / f"f{at}").touch()
    with (tmp_path / "big").open("wb") as out:
        out.truncate(10**9)
    begin = time.process_time()
    assert [each.line for each in heavy_entries(BuildRequest(context=str(tmp_path)))] == ["big"]
    assert time.process_time() - begin < 1.5


def test_a_deep_context_is_weighed(tmp_path: Path) -> None:
    folder = tmp_path / "/".join(["d"] * 350)
    folder.mkdir(parents=True)
    with (folder / "big").open("wb") as out:
        out.truncate(10**9)
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(300)
    try:
        (found,) = heavy_entries(BuildRequest(context=str(tmp_path)))
    finally:
        sys.setrecursionlimit(limit)
    assert found.bytes == 10**9
