"""The tree of a running build, and the part of a screen that it is drawn on."""

from __future__ import annotations

import base64
import io
import os
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.text import Text

from buildx_cache.buildkit.events import LogEvent, StatusEvent, VertexEvent
from buildx_cache.buildkit.stream import StreamParser
from buildx_cache.buildkit.trace_builder import TraceBuilder
from buildx_cache.display import live
from buildx_cache.display import live_state as boards
from buildx_cache.display.live import LiveDisplay, Region, can_draw
from buildx_cache.display.live_state import LiveState, render_tree

ALL = sorted((Path(__file__).parent / "recordings").glob("*/*.rawjson"))


def vertex(name: str, span: tuple[float, float | None] | None, *, cached: bool = False, error: str = "") -> VertexEvent:
    started, completed = span or (None, None)
    return VertexEvent(
        digest=name, inputs=(), name=name, started=started, completed=completed, cached=cached, error=error
    )


def log(name: str, text: str) -> LogEvent:
    return LogEvent(vertex=name, stream=1, encoded=base64.b64encode(text.encode()).decode())


def status(name: str, layer: str, current: int, total: int) -> StatusEvent:
    return StatusEvent(vertex=name, id=layer, current=current, total=total)


def drawn(board: LiveState, *, rows: int = 24, columns: int = 80, now: float = 13.4) -> list[str]:
    return [line.plain for line in render_tree(board, head="building 12.3s", rows=rows, columns=columns, now=now)]


def example() -> LiveState:
    board = LiveState()
    for event in (
        vertex("[build 1/4] FROM base", (1.0, 1.0), cached=True),
        vertex("[build 2/4] COPY a b", (1.0, 1.0), cached=True),
        vertex("[build 3/4] RUN deps", (1.0, 4.0)),
        vertex("[build 4/4] RUN make", (4.0, None)),
        log("[build 4/4] RUN make", "compiling a\ncompiling b\nhalf"),
        vertex("[linux/arm64 test 1/2] FROM other", (1.0, None)),
        status("[linux/arm64 test 1/2] FROM other", "sha256:a", 1024**2, 4 * 1024**2),
        status("[linux/arm64 test 1/2] FROM other", "sha256:b", 1024**2, 4 * 1024**2),
        vertex("[linux/arm64 test 2/2] RUN later", None),
        vertex("[docs 1/1] COPY x y", (1.0, 1.0), cached=True),
        vertex("exporting to image", (10.0, None)),
        status("exporting to image", "exporting layers", 5 * 1024**2, 0),
    ):
        board.take(event)
    return board


def test_the_tree_shows_stages_what_runs_and_what_it_says() -> None:
    assert drawn(example()) == [
        "building 12.3s  4 of 7 steps, 3 cached",
        "build  2 cached",
        "      3.0s  3/4 RUN deps",
        ">     9.4s  4/4 RUN make",
        "            | compiling a",
        "            | compiling b",
        "linux/arm64 test",
        ">    12.4s  1/2 FROM other  2.0 MiB of 8.0 MiB",
        "docs  1 cached",
        ">     3.4s  exporting to image  5.0 MiB",
    ]


@pytest.mark.parametrize("columns", [20, 40, 80, 200])
def test_the_tree_is_never_taller_than_there_are_rows(columns: int) -> None:
    board = example()
    for number in range(500):
        board.take(vertex(f"[stage{number % 50} {number}/500] RUN {number}", (2.0, 3.0 if number % 10 else None)))
    for rows in range(1, 30):
        lines = drawn(board, rows=rows, columns=columns)
        assert 1 <= len(lines) <= rows
        assert lines[0].startswith("building 12.3s")
        if rows > 8:
            assert any(line.lstrip().startswith("and ") and line.endswith(" more") for line in lines)
            assert "ex" in lines[-1].split()[2]


def test_what_ended_last_fills_the_rows_that_are_left() -> None:
    board = LiveState()
    for number in range(1, 301):
        board.take(vertex(f"[build {number}/300] RUN {number}", (float(number), number + 0.5)))
    board.take(vertex("[build 300/300] RUN 300", (300.0, None)))
    lines = drawn(board, rows=8, now=301.0)
    assert [line.split()[-1] for line in lines[2:]] == ["295", "296", "297", "298", "299", "300"][-len(lines[2:]) :]
    assert lines[-1] == ">     1.0s  300/300 RUN 300"
    assert len(lines) in (7, 8)


