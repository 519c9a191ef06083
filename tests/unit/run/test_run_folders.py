"""What a call does with the folders of local caches: before the build, and after it."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from buildx_cache import layout as layouts
from buildx_cache.caches.backend import CacheKind, ExportStyle, Location
from buildx_cache.caches.entry import SCOPED, ScopedCache
from buildx_cache.errors import BuildFailedError, CacheError, LockedError
from buildx_cache.layout import Sharing
from buildx_cache.plan import BuildInvocation, BuildPlan
from buildx_cache.report import BuildReport, LocalReport
from buildx_cache.run import execute
from buildx_cache.run.held_folder import HeldFolder
from tests.unit.layout.damages import flip_bit, truncate
from tests.unit.layout.layouts import Layout, config_of, digest_of
from tests.unit.run.calls import (
    APP,
    BROKEN,
    CI,
    CURRENT,
    FACTS,
    MADE,
    FakeEngine,
    RecordingDisplay,
    done,
    is_free,
    linked_folder,
    planned,
    said,
    told,
    vertex,
)

IMPORTED = said(vertex("importing cache manifest from local:117"), vertex("[build 1/1] RUN make", cached=True))
EXPORTED = said(vertex("exporting cache to client directory"))
LAYERS = (b"one", b"two", b"three")


def local_plan(folder: Path, **asked: object) -> BuildPlan:
    return planned(**{"tag": [APP], "push": True, "cache": "local", "cache_dir": str(folder), **asked})


def by_hand(**asked: object) -> BuildPlan:
    return planned(**{"tag": [APP], "push": True, **asked})


def cache_in(place: Path, *layers: bytes, tag: str = "latest") -> Layout:
    layout = Layout(place)
    layout.tag(tag, layout.cache(layers or LAYERS))
    layout.write_index()
    return layout


def working(*deeds: Callable[[], object], stream: bytes = IMPORTED + EXPORTED) -> FakeEngine:
    return FakeEngine(builds=[(stream, 0)], deeds=deeds)


def local_of(report: BuildReport) -> LocalReport:
    assert report.cache.local is not None
    return report.cache.local


def imports_of(report: BuildReport) -> list[str]:
    return [each.status for each in report.cache.imports]


def statuses(report: BuildReport) -> tuple[list[str], list[str]]:
    """Of the imports and of the exports."""
    return imports_of(report), [each.status for each in report.cache.exports]


def contents(folder: Path) -> dict[str, tuple[bytes, float]]:
    """Every file with its content and time, but for the lock."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != ".buildx-cache.lock")
    return {str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime) for path in files}


def asides(folder: Path) -> list[Path]:
    return sorted(folder.parent.glob(f"{folder.name}.damaged-*"))


# --- a damaged folder before the build ---------------------------------------------------------------------


def manifest_of(layout: Layout) -> Path:
    return layout.path(str(layout.entries[0]["digest"]))


def config_path(layout: Layout) -> Path:
    return layout.path(digest_of(b'{"layers":[' + _after(layout)))


def _after(layout: Layout) -> bytes:
    (config,) = (path for path in layout.blobs.iterdir() if path.read_bytes().startswith(b'{"layers":['))
    return config.read_bytes().removeprefix(b'{"layers":[')


def layer_of(layout: Layout) -> Path:
    return layout.path(digest_of(b"two"))


@pytest.mark.parametrize("what", [manifest_of, config_path, layer_of], ids=["manifest", "config", "layer"])
@pytest.mark.parametrize("damage", [Path.unlink, truncate], ids=["absent", "cut"])
def test_a_damaged_folder_is_set_aside_whole(
    what: Callable[[Layout], Path], damage: Callable[[Path], None], tmp_path: Path
) -> None:
    layout = cache_in(tmp_path / "cache")
    broken = what(layout)
    damage(broken)
    before = layout.present()
    seen: list[frozenset[str]] = []

    def export() -> None:
        seen.append(layout.present())
        cache_in(tmp_path / "cache")

    engine = working(export, stream=MADE + EXPORTED)
    outcome, display = done(local_plan(tmp_path / "cache"), engine)
    assert outcome.error is None
    assert seen == [frozenset()]
    assert "--cache-from" not in engine.built[0].argv
    assert "--cache-to" in engine.built[0].argv
    assert imports_of(outcome.report) == ["corrupt"]
    assert f"sha256:{broken.name}" in outcome.report.cache.imports[0].detail
    (aside,) = asides(tmp_path / "cache")
    (warning,) = display.warned
    assert (f"sha256:{broken.name}" in warning, f"set aside as {aside}" in warning) == (True, True)
    assert Layout(aside).present() == before


