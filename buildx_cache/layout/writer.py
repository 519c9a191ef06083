"""Write a cache into a folder and point a tag at it: the folder is sound at every moment.

A pushed blob is hashed as it arrives. Until it is whole it waits in a folder of ``ingest`` like a partial write of
containerd's; then it appears under its digest in one step, and replaces a changed one. A blob that Buildx exported to a
linked folder (``layout.linked``) is moved here. index.json is written last, and only if every blob of the manifest is
present. The next sweep deletes what a kill leaves behind.

Call it while holding the folder, shared or not.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import threading
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Self

from buildx_cache.layout.graph import FOLDER_LIMITS, Graph, Root, follow, walk
from buildx_cache.layout.index import point_tag, replace_file, tagged_manifest
from buildx_cache.layout.model import OCI_MANIFEST, ROLES, Descriptor, FindingKind, Role, damage_of
from buildx_cache.layout.origins import without_origin
from buildx_cache.layout.parse import MalformedError, digest_of, parse_object
from buildx_cache.layout.store import (
    ALGORITHM,
    BLOBS,
    FOLDER_FLAGS,
    INGEST,
    LAYOUT,
    LAYOUT_DOCUMENT,
    Store,
    open_file_in,
    open_root,
    open_store,
    sync_names,
)
from buildx_cache.layout.verification import Hashed, content_fault, faults_of
from buildx_cache.permissions import PARENT_MODE

_BLOB_MODE = 0o444  # as containerd writes them (``plugins/content/local``)
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_DATA = "data"
_NAME_BYTES = 32
_CLOSE_SECONDS = 1.0
_PREFIX = "sha256:"
_CACHE_ROLES = frozenset({Role.CACHE_CONFIG, Role.LAYER})


@dataclass(frozen=True, kw_only=True)
class WriteLimits:
    """Bytes of one blob, bytes of all blobs that no tag leads to yet, and how many may be under way at once."""

    blob_bytes: int = 64 << 30
    pending_bytes: int = 256 << 30
    uploads: int = 64


class Upload:
    """A blob on its way: ``name`` is unguessable, ``size`` what has come so far. Hold ``lock`` while using it."""

    def __init__(self, root: int) -> None:
        self.name = secrets.token_hex(_NAME_BYTES)
        self.size = 0
        self.lock = threading.Lock()
        self._root = root
        self._hash = hashlib.sha256()
        with _made(root, INGEST) as ingest, _made(ingest, self.name) as own:
            self._file = os.fdopen(os.open(_DATA, _NEW, 0o600, dir_fd=own), "wb", buffering=0)

    def write(self, piece: bytes | memoryview) -> None:
        """Append.

        Raises:
            OSError: the disk is full, say.
        """
        self._hash.update(piece)
        self.size += len(piece)
        rest = memoryview(piece)
        while rest:
            rest = rest[self._file.write(rest) :]

    @property
    def digest(self) -> str:
        """Return the digest of what has come so far."""
        return _PREFIX + self._hash.hexdigest()

    def finish(self) -> None:
        """Put the blob in place under its digest, on the disk before it can be found.

        Raises:
            OSError: it cannot be.
        """
        os.fchmod(self._file.fileno(), _BLOB_MODE)
        os.fsync(self._file.fileno())
        with _made(self._root, INGEST) as ingest, _made(ingest, self.name) as own, _blobs(self._root) as blobs:
            os.rename(_DATA, _name(self.digest), src_dir_fd=own, dst_dir_fd=blobs)
            sync_names(blobs)

    def close(self) -> None:
        """Delete what is left in ``ingest``."""
        self._file.close()
        with contextlib.suppress(OSError), _made(self._root, INGEST) as ingest:
            with _made(ingest, self.name) as own, contextlib.suppress(FileNotFoundError):
                os.unlink(_DATA, dir_fd=own)
            os.rmdir(self.name, dir_fd=ingest)


class Writer:
    """What one call writes to a folder under one tag.

    Args:
        folder: the layout folder.
        tag: the only tag that is written.
        repository: the manifest is written without the annotations that name it as the layers' origin.
        limits: on what is written.

    Raises:
        MalformedError: there is no such folder.
    """

    def __init__(self, folder: Path, *, tag: str, repository: str, limits: WriteLimits | None = None) -> None:
        self.limits = limits or WriteLimits()
        self._folder, self._tag, self._repository = folder, tag, repository
        self._lock = threading.RLock()
        self._uploads: dict[str, Upload] = {}
        self._known: dict[str, tuple[int, int, int]] = {}
        self._hashed: Hashed = {}
        self._pending: dict[str, int] = {}
        self.manifests: dict[str, str] = {}
        self._tagged: dict[str, str] = {}
        with open_store(folder) as store:
            self._sizes: Mapping[str, int] = {found.digest: found.size for found in walk(store).links}
            self._before = self._tagged_in(store)
        self._root = open_root(folder)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Delete partial writes, and leave what no tag leads to for the next sweep.

        One that a disk holds up is left for the sweep, too.
        """
        for upload in [*self._uploads.values()]:
            if upload.lock.acquire(timeout=_CLOSE_SECONDS):
                self.cancel(upload)
        with self._lock, contextlib.suppress(MalformedError, OSError):
            self._give_up_pending()

    # --- blobs -------------------------------------------------------------------------------------------

    def open_blob(self, digest: str) -> BinaryIO | None:
        """Return a blob that is there and sound, else None.

        A blob is hashed when it is first asked for, and again only if the file has changed since: BuildKit asks for the
        layers of the cache that it writes, several at once, so that no more is read than one cache, once a call. The
        size alone would keep a corrupt layer for ever: BuildKit does not send what is there.
        """
        try:
            with _blobs(self._root) as blobs:
                file = os.fdopen(open_file_in(blobs, _name(digest)), "rb", buffering=0)
        except (MalformedError, OSError):
            return None
        found = os.fstat(file.fileno())
        if self._known.get(digest) == _identity(found):
            return file
        if self._sizes.get(digest, found.st_size) == found.st_size and not content_fault(file, digest, self._hashed):
            self._known[digest] = _identity(found)
            file.seek(0)
            return file
        file.close()
        return None

    def has(self, digest: str) -> bool:
        """Tell whether a blob is there and sound."""
        file = self.open_blob(digest)
        if file:
            file.close()
        return file is not None

    def begin(self) -> Upload:
        """Begin a blob.

        Raises:
            MalformedError: there are too many already.
            OSError: it cannot be written.
        """
        with self._lock:
            if len(self._uploads) >= self.limits.uploads:
                raise MalformedError(FindingKind.MORE, "has more uploads than may be under way at once")
            upload = Upload(self._root)
            self._uploads[upload.name] = upload
        return upload

    def upload(self, name: str) -> Upload | None:
        """Return an upload that is under way."""
        return self._uploads.get(name)

    def refuse_beyond(self, upload: Upload, length: int) -> None:
        """Stop before so many more bytes are taken.

        Raises:
            MalformedError: the blob, or all that no tag leads to, would be too large.
        """
        if upload.size + length > self.limits.blob_bytes:
            raise MalformedError(FindingKind.TOO_LARGE, f"has more than {self.limits.blob_bytes} bytes")
        with self._lock:
            waiting = sum(self._pending.values()) + sum(each.size for each in self._uploads.values())
        if waiting + length > self.limits.pending_bytes:
            raise MalformedError(FindingKind.TOO_LARGE, "comes with more bytes than may wait for a manifest")

    def finish(self, upload: Upload, digest: str) -> None:
        """Put a blob in place; the upload is over, whatever comes of it.

        Raises:
            MalformedError: it has another digest.
            OSError: it cannot be written.
        """
        try:
            if upload.digest != digest:
                raise MalformedError(FindingKind.CONTENT, f"has the digest {upload.digest}")
            upload.finish()
            with self._lock, _blobs(self._root) as blobs:
                self._known[digest] = _identity(os.stat(_name(digest), dir_fd=blobs, follow_symlinks=False))
                self._pending[digest] = upload.size
        finally:
            self.cancel(upload)

    def cancel(self, upload: Upload) -> None:
        """End an upload, and delete what has come of it."""
        with self._lock:
            if self._uploads.pop(upload.name, None):
                upload.close()

    # --- linked folders ----------------------------------------------------------------------------------

    def adopt(self, linked: Path, written: Collection[str]) -> str:
        """Take over the cache that Buildx exported to a linked folder; return its manifest's digest.

        The new blobs move here. Nothing is hashed: Buildx has hashed the new blobs, and the linked ones count as sound,
        as for any export of Buildx.

        Args:
            linked: the linked folder.
            written: the digests of the manifests that BuildKit says it wrote. Of two exports of one build, Buildx
                writes the manifest of only one into both folders' index.

        Raises:
            MalformedError: the linked folder lacks a part of the cache, or another process keeps index.json locked.
            OSError: this folder cannot be written.
        """
        with open_store(linked) as store:
            content = store.read_document(self._exported_manifest(store, written))
            self._move_blobs(store)
        return self.tag_manifest(content, str(parse_object(content).get("mediaType", OCI_MANIFEST)))

    def _exported_manifest(self, linked: Store, written: Collection[str]) -> str:
        led = self._tagged_in(linked)
        if led and linked.has(led.digest):
            return led.digest
        present = [digest for digest in dict.fromkeys(written) if linked.has(digest)]
        if len(present) != 1:
            raise MalformedError(FindingKind.MISSING, "lacks the manifest that BuildKit wrote")
        return present[0]

    def _move_blobs(self, store: Store) -> None:
        with self._lock, _blobs(self._root) as blobs:
            for name, file in store.files.items():
                found = os.stat(name, dir_fd=store.blobs, follow_symlinks=False)
                if not _is_same(found, name, blobs):
                    os.rename(name, name, src_dir_fd=store.blobs, dst_dir_fd=blobs)
                    self._pending[_PREFIX + name] = file.size
                self._known[_PREFIX + name] = _identity(found)
            sync_names(blobs)

    # --- manifests ---------------------------------------------------------------------------------------

    def tagged(self) -> str:
        """Return the digest of the manifest that the tag leads to now; empty where there is none."""
        try:
            with open_store(self._folder) as store:
                found = self._tagged_in(store)
        except MalformedError:
            return ""
        if found is None:
            return ""
        self.manifests[found.digest] = found.media_type
        return found.digest

    def holds(self, digests: Collection[str]) -> bool:
        """Tell whether the tag leads to one of these manifests, as it is or as it came."""
        return self.tagged() in {*digests, *(self._tagged[each] for each in digests if each in self._tagged)}

    def take_back(self) -> None:
        """Undo this writer's change of the tag; leave a tag that another build has changed since."""
        with self._lock, contextlib.suppress(MalformedError), open_store(self._folder) as store:
            found = self._tagged_in(store)
            if found and found.digest in self._tagged.values():
                point_tag(store, self._tag, self._before)

    def _tagged_in(self, store: Store) -> Descriptor | None:
        """Return the manifest that the tag leads to; None if the index has no such tag, or cannot be read."""
        try:
            return tagged_manifest(store, self._tag)
        except MalformedError:
            return None

    def read_manifest(self, digest: str) -> bytes | None:
        """Return a manifest that the tag leads to, or that was put here; None where it is not there and sound."""
        if digest not in self.manifests:
            return None
        try:
            with open_store(self._folder) as store:
                return store.read_document(digest)
        except MalformedError:
            return None

    def tag_manifest(self, content: bytes, media_type: str) -> str:
        """Have the tag lead to a cache's manifest whose blobs are all there; nothing is written where it does already.

        Return its digest.

        Raises:
            MalformedError: it is no cache's manifest, or a blob is absent (:attr:`FindingKind.MISSING`).
            OSError: it cannot be written.
        """
        digest = digest_of(content)
        try:
            content = without_origin(content, self._repository) or content
        except RecursionError:
            raise MalformedError(FindingKind.DOCUMENT, "is nested too deeply") from None
        manifest = Descriptor(media_type=media_type, digest=digest_of(content), size=len(content))
        with self._lock:
            graph = self._put_checked(content, manifest)
            self._point(manifest)
            self._tagged[digest] = manifest.digest
            for each in graph.links:
                self._pending.pop(each.digest, None)
        return digest

    def put_manifest(self, content: bytes, media_type: str, digest: str) -> str:
        """Write a cache's manifest whose blobs are all there, and have nothing lead to it; return its digest.

        Raises:
            MalformedError: it has another digest, is no cache's manifest, or a blob is absent.
            OSError: it cannot be written.
        """
        if digest_of(content) != digest:
            raise MalformedError(FindingKind.CONTENT, f"has the digest {digest_of(content)}")
        with self._lock:
            self._put_checked(content, Descriptor(media_type=media_type, digest=digest, size=len(content)))
        return digest

    def _put_checked(self, content: bytes, manifest: Descriptor) -> Graph:
        """Write a manifest; it goes again where it is none of a cache that is all there."""
        if manifest.media_type not in ROLES or not manifest.role.refers:
            raise MalformedError(FindingKind.MEDIA_TYPE, "is of a media type that no cache manifest has")
        is_new = not self.has(manifest.digest)
        if is_new:
            self._put(content, manifest.digest)
        try:
            graph = self._checked(manifest)
        except MalformedError:
            if is_new:
                self._delete(manifest.digest)
            raise
        self.manifests[manifest.digest] = manifest.media_type
        return graph

    def _put(self, content: bytes, digest: str) -> None:
        upload = self.begin()
        try:
            upload.write(content)
            self.finish(upload, digest)
        finally:
            self.cancel(upload)

    def _checked(self, manifest: Descriptor) -> Graph:
        with open_store(self._folder) as store:
            graph = follow(Root(position=0, descriptor=manifest, referrer=""), store, FOLDER_LIMITS)
            for obstacle in graph.obstacles:
                raise MalformedError(obstacle.kind, obstacle.problem)
            children = graph.children.get(manifest.digest, ())
            configs = [child for child in children if child.role is Role.CACHE_CONFIG]
            if len(configs) != 1 or any(child.role not in _CACHE_ROLES for child in children):
                raise MalformedError(FindingKind.DOCUMENT, "is no cache's manifest")
            for child in children:
                if not self.has(child.digest):
                    raise MalformedError(FindingKind.MISSING, f"names {child.digest}, which is not here")
            for fault in damage_of(faults_of(store, graph)):
                raise MalformedError(fault.kind, f"would damage the folder: {fault}")
        return graph

    def _point(self, manifest: Descriptor) -> None:
        with open_store(self._folder) as store:
            if isinstance(store.layout_fault(), MalformedError):
                replace_file(store.root, LAYOUT, LAYOUT_DOCUMENT)
            point_tag(store, self._tag, manifest)

    def _delete(self, digest: str) -> None:
        self._pending.pop(digest, None)
        with contextlib.suppress(OSError), _blobs(self._root) as blobs:
            os.unlink(_name(digest), dir_fd=blobs)

    def _give_up_pending(self) -> None:
        """Make the blobs of this call that nothing leads to old enough for the sweep: it spares young ones.

        They are not deleted, as another build may have found them here, and is about to name them.
        """
        with open_store(self._folder) as store:
            live = {found.digest for found in walk(store).links}
            for digest in self._pending.keys() - live:
                _make_old(store, digest)


