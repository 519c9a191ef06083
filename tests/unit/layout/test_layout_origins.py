"""Notes of where layers were served from go out of a cache manifest, byte by byte as if they had never been there."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from buildx_cache.layout.origins import without_origin
from tests.unit.layout.layouts import OCI_MANIFEST, Layout, digest_of

NOTE = "containerd.io/distribution.source."
REPOSITORY = "buildx-cache"
KEPT = {"buildkit/createdat": "2026-01-02T03:04:05Z", "containerd.io/uncompressed": digest_of(b"tar")}
LAYERS = (b"one", b"two", b"three")
Style = Callable[[object], bytes]


def one_line(document: object) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()


def indented(document: object) -> bytes:
    return json.dumps(document, indent=2).encode()


def exported(layout: Layout, notes: Mapping[str, str], *, listed: bool, style: Style) -> bytes:
    """A cache manifest as BuildKit writes it, its layers annotated."""
    document = json.loads(layout.path(str(layout.cache(LAYERS, listed=listed)["digest"])).read_bytes())
    for layer in document["manifests" if listed else "layers"]:
        if "cacheconfig" not in layer["mediaType"]:
            layer["annotations"] = dict(sorted({**KEPT, **notes}.items()))
    return style(document)


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
    expected = exported(Layout(tmp_path), left, listed=listed, style=style)
    written = exported(Layout(tmp_path), notes, listed=listed, style=style)

    assert without_origin(written, REPOSITORY) == expected
    assert without_origin(expected, REPOSITORY) is None


def test_a_layer_without_any_other_note_has_none_at_all(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    plain = layout.path(str(layout.cache(LAYERS)["digest"])).read_bytes()
    document = json.loads(plain)
    for layer in document["layers"]:
        layer["annotations"] = {f"{NOTE}127.0.0.1": REPOSITORY}

    assert without_origin(one_line(document), REPOSITORY) == plain


def _other_notes(layout: Layout) -> bytes:
    return exported(layout, {f"{NOTE}127.0.0.1": "my/buildx-cache"}, listed=False, style=one_line)


def _other_style(layout: Layout) -> bytes:
    style: Style = lambda document: json.dumps(document).encode()  # noqa: E731
    return exported(layout, {f"{NOTE}127.0.0.1": REPOSITORY}, listed=False, style=style)


def _strange(_: Layout) -> bytes:
    layers = ["x", {"annotations": 5}, {"annotations": {f"{NOTE}x": 5}}]
    return one_line({"mediaType": OCI_MANIFEST, "layers": layers, "n": 1})


@pytest.mark.parametrize("make", [_other_notes, _other_style, _strange])
def test_whatever_else_there_is_stays_as_it_is(tmp_path: Path, make: Callable[[Layout], bytes]) -> None:
    assert without_origin(make(Layout(tmp_path)), REPOSITORY) is None