def test_what_the_build_writes_into_a_folder_set_aside_is_whole(tmp_path: Path) -> None:
    layout = cache_in(tmp_path / "cache")
    layer_of(layout).unlink()
    engine = working(lambda: cache_in(tmp_path / "cache"), stream=MADE + EXPORTED)
    outcome, _ = done(local_plan(tmp_path / "cache"), engine)
    assert local_of(outcome.report).sound
    assert layouts.verify(tmp_path / "cache", deep=True) == ()
    assert outcome.report.cache.exports[0].status == "written"


@pytest.mark.parametrize("index", [b"", b"{", b'{"schemaVersion":2}'], ids=["empty", "cut", "no-list"])
def test_a_broken_index_does_not_reach_buildx(index: bytes, tmp_path: Path) -> None:
    cache_in(tmp_path / "cache")
    (tmp_path / "cache" / "index.json").write_bytes(index)
    seen: list[bool] = []
    engine = working(lambda: seen.append(layouts.damaged(layouts.verify(tmp_path / "cache"))))
    outcome, _ = done(local_plan(tmp_path / "cache"), engine)
    assert (outcome.error, seen) == (None, [False])
    assert len(asides(tmp_path / "cache")) == 1


def test_only_one_folder_set_aside_is_kept(tmp_path: Path) -> None:
    for _ in range(3):
        layer_of(cache_in(tmp_path / "cache")).unlink()
        done(local_plan(tmp_path / "cache"), working())
    assert len(asides(tmp_path / "cache")) == 1


def test_a_damaged_folder_that_is_only_read_is_left_as_it_is(tmp_path: Path) -> None:
    layer_of(cache_in(tmp_path / "cache")).unlink()
    before = contents(tmp_path / "cache")
    engine = working(stream=MADE)
    outcome, display = done(local_plan(tmp_path / "cache", cache_read_only=True), engine)
    assert outcome.error is None
    assert contents(tmp_path / "cache") == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache"]
    assert "--cache-from" not in engine.built[0].argv
    assert imports_of(outcome.report) == ["corrupt"]
    assert outcome.report.cache.local is None
    assert len(display.warned) == 1


def test_a_sound_folder_that_is_only_read_is_not_swept(tmp_path: Path) -> None:
    layout = cache_in(tmp_path / "cache")
    layout.put(b"dead")
    before = contents(tmp_path / "cache")
    outcome, _ = done(local_plan(tmp_path / "cache", cache_read_only=True), working(stream=IMPORTED))
    assert imports_of(outcome.report) == ["hit"]
    assert contents(tmp_path / "cache") == before


@pytest.mark.parametrize("read_only", [True, False])
def test_a_damaged_folder_ends_a_strict_call_before_all(read_only: bool, tmp_path: Path) -> None:  # noqa: FBT001 -- a table
    layout = cache_in(tmp_path / "cache")
    layer_of(layout).unlink()
    before = contents(tmp_path / "cache")
    engine = FakeEngine()
    plan = local_plan(tmp_path / "cache", strict_cache=True, cache_read_only=read_only)
    outcome, _ = done(plan, engine)
    kind, message, hint = told(outcome.error)
    assert kind is CacheError
    assert message.startswith(f"the cache folder {tmp_path}/cache is damaged: {digest_of(b'two')}")
    assert "drop --strict-cache" in hint
    assert engine.acts == []
    assert contents(tmp_path / "cache") == before
    assert is_free(tmp_path / "cache")


def test_a_damaged_folder_that_another_build_uses_is_done_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(HeldFolder, "ASIDE_SECONDS", 0.0)
    monkeypatch.setattr(HeldFolder, "TIDY_SECONDS", 0.0)
    layer_of(cache_in(tmp_path / "cache")).unlink()
    before = contents(tmp_path / "cache")
    engine = working(stream=MADE + EXPORTED)
    with layouts.lock(tmp_path / "cache", timeout=0.0, sharing=Sharing.SHARED):
        outcome, display = done(local_plan(tmp_path / "cache"), engine)
    assert outcome.error is None
    assert contents(tmp_path / "cache") == before
    assert "--cache-from" not in engine.built[0].argv
    assert imports_of(outcome.report) == ["corrupt"]
    assert "another build uses it" in display.warned[0]
    assert not local_of(outcome.report).sound


# --- what cannot be imported -------------------------------------------------------------------------------


