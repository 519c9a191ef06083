"""Folders made to keep a reader busy: what many tags share is looked at once, and there are limits to all of it."""

from __future__ import annotations

import base64
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from buildx_cache import layout
from buildx_cache.layout import FindingKind, graph, model, ownership, parse, reachability, store, verification
from buildx_cache.layout.model import Numbering
from tests.unit.layout.layouts import (
    CACHE_CONFIG,
    IMAGE_CONFIG,
    OCI_INDEX,
    OCI_MANIFEST,
    Json,
    Layout,
    config_of,
    digest_of,
    encoded,
)

Shape = Callable[[Layout, int], None]


def _layers(made: Layout, count: int) -> list[Json]:
    return [made.put(b"%d" % number) for number in range(count)]


def _manifest(made: Layout, layers: list[Json], config: Json, number: int = 0) -> Json:
    notes = {"number": str(number)}
    parts = {"config": config, "layers": layers, "annotations": notes}
    return made.put_json({"schemaVersion": 2, "mediaType": OCI_MANIFEST, **parts}, OCI_MANIFEST)


def _index(made: Layout, entries: list[Json], number: int) -> Json:
    notes = {"number": str(number)}
    parts = {"manifests": entries, "annotations": notes}
    return made.put_json({"schemaVersion": 2, "mediaType": OCI_INDEX, **parts}, OCI_INDEX)


def tags_of_one_manifest(made: Layout, count: int) -> None:
    root = _manifest(made, _layers(made, count), made.put_json(config_of([]), CACHE_CONFIG))
    for number in range(count):
        made.tag(f"tag-{number}", root)


def indexes_of_one_manifest(made: Layout, count: int) -> None:
    root = _manifest(made, _layers(made, count), made.put_json(config_of([]), CACHE_CONFIG))
    for number in range(count):
        made.tag(f"tag-{number}", _index(made, [root], number))


def indexes_in_each_other(made: Layout, count: int) -> None:
    inner = made.cache([b"layer"])
    for number, layer in enumerate(_layers(made, count)):
        inner = _index(made, [inner, layer], number)
        made.tag(f"tag-{number}", inner)


def manifests_of_one_config(made: Layout, count: int) -> None:
    config = made.put_json(config_of([digest_of(b"%d" % number) for number in range(count)]), CACHE_CONFIG)
    for number in range(count):
        made.tag(f"tag-{number}", _manifest(made, _layers(made, 1), config, number))


SHAPES: tuple[Shape, ...] = (
    tags_of_one_manifest,
    indexes_of_one_manifest,
    indexes_in_each_other,
    manifests_of_one_config,
)


