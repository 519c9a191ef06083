from __future__ import annotations

import base64
import fcntl
import json
import os
import shutil
import sys
import time
from collections.abc import Mapping
from io import BytesIO, StringIO, TextIOWrapper
from pathlib import Path
from typing import Any

import pytest

from buildx_cache.cli import (  # urllib3 binds a socket when it is imported: not in a test
    cache_folders,
    cache_registries,
)
from buildx_cache.cli.cache_arguments import Folder, PruneLimits, RegistryLimits, kept_branches, parse_target
from buildx_cache.engine import git
from buildx_cache.engine.process import Completed
from buildx_cache.errors import UnreachableError, UsageError
from buildx_cache.layout.eviction import prune
from buildx_cache.layout.linked import new_linked_folder
from buildx_cache.layout.notes import annotate, build_note
from buildx_cache.redaction import Secret
from buildx_cache.reference import Reference, parse_reference
from buildx_cache.registry import Password
from tests.unit.command_line import CommandLine
from tests.unit.layout.layouts import LONG_AGO, Layout, config_of, digest_of

DAY = 86400.0
OLD, NEW = b"old " * 5000, b"new " * 1000
EVIL = "evil\x1b[31m\x1b]0;title\x07\nfake: line\u202e[bold]tag"


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    for name in set(os.environ) - {"PYTEST_CURRENT_TEST"}:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.chdir(tmp_path)
    return CommandLine(tmp_path, monkeypatch, capsys)


def days_ago(days: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - days * DAY))


def add(layout: Layout, tag: str, days: float, *layers: bytes) -> None:
    config = config_of([digest_of(layer) for layer in layers], days_ago(days))
    layout.tag(tag, layout.cache(layers, config=config))


def make(folder: Path, *, junk: int = 0) -> Layout:
    """A cache of two tags that share a layer: `old` of 40 days, `latest` of 2 days and half an hour."""
    layout = Layout(folder)
    add(layout, "old", 40, OLD, b"shared" * 100)
    add(layout, "latest", 2.02, NEW, b"shared" * 100)
    for number in range(junk):
        layout.put(b"junk" * (number + 1))
    layout.write_index()
    return layout


def listing(folder: Path) -> dict[str, tuple[float, bytes]]:
    return {
        str(path.relative_to(folder)): (path.stat().st_mtime, path.read_bytes())
        for path in folder.rglob("*")
        if path.is_file()
    }


