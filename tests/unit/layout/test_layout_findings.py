"""Each kind of finding: where it comes from, what it says, what to do."""

from __future__ import annotations

import io
import os
import signal
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from buildx_cache import layout
from buildx_cache.errors import ExposedError
from buildx_cache.layout import Finding, FindingKind, Severity, Shape, verification
from buildx_cache.layout import model as limits
from tests.unit.layout.damages import flip_bit, make_folder, rewrite, truncate
from tests.unit.layout.layouts import (
    CACHE_CONFIG,
    DOCKER_LAYER,
    DOCKER_LIST,
    DOCKER_MANIFEST,
    IMAGE_CONFIG,
    OCI_INDEX,
    OCI_LAYER,
    OCI_MANIFEST,
    TAG,
    Json,
    Layout,
    config_of,
    digest_of,
    encoded,
)

RECORD = digest_of(b"record")


@pytest.fixture
def made(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "cache")


def only(folder: Path, *, deep: bool = False) -> Finding:
    (finding,) = layout.verify(folder, deep=deep)
    return finding


def tagged(made: Layout, root: Json) -> Layout:
    made.tag("latest", root)
    made.write_index()
    return made


# --- what is sound ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("docker", [False, True])
@pytest.mark.parametrize(
    ("listed", "shape"), [(False, Shape.IMAGE_MANIFEST), (True, Shape.LAYER_LIST)], ids=["image manifest", "list"]
)
def test_both_shapes_of_cache_manifest_in_oci_and_docker_types(
    made: Layout, *, docker: bool, listed: bool, shape: Shape
) -> None:
    tagged(made, made.cache([b"one", b"three"], docker=docker, listed=listed))
    assert layout.verify(made.folder, deep=True) == ()
    (tag,) = layout.reach(made.folder).tags
    assert (tag.name, tag.shape, tag.layers, tag.records) == ("latest", shape, 2, 2)
    expected = {(False, False): OCI_MANIFEST, (True, False): OCI_INDEX, (False, True): DOCKER_MANIFEST}
    media_types = {blob.media_type for blob in layout.reach(made.folder).blobs}
    layer = DOCKER_LAYER if docker else OCI_LAYER
    assert media_types == {expected.get((listed, docker), DOCKER_LIST), layer, CACHE_CONFIG}


def test_the_cacheconfig_is_found_by_its_type_and_not_by_its_place(made: Layout) -> None:
    layer = made.put(b"layer")
    config = made.put_json(config_of([layer["digest"]]), CACHE_CONFIG)
    tagged(made, made.nest([config, layer]))
    (tag,) = layout.reach(made.folder).tags
    assert (tag.shape, tag.layers, tag.records) == (Shape.LAYER_LIST, 1, 1)


def test_nested_indexes_and_several_tags_share_blobs(made: Layout) -> None:
    cache = made.cache([b"one", b"two"])
    made.tag("nested", made.nest([made.nest([cache]), made.image([b"one", b"other"])]))
    made.tag("latest", cache)
    made.write_index()
    found = layout.reach(made.folder)
    nested, latest = found.tags
    assert latest.blobs < nested.blobs == found.digests == made.present()
    assert (latest.own_bytes, nested.live_bytes) == (0, found.live_bytes)
    assert layout.verify(made.folder) == ()


def test_a_manifest_without_a_media_type_of_its_own_is_one_by_what_names_it(made: Layout) -> None:
    """OCI lets a manifest leave it out."""
    layer = made.put(b"layer")
    config = made.put_json(config_of([layer["digest"]]), CACHE_CONFIG)
    tagged(made, made.put_json({"schemaVersion": 2, "config": config, "layers": [layer]}, OCI_MANIFEST))
    assert layout.verify(made.folder, deep=True) == ()


def test_a_folder_may_be_reached_through_a_symbolic_link(made: Layout, tmp_path: Path) -> None:
    tagged(made, made.cache([b"one"]))
    (tmp_path / "link").symlink_to(made.folder)
    assert layout.verify(tmp_path / "link", deep=True) == ()


# --- each kind --------------------------------------------------------------------------------------------------


def test_an_absent_folder_is_a_notice(tmp_path: Path) -> None:
    finding = only(tmp_path / "none")
    assert (finding.kind, finding.severity, finding.problem) == (FindingKind.ABSENT, Severity.NOTICE, "does not exist")
    assert finding.remedy == "none needed: the next build writes it"


