"""Correct what BuildKit's export wrote: the tag in index.json, and the origins of layers in the cache's manifest.

All exporters of one build share one response key, so that a build with two cache exports can leave the tag of a local
one at the digest of the other.
BuildKit notes with every blob which repository it came from (containerd's ``core/remotes/docker``, annotation
``containerd.io/distribution.source.HOST``) and writes that into the caches that it exports. Of a throw-away registry
the note is worthless, and makes an unchanged cache look like another one.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from buildx_cache.layout.graph import Graph, Root, walk
from buildx_cache.layout.index import index_entries, replace_entries
from buildx_cache.layout.model import OCI_MANIFEST
from buildx_cache.layout.parse import INDEX_TAG, MalformedError, parse_object, tag_of
from buildx_cache.layout.store import Store, open_store

_SOURCE = "containerd.io/distribution.source."
# How Go writes JSON: in one line, or indented.
_STYLES: tuple[Callable[[object], str], ...] = (
    lambda document: json.dumps(document, separators=(",", ":"), ensure_ascii=False),
    lambda document: json.dumps(document, indent=2, ensure_ascii=False),
)


def restore_tag(folder: Path, *, tag: str, written: Collection[str]) -> bool:
    """Point a tag that leads nowhere at the manifest that the export wrote; whether that was so.

    Nothing is done where the folder has none or more of the manifests ``written``, by digest. Call it while holding the
    folder, shared or not.
    """
    try:
        with open_store(folder) as store:
            present = [digest for digest in dict.fromkeys(written) if store.file(digest)]
            graph = walk(store)
            led = [root for root in graph.roots if root.descriptor.tag == tag and store.file(root.descriptor.digest)]
            if led or len(present) != 1:
                return False
            content = store.read_document(present[0])
            entry = {
                "mediaType": parse_object(content).get("mediaType", OCI_MANIFEST),
                "digest": present[0],
                "size": len(content),
                "annotations": {INDEX_TAG: tag},
            }
            others = [each for each in index_entries(graph.index) if tag_of(each) != tag]
            replace_entries(store, graph.index, [*others, entry])
            return True
    except MalformedError:
        return False


def forget_origin(folder: Path, *, tag: str, repository: str) -> bool:
    """Take every note of ``repository`` out of the cache manifest of a tag; whether there was one.

    The tag then leads to the manifest as BuildKit would have written it without the notes, byte by byte. The one with
    them is left to the next sweep, as another build may be reading it. A manifest that cannot be read, or that is not
    laid out as Go does it, stays as it is. Call it while holding the folder, shared or not.
    """
    try:
        with open_store(folder) as store:
            graph = walk(store)
            root = next((root for root in graph.roots if root.descriptor.tag == tag), None)
            return root is not None and _forget(store, graph, root, repository)
    except (MalformedError, RecursionError):  # indented JSON is written less deep than it is read
        return False


def _forget(store: Store, graph: Graph, root: Root, repository: str) -> bool:
    before = root.descriptor.digest
    content = _without(store.read_document(before), repository)
    if content is None:
        return False
    after = "sha256:" + hashlib.sha256(content).hexdigest()
    entries = index_entries(graph.index)
    entry = entries[root.position]
    entries[root.position] = {**(entry if isinstance(entry, dict) else {}), "digest": after, "size": len(content)}
    replace_entries(store, graph.index, entries, blobs={after: content})
    with contextlib.suppress(OSError):  # old enough for the sweep, which spares what is younger than the build
        os.utime(before.removeprefix("sha256:"), (0, 0), dir_fd=store.blobs)
    return True


def _without(content: bytes, repository: str) -> bytes | None:
    """The manifest without the notes, laid out as it was; None where it has none, or is laid out otherwise."""
    document = parse_object(content)
    style = next((style for style in _STYLES if style(document).encode("utf-8", "replace") == content), None)
    changed = {name: _cleaned(value, repository) for name, value in document.items()}
    return None if style is None or changed == document else style(changed).encode()


def _cleaned(value: Any, repository: str) -> Any:  # noqa: ANN401 -- any JSON value
    """A list of descriptors with other annotations; anything else as it is."""
    if not isinstance(value, list):
        return value
    return [_descriptor(each, repository) if isinstance(each, dict) else each for each in value]


def _descriptor(descriptor: Mapping[str, Any], repository: str) -> Mapping[str, Any]:
    notes = descriptor.get("annotations")
    if not isinstance(notes, dict):
        return descriptor
    left = {name: _others(name, value, repository) for name, value in notes.items()}
    left = {name: value for name, value in left.items() if value or not notes[name]}
    changed = {**descriptor, "annotations": left}
    return {name: value for name, value in changed.items() if name != "annotations" or left}


def _others(name: str, value: Any, repository: str) -> Any:  # noqa: ANN401 -- any JSON value
    """What is left of a note of repositories, which are separated by commas."""
    if not name.startswith(_SOURCE) or not isinstance(value, str):
        return value
    return ",".join(each for each in value.split(",") if each != repository)
