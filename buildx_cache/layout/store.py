"""Read a layout folder and nothing outside: open every path relative to the folder, and follow no symbolic link."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from buildx_cache.layout.model import DOCUMENT_LIMIT, FINDINGS_LIMIT, Descriptor, Finding, FindingKind
from buildx_cache.layout.parse import MalformedError, digest_of, parse_object, shown

LOCK = ".buildx-cache.lock"
LINKED = ".buildx-cache-linked-"
"""Name prefix of the folders to which BuildKit's session exports."""
INDEX = "index.json"
INDEX_LOCK = INDEX + ".lock"
INDEX_NEW = f".{INDEX}.buildx-cache"
"""The file that takes the place of another one."""
LAYOUT = "oci-layout"
INGEST = "ingest"
INGESTS_LIMIT = 10_000
"""The most partial writes in a sound folder. A killed export leaves one a layer; the next sweep deletes them."""
BLOBS = "blobs"
ALGORITHM = "sha256"
LAYOUT_VERSION = "1.0.0"
LAYOUT_DOCUMENT = b'{"imageLayoutVersion":"%s"}' % LAYOUT_VERSION.encode()

FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_HEX = re.compile(r"[0-9a-f]{64}")
_LAYOUT_LIMIT = 4096
HOLLOW = "is hardly more than a hole"
_HOLLOW_BYTES = 1 << 16
_HOLLOW_RATIO = 10
_LARGE_BYTES = 1 << 20
"""Blobs of more bytes are checked for holes before an import: BuildKit would read the holes."""
_BLOCK = 512  # bytes, of ``st_blocks``
_NO_FOLDER = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
_RETRIES = 3
_RETRY_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class BlobFile:
    """An entry of ``blobs/sha256``: bytes, seconds since the epoch, and whether the entry is an ordinary file."""

    size: int
    modified: float
    regular: bool


@dataclass(frozen=True, kw_only=True)
class Store:
    """An open layout folder. ``root`` and ``blobs`` are directory descriptors; ``files`` maps hexadecimal names."""

    path: Path
    root: int
    blobs: int | None
    files: Mapping[str, BlobFile]
    foreign: tuple[Finding, ...]

    def file(self, digest: str) -> BlobFile | None:
        """Return the blob's entry, or None if it is absent."""
        return self.files.get(digest.removeprefix("sha256:"))

    def open_blob(self, digest: str) -> int:
        """Open the blob for reading and return the file descriptor.

        Raises:
            MalformedError: the blob is absent, not an ordinary file, or cannot be opened.
        """
        if self.blobs is None:
            raise MalformedError(FindingKind.MISSING, "is not in the folder")
        return open_file_in(self.blobs, digest.removeprefix("sha256:"))

    def read_document(self, digest: str) -> bytes:
        """Return the content of a JSON blob, after comparing its digest.

        Raises:
            MalformedError: the blob is absent, not an ordinary file, larger than 8 MiB, unreadable or corrupt.
        """
        content = _read(self.open_blob(digest), DOCUMENT_LIMIT)
        if digest_of(content) != digest:
            raise MalformedError(FindingKind.CONTENT, "has other content than its digest says")
        return content

    def fetch(self, of: Descriptor) -> bytes:
        """Read a document: see :meth:`read_document`."""
        return self.read_document(of.digest)

    def has(self, digest: str) -> bool:
        """Return whether the folder has an entry for the digest."""
        return self.file(digest) is not None

    def read_index(self) -> bytes:
        """Return the bytes of index.json; while they are not JSON, read again a moment later.

        Buildx rewrites the file in place: a reader may get half of it (client/ociindex, Put).

        Raises:
            MalformedError: index.json is absent, too large, or cannot be read.
        """
        content = b""
        for attempt in range(_RETRIES):
            if attempt:
                time.sleep(_RETRY_SECONDS)
            content = _read(open_file_in(self.root, INDEX), DOCUMENT_LIMIT)
            with contextlib.suppress(MalformedError):
                parse_object(content)
                break
        return content

    def layout_fault(self) -> MalformedError | None:
        """Return the fault of the ``oci-layout`` file, which marks a folder as an OCI layout; None if it has none."""
        try:
            version = parse_object(_read(open_file_in(self.root, LAYOUT), _LAYOUT_LIMIT)).get("imageLayoutVersion")
        except MalformedError as error:
            return error
        if version != LAYOUT_VERSION:
            return MalformedError(
                FindingKind.LAYOUT, f"has imageLayoutVersion {shown(version)}, not {LAYOUT_VERSION!r}"
            )
        return None


