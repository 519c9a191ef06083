"""Note with a tag in index.json which build wrote it: BuildKit's records hold digests only, and no step's text.

The note is an annotation of the tag's entry. Buildx ignores and keeps it, and drops it with the entry when it writes
the tag itself. No manifest changes. An index may come from anywhere, so what is read is bounded and made printable.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from buildx_cache.formatting import printable
from buildx_cache.layout.index import index_entries, replace_entries, tagged_manifest, with_entries
from buildx_cache.layout.model import BuildNote
from buildx_cache.layout.parse import MalformedError, annotations_of, parse_object, tag_of
from buildx_cache.layout.store import open_store

NOTE = "buildx-cache/build"
"""The annotation: a JSON object with ``steps``, ``more``, ``scope``, ``commit`` and ``replaces``."""
STEPS_LIMIT = 50
TEXT_LIMIT = 120
_BYTES = 8 << 10
# index.json is read up to 8 MiB: a folder of thousands of tags must not outgrow that by its notes.
_INDEX_BYTES = 1 << 20


def build_note(steps: Iterable[str], *, scope: str = "", commit: str = "") -> BuildNote:
    """Return the note on a build; texts are cut, and made printable on one line."""
    every = [_text(step) for step in steps]
    return BuildNote(
        steps=tuple(every[:STEPS_LIMIT]),
        more=len(every[STEPS_LIMIT:]),
        scope=_text(scope),
        commit=_text(commit),
    )


def note_of(entry: object) -> BuildNote | None:
    """Return the note in an entry of index.json; None if it has none that this program could have written."""
    try:
        text = annotations_of(entry).get(NOTE, "") if isinstance(entry, dict) else ""
        value = parse_object(text.encode("utf-8", "replace")) if 0 < len(text) <= _BYTES else {}
    except MalformedError:
        return None
    steps, more = value.get("steps"), value.get("more")
    if not isinstance(steps, list) or not steps or not all(isinstance(step, str) for step in steps):
        return None
    found = build_note(steps, scope=_string(value, "scope"), commit=_string(value, "commit"))
    beyond = more if isinstance(more, int) and not isinstance(more, bool) and 0 <= more < _BYTES else 0
    return replace(found, more=found.more + beyond, replaces=_text(_string(value, "replaces")))


def annotate(folder: Path, *, tag: str, note: BuildNote) -> bool:
    """Write a note into the entry of a tag; return whether index.json changed.

    Change nothing if the index cannot be read, is locked, or would become too large. Hold the folder, shared or
    exclusively.
    """
    try:
        with open_store(folder) as store:
            index = store.read_index()
            entries = index_entries(index)
            place = next((number for number, entry in enumerate(entries) if tag_of(entry) == tag), None)
            entry = None if place is None else entries[place]
            value = note_text(note)
            if place is None or not isinstance(entry, dict) or annotations_of(entry).get(NOTE) == value:
                return False
            annotations = {**annotations_of(entry), NOTE: value}
            entries[place] = {**entry, "annotations": dict(sorted(annotations.items()))}  # as Go sorts a map
            if len(with_entries(index, entries)) > _INDEX_BYTES:
                return False
            replace_entries(store, index, entries)
            return True
    except MalformedError:
        return False


def tagged_digest(folder: Path, *, tag: str) -> str:
    """Return the digest that a tag leads to; empty if the folder has no such tag, or cannot be read."""
    try:
        with open_store(folder) as store:
            found = tagged_manifest(store, tag)
            return found.digest if found else ""
    except MalformedError:
        return ""


def note_text(note: BuildNote) -> str:
    """Return the annotation's value; the last steps are left out as long as it is too large."""
    steps, more = list(note.steps), note.more
    while len(text := _dumped(note, steps, more)) > _BYTES and steps:
        steps.pop()
        more += 1
    return text


def _dumped(note: BuildNote, steps: list[str], more: int) -> str:
    known = {"scope": note.scope, "commit": note.commit, "replaces": note.replaces, "more": more}
    document = {"steps": steps, **{name: value for name, value in known.items() if value}}
    return json.dumps(document, separators=(",", ":"))


def _text(text: str) -> str:
    line = "".join(sign if sign.isprintable() else "?" for sign in " ".join(printable(text).split()))
    return line if len(line) <= TEXT_LIMIT else line[: TEXT_LIMIT - 1] + "…"


def _string(value: Mapping[str, object], name: str) -> str:
    found = value.get(name)
    return found if isinstance(found, str) else ""
