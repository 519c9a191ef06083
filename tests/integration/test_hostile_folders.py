"""Cache folders that a CI restored from somewhere: a build writes nothing outside of them and waits for nothing."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from buildx_cache import layout
from tests.integration.conftest import Docker, Ran, write_project


def build(docker: Docker, project: Path, folder: Path, *more: str) -> Ran:
    words = ("--driver", "docker", "--cache", "local", "--cache-dir", str(folder), *more)
    return docker.tool("build", *words, "--build-arg", f"BASE={docker.base}", str(project))


def as_link(place: Path, outside: Path) -> None:
    place.mkdir()
    (place / "data").symlink_to(outside / place.name)


def as_second_name(place: Path, outside: Path) -> None:
    place.mkdir()
    (outside / place.name).touch()
    (place / "data").hardlink_to(outside / place.name)


def as_linked_folder(place: Path, outside: Path) -> None:
    place.symlink_to(outside)


def as_fifo(place: Path, _: Path) -> None:
    place.mkdir()
    os.mkfifo(place / "data")


def listing(folder: Path) -> dict[str, tuple[int, int]]:
    return {path.name: (stat.S_IMODE(path.lstat().st_mode), path.lstat().st_size) for path in folder.iterdir()}


def plant_all(ingest: Path, outside: Path, digests: list[str], plant: Callable[[Path, Path], None]) -> None:
    """Begin a partial write of each of these layers."""
    ingest.mkdir(parents=True)
    outside.mkdir()
    for digest in digests:
        reference = f"layer-sha256:{digest}"
        place = ingest / hashlib.sha256(reference.encode()).hexdigest()
        plant(place, outside)
        if not place.is_symlink():
            (place / "ref").write_text(reference)
            for name in ("startedat", "updatedat"):
                (place / name).write_text("2026-01-01T00:00:00Z")


def test_an_export_goes_on_with_no_partial_write_that_leads_outside(docker: Docker, tmp_path: Path) -> None:
    """The attack: Buildx opens ``ingest/HASH/data`` by name, and the hash is that of the layer's digest."""
    project = write_project(tmp_path / "hostile")
    assert build(docker, project, tmp_path / "known").code == 0
    digests = [blob.name for blob in (tmp_path / "known" / "blobs" / "sha256").iterdir()]
    for plant in (as_link, as_second_name, as_linked_folder, as_fifo):
        folder, outside = tmp_path / plant.__name__, tmp_path / f"outside-{plant.__name__}"
        plant_all(folder / "ingest", outside, digests, plant)
        before = listing(outside)
        ran = build(docker, project, folder)
        assert ran.code == 0, ran.stderr
        assert listing(outside) == before, plant
        assert ran.report["cache"]["exports"][0]["status"] == "written"
        assert ran.report["cache"]["local"]["sound"] is True