def test_an_absent_index_is_a_notice(made: Layout) -> None:
    finding = only(made.folder)
    assert str(finding) == "index.json: is not in the folder"
    assert (finding.kind, finding.severity) == (FindingKind.ABSENT, Severity.NOTICE)


def test_a_file_in_the_folders_place_is_no_layout(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    finding = only(tmp_path / "file")
    assert (finding.kind, finding.problem) == (FindingKind.LAYOUT, "is not a folder")
    assert finding.remedy.startswith("check the path")


def test_a_layout_of_another_version_is_damage(made: Layout) -> None:
    tagged(made, made.cache([b"one"]))
    (made.folder / "oci-layout").write_text('{"imageLayoutVersion":"2.0.0"}')
    finding = only(made.folder)
    assert str(finding) == "oci-layout: has imageLayoutVersion '2.0.0', not '1.0.0'"
    assert (finding.kind, finding.severity) == (FindingKind.LAYOUT, Severity.DAMAGE)


def test_an_absent_layout_file_is_a_notice_for_an_import_does_without(made: Layout) -> None:
    tagged(made, made.cache([b"one"]))
    (made.folder / "oci-layout").unlink()
    assert only(made.folder).kind is FindingKind.ABSENT


@pytest.mark.parametrize(
    ("index", "problem"),
    [
        (b"", "is not JSON"),
        (b'{"schemaVersion":2,"manifests":[', "is not JSON"),
        (b"\xff", "is not JSON"),
        (b"[]", "is not a JSON object"),
        (b"{}", "is not an image index: no schemaVersion 2 or no list of manifests"),
        (b'{"schemaVersion":2,"manifests":7}', "is not an image index"),
        (b'{"a":' + b"[" * 100_000, "is nested too deeply"),
    ],
    ids=["empty", "half written", "not UTF-8", "list", "no index", "no entries", "deep"],
)
def test_an_unreadable_index_is_damage(made: Layout, index: bytes, problem: str) -> None:
    (made.folder / "index.json").write_bytes(index)
    finding = only(made.folder)
    assert (finding.kind, finding.severity) == (FindingKind.INDEX, Severity.DAMAGE)
    assert finding.problem.startswith(problem)
    assert finding.remedy.startswith("build again")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"digest": "sha512:00"}, "has no sha256 digest but 'sha512:00'"),
        ({"digest": "sha256:" + "F" * 64}, "has no sha256 digest but"),
        ({"digest": "sha256:../../../../etc/passwd"}, "has no sha256 digest but"),
        ({"size": -1}, "has no size in bytes but -1"),
        ({"size": "3"}, "has no size in bytes but '3'"),
        ({"size": True}, "has no size in bytes but True"),
        ({"mediaType": "application/vnd.oci.image.manifest.v2"}, "has an unknown media type"),
        ({"annotations": {TAG: 7}}, "annotations are not texts"),
    ],
)
def test_a_malformed_entry_of_the_index_is_damage(made: Layout, change: Json, problem: str) -> None:
    made.entries.append({**made.cache([b"one"]), **change})
    made.write_index()
    finding = only(made.folder)
    assert (finding.kind, finding.blob, finding.referrer) == (FindingKind.DESCRIPTOR, "manifests[0]", "index.json")
    assert finding.problem.startswith(problem)
    assert layout.damaged((finding,))


def test_a_tag_that_leads_nowhere(made: Layout) -> None:
    root = made.cache([b"one"])
    tagged(made, root)
    made.path(str(root["digest"])).unlink()
    finding = only(made.folder, deep=True)
    assert finding.kind is FindingKind.MISSING
    assert str(finding) == f"{root['digest']} (named by index.json, tag latest): is not in the folder"


def test_a_blob_missing_from_several_tags_is_told_once(made: Layout) -> None:
    """Two tags may name one layer with other annotations."""
    layer = made.put(b"layer")
    for created in ("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"):
        named = {**layer, "annotations": {"buildkit/createdat": created}}
        config = made.put_json(config_of([layer["digest"]], created), CACHE_CONFIG)
        made.tag(created, made.nest([named, config]))
    made.write_index()
    made.path(str(layer["digest"])).unlink()
    finding = only(made.folder, deep=True)
    assert (finding.kind, finding.blob, finding.problem) == (
        FindingKind.MISSING,
        layer["digest"],
        "is not in the folder",
    )


