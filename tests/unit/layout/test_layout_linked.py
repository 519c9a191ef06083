"""Buildx exports to a folder of its own, which begins with the cache's blobs; what it wrote there is taken over."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Sequence
from pathlib import Path

import pytest

from buildx_cache import layout
from buildx_cache.layout.locking import index_lock
from buildx_cache.layout.parse import MalformedError
from buildx_cache.layout.writer import Writer
from tests.unit.layout.layouts import OCI_MANIFEST, Json, Layout, digest_of

NOWHERE = "sha256:" + "0" * 64


@pytest.fixture
def made(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "cache")


def tags(made: Layout) -> dict[str, str]:
    return {tag.name: tag.digest for tag in layout.reach(made.folder).tags}


def exported(made: Layout, *layers: bytes, listed: bool = False, docker: bool = False) -> tuple[Layout, Json]:
    """A linked folder to which a cache was exported, as Buildx does, and its manifest."""
    linked = Layout(layout.new_linked_folder(made.folder))
    new = Layout(made.folder.with_name("new"))
    root = new.cache(layers, listed=listed, docker=docker)
    for blob in new.blobs.iterdir():
        if not (linked.blobs / blob.name).exists():
            blob.rename(linked.blobs / blob.name)
    linked.tag("latest", root)
    linked.write_index()
    return linked, root


def adopt(made: Layout, linked: Layout, written: Sequence[str] = ()) -> str:
    with Writer(made.folder, tag="latest", repository="buildx-cache") as writer:
        return writer.adopt(linked.folder, written)


def test_a_new_folder_has_the_blobs_and_shares_nothing_that_changes(made: Layout) -> None:
    made.tag("latest", made.image([b"one"]))
    made.write_index()
    (made.blobs / "link").symlink_to(made.folder / "index.json")
    folder = layout.new_linked_folder(made.folder)

    linked = {path.name: path.stat().st_ino for path in (folder / "blobs" / "sha256").iterdir()}
    assert linked == {path.name: path.stat().st_ino for path in made.blobs.iterdir() if not path.is_symlink()}
    assert [path.name for path in folder.iterdir()] == ["blobs"]
    assert folder.parent == made.folder
    assert layout.verify(made.folder) == layout.verify(made.folder, deep=True)
    layout.delete_linked_folders(made.folder)
    assert not folder.exists()
    assert layout.reach(made.folder).live_bytes > 0


def test_a_blob_that_no_tag_leads_to_or_of_another_size_is_not_there(made: Layout) -> None:
    """BuildKit would not send it, and its content may be anything: no sweep takes one whose time is in the future."""
    made.tag("latest", made.cache([b"one", b"two"]))
    made.write_index()
    stray = made.put(b"stray")
    made.path(digest_of(b"two")).write_bytes(b"longer")
    linked = Layout(layout.new_linked_folder(made.folder))
    assert made.present() - linked.present() == {stray["digest"], digest_of(b"two")}


def test_where_there_are_no_links_nothing_is_left(made: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    made.tag("latest", made.cache([b"one"]))
    made.write_index()

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, "no")

    monkeypatch.setattr(os, "link", refuse)
    before = set(made.folder.iterdir())
    with pytest.raises(OSError, match="no"):
        layout.new_linked_folder(made.folder)
    assert set(made.folder.iterdir()) == before
    with pytest.raises(OSError, match="No such file"):
        layout.new_linked_folder(made.folder / "absent")
    folder = layout.new_linked_folder(made.folder, may_lack_blobs=True)
    assert list((folder / "blobs" / "sha256").iterdir()) == []


def test_a_cache_is_taken_over_where_no_folder_can_be_synchronized(
    made: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder that VirtualBox shares: neither hard links nor ``fsync`` of a folder."""
    sync = os.fsync

    def refuse(file: int) -> None:
        if stat.S_ISDIR(os.fstat(file).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")
        sync(file)

    monkeypatch.setattr(os, "fsync", refuse)
    linked, root = exported(made, b"one")
    adopt(made, linked)
    assert tags(made) == {"latest": root["digest"]}


@pytest.mark.parametrize("listed", [False, True])
@pytest.mark.parametrize("docker", [False, True])
def test_the_cache_and_its_new_blobs_are_taken_over(made: Layout, *, listed: bool, docker: bool) -> None:
    made.tag("latest", made.cache([b"one", b"old"]))
    made.tag("other", made.cache([b"other"]))
    made.write_index()
    kept = made.path(digest_of(b"one")).stat()
    linked, root = exported(made, b"one", b"two", listed=listed, docker=docker)
    new = linked.path(digest_of(b"two")).stat()

    assert adopt(made, linked) == root["digest"]

    assert tags(made)["latest"] == root["digest"]
    assert set(tags(made)) == {"latest", "other"}
    assert made.path(digest_of(b"one")).stat().st_ino == kept.st_ino
    assert made.path(digest_of(b"two")).stat().st_ino == new.st_ino
    layout.delete_linked_folders(made.folder)
    assert layout.verify(made.folder, deep=True) == ()


def test_the_index_is_then_the_one_that_buildx_writes(made: Layout) -> None:
    """Byte for byte as Buildx 0.29 does: the keys in this order, no blank, no newline."""
    linked, root = exported(made, b"one")

    adopt(made, linked)

    entry = (
        f'{{"mediaType":"{OCI_MANIFEST}","digest":"{root["digest"]}","size":{root["size"]},'
        '"annotations":{"org.opencontainers.image.ref.name":"latest"}}'
    )
    head = '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":['
    assert (made.folder / "index.json").read_text() == head + entry + "]}"


def test_the_same_again_changes_nothing(made: Layout) -> None:
    adopt(made, exported(made, b"one")[0])
    layout.delete_linked_folders(made.folder)
    before = {path: path.stat() for path in made.folder.rglob("*") if path.is_file()}

    adopt(made, exported(made, b"one")[0])

    layout.delete_linked_folders(made.folder)
    after = {path: path.stat() for path in made.folder.rglob("*") if path.is_file()}
    assert {path: (found.st_ino, found.st_mtime_ns) for path, found in before.items()} == {
        path: (found.st_ino, found.st_mtime_ns) for path, found in after.items()
    }


@pytest.mark.parametrize("elsewhere", [NOWHERE, None], ids=["dangling", "absent"])
def test_a_tag_of_the_other_export_of_a_build_is_put_right(made: Layout, elsewhere: str | None) -> None:
    linked, root = exported(made, b"one")
    linked.entries.clear()
    if elsewhere:
        linked.tag("latest", {"mediaType": OCI_MANIFEST, "digest": elsewhere, "size": 7})
    linked.write_index()

    assert adopt(made, linked, [NOWHERE, str(root["digest"])]) == root["digest"]

    assert tags(made) == {"latest": root["digest"]}


def test_an_export_without_a_cache_leaves_the_folder_as_it_was(made: Layout) -> None:
    made.tag("latest", made.cache([b"one"]))
    index = made.write_index()
    blobs = made.present()
    for written in ([], [NOWHERE]):
        linked = Layout(layout.new_linked_folder(made.folder))
        with pytest.raises(MalformedError) as caught:
            adopt(made, linked, written)
        assert caught.value.kind is layout.FindingKind.MISSING
    assert ((made.folder / "index.json").read_bytes(), made.present()) == (index, blobs)


def test_a_cache_with_a_blob_that_is_nowhere_leaves_the_tag_as_it_was(made: Layout) -> None:
    made.tag("latest", made.cache([b"one"]))
    index = made.write_index()
    linked, _ = exported(made, b"one", b"two")
    linked.path(digest_of(b"two")).unlink()
    with pytest.raises(MalformedError) as caught:
        adopt(made, linked)
    assert caught.value.kind is layout.FindingKind.MISSING
    assert (made.folder / "index.json").read_bytes() == index


def test_an_index_that_another_process_keeps_locked_stays(made: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("buildx_cache.layout.index._INDEX_SECONDS", 0.0)
    made.tag("latest", made.cache([b"one"]))
    index = made.write_index()
    linked, _ = exported(made, b"two")
    root = os.open(made.folder, os.O_RDONLY)
    with index_lock(root), pytest.raises(MalformedError) as caught:
        adopt(made, linked)
    os.close(root)
    assert caught.value.kind is layout.FindingKind.BUSY
    assert (made.folder / "index.json").read_bytes() == index


@pytest.mark.parametrize("name", ["blobs", "blobs/sha256", "index.json", "ingest", ".index.json.buildx-cache"])
def test_no_link_of_the_cache_folder_is_written_through(made: Layout, tmp_path: Path, name: str) -> None:
    """The attack: a restored folder whose parts lead to the user's files, and that cannot be set aside."""
    linked, _ = exported(made, b"two")
    outside = tmp_path / "outside"
    if (made.folder / name).exists():
        (made.folder / name).rename(outside)
    elif name == "ingest":
        outside.mkdir()
    else:
        outside.touch()
    before = {path: path.stat().st_mtime_ns for path in (outside, *outside.rglob("*"))}
    (made.folder / name).symlink_to(outside)

    with contextlib.suppress(MalformedError, OSError):
        adopt(made, linked)

    assert {path: path.stat().st_mtime_ns for path in (outside, *outside.rglob("*"))} == before