def test_an_export_leads_through_no_link_that_cannot_be_set_aside(docker: Docker, tmp_path: Path) -> None:
    """The attack: another call holds the folder, so that it cannot be set aside."""
    project, folder, outside = write_project(tmp_path / "hostile"), tmp_path / "cache", tmp_path / "outside"
    assert build(docker, project, tmp_path / "known").code == 0
    digests = [blob.name for blob in (tmp_path / "known" / "blobs" / "sha256").iterdir()]
    plant_all(folder / "ingest", outside, digests, as_link)
    (folder / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    with layout.lock(folder, timeout=0, sharing=layout.Sharing.SHARED):
        ran = build(docker, project, folder, "--lazy", "off")
    assert (ran.code, listing(outside)) == (0, {}), ran.stderr
    assert [each["status"] for each in ran.report["cache"]["imports"]] == ["corrupt"]
    assert ran.report["cache"]["exports"][0]["status"] == "written"


@pytest.mark.parametrize("lazy", ["auto", "off"])
def test_an_export_writes_to_no_file_that_has_another_name(docker: Docker, tmp_path: Path, lazy: str) -> None:
    """The attack: Buildx writes index.json and oci-layout in place, and appends to a partial write that is fresh."""
    project, folder, outside = write_project(tmp_path / "hostile"), tmp_path / "cache", tmp_path / "outside"
    assert build(docker, project, folder).code == 0
    known = [blob.name for blob in (folder / "blobs" / "sha256").iterdir()]
    (folder / "blobs").rename(tmp_path / "blobs")
    (folder / "ingest").rmdir()
    (folder / "index.json").write_text('{"schemaVersion": 2, "manifests": []}')
    plant_all(folder / "ingest", outside, known, as_second_name)
    for name in ("index.json", "oci-layout"):
        (outside / name).hardlink_to(folder / name)
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    for begun in (folder / "ingest").iterdir():
        for name in ("startedat", "updatedat"):
            (begun / name).write_text(now)
    before = {path.name: path.read_bytes() for path in outside.iterdir()}
    for number in (1, 2):
        ran = build(docker, project, folder, "--lazy", lazy, "--build-arg", f"N={number}")
        assert ran.code == 0, ran.stderr
        assert {path.name: path.read_bytes() for path in outside.iterdir()} == before
    assert ran.report["cache"]["exports"][0]["status"] in ("written", "unchanged")
    assert ran.report["cache"]["local"]["sound"] is True


def lead_to_pipes(folder: Path) -> None:
    """Hide an entry in the index that Go alone reads, of a cache whose layers are pipes."""
    blobs = folder / "blobs" / "sha256"

    def put(document: object) -> dict[str, object]:
        content = json.dumps(document).encode()
        digest = hashlib.sha256(content).hexdigest()
        (blobs / digest).write_bytes(content)
        return {"digest": f"sha256:{digest}", "size": len(content)}

    index = json.loads((folder / "index.json").read_text())
    entry = index["manifests"][0]
    manifest = json.loads((blobs / entry["digest"].removeprefix("sha256:")).read_text())
    config = (blobs / manifest["config"]["digest"].removeprefix("sha256:")).read_text()
    for place, layer in enumerate(manifest["layers"]):
        pipe = f"{place:064}"
        os.mkfifo(blobs / pipe)
        config = config.replace(layer["digest"], f"sha256:{pipe}")
        layer["digest"] = f"sha256:{pipe}"
    manifest["config"] |= put(json.loads(config))
    (folder / "index.json").write_text(json.dumps({**index, "Manifests": [{**entry, **put(manifest)}]}))


def test_no_layer_that_go_alone_finds_is_waited_for(docker: Docker, tmp_path: Path) -> None:
    project, folder = write_project(tmp_path / "hostile"), tmp_path / "cache"
    assert build(docker, project, folder).code == 0
    lead_to_pipes(folder)
    ran = build(docker, project, folder, "--lazy", "off", "--timeout", "60s")
    assert ran.code == 0, ran.stderr
    assert ran.report["cache"]["local"]["sound"] is True


@pytest.mark.parametrize(
    ("words", "env"),
    [
        (("--cache-dir", "out/cache"), {}),
        (("--cache-to", "type=local,dest=out/cache"), {}),
        ((), {"XDG_CACHE_HOME": "out"}),
        (("--cache-dir", "out/cache", "--cache-read-only"), {}),
        (("--cache-from", "type=local,src=out/cache"), {}),
    ],
    ids=["cache-dir", "cache-to", "default", "read only", "cache-from"],
)
def test_no_exported_image_has_links_where_the_cache_is_written(
    docker: Docker, tmp_path: Path, words: tuple[str, ...], env: dict[str, str]
) -> None:
    """The attack: the image holds partial writes that are links, which Buildx finds once the image is exported."""
    project = write_project(tmp_path / "hostile")
    env = {name: str(project / folder) for name, folder in env.items()}
    kind = ("--cache", "none") if {"--cache-to", "--cache-from"} & {*words} else ("--cache", "local")
    ran = docker.tool("build", "--driver", "docker", *kind, *words, "-o", "out", ".", cwd=project, env=env)
    assert (ran.code, (project / "out").exists()) == (2, False), ran.stderr