def _make_old(store: Store, digest: str) -> None:
    with contextlib.suppress(OSError):
        os.utime(_name(digest), (0, 0), dir_fd=store.blobs, follow_symlinks=False)


def _name(digest: str) -> str:
    return digest.removeprefix(_PREFIX)


def _is_same(found: os.stat_result, name: str, blobs: int) -> bool:
    """Tell whether a blob of a linked folder is the one that is here."""
    try:
        here = os.stat(name, dir_fd=blobs, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return (here.st_dev, here.st_ino) == (found.st_dev, found.st_ino)


def _identity(found: os.stat_result) -> tuple[int, int, int]:
    return found.st_ino, found.st_size, found.st_mtime_ns


@contextmanager
def _blobs(root: int) -> Iterator[int]:
    """Open ``blobs/sha256``; anew each time, as the folder may be set aside meanwhile."""
    with _made(root, BLOBS) as blobs, _made(blobs, ALGORITHM) as opened:
        yield opened


@contextmanager
def _made(parent: int, name: str) -> Iterator[int]:
    """Open a folder, which is made if need be; no link is followed."""
    try:
        folder = os.open(name, FOLDER_FLAGS, dir_fd=parent)
    except FileNotFoundError:
        with contextlib.suppress(FileExistsError):
            os.mkdir(name, PARENT_MODE, dir_fd=parent)
        folder = os.open(name, FOLDER_FLAGS, dir_fd=parent)
    try:
        yield folder
    finally:
        os.close(folder)