def test_a_truncated_layer_is_told_with_both_sizes_and_what_names_it(made: Layout) -> None:
    root = made.cache([b"layer"])
    tagged(made, root)
    layer = digest_of(b"layer")
    truncate(made.path(layer))
    finding = only(made.folder, deep=True)
    assert finding.kind is FindingKind.SIZE
    assert str(finding) == f"{layer} (named by {root['digest']}): has 4 bytes, not 5"


def test_a_flipped_bit_in_a_layer_shows_in_its_content(made: Layout) -> None:
    tagged(made, made.cache([b"layer"]))
    flip_bit(made.path(digest_of(b"layer")))
    assert layout.verify(made.folder) == ()
    finding = only(made.folder, deep=True)
    assert (finding.kind, finding.problem) == (FindingKind.CONTENT, "has other content than its digest says")
    assert finding.remedy.startswith("build again")


def test_a_folder_in_a_blobs_place(made: Layout) -> None:
    tagged(made, made.cache([b"layer"]))
    layer = digest_of(b"layer")
    make_folder(made.path(layer))
    kinds = {finding.blob: finding.kind for finding in layout.verify(made.folder, deep=True)}
    name = layer.removeprefix("sha256:")
    assert kinds == {layer: FindingKind.NOT_A_FILE, f"blobs/sha256/{name}": FindingKind.FOREIGN}


def test_a_manifest_that_is_no_json_though_its_digest_is_right(made: Layout) -> None:
    tagged(made, made.put(b"{]", OCI_MANIFEST))
    finding = only(made.folder)
    assert finding.kind is FindingKind.DOCUMENT
    assert finding.problem.startswith("is not JSON")


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        ({"schemaVersion": 2}, "has no 'config'"),
        ({"mediaType": OCI_INDEX, "config": {}}, "says another media type than what names it"),
        ({"config": {"mediaType": IMAGE_CONFIG, "digest": RECORD, "size": 0}, "layers": {}}, "'layers' is not a list"),
    ],
)
def test_a_manifest_of_another_form(made: Layout, document: Json, problem: str) -> None:
    tagged(made, made.put_json(document, OCI_MANIFEST))
    finding = only(made.folder)
    assert finding.kind is FindingKind.DOCUMENT
    assert finding.problem.startswith(problem)


def test_an_unknown_media_type_below_the_index_is_not_understood_rather_than_damaged(made: Layout) -> None:
    """A digest covers it: it is what its writer wrote."""
    root = made.nest([made.put(b"chart", "application/vnd.cncf.helm.chart")])
    tagged(made, root)
    finding = only(made.folder)
    assert (finding.kind, finding.severity) == (FindingKind.MEDIA_TYPE, Severity.NOTICE)
    assert (finding.blob, finding.referrer) == ("manifests[0]", root["digest"])
    assert finding.remedy == "check what wrote it; nothing is deleted from a folder that is not understood"


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        ({"layers": [{"blob": digest_of(b"layer"), "parent": 1}]}, "layer 0: its parent 1 is not one of 1"),
        ({"layers": [{"blob": digest_of(b"layer"), "parent": -2}]}, "layer 0: its parent -2 is not one of 1"),
        ({"layers": [{"blob": digest_of(b"layer")}]}, "its layers are their own parents"),
        ({"layers": [{"blob": RECORD, "parent": -1}]}, f"layer 0: its blob {RECORD} is not in the manifest"),
        ({"layers": [{"blob": "x", "parent": -1}]}, "layer 0: has no sha256 digest but 'x'"),
        ({"layers": [7]}, "layer 0: it is not an object: 7"),
        ({"records": 7}, "'records' is not a list: 7"),
        ({"records": [{"layers": [{"layer": 0}]}]}, "record 0: its layer 0 is not one of 0"),
        ({"records": [{"layers": [{"layer": "0"}]}]}, "record 0: 'layer' is not a whole number: '0'"),
        ({"records": [{"chains": [{"layers": [-1]}]}]}, "record 0: its layer -1 is not one of 0"),
        ({"records": [{"inputs": [[{"link": 1}]]}]}, "record 0: its link 1 is not one of 1"),
        ({"records": [{"inputs": [[]]}]}, "record 0: has an empty input"),
        ({"records": [{"inputs": [[{"link": 0}]]}]}, "its records are their own inputs"),
        ({"records": [{"inputs": [[{"link": 1}]]}, {"inputs": [[{}]]}]}, "its records are their own inputs"),
    ],
)
def test_records_that_buildkit_would_refuse(made: Layout, config: Json, problem: str) -> None:
    tagged(made, made.cache([b"layer"], config=config))
    finding = only(made.folder)
    assert (finding.kind, finding.problem) == (FindingKind.RECORDS, problem)
    assert layout.damaged((finding,))


