"""A kill at any moment of a folder's upkeep, or of an export to it, loses nothing, and the next call finishes the work.

A child process ends itself with SIGKILL before a change to the file system that is chosen at random, so that every
kill hits the middle of the work. Each kind of change (a lock, a rename, a deletion...) has the same chance.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from buildx_cache import layout
from tests.faults import layout_upkeep as upkeep
from tests.unit.layout.damages import flip_bit, truncate
from tests.unit.layout.layouts import LONG_AGO, Layout, config_of, digest_of

SEED = 20260102
KILLS = 50
LAYERS = 60


@dataclass(frozen=True, kw_only=True)
class Case:
    """Work on a folder, and the blobs that must be there afterwards."""

    deed: str
    make: Callable[[Layout], frozenset[str]]


def _tag(made: Layout, name: str, day: int, extra: Iterable[bytes] = ()) -> frozenset[str]:
    layers = [*(f"layer {number} of {name}".encode() * 50 for number in range(LAYERS)), b"shared", *extra]
    before = made.present()
    made.tag(name, made.cache(layers, config=config_of([digest_of(one) for one in layers], f"2026-03-{day:02d}")))
    return made.present() - before | {digest_of(b"shared")}


def _dead(made: Layout, count: int) -> None:
    for number in range(count):
        made.put(b"dead %d" % number)


def _partial_writes(made: Layout) -> None:
    for number in range(5):
        folder = made.folder / "ingest" / f"{number:064x}"
        folder.mkdir()
        for path in (folder / "data", folder / "ref", folder):
            if path != folder:
                path.write_bytes(b"partial")
            os.utime(path, (LONG_AGO, LONG_AGO))


def to_sweep(made: Layout) -> frozenset[str]:
    live = _tag(made, "latest", 1) | _tag(made, "other", 2)
    _dead(made, 200)
    _partial_writes(made)
    return live


def to_bound(made: Layout) -> frozenset[str]:
    _tag(made, "older", 1)
    _tag(made, "old", 2)
    _dead(made, 20)
    return _tag(made, "latest", 3)


def to_set_aside(made: Layout) -> frozenset[str]:
    _tag(made, "latest", 1)
    _tag(made, "broken", 2, [b"flipped", b"short"])
    flip_bit(made.path(digest_of(b"flipped")))
    truncate(made.path(digest_of(b"short")))
    _dead(made, 20)
    return frozenset()


def to_receive(made: Layout) -> frozenset[str]:
    """The tag that is written shares layers with what it led to before."""
    source = Layout(made.folder.parent / "source")
    layers = [*(b"new layer %d" % number * 50 for number in range(9)), b"shared"]
    source.tag("latest", source.cache(layers))
    source.write_index()
    live = _tag(made, "other", 2)
    _tag(made, "latest", 1)
    return live


CASES = [
    Case(deed="sweep", make=to_sweep),
    Case(deed="bound", make=to_bound),
    Case(deed="set_aside", make=to_set_aside),
    Case(deed="receive", make=to_receive),
]


def run(folder: Path, deed: str, *, last: int) -> subprocess.CompletedProcess[str]:
    arguments = [sys.executable, upkeep.__file__, str(folder), deed, str(last)]
    return subprocess.run(arguments, capture_output=True, text=True, check=False, timeout=60)


def copy_of(pristine: Path, place: Path) -> Path:
    """Nothing writes into a blob, so that links do; of other files a second name would be in the way."""

    def copied(source: str, target: str) -> None:
        (os.link if f"{os.sep}blobs{os.sep}" in source else shutil.copy2)(source, target)

    return shutil.copytree(pristine, place / "cache", copy_function=copied)


def sound_blobs(folder: Path) -> frozenset[str]:
    found = (folder / "blobs" / "sha256").glob("*")
    return frozenset("sha256:" + path.name for path in found if digest_of(path.read_bytes()) == "sha256:" + path.name)


def state(folder: Path) -> tuple[frozenset[str], dict[str, frozenset[str]]]:
    return layout.blob_names(folder), {tag.name: tag.blobs for tag in layout.reach(folder).tags}


def _step(steps: Sequence[str], chance: random.Random) -> int:
    kind = chance.choice(sorted(set(steps)))
    return chance.choice([place for place, step in enumerate(steps, 1) if step == kind])


@pytest.mark.parametrize("kills", [3, pytest.param(KILLS, marks=pytest.mark.soak)])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.deed)
def test_a_kill_in_the_middle_loses_nothing_and_the_next_call_finishes(case: Case, kills: int, tmp_path: Path) -> None:
    made = Layout(tmp_path / "pristine")
    live = case.make(made)
    made.write_index()
    undisturbed = copy_of(made.folder, tmp_path / "undisturbed")
    steps = run(undisturbed, case.deed, last=0).stdout.split()
    expected = state(undisturbed)
    assert live <= expected[0]
    assert expected != state(made.folder)
    chance = random.Random(f"{SEED} {case.deed}")  # noqa: S311 - nothing secret hangs on it
    for number in range(kills):
        last = _step(steps, chance)
        folder = copy_of(made.folder, tmp_path / str(number))
        killed = run(folder, case.deed, last=last)
        moment = f"seed {SEED}, {case.deed}, killed before step {last} of {len(steps)}, {steps[last - 1]}"
        assert killed.returncode == -signal.SIGKILL, f"{moment}: {killed.stderr}"
        assert live <= sound_blobs(folder), moment
        if case.deed != "set_aside":
            assert json.loads((folder / "index.json").read_bytes())["manifests"], moment
            assert not layout.damaged(layout.verify(folder, deep=True)), moment
        for path in (folder / "ingest").rglob("*"):
            os.utime(path, (LONG_AGO, LONG_AGO))  # a deletion within makes a partial write young
        with layout.lock(folder, timeout=0):
            upkeep.set_aside(folder)
            upkeep.DEEDS[case.deed](folder)
        assert not layout.damaged(layout.verify(folder, deep=True)), moment
        assert state(folder) == expected, moment
        assert not list((folder / "ingest").glob("*")), moment
        shutil.rmtree(folder.parent)