def document(out: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(out)
    assert found["schema"] == 1
    return found


# --- what is meant -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["cache", "./cache", "org/app", "localhost:5000/app"])
def test_what_exists_is_a_folder_even_if_it_could_be_a_reference(call: CommandLine, text: str) -> None:
    make(call.folder / text)
    assert parse_target(text) == Folder(path=Path(text), caches=(Path(text),))


def test_a_tilde_is_the_home_folder(call: CommandLine) -> None:
    make(call.folder / "home" / "cache")
    assert parse_target("~/cache") == Folder(
        path=call.folder / "home" / "cache", caches=(call.folder / "home" / "cache",)
    )


@pytest.mark.parametrize("text", ["app", "org/app:1", "registry.example.com/team/app", f"app@sha256:{'a' * 64}"])
def test_what_does_not_exist_is_a_reference(call: CommandLine, text: str) -> None:
    assert not (call.folder / text).exists()
    assert parse_target(text) == parse_reference(text)
    assert isinstance(parse_target(text), Reference)


def test_a_folder_with_a_cache_for_each_platform_is_those(call: CommandLine) -> None:
    for name in ("linux-arm64", "linux-amd64"):
        make(call.folder / "fleet" / name)
    (call.folder / "fleet" / "notes").mkdir()
    aside = make(call.folder / "fleet" / "linux-arm64.damaged-1")
    (aside.folder / ".buildx-cache-aside").touch()
    assert parse_target("fleet") == Folder(
        path=Path("fleet"), caches=(Path("fleet/linux-amd64"), Path("fleet/linux-arm64"))
    )


@pytest.mark.parametrize("words", [("inspect",), ("verify", "--deep"), ("prune", "--max-size", "1MB")])
def test_a_folder_of_more_than_64_caches_is_refused(call: CommandLine, words: tuple[str, ...]) -> None:
    first = make(call.folder / "fleet" / "0")
    for number in range(1, 65):
        shutil.copytree(first.folder, call.folder / "fleet" / str(number), copy_function=os.link)
    ran = call("cache", *words, "fleet")
    assert (ran.code, ran.error) == (2, "too-many-caches")


def linked_folder_in(cache: Layout) -> Path:
    """A folder to which a build exports, or that a killed one left."""
    linked = new_linked_folder(cache.folder)
    for name in ("index.json", "oci-layout"):
        shutil.copy(cache.folder / name, linked)
    return linked


@pytest.mark.parametrize("words", [("inspect",), ("verify",), ("prune", "--dry-run", "--max-age", "1s")])
def test_what_a_build_exports_to_is_no_cache(call: CommandLine, words: tuple[str, ...]) -> None:
    linked = linked_folder_in(make(call.folder / "cache"))
    before = sorted(linked.rglob("*"))
    ran = call("cache", *words, "cache")
    assert linked.name not in ran.out + ran.err
    assert sorted(linked.rglob("*")) == before


def test_a_prune_deletes_what_killed_builds_left(call: CommandLine) -> None:
    """Else its hard links would keep the space of all blobs that go."""
    linked = linked_folder_in(make(call.folder / "cache"))
    ran = call("cache", "prune", "--max-size", "1", "cache")
    assert (ran.code, linked.exists()) == (0, False)


@pytest.mark.parametrize("command", ["inspect", "verify", "prune"])
@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("./absent", "the cache folder does not exist: ./absent"),
        ("~nobody-of-that-name/x", "the cache folder does not exist: ~nobody-of-that-name/x"),
        ("/" + "long" * 999, "the cache folder does not exist: /longlong"),
        ("/nonexistent/cache", "the cache folder does not exist: /nonexistent/cache"),
        ("file", "the cache folder is a file: file"),
        ("empty", "there is no cache in the folder empty: it is no OCI layout"),
        ("web", "there is no cache in the folder web: it is no OCI layout"),
        ("site", "there is no cache in the folder site: it is no OCI layout"),
        ("Not A Thing", "'Not A Thing' is neither a folder that exists nor an image reference"),
        ("https://registry.example.com/app", "'https://registry.example.com/app' is neither a folder that exists nor"),
    ],
)
def test_a_wrong_target_is_refused_and_left_alone(call: CommandLine, command: str, target: str, message: str) -> None:
    (call.folder / "file").touch()
    (call.folder / "empty").mkdir()
    (call.folder / "web").mkdir()
    (call.folder / "web" / "index.json").write_text("{}")
    (call.folder / "site" / "blobs").mkdir(parents=True)
    (call.folder / "site" / "index.json").write_text("{}")
    before = listing(call.folder)
    called = call("cache", command, target)
    assert (called.code, called.out) == (2, "")
    assert called.err.startswith(f"error: {message}")
    assert "\nhint: " in called.err
    assert listing(call.folder) == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("cache", "--max-size", "lots"), "--max-size 'lots' is not a size"),
        (("cache", "--max-age", "3 weeks"), "--max-age '3 weeks' is not a duration"),
        (("cache", "--keep-branches-from", "git"), "--keep-branches-from is for a registry"),
        (("localhost:1/app", "--max-size", "1GB"), "--max-size is for a folder"),
        (("localhost:1/app", "--max-age", "x"), "--max-age 'x' is not a duration"),
        (("localhost:1/app",), "nothing says which tags may go"),
        (("localhost:1/app", "--keep-branches-from", "absent"), "--keep-branches-from: absent cannot be read: No such"),
        (("localhost:1/app", "--keep-branches-from", "none"), "--keep-branches-from: there is no branch in none"),
        (("localhost:1/app", "--keep-branches-from", "binary"), "--keep-branches-from: binary cannot be read: it is"),
    ],
)
def test_wrong_limits_are_refused_before_anything_is_asked(
    call: CommandLine, words: tuple[str, ...], message: str
) -> None:
    make(call.folder / "cache", junk=2)
    (call.folder / "none").write_text("# nothing\n\n")
    (call.folder / "binary").write_bytes(b"\xff\xfe")
    before = listing(call.folder)
    called = call("cache", "prune", *words)
    assert (called.code, called.out) == (2, "")
    assert called.err.startswith(f"error: {message}")
    assert listing(call.folder) == before


# --- inspect -----------------------------------------------------------------------------------------------


