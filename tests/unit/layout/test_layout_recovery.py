"""A lost tag is found again, and a damaged folder gives back what is sound in it."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

import pytest

from buildx_cache import layout
from buildx_cache.errors import ExhaustedError
from buildx_cache.layout import Kind, Repaired
from tests.unit.layout.damages import flip_bit, make_folder, truncate
from tests.unit.layout.layouts import CACHE_CONFIG, OCI_MANIFEST, Json, Layout, config_of, digest_of, encoded

NOWHERE = "sha256:" + "0" * 64


@pytest.fixture
def made(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "cache")


def latest(made: Layout, root: Json) -> Json:
    made.tag("latest", root)
    made.write_index()
    return root


def dangling(made: Layout) -> None:
    """What two exports of one build can leave."""
    made.tag("latest", {"mediaType": OCI_MANIFEST, "digest": NOWHERE, "size": 7})
    made.write_index()


def tags(made: Layout) -> dict[str, str]:
    return {tag.name: tag.digest for tag in layout.reach(made.folder).tags}


# --- repair_index -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("listed", [False, True])
@pytest.mark.parametrize("docker", [False, True])
def test_a_dangling_tag_is_pointed_at_the_one_cache_manifest_there_is(
    made: Layout, *, listed: bool, docker: bool
) -> None:
    root = made.cache([b"one", b"two"], listed=listed, docker=docker)
    dangling(made)
    repaired = layout.repair_index(made.folder)
    assert repaired == Repaired(dropped=("latest",), restored="latest", digest=str(root["digest"]))
    assert layout.verify(made.folder, deep=True) == ()


def test_the_index_is_then_the_one_that_buildx_writes(made: Layout) -> None:
    """Byte for byte as Buildx 0.29 does: the keys in this order, no blank, no newline."""
    root = made.cache([b"one"])
    dangling(made)
    layout.repair_index(made.folder)
    entry = (
        f'{{"mediaType":"{OCI_MANIFEST}","digest":"{root["digest"]}","size":{root["size"]},'
        '"annotations":{"org.opencontainers.image.ref.name":"latest"}}'
    )
    head = '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":['
    index = (made.folder / "index.json").read_text()
    assert index == head + entry + "]}"
    (made.folder / "index.json").unlink()
    layout.repair_index(made.folder)
    assert (made.folder / "index.json").read_text() == index


@pytest.mark.parametrize("content", [None, b"", b'{"schemaVersion":2,"manif', b"[]"])
def test_an_index_that_is_absent_or_unreadable_is_written_again(made: Layout, content: bytes | None) -> None:
    root = made.cache([b"one"])
    if content is not None:
        (made.folder / "index.json").write_bytes(content)
    assert layout.repair_index(made.folder) == Repaired(restored="latest", digest=str(root["digest"]))
    assert tags(made) == {"latest": root["digest"]}


def test_a_tag_that_leads_somewhere_is_left_alone(made: Layout) -> None:
    latest(made, made.cache([b"old"]))
    made.cache([b"new"])
    index = (made.folder / "index.json").read_bytes()
    assert layout.repair_index(made.folder) == Repaired()
    assert (made.folder / "index.json").read_bytes() == index


def test_of_two_cache_manifests_only_a_candidate_is_taken(made: Layout) -> None:
    made.cache([b"old"])
    before = layout.blob_names(made.folder)
    new = made.cache([b"new"])
    dangling(made)
    index = (made.folder / "index.json").read_bytes()
    assert layout.repair_index(made.folder) == Repaired(dropped=("latest",))
    assert tags(made) == {}
    (made.folder / "index.json").write_bytes(index)
    repaired = layout.repair_index(made.folder, candidates=layout.blob_names(made.folder) - before)
    assert repaired.digest == new["digest"]


def test_a_manifest_that_another_tag_names_is_taken_only_as_a_candidate(made: Layout) -> None:
    root = made.cache([b"one"])
    made.tag("branch", root)
    made.write_index()
    assert layout.repair_index(made.folder) == Repaired()
    repaired = layout.repair_index(made.folder, candidates=frozenset({str(root["digest"])}))
    assert repaired.restored == "latest"
    assert tags(made) == {"branch": root["digest"], "latest": root["digest"]}


def test_an_untagged_entry_does_not_keep_its_manifest_from_being_named(made: Layout) -> None:
    """As a flipped bit in the annotation's key leaves it."""
    root = made.cache([b"one"])
    made.entries.append(root)
    made.write_index()
    assert layout.repair_index(made.folder).digest == root["digest"]


