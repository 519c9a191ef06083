"""Parse the arguments of the ``cache`` commands.

The target is a folder or a reference in a registry; the limits of ``prune`` are size, age, and the branches whose
caches stay.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from buildx_cache import layout
from buildx_cache.cli.secrets import forget_secrets
from buildx_cache.engine.committed import refuse_committed_git
from buildx_cache.engine.git_origin import branches
from buildx_cache.errors import UsageError
from buildx_cache.reference import Reference, parse_reference, without_login
from buildx_cache.request.build_request import BuildRequest
from buildx_cache.request.options import parse_duration, parse_size
from buildx_cache.request.probe import working_directory
from buildx_cache.working_copy import led_outside, nearest_top

# Git's text before a branch's name: a commit, the mark of a checked-out branch, `refs/heads/`.
_GIT_LINE = re.compile(r"^(?:[0-9a-f]{40,64}\s+)?(?:[*+]\s+)?(?:refs/heads/)?")
_REMOTE = re.compile(r"^(?:(?:refs/)?remotes/[^/]+/|origin/)")
# A build writes one cache for each platform; a restored archive may hold thousands, by hard links.
_MOST_CACHES = 64


@dataclass(frozen=True, kw_only=True)
class Folder:
    """A folder and its caches: the folder itself, or one below it a platform, as written by several nodes."""

    path: Path
    caches: tuple[Path, ...]


def parse_target(text: str) -> Folder | Reference:
    """Return the folder or reference that ``text`` names.

    A text is a folder if the path exists, or if it begins with ``.``, ``/`` or ``~``.

    Raises:
        UsageError: the path does not exist, holds no cache, or is behind a link of a repository; or the text is neither
            a path nor a reference.
    """
    path = _expanded(text)
    if _exists(path) or text.startswith((".", "/", "~")):
        return _folder(path, text)
    try:
        return parse_reference(text)
    except UsageError:
        raise UsageError(
            f"{without_login(text)!r} is neither a folder that exists nor an image reference",
            code="target-unknown",
            hint="check the path, or write HOST/REPOSITORY:TAG, such as registry.example.com/team/app:buildcache-main",
        ) from None


def _folder(path: Path, text: str) -> Folder:
    if not _exists(path):
        raise UsageError(
            f"the cache folder does not exist: {text}",
            code="cache-dir-absent",
            hint="give the --cache-dir of your builds",
        )
    if link := led_outside(path):
        raise UsageError(
            f"the cache folder {text} leaves the working copy by its symbolic link {link}",
            code="path-behind-a-link",
            hint="give the path that is meant, if you trust the link",
        )
    if not path.is_dir():
        raise UsageError(
            f"the cache folder is a file: {text}",
            code="cache-dir-not-a-folder",
            hint="give the --cache-dir of your builds",
        )
    try:
        inner = sorted(each for each in path.iterdir() if not each.is_symlink())  # a link may lead to another cache
        caches = tuple(islice(filter(_is_cache, (path, *inner)), _MOST_CACHES + 1))
    except OSError as error:
        raise UsageError(
            f"the cache folder cannot be read: {text}: {error.strerror}",
            code="cache-dir-unreadable",
            hint="check its permissions",
        ) from None
    if not caches:
        raise UsageError(
            f"there is no cache in the folder {text}: it is no OCI layout",
            code="not-a-cache",
            hint="give the --cache-dir of your builds; a build with --cache local makes it",
        )
    if len(caches) > _MOST_CACHES:
        raise UsageError(
            f"the folder {text} holds more than {_MOST_CACHES} caches",
            code="too-many-caches",
            hint="give the folder of one cache; a build writes one for each platform",
        )
    return Folder(path=path, caches=caches)


def _expanded(text: str) -> Path:
    try:
        return Path(text).expanduser() if text.startswith("~") else Path(text)
    except RuntimeError:  # the user has no home folder
        return Path(text)


def _exists(path: Path) -> bool:
    """Return whether the path exists; False if it is too long, or hidden from this user."""
    try:
        return path.exists()
    except OSError:
        return False


def _is_cache(folder: Path) -> bool:
    """Return whether a folder is a cache's layout, intact or damaged.

    Quarantined and foreign folders are not, nor are those to which a build exports.
    """
    if layout.is_linked(folder) or layout.is_aside(folder) or layout.is_foreign(folder):
        return False
    return (folder / "oci-layout").is_file() or ((folder / "index.json").is_file() and (folder / "blobs").is_dir())


@dataclass(frozen=True, kw_only=True)
class FolderLimits:
    """The limits for a folder: ``max_size`` bytes, and tags newer than ``since`` (seconds since the epoch) stay.

    None: no limit.
    """

    max_size: int | None = None
    since: float | None = None


@dataclass(frozen=True, kw_only=True)
class RegistryLimits:
    """The limits for a registry: tags younger than ``max_age`` seconds, and tags of ``branches`` stay.

    None: no such condition.
    """

    max_age: float | None = None
    branches: tuple[str, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class PruneLimits:
    """The options as given; an absent option is empty."""

    max_size: str = ""
    max_age: str = ""
    keep_branches_from: str = ""

    def of_folder(self, now: float) -> FolderLimits:
        """Return the limits for a folder; ``now`` is in seconds since the epoch.

        Raises:
            UsageError: a limit is invalid, or applies to registries only.
        """
        if self.keep_branches_from:
            raise UsageError(
                "--keep-branches-from is for a registry: a folder's tags are not named after branches",
                code="option-not-applicable",
                hint="use --max-age or --max-size",
            )
        age = self._age()
        return FolderLimits(max_size=self._size(), since=None if age is None else now - age)

    def of_registry(self, env: Mapping[str, str]) -> RegistryLimits:
        """Return the limits for a registry; ``--keep-branches-from git`` asks git's origin for the branches.

        Raises:
            UsageError: a limit is invalid, or applies to folders only.
            UnreachableError: git's origin does not answer.
        """
        if self.max_size:
            raise UsageError(
                "--max-size is for a folder: a registry does not tell which layers its tags share",
                code="option-not-applicable",
                hint="use --max-age or --keep-branches-from",
            )
        source = self.keep_branches_from
        return RegistryLimits(max_age=self._age(), branches=kept_branches(source, env) if source else None)

    def _size(self) -> int | None:
        size = parse_size(self.max_size) if self.max_size else None
        if self.max_size and size is None:
            raise UsageError(
                f"--max-size {self.max_size!r} is not a size", code="size-malformed", hint="write 10GB, 512MB, …"
            )
        return size

    def _age(self) -> float | None:
        age = parse_duration(self.max_age) if self.max_age else None
        if self.max_age and age is None:
            raise UsageError(
                f"--max-age {self.max_age!r} is not a duration",
                code="duration-malformed",
                hint="write 30d, 48h, 90m, …",
            )
        return age


def kept_branches(source: str, env: Mapping[str, str]) -> tuple[str, ...]:
    """Return the branches of ``--keep-branches-from``: those of git's origin, or a file's lines.

    An empty list is refused: with it, every cache would count as one of a deleted branch.

    Raises:
        UsageError: the file cannot be read or names no branch, or there is no git repository with an origin.
        UnreachableError: git's origin does not answer.
    """
    if source == "git":
        needed = dict(env)
        forget_secrets(BuildRequest(), needed)
        refuse_committed_git(BuildRequest(), needed)
        return branches(nearest_top(Path(os.path.realpath(working_directory()))), needed)
    lines = (line for text in _lines(source) if (line := text.strip()) and not line.startswith("#"))
    names = tuple(name for line in lines for name in _branches_in(line))
    if not names:
        where = "stdin" if source == "-" else source
        raise UsageError(
            f"--keep-branches-from: there is no branch in {where}",
            code="branches-absent",
            hint="give one branch a line",
        )
    return names


def _branches_in(line: str) -> tuple[str, ...]:
    """Return the branch in a line with a plain name, or of ``git branch -a``, ``ls-remote`` or ``for-each-ref``.

    If a prefix may be part of the name (``origin/x``), return both names: then more is kept.
    """
    name = _GIT_LINE.sub("", line, count=1).partition(" -> ")[0]
    return tuple(dict.fromkeys(each for each in (name, _REMOTE.sub("", name, count=1)) if each))


def _lines(source: str) -> list[str]:
    try:
        read = sys.stdin.read() if source == "-" else Path(source).read_text(encoding="utf-8-sig")
        return read.split("\n")  # not splitlines: a name may hold other breaks
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text in UTF-8"
        raise UsageError(
            f"--keep-branches-from: {source} cannot be read: {reason}",
            code="branches-unreadable",
            hint="write git, a file's path, or - for stdin",
        ) from None
