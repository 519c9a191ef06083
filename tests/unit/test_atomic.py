from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from buildx_cache.atomic import write_text


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))  # noqa: PTH208 -- with what is hidden


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_a_file_is_its_owners_only(umask: int, tmp_path: Path) -> None:
    before = os.umask(umask)
    try:
        write_text(tmp_path / "file", "text\n")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o600
    assert names(tmp_path) == ["file"]


def test_a_file_takes_the_place_of_an_older_one_with_its_permissions_too(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("a longer text that was there before")
    file.chmod(0o644)
    old = file.stat().st_ino
    write_text(file, "größe\n")
    assert file.read_bytes() == "größe\n".encode()
    assert (stat.S_IMODE(file.stat().st_mode), file.stat().st_ino == old) == (0o600, False)


def test_a_link_is_replaced_and_what_it_leads_to_is_left(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("mine")
    (tmp_path / "file").symlink_to(tmp_path / "target")
    write_text(tmp_path / "file", "new")
    assert (tmp_path / "target").read_text() == "mine"
    assert not (tmp_path / "file").is_symlink()


def test_the_folder_is_made(tmp_path: Path) -> None:
    write_text(tmp_path / "a" / "b" / "file", "text")
    assert (tmp_path / "a" / "b" / "file").read_text() == "text"


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), KeyboardInterrupt()], ids=["full", "interrupt"]
)
def test_whatever_stops_it_leaves_the_older_file_and_nothing_else(
    error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_text(tmp_path / "file", "old")
    seen: list[list[str]] = []

    def stop(new: str, target: str, **_: int) -> None:
        seen.append(names(tmp_path))
        assert ((tmp_path / new).read_text(), (tmp_path / target).read_text()) == ("new", "old")
        raise error

    monkeypatch.setattr(os, "replace", stop)
    with pytest.raises(type(error)):
        write_text(tmp_path / "file", "new")
    assert len(seen[0]) == 2
    assert names(tmp_path) == ["file"]
    assert (tmp_path / "file").read_text() == "old"


def test_a_text_in_no_encoding_is_written(tmp_path: Path) -> None:
    write_text(tmp_path / "file", "bad \udcff name")
    assert (tmp_path / "file").read_bytes() == b"bad \\udcff name"


def test_nothing_can_be_written_below_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"Not a directory|File exists"):
        write_text(tmp_path / "file" / "more", "text")
