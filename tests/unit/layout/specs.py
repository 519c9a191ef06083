"""Generated folders: several tags with shared, nested and unreachable blobs, and what should be known about them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import strategies as st

from tests.unit.layout.layouts import Json, Layout, config_of, digest_of


@dataclass(frozen=True, kw_only=True)
class TagSpec:
    """What a tag is made of; ``layers`` are numbers of contents that tags share."""

    layers: tuple[int, ...]
    listed: bool
    docker: bool
    depth: int
    image: bool
    day: int


@dataclass(frozen=True, kw_only=True)
class Spec:
    """A folder: one tag a TagSpec, and unreachable blobs."""

    tags: tuple[TagSpec, ...]
    junk: tuple[bytes, ...]


@dataclass(frozen=True, kw_only=True)
class Made:
    """A folder on disk, with what should be known about it."""

    layout: Layout
    live: frozenset[str]
    documents: frozenset[str]
    by_tag: Mapping[str, frozenset[str]]
    index: bytes

    @property
    def folder(self) -> Path:
        return self.layout.folder


def make(folder: Path, spec: Spec) -> Made:
    layout = Layout(folder)
    by_tag = {}
    for number, tag in enumerate(spec.tags):
        root, digests = _root(layout, tag)
        layout.tag(f"tag{number}", root)
        by_tag[f"tag{number}"] = digests
    live = frozenset[str]().union(*by_tag.values())
    layers = {digest_of(layer_content(number)) for tag in spec.tags for number in tag.layers}
    for junk in spec.junk:
        layout.put(b"junk " + junk)
    return Made(layout=layout, live=live, documents=live - layers, by_tag=by_tag, index=layout.write_index())


def layer_content(number: int) -> bytes:
    """Of another length for each two layers, so that a layer in another's place may have its size."""
    return f"layer {number} ".encode() * (number // 2 + 1)


def _root(layout: Layout, tag: TagSpec) -> tuple[Json, frozenset[str]]:
    fresh = Layout(layout.folder)
    layers = [layer_content(number) for number in tag.layers]
    if tag.image:
        root = fresh.image(layers)
    else:
        created = f"2026-01-{tag.day:02d}T00:00:00Z"
        config = config_of([digest_of(layer) for layer in layers], created)
        root = fresh.cache(layers, listed=tag.listed, docker=tag.docker, config=config)
    for _ in range(tag.depth):
        root = fresh.nest([root])
    return root, frozenset(_closure(layout, root))


def _closure(layout: Layout, of: Mapping[str, object]) -> Iterator[str]:
    digest = str(of["digest"])
    yield digest
    if "layer" in str(of["mediaType"]) or "rootfs" in str(of["mediaType"]) or "config" in str(of["mediaType"]):
        return
    document = json.loads(layout.path(digest).read_bytes())
    for child in [*document.get("manifests", []), *document.get("layers", []), *filter(None, [document.get("config")])]:
        yield from _closure(layout, child)


TAGS = st.builds(
    TagSpec,
    layers=st.lists(st.integers(0, 9), min_size=1, max_size=6, unique=True).map(tuple),
    listed=st.booleans(),
    docker=st.booleans(),
    depth=st.integers(0, 2),
    image=st.sampled_from([False, False, False, True]),
    day=st.integers(1, 28),
)
SPECS = st.builds(
    Spec,
    tags=st.lists(TAGS, min_size=1, max_size=4).map(tuple),
    junk=st.lists(st.binary(max_size=8), max_size=4, unique=True).map(tuple),
)


@contextmanager
def made(spec: Spec) -> Iterator[Made]:
    """A folder in a place of its own, with a file beside it that nothing may touch."""
    with TemporaryDirectory() as parent:
        outside = Path(parent) / "outside"
        outside.mkdir()
        (outside / ("0" * 64)).write_bytes(b"precious")
        yield make(Path(parent) / "cache", spec)
        for path in outside.iterdir():
            assert path.read_bytes() == b"precious" or digest_of(path.read_bytes()) == "sha256:" + path.name
        assert (outside / ("0" * 64)).exists()