def test_a_malformed_entry_of_the_tag_is_replaced(made: Layout) -> None:
    root = made.cache([b"one"])
    made.tag("latest", {**root, "mediaType": "application/vnd.oci.image.maniftst.v1+json"})
    made.write_index()
    assert layout.repair_index(made.folder).restored == "latest"
    assert layout.verify(made.folder, deep=True) == ()


def _missing_layer(made: Layout) -> None:
    made.path(digest_of(b"one")).unlink()


def _short_layer(made: Layout) -> None:
    truncate(made.path(digest_of(b"one")))


def _bad_records(made: Layout) -> None:
    shutil.rmtree(made.blobs)
    made.blobs.mkdir()
    made.cache([b"one"], config={"records": [{"layers": [{"layer": 5}]}]})


def _flipped(made: Layout) -> None:
    for path in made.blobs.iterdir():
        if path.read_bytes().startswith(b'{"schemaVersion"'):
            flip_bit(path)


def _named_by_another(made: Layout) -> None:
    (root,) = (path for path in made.blobs.iterdir() if path.read_bytes().startswith(b'{"schemaVersion"'))
    made.nest([{"mediaType": OCI_MANIFEST, "digest": "sha256:" + root.name, "size": root.stat().st_size}])


@pytest.mark.parametrize(
    "spoil", [_missing_layer, _short_layer, _bad_records, _flipped, _named_by_another], ids=lambda one: one.__name__
)
def test_no_tag_is_pointed_at_a_manifest_that_is_not_whole_or_is_part_of_another(made: Layout, spoil: object) -> None:
    made.cache([b"one"])
    assert callable(spoil)
    spoil(made)
    dangling(made)
    assert layout.repair_index(made.folder) == Repaired(dropped=("latest",))


def test_images_and_json_that_is_no_manifest_are_no_cache(made: Layout) -> None:
    made.image([b"layer"])
    made.put(b'{"manifests": 7}')
    made.put(b'{"config": [], "mediaType": []}')
    made.put(b'{"layers": []}')
    made.put(b"{")
    make_folder(made.path(str(made.put(b'{"config":{}}')["digest"])))
    root = made.cache([b"one"])
    dangling(made)
    assert layout.repair_index(made.folder).digest == root["digest"]


def test_a_manifest_that_does_not_say_its_type_is_known_by_its_shape(made: Layout) -> None:
    layer = made.put(b"layer")
    config = made.put_json(config_of([layer["digest"]]), CACHE_CONFIG)
    root = made.put_json({"schemaVersion": 2, "config": config, "layers": [layer]}, OCI_MANIFEST)
    dangling(made)
    assert layout.repair_index(made.folder).digest == root["digest"]


def test_a_folder_whose_blobs_cannot_be_listed_is_left_alone(made: Layout) -> None:
    dangling(made)
    index = (made.folder / "index.json").read_bytes()
    shutil.rmtree(made.blobs)
    made.blobs.symlink_to(made.folder)
    repaired = layout.repair_index(made.folder)
    assert (repaired.dropped, [found.kind for found in repaired.obstacles]) == ((), [Kind.NOT_A_FILE])
    assert (made.folder / "index.json").read_bytes() == index


def test_an_unreadable_index_without_a_cache_is_told(made: Layout) -> None:
    (made.folder / "index.json").write_bytes(b"{")
    assert [found.kind for found in layout.repair_index(made.folder).obstacles] == [Kind.INDEX]
    (made.folder / "index.json").unlink()
    assert layout.repair_index(made.folder) == Repaired()


# --- set_aside and salvage --------------------------------------------------------------------------------------


def test_a_damaged_folder_is_set_aside_and_its_sound_part_comes_back(made: Layout) -> None:
    made.tag("broken", made.cache([b"one", b"two"]))
    whole = latest(made, made.cache([b"one", b"three"]))
    flip_bit(made.path(digest_of(b"two")))
    aside = layout.set_aside(made.folder)
    assert aside == made.folder.with_name("cache.damaged-1")
    assert not made.blobs.exists()
    assert layout.leftovers(made.folder) == (aside,)
    salvaged = layout.salvage(aside, made.folder)
    assert (salvaged.tags, salvaged.unsound, salvaged.blobs) == (("latest",), 1, 6)
    assert tags(made) == {"latest": whole["digest"]}
    assert layout.verify(made.folder, deep=True) == ()
    assert layout.leftovers(made.folder) == ()
    assert [path.name for path in (aside / "blobs" / "sha256").iterdir()] == [digest_of(b"two")[7:]]