@contextmanager
def open_store(folder: Path) -> Iterator[Store]:
    """Open a folder and list its blobs. ``folder`` itself may be a symbolic link.

    Raises:
        MalformedError: the folder does not exist or cannot be read.
    """
    with contextlib.ExitStack() as stack:
        root = open_root(folder)
        stack.callback(os.close, root)
        foreign: list[Finding] = []
        blobs, files = _open_blobs(root, stack, foreign)
        foreign += _export_blockers(root)
        yield Store(path=folder, root=root, blobs=blobs, files=files, foreign=tuple(foreign))


def blob_names(folder: Path) -> frozenset[str]:
    """Return the digests of the blobs in the folder, reachable or not; none if the folder cannot be read."""
    try:
        with open_store(folder) as store:
            return frozenset("sha256:" + name for name, file in store.files.items() if file.regular)
    except MalformedError:
        return frozenset()


def open_root(folder: Path) -> int:
    """Return a descriptor of a folder, which may be reached through a symbolic link.

    Raises:
        MalformedError: there is no such folder, or it cannot be read.
    """
    try:
        return os.open(os.path.realpath(folder), FOLDER_FLAGS)
    except (FileNotFoundError, NotADirectoryError):
        kind = FindingKind.LAYOUT if os.path.lexists(folder) else FindingKind.ABSENT
        problem = "is not a folder" if kind is FindingKind.LAYOUT else "does not exist"
        raise MalformedError(kind, problem) from None
    except (OSError, ValueError) as error:
        raise MalformedError(FindingKind.UNREADABLE, f"cannot be read: {_reason(error)}") from None


def _export_blockers(root: int) -> Iterator[Finding]:
    """Yield the entries at an export's lock and partial writes that would make every export fail or stall."""
    for name, is_right, problem in (
        (INDEX_LOCK, stat.S_ISREG, "is not an ordinary file"),
        (INDEX_NEW, stat.S_ISREG, "is not an ordinary file"),
        (INGEST, stat.S_ISDIR, "is not a folder"),
    ):
        try:
            if not is_right(os.stat(name, dir_fd=root, follow_symlinks=False).st_mode):
                yield Finding(kind=FindingKind.NOT_A_FILE, blob=name, referrer="", problem=problem)
        except FileNotFoundError:
            continue
        except OSError as error:  # a folder that may be read and not searched
            yield _unreadable(name, error)
    try:
        yield from _odd_ingests(root)
    except OSError as error:
        if error.errno not in _NO_FOLDER:  # Buildx opens what is in it by name
            problem = f"cannot be read: {_reason(error)}"
            yield Finding(kind=FindingKind.NOT_A_FILE, blob=INGEST, referrer="", problem=problem)


def _odd_ingests(root: int) -> Iterator[Finding]:
    """Yield the first partial write with an entry that is not an ordinary file, or a finding that there are too many.

    Containerd opens the files of a partial write by name (``plugins/content/local``, ``resumeStatus``) and follows
    links: the export would write to any file, or wait for the reader of a FIFO. The names are predictable.
    """
    with _opened(INGEST, root) as ingest:
        names = names_in(ingest)
        if len(names) > INGESTS_LIMIT:
            problem = f"holds more than {INGESTS_LIMIT} partial writes"
            yield Finding(kind=FindingKind.NOT_A_FILE, blob=INGEST, referrer="", problem=problem)
            return
        for name in names:
            # a file system may ignore case
            if is_blob_name(name.lower()) and not _is_partial_write(ingest, name):
                problem = "is not a folder of ordinary files"
                yield Finding(kind=FindingKind.NOT_A_FILE, blob=f"{INGEST}/{name}", referrer="", problem=problem)
                return