def test_inspect_shows_tags_and_layers(call: CommandLine) -> None:
    make(call.folder / "cache", junk=2)
    called = call("cache", "inspect", "cache", "--layers", "2")
    assert (called.code, called.err) == (0, "")
    lines = called.out.splitlines()
    assert lines[0].split() == ["cache", "cache"]
    assert lines[1].rstrip().startswith("live      ")
    assert lines[2].rstrip() == "dead      12 B in 2 blobs: `cache prune` deletes what nothing refers to"
    (old,) = [line.split() for line in lines if line.startswith("old ")]
    (latest,) = [line.split() for line in lines if line.startswith("latest ")]
    assert (old[1], latest[1]) == ("40d", "2d")
    assert (old[-3:], latest[-3:]) == (["2", "2", "image-manifest"], ["2", "2", "image-manifest"])
    (largest,) = [line.split() for line in lines if line.startswith(digest_of(OLD)[:19])]
    assert largest == [digest_of(OLD)[:19], "19.5", "KiB", "-", "gzip", "old"]
    assert lines[-1] == "and 1 smaller layer, 600 B: --layers 3 shows all"


def test_inspect_shows_the_steps_of_the_build_that_wrote_a_tag(call: CommandLine) -> None:
    make(call.folder / "cache")
    steps = ["build: RUN make all", f"build: {EVIL}", "build: RUN " + "x" * 200, *["RUN more"] * 50]
    annotate(call.folder / "cache", tag="latest", note=build_note(steps, scope="main", commit="83a20ec0" * 5))
    called = call("cache", "inspect", "cache", "--layers", "0")
    assert (called.code, called.err) == (0, "")
    lines = [line.rstrip() for line in called.out.splitlines()]
    place = lines.index("steps     of latest (main, commit 83a20ec083a2)")
    assert lines[place + 1] == "  build: RUN make all"
    assert lines[-1] == "  and 3 more steps"
    assert max(map(len, lines)) <= 80
    assert not [sign for sign in called.out if sign != "\n" and not sign.isprintable()]
    (cache,) = document(call("cache", "inspect", "cache", "--format", "json").out)["caches"]
    old, latest = (tag["build"] for tag in cache["tags"])
    assert old is None
    assert (latest["scope"], latest["steps"][0], latest["more_steps"]) == ("main", "build: RUN make all", 3)


def test_a_folder_without_notes_says_why(call: CommandLine) -> None:
    make(call.folder / "cache")
    assert [line for line in call("cache", "inspect", "cache").out.splitlines() if line.startswith("steps ")]


def test_the_document_of_inspect_has_every_byte(call: CommandLine) -> None:
    layout = make(call.folder / "cache", junk=3)
    called = call("cache", "inspect", "cache", "--format", "json", "--layers", "0")
    assert (called.code, called.err) == (0, "")
    found = document(called.out)
    assert found["folder"] == "cache"
    (cache,) = found["caches"]
    on_disk = sum(path.stat().st_size for path in layout.blobs.iterdir())
    assert cache["dead_blobs"] == 3
    assert cache["dead_bytes"] == 4 + 8 + 12
    assert cache["live_bytes"] + cache["dead_bytes"] == on_disk
    assert cache["blobs"] == len(list(layout.blobs.iterdir())) - 3
    assert [tag["name"] for tag in cache["tags"]] == ["old", "latest"]
    assert [(layer["digest"], layer["bytes"], layer["tags"]) for layer in cache["layers"]] == [
        (digest_of(OLD), len(OLD), ["old"]),
        (digest_of(NEW), len(NEW), ["latest"]),
        (digest_of(b"shared" * 100), 600, ["old", "latest"]),
    ]
    assert cache["findings"] == []


def test_inspect_shows_each_platforms_cache(call: CommandLine) -> None:
    for name in ("linux-amd64", "linux-arm64"):
        make(call.folder / "fleet" / name)
    heads = [line for line in call("cache", "inspect", "fleet").out.splitlines() if line.startswith("cache ")]
    assert [line.split()[1] for line in heads] == ["fleet/linux-amd64", "fleet/linux-arm64"]
    found = document(call("cache", "inspect", "fleet", "--format", "json").out)
    assert [cache["folder"] for cache in found["caches"]] == ["fleet/linux-amd64", "fleet/linux-arm64"]


def test_a_link_in_a_cache_folder_leads_to_no_other_cache(call: CommandLine) -> None:
    make(call.folder / "fleet")
    other = make(call.folder / "other", junk=1)
    before = other.present()
    (call.folder / "fleet" / "linux-amd64").symlink_to(other.folder)
    assert parse_target("fleet") == Folder(path=Path("fleet"), caches=(Path("fleet"),))
    assert call("cache", "prune", "fleet", "--max-age", "30d").code == 0
    assert other.present() == before


