"""The note in index.json on the build that wrote a tag: what is written, and what is made of a hostile one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildx_cache import layout as layouts
from buildx_cache.formatting import is_printable
from buildx_cache.layout.model import BuildNote
from buildx_cache.layout.notes import NOTE, STEPS_LIMIT, TEXT_LIMIT, annotate, build_note, note_of, note_text
from tests.unit.layout.layouts import Layout

ESCAPES = "RUN echo \x1b]0;title\x07\x1b[31m\u202e red\n::error::x"


def make(folder: Path, *tags: str) -> Layout:
    layout = Layout(folder)
    for tag in tags or ("latest",):
        layout.tag(tag, layout.cache([tag.encode()]))
    layout.write_index()
    return layout


def notes_in(folder: Path) -> dict[str, BuildNote | None]:
    return {tag.name: tag.note for tag in layouts.reach(folder).tags}


def test_a_note_is_read_as_it_was_written(tmp_path: Path) -> None:
    make(tmp_path, "latest", "other")
    note = build_note(["build: RUN make <all>", "COPY é /"], scope="main", commit="83a20ec")
    assert annotate(tmp_path, tag="latest", note=note)
    assert notes_in(tmp_path) == {"latest": note, "other": None}
    assert layouts.verify(tmp_path) == ()


def test_a_note_that_is_there_leaves_the_index_as_it_is(tmp_path: Path) -> None:
    layout = make(tmp_path)
    note = build_note(["RUN make"])
    annotate(tmp_path, tag="latest", note=note)
    before = (layout.folder / "index.json").read_bytes()
    assert not annotate(tmp_path, tag="latest", note=note)
    assert (layout.folder / "index.json").read_bytes() == before


@pytest.mark.parametrize("tag", ["absent", ""])
def test_a_tag_that_is_not_there_is_not_made(tag: str, tmp_path: Path) -> None:
    layout = make(tmp_path)
    before = (layout.folder / "index.json").read_bytes()
    assert not annotate(tmp_path, tag=tag, note=build_note(["RUN make"]))
    assert (layout.folder / "index.json").read_bytes() == before


def test_a_folder_without_an_index_is_left_alone(tmp_path: Path) -> None:
    assert not annotate(tmp_path, tag="latest", note=build_note(["RUN make"]))
    assert [*tmp_path.iterdir()] == []


def test_notes_do_not_outgrow_what_is_read_of_an_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layout = make(tmp_path, "one", "two")
    index = layout.folder / "index.json"
    note = build_note(["RUN make " + "x" * 100])
    monkeypatch.setattr("buildx_cache.layout.notes._INDEX_BYTES", index.stat().st_size + 200)
    assert [annotate(tmp_path, tag=tag, note=note) for tag in ("one", "two")] == [True, False]
    assert notes_in(tmp_path) == {"one": note, "two": None}


def test_a_build_of_many_long_steps_is_cut() -> None:
    note = build_note([f"RUN {number} " + "é" * 200 for number in range(60)], scope="s" * 500, commit="c" * 500)
    read = note_of({"annotations": {NOTE: note_text(note)}})
    assert read is not None
    assert len(read.steps) + read.more == 60
    assert 0 < len(read.steps) <= STEPS_LIMIT
    assert {len(text) <= TEXT_LIMIT for text in (*read.steps, read.scope, read.commit)} == {True}


@pytest.mark.parametrize(
    "value",
    [
        "",
        "no json",
        "[]",
        "{}",
        '{"steps": []}',
        '{"steps": "RUN make"}',
        '{"steps": [1]}',
        '{"steps": ["RUN make", {}]}',
        '{"steps": ["RUN make"' + " " * 10_000 + "]}",
        "[" * 5000,
    ],
)
def test_a_note_of_another_kind_is_none(value: str) -> None:
    assert note_of({"annotations": {NOTE: value}}) is None


@pytest.mark.parametrize("entry", [None, 1, "x", {}, {"annotations": 1}, {"annotations": {NOTE: 1}}])
def test_an_entry_of_another_kind_has_none(entry: object) -> None:
    assert note_of(entry) is None


@pytest.mark.parametrize("more", [-1, 1 << 80, "x", None, True, 1.5])
def test_a_count_of_another_kind_is_none(more: object) -> None:
    found = note_of({"annotations": {NOTE: json.dumps({"steps": ["RUN make"], "more": more})}})
    assert found == BuildNote(steps=("RUN make",))


def test_a_hostile_note_is_bounded_and_printable() -> None:
    value = json.dumps({"steps": [ESCAPES] * 100, "scope": ESCAPES, "commit": ESCAPES, "more": 3})
    found = note_of({"annotations": {NOTE: value}})
    assert found is not None
    assert (len(found.steps), found.more) == (STEPS_LIMIT, 53)
    assert [text for text in (*found.steps, found.scope, found.commit) if not is_printable(text)] == []


@given(st.text(max_size=300), st.text(max_size=300))
def test_any_text_is_read_as_it_was_noted(step: str, scope: str) -> None:
    note = build_note([step, "RUN make"], scope=scope)
    assert note_of({"annotations": {NOTE: note_text(note)}}) == note
    assert [text for text in (*note.steps, note.scope) if not is_printable(text)] == []