def test_an_absent_parent_is_the_first_layer(made: Layout) -> None:
    layers = [{"blob": digest_of(b"one"), "parent": -1}, {"blob": digest_of(b"two")}]
    tagged(made, made.cache([b"one", b"two"], config={"layers": layers, "records": [{"digest": RECORD}]}))
    assert layout.verify(made.folder) == ()


def test_many_faults_of_one_config_are_not_all_told(made: Layout) -> None:
    tagged(made, made.cache([b"layer"], config={"records": [7] * 100}))
    assert len(layout.verify(made.folder)) == 20


@pytest.mark.parametrize(
    ("spare", "found"), [(0, []), (-1, [FindingKind.TOO_LARGE])], ids=["at the limit", "a byte over"]
)
def test_a_cacheconfig_over_the_import_limit_is_told(made: Layout, spare: int, found: list[FindingKind]) -> None:
    config = {**config_of([digest_of(b"layer")]), "pad": ""}
    config["pad"] = "x" * (limits.IMPORT_LIMIT - spare - len(encoded(config)))
    tagged(made, made.cache([b"layer"], config=config))
    findings = layout.verify(made.folder)
    assert [finding.kind for finding in findings] == found
    for finding in findings:
        assert finding.problem == "has 1048577 bytes, and an import takes at most 1048576"
        assert finding.severity is Severity.NOTICE
        assert "BuildKit does not import it" in finding.remedy


def test_a_cache_manifest_over_the_import_limit_is_told(made: Layout) -> None:
    layer = made.put(b"layer")
    annotated = [{**layer, "annotations": {"pad": "x" * limits.IMPORT_LIMIT}}]
    config = made.put_json(config_of([layer["digest"]]), CACHE_CONFIG)
    root = made.put_json({"schemaVersion": 2, "config": config, "layers": annotated}, OCI_MANIFEST)
    tagged(made, root)
    assert (only(made.folder).kind, only(made.folder).blob) == (FindingKind.TOO_LARGE, root["digest"])


def test_a_tag_that_is_given_twice_is_a_notice(made: Layout) -> None:
    made.tag("latest", made.cache([b"one"]))
    second = made.cache([b"two"])
    tagged(made, second)
    finding = only(made.folder)
    assert (finding.kind, finding.severity, finding.blob) == (
        FindingKind.DUPLICATE_TAG,
        Severity.NOTICE,
        second["digest"],
    )
    assert finding.problem == "the tag 'latest' is given more than once; the first is used"


@pytest.mark.parametrize("place", ["sha256/" + "a" * 64, "sha512"])
@pytest.mark.parametrize("plant", [os.mkfifo, lambda path: path.symlink_to("/dev/zero")], ids=["pipe", "link"])
def test_what_buildx_could_wait_for_is_damage_though_nothing_leads_there(
    made: Layout, place: str, plant: Callable[[Path], None]
) -> None:
    """Go reads names in JSON whatever their capitals, and takes layers of any media type."""
    tagged(made, made.cache([b"one"]))
    plant(made.folder / "blobs" / place)
    finding = only(made.folder)
    assert (finding.kind, finding.severity, finding.blob) == (FindingKind.NOT_A_FILE, Severity.DAMAGE, f"blobs/{place}")


def test_a_name_that_is_no_blob_is_a_notice(made: Layout) -> None:
    tagged(made, made.cache([b"one"]))
    (made.blobs / "not a blob").touch()
    finding = only(made.folder)
    assert (finding.kind, finding.severity) == (FindingKind.FOREIGN, Severity.NOTICE)
    assert str(finding) == "blobs/sha256/not a blob: is not a blob"
    assert finding.remedy == "move it away; until then nothing is deleted from the folder"


def test_blobs_of_another_algorithm_are_not_understood(made: Layout) -> None:
    tagged(made, made.cache([b"one"]))
    (made.folder / "blobs" / "sha512").mkdir()
    assert str(only(made.folder)) == "blobs/sha512: is not blobs/sha256"


def _link(path: Path) -> None:
    path.symlink_to(path.parent.parent)


def _file(path: Path) -> None:
    path.touch()


WRITE = f"ingest/{'a' * 64}"


def _partial_write(path: Path, plant: Callable[[Path], None]) -> None:
    path.mkdir()
    plant(path / "data")


