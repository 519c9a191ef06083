"""Find large entries of a build context, and the lines of ``.dockerignore`` that would exclude them.

Sizes count only files that are sent. The repository may be hostile: reads never block and have limits, and the search
ends after :data:`SECONDS`, not counting the parsing of ``.dockerignore``.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import stat
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from buildx_cache.request.build_request import BuildRequest
from buildx_cache.request.contexts import main_context
from buildx_cache.request.dockerignore import DockerIgnore, MatchState, load_dockerignore
from buildx_cache.request.globs import TooComplexError
from buildx_cache.request.probe import read_inside
from buildx_cache.request.remote_context import is_remote_context

LARGE = 50_000_000
"""The bytes from which a context is worth a warning."""

SECONDS = 1.5
"""The limit of the search in seconds."""

_FILES = 300_000
_LONGEST = 1024 * 1024  # bytes of a Dockerfile
_LONGEST_PATH = 4096  # PATH_MAX
_SHOWN = 5
_LEAST = 0.05
_DOMINANT = 0.9
# Folders to exclude whole: they have no sources.
_WHOLE = frozenset(
    {".git", ".venv", "venv", "node_modules", "bower_components", "target", "build", "dist", "coverage", "vendor"}
)
# Characters with a special meaning in a line of .dockerignore.
_SPECIAL = re.compile(r"[*?\[\]\\^]")
_OUTER_SPACE = re.compile(r"^\s|\s$")


@dataclass(frozen=True, kw_only=True)
class Heavy:
    """A large entry of a build context: the line of ``.dockerignore`` that excludes it, and the bytes saved."""

    line: str
    bytes: int


@dataclass(slots=True)
class _Folder:
    """A folder or a file, and its entries. ``bytes`` counts the files below that are sent."""

    name: str
    bytes: int = 0
    entries: dict[str, _Folder] = field(default_factory=dict)


@dataclass(slots=True)
class _Named:
    """A folder or a file that the build names (``is_whole``), or a folder above one."""

    is_whole: bool = False
    entries: dict[str, _Named] = field(default_factory=dict)


def heavy_entries(request: BuildRequest) -> tuple[Heavy, ...]:
    """Return the largest entries of a local build context that no ``COPY``, ``ADD`` or mount of the Dockerfile names.

    The search ends after :data:`SECONDS`; then the entries found so far are returned. If the Dockerfile or
    ``.dockerignore`` exceeds the limits, none are returned.
    """
    if is_remote_context(request.context):
        return ()
    context, dockerfile, ignore = main_context(request)
    until = time.monotonic() + SECONDS
    try:
        ignored = load_dockerignore(ignore, ignore.parent)
        text = _text_of(dockerfile)
    except TooComplexError:
        return ()
    named = _tree((*_named(text), *_files_of_the_build(context, dockerfile, ignore)))
    root = _weighed(str(context), ignored, until)
    found = sorted(_candidates(root, named), key=lambda each: -each[1])
    return tuple(
        Heavy(line=ignore_line(path), bytes=size) for path, size in found[:_SHOWN] if size >= _LEAST * root.bytes
    )


def ignore_line(path: str) -> str:
    """Return the line that excludes this path; characters that cannot be shown become ``?``, so it may exclude more."""
    line = "".join(each if each.isprintable() else "?" for each in _SPECIAL.sub(r"\\\g<0>", path))
    line = _OUTER_SPACE.sub("[ ]", line)
    return f"\\{line}" if line.startswith(("#", "!")) else line


def _weighed(root: str, ignored: DockerIgnore, until: float) -> _Folder:
    """Measure the files that are sent from a folder, until the time is over; links are not followed."""
    top = _Folder("")
    with contextlib.suppress(TimeoutError):
        _weigh(root, ignored, top, until)
    return top


def _weigh(root: str, ignored: DockerIgnore, top: _Folder, until: float) -> None:
    files = 0
    waiting: list[tuple[MatchState, tuple[_Folder, ...]]] = [(ignored.top, (top,))]
    while waiting:
        inside, above = waiting.pop()
        for entry in _entries(os.path.join(root, inside.path)):  # noqa: PTH118 -- thousands of them
            files += 1
            if files > _FILES or time.monotonic() > until:
                return
            place = ignored.below(inside, entry.name, until)
            if entry.is_dir(follow_symlinks=False):
                if not place.is_ignored or ignored.has_exceptions:
                    folder = above[-1].entries.setdefault(entry.name, _Folder(entry.name))
                    waiting.append((place, (*above, folder)))
            elif not place.is_ignored and (size := _size(entry)):
                above[-1].entries[entry.name] = _Folder(entry.name, size)
                for folder in above:
                    folder.bytes += size


def _entries(folder: str) -> Iterator[os.DirEntry[str]]:
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        yield from entries


def _size(entry: os.DirEntry[str]) -> int:
    try:
        found = entry.stat(follow_symlinks=False)
    except OSError:
        return 0
    return found.st_size if stat.S_ISREG(found.st_mode) else 0


def _candidates(root: _Folder, named: _Named) -> Iterator[tuple[str, int]]:
    """Yield the paths to exclude, with their bytes.

    Search inside of a folder if the build names a path in it, or if one of its entries has nearly all of its bytes.
    """
    nothing = _Named()
    waiting = [("", root, named)]
    while waiting:
        path, folder, named_here = waiting.pop()
        for entry in folder.entries.values():
            inside = f"{path}/{entry.name}" if path else entry.name
            named_inside = named_here.entries.get(entry.name, nothing)
            if named_inside.is_whole:
                continue
            if named_inside.entries or _is_mostly_one(entry):
                waiting.append((inside, entry, named_inside))
            else:
                yield inside, entry.bytes


def _is_mostly_one(folder: _Folder) -> bool:
    if folder.name in _WHOLE or folder.name.startswith("."):
        return False
    return any(entry.bytes >= _DOMINANT * folder.bytes for entry in folder.entries.values())


def _files_of_the_build(context: Path, *files: Path) -> Iterator[str]:
    """Yield the files that are in the context, relative to it."""
    for file in files:
        if file.is_relative_to(context):
            yield str(file.relative_to(context))


_CONTINUED = re.compile(r"\\[ \t]*\r?\n")
_COPY = re.compile(r"^[^\S\n]*+(?:ONBUILD[^\S\n]++)?(?:COPY|ADD)[^\S\n]++(?P<rest>.*)$", re.IGNORECASE | re.MULTILINE)
_MOUNT = re.compile(r"--mount=(?P<fields>\S*)")
_OPEN = re.compile(r"[*?$\[]")  # the start of a pattern or a variable
_FLAG = re.compile(r"--[a-z-]++(?:=\S*+)?\s++")


def _text_of(dockerfile: Path) -> str:
    """Read the Dockerfile; "" if it cannot be read.

    Raises:
        TooComplexError: the file exceeds the limit.
    """
    try:
        content = read_inside(dockerfile.parent, dockerfile, _LONGEST)
    except OSError as error:
        if error.errno == errno.EFBIG:
            raise TooComplexError from None
        return ""
    return _CONTINUED.sub(" ", content.decode("utf-8", "surrogateescape"))


def _tree(paths: Iterable[str]) -> _Named:
    """Arrange paths as a tree, so that the time of a look-up does not depend on their number."""
    root = _Named()
    for path in paths:
        if len(path) > _LONGEST_PATH:
            continue
        named = root
        for part in path.split("/"):
            named = named.entries.setdefault(part, _Named())
        named.is_whole = True
    return root


def _named(text: str) -> Iterator[str]:
    """Yield the paths that a Dockerfile names; a path with a pattern or variable is cut to the folder before it."""
    for source in _sources(text):
        plain = _OPEN.split(source, maxsplit=1)[0]
        known = plain if plain == source else plain.rpartition("/")[0]
        if path := os.path.normpath(f"/{known}").strip("/"):
            yield path


def _sources(text: str) -> Iterator[str]:
    for match in _COPY.finditer(text):
        words, at = match["rest"], 0
        while flag := _FLAG.match(words, at):
            if flag[0].startswith("--from="):
                break
            at = flag.end()
        else:
            yield from _words(words[at:])[:-1]
    for match in _MOUNT.finditer(text):
        fields = dict(each.partition("=")[::2] for each in match["fields"].split(","))
        if fields.get("type", "bind") == "bind" and "from" not in fields:
            yield fields.get("source") or fields.get("src") or ""


def _words(text: str) -> list[str]:
    if text.lstrip().startswith("["):
        try:
            return [str(each) for each in json.loads(text)]
        except (ValueError, RecursionError):
            return []
    return text.split()
