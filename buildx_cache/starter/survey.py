"""Look at a repository: which CIs it has files of, its Dockerfiles, and where its origin is.

Nothing in it is followed or read: names alone are looked at, within bounds.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from buildx_cache.starter.recipes import RECIPES, CIName, Recipe

_DOCKERFILE = re.compile(r"(?i:dockerfile)|Dockerfile\.(?!(?:.*\.)?dockerignore$).+|.+\.Dockerfile")
_DEEPEST = 3
_MOST_ENTRIES = 5000
_SKIPPED = frozenset({"node_modules", "vendor"})
_SCP_LIKE = re.compile(r"(?:[^@/]+@)?(?P<host>[^:/]+):(?P<path>(?!//).+)")


@dataclass(frozen=True, kw_only=True)
class Remote:
    """A git server and the repository's path there; both empty where they are not known."""

    host: str = ""
    path: str = ""


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What there is in a repository."""

    top: Path
    cis: tuple[CIName, ...] = ()
    """The CIs whose files are there, in the order of :data:`RECIPES`."""
    dockerfiles: tuple[str, ...] = ()
    """Paths from the top, the nearest first."""
    remote: Remote = Remote()
    branch: str = ""
    """The default branch; empty if unknown."""


def survey(top: Path, *, origin: str, branch: str) -> Findings:
    """Look at the repository at ``top``; ``origin`` is the address that git gives, ``branch`` the default branch."""
    return Findings(
        top=top,
        cis=tuple(row.name for row in RECIPES if _has(top, row)),
        dockerfiles=tuple(sorted(_dockerfiles(top), key=lambda path: (path.count("/"), path))),
        remote=parse_remote(origin),
        branch=branch,
    )


def parse_remote(address: str) -> Remote:
    """Split a git address into host and path; a login in it is dropped, and so is what is no address of a server."""
    if "://" in address:
        try:
            parts = urlsplit(address)
            host, path = parts.hostname or "", parts.path
        except ValueError:
            return Remote()
    elif match := _SCP_LIKE.fullmatch(address):
        host, path = match["host"], match["path"]
    else:
        return Remote()
    return Remote(host=host.lower(), path=path.strip("/").removesuffix(".git")) if host else Remote()


def existing(top: Path, recipe: Recipe) -> str:
    """Return the CI's file that is there, or what the CI reads in its place; "" if there is none."""
    return next((name for name in (recipe.file, *recipe.same) if os.path.lexists(top / name)), "")


def _has(top: Path, recipe: Recipe) -> bool:
    return bool(existing(top, recipe)) or any(os.path.lexists(top / name) for name in recipe.marks)


def _dockerfiles(top: Path) -> Iterator[str]:
    """Yield the ordinary files that are named like Dockerfiles, down to the third folder; links are passed over."""
    waiting, seen = [(top, 0)], 0
    while waiting and seen < _MOST_ENTRIES:
        folder, depth = waiting.pop(0)
        for entry in _entries(folder):
            seen += 1
            if entry.is_file(follow_symlinks=False) and _DOCKERFILE.fullmatch(entry.name):
                yield os.path.relpath(entry.path, top)
            elif depth < _DEEPEST and entry.is_dir(follow_symlinks=False) and not _is_skipped(entry.name):
                waiting.append((Path(entry.path), depth + 1))


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            return sorted(found, key=lambda entry: entry.name)
    except OSError:
        return []


def _is_skipped(name: str) -> bool:
    return name.startswith(".") or name in _SKIPPED
