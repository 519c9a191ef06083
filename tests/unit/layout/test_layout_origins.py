"""Notes of where layers were served from go out of a cache manifest, byte by byte as if they had never been there."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from buildx_cache.layout import forget_origin, sweep, verify
from tests.unit.layout.layouts import OCI_MANIFEST, TAG, Json, Layout, digest_of

NOTE = "containerd.io/distribution.source."
REPOSITORY = "buildx-cache"
KEPT = {"buildkit/createdat": "2026-01-02T03:04:05Z", "containerd.io/uncompressed": digest_of(b"tar")}
LAYERS = (b"one", b"two", b"three")
Style = Callable[[object], bytes]


def one_line(document: object) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()


def indented(document: object) -> bytes:
    return json.dumps(document, indent=2).encode()


def exported(layout: Layout, notes: Mapping[str, str], *, listed: bool, style: Style) -> Json:
    """A cache manifest as BuildKit writes it, its layers annotated."""
    document = json.loads(layout.path(str(layout.cache(LAYERS, listed=listed)["digest"])).read_bytes())
    for layer in document["manifests" if listed else "layers"]:
        if "cacheconfig" not in layer["mediaType"]:
            layer["annotations"] = dict(sorted({**KEPT, **notes}.items()))
    return layout.put(style(document), document["mediaType"])


@pytest.mark.parametrize("style", [one_line, indented])
@pytest.mark.parametrize("listed", [False, True])
@pytest.mark.parametrize(
    ("notes", "left"),
    [
        ({f"{NOTE}127.0.0.1": REPOSITORY}, {}),
        ({f"{NOTE}172.17.0.1": REPOSITORY, f"{NOTE}127.0.0.1": REPOSITORY}, {}),
        ({f"{NOTE}127.0.0.1": f"{REPOSITORY},library/busybox"}, {f"{NOTE}127.0.0.1": "library/busybox"}),
        (
            {f"{NOTE}127.0.0.1": REPOSITORY, f"{NOTE}docker.io": "library/busybox"},
            {f"{NOTE}docker.io": "library/busybox"},
        ),
    ],
)
def test_only_the_notes_of_the_server_go(
    tmp_path: Path, notes: Mapping[str, str], left: Mapping[str, str], style: Style, *, listed: bool
) -> None:
    layout = Layout(tmp_path)
    expected = exported(layout, left, listed=listed, style=style)
    layout.tag("latest", expected)
    index = layout.write_index()
    layout.path(str(expected["digest"])).unlink()
    written = exported(layout, notes, listed=listed, style=style)
    layout.entries = [{**written, "annotations": {TAG: "latest"}}]
    layout.write_index()

    os.utime(layout.path(str(written["digest"])))

    assert forget_origin(tmp_path, tag="latest", repository=REPOSITORY)

    assert (tmp_path / "index.json").read_bytes() == index
    assert verify(tmp_path, deep=True) == ()
    assert written["digest"] in sweep(tmp_path).blobs
    assert not forget_origin(tmp_path, tag="latest", repository=REPOSITORY)


def test_a_layer_without_any_other_note_has_none_at_all(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    plain = layout.cache(LAYERS)
    document = json.loads(layout.path(str(plain["digest"])).read_bytes())
    for layer in document["layers"]:
        layer["annotations"] = {f"{NOTE}127.0.0.1": REPOSITORY}
    layout.tag("latest", layout.put_json(document, OCI_MANIFEST))
    layout.write_index()

    assert forget_origin(tmp_path, tag="latest", repository=REPOSITORY)

    (entry,) = json.loads((tmp_path / "index.json").read_bytes())["manifests"]
    assert entry["digest"] == plain["digest"]


def test_a_manifest_that_another_tag_leads_to_stays(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    written = exported(layout, {f"{NOTE}127.0.0.1": REPOSITORY}, listed=False, style=one_line)
    layout.tag("latest", written)
    layout.tag("other", written)
    layout.write_index()

    assert forget_origin(tmp_path, tag="latest", repository=REPOSITORY)

    entries = json.loads((tmp_path / "index.json").read_bytes())["manifests"]
    assert entries[0]["digest"] != written["digest"] == entries[1]["digest"]
    assert verify(tmp_path, deep=True) == ()


def _untouched(_: Layout) -> Json | None:
    return None


def _other_notes(layout: Layout) -> Json:
    return exported(layout, {f"{NOTE}127.0.0.1": "my/buildx-cache"}, listed=False, style=one_line)


def _other_style(layout: Layout) -> Json:
    style: Style = lambda document: json.dumps(document).encode()  # noqa: E731
    return exported(layout, {f"{NOTE}127.0.0.1": REPOSITORY}, listed=False, style=style)


def _changed(layout: Layout) -> Json:
    found = exported(layout, {f"{NOTE}127.0.0.1": REPOSITORY}, listed=False, style=one_line)
    layout.path(str(found["digest"])).write_bytes(b"{}")
    return found


def _absent(layout: Layout) -> Json:
    found = exported(layout, {f"{NOTE}127.0.0.1": REPOSITORY}, listed=False, style=one_line)
    layout.path(str(found["digest"])).unlink()
    return found


def _strange(layout: Layout) -> Json:
    document = {
        "mediaType": OCI_MANIFEST,
        "layers": ["x", {"annotations": 5}, {"annotations": {f"{NOTE}x": 5}}],
        "n": 1,
    }
    return layout.put(one_line(document), OCI_MANIFEST)


@pytest.mark.parametrize("make", [_untouched, _other_notes, _other_style, _changed, _absent, _strange])
def test_whatever_else_there_is_stays_as_it_is(tmp_path: Path, make: Callable[[Layout], Json | None]) -> None:
    layout = Layout(tmp_path / "cache")
    if root := make(layout):
        layout.tag("latest", root)
    index = layout.write_index()
    before = layout.present()

    assert not forget_origin(layout.folder, tag="latest", repository=REPOSITORY)

    assert layout.present() == before
    assert (layout.folder / "index.json").read_bytes() == index


def test_where_there_is_no_folder_there_is_nothing_to_forget(tmp_path: Path) -> None:
    assert not forget_origin(tmp_path / "absent", tag="latest", repository=REPOSITORY)