@pytest.mark.parametrize(
    ("name", "plant", "problem"),
    [
        *((WRITE, plant, "is not a folder of ordinary files") for plant in (os.mkfifo, _file, _link)),
        *(
            (WRITE, partial(_partial_write, plant=plant), "is not a folder of ordinary files")
            for plant in (os.mkfifo, _link, Path.mkdir)
        ),
        ("index.json.lock", os.mkfifo, "is not an ordinary file"),
        ("index.json.lock", Path.mkdir, "is not an ordinary file"),
        ("index.json.lock", _link, "is not an ordinary file"),
        ("ingest", _file, "is not a folder"),
        ("ingest", _link, "is not a folder"),
        ("blobs", _link, "is no usable folder: "),
        ("blobs", os.mkfifo, "is no usable folder: "),
        ("blobs/sha256", _link, "is no usable folder: "),
    ],
)
def test_what_would_fail_or_stall_every_export_is_damage_that_setting_aside_mends(
    made: Layout, name: str, plant: Callable[[Path], None], problem: str
) -> None:
    root = made.cache([b"one"])
    tagged(made, root)
    place = made.folder / name
    if place.exists():
        place.rename(made.folder.parent / "moved")
    plant(place)
    found = {finding.blob: finding for finding in layout.verify(made.folder)}
    assert (found[name].kind, found[name].severity) == (FindingKind.NOT_A_FILE, Severity.DAMAGE)
    assert found[name].problem.startswith(problem)
    assert found[name] in layout.sweep(made.folder).obstacles
    with layout.lock(made.folder, timeout=0):
        layout.set_aside(made.folder)
    assert not layout.damaged(layout.verify(made.folder, deep=True))