def use(folder: Path) -> None:
    """All that a build and the cache commands do with a folder."""
    findings = layout.verify(folder)
    found = layout.reach(folder)
    layout.as_json(found, findings)
    layout.bound(folder, max_size=found.live_bytes // 2, keep_tag="tag-0", dry_run=True)
    layout.sweep(folder)
    layout.set_aside(folder)


class Counted:
    """Blobs that were looked up one by one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        for owner, name in ((model.Numbering, "bits"), (layout.store.Store, "read_document")):
            monkeypatch.setattr(owner, name, self._counting(getattr(owner, name)))

    def _counting(self, real: Callable[..., object]) -> Callable[..., object]:
        def counting(owner: object, given: object) -> object:
            listed = given if isinstance(given, str) else list(given)  # type: ignore[call-overload]
            self.count += 1 if isinstance(listed, str) else len(listed)
            return real(owner, listed)

        return counting


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.__name__)
def test_work_grows_as_the_folder_does(shape: Shape, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counted = Counted(monkeypatch)
    spent = []
    for count in (50, 200):
        made = Layout(tmp_path / str(count))
        shape(made, count)
        made.write_index()
        before = counted.count
        use(made.folder)
        spent.append(counted.count - before)
    assert spent[1] < 5 * spent[0]


def test_many_tags_that_share_many_layers_take_seconds(tmp_path: Path) -> None:
    """With a set of blobs for each tag it took minutes."""
    made = Layout(tmp_path / "cache")
    indexes_in_each_other(made, 1000)
    made.write_index()
    started = time.process_time()
    use(made.folder)
    assert time.process_time() - started < 60


def _obstacle(folder: Path) -> layout.Finding:
    obstacle = layout.reach(folder).obstacles[0]
    assert obstacle in layout.verify(folder)
    assert layout.damaged([obstacle])
    assert layout.sweep(folder).obstacles
    return obstacle


@pytest.mark.parametrize(
    ("limit", "kind", "problem"),
    [
        ("roots", FindingKind.INDEX, "has more than 5 entries"),
        ("documents", FindingKind.MORE, "comes after 5 other manifests"),
        ("blobs", FindingKind.MORE, "leads to more than 5 blobs, with others"),
        ("values", FindingKind.MORE, "has more than 5 values, with other manifests"),
    ],
)
def test_a_folder_beyond_a_limit_is_damaged_and_nothing_goes_from_it(
    limit: str, kind: FindingKind, problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Layout(tmp_path / "cache")
    indexes_of_one_manifest(made, 6)
    made.write_index()
    before = made.present()
    monkeypatch.setattr(graph, "FOLDER_LIMITS", replace(graph.FOLDER_LIMITS, **{limit: 5}))
    found = _obstacle(made.folder)
    assert (found.kind, found.problem) == (kind, problem)
    assert made.present() == before


@pytest.mark.parametrize(
    "limits", [{"document_bytes": 5}, {"values": 5}, {"documents": 0}], ids=lambda limits: next(iter(limits))
)
def test_configs_beyond_their_limit_are_not_read(
    limits: dict[str, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Layout(tmp_path / "cache")
    made.tag("latest", made.cache([b"layer", b"other"]))
    made.write_index()
    _limit_configs(monkeypatch, **limits)
    (tag,) = layout.reach(made.folder).tags
    assert tag.records is None
    assert [finding.kind for finding in layout.damage_of(layout.verify(made.folder))] == [FindingKind.MORE]


def _limit_configs(monkeypatch: pytest.MonkeyPatch, **limits: int) -> None:
    for room in (reachability, verification):
        monkeypatch.setattr(room, "FOLDER_LIMITS", replace(graph.FOLDER_LIMITS, **limits))


def _inline(made: Layout, records: Json, number: int = 0) -> Json:
    """The config of an image with an inline cache."""
    cache = base64.b64encode(encoded(records["records"])).decode()
    return made.put_json({"number": number, "moby.buildkit.cache.v0": cache}, IMAGE_CONFIG)


def test_what_an_inline_cache_holds_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = Layout(tmp_path / "cache")
    made.tag("latest", _manifest(made, _layers(made, 1), _inline(made, {"records": [{} for _ in range(50)]})))
    made.write_index()
    assert layout.verify(made.folder) == ()
    _limit_configs(monkeypatch, values=40)
    assert [finding.kind for finding in layout.verify(made.folder)] == [FindingKind.MORE]


def test_the_layers_of_a_manifest_count_with_each_inline_cache_over_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A manifest may name thousands of configs, each read with all of its layers."""
    made = Layout(tmp_path / "cache")
    configs = [_inline(made, config_of([]), number) for number in range(10)]
    made.tag("latest", _manifest(made, [*_layers(made, 50), *configs[1:]], configs[0]))
    made.write_index()
    assert layout.verify(made.folder) == ()
    _limit_configs(monkeypatch, values=5 * 60)
    assert {finding.kind for finding in layout.verify(made.folder)} == {FindingKind.MORE}


def test_a_manifest_of_entries_that_mean_nothing_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four million of them fit into 8 MiB and took a minute."""
    looked_at = []
    real = parse.descriptor
    monkeypatch.setattr(graph, "descriptor", lambda value: looked_at.append(value) or real(value))  # type: ignore[func-returns-value]
    made = Layout(tmp_path / "cache")
    config = made.put_json(config_of([]), CACHE_CONFIG)
    made.tag("latest", made.put_json({"schemaVersion": 2, "config": config, "layers": [0] * 5000}, OCI_MANIFEST))
    made.write_index()
    assert layout.damaged(layout.verify(made.folder))
    assert len(looked_at) < 2 * model.FINDINGS_LIMIT


def test_a_layer_lists_no_more_than_a_hundred_tags(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = Layout(tmp_path / "cache")
    tags_of_one_manifest(made, 6)
    made.write_index()
    monkeypatch.setattr(reachability, "LISTED_TAGS", 3)
    layers = layout.layers_by_size(layout.reach(made.folder))
    assert [layer.tags for layer in layers] == [("tag-0", "tag-1", "tag-2")] * 6


def test_a_numbering_has_each_blob_once() -> None:
    numbering = Numbering(["a", "b", "a", "c"])
    assert list(numbering.names(numbering.bits(["c", "a", "x", "a"]))) == ["a", "c"]
    assert list(numbering.names(0)) == []


def _shares(first: Path, name: str) -> None:
    first.with_name(name).hardlink_to(first)


def _hollow(first: Path, name: str) -> None:
    os.truncate(first, 1 << 40)
    first.with_name(name).touch()
    os.truncate(first.with_name(name), 1 << 40)


@pytest.mark.parametrize("make", [_shares, _hollow], ids=["second names", "holes"])
def test_content_that_takes_no_space_takes_no_time(make: Callable[[Path, str], None], tmp_path: Path) -> None:
    """An archive of a few KB can hold many TB of both."""
    made = Layout(tmp_path / "cache")
    first = made.path(str(made.put(bytes(range(256)) * 4096)["digest"]))
    for number in range(1, 3000):
        make(first, f"{number:064x}")
    (made.folder / "index.json").write_text("damaged")
    started = time.process_time()
    assert len(layout.unsound(made.folder, ["sha256:" + path.name for path in made.blobs.iterdir()])) >= 2999
    layout.set_aside(made.folder)
    assert time.process_time() - started < 30


def test_a_file_of_many_extents_is_looked_at_once_for_all_its_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The attack: thousands of names of a file of thousands of extents."""
    made = Layout(tmp_path / "cache")
    first = made.path(str(made.put(b"1")["digest"]))
    _hollow(first, f"{1:064x}")
    for number in range(2, 50):
        _shares(first, f"{number:064x}")
    looked_at: list[int] = []
    real = store.is_hollow
    monkeypatch.setattr(store, "is_hollow", lambda file, size: looked_at.append(file) or real(file, size))  # type: ignore[func-returns-value]
    found = layout.verify(made.folder)
    assert len([finding for finding in found if finding.problem == store.HOLLOW]) == 50
    assert len(looked_at) == 2


def test_odd_names_without_end_are_not_kept(tmp_path: Path) -> None:
    made = Layout(tmp_path / "cache")
    for number in range(3000):
        (made.blobs / f"odd-{number}").touch()
    with store.open_store(made.folder) as opened:
        assert len(opened.foreign) <= model.FINDINGS_LIMIT + 1
    assert layout.damaged(layout.verify(made.folder))


def test_a_name_without_end_is_shown_in_short(tmp_path: Path) -> None:
    """The attack: CIs keep only the first few MB of a log."""
    made = Layout(tmp_path / "cache")
    root = made.cache([b"one"])
    for name in ("a" * (1 << 20), "\U0001f600" * (1 << 16)):
        made.tag(name, root)
        made.tag(name, root)
    made.write_index()
    made.path(str(root["digest"])).unlink()
    assert max(len(str(finding)) for finding in layout.verify(made.folder)) < 500


def test_a_hole_of_a_sound_blob_is_no_damage(tmp_path: Path) -> None:
    made = Layout(tmp_path / "cache")
    for content in (b"", b"1" * 100, b"1" * (1 << 17) + bytes(1 << 19) + b"1", bytes(1 << 15)):
        layer = made.put(content)
        os.truncate(made.path(str(layer["digest"])), 0)
        with made.path(str(layer["digest"])).open("r+b") as file:
            for at in (at for at in range(0, len(content), 1 << 12) if any(content[at : at + (1 << 12)])):
                file.seek(at)
                file.write(content[at : at + (1 << 12)])
            file.truncate(len(content))
    assert layout.unsound(made.folder, sorted(made.present())) == ()


def test_a_layer_that_takes_no_space_is_damage_before_buildkit_reads_it(tmp_path: Path) -> None:
    made = Layout(tmp_path / "cache")
    layer = {**made.put(b"layer"), "size": 1 << 40}
    config = made.put_json(config_of([layer["digest"]]), CACHE_CONFIG)
    made.tag("latest", made.put_json({"schemaVersion": 2, "config": config, "layers": [layer]}, OCI_MANIFEST))
    made.write_index()
    os.truncate(made.path(str(layer["digest"])), 1 << 40)
    assert [finding.problem for finding in layout.verify(made.folder)] == ["is hardly more than a hole"]
    assert layout.damaged(layout.verify(made.folder))


def test_partial_writes_beyond_the_limit_are_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = Layout(tmp_path / "cache")
    tags_of_one_manifest(made, 1)
    made.write_index()
    for number in range(6):
        (made.folder / "ingest" / f"{number:064x}").mkdir(parents=True)
    assert not layout.damaged(layout.verify(made.folder))
    asked: list[Path] = []
    monkeypatch.setattr(store, "INGESTS_LIMIT", 5)
    monkeypatch.setattr(ownership, "INGESTS_LIMIT", 5)
    monkeypatch.setattr(ownership, "exposure_to_untrusted", lambda path, _: asked.append(path))
    found = layout.damage_of(layout.verify(made.folder))
    assert [(finding.kind, finding.blob) for finding in found] == [(FindingKind.NOT_A_FILE, "ingest")]
    layout.exposure(made.folder)
    assert len([path for path in asked if path.parent.name == "ingest"]) == 5
