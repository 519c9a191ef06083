"""A real build in a real terminal: what is to be seen while it runs, and what stays."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.faults.laboratory import Builders
from tests.integration.conftest import PROJECT, Docker
from tests.integration.engines import Engines
from tests.terminal.conftest import Open, Terminal

DOCKERFILE = """
ARG BASE=scratch
FROM ${BASE} AS base
WORKDIR /work
FROM base AS left
RUN for i in 1 2 3 4 5 6 7 8; do echo left line $i of a log line that is too long for eighty columns; sleep 0.3; done
FROM base AS right
RUN for i in 1 2 3 4 5 6 7 8; do echo right $i; sleep 0.3; done; echo done > /right
FROM base
COPY --from=left /work /left
COPY --from=right /right /right
RUN {last}
"""
ESCAPE = "\x1b"


@pytest.fixture
def context(tmp_path: Path) -> Path:
    """A build of two stages at once, none of which is in any cache."""
    folder = tmp_path / "context"
    folder.mkdir()
    (folder / "Dockerfile").write_text(DOCKERFILE.replace("{last}", "sleep 0.5"))
    return folder


@pytest.fixture(scope="module")
def builder(engines: Engines, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One for all builds: what they show has nothing to do with it."""
    docker = Docker(env=engines.start(), home=tmp_path_factory.mktemp("home"))
    with Builders(docker, ahead=0) as builders, builders.new() as name:
        yield name


@pytest.fixture
def words(docker: Docker, builder: str, tmp_path: Path) -> tuple[str, ...]:
    cache = ("--cache", "local", "--cache-dir", str(tmp_path / "cache"))
    return ("--no-cache", "--builder", builder, *cache, "--build-arg", f"BASE={docker.base}")


def is_tree(screen: list[str]) -> bool:
    return any(re.match(r"building \d", line) for line in screen)


def check_end(terminal: Terminal, screen: list[str]) -> None:
    """The steps as lines, nothing of the tree, and the cursor."""
    assert not is_tree(screen)
    assert not any(line.startswith(">") for line in screen)
    assert terminal.has_cursor


@pytest.mark.parametrize(("columns", "rows"), [(80, 24), pytest.param(200, 50, marks=pytest.mark.soak)])
def test_a_build_is_shown_as_a_tree_and_leaves_its_steps(
    opened: Open, context: Path, words: tuple[str, ...], columns: int, rows: int
) -> None:
    terminal = opened(columns, rows)
    terminal.build(*words, str(context))
    screen = terminal.wait_for(r"^ +\| (left line|right) 3")
    top = next(row for row, line in enumerate(screen) if re.match(r"building \d", line))
    tree = screen[top:]
    assert re.fullmatch(r"building \d+\.\ds  \d of 7 steps(, 1 cached)?", tree[0])  # the base, if another test had it
    assert {"base", "left", "right"} <= set(tree)
    for stage in ("left", "right"):
        running = tree[tree.index(stage) + 1]
        assert re.match(r"> +\d\.\ds  1/1 RUN for i in ", running)
        assert len(running) < columns
    assert all(len(line) < columns for line in tree)
    assert not terminal.has_cursor
    code, screen = terminal.wait_for_end()
    assert code == 0
    check_end(terminal, screen)
    steps = [line for line in screen if re.match(r" +\d+\.\ds  \[", line) or line.startswith("  CACHED")]
    assert [re.sub(r".*(\[[^]]*\]).*", r"\1", line) for line in steps][-3:] == [
        "[stage-3 1/3]",
        "[stage-3 2/3]",
        "[stage-3 3/3]",
    ]
    assert len(steps) == 7
    assert screen[-1].startswith("time ")


def test_a_terminal_may_change_its_size_while_a_build_runs(opened: Open, context: Path, words: tuple[str, ...]) -> None:
    dockerfile = context / "Dockerfile"
    dockerfile.write_text(dockerfile.read_text().replace("sleep 0.3; done\nFROM", "sleep 0.3; done; sleep 600\nFROM"))
    terminal = opened(80, 24)
    terminal.build(*words, str(context))
    terminal.wait_for(r"^ +\| (left line|right) 2")
    for columns, rows, line in ((40, 24, 3), (120, 30, 4), (60, 8, 5), (200, 50, 6)):
        terminal.resize(columns, rows)
        # A terminal moves its rows before it tells its size: rows of a drawing between the two may stay above the tree.
        screen = terminal.wait(partial(_is_drawn, columns=columns, line=line), f"a whole tree with line {line}")
        assert len(screen) <= rows
    terminal.interrupt()
    code, screen = terminal.wait_for_end()
    assert code == 130
    check_end(terminal, screen)


@pytest.mark.parametrize("width", [79, 12])
def test_nothing_of_a_drawing_stays_in_a_narrower_terminal(opened: Open, tmp_path: Path, width: int) -> None:
    """A row that the terminal wraps is two rows there; one that was long once, and is not any more, is one."""
    script = tmp_path / "draw.py"
    script.write_text(
        "import sys, time\n"
        "from rich.text import Text\n"
        "from buildx_cache.display.live import Region\n"
        "region = Region(sys.stdout, color=False)\n"
        "region.draw([Text('x' * 79)] * 3)\n"
        f"region.draw([Text(f'before {{row}} '.ljust({width}, '-')) for row in range(3)])\n"
        "while region.size[0] > 40: time.sleep(0.05)\n"
        "region.draw([Text(f'later {row}') for row in range(3)])\n"
        "time.sleep(60)\n"
    )
    terminal = opened(80, 24)
    terminal.type(f"clear; PYTHONPATH={PROJECT} {sys.executable} {script}")
    terminal.wait_for("^before 2")
    terminal.resize(40, 24)
    assert terminal.wait_for("^later 2") == ["later 0", "later 1", "later 2"]
    assert "xxx" not in terminal.styled
    if width < 40:  # of rows that are wrapped, the terminal may scroll some away, where nothing is erased
        assert "before" not in terminal.styled


