"""Files that Buildx writes about a build: the image's ID (``--iidfile``) and its metadata (``--metadata-file``).

Buildx follows a repository's links on the way to them. It is given a private folder instead, and what it wrote there is
put in place without following any.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, replace
from pathlib import Path

from buildx_cache.atomic import remove_file, write_bytes
from buildx_cache.errors import ExhaustedError
from buildx_cache.plan import Command
from buildx_cache.working_copy import prepared_root

_ID, _METADATA = "--iidfile", "--metadata-file"
_MODE = 0o644  # Buildx' own


@dataclass(frozen=True, kw_only=True)
class ResultFile:
    """A file that is asked for: ``path`` is where, ``content`` what Buildx wrote."""

    option: str
    path: str
    content: bytes


def redirected(command: Command, folder: Path) -> Command:
    """Return the build with its files in ``folder``."""
    words = list(command.argv)
    for at, option in _options(command):
        words[at + 1] = str(folder / option.removeprefix("--"))
    return replace(command, argv=tuple(words))


def written_files(command: Command, folder: Path) -> tuple[ResultFile, ...]:
    """Read the files of a build that was :func:`redirected` to ``folder``; ``command`` is the one that was planned."""
    found = []
    for at, option in _options(command):
        with contextlib.suppress(OSError):
            content = (folder / option.removeprefix("--")).read_bytes()
            found.append(ResultFile(option=option, path=command.argv[at + 1], content=content))
    return tuple(found)


def remove_stale(command: Command) -> None:
    """Delete the ID of an earlier build, as Buildx does before it begins."""
    for at, option in _options(command):
        if option == _ID:
            with contextlib.suppress(OSError):
                path, below = _place(command.argv[at + 1])
                remove_file(path, below=below)


def put_in_place(file: ResultFile) -> None:
    """Write a file where it is asked for.

    Raises:
        ExhaustedError: it cannot be written there.
    """
    try:
        path, below = _place(file.path)
        write_bytes(path, file.content, below=below, mode=_MODE)
    except OSError as error:
        raise ExhaustedError(
            f"{file.option} {file.path} cannot be written: {error.strerror}", hint=f"give another {file.option}"
        ) from None


def _place(text: str) -> tuple[Path, Path | None]:
    """Return the path to write to, and below which folder no link counts; elsewhere, the user's own are followed."""
    path = Path(text)
    below = prepared_root(path)
    return (path if below else Path(os.path.realpath(path))), below


def _options(command: Command) -> tuple[tuple[int, str], ...]:
    words = command.argv
    return tuple((at, words[at]) for at in range(words.index("build"), len(words) - 1) if words[at] in {_ID, _METADATA})
