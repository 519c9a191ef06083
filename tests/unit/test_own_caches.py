"""``cache ls`` and ``cache clear``: the caches in the user's cache directory."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.unit.command_line import CommandLine
from tests.unit.test_cache_commands import call, make

__all__ = ["call"]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home" / ".cache" / "buildx-cache"
    folder.mkdir(parents=True)
    return folder


def names(call: CommandLine) -> dict[str, int]:
    listed = call("cache", "ls", "--format", "json")
    assert (listed.code, listed.err) == (0, "")
    return {each["name"]: each["tags"] for each in json.loads(listed.out)["caches"]}


def test_there_may_be_no_cache_yet(call: CommandLine) -> None:
    assert (call("cache", "ls").code, names(call)) == (0, {})
    assert call("cache", "clear", "--all").code == 0


def test_each_cache_is_listed_with_its_tags(call: CommandLine, home: Path) -> None:
    make(home / "app-1")
    make(home / "web-2" / "linux-arm64")
    listed = call("cache", "ls")
    assert (listed.code, "app-1" in listed.out, "web-2" in listed.out) == (0, True, True)
    assert names(call) == {"app-1": 2, "web-2": 2}


def test_only_what_is_named_is_cleared(call: CommandLine, home: Path) -> None:
    for name in ("app-1", "web-2"):
        make(home / name)
    assert call("cache", "clear", "--dry-run", "--all").code == 0
    assert names(call) == {"app-1": 2, "web-2": 2}
    assert call("cache", "clear", "app-1").code == 0
    assert names(call) == {"app-1": 0, "web-2": 2}
    assert call("cache", "verify", str(home / "app-1")).code == 0
    assert call("cache", "clear", "--all").code == 0
    assert names(call) == {"app-1": 0, "web-2": 0}


@pytest.mark.parametrize("words", [(), ("app-1", "--all"), ("ap-1",), ("../app-1",), ("app-1", "nowhere")])
def test_a_wrong_name_clears_nothing(call: CommandLine, home: Path, words: tuple[str, ...]) -> None:
    make(home / "app-1")
    called = call("cache", "clear", *words)
    assert (called.code, names(call)) == (2, {"app-1": 2})


def test_what_is_no_cache_of_this_user_is_left_alone(call: CommandLine, home: Path, tmp_path: Path) -> None:
    """A link leads elsewhere; a folder that others may write may be anybody's; other folders are no caches."""
    other = make(tmp_path / "elsewhere")
    (home / "link").symlink_to(tmp_path / "elsewhere")
    make(home / "open")
    (home / "open").chmod(0o777)
    (home / "notes").mkdir()
    before = sorted(path.name for path in other.blobs.iterdir())
    assert names(call) == {}
    assert call("cache", "clear", "--all").code == 0
    assert sorted(path.name for path in other.blobs.iterdir()) == before