def _is_partial_write(ingest: int, name: str) -> bool:
    """Return whether a partial write holds ordinary files only, each without a second hard link."""
    try:
        with _opened(name, ingest) as folder:
            files = [os.stat(file, dir_fd=folder, follow_symlinks=False) for file in names_in(folder)]
    except FileNotFoundError:  # its export has ended
        return True
    except OSError:
        return False
    return all(stat.S_ISREG(file.st_mode) and file.st_nlink == 1 for file in files)


@contextmanager
def _opened(name: str, parent: int) -> Iterator[int]:
    folder = os.open(name, FOLDER_FLAGS, dir_fd=parent)
    try:
        yield folder
    finally:
        os.close(folder)


def _open_blobs(
    root: int, stack: contextlib.ExitStack, foreign: list[Finding]
) -> tuple[int | None, Mapping[str, BlobFile]]:
    parent = _open_folder(root, BLOBS, BLOBS, stack, foreign)
    if parent is None:
        return None, {}
    others = [name for name in _names(parent, BLOBS, foreign) if name != ALGORITHM][: FINDINGS_LIMIT + 1]
    foreign += [
        _foreign(f"{BLOBS}/{shown(name)[1:-1]}", "is not blobs/sha256", is_opened=_is_special(parent, name))
        for name in others
    ]
    blobs = _open_folder(parent, ALGORITHM, f"{BLOBS}/{ALGORITHM}", stack, foreign)
    return blobs, {} if blobs is None else _list_blobs(blobs, foreign)


def _open_folder(parent: int, name: str, path: str, stack: contextlib.ExitStack, foreign: list[Finding]) -> int | None:
    try:
        found = os.open(name, FOLDER_FLAGS, dir_fd=parent)
    except FileNotFoundError:
        return None
    except OSError as error:
        foreign.append(
            Finding(
                kind=FindingKind.NOT_A_FILE, blob=path, referrer="", problem=f"is no usable folder: {_reason(error)}"
            )
        )
        return None
    stack.callback(os.close, found)
    return found


def sync_names(folder: int) -> None:
    """Have the names in an open folder reach the disk, where the file system can be asked to (VirtualBox' cannot).

    Raises:
        OSError: the disk fails.
    """
    try:
        os.fsync(folder)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise


def is_blob_name(name: str) -> bool:
    """Return whether ``name`` is one of a blob or a partial write: 64 hexadecimal digits (containerd's store)."""
    return _HEX.fullmatch(name) is not None


def names_in(folder: int) -> list[str]:
    """Return the names in an open folder.

    Raises:
        OSError: the folder cannot be read.
    """
    with os.scandir(folder) as entries:
        return [entry.name for entry in entries]


def _names(folder: int, path: str, foreign: list[Finding]) -> list[str]:
    try:
        return names_in(folder)
    except OSError as error:
        foreign.append(_unreadable(path, error))
        return []


def _list_blobs(blobs: int, foreign: list[Finding]) -> Mapping[str, BlobFile]:
    files: dict[str, BlobFile] = {}
    hollow: dict[tuple[int, int], bool] = {}  # by device and inode: a file may have thousands of names
    try:
        with os.scandir(blobs) as entries:
            for entry in entries:
                found = _entry(entry)
                if is_blob_name(entry.name) and found:
                    files[entry.name] = found
                if len(foreign) <= FINDINGS_LIMIT:
                    foreign += _odd_blob(blobs, entry, found, hollow)
    except OSError as error:
        foreign.append(_unreadable(f"{BLOBS}/{ALGORITHM}", error))
    return files


