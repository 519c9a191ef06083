"""What goes from a folder, and when nothing does."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from buildx_cache import layout
from buildx_cache.layout import FindingKind, locking
from tests.unit.layout.damages import flip_bit, rewrite, truncate
from tests.unit.layout.layouts import LONG_AGO, OCI_MANIFEST, Json, Layout, config_of, digest_of


@pytest.fixture
def made(tmp_path: Path) -> Layout:
    """A cache of two layers, and a dead blob."""
    found = Layout(tmp_path / "cache")
    found.tag("latest", found.cache([b"one", b"two"]))
    found.write_index()
    found.put(b"dead")
    return found


def root_of(made: Layout) -> Path:
    return made.path(str(made.entries[0]["digest"]))


# --- fails closed -----------------------------------------------------------------------------------------------


def _unknown_type_below(made: Layout) -> None:
    made.tag("chart", made.nest([made.put(b"chart", "application/vnd.cncf.helm.chart")]))
    made.write_index()


def _unknown_type_in_index(made: Layout) -> None:
    made.tag("chart", made.put(b"chart", "application/vnd.cncf.helm.chart"))
    made.write_index()


def _no_digest_below(made: Layout) -> None:
    made.tag("odd", made.nest([{"mediaType": OCI_MANIFEST, "digest": "sha512:00", "size": 1}]))
    made.write_index()


def _link_for_blobs(made: Layout) -> None:
    elsewhere = made.folder.parent / "elsewhere"
    made.blobs.rename(elsewhere)
    made.blobs.symlink_to(elsewhere)


OBSTACLES: list[tuple[Callable[[Layout], object], FindingKind, str]] = [
    (lambda made: root_of(made).unlink(), FindingKind.MISSING, "is not in the folder"),
    (lambda made: flip_bit(root_of(made)), FindingKind.CONTENT, "has other content than its digest says"),
    (lambda made: truncate(root_of(made)), FindingKind.CONTENT, "has other content than its digest says"),
    (_unknown_type_below, FindingKind.MEDIA_TYPE, "has an unknown media type: 'application/vnd.cncf.helm.chart'"),
    (_unknown_type_in_index, FindingKind.DESCRIPTOR, "has an unknown media type: 'application/vnd.cncf.helm.chart'"),
    (_no_digest_below, FindingKind.DESCRIPTOR, "has no sha256 digest but 'sha512:00'"),
    (lambda made: (made.blobs / "tmp-1").touch(), FindingKind.FOREIGN, "is not a blob"),
    (lambda made: (made.blobs / ("a" * 64)).mkdir(), FindingKind.FOREIGN, "is not a blob"),
    (lambda made: (made.folder / "blobs" / "sha512").mkdir(), FindingKind.NOT_A_FILE, "is not blobs/sha256"),
    (lambda made: os.mkfifo(made.blobs / ("a" * 64)), FindingKind.NOT_A_FILE, "is not a blob"),
    (_link_for_blobs, FindingKind.MISSING, "is not in the folder"),
    (lambda made: (made.folder / "index.json").unlink(), FindingKind.ABSENT, "is not in the folder"),
    (lambda made: (made.folder / "index.json").write_bytes(b"{}"), FindingKind.INDEX, "is not an image index"),
    (lambda made: (made.folder / "oci-layout").unlink(), FindingKind.LAYOUT, "is not in the folder"),
    (lambda made: (made.folder / "oci-layout").write_text("{}"), FindingKind.LAYOUT, "has imageLayoutVersion None"),
]


@pytest.mark.parametrize(
    ("obstruct", "kind", "problem"),
    OBSTACLES,
    ids=[
        "root missing",
        "root flipped",
        "root truncated",
        "unknown type",
        "unknown type in the index",
        "no digest",
        "foreign name",
        "folder named as a blob",
        "another algorithm",
        "pipe named as a blob",
        "blobs elsewhere",
        "no index",
        "unreadable index",
        "no layout",
        "layout of no version",
    ],
)
def test_nothing_at_all_is_deleted_where_anything_is_not_understood(
    made: Layout, obstruct: Callable[[Layout], object], kind: FindingKind, problem: str
) -> None:
    obstruct(made)
    before = made.present()
    for swept in (
        layout.sweep(made.folder, dry_run=True),
        layout.sweep(made.folder),
        layout.bound(made.folder, max_size=0, keep_tag="").swept,
    ):
        assert (swept.blobs, swept.ingests) == ((), 0)
        assert any(found.kind is kind and found.problem.startswith(problem) for found in swept.obstacles)
    assert made.present() == before


def test_a_folder_that_is_no_layout_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "blobs" / "sha256").mkdir(parents=True)
    (tmp_path / "blobs" / "sha256" / ("a" * 64)).touch()
    assert layout.sweep(tmp_path).obstacles
    assert (tmp_path / "blobs" / "sha256" / ("a" * 64)).exists()
    assert layout.sweep(tmp_path / "none").obstacles[0].problem == "does not exist"


def test_a_folder_in_which_there_is_no_cache_yet_is_told_as_absent(tmp_path: Path) -> None:
    """As a first export leaves it that failed."""
    (tmp_path / "blobs" / "sha256").mkdir(parents=True)
    (tmp_path / "ingest").mkdir()
    assert [found.kind for found in layout.sweep(tmp_path).obstacles] == [FindingKind.ABSENT, FindingKind.ABSENT]
    (tmp_path / "index.json").write_bytes(b"")
    assert layout.sweep(tmp_path).obstacles[0].kind is FindingKind.LAYOUT


def test_an_index_that_another_build_is_rewriting_stops_the_sweep(
    made: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "sleep", lambda _: None)
    monkeypatch.setattr(time, "monotonic", iter(range(1000)).__next__)
    with (made.folder / "index.json.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        swept = layout.sweep(made.folder)
    (obstacle,) = swept.obstacles
    assert (obstacle.kind, str(obstacle)) == (FindingKind.BUSY, "index.json: is being rewritten by another build")
    assert digest_of(b"dead") in made.present()


def test_an_index_rewritten_after_it_was_read_stops_the_sweep(made: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plain export took the moment between the reading and the lock."""
    acquire = locking._acquire

    def export_first(path: Path, *arguments: object) -> int:
        made.tag("more", made.cache([b"dead"]))
        made.write_index()
        return acquire(path, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(locking, "_acquire", export_first)
    (obstacle,) = layout.sweep(made.folder).obstacles
    assert str(obstacle) == "index.json: was rewritten by another build meanwhile"
    assert layout.verify(made.folder, deep=True) == ()


def test_a_lock_file_left_by_a_dead_export_means_nothing(made: Layout) -> None:
    (made.folder / "index.json.lock").touch()
    assert layout.sweep(made.folder).blobs == (digest_of(b"dead"),)
    assert not (made.folder / "index.json.lock").exists()


# --- what goes --------------------------------------------------------------------------------------------------


def test_a_blob_younger_than_the_limit_may_belong_to_an_export_under_way(made: Layout) -> None:
    now = time.time()
    os.utime(made.path(digest_of(b"dead")), (now, now))
    swept = layout.sweep(made.folder)
    assert (swept.blobs, swept.kept_blobs, swept.kept_bytes) == ((), 1, 4)
    assert layout.sweep(made.folder, keep_since=now + 1).blobs == (digest_of(b"dead"),)


def test_a_dead_symbolic_link_or_fifo_is_left_alone(made: Layout) -> None:
    made.path(digest_of(b"dead")).unlink()
    os.mkfifo(made.path(digest_of(b"dead")))
    assert layout.sweep(made.folder).blobs == ()
    assert digest_of(b"dead") in made.present()


def _partial_write(made: Layout, name: str, modified: float) -> Path:
    """As containerd's content store makes them."""
    folder = made.folder / "ingest" / name
    folder.mkdir()
    for file in ("data", "ref", "startedat", "updatedat", "total"):
        (folder / file).write_bytes(b"12345")
        os.utime(folder / file, (modified, modified))
    os.utime(folder, (modified, modified))
    return folder


def test_stale_partial_writes_go_and_fresh_ones_stay(made: Layout) -> None:
    stale = _partial_write(made, "a" * 64, LONG_AGO)
    fresh = _partial_write(made, "b" * 64, time.time())
    assert layout.sweep(made.folder, dry_run=True).ingests == 1
    assert stale.exists()
    swept = layout.sweep(made.folder)
    assert (swept.ingests, swept.ingest_bytes) == (1, 25)
    assert (stale.exists(), fresh.exists()) == (False, True)


def test_partial_writes_that_would_stay_for_ever_or_take_an_export_for_ever_go(made: Layout) -> None:
    future = _partial_write(made, "a" * 64, time.time() + 10**6)
    hollow = _partial_write(made, "b" * 64, time.time())
    os.truncate(hollow / "data", 2 << 30)
    linked = _partial_write(made, "d" * 64, time.time())
    (made.folder.parent / "outside").hardlink_to(linked / "data")
    fresh = _partial_write(made, "c" * 64, time.time())
    assert layout.has_stale_writes(made.folder)
    layout.delete_stale_writes(made.folder)
    assert [path.exists() for path in (future, hollow, linked, fresh)] == [False, False, False, True]
    assert (made.folder.parent / "outside").read_bytes() == b"12345"
    assert not layout.has_stale_writes(made.folder)


def test_what_is_no_partial_write_stays_in_ingest(made: Layout) -> None:
    somebodys = _partial_write(made, "photos", LONG_AGO)
    odd = _partial_write(made, "a" * 64, LONG_AGO)
    (odd / "deep").mkdir()
    outside = made.folder.parent / "outside"
    outside.mkdir()
    (outside / "data").touch()
    (made.folder / "ingest" / "link").symlink_to(outside)
    (made.folder / "ingest" / "file").touch()
    assert layout.sweep(made.folder).ingests == 0
    assert odd.exists()
    assert len(list(somebodys.iterdir())) == 5
    assert (outside / "data").exists()


# --- bounded ----------------------------------------------------------------------------------------------------


def _aged(made: Layout, name: str, layers: list[bytes], day: int) -> Json:
    config = config_of([digest_of(layer) for layer in layers], f"2026-02-{day:02d}T00:00:00Z")
    root = made.cache(layers, config=config)
    made.tag(name, root)
    return root


def test_the_oldest_tags_go_first_and_shared_blobs_stay(tmp_path: Path) -> None:
    made = Layout(tmp_path / "cache")
    for name, day in (("middle", 2), ("oldest", 1), ("latest", 3)):
        _aged(made, name, [b"shared" * 100, name.encode() * 100], day)
    index = made.write_index()
    size = layout.reach(made.folder).live_bytes
    bounded = layout.bound(made.folder, max_size=size)
    assert (bounded.dropped, bounded.over) == ((), False)
    assert (made.folder / "index.json").read_bytes() == index
    bounded = layout.bound(made.folder, max_size=size - 1)
    assert bounded.dropped == ("oldest",)
    assert digest_of(b"oldest" * 100) in bounded.swept.blobs
    assert [tag.name for tag in layout.reach(made.folder).tags] == ["middle", "latest"]
    assert layout.verify(made.folder, deep=True) == ()


def test_the_tag_to_keep_stays_though_it_alone_is_too_large(tmp_path: Path) -> None:
    made = Layout(tmp_path / "cache")
    _aged(made, "latest", [b"old"], 1)
    _aged(made, "other", [b"new"], 2)
    made.write_index()
    bounded = layout.bound(made.folder, max_size=1)
    assert (bounded.dropped, bounded.over) == (("other",), True)
    assert bounded.live_bytes == layout.reach(made.folder).live_bytes > 1


def test_an_index_that_cannot_be_replaced_keeps_every_tag_and_blob(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Layout(tmp_path / "cache")
    _aged(made, "old", [b"old"], 1)
    _aged(made, "latest", [b"new"], 2)
    index, before = made.write_index(), made.present()

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    bounded = layout.bound(made.folder, max_size=0)
    assert bounded.dropped == ()
    assert bounded.swept.obstacles[0].problem == "cannot be written: No space left on device"
    assert ((made.folder / "index.json").read_bytes(), made.present()) == (index, before)


def test_a_replaced_index_keeps_its_permissions_and_what_else_it_says(tmp_path: Path) -> None:
    made = Layout(tmp_path / "cache")
    _aged(made, "old", [b"old"], 1)
    _aged(made, "latest", [b"new"], 2)
    index = made.write_index().replace(b'"manifests"', b'"annotations":{"a":"b"},"manifests"')
    rewrite(made.folder / "index.json", index)
    (made.folder / "index.json").chmod(0o640)
    layout.bound(made.folder, max_size=0)
    assert b'"annotations":{"a":"b"}' in (made.folder / "index.json").read_bytes()
    assert (made.folder / "index.json").stat().st_mode & 0o777 == 0o640
    assert sorted(path.name for path in made.folder.iterdir()) == ["blobs", "index.json", "ingest", "oci-layout"]