def _is_drawn(screen: list[str], columns: int, line: int) -> bool:
    """Whether the last tree fits and shows this line of the logs or a later one."""
    top = max((row for row, each in enumerate(screen) if re.match(r"building \d", each)), default=len(screen))
    tree = screen[top:]
    has_line = any(re.search(rf"^ +\| (left line|right) [{line}-8]", each) for each in tree)
    return has_line and all(len(each) < columns for each in tree)


def test_a_build_that_fails_leaves_its_error(opened: Open, context: Path, words: tuple[str, ...]) -> None:
    (context / "Dockerfile").write_text(DOCKERFILE.replace("{last}", "echo it broke; exit 3"))
    terminal = opened(80, 24)
    terminal.build(*words, str(context))
    terminal.wait(is_tree, "a tree")
    code, screen = terminal.wait_for_end()
    assert code == 1
    check_end(terminal, screen)
    assert any(line.startswith("  FAILED  [stage-3 3/3] RUN echo it broke") for line in screen)
    assert any(line.startswith("error: [stage-3] RUN echo it broke; exit 3: exit code: 3") for line in screen)
    assert "  | it broke" in screen


def test_an_interrupt_leaves_a_clean_screen(opened: Open, context: Path, words: tuple[str, ...]) -> None:
    terminal = opened(80, 24)
    terminal.build(*words, str(context))
    terminal.wait_for(r"^ +\| (left line|right) 2")
    terminal.interrupt()
    code, screen = terminal.wait_for_end()
    assert code == 130
    check_end(terminal, screen)
    assert any(line.startswith(" STOPPED  [left 1/1] RUN for i") for line in screen)
    assert any(line.startswith("error: ") for line in screen)


@pytest.mark.parametrize(
    "env",
    [
        pytest.param({"TERM": "dumb"}, id="dumb"),
        pytest.param({"NO_COLOR": "1"}, id="no-color"),
        pytest.param({"CI": "true"}, id="ci", marks=pytest.mark.soak),
        pytest.param({"CIRCLECI": "true", "CI": "true"}, id="circleci"),
    ],
)
def test_a_terminal_gets_no_control_sequence(
    opened: Open, docker: Docker, tmp_path: Path, project: Path, env: dict[str, str]
) -> None:
    terminal = opened(80, 24)
    log = tmp_path / "log"
    terminal.tmux("pipe-pane", f"cat > {log}")
    plain = ("--cache", "none", "--no-prune", "--build-arg", f"BASE={docker.base}")
    terminal.build(*plain, str(project), redirect="2>/dev/tty", **env)
    code, screen = terminal.wait_for_end()
    assert code == 0
    assert any("RUN cat /word" in line for line in screen)
    said = log.read_text().partition("builder: ")[2].partition("the end: ")[0]
    assert "RUN cat /word" in said
    assert ESCAPE not in said


def test_a_pipe_gets_no_control_sequence_even_if_a_tree_is_asked_for(
    opened: Open, docker: Docker, tmp_path: Path, project: Path
) -> None:
    terminal = opened(80, 24)
    log = tmp_path / "log"
    plain = ("--progress", "live", "--cache", "none", "--build-arg", f"BASE={docker.base}")
    terminal.build(*plain, str(project), redirect=f"2>&1 | cat > {log}", FORCE_COLOR="1")
    terminal.wait_for_end()
    assert "RUN cat /word" in log.read_text()
    assert ESCAPE not in log.read_text()


def test_a_tree_without_colours_can_be_asked_for(opened: Open, context: Path, words: tuple[str, ...]) -> None:
    terminal = opened(80, 24)
    terminal.build("--progress", "live", *words, str(context), NO_COLOR="1")
    terminal.wait_for(r"^ +\| (left line|right) 2")
    assert ESCAPE not in terminal.styled
    terminal.interrupt()
    check_end(terminal, terminal.wait_for_end()[1])


def test_events_go_to_stdout_and_nothing_to_stderr(docker: Docker, project: Path) -> None:
    ran = docker.tool(
        "build", "--progress", "json", "--cache", "none", "--load", "-t", "events:1",
        "--build-arg", f"BASE={docker.base}", str(project),
    )  # fmt: skip
    docker.docker("image", "rm", "--force", "events:1")
    assert (ran.code, ran.stderr) == (0, "")
    events = [json.loads(line) for line in ran.stdout.splitlines()]
    names = [event["event"] for event in events]
    assert (names[0], names[-2:]) == ("start", ["result", "report"])
    assert {"message", "command", "phase", "step", "transfer"} <= set(names)
    assert events[-1]["report"] == ran.report


def test_a_reader_of_events_may_go_away(opened: Open, docker: Docker, context: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    terminal = opened(80, 24)
    words = ("--no-cache", *docker.new_builder, "--cache", "none", "--build-arg", f"BASE={docker.base}")
    shown = ("--progress", "json", "--report", str(report))
    terminal.build(*shown, *words, str(context), redirect="| head -n 5 | cut -c 1-40")
    code, screen = terminal.wait_for_end()
    assert (code, len(screen)) == (0, 5)
    assert docker.left_of(json.loads(report.read_text())["builder"]["name"]) == ""