def test_a_new_folder_has_nothing_to_import(tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    absent = f"local cache import at {folder} not found due to err: could not read {folder}/index.json"
    stream = f"WARNING: {absent}\n".encode() + MADE + EXPORTED
    engine = working(lambda: cache_in(folder), stream=stream)
    outcome, display = done(local_plan(folder), engine)
    assert "--cache-from" in engine.built[0].argv, "what a plan says is run as far as it can be"
    assert [(each.status, each.detail) for each in outcome.report.cache.imports] == [("absent", absent)]
    assert outcome.report.cache.exports[0].status == "written"
    assert local_of(outcome.report).sound
    assert display.warned == []


@pytest.mark.parametrize(
    ("entry", "imported"),
    [
        ("type=local,src={}", False),
        ("type=local,src={},tag=main", True),
        ("type=local,src={},tag=other", False),
        ("type=local,src={},digest={}", True),
    ],
    ids=["no-latest", "its-tag", "no-such-tag", "by-digest"],
)
def test_a_folder_is_imported_only_where_it_has_the_tag(entry: str, imported: bool, tmp_path: Path) -> None:  # noqa: FBT001 -- a table
    layout = cache_in(tmp_path / "cache", tag="main")
    source = entry.format(tmp_path / "cache", layout.entries[0]["digest"])
    outcome, _ = done(by_hand(cache_from=[source]), engine := working(stream=IMPORTED))
    assert ("--cache-from" in engine.built[0].argv) is imported
    assert imports_of(outcome.report) == ["hit" if imported else "absent"]


def test_one_tag_is_read_and_another_of_the_same_folder_written(tmp_path: Path) -> None:
    cache_in(tmp_path / "cache", tag="main")
    place = tmp_path / "cache"
    plan = by_hand(cache_from=[f"type=local,src={place},tag=main"], cache_to=[f"type=local,dest={place},tag=topic"])
    outcome, _ = done(plan, engine := working())
    assert "--cache-from" in engine.built[0].argv
    assert imports_of(outcome.report) == ["hit"]


def test_several_tags_of_one_folder_are_read(tmp_path: Path) -> None:
    layout = cache_in(tmp_path / "cache", tag="main")
    layout.tag("topic", layout.cache([b"four"]))
    layout.write_index()
    sources = [f"type=local,src={tmp_path}/cache,tag={tag}" for tag in ("topic", "other", "main", "none")]
    outcome, _ = done(by_hand(cache_from=sources), engine := working(stream=IMPORTED))
    assert imports_of(outcome.report) == ["hit", "absent", "hit", "absent"]
    assert engine.built[0].argv.count("--cache-from") == 2


def test_a_manifest_that_nothing_names_is_not_taken_for_the_cache_of_a_folder_with_another_tag(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "cache")
    layout.cache([b"stale"])
    layout.tag("topic", layout.cache([b"one"]))
    layout.write_index()
    outcome, display = done(local_plan(tmp_path / "cache"), working(stream=MADE))
    assert imports_of(outcome.report) == ["absent"]
    assert display.warned == []


def test_blobs_without_an_index_are_set_aside(tmp_path: Path) -> None:
    cache_in(tmp_path / "cache")
    (tmp_path / "cache" / "index.json").unlink()
    engine = working(lambda: cache_in(tmp_path / "cache"), stream=MADE + EXPORTED)
    outcome, display = done(local_plan(tmp_path / "cache"), engine)
    assert "--cache-from" not in engine.built[0].argv
    assert imports_of(outcome.report) == ["corrupt"]
    assert (len(display.warned), len(asides(tmp_path / "cache"))) == (1, 1)


@pytest.mark.parametrize("asked", [{}, {"no_cache_filter": ["maker"]}, {"buildx_flags": ["--no-cache-filter=maker"]}])
def test_a_builder_that_is_there_runs_each_step_of_a_build_whose_folder_was_set_aside(
    asked: dict[str, object], tmp_path: Path
) -> None:
    """Of what it imported before it would export only the layers that it has fetched."""
    layer_of(cache_in(tmp_path / "cache")).unlink()
    facts = replace(FACTS, own_builder=CURRENT)
    values = {"tag": [APP], "push": True, "cache": "local", "cache_dir": str(tmp_path / "cache"), **asked}
    engine = working(stream=MADE + EXPORTED)
    done(planned(facts, **values), engine)
    argv = engine.built[0].argv
    assert ("--no-cache" in argv) == ("buildx_flags" not in asked), "Buildx takes only one of both"
    assert "--no-cache-filter" not in argv


def test_a_folder_that_is_absent_and_only_read_is_not_made(tmp_path: Path) -> None:
    done(by_hand(cache_from=[f"type=local,src={tmp_path}/none"]), working(stream=MADE))
    assert list(tmp_path.iterdir()) == []


def test_a_cache_that_buildkit_would_not_take_is_skipped(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "cache")
    config = {**config_of([digest_of(b"one")]), "comment": "x" * (1 << 20)}
    layout.tag("latest", layout.cache([b"one"], config=config))
    layout.write_index()
    outcome, display = done(local_plan(tmp_path / "cache"), engine := working(stream=MADE + EXPORTED))
    assert "--cache-from" not in engine.built[0].argv
    (imported,) = outcome.report.cache.imports
    assert imported.status == "skipped"
    assert "an import takes at most 1048576" in imported.detail
    assert "mode=min" in imported.detail
    assert (display.warned, asides(tmp_path / "cache")) == ([], [])


def test_another_tag_that_is_too_large_does_not_matter(tmp_path: Path) -> None:
    layout = cache_in(tmp_path / "cache")
    config = {**config_of([digest_of(b"four")]), "comment": "x" * (1 << 20)}
    layout.tag("topic", layout.cache([b"four"], config=config))
    layout.write_index()
    outcome, _ = done(local_plan(tmp_path / "cache"), working())
    assert imports_of(outcome.report) == ["hit"]


# --- after the build ---------------------------------------------------------------------------------------


def test_what_nothing_refers_to_is_swept(tmp_path: Path) -> None:
    layout = cache_in(tmp_path / "cache")
    live = layout.present()
    layout.put(b"dead")
    outcome, _ = done(local_plan(tmp_path / "cache"), working())
    assert layout.present() == live
    assert local_of(outcome.report) == LocalReport(
        dir=str(tmp_path / "cache"),
        live_bytes=sum(layout.path(digest).stat().st_size for digest in live),
        swept_bytes=4,
        sound=True,
    )


@pytest.mark.parametrize("bound", ["", "1GB"], ids=["unbounded", "bounded"])
def test_what_was_dead_when_the_build_began_goes_however_young(bound: str, tmp_path: Path) -> None:
    layout = cache_in(tmp_path / "cache")
    minutes_ago = time.time() - 300
    os.utime(layout.path(str(layout.put(b"dead")["digest"])), (minutes_ago, minutes_ago))
    outcome, _ = done(local_plan(tmp_path / "cache", cache_max_size=bound), working())
    assert digest_of(b"dead") not in layout.present()
    assert local_of(outcome.report).swept_bytes == 4


def test_what_another_process_writes_meanwhile_stays(tmp_path: Path) -> None:
    layout = cache_in(tmp_path / "cache")

    def write() -> None:
        os.utime(layout.path(str(layout.put(b"young")["digest"])), (2e9, 2e9))

    outcome, _ = done(local_plan(tmp_path / "cache"), working(write))
    assert digest_of(b"young") in layout.present()
    assert local_of(outcome.report).swept_bytes == 0


def test_a_failed_build_deletes_nothing(tmp_path: Path) -> None:
    layout = cache_in(tmp_path / "cache")
    layout.put(b"dead")
    before = contents(tmp_path / "cache")
    outcome, _ = done(local_plan(tmp_path / "cache"), FakeEngine(builds=[(BROKEN, 1)]))
    assert isinstance(outcome.error, BuildFailedError)
    assert contents(tmp_path / "cache") == before
    assert outcome.report.cache.local is None


def two_tags(place: Path) -> Layout:
    layout = Layout(place)
    old = config_of([digest_of(b"o" * 5000)], "2026-01-01T00:00:00Z")
    layout.tag("old", layout.cache([b"o" * 5000], config=old))
    layout.tag("latest", layout.cache([b"n" * 5000]))
    layout.write_index()
    return layout


def test_the_oldest_tags_go_where_a_folder_is_bounded(tmp_path: Path) -> None:
    layout = two_tags(tmp_path / "cache")
    outcome, display = done(local_plan(tmp_path / "cache", cache_max_size="8KB"), working())
    assert [tag.name for tag in layouts.reach(tmp_path / "cache").tags] == ["latest"]
    assert digest_of(b"o" * 5000) not in layout.present()
    assert display.warned == [f"the oldest tags went from the cache folder {tmp_path}/cache, to keep to 8.0 KiB: old"]
    assert local_of(outcome.report).live_bytes <= 8192
    assert local_of(outcome.report).swept_bytes > 5000


def test_a_bound_is_shared_by_the_folders_of_a_call(tmp_path: Path) -> None:
    for name in ("a", "b"):
        two_tags(tmp_path / name)
    plan = by_hand(cache_to=[f"type=local,dest={tmp_path}/{name}" for name in ("a", "b")], cache_max_size="16KB")
    outcome, _ = done(plan, working())
    assert [len(layouts.reach(tmp_path / name).tags) for name in ("a", "b")] == [1, 1]
    assert local_of(outcome.report).live_bytes <= 16 * 1024


def test_a_folder_within_its_bound_keeps_all_tags(tmp_path: Path) -> None:
    two_tags(tmp_path / "cache")
    _, display = done(local_plan(tmp_path / "cache", cache_max_size="1MB"), working())
    assert len(layouts.reach(tmp_path / "cache").tags) == 2
    assert display.warned == []


def test_the_cache_just_written_stays_even_if_it_is_too_large(tmp_path: Path) -> None:
    layout = two_tags(tmp_path / "cache")
    outcome, display = done(local_plan(tmp_path / "cache", cache_max_size="4KB"), working())
    assert [tag.name for tag in layouts.reach(tmp_path / "cache").tags] == ["latest"]
    assert digest_of(b"n" * 5000) in layout.present()
    assert len(display.warned) == 2
    assert "and not the 4.0 KiB asked for: the cache just written takes that" in display.warned[1]
    assert outcome.error is None


def test_nothing_is_deleted_from_a_folder_that_is_not_understood(tmp_path: Path) -> None:
    layout = cache_in(tmp_path / "cache")
    layout.put(b"dead")
    (layout.blobs / "notes.txt").write_text("mine")
    outcome, display = done(local_plan(tmp_path / "cache"), working())
    assert outcome.error is None
    assert digest_of(b"dead") in layout.present()
    (warning,) = display.warned
    assert warning.startswith(f"nothing is deleted from the cache folder {tmp_path}/cache: ")
    assert "notes.txt" in warning
    assert local_of(outcome.report).swept_bytes == 0


def test_a_folder_that_nothing_was_written_to_is_no_trouble(tmp_path: Path) -> None:
    outcome, display = done(local_plan(tmp_path / "cache"), working(stream=MADE))
    assert (outcome.error, display.warned) == (None, [])
    assert local_of(outcome.report) == LocalReport(dir=str(tmp_path / "cache"), live_bytes=0, swept_bytes=0, sound=True)


def test_damage_that_the_build_leaves_is_told(tmp_path: Path) -> None:
    layout = cache_in(tmp_path / "cache")
    working_on = working(lambda: truncate(layer_of(layout)), stream=IMPORTED)
    outcome, display = done(local_plan(tmp_path / "cache"), working_on)
    assert outcome.error is None
    assert not local_of(outcome.report).sound
    assert display.warned[-1].endswith("the next build sets it aside")


def test_a_tag_that_another_export_of_the_build_has_bent_is_put_right(tmp_path: Path) -> None:
    layout = cache_in(tmp_path / "cache")
    other = cache_in(tmp_path / "other", b"one", b"four")
    written = other.entries[0]["digest"]

    def export() -> None:
        layout.entries.clear()
        layout.tag("latest", {**layout.cache([b"one", b"four"]), "digest": "sha256:" + "d" * 64})
        layout.write_index()

    name = "exporting cache to client directory"
    status = {"id": f"writing cache image manifest {written}", "vertex": f"sha256:{name}", "current": 1}
    stream = IMPORTED + EXPORTED + json.dumps({"statuses": [status]}).encode() + b"\n"
    engine = replace(working(export, stream=stream), unindexed=other.present())
    outcome, display = done(local_plan(tmp_path / "cache"), engine)
    assert local_of(outcome.report).sound
    (tag,) = layouts.reach(tmp_path / "cache").tags
    assert (tag.name, digest_of(b"four") in tag.blobs) == ("latest", True)
    assert display.warned == []


def test_an_export_tells_what_it_added(tmp_path: Path) -> None:
    layout = cache_in(tmp_path / "cache")
    before = layout.present()

    def export() -> None:
        layout.entries.clear()
        layout.tag("latest", layout.cache([*LAYERS, b"four"]))
        layout.write_index()

    outcome, _ = done(local_plan(tmp_path / "cache"), working(export))
    (exported,) = outcome.report.cache.exports
    added = (path for path in layout.blobs.iterdir() if f"sha256:{path.name}" not in before)
    assert (exported.status, exported.bytes) == ("written", sum(path.stat().st_size for path in added))


def test_an_export_of_the_same_is_unchanged(tmp_path: Path) -> None:
    cache_in(tmp_path / "cache")
    before = contents(tmp_path / "cache")
    outcome, _ = done(local_plan(tmp_path / "cache"), working())
    (exported,) = outcome.report.cache.exports
    assert (exported.status, exported.bytes) == ("unchanged", 0)
    assert contents(tmp_path / "cache") == before


# --- other builds ------------------------------------------------------------------------------------------


def test_a_folder_that_another_build_uses_is_not_swept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(HeldFolder, "TIDY_SECONDS", 0.0)
    layout = cache_in(tmp_path / "cache")
    layout.put(b"dead")
    with layouts.lock(tmp_path / "cache", timeout=0.0, sharing=Sharing.SHARED):
        outcome, display = done(local_plan(tmp_path / "cache"), working())
    assert (outcome.error, display.warned) == (None, [])
    assert digest_of(b"dead") in layout.present()
    assert local_of(outcome.report).sound
    done(local_plan(tmp_path / "cache"), working())
    assert digest_of(b"dead") not in layout.present()


@pytest.fixture
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(HeldFolder, "SHARED_SECONDS", 0.0)
    monkeypatch.setattr(HeldFolder, "TIDY_SECONDS", 0.0)


@pytest.mark.usefixtures("_no_waiting")
def test_a_folder_that_another_process_keeps_for_itself_costs_the_cache_and_not_the_build(tmp_path: Path) -> None:
    cache_in(tmp_path / "cache")
    before = contents(tmp_path / "cache")
    engine = working(stream=MADE)
    with layouts.lock(tmp_path / "cache", timeout=0.0):
        outcome, display = done(local_plan(tmp_path / "cache"), engine)
    assert outcome.error is None
    assert {"--cache-from", "--cache-to"}.isdisjoint(engine.built[0].argv)
    assert statuses(outcome.report) == (["skipped"], ["skipped"])
    assert outcome.report.cache.local is None
    assert len(display.warned) == 1
    assert f"another build holds the cache folder {tmp_path}/cache" in display.warned[0]
    assert contents(tmp_path / "cache") == before


@pytest.mark.usefixtures("_no_waiting")
def test_a_folder_that_another_process_keeps_for_itself_ends_a_strict_call(tmp_path: Path) -> None:
    cache_in(tmp_path / "cache")
    engine = FakeEngine()
    with layouts.lock(tmp_path / "cache", timeout=0.0):
        outcome, _ = done(local_plan(tmp_path / "cache", strict_cache=True), engine)
    kind, message, _ = told(outcome.error)
    assert (kind, message) == (LockedError, f"another build holds the cache folder {tmp_path}/cache (waited 0.0s)")
    assert engine.acts == []
    assert outcome.report.exit_code == 6


@pytest.mark.usefixtures("_no_waiting")
def test_the_first_of_two_folders_is_free_again_where_the_second_is_kept(tmp_path: Path) -> None:
    cache_in(tmp_path / "a")
    cache_in(tmp_path / "b")
    plan = by_hand(cache_from=[f"type=local,src={tmp_path}/{name}" for name in "ab"], strict_cache=True)
    with layouts.lock(tmp_path / "b", timeout=0.0):
        outcome, _ = done(plan, FakeEngine())
    assert isinstance(outcome.error, LockedError)
    assert is_free(tmp_path / "a")


# --- a folder that others may change -----------------------------------------------------------------------


def others_may_write(folder: Path) -> None:
    folder.chmod(0o777)


def others_may_write_the_blobs(folder: Path) -> None:
    (folder / "blobs").chmod(0o777)


def others_may_write_the_index(folder: Path) -> None:
    (folder / "index.json").chmod(0o666)


def others_may_exchange_it(folder: Path) -> None:
    folder.parent.chmod(0o777)


EXPOSED = (others_may_write, others_may_write_the_blobs, others_may_write_the_index, others_may_exchange_it)


@pytest.mark.parametrize("expose", EXPOSED, ids=lambda expose: expose.__name__)
@pytest.mark.parametrize("read_only", [True, False], ids=["read", "written"])
def test_a_folder_that_others_may_change_is_neither_read_nor_written(
    expose: Callable[[Path], None],
    read_only: bool,  # noqa: FBT001 -- a table
    tmp_path: Path,
) -> None:
    folder = tmp_path / "above" / "cache"
    cache_in(folder)
    expose(folder)
    before = contents(folder)
    engine = working(stream=MADE)
    outcome, display = done(local_plan(folder, cache_read_only=read_only), engine)
    assert outcome.error is None
    assert {"--cache-from", "--cache-to"}.isdisjoint(engine.built[0].argv)
    assert statuses(outcome.report) == (["skipped"], [] if read_only else ["skipped"])
    assert outcome.report.cache.local is None
    (warning,) = display.warned
    assert str(folder) in warning
    assert ("chmod -R go-w" in warning) == (expose is not others_may_exchange_it)  # which would change much else
    assert contents(folder) == before
    assert sorted(path.name for path in folder.parent.iterdir()) == ["cache"]


def test_a_folder_that_others_may_change_ends_a_strict_call_before_all(tmp_path: Path) -> None:
    cache_in(tmp_path / "cache")
    others_may_write(tmp_path / "cache")
    engine = FakeEngine()
    outcome, _ = done(local_plan(tmp_path / "cache", strict_cache=True), engine)
    assert isinstance(outcome.error, CacheError)
    assert engine.acts == []


def test_what_others_may_write_below_a_folder_that_is_closed_to_them_does_not_matter(tmp_path: Path) -> None:
    """As after an export with the umask 000, which GitLab's runners have."""
    cache_in(tmp_path / "cache")
    (tmp_path / "cache" / "blobs").chmod(0o777)
    (tmp_path / "cache").chmod(0o700)
    outcome, display = done(local_plan(tmp_path / "cache"), working())
    assert (statuses(outcome.report)[0], display.warned) == (["hit"], [])


def test_folders_above_the_working_directory_are_not_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who can exchange these can exchange what is built, too; in a CI's container they often belong to another user."""
    cache_in(tmp_path / "job" / "cache")
    tmp_path.chmod(0o777)
    monkeypatch.chdir(tmp_path / "job")
    outcome, display = done(local_plan(tmp_path / "job" / "cache"), working())
    assert (statuses(outcome.report)[0], display.warned) == (["hit"], [])


def test_a_folder_that_is_made_is_this_users_alone_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        done(local_plan(tmp_path / "above" / "cache"), working())
    finally:
        os.umask(before)
    assert [path.stat().st_mode & 0o777 for path in (tmp_path / "above", tmp_path / "above" / "cache")] == [
        0o755,
        0o700,
    ]


def test_a_link_on_the_way_that_turns_while_the_build_runs_leads_to_no_other_folder(tmp_path: Path) -> None:
    """A release's link (``current/cache``), which a deployment turns."""
    cache_in(tmp_path / "one" / "cache")
    (tmp_path / "two").mkdir()
    way = tmp_path / "current"
    way.symlink_to("one")

    def turn() -> None:
        way.unlink()
        way.symlink_to("two")

    outcome = execute(local_plan(way / "cache"), working(turn), RecordingDisplay(), CI)
    assert (outcome.error, statuses(outcome.report)) == (None, (["hit"], ["unchanged"]))
    assert not (tmp_path / "two" / "cache").exists()


def test_a_folder_that_is_not_there_and_only_read_cannot_be_put_there_meanwhile(tmp_path: Path) -> None:
    engine = working(stream=MADE)
    outcome, display = done(local_plan(tmp_path / "cache", cache_read_only=True), engine)
    assert "--cache-from" not in engine.built[0].argv
    assert (statuses(outcome.report)[0], display.warned) == (["absent"], [])


# --- the key file ------------------------------------------------------------------------------------------


def key_of(folder: Path) -> str:
    return hashlib.sha256((folder / "index.json").read_bytes()).hexdigest()


def test_the_key_file_beside_the_folder_tells_of_the_cache(tmp_path: Path) -> None:
    layout = cache_in(tmp_path / "cache")
    file = tmp_path / "cache-key"
    done(local_plan(tmp_path / "cache"), working())
    first = file.read_text()
    assert first == f"{key_of(tmp_path / 'cache')}\n"

    def export() -> None:
        layout.entries.clear()
        layout.tag("latest", layout.cache([b"four"]))
        layout.write_index()

    done(local_plan(tmp_path / "cache"), working(export))
    assert file.read_text() == f"{key_of(tmp_path / 'cache')}\n"
    assert file.read_text() != first


def test_the_key_file_is_not_touched_where_the_cache_did_not_change(tmp_path: Path) -> None:
    cache_in(tmp_path / "cache")
    done(local_plan(tmp_path / "cache"), working())
    file = tmp_path / "cache-key"
    os.utime(file, (1e9, 1e9))
    before = file.stat()
    done(local_plan(tmp_path / "cache"), working())
    assert (file.stat().st_mtime, file.stat().st_ino) == (1e9, before.st_ino)


def test_the_key_of_several_folders_changes_with_each(tmp_path: Path) -> None:
    entries = {name: cache_in(tmp_path / name) for name in ("a", "b")}
    plan = by_hand(cache_to=[f"type=local,dest={tmp_path}/{name}" for name in entries])
    done(plan, working())
    both = "".join(key_of(tmp_path / name) for name in entries).encode()
    assert (tmp_path / "a-key").read_text() == f"{hashlib.sha256(both).hexdigest()}\n"
    assert not (tmp_path / "b-key").exists()


def test_the_key_file_is_beside_the_folder_as_it_was_given(tmp_path: Path) -> None:
    cache_in(tmp_path / "real" / "cache")
    (tmp_path / "link").symlink_to(tmp_path / "real" / "cache")
    outcome, _ = done(local_plan(tmp_path / "link"), working())
    assert (tmp_path / "link-key").read_text() == f"{key_of(tmp_path / 'link')}\n"
    assert local_of(outcome.report).dir == str(tmp_path / "link")


@pytest.mark.parametrize("directory", [".", "./", "cache", "cache/", "cache/../cache"])
def test_a_relative_folder_has_a_key_file(directory: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    cache_in(Path(directory))
    outcome, _ = done(local_plan(Path(), cache_dir=directory), working())
    assert outcome.error is None
    file = tmp_path / "work-key" if directory.startswith(".") else work / "cache-key"
    assert file.read_text() == f"{key_of(Path(directory))}\n"


PRECIOUS: dict[str, Callable[[Path], object]] = {
    "folder": Path.mkdir,
    "fifo": os.mkfifo,
    "private-key": lambda file: file.write_bytes(b"-----BEGIN\xff"),
    "link": lambda file: file.symlink_to(file.with_name("precious")),
}


def _unread(path: Path) -> tuple[int, ...]:
    """What the file system says of a path, but for when it was last read."""
    found = os.lstat(path)
    return found.st_mode, found.st_ino, found.st_uid, found.st_size, found.st_mtime_ns, found.st_ctime_ns


@pytest.mark.parametrize("kind", PRECIOUS)
def test_what_is_no_key_in_the_key_files_place_stays(kind: str, tmp_path: Path) -> None:
    cache_in(tmp_path / "cache")
    (tmp_path / "precious").write_text("precious")
    PRECIOUS[kind](tmp_path / "cache-key")
    before = _unread(tmp_path / "cache-key")
    outcome, display = done(local_plan(tmp_path / "cache"), working())
    assert outcome.error is None
    assert display.warned == [
        f"{tmp_path}/cache-key is not a cache's key file and stays unchanged: this cache gets no key file"
    ]
    assert _unread(tmp_path / "cache-key") == before
    assert (tmp_path / "precious").read_text() == "precious"


def test_without_a_place_for_a_key_file_the_call_succeeds_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: Path, __: str, **___: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("buildx_cache.run.held_folder.write_text", full)
    cache_in(tmp_path / "cache")
    outcome, display = done(local_plan(tmp_path / "cache"), working())
    assert (outcome.error, display.warned) == (None, [])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache"]


def test_where_no_cache_was_written_there_is_no_key(tmp_path: Path) -> None:
    done(local_plan(tmp_path / "cache"), working(stream=MADE))
    assert not (tmp_path / "cache-key").exists()


# --- damage that only the content shows --------------------------------------------------------------------


def test_a_changed_layer_that_the_build_does_not_read_costs_nothing(tmp_path: Path) -> None:
    layout = cache_in(tmp_path / "cache")
    flip_bit(layer_of(layout))
    outcome, display = done(local_plan(tmp_path / "cache"), engine := working())
    assert (outcome.error, display.warned) == (None, [])
    assert "--cache-from" in engine.built[0].argv


def test_a_link_in_the_place_of_a_platforms_folder_is_not_used(tmp_path: Path) -> None:
    """The attack: a restored cache has another folder of this user's where a platform's cache is kept."""
    precious = cache_in(tmp_path / "precious")
    before = contents(precious.folder)
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "linux-amd64").symlink_to(precious.folder)
    plan = local_plan(tmp_path / "cache")
    there = Location(directory=str(tmp_path / "cache"))
    inner = ScopedCache(backend=SCOPED[CacheKind.LOCAL], location=there, platform="linux/amd64")
    cache = replace(plan.cache, imports=inner.imports(), exports=inner.exports(ExportStyle()))
    build = replace(plan.target.build, imports=cache.imports, exports=cache.exports)
    targets = (replace(plan.target, build=build),)
    report = done(replace(plan, cache=cache, targets=targets), working())[0].report
    assert statuses(report) == (["skipped"], ["skipped"])
    assert contents(precious.folder) == before


# --- what cannot be set aside ------------------------------------------------------------------------------


def _begun(folder: Path) -> Path:
    place = folder / "ingest" / ("a" * 64)
    place.mkdir()
    return place / "data"


def linked_partial_write(folder: Path) -> None:
    _begun(folder).symlink_to(folder.parent / "outside")


def linked_in_capitals(folder: Path) -> None:
    """As a file system that ignores case would find it."""
    linked_partial_write(folder)
    (folder / "ingest" / ("a" * 64)).rename(folder / "ingest" / ("A" * 64))


def piped_partial_write(folder: Path) -> None:
    os.mkfifo(_begun(folder))


def linked_blobs(folder: Path) -> None:
    (folder / "blobs").rename(folder.parent / "outside")
    (folder / "blobs").symlink_to(folder.parent / "outside")


def linked_index(folder: Path) -> None:
    (folder / "index.json").rename(folder.parent / "outside")
    (folder / "index.json").symlink_to(folder.parent / "outside")


STRANGE = (linked_partial_write, linked_in_capitals, piped_partial_write, linked_blobs, linked_index)


@pytest.mark.parametrize("plant", STRANGE, ids=lambda plant: plant.__name__)
def test_a_folder_whose_links_cannot_be_set_aside_is_not_read_and_no_link_is_written_through(
    plant: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The attack: Buildx follows the links of a folder that something keeps from being set aside."""
    monkeypatch.setattr(HeldFolder, "ASIDE_SECONDS", 0.0)
    monkeypatch.setattr(HeldFolder, "TIDY_SECONDS", 0.0)
    cache_in(tmp_path / "cache")
    plant(tmp_path / "cache")
    outside = tmp_path / "outside"
    before = {path: path.stat().st_mtime_ns for path in (outside, *outside.rglob("*")) if path.exists()}
    with layouts.lock(tmp_path / "cache", timeout=0.0, sharing=Sharing.SHARED):
        outcome, _ = done(local_plan(tmp_path / "cache"), engine := working(stream=MADE + EXPORTED))
    assert outcome.error is None
    assert "--cache-from" not in engine.built[0].argv
    assert imports_of(outcome.report) == ["corrupt"]
    (build,) = (what for act, what in engine.acts if isinstance(what, BuildInvocation))
    assert [bool(linked_folder(entry)) for entry in build.exports] == [True]
    assert {path: path.stat().st_mtime_ns for path in (outside, *outside.rglob("*")) if path.exists()} == before
    strict = local_plan(tmp_path / "cache", strict_cache=True)
    assert told(done(strict, FakeEngine())[0].error)[0] is CacheError