@pytest.mark.parametrize("words", [("inspect",), ("verify",), ("prune", "--max-age", "30d")])
def test_no_committed_link_leads_to_another_cache(call: CommandLine, words: tuple[str, ...]) -> None:
    other, top = make(call.folder / "other", junk=1), call.folder / "top"
    before = other.present()
    (top / ".git").mkdir(parents=True)
    (top / "cache").symlink_to(other.folder)
    called = call("cache", *words, "top/cache")
    assert (called.code, "symbolic link" in called.err) == (2, True)
    assert other.present() == before
    assert call("cache", *words, "other").code == 0


def test_inspect_changes_nothing_and_tells_damage(call: CommandLine) -> None:
    layout = make(call.folder / "cache")
    layout.path(digest_of(OLD)).unlink()
    before = listing(layout.folder)
    called = call("cache", "inspect", "cache")
    assert called.code == 0
    assert f"damage    {digest_of(OLD)[:19]}: is not in the folder" in called.out
    assert listing(layout.folder) == before


@pytest.mark.parametrize(
    "words", [("inspect",), ("verify",), ("verify", "--deep"), ("prune", "--dry-run", "--max-age", "1s")]
)
@pytest.mark.parametrize("hurt", [False, True])
def test_everything_fits_80_columns_and_is_harmless_to_terminals(
    call: CommandLine,
    words: tuple[str, ...],
    hurt: bool,  # noqa: FBT001 -- a table
) -> None:
    layout = Layout(call.folder / "cache")
    long = "feature/" + "-".join(["a-name-of-somebodys-very-own-choice"] * 4)
    for number, tag in enumerate((EVIL, long, "", "latest")):
        add(layout, tag, 1000 * number + 1, *(f"{tag} {size}".encode() * 9**size for size in range(5)))
    layout.write_index()
    if hurt:
        max(layout.blobs.iterdir(), key=lambda path: path.stat().st_size).unlink()
    called = call("cache", words[0], "cache", *words[1:])
    assert max(map(len, called.out.splitlines())) <= 80
    assert not [sign for sign in called.out + called.err if sign != "\n" and not sign.isprintable()]
    assert not [line for line in called.out.splitlines() if line.startswith("fake")]
    if words[0] != "verify":
        assert "[bold]tag" in called.out.replace("\n", "").replace(" ", "")


def test_a_tag_that_the_terminal_cannot_show_is_shown_all_the_same(call: CommandLine) -> None:
    layout = Layout(call.folder / "cache")
    add(layout, "größe-✓", 1, OLD)
    layout.write_index()
    out = BytesIO()
    call.patch.setattr(sys, "stdout", TextIOWrapper(out, encoding="ascii", errors="strict"))
    assert call("cache", "inspect", "cache").code == 0
    assert b"gr\\xf6\\xdfe-\\u2713" in out.getvalue()


# --- verify ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("deep", [(), ("--deep",)])
def test_a_sound_folder_is_sound(call: CommandLine, deep: tuple[str, ...]) -> None:
    make(call.folder / "cache")
    called = call("cache", "verify", "cache", *deep)
    assert (called.code, called.err) == (0, "")
    assert called.out.startswith("sound     cache: 7 blobs, ")
    found = document(call("cache", "verify", "cache", "--format", "json", *deep).out)
    assert found == {
        "schema": 1,
        "folder": "cache",
        "deep": bool(deep),
        "sound": True,
        "caches": [{"folder": "cache", "sound": True, "findings": []}],
    }


def test_a_damaged_folder_is_told_blob_by_blob(call: CommandLine) -> None:
    layout = make(call.folder / "cache")
    layout.path(digest_of(OLD)).unlink()
    layout.path(digest_of(NEW)).write_bytes(b"short")
    called = call("cache", "verify", "cache")
    assert called.code == 7
    old, new = digest_of(OLD)[:19], digest_of(NEW)[:19]
    assert f"damage    {old}: is not in the folder\n          named by sha256:" in _stripped(called.out)
    assert f"damage    {new}: has 5 bytes, not {len(NEW)}\n          named by sha256:" in _stripped(called.out)
    assert called.out.count("hint      build again: the next build sets it aside") == 1
    assert called.err == (
        "error: the cache in cache is damaged: 2 faults\n"
        "hint: the next build with this --cache-dir sets the damage aside and keeps what is sound\n"
    )


def _stripped(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.splitlines())


