"""A folder that is written again and again holds what the current cache refers to, and no more."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from buildx_cache import layout
from tests.faults.example import noise
from tests.faults.laboratory import Laboratory

_BUILDS = 30
_LAYER = 5_000_000


def _size(folder: Path) -> int:
    """Bytes of the files of a folder."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


@pytest.mark.soak
def test_thirty_builds_of_a_changing_layer_leave_a_folder_of_one(laboratory: Laboratory, tmp_path: Path) -> None:
    context = tmp_path / "context"
    context.mkdir()
    (context / "Dockerfile").write_text("ARG BASE\nFROM ${BASE}\nCOPY large /large\nRUN wc -c < /large > /size\n")
    folder, fresh = tmp_path / "cache", tmp_path / "fresh"
    swept = 0
    with laboratory.builders.new() as builder:
        for number in range(_BUILDS):
            (context / "large").write_bytes(noise(_LAYER, number))
            ran = laboratory.tool("--cache", "local", "--cache-dir", str(folder), context=context, builder=builder)
            assert ran.code == 0, ran.stderr
            swept += ran.report["cache"]["local"]["swept_bytes"]
        laboratory.tool("--cache", "local", "--cache-dir", str(fresh), context=context, builder=builder)

    assert _size(folder) <= 1.1 * _size(fresh)
    assert swept >= (_BUILDS - 1) * _LAYER
    assert ran.report["cache"]["local"]["live_bytes"] >= _LAYER
    assert layout.verify(folder, deep=True) == ()


def test_an_upper_bound_drops_older_tags_and_never_the_one_just_written(laboratory: Laboratory) -> None:
    folder = laboratory.local_copy()
    context, _ = laboratory.context(1)
    other = f"type=local,dest={folder},mode=max,tag=old-{uuid.uuid4().hex[:8]}"
    assert laboratory.plain("--cache-to", other, context=context).code == 0
    limit = _size(laboratory.pristine.folder) * 5 // 4

    ran = laboratory.tool("--cache", "local", "--cache-dir", str(folder), "--cache-max-size", str(limit))

    assert ran.code == 0, ran.stderr
    assert _size(folder) <= limit
    assert [tag.name for tag in layout.reach(folder).tags] == ["latest"]
    assert layout.verify(folder, deep=True) == ()


def test_an_unchanged_build_leaves_the_index_and_its_key_as_they_were(laboratory: Laboratory) -> None:
    folder = laboratory.local_copy()
    words = ("--cache", "local", "--cache-dir", str(folder))
    laboratory.tool(*words)
    index = (folder / "index.json").read_bytes()
    key = folder.with_name(f"{folder.name}-key").read_text()

    ran = laboratory.tool(*words)

    assert (folder / "index.json").read_bytes() == index
    assert folder.with_name(f"{folder.name}-key").read_text() == key
    assert ran.report["cache"]["exports"][0]["status"] == "unchanged"