def test_an_index_whose_tags_are_all_whole_comes_back_byte_for_byte(made: Layout) -> None:
    made.tag("other", made.image([b"two"]))
    latest(made, made.cache([b"one"]))
    index = (made.folder / "index.json").read_bytes()
    flip_bit(made.path(str(made.put(b"dead")["digest"])))
    layout.salvage(layout.set_aside(made.folder), made.folder)
    assert (made.folder / "index.json").read_bytes() == index


@pytest.mark.parametrize("content", [None, b"", b'{"schemaVersion":2,"manif'])
def test_a_damaged_index_costs_no_layer_and_no_tag(made: Layout, content: bytes | None) -> None:
    root = latest(made, made.cache([b"one", b"two"]))
    index, before = (made.folder / "index.json").read_bytes(), made.present()
    (made.folder / "index.json").unlink()
    if content is not None:
        (made.folder / "index.json").write_bytes(content)
    salvaged = layout.salvage(layout.set_aside(made.folder), made.folder)
    assert (salvaged.tags, salvaged.unsound) == (("latest",), 0)
    assert (made.present(), (made.folder / "index.json").read_bytes()) == (before, index)
    assert tags(made) == {"latest": root["digest"]}


def test_no_tag_is_made_up_where_the_index_tells_that_there_was_none(made: Layout) -> None:
    made.cache([b"one"])
    made.tag("branch", made.cache([b"two"]))
    made.write_index()
    assert layout.salvage(layout.set_aside(made.folder), made.folder).tags == ("branch",)


def test_what_was_exported_meanwhile_stays_as_it_is(made: Layout) -> None:
    made.tag("old", made.cache([b"one"]))
    latest(made, made.cache([b"two"]))
    aside = layout.set_aside(made.folder)
    again = Layout(made.folder)
    newer = latest(again, again.cache([b"three"]))
    assert layout.salvage(aside, made.folder).tags == ("old",)
    assert tags(made)["latest"] == newer["digest"]
    assert layout.verify(made.folder, deep=True) == ()


def test_a_damaged_blob_that_was_written_meanwhile_goes_to_the_others(made: Layout) -> None:
    aside = layout.set_aside(made.folder)
    again = Layout(made.folder)
    again.put(b"one")
    flip_bit(again.path(digest_of(b"one")))
    assert layout.salvage(aside, made.folder).unsound == 1
    assert again.present() == frozenset()
    assert (aside / digest_of(b"one")[7:]).exists()


def test_one_folder_set_aside_remains_and_none_that_is_not_ours_is_deleted(made: Layout) -> None:
    foreign = made.folder.with_name("cache.damaged-7")
    foreign.mkdir()
    latest(made, made.cache([b"one"]))
    for _ in range(3):
        layout.salvage(layout.set_aside(made.folder), made.folder)
    names = {path.name for path in made.folder.parent.iterdir()}
    assert names == {"cache", "cache.damaged-1", "cache.damaged-7"}
    assert layout.verify(made.folder, deep=True) == ()


def test_a_folder_whose_salvage_did_not_finish_is_kept_and_found(made: Layout) -> None:
    latest(made, made.cache([b"one"]))
    first = layout.set_aside(made.folder)
    second = layout.set_aside(made.folder)
    assert layout.leftovers(made.folder) == (first, second)
    for aside in layout.leftovers(made.folder):
        layout.salvage(aside, made.folder)
    assert tags(made).keys() == {"latest"}
    assert layout.leftovers(made.folder) == ()


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
    assert layout.leftovers(made.folder) == (aside,)
    layout.salvage(aside, made.folder)
    assert tags(made).keys() == {"latest"}
    assert layout.sweep(made.folder).obstacles == ()


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
    salvaged = layout.salvage(layout.set_aside(made.folder), made.folder)
    assert (salvaged.blobs, salvaged.tags) == (0, ())
    assert {path.name for path in (outside / "sha256").iterdir()} == before