def test_only_a_deep_look_finds_a_flipped_bit(call: CommandLine) -> None:
    layout = make(call.folder / "cache")
    layout.path(digest_of(OLD)).write_bytes(b"O" + OLD[1:])
    assert call("cache", "verify", "cache").code == 0
    called = call("cache", "verify", "cache", "--deep", "--format", "json")
    assert called.code == 7
    assert called.err == (
        "error: the cache in cache is damaged: 1 fault\n"
        "hint: a build sets it aside when it meets it; delete the folder to be rid of it now\n"
    )
    found = document(called.out)
    assert found["sound"] is False
    (finding,) = found["caches"][0]["findings"]
    assert (finding["kind"], finding["severity"], finding["blob"]) == ("content", "damage", digest_of(OLD))
    assert set(finding) == {"kind", "severity", "blob", "referrer", "problem", "remedy"}


def test_one_damaged_platform_makes_a_fleet_damaged(call: CommandLine) -> None:
    make(call.folder / "fleet" / "linux-amd64")
    make(call.folder / "fleet" / "linux-arm64").path(digest_of(NEW)).unlink()
    called = call("cache", "verify", "fleet", "--format", "json")
    assert called.code == 7
    assert [cache["sound"] for cache in document(called.out)["caches"]] == [True, False]


def test_a_folder_that_is_being_pruned_is_not_verified(call: CommandLine) -> None:
    make(call.folder / "cache")
    call.patch.setattr(cache_folders, "LOCK_SECONDS", 0.0)
    with _locked(call.folder / "cache"):
        called = call("cache", "verify", "cache")
    assert (called.code, called.out) == (6, "")
    assert "another build holds the cache folder cache" in called.err


# --- prune -------------------------------------------------------------------------------------------------