def _odd_blob(
    blobs: int, entry: os.DirEntry[str], found: BlobFile | None, hollow: dict[tuple[int, int], bool]
) -> Iterator[Finding]:
    path = f"{BLOBS}/{ALGORITHM}/{shown(entry.name)[1:-1]}"
    if not is_blob_name(entry.name) or (found and not found.regular):
        is_opened = is_blob_name(entry.name) and not entry.is_dir(follow_symlinks=False)
        yield _foreign(path, "is not a blob", is_opened=is_opened)
    elif found and found.size > _LARGE_BYTES:
        state = entry.stat(follow_symlinks=False)
        identity = state.st_dev, state.st_ino
        if state.st_blocks * _BLOCK < found.size // 2 and identity not in hollow:
            hollow[identity] = _is_hollow_blob(blobs, entry.name, found.size)
        if hollow.get(identity):
            yield _foreign(path, HOLLOW, is_opened=True)


def _is_hollow_blob(blobs: int, name: str, size: int) -> bool:
    with (
        contextlib.suppress(MalformedError),
        os.fdopen(open_file_in(blobs, name), "rb", buffering=0) as content,
    ):
        return is_hollow(content.fileno(), size)
    return False


def _entry(entry: os.DirEntry[str]) -> BlobFile | None:
    try:
        found = entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        return None
    return BlobFile(found.st_size, found.st_mtime, stat.S_ISREG(found.st_mode))


def open_file_in(folder: int, name: str) -> int:
    """Open an ordinary file and return its descriptor; do not wait for a FIFO or a device.

    Raises:
        MalformedError: the file is absent, not an ordinary file, or cannot be opened.
    """
    try:
        found = os.open(name, _FILE, dir_fd=folder)
    except FileNotFoundError:
        raise MalformedError(FindingKind.MISSING, "is not in the folder") from None
    except OSError as error:
        kind = FindingKind.NOT_A_FILE if _is_special(folder, name) else FindingKind.UNREADABLE
        problem = "is not an ordinary file" if kind is FindingKind.NOT_A_FILE else f"cannot be read: {_reason(error)}"
        raise MalformedError(kind, problem) from None
    if not stat.S_ISREG(os.fstat(found).st_mode):
        os.close(found)
        raise MalformedError(FindingKind.NOT_A_FILE, "is not an ordinary file")
    return found


def _is_special(folder: int, name: str) -> bool:
    try:
        return not stat.S_ISREG(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)
    except OSError:
        return False


def is_hollow(file: int, size: int) -> bool:
    """Return whether a file is almost entirely a hole, if its file system can say; reset the position to the start."""
    place = data = 0
    while size > _HOLLOW_BYTES and place < size and data * _HOLLOW_RATIO < size:
        try:
            begins = os.lseek(file, place, os.SEEK_DATA)
        except OSError as error:
            if error.errno != errno.ENXIO:  # the file system does not support SEEK_DATA
                break
            return True
        place = os.lseek(file, begins, os.SEEK_HOLE)
        data += place - begins
    os.lseek(file, 0, os.SEEK_SET)
    return place >= size > _HOLLOW_BYTES and data * _HOLLOW_RATIO < size


def _read(descriptor: int, limit: int) -> bytes:
    try:
        with os.fdopen(descriptor, "rb") as file:
            content = file.read(limit + 1)
    except OSError as error:
        raise MalformedError(FindingKind.UNREADABLE, f"cannot be read: {_reason(error)}") from None
    if len(content) > limit:
        raise MalformedError(FindingKind.DOCUMENT, f"is larger than {limit} bytes")
    return content


def _foreign(path: str, problem: str, *, is_opened: bool) -> Finding:
    """Return the finding for an entry that no export writes: damage if Buildx may open the entry by a digest.

    Buildx could wait on a FIFO or follow a link. An entry may be reachable for Buildx even if the walk did not reach
    it: Go also reads ``Manifests`` and takes layers of any media type.
    """
    return Finding(
        kind=FindingKind.NOT_A_FILE if is_opened else FindingKind.FOREIGN, blob=path, referrer="", problem=problem
    )


def _unreadable(path: str, error: OSError) -> Finding:
    return Finding(kind=FindingKind.UNREADABLE, blob=path, referrer="", problem=f"cannot be read: {_reason(error)}")


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else "") or str(error)