def test_a_folder_that_is_not_there_cannot_be_salvaged(made: Layout) -> None:
    with pytest.raises(ExhaustedError) as caught:
        layout.salvage(made.folder.with_name("none"), made.folder)
    assert "cannot be moved" in caught.value.message
    assert "--cache-dir" in caught.value.hint


def test_a_link_in_place_of_the_blobs_takes_no_salvage(made: Layout) -> None:
    aside = layout.set_aside(made.folder)
    (made.folder / "blobs").symlink_to(made.folder.parent)
    with pytest.raises(ExhaustedError, match="is a symbolic link"):
        layout.salvage(aside, made.folder)


def test_a_folder_that_is_not_there_cannot_be_set_aside(made: Layout) -> None:
    with pytest.raises(ExhaustedError, match="cannot be set aside"):
        layout.set_aside(made.folder.with_name("none"))
    assert not made.folder.with_name("none.damaged-1").exists()


def test_the_root_of_the_file_system_cannot_be_set_aside() -> None:
    with pytest.raises(ExhaustedError) as caught:
        layout.set_aside(Path("/"))
    assert caught.value.message == "/ is the root of a file system, and no cache folder"
    assert "--cache-dir" in caught.value.hint


def test_a_folder_that_is_no_caches_is_not_set_aside(tmp_path: Path) -> None:
    (tmp_path / "site" / "blobs").mkdir(parents=True)
    (tmp_path / "site" / "blobs" / "photo").touch()
    with pytest.raises(ExhaustedError, match="is no cache of Buildx") as caught:
        layout.set_aside(tmp_path / "site")
    assert "--cache-dir" in caught.value.hint
    assert [path.name for path in tmp_path.iterdir()] == ["site"]
    assert (tmp_path / "site" / "blobs" / "photo").exists()


@pytest.mark.parametrize("name", [".buildx-cache-aside", ".buildx-cache-salvaged"])
def test_a_link_in_place_of_a_mark_is_neither_followed_nor_taken_for_it(made: Layout, name: str) -> None:
    latest(made, made.cache([b"one"]))
    aside = layout.set_aside(made.folder)
    (aside / name).unlink(missing_ok=True)
    (aside / name).symlink_to(made.folder.parent / "elsewhere")
    assert layout.leftovers(made.folder) == ()
    with contextlib.suppress(ExhaustedError):
        layout.salvage(aside, made.folder)
    assert not (made.folder.parent / "elsewhere").exists()
    (made.folder.parent / "elsewhere").touch()
    assert layout.set_aside(made.folder) != aside
    assert aside.exists()


@pytest.mark.parametrize("name", ["thesis.tex", "blobs2", "a" * 64 + "/thesis.tex"])
def test_a_folder_set_aside_into_which_something_else_came_is_not_deleted(made: Layout, name: str) -> None:
    latest(made, made.cache([b"one"]))
    aside = layout.set_aside(made.folder)
    layout.salvage(aside, made.folder)
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


def test_whatever_was_set_aside_is_deleted_after_its_salvage(made: Layout) -> None:
    latest(made, made.cache([b"one"]))
    (made.folder / "index.json.lock").mkdir()
    aside = layout.set_aside(made.folder)
    again = Layout(made.folder)
    again.put(b"two")
    flip_bit(again.path(digest_of(b"two")))
    layout.salvage(aside, made.folder)
    names = {"blobs", "ingest", "index.json", "oci-layout", "index.json.lock", digest_of(b"two")[7:]}
    assert {path.name for path in aside.iterdir()} == names | {".buildx-cache-aside", ".buildx-cache-salvaged"}
    assert layout.set_aside(made.folder) == aside
    assert {path.name for path in aside.iterdir()} & {"index.json.lock", digest_of(b"two")[7:]} == set()


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
    nested(made.folder / ".buildx-cache-load-x", 3000)
    (made.folder / ".buildx-cache-load-x" / "0").mkdir()
    outside.mkdir()
    (outside / "mine").touch()
    (made.folder / ".buildx-cache-load-x" / "0" / "link").symlink_to(outside)
    layout.delete_image_folders(made.folder)
    assert not list(made.folder.glob(".buildx-cache-load-*"))
    assert (outside / "mine").exists()
    (made.folder / "index.json").write_bytes(b"{}")
    aside = layout.set_aside(made.folder)
    layout.salvage(aside, made.folder)
    nested(aside / "ingest" / "deep", 3000)
    layout.set_aside(made.folder)
    assert not (aside / "ingest" / "deep").exists()