def test_a_step_that_goes_on_is_counted_once() -> None:
    board = LiveState()
    name = "[build 1/1] RUN make"
    for event in (vertex(name, (1.0, 2.0)), vertex(name, (1.0, None)), vertex(name, (1.0, 3.0)), vertex(name, (1.0, 3.0), cached=True)):  # fmt: skip  # noqa: E501
        board.take(event)
    assert (board.ended, board.cached, len(board.recent), len(board.running)) == (1, 1, 0, 0)


@pytest.mark.parametrize("recording", ALL, ids=[f"{path.parent.name}/{path.stem}" for path in ALL])
def test_the_figures_of_a_real_build_are_those_of_its_trace(recording: Path) -> None:
    board, builder, parser = LiveState(), TraceBuilder(), StreamParser()
    for event in (*parser.feed(recording.read_bytes()), *parser.close()):
        board.take(event)
        builder.add(event)
    trace = builder.trace()
    ended = [step for step in trace.steps if step.completed is not None]
    assert (len(board.steps), board.cached, board.ended) == (trace.total, trace.cached, len(ended))
    assert sum(stage.cached for stage in board.stages.values()) == board.cached
    assert len(board.recent) == board.ended - board.cached


def test_the_log_of_a_step_stays_as_long_as_it_speaks(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(boards, "time", SimpleNamespace(monotonic=lambda: now[0]))
    board = LiveState()
    for name in ("[a 1/1] RUN a", "[b 1/1] RUN b"):
        board.take(vertex(name, (1.0, None)))
    for moment, name, tail in (
        (100.0, "a", ("a",)),
        (102.0, "b", ("a",)),
        (102.5, "a", ("a", "a")),
        (106.0, "b", ("b", "b")),
    ):
        now[0] = moment
        board.take(log(f"[{name} 1/1] RUN {name}", f"{name}\n"))
        assert board.tail == tail
    board.take(vertex("[b 1/1] RUN b", (1.0, 2.0)))
    assert board.tail == ("a", "a")


@settings(derandomize=True, deadline=None)
@given(st.text() | st.sampled_from(["\x1b[2J", "\t", "\u202e", "界" * 60, "\U0001f600" * 50]), st.integers(20, 120))
def test_no_text_breaks_a_line_or_is_a_command(text: str, columns: int) -> None:
    board = LiveState()
    name = f"[build 1/1] RUN {text}"
    board.take(vertex(name, (1.0, None)))
    board.take(log(name, f"{text}\n"))
    for line in render_tree(board, head="building", rows=24, columns=columns, now=2.0):
        assert live.fitted(line, columns - 1).plain.isprintable()
        assert cell_len(live.fitted(line, columns - 1).plain) < columns


# --- the screen --------------------------------------------------------------------------------------------


class Terminal(io.StringIO):
    encoding = "utf-8"

    def __init__(self) -> None:
        super().__init__()
        self.written: list[str] = []

    def isatty(self) -> bool:
        return True

    def fileno(self) -> int:
        return 2

    def write(self, text: str) -> int:
        self.written.append(text)
        return len(text)


@pytest.fixture
def size(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    now = [80, 24]
    monkeypatch.setattr(os, "get_terminal_size", lambda *_: os.terminal_size(now))
    return now


@pytest.mark.usefixtures("size")
def test_a_region_is_drawn_over_what_it_was_and_leaves_nothing() -> None:
    out = Terminal()
    part = Region(out, color=False)
    part.draw([Text("one"), Text("two")])
    part.draw([Text("one"), Text("two")])
    part.draw([Text("three")], above=[Text("said")])
    part.close([Text("left")])
    part.close()
    assert out.written == [
        "\x1b[?25l\r\x1b[Kone\n\x1b[Ktwo\n\x1b[J",
        "\r\x1b[2A\x1b[Ksaid\x1b[K\n\x1b[Kthree\n\x1b[J",
        "\r\x1b[1A\x1b[Kleft\x1b[K\n\x1b[J\x1b[?25h",
    ]


def test_a_region_knows_how_many_rows_it_takes_once_the_terminal_is_narrower(size: list[int]) -> None:
    out = Terminal()
    part = Region(out, color=False)
    part.draw([Text("x" * 200), Text("y" * 30), Text("")])
    size[0] = 40
    part.draw([Text("x")])
    assert out.written[0].startswith(f"\x1b[?25l\r\x1b[K{'x' * 78}…\n")
    assert out.written[1] == "\r\x1b[4A\x1b[J\x1b[Kx\n\x1b[J"


@pytest.mark.usefixtures("size")
def test_a_region_that_was_never_drawn_writes_no_sequence() -> None:
    out = Terminal()
    Region(out, color=False).close()
    assert out.written == []


def lively(out: Terminal) -> LiveDisplay:
    display = LiveDisplay(out, color=False)
    display.say("said")
    display.phase("build")
    display.event(vertex("[build 1/2] RUN make", (1.0, 4.0)))
    display.event(vertex("[build 2/2] RUN test", (4.0, None)))
    return display


@pytest.mark.usefixtures("size")
def test_nothing_is_written_but_by_the_beat() -> None:
    out = Terminal()
    display = lively(out)
    display.warn("careful")
    assert out.written == []
    display.tick()
    (frame,) = out.written
    assert frame.startswith(
        "\x1b[?25l\r\x1b[Ksaid\x1b[K\n\x1b[Kwarning: careful\x1b[K\n\x1b[Kbuilding 0.0s  1 of 2 steps\n"
    )


@pytest.mark.usefixtures("size")
def test_the_end_leaves_the_steps_that_ended_and_the_cursor() -> None:
    out = Terminal()
    display = lively(out)
    display.tick()
    display.event(vertex("[build 2/2] RUN test", (4.0, 6.0), error="exit code: 1"))
    display.close()
    display.close()
    display.tick()
    display.warn("after it")
    text = re.sub(r"\x1b\[(\d+A|K|J)|\r", "", "".join(out.written[1:]))
    assert text == ("    3.0s  [build 1/2] RUN make\n  FAILED  [build 2/2] RUN test\n\x1b[?25hwarning: after it\n")


@pytest.mark.usefixtures("size")
def test_a_build_that_begins_anew_has_a_new_tree() -> None:
    out = Terminal()
    display = lively(out)
    display.restart()
    display.close()
    assert "RUN make" not in "".join(out.written)


@pytest.mark.usefixtures("size")
def test_a_phase_that_takes_its_time_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(live, "time", SimpleNamespace(monotonic=lambda: now[0], time=lambda: now[0]))
    out = Terminal()
    display = LiveDisplay(out, color=False)
    display.phase("builder")
    now[0] += 0.9
    display.tick()
    assert "builder" not in "".join(out.written)
    now[0] += 1.1
    display.tick()
    assert "starting the builder (2.0s)" in out.written[-1]
    for _ in range(2):  # the build, and that an image is loaded after it
        display.phase("build")
        now[0] += 1.0
        display.tick()
        display.phase("")
    assert "building 2.0s" in out.written[-1]


@pytest.mark.parametrize(
    ("changed", "can"),
    [
        ({}, True),
        ({"terminal": False}, False),
        ({"TERM": "dumb"}, False),
        ({"TERM": None}, False),
        ({"encoding": "latin-1"}, False),
        ({"size": (80, 3)}, False),
        ({"size": (10, 24)}, False),
    ],
)
def test_where_a_tree_can_be_drawn(changed: dict[str, Any], can: bool, size: list[int]) -> None:  # noqa: FBT001 -- a table
    size[:] = changed.get("size", size)
    term = changed.get("TERM", "xterm")
    out = SimpleNamespace(
        isatty=lambda: changed.get("terminal", True), fileno=lambda: 2, encoding=changed.get("encoding", "UTF-8")
    )
    assert can_draw(out, {"TERM": term} if term else {}) is can  # type: ignore[arg-type]
