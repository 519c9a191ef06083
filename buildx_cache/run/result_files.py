"""Write the image's ID (``--iidfile``) and the build's metadata (``--metadata-file``) where the caller wants them.

Buildx would follow the repository's symbolic links. So Buildx writes to a private folder, and this module puts the
files in place without following links.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from buildx_cache.atomic import remove_file, write_bytes
from buildx_cache.errors import ExhaustedError
from buildx_cache.plan import BuildInvocation
from buildx_cache.working_copy import prepared_root

_ID, _METADATA = "--iidfile", "--metadata-file"
_MODE = 0o644  # Buildx' own


@dataclass(frozen=True, kw_only=True)
class ResultFile:
    """A file that the caller wants at ``path``, with the ``content`` that Buildx wrote."""

    option: str
    path: str
    content: bytes

    def naming(self, image_id: str) -> ResultFile:
        """Put ``image_id``, the engine's ID of the loaded image, into an ID file; if it is empty, change nothing.

        Buildx writes the digest of the image's configuration; the containerd store finds no image by that digest.
        """
        return replace(self, content=image_id.encode()) if image_id and self.option == _ID else self


def redirected(build: BuildInvocation, folder: Path) -> BuildInvocation:
    """Redirect the build's files to ``folder``; this program always reads the metadata."""
    flags = list(build.flags)
    for at, option, path in _flags(build):
        flags[at] = flags[at].removesuffix(path) + str(_file(folder, option))
    iidfile = str(_file(folder, _ID)) if build.iidfile else ""
    is_asked = any(option == _METADATA for _, option, _ in _flags(build))
    metadata = "" if is_asked else str(_file(folder, _METADATA))
    return replace(build, flags=tuple(flags), iidfile=iidfile, metadata_file=metadata)


def written_files(build: BuildInvocation, folder: Path) -> tuple[ResultFile, ...]:
    """Read the files of a build that was :func:`redirected` to ``folder``; ``build`` is the planned build."""
    found = []
    for option, path in _asked(build):
        with contextlib.suppress(OSError):
            found.append(ResultFile(option=option, path=path, content=_file(folder, option).read_bytes()))
    return tuple(found)


def metadata_of(folder: Path) -> Mapping[str, object]:
    """Read the metadata of a build that was :func:`redirected` to ``folder``; empty if Buildx wrote none."""
    try:
        metadata = json.loads(_file(folder, _METADATA).read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return metadata if isinstance(metadata, dict) else {}


def remove_stale(build: BuildInvocation) -> None:
    """Delete the ID file of an earlier build, as Buildx does before a build."""
    for option, path in _asked(build):
        if option == _ID:
            with contextlib.suppress(OSError):
                where, below = _place(path)
                remove_file(where, below=below)


def put_in_place(file: ResultFile) -> None:
    """Write a file to its path.

    Raises:
        ExhaustedError: the file cannot be written.
    """
    try:
        path, below = _place(file.path)
        write_bytes(path, file.content, below=below, mode=_MODE)
    except OSError as error:
        raise ExhaustedError(
            f"{file.option} {file.path} cannot be written: {error.strerror}",
            code="path-not-writable",
            hint=f"give another {file.option}",
        ) from None


def _place(text: str) -> tuple[Path, Path | None]:
    """Return the path to write to, and the folder below which links are refused.

    Below a working copy links are the repository's and are refused. Elsewhere they are the user's and are followed:
    then the folder is None.
    """
    path = Path(text)
    below = prepared_root(path)
    return (path if below else Path(os.path.realpath(path))), below


def _asked(build: BuildInvocation) -> Iterator[tuple[str, str]]:
    """Yield option and path of each file that the caller wants. If an option is given twice, the last one counts."""
    yield from ((option, path) for option, path in ((_METADATA, build.metadata_file), (_ID, build.iidfile)) if path)
    yield from ((option, path) for _, option, path in _flags(build))


def _flags(build: BuildInvocation) -> Iterator[tuple[int, str, str]]:
    """Yield the file options among the flags after ``--``: index of the word that ends with the path, option, path."""
    for at, word in enumerate(build.flags):
        option, is_joined, path = word.partition("=")
        if option in {_ID, _METADATA} and is_joined:
            yield at, option, path
        elif word in {_ID, _METADATA} and at + 1 < len(build.flags):
            yield at + 1, option, build.flags[at + 1]


def _file(folder: Path, option: str) -> Path:
    return folder / option.removeprefix("--")
