"""A damaged folder is set aside."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from buildx_cache import layout
from buildx_cache.errors import ExhaustedError
from buildx_cache.layout import quarantine
from tests.unit.layout.layouts import Json, Layout, encoded


@pytest.fixture
def made(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "cache")


def latest(made: Layout, root: Json) -> Json:
    made.tag("latest", root)
    made.write_index()
    return root


def test_one_folder_set_aside_remains_and_none_that_is_not_ours_is_deleted(made: Layout) -> None:
    foreign = made.folder.with_name("cache.damaged-7")
    foreign.mkdir()
    for _ in range(3):
        latest(again := Layout(made.folder), again.cache([b"one"]))
        layout.set_aside(made.folder)
    names = {path.name for path in made.folder.parent.iterdir()}
    assert names == {"cache", "cache.damaged-1", "cache.damaged-7"}
    assert made.present() == frozenset()
    assert not layout.damaged(layout.verify(made.folder))


def test_where_nothing_can_be_made_beside_the_folder_it_is_set_aside_within(
    made: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a container with the folder as its only mount."""
    latest(made, made.cache([b"one"]))
    mkdir = Path.mkdir

    def refuse(path: Path, mode: int = 0o777, *, exist_ok: bool = False) -> None:
        if path.parent == made.folder.parent:
            raise OSError(30, "Read-only file system")
        mkdir(path, mode, exist_ok=exist_ok)

    monkeypatch.setattr(Path, "mkdir", refuse)
    aside = layout.set_aside(made.folder)
    assert aside.parent == made.folder
    monkeypatch.undo()
    latest(again := Layout(made.folder), again.cache([b"one"]))
    assert layout.sweep(made.folder).obstacles == ()
    assert aside.exists()
    layout.delete_inner_asides(made.folder)
    assert not aside.exists()
    assert [tag.name for tag in layout.reach(made.folder).tags] == ["latest"]


def test_links_in_a_damaged_folder_are_moved_and_not_followed(made: Layout) -> None:
    outside = made.folder.parent / "outside"
    outside.mkdir()
    (outside / "index.json").write_bytes(encoded({"schemaVersion": 2, "manifests": []}))
    latest(made, made.cache([b"one"]))
    made.blobs.rename(outside / "sha256")
    made.blobs.symlink_to(outside / "sha256")
    (made.folder / "index.json").unlink()
    (made.folder / "index.json").symlink_to(outside / "index.json")
    before = {path.name for path in (outside / "sha256").iterdir()}
    layout.set_aside(made.folder)
    layout.set_aside(made.folder)
    assert {path.name for path in (outside / "sha256").iterdir()} == before


def test_a_folder_that_is_not_there_cannot_be_set_aside(made: Layout) -> None:
    with pytest.raises(ExhaustedError, match="cannot be set aside"):
        layout.set_aside(made.folder.with_name("none"))
    assert not made.folder.with_name("none.damaged-1").exists()


def test_the_root_of_the_file_system_cannot_be_set_aside() -> None:
    with pytest.raises(ExhaustedError) as caught:
        layout.set_aside(Path("/"))
    assert caught.value.message == "/ is the root of a file system, not a cache folder"
    assert "--cache-dir" in caught.value.hint


def test_a_folder_that_is_no_caches_is_not_set_aside(tmp_path: Path) -> None:
    (tmp_path / "site" / "blobs").mkdir(parents=True)
    (tmp_path / "site" / "blobs" / "photo").touch()
    with pytest.raises(ExhaustedError, match="is not a Buildx cache") as caught:
        layout.set_aside(tmp_path / "site")
    assert "--cache-dir" in caught.value.hint
    assert [path.name for path in tmp_path.iterdir()] == ["site"]
    assert (tmp_path / "site" / "blobs" / "photo").exists()


def test_a_link_in_place_of_a_mark_is_neither_followed_nor_taken_for_it(made: Layout) -> None:
    latest(made, made.cache([b"one"]))
    aside = layout.set_aside(made.folder)
    (aside / ".buildx-cache-aside").unlink()
    (aside / ".buildx-cache-aside").symlink_to(made.folder.parent / "elsewhere")
    layout.set_aside(made.folder)
    assert not (made.folder.parent / "elsewhere").exists()
    (made.folder.parent / "elsewhere").touch()
    assert layout.set_aside(made.folder) != aside
    assert aside.exists()


