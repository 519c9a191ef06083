"""Read index.json and replace its entries atomically."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from buildx_cache.layout.locking import index_lock
from buildx_cache.layout.model import Descriptor, FindingKind
from buildx_cache.layout.parse import INDEX_TAG, MalformedError, descriptor, parse_object, tag_of
from buildx_cache.layout.store import INDEX, INDEX_NEW, Store, open_store, sync_names

_VERSION = 2
_INDEX_SECONDS = 10.0
_NEW: Mapping[str, object] = {"schemaVersion": _VERSION, "mediaType": "application/vnd.oci.image.index.v1+json"}


def cache_key(folder: Path) -> str:
    """Return the SHA-256 of index.json in hexadecimal, which changes with the cache; empty if there is no index."""
    try:
        with open_store(folder) as store:
            return hashlib.sha256(store.read_index()).hexdigest()
    except MalformedError:
        return ""


def index_entries(content: bytes) -> list[object]:
    """Return the entries of an index.json.

    Raises:
        MalformedError: ``content`` is not an image index.
    """
    index = parse_object(content)
    entries = index.get("manifests")
    if index.get("schemaVersion") != _VERSION or not isinstance(entries, list):
        raise MalformedError(FindingKind.INDEX, "is not an image index: no schemaVersion 2 or no list of manifests")
    return entries


def with_entries(index: bytes, entries: Sequence[object]) -> bytes:
    """Return ``index`` with other entries; start from a new index, as Buildx writes it, if ``index`` is malformed.

    Raises:
        MalformedError: the new index cannot be written as JSON.
    """
    try:
        index_entries(index)
        old = parse_object(index)
    except MalformedError:
        old = _NEW
    try:
        text = json.dumps({**old, "manifests": list(entries)}, separators=(",", ":"), allow_nan=False)
    except (ValueError, RecursionError):
        raise MalformedError(
            FindingKind.INDEX, "cannot be written again: it holds numbers or a depth that JSON has not"
        ) from None
    return text.encode("ascii")


def replace_entries(store: Store, index: bytes, entries: Sequence[object]) -> None:
    """Replace the entries of index.json, whose current bytes are ``index``.

    Raises:
        MalformedError: index.json has changed, is locked, or cannot be written.
    """
    content = with_entries(index, entries)
    with unchanged_index(store, index):
        replace_file(store.root, INDEX, content)


def _tag_entry(tag: str, manifest: Descriptor) -> Mapping[str, object]:
    """Return an entry as Buildx writes it."""
    return {
        "mediaType": manifest.media_type,
        "digest": manifest.digest,
        "size": manifest.size,
        "annotations": {INDEX_TAG: tag},
    }


def tagged_manifest(store: Store, tag: str) -> Descriptor | None:
    """Return the manifest that the first entry of a tag leads to; None if the index has no such tag.

    Raises:
        MalformedError: index.json, or the entry, cannot be read.
    """
    entry = next((each for each in index_entries(store.read_index()) if tag_of(each) == tag), None)
    return None if entry is None else descriptor(entry)


def point_tag(store: Store, tag: str, manifest: Descriptor | None) -> None:
    """Have a tag lead to a manifest that is in the folder, or nowhere; nothing is written where it does already.

    Raises:
        MalformedError: index.json is locked for too long, is none, or cannot be written.
    """
    with index_lock(store.root, timeout=_INDEX_SECONDS):
        index = _content(store)
        entries = index_entries(index) if index else []
        of_tag = [entry for entry in entries if tag_of(entry) == tag]
        new = [_tag_entry(tag, manifest)] if manifest else []
        if [entry.get("digest") for entry in of_tag if isinstance(entry, dict)] == [each["digest"] for each in new]:
            return
        others = [entry for entry in entries if tag_of(entry) != tag]
        replace_file(store.root, INDEX, with_entries(index, [*others, *new]))


@contextmanager
def unchanged_index(store: Store, index: bytes) -> Iterator[None]:
    """Hold Buildx' lock on index.json while its bytes are ``index`` (empty: index.json is absent).

    Raises:
        MalformedError: another process holds the lock, or index.json has changed.
    """
    with index_lock(store.root):
        if _content(store) != index:
            raise MalformedError(FindingKind.BUSY, "was rewritten by another build meanwhile")
        yield


def _content(store: Store) -> bytes:
    try:
        return store.read_index()
    except MalformedError as error:
        if error.kind is FindingKind.MISSING:
            return b""
        raise


def replace_file(root: int, name: str, content: bytes) -> None:
    """Replace a file atomically: readers get the old bytes or the new ones, also after a crash.

    Hold the folder exclusively, or Buildx' lock on the index.

    Raises:
        MalformedError: the file cannot be written.
    """
    mode = _mode(root, name)
    try:
        _remove(root, INDEX_NEW)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(INDEX_NEW, flags, 0o644, dir_fd=root), "wb") as out:
            out.write(content)
            out.flush()
            os.fchmod(out.fileno(), mode)
            os.fsync(out.fileno())
        os.rename(INDEX_NEW, name, src_dir_fd=root, dst_dir_fd=root)
        sync_names(root)
    except OSError as error:
        raise MalformedError(FindingKind.UNREADABLE, f"cannot be written: {error.strerror}") from None


def _remove(root: int, name: str) -> None:
    try:
        os.unlink(name, dir_fd=root)
    except FileNotFoundError:
        return


def _mode(root: int, name: str) -> int:
    """Return the permissions of the ordinary file to replace; the default for a symbolic link or no file."""
    try:
        found = os.stat(name, dir_fd=root, follow_symlinks=False).st_mode
    except FileNotFoundError:
        return 0o644
    return stat.S_IMODE(found) if stat.S_ISREG(found) else 0o644
