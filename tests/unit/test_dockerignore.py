"""`.dockerignore` is matched as Docker does, in linear time, and whatever it is it is not waited for."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildx_cache.request.build_request import BuildRequest
from buildx_cache.request.contexts import context_notes
from buildx_cache.request.dockerignore import DockerIgnore, load_dockerignore, parse_dockerignore
from buildx_cache.request.globs import STATES, TooComplexError
from buildx_cache.request.large_files import heavy_entries
from tests.dockerignore_cases import CASES


def matcher(*lines: str) -> DockerIgnore:
    return DockerIgnore(parse_dockerignore("\n".join(lines).encode()))


@pytest.mark.parametrize(("patterns", "path", "is_ignored"), CASES)
def test_the_cases_of_docker(patterns: tuple[str, ...], path: str, is_ignored: bool) -> None:  # noqa: FBT001
    assert matcher(*patterns).is_ignored(path) is is_ignored


@pytest.mark.parametrize(
    "pattern",
    [
        "[",
        "a[",
        "[]a]",
        "[-]",
        "[x-]",
        "[-x]",
        "[a-b-c]",
        "[^",
        "\\",
        "!",
        "! /",
        "[b-a]",
        "[[:none:]]",
        "[Local-Only]/",
    ],
)
def test_what_docker_refuses_matches_nothing(pattern: str) -> None:
    ignored = matcher(pattern, "z")
    assert not any(map(ignored.is_ignored, ("a", "-", "]", "x", "b", "[", "\\", "L")))
    assert ignored.is_ignored("z")


PIECES = ("a", "b", "/", "*", "**", "**/", "?", "[ab]", "[^a]", "[a-b]", "\\*", ".")


def taken(pattern: str, at: int, character: str) -> int:
    """How long what stands at ``at`` is, if it takes the character; else 0."""
    for text, allowed in (("[ab]", "ab"), ("[a-b]", "ab"), ("[^a]", "b/.*"), ("\\*", "*"), ("?", "ab.*")):
        if pattern.startswith(text, at):
            return len(text) if character in allowed else 0
    return int(pattern[at] == character)


def slowly(pattern: str, path: str) -> bool:
    """Match by trying everything, straight from the documentation and the ways that patternmatcher has of its own."""
    plain = pattern.removeprefix("**")
    if pattern.startswith("**") and not any(each in plain for each in "*?[\\"):
        return path.endswith(plain) or path == plain.removeprefix("/")

    @cache
    def rest(at: int, of: int) -> bool:
        if at == len(pattern):
            return of == len(path)
        if pattern.startswith("**", at):
            after = at + 3 if pattern.startswith("**/", at) else at + 2
            ends = {of, *(end + 1 for end in range(of, len(path)) if path[end] == "/")}
            return after == len(pattern) or any(rest(after, end) for end in ends)
        if pattern[at] == "*":
            return any(rest(at + 1, end) for end in range(of, len(path) + 1) if "/" not in path[of:end])
        length = taken(pattern, at, path[of]) if of < len(path) else 0
        return bool(length) and rest(at + length, of + 1)

    return rest(0, 0)


@given(
    st.lists(st.tuples(st.booleans(), st.lists(st.sampled_from(PIECES), min_size=1, max_size=6)), max_size=4),
    st.lists(
        st.text("ab.*", min_size=1, max_size=3).filter(lambda name: name not in {".", ".."}), min_size=1, max_size=4
    ),
)
def test_matches_what_a_slow_matcher_does(lines: list[tuple[bool, list[str]]], names: list[str]) -> None:
    patterns = [("!" * back + "".join(pieces)) for back, pieces in lines]
    cleaned = parse_dockerignore("\n".join(patterns).encode())
    of_folder: set[int] = set()
    is_ignored = False
    for depth in range(1, len(names) + 1):
        path, is_ignored = "/".join(names[:depth]), False
        for number, pattern in enumerate(cleaned):
            asked = pattern.is_exception is is_ignored and slowly(pattern.text, path)
            if asked or number in of_folder:
                of_folder.add(number)
                is_ignored = not pattern.is_exception
    assert DockerIgnore(cleaned).is_ignored("/".join(names)) is is_ignored


HOSTILE: dict[str, Callable[[int], str]] = {
    "stars-slash": lambda at: "**/" * 40 + f"x{at}",
    "star-a": lambda at: "*a" * 12 + f"b{at}",
    "marks": lambda at: "?*" * 10 + str(at),
    "classes": lambda at: "*[^b-d]" * 4 + str(at),
    "stars": lambda at: f"{'*' * 40}a{at}",
    "alternatives": lambda at: "*a|" * 4 + f"*{at}b",
    "groups": lambda at: "**/*a" * 8 + str(at),
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("sign", ["", "!"])
def test_ten_thousand_hostile_patterns_take_seconds_at_most(name: str, sign: str) -> None:
    lines = ["*", *(sign + HOSTILE[name](at) for at in range(10_000))]
    path = "/".join(["a" * 30] * 8)
    begin = time.process_time()
    matcher(*lines).is_ignored(path)
    assert time.process_time() - begin < 30  # half a second; without a bound on the work, hours


@pytest.mark.parametrize(
    "content",
    [
        b"?" * (STATES // 32) + b"\n",
        b"x" * (64 * 1024),
        b"\n".join(b"[%c%c]" % (at // 90 + 97, at % 90 + 33) for at in range(999)),
    ],
    ids=["states", "line", "brackets"],
)
def test_a_file_beyond_the_limits_is_not_read(tmp_path: Path, content: bytes) -> None:
    (tmp_path / ".dockerignore").write_bytes(content * (40 if len(content) < 64 * 1024 else 1))
    with pytest.raises(TooComplexError):
        load_dockerignore(tmp_path / ".dockerignore", tmp_path)


def test_matching_ends_when_the_time_is_over() -> None:
    ignored = matcher(*(f"{'?' * 200}{at}" for at in range(1000)))
    with pytest.raises(TimeoutError):
        ignored.is_ignored("a" * 4000, time.monotonic() - 1)


def fifo(path: Path) -> None:
    os.mkfifo(path)


def endless(path: Path) -> None:
    path.symlink_to("/dev/zero")


def sparse(path: Path) -> None:
    with path.open("wb") as out:
        out.truncate(10 * 1024**3)


ODD: dict[str, Callable[[Path], None]] = {
    "fifo": fifo,
    "endless": endless,
    "sparse": sparse,
    "loop": lambda path: path.symlink_to(path.name),
    "dangling": lambda path: path.symlink_to("absent"),
    "outside": lambda path: path.symlink_to("/etc/passwd"),
    "folder": Path.mkdir,
}


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("name", [".dockerignore", "Dockerfile.dockerignore", "Dockerfile"])
def test_odd_files_are_neither_waited_for_nor_read_without_end(tmp_path: Path, name: str, odd: str) -> None:
    (tmp_path / "Dockerfile").write_text("FROM scratch\nCOPY . .\n")
    (tmp_path / name).unlink(missing_ok=True)
    ODD[odd](tmp_path / name)
    with (tmp_path / "big").open("wb") as out:
        out.truncate(10**12)
    request = BuildRequest(context=str(tmp_path), report=str(tmp_path / "report"))
    begin = time.monotonic()
    noted = context_notes(request, (str(tmp_path / "cache"),))
    weighed = heavy_entries(request)
    assert time.monotonic() - begin < 60
    assert len(noted) == (1 if odd == "sparse" and name != "Dockerfile" else 2)
    assert [each.line for each in weighed] == ([] if odd == "sparse" else ["big"])