@pytest.mark.parametrize("name", ["thesis.tex", "blobs2", "a" * 64 + "/thesis.tex"])
def test_a_folder_set_aside_into_which_something_else_came_is_not_deleted(made: Layout, name: str) -> None:
    latest(made, made.cache([b"one"]))
    aside = layout.set_aside(made.folder)
    (aside / name).parent.mkdir(exist_ok=True)
    (aside / name).touch()
    before = sorted(aside.rglob("*"))
    again = layout.set_aside(made.folder)
    assert sorted(aside.rglob("*")) == before
    assert again.name == "cache.damaged-2"


def test_buildx_own_lock_stays_where_it_is_an_ordinary_file(made: Layout) -> None:
    """An export may hold it."""
    (made.folder / "index.json.lock").touch()
    aside = layout.set_aside(made.folder)
    assert (made.folder / "index.json.lock").exists()
    assert not (aside / "index.json.lock").exists()


def test_whatever_was_set_aside_is_deleted_by_the_next_call_that_sets_aside(made: Layout) -> None:
    latest(made, made.cache([b"one"]))
    (made.folder / "index.json.lock").mkdir()
    aside = layout.set_aside(made.folder)
    names = {"blobs", "ingest", "index.json", "oci-layout", "index.json.lock"}
    assert {path.name for path in aside.iterdir()} == names | {".buildx-cache-aside"}
    assert layout.set_aside(made.folder) == aside
    assert {path.name for path in aside.iterdir()} == {".buildx-cache-aside"}


def nested(folder: Path, depth: int) -> None:
    """Make folders in one another, deeper than any path is long."""
    folder.mkdir()
    opened = os.open(folder, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("deep", dir_fd=opened)
        inner = os.open("deep", os.O_RDONLY, dir_fd=opened)
        os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=opened))
        os.close(opened)
        opened = inner
    os.close(opened)


def test_deep_folders_are_deleted_without_end_of_the_stack(made: Layout) -> None:
    outside = made.folder.parent / "outside"
    nested(made.folder / ".buildx-cache-linked-x", 1500)
    (made.folder / ".buildx-cache-linked-x" / "0").mkdir()
    outside.mkdir()
    (outside / "mine").touch()
    (made.folder / ".buildx-cache-linked-x" / "0" / "link").symlink_to(outside)
    layout.delete_linked_folders(made.folder)
    assert not list(made.folder.glob(".buildx-cache-linked-*"))
    assert (outside / "mine").exists()
    (made.folder / "index.json").write_bytes(b"{}")
    aside = layout.set_aside(made.folder)
    nested(aside / "ingest" / "deep", 1500)
    layout.set_aside(made.folder)
    assert not (aside / "ingest" / "deep").exists()


def test_however_many_were_set_aside_before_another_one_is(made: Layout) -> None:
    """The attack: a folder with all the names keeps its links, which Buildx follows."""
    for number in range(1, 10_001):
        (made.folder / f".damaged-{number}").touch()
    latest(made, made.cache([b"one"]))
    assert layout.set_aside(made.folder).name.endswith(".damaged-10001")


def test_a_folder_with_a_long_name_is_set_aside_within(tmp_path: Path) -> None:
    made = Layout(tmp_path / ("x" * 250))
    latest(made, made.cache([b"one"]))
    assert layout.set_aside(made.folder) == made.folder / ".damaged-1"
    assert made.present() == frozenset()


def test_what_cannot_be_deleted_keeps_no_other_folder_from_being_set_aside(
    made: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An archive has modes that keep folders from being emptied."""

    def refuse(_: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(quarantine, "delete_folder", refuse)
    for number in (1, 2):
        latest(again := Layout(made.folder), again.cache([b"one"]))
        assert layout.set_aside(made.folder).name == f"cache.damaged-{number}"
