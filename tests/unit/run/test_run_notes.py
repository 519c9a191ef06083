"""What a build notes in a folder's index of itself, and that an unchanged cache leaves the index as it was."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from buildx_cache import layout as layouts
from buildx_cache.layout.model import BuildNote
from buildx_cache.layout.notes import NOTE
from buildx_cache.layout.parse import digest_of
from tests.unit.layout.layouts import Layout
from tests.unit.run.calls import APP, FakeEngine, done, planned, said, vertex

EXPORTED = said(vertex("exporting cache to client directory"))
MADE = said(
    vertex("[build 1/2] FROM scratch", cached=True),
    vertex("[stage-1 1/1] COPY --from=build /a /a"),
    vertex("[build 2/2] RUN make hunter22"),
)
STEPS = ("build: FROM scratch", "build: RUN make hunter22", "stage-1: COPY --from=build /a /a")


def export(folder: Path, *layers: bytes) -> Callable[[], None]:
    """What comes of an export: a tag that leads to another cache has a new entry."""

    def write() -> None:
        layout = Layout(folder)
        root = layout.cache(layers)
        if layouts.tagged_digest(folder, tag="latest") != root["digest"]:
            layout.tag("latest", root)
            layout.write_index()

    return write


def built(folder: Path, *layers: bytes, **asked: object) -> str:
    """Build with a builder that writes these layers; return the status of the export."""
    plan = planned(tag=[APP], push=True, cache="local", cache_dir=str(folder), lazy="off", **asked)
    outcome, _ = done(plan, FakeEngine(builds=[(MADE + EXPORTED, 0)], deeds=[export(folder, *layers)]))
    return outcome.report.cache.exports[0].status


def note_in(folder: Path) -> BuildNote | None:
    (tag,) = layouts.reach(folder).tags
    return tag.note


def test_a_written_cache_tells_its_steps_in_the_order_of_the_dockerfile(tmp_path: Path) -> None:
    assert built(tmp_path, b"one") == "written"
    note = note_in(tmp_path)
    assert note is not None
    assert (note.steps, note.scope, note.more) == (STEPS, "main", 0)
    assert note.commit
    assert layouts.verify(tmp_path) == ()


def test_an_unchanged_cache_leaves_the_index_byte_for_byte(tmp_path: Path) -> None:
    built(tmp_path, b"one")
    before = (tmp_path / "index.json").read_bytes()
    assert built(tmp_path, b"one", cache_scope="") == "unchanged"
    assert (tmp_path / "index.json").read_bytes() == before


def test_a_cache_that_plain_buildx_wrote_gets_no_note_while_it_is_unchanged(tmp_path: Path) -> None:
    export(tmp_path, b"one")()
    before = (tmp_path / "index.json").read_bytes()
    assert built(tmp_path, b"one") == "unchanged"
    assert (tmp_path / "index.json").read_bytes() == before
    assert built(tmp_path, b"two") == "written"
    assert note_in(tmp_path) is not None


def test_a_changed_cache_has_a_note_on_the_build_that_changed_it(tmp_path: Path) -> None:
    built(tmp_path, b"one")
    index = json.loads((tmp_path / "index.json").read_bytes())
    index["manifests"][0]["annotations"][NOTE] = json.dumps({"steps": ["RUN old"]})
    (tmp_path / "index.json").write_text(json.dumps(index))
    built(tmp_path, b"two")
    note = note_in(tmp_path)
    assert note is not None
    assert note.steps == STEPS


def test_a_cache_that_replaces_a_damaged_folder_has_another_key(tmp_path: Path) -> None:
    """CircleCI and GitHub save nothing under a key that they have: the damaged folder would come back for ever."""
    cache = tmp_path / "cache"
    built(cache, b"one")
    key = layouts.cache_key(cache)
    layer = cache / "blobs" / "sha256" / digest_of(b"one").removeprefix("sha256:")
    for _ in range(2):
        layer.unlink()
        built(cache, b"one")
        assert layouts.cache_key(cache) != key
        key = layouts.cache_key(cache)
        assert built(cache, b"one") == "unchanged"
        assert layouts.cache_key(cache) == key
    assert layouts.verify(cache) == ()


def test_no_secret_is_noted(tmp_path: Path) -> None:
    built(tmp_path, b"one", build_arg=["NPM_TOKEN=hunter22"])
    note = note_in(tmp_path)
    assert note is not None
    assert len(note.steps) == len(STEPS)
    assert b"hunter22" not in (tmp_path / "index.json").read_bytes()
