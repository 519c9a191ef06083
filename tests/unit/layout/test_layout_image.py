"""An image beside a cache, and the archive from which an engine loads it."""

from __future__ import annotations

import io
import json
import os
import tarfile
from pathlib import Path

import pytest

from buildx_cache import layout
from buildx_cache.layout.parse import IMAGE_NAME, MalformedError
from tests.unit.layout.layouts import OCI_MANIFEST, TAG, Json, Layout

NAMES = ("docker.io/library/a:1", "example.com:5000/b:2")
ATTESTED = "application/vnd.in-toto+json"


@pytest.fixture
def made(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "image")


def hold(made: Layout, root: Json) -> str:
    made.entries = [{**root, "annotations": {IMAGE_NAME: "docker.io/library/a:1,docker.io/library/b:2"}}]
    made.write_index()
    return str(root["digest"])


def unpacked(archive: layout.Archive) -> dict[str, bytes]:
    out = io.BytesIO()
    archive.write(out)
    out.seek(0)
    with tarfile.open(fileobj=out) as tar:
        files = {member.name: tar.extractfile(member) for member in tar}
        return {name: file.read() for name, file in files.items() if file}


def attestation(made: Layout) -> Json:
    config = made.put(b"{}", "application/vnd.oci.image.config.v1+json")
    statement = made.put(b"statement", ATTESTED)
    return made.put_json({"schemaVersion": 2, "config": config, "layers": [statement]}, OCI_MANIFEST)


def test_an_archive_has_what_its_index_leads_to_by_every_name(made: Layout) -> None:
    digest = hold(made, made.image([b"one", b"two"]))
    made.put(b"of the cache")
    files = unpacked(layout.read_archive(made.folder, NAMES))

    classic = json.loads(files["manifest.json"])
    assert len(classic) == 1
    assert classic[0]["RepoTags"] == [*NAMES]
    assert [files[name] for name in classic[0]["Layers"]] == [b"one", b"two"]
    assert json.loads(files[classic[0]["Config"]])["os"] == "linux"
    entries = json.loads(files["index.json"])["manifests"]
    assert [each["digest"] for each in entries] == [digest] * 2
    assert [each["annotations"][IMAGE_NAME] for each in entries] == [*NAMES]
    assert [each["annotations"][TAG] for each in entries] == ["1", "2"]
    assert json.loads(files["oci-layout"]) == {"imageLayoutVersion": "1.0.0"}
    assert len(files) == 3 + 4  # a manifest, a config and two layers
    assert b"of the cache" not in files.values()


def test_what_is_attested_of_an_image_comes_along(made: Layout) -> None:
    hold(made, made.nest([made.image([b"one", b"one"]), attestation(made)]))
    files = unpacked(layout.read_archive(made.folder, NAMES))
    assert b"statement" in files.values()
    assert [files[name] for name in json.loads(files["manifest.json"])[0]["Layers"]] == [b"one", b"one"]


def test_an_image_for_several_platforms_has_no_form_for_the_classic_store(made: Layout) -> None:
    hold(made, made.nest([made.image([b"one"]), made.image([b"two"])]))
    files = unpacked(layout.read_archive(made.folder, NAMES))
    assert "manifest.json" not in files
    assert {b"one", b"two"} <= set(files.values())


def test_a_folder_that_leads_elsewhere_is_refused(made: Layout) -> None:
    hold(made, made.cache([b"one"]))
    with pytest.raises(MalformedError, match="holds a cache, and no image"):
        layout.read_archive(made.folder, NAMES)
    made.entries = [made.image([b"one"]), made.image([b"two"])]
    made.write_index()
    with pytest.raises(MalformedError, match="does not hold one image"):
        layout.read_archive(made.folder, NAMES)
    (made.folder / "index.json").write_text("{")
    with pytest.raises(MalformedError):
        layout.read_archive(made.folder, NAMES)


def test_a_manifest_of_other_content_is_refused(made: Layout) -> None:
    digest = hold(made, made.image([b"one"]))
    made.path(digest).write_bytes(b"{}")
    with pytest.raises(MalformedError, match="has other content"):
        layout.read_archive(made.folder, NAMES)


def test_a_layer_of_other_content_ends_the_writing(made: Layout) -> None:
    layer = made.put(b"one")
    hold(made, made.image([b"one"]))
    made.path(str(layer["digest"])).write_bytes(b"eno")
    out = io.BytesIO()
    with pytest.raises(MalformedError, match="has other content"):
        layout.read_archive(made.folder, NAMES).write(out)
    assert not out.getvalue().endswith(bytes(1024))  # an archive ends with two empty blocks


def test_no_more_of_a_layer_is_written_than_its_manifest_says(made: Layout) -> None:
    layer = made.put(b"one")
    hold(made, made.image([b"one"]))
    os.truncate(made.path(str(layer["digest"])), 1 << 30)
    out = io.BytesIO()
    with pytest.raises(MalformedError, match="bytes, not 3"):
        layout.read_archive(made.folder, NAMES).write(out)
    assert len(out.getvalue()) < 1 << 20


def test_a_layer_that_is_not_there_ends_the_writing(made: Layout) -> None:
    layer = made.put(b"one")
    hold(made, made.image([b"one"]))
    made.path(str(layer["digest"])).unlink()
    with pytest.raises(FileNotFoundError):
        layout.read_archive(made.folder, NAMES).write(io.BytesIO())