def test_an_interruption_does_not_wait_until_the_blobs_are_read(made: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C while a thread reads the first of three pieces, with another blob to come."""

    class StoppedError(Exception):
        pass

    def raise_stopped(*_: object) -> None:
        raise StoppedError

    read: list[bytes] = []
    pieces = verification._pieces

    def interrupted(content: io.RawIOBase, stop: threading.Event) -> Iterator[bytes]:
        for piece in pieces(content, stop):
            read.append(piece)
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)
            assert stop.wait(60)
            yield piece

    monkeypatch.setattr(verification, "_pieces", interrupted)
    monkeypatch.setattr(verification, "_CHUNK", 1)
    monkeypatch.setattr(verification, "_THREADS", 1)
    digests = [str(made.put(content)["digest"]) for content in (b"abc", b"later")]
    handler = signal.signal(signal.SIGUSR1, raise_stopped)
    try:
        with pytest.raises(StoppedError):
            layout.unsound(made.folder, digests)
    finally:
        signal.signal(signal.SIGUSR1, handler)
    assert read == [b"a"]


def test_findings_are_not_listed_without_end(made: Layout) -> None:
    layers = [{"mediaType": OCI_LAYER, "digest": digest_of(b"%d" % number), "size": 1} for number in range(1200)]
    tagged(made, made.nest(layers))
    findings = layout.verify(made.folder)
    assert len(findings) == limits.FINDINGS_LIMIT + 1
    assert findings[-1].kind is FindingKind.MORE
    assert findings[-1].problem == "there are more findings than are listed"


def test_an_index_that_leads_to_itself_ends(made: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    """No digest can make a cycle; a walk that is told that all digests are right must still end."""
    monkeypatch.setattr(layout.store.Store, "read_document", lambda _, digest: made.path(digest).read_bytes())
    one, two = ({"mediaType": OCI_INDEX, "digest": digest_of(name), "size": 1} for name in (b"one", b"two"))
    made.path(str(one["digest"])).write_bytes(encoded({"schemaVersion": 2, "manifests": [two, one]}))
    made.path(str(two["digest"])).write_bytes(encoded({"schemaVersion": 2, "manifests": [one]}))
    tagged(made, one)
    assert layout.reach(made.folder).digests == {one["digest"], two["digest"]}


def test_every_kind_has_a_remedy() -> None:
    remedies = [Finding(kind=kind, blob="", referrer="", problem="").remedy for kind in FindingKind]
    assert all(remedies)
    assert not any(remedy.endswith(".") for remedy in remedies)


# --- what is shown ----------------------------------------------------------------------------------------------


def test_a_folder_as_json(made: Layout) -> None:
    root = made.cache([b"small", b"much larger"])
    tagged(made, root)
    made.put(b"dead")
    os.utime(made.path(str(root["digest"])), (1_000_000_000, 1_000_000_000))
    found = layout.reach(made.folder)
    told = layout.as_json(found, layout.verify(made.folder / "none"))
    assert told["schema"] == 1
    assert (told["blobs"], told["records"], told["dead_blobs"], told["dead_bytes"]) == (4, 2, 1, 4)
    assert told["tags"] == [
        {
            "name": "latest",
            "digest": root["digest"],
            "shape": "image-manifest",
            "layers": 2,
            "records": 2,
            "live_bytes": found.live_bytes,
            "own_bytes": found.live_bytes,
            "created": "2026-01-02T03:04:05Z",
            "written": "2001-09-09T01:46:40Z",
            "build": None,
        }
    ]
    assert [layer.size for layer in layout.layers_by_size(found)] == [11, 5]
    assert isinstance(told["findings"], list)
    assert told["findings"][0]["severity"] == "notice"


def test_the_cache_key_follows_the_index_alone(made: Layout) -> None:
    assert layout.cache_key(made.folder) == ""
    index = tagged(made, made.cache([b"one"])).write_index()
    key = layout.cache_key(made.folder)
    assert "sha256:" + key == digest_of(index)
    made.put(b"more")
    assert layout.cache_key(made.folder) == key
    rewrite(made.folder / "index.json", index + b" ")
    assert layout.cache_key(made.folder) != key


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("latest", "latest"),
        ("größe 1", "größe 1"),
        ("", "''"),
        ("a\nb\x1b[2J", r"'a\nb\x1b[2J'"),
        ("\u202egpj", r"'\u202egpj'"),
        ("x" * 200, "'" + "x" * 79 + "..."),
    ],
)
def test_a_tags_name_is_shown_short_and_in_one_line(name: str, shown: str) -> None:
    assert layout.shown_tag(name) == shown


def test_a_layout_is_known_by_its_mark_our_lock_or_a_blob(tmp_path: Path) -> None:
    def folder(name: str, *files: str) -> Path:
        for file in files:
            (tmp_path / name / file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name / file).touch()
        return tmp_path / name

    blob = "blobs/sha256/" + "a" * 64
    for known in (
        folder("mark", "oci-layout"),
        folder("lock", ".buildx-cache.lock", "index.json"),
        folder("blob", blob),
    ):
        assert (layout.is_layout(known), layout.is_foreign(known)) == (True, False)
    for foreign in (folder("index", "index.json"), folder("ingest", "ingest/a"), folder("blobs", "blobs/sha256/photo")):
        assert (layout.is_layout(foreign), layout.is_foreign(foreign)) == (False, True)
    killed = folder("killed", "ingest/" + "b" * 64 + "/data")
    (killed / "blobs" / "sha256").mkdir(parents=True)
    for other in (folder("other", "README"), tmp_path / "none", tmp_path / "other" / "README", killed):
        assert (layout.is_layout(other), layout.is_foreign(other)) == (False, False)
    (tmp_path / "way").symlink_to(tmp_path / "blob")
    assert layout.is_layout(tmp_path / "way")


def test_links_make_no_layout(tmp_path: Path, made: Layout) -> None:
    made.put(b"one")
    (made.folder / ".buildx-cache.lock").touch()
    (tmp_path / "foreign").mkdir()
    for name in ("blobs", "oci-layout", ".buildx-cache.lock"):
        (tmp_path / "foreign" / name).symlink_to(made.folder / name)
    assert layout.is_foreign(tmp_path / "foreign")


def test_the_names_of_blobs(made: Layout, tmp_path: Path) -> None:
    made.put(b"one")
    make_folder(made.path(str(made.put(b"two")["digest"])))
    assert layout.blob_names(made.folder) == {digest_of(b"one")}
    assert layout.blob_names(tmp_path / "none") == frozenset()


def test_a_document_of_very_many_values_is_not_decoded(made: Layout) -> None:
    made.tag("latest", made.cache([b"one"]))
    (made.folder / "index.json").write_bytes(b'{"schemaVersion":2,"manifests":[' + b"0," * 1_000_001 + b"0]}")
    assert "more than 1000000 values" in str(layout.verify(made.folder)[0])


def test_a_hint_is_pasted_without_harm(tmp_path: Path) -> None:
    (folder := tmp_path / "x;touch y").mkdir()
    folder.chmod(0o777)
    with pytest.raises(ExposedError) as caught:
        layout.refuse_exposed(folder)
    assert f"'{folder}'" in caught.value.hint