class _locked:  # noqa: N801 -- reads as a function
    """Holds a folder as a build does."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __enter__(self) -> None:
        self._file = (self._folder / ".buildx-cache.lock").open("w")
        fcntl.flock(self._file, fcntl.LOCK_EX)

    def __exit__(self, *_: object) -> None:
        self._file.close()


def test_prune_deletes_what_nothing_refers_to(call: CommandLine) -> None:
    layout = make(call.folder / "cache", junk=3)
    index = (layout.folder / "index.json").read_bytes()
    called = call("cache", "prune", "cache")
    assert (called.code, called.err) == (0, "")
    assert "deleted   3 blobs, 24 B\n" in _stripped(called.out)
    assert (layout.folder / "index.json").read_bytes() == index
    assert len(list(layout.blobs.iterdir())) == 7
    assert "deleted   0 blobs, 0 B\n" in _stripped(call("cache", "prune", "cache").out)


def test_prune_drops_tags_by_age_and_says_so(call: CommandLine) -> None:
    layout = make(call.folder / "cache", junk=1)
    called = call("cache", "prune", "cache", "--max-age", "30d", "--format", "json")
    assert (called.code, called.err) == (0, "")
    (done,) = document(called.out)["caches"]
    assert done["tags"] == ["old"]
    assert digest_of(OLD) in done["blobs"]
    assert done["blob_bytes"] > len(OLD)
    assert not layout.path(digest_of(OLD)).exists()
    assert layout.path(digest_of(b"shared" * 100)).exists()
    assert done["live_bytes"] == sum(path.stat().st_size for path in layout.blobs.iterdir())
    assert call("cache", "verify", "cache", "--deep").code == 0


def test_age_may_take_every_tag(call: CommandLine) -> None:
    layout = make(call.folder / "cache")
    called = call("cache", "prune", "cache", "--max-age", "24h")
    assert (called.code, called.err) == (0, "")
    assert "dropped   2 tags: old, latest" in called.out
    assert list(layout.blobs.iterdir()) == []
    assert call("cache", "verify", "cache").code == 0


def test_size_takes_the_oldest_tags_and_leaves_the_newest(call: CommandLine) -> None:
    layout = make(call.folder / "cache")
    called = call("cache", "prune", "cache", "--max-size", "10KB")
    assert (called.code, called.err) == (0, "")
    assert "dropped   1 tag: old" in called.out
    called = call("cache", "prune", "cache", "--max-size", "1KB")
    assert called.code == 0
    assert "dropped" not in called.out
    assert called.err.startswith("warning: cache holds 5.")
    assert called.err.endswith("more than 1.0 KiB: its newest tag takes that alone\n")
    assert layout.path(digest_of(NEW)).exists()


def test_age_and_size_are_one_decision(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "cache")
    for number, days in enumerate((90, 20, 10, 1)):
        add(layout, f"tag{number}", days, bytes([number]) * 10_000)
    layout.write_index()
    done = prune(layout.folder, max_size=25_000, since=time.time() - 30 * DAY, dry_run=True)
    assert done.dropped == ("tag0", "tag1")
    assert prune(layout.folder, max_size=25_000, since=time.time() - 30 * DAY).dropped == done.dropped
    assert prune(layout.folder, max_size=25_000, since=time.time() - 30 * DAY).dropped == ()


def test_a_fleets_caches_share_the_size(call: CommandLine) -> None:
    for name in ("linux-amd64", "linux-arm64"):
        make(call.folder / "fleet" / name)
    called = call("cache", "prune", "fleet", "--max-size", "40KB", "--dry-run", "--format", "json")
    assert [cache["tags"] for cache in document(called.out)["caches"]] == [["old"], ["old"]]
    called = call("cache", "prune", "fleet", "--max-size", "80KB", "--dry-run", "--format", "json")
    assert [cache["tags"] for cache in document(called.out)["caches"]] == [[], []]


@pytest.mark.parametrize("limit", [(), ("--max-age", "30d"), ("--max-size", "1KB"), ("--max-age", "1s")])
def test_a_dry_run_tells_what_prune_does_and_touches_nothing(call: CommandLine, limit: tuple[str, ...]) -> None:
    layout = make(call.folder / "cache", junk=2)
    before = listing(layout.folder)
    told = document(call("cache", "prune", "cache", "--dry-run", "--format", "json", *limit).out)
    assert "would delete" in call("cache", "prune", "cache", "--dry-run", *limit).out
    assert listing(layout.folder) == before
    done = document(call("cache", "prune", "cache", "--format", "json", *limit).out)
    assert (told.pop("dry_run"), done.pop("dry_run")) == (True, False)
    assert told == done


def test_what_was_just_written_stays_for_now(call: CommandLine) -> None:
    layout = make(call.folder / "cache", junk=1)
    os.utime(layout.path(digest_of(b"junk")))
    called = call("cache", "prune", "cache")
    assert "kept      1 blob, 4 B, for now: younger than ten minutes" in called.out
    assert layout.path(digest_of(b"junk")).exists()


def test_a_folder_that_is_not_understood_keeps_everything(call: CommandLine) -> None:
    layout = make(call.folder / "cache", junk=2)
    (layout.blobs / "notes.txt").touch()
    before = listing(layout.folder)
    called = call("cache", "prune", "cache", "--max-age", "1s")
    assert called.code == 7
    assert called.err == (
        "error: nothing was deleted from cache: blobs/sha256/notes.txt: is not a blob\n"
        "hint: move it away; until then nothing is deleted from the folder\n"
    )
    after = listing(layout.folder)
    after.pop(".buildx-cache.lock")
    assert after == before


def test_a_folder_in_use_is_not_pruned(call: CommandLine) -> None:
    layout = make(call.folder / "cache", junk=2)
    call.patch.setattr(cache_folders, "LOCK_SECONDS", 0.0)
    with _locked(layout.folder):
        before = listing(layout.folder)
        called = call("cache", "prune", "cache")
        assert listing(layout.folder) == before
    assert (called.code, called.out) == (6, "")


def test_a_tag_of_unknown_age_is_as_old_as_its_file(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "cache")
    layout.tag("image", layout.image([b"layer"]))
    layout.write_index()
    assert prune(layout.folder, since=LONG_AGO, dry_run=True).dropped == ()
    assert prune(layout.folder, since=LONG_AGO + 1, dry_run=True).dropped == ("image",)


# --- logins ------------------------------------------------------------------------------------------------

LOGIN = {"DOCKER_LOGIN": "robot", "DOCKER_PASSWORD": "hunter2"}
ROBOT = Password(username="robot", secret=Secret("hunter2"))


@pytest.mark.parametrize(
    ("host", "env", "login"),
    [
        ("registry.example.com", LOGIN, None),
        ("localhost:5000", LOGIN, None),
        ("", LOGIN, ROBOT),
        ("docker.io", LOGIN, ROBOT),
        ("registry-1.docker.io", LOGIN, ROBOT),
        ("docker.io", {**LOGIN, "DOCKER_PASSWORD": "hunter2\n"}, ROBOT),
        ("docker.io", {**LOGIN, "DOCKER_REGISTRY": "registry.example.com"}, None),
        ("registry.example.com", {**LOGIN, "DOCKER_REGISTRY": "registry.example.com"}, ROBOT),
        ("registry.example.com", {**LOGIN, "DOCKER_REGISTRY": "HTTPS://Registry.Example.com/"}, ROBOT),
        ("registry.example.com", {**LOGIN, "DOCKER_REGISTRY": "registry.example.com.evil.example"}, None),
        ("registry.example.com:5000", {**LOGIN, "DOCKER_REGISTRY": "registry.example.com"}, None),
        ("registry.example.com", {**LOGIN, "DOCKER_REGISTRY": "https://registry.example.com/team"}, ROBOT),
        ("docker.io", {**LOGIN, "DOCKER_REGISTRY": "https://index.docker.io/v1/"}, ROBOT),
        ("other.example.com", {**LOGIN, "DOCKER_REGISTRY": "registry.example.com"}, None),
        ("registry.example.com", {"DOCKER_LOGIN": "robot"}, None),
        ("registry.example.com", {}, None),
    ],
)
def test_the_login_of_the_ci_goes_to_its_registry_only(
    tmp_path: Path, host: str, env: dict[str, str], login: Password | None
) -> None:
    assert cache_registries.credential(host, {**env, "HOME": str(tmp_path)}) == login


# --- branches ----------------------------------------------------------------------------------------------


def test_branches_come_from_a_files_lines(call: CommandLine) -> None:
    (call.folder / "kept").write_text("# those\nmain\n\n  feature/x  \n#main\n")
    assert kept_branches("kept", {}) == ("main", "feature/x")
    limits = PruneLimits(max_age="7d", keep_branches_from="kept").of_registry({})
    assert limits == RegistryLimits(max_age=7 * DAY, branches=("main", "feature/x"))


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("* main", ("main",)),
        ("+ feature/x", ("feature/x",)),
        ("refs/heads/feature/x", ("feature/x",)),
        ("  origin/feature/x", ("origin/feature/x", "feature/x")),
        ("origin/HEAD -> origin/main", ("origin/HEAD", "HEAD")),
        ("remotes/upstream/main", ("remotes/upstream/main", "main")),
        ("refs/remotes/origin/main", ("refs/remotes/origin/main", "main")),
        (f"{'a1' * 20}\trefs/heads/main", ("main",)),
        ("feature/origin/x", ("feature/origin/x",)),
    ],
)
def test_lists_that_git_prints_are_understood(call: CommandLine, line: str, names: tuple[str, ...]) -> None:
    (call.folder / "kept").write_text(f"{line}\n")
    assert kept_branches("kept", {}) == names


def test_branches_come_from_stdin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", StringIO("main\nnightly\n"))
    assert kept_branches("-", {}) == ("main", "nightly")
    with pytest.raises(UsageError, match="no branch in stdin"):
        kept_branches("-", {})


HEADS = "83a20ec0\trefs/heads/feature/x\n83a20ec1\trefs/heads/main\n"


Seen = list[tuple[tuple[str, ...], Mapping[str, str]]]


def _git(answers: Mapping[str, Completed], seen: Seen | None = None) -> Any:  # noqa: ANN401 -- a stand-in for a function
    def capture(argv: tuple[str, ...], *, env: Mapping[str, str], within: tuple[float, int]) -> Completed:
        assert all(within)
        if seen is not None:
            seen.append((argv, env))
        return next(answer for word, answer in answers.items() if word in argv)

    return capture


def test_branches_are_those_that_origin_has(call: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    (call.folder / ".git").mkdir()
    answers = {
        "config": Completed(code=0, stdout="git@example.com:a.git\0"),
        "ls-remote": Completed(code=0, stdout=HEADS),
    }
    monkeypatch.setattr(git, "capture_within", _git(answers))
    assert kept_branches("git", {}) == ("feature/x", "main")


@pytest.mark.parametrize(
    "address",
    [
        "https://example.com/a.git",
        "https://example.com:8443/a.git",
        "https://user:pa%40ss@example.com/a.git",
        "https://[::1]:8443/a",
        "ssh://git@example.com:22/a.git",
        "ssh://example.com/~me/a.git",
        "git@example.com:org/a.git",
        "example.com:/srv/a.git",
        "git@[::1]:a.git",
    ],
)
def test_origin_is_asked_by_https_and_ssh(call: CommandLine, address: str) -> None:
    assert _asked(call, address) == ("feature/x", "main")


@pytest.mark.parametrize(
    "address",
    [
        "/srv/a.git",
        "../a.git",
        "./a:b",
        "a.git",
        "file:///srv/a.git",
        "http://example.com/a.git",
        "git://example.com/a.git",
        "ftp://example.com/a.git",
        "ext::sh -c true",
        "ext::true",
        "fd::17",
        "user@ext::true",
        "transport::https://example.com/a",
        "HTTPS://example.com/a.git",
        "ssh://-oProxyCommand=true/a",
        "ssh://-oProxyCommand=true@example.com/a",
        "-oProxyCommand=true:a",
        "git@-oProxyCommand=true:a",
        "example.com:-a",
        "https://-example.com/a",
        "https://example.com/a b",
        "https://example.com/a\nb",
        "https://exa\tmple.com/a",
        "git@example.com:a\nb",
        "https://user%0ahost=github.com@example.com/a",
        "https://user%0d:pass@example.com/a",
        "https://exa%6dple.com/a",
        "https://example.com/a%0ahost=github.com",
        "ssh://git@exa%0ample.com/a",
        "https://[:::]/a",
        "https://example\u2100.com/a",
        "",
    ],
)
def test_origin_is_asked_by_nothing_else(call: CommandLine, address: str) -> None:
    with pytest.raises(UsageError, match="--keep-branches-from git"):
        _asked(call, address)


def test_a_login_in_origins_address_is_on_no_command_line(call: CommandLine) -> None:
    seen: Seen = []
    _asked(call, "https://gitlab-ci-token:hunter2@example.com:8443/a.git", seen)
    argv, env = seen[-1]
    assert "hunter2" not in " ".join(argv)
    count = int(env["GIT_CONFIG_COUNT"])
    own = {env[f"GIT_CONFIG_KEY_{number}"]: env[f"GIT_CONFIG_VALUE_{number}"] for number in range(count)}
    basic = base64.b64encode(b"gitlab-ci-token:hunter2").decode()
    assert own == {
        "remote.buildx-cache-origin.url": "https://example.com:8443/a.git",
        "http.https://example.com:8443.extraHeader": f"Authorization: Basic {basic}",
    }


def test_a_login_in_origins_address_is_in_no_error(call: CommandLine) -> None:
    with pytest.raises(UsageError) as caught:
        _asked(call, "http://gitlab-ci-token:hunter2@example.com/a.git")
    assert "hunter2" not in f"{caught.value.message}{caught.value.hint}"


def test_a_server_is_asked_with_the_users_settings_and_none_of_a_repository(call: CommandLine) -> None:
    seen: Seen = []
    own = {
        "GIT_SSH_COMMAND": "ssh -i key",
        "SSH_AUTH_SOCK": "/s",
        "https_proxy": "p",
        "GIT_SSL_CAINFO": "/ca",
        "T": "t",
    }
    others = {"GIT_DIR": "/evil", "GIT_TRACE": "/x", "GIT_EXTERNAL_DIFF": "x"}
    _asked(call, "git@example.com:a", seen, **own, **others, GIT_ALLOW_PROTOCOL="ext")
    (_, local), (_, remote) = seen
    assert {name for name in own if name in local} == set()
    assert {**remote, **own} == remote
    assert (local["GIT_ALLOW_PROTOCOL"], remote["GIT_ALLOW_PROTOCOL"]) == ("none", "https:ssh")
    assert others.keys() & (local.keys() | remote.keys()) == set()


def _asked(call: CommandLine, address: str, seen: Seen | None = None, **env: str) -> tuple[str, ...]:
    answers = {
        "config": Completed(code=0, stdout=f"{address}\0https://second.example.com/a\0"),
        "ls-remote": Completed(code=0, stdout=HEADS),
    }
    (call.folder / ".git").mkdir()
    call.patch.setattr(git, "capture_within", _git(answers, seen))
    return kept_branches("git", env)


@pytest.mark.parametrize(
    ("remote", "heads", "error"),
    [
        (Completed(code=2), Completed(code=0, stdout=HEADS), UsageError),
        (Completed(code=0, stdout="a:x\0"), Completed(code=128), UnreachableError),
        (Completed(code=0, stdout="a:x\0"), Completed(code=0), UnreachableError),
        (Completed(code=0, stdout="a:x\0"), Completed(code=1, stdout=HEADS), UnreachableError),
    ],
    ids=["no-origin", "no-answer", "no-branches", "half-an-answer"],
)
def test_branches_that_cannot_be_known_are_an_error(
    call: CommandLine, monkeypatch: pytest.MonkeyPatch, remote: Completed, heads: Completed, error: type[Exception]
) -> None:
    (call.folder / ".git").mkdir()
    monkeypatch.setattr(git, "capture_within", _git({"config": remote, "ls-remote": heads}))
    with pytest.raises(error, match="--keep-branches-from git"):
        kept_branches("git", {})


def test_what_was_pruned_stays_pruned_and_the_folder_is_sound(call: CommandLine) -> None:
    for path in make(call.folder / "young").folder.rglob("blobs/sha256/*"):
        path.touch()
    assert call("cache", "prune", "young", "--max-age", "1s").code == 0
    assert [path for path in (call.folder / "young" / "blobs").rglob("*") if path.is_file()] == []
    assert call("cache", "verify", "young").code == 0
