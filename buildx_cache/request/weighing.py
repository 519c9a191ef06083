"""What makes a build context large, and the lines of ``.dockerignore`` that would leave it out.

Sizes are of files that are sent: ``.dockerignore`` is read as moby/patternmatcher reads it, a pattern as a regular
expression over the path from the context's root.
"""

from __future__ import annotations

import json
import os
import re
import stat
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from buildx_cache.request.checks import is_remote_context
from buildx_cache.request.contexts import ignore_lines, main_context
from buildx_cache.request.model import BuildRequest

LARGE = 50_000_000
"""Bytes from which on it is worth a word."""

_SECONDS, _FILES = 1.5, 300_000
_SHOWN = 5
_LEAST = 0.05
_DOMINANT = 0.9
# Folders that are left out whole: nothing of them is a source.
_WHOLE = frozenset(
    {".git", ".venv", "venv", "node_modules", "bower_components", "target", "build", "dist", "coverage", "vendor"}
)
# What would end a word or mean something else in a line of .dockerignore.
_SPECIAL = re.compile(r"[*?\[\]\\^]")
_OUTER_SPACE = re.compile(r"^\s|\s$")


@dataclass(frozen=True, kw_only=True)
class Heavy:
    """An entry of a build context: the line of ``.dockerignore`` that leaves it out, and the bytes that it saves."""

    line: str
    bytes: int


@dataclass(slots=True)
class _Folder:
    """A folder or a file, and what is in it. ``bytes`` are of all the files below that are sent."""

    name: str
    bytes: int = 0
    entries: dict[str, _Folder] = field(default_factory=dict)


def heavy_entries(request: BuildRequest) -> tuple[Heavy, ...]:
    """The biggest entries of a local build context that no ``COPY``, ``ADD`` or mount of the Dockerfile names.

    It looks for a second or two at most; of a context that takes longer it tells what it found.
    """
    if is_remote_context(request.context):
        return ()
    context, dockerfile, ignore = main_context(request)
    root = _weighed(str(context), [(back, _compiled(text)) for back, text in ignore_lines(ignore)])
    named = (*_named(dockerfile), *_files_of_the_build(context, dockerfile, ignore))
    found = sorted(_candidates(root, "", named), key=lambda each: -each[1])
    return tuple(
        Heavy(line=ignore_line(path), bytes=size) for path, size in found[:_SHOWN] if size >= _LEAST * root.bytes
    )


def ignore_line(path: str) -> str:
    """The line that leaves out exactly this path, as far as a line can: what cannot be shown becomes ``?``."""
    line = "".join(each if each.isprintable() else "?" for each in _SPECIAL.sub(r"\\\g<0>", path))
    line = _OUTER_SPACE.sub("[ ]", line)
    return f"\\{line}" if line.startswith(("#", "!")) else line


def is_ignored(path: str, patterns: Sequence[tuple[bool, re.Pattern[str]]]) -> bool:
    """Whether a path, or a folder above it, is left out; later patterns win."""
    ignored = False
    for back, pattern in patterns:
        if ignored is back and pattern.match(path):
            ignored = not back
    return ignored


def _compiled(pattern: str) -> re.Pattern[str]:
    """A pattern that matches a path or a folder above it (``compile`` in moby/patternmatcher)."""
    parts, at = [], 0
    while at < len(pattern):
        text, at = _translated(pattern, at)
        parts.append(text)
    try:
        return re.compile(f"(?:{''.join(parts)})(?:/.*)?\\Z", re.DOTALL)
    except re.error:
        return re.compile(r"(?!)")


def _translated(pattern: str, at: int) -> tuple[str, int]:
    """The regular expression for what stands at ``at``, and where the next begins."""
    if pattern.startswith("**", at):
        after = at + 3 if pattern.startswith("**/", at) else at + 2
        return ("(?:.*/)?" if after < len(pattern) else ".*"), after
    match pattern[at]:
        case "*":
            return "[^/]*", at + 1
        case "?":
            return "[^/]", at + 1
        case "[" if (end := pattern.find("]", at + 2)) > 0:
            return pattern[at : end + 1], end + 1
        case "\\" if at + 1 < len(pattern):
            return re.escape(pattern[at + 1]), at + 2
        case character:
            return re.escape(character), at + 1


def _weighed(root: str, patterns: Sequence[tuple[bool, re.Pattern[str]]]) -> _Folder:
    """The folder with the bytes of all that is sent of it; links are not followed."""
    until, files = time.monotonic() + _SECONDS, 0
    may_come_back = any(back for back, _ in patterns)
    top = _Folder("")
    waiting: list[tuple[str, tuple[_Folder, ...]]] = [("", (top,))]
    while waiting and files < _FILES and time.monotonic() < until:
        inside, above = waiting.pop()
        for entry in _entries(os.path.join(root, inside)):  # noqa: PTH118 -- thousands of them
            files += 1
            path = f"{inside}/{entry.name}" if inside else entry.name
            ignored = bool(patterns) and is_ignored(path, patterns)
            if entry.is_dir(follow_symlinks=False):
                if not ignored or may_come_back:
                    folder = above[-1].entries.setdefault(entry.name, _Folder(entry.name))
                    waiting.append((path, (*above, folder)))
            elif not ignored and (size := _size(entry)):
                above[-1].entries[entry.name] = _Folder(entry.name, size)
                for folder in above:
                    folder.bytes += size
    return top


def _entries(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError:
        return []


def _size(entry: os.DirEntry[str]) -> int:
    try:
        found = entry.stat(follow_symlinks=False)
    except OSError:
        return 0
    return found.st_size if stat.S_ISREG(found.st_mode) else 0


def _candidates(folder: _Folder, path: str, named: Sequence[str]) -> Iterator[tuple[str, int]]:
    """Entries to leave out: deeper ones where the build names something inside, or one of them holds nearly all."""
    for entry in folder.entries.values():
        inside = f"{path}/{entry.name}" if path else entry.name
        if any(inside == each or inside.startswith(f"{each}/") for each in named):
            continue
        if any(each.startswith(f"{inside}/") for each in named) or _is_mostly_one(entry):
            yield from _candidates(entry, inside, named)
        else:
            yield inside, entry.bytes


def _is_mostly_one(folder: _Folder) -> bool:
    if folder.name in _WHOLE or folder.name.startswith("."):
        return False
    return any(entry.bytes >= _DOMINANT * folder.bytes for entry in folder.entries.values())


def _files_of_the_build(context: Path, *files: Path) -> Iterator[str]:
    """The Dockerfile and what it ignores, where they are in the context."""
    for file in files:
        if file.is_relative_to(context):
            yield str(file.relative_to(context))


_CONTINUED = re.compile(r"\\[ \t]*\r?\n")
_COPY = re.compile(r"^\s*(?:ONBUILD\s+)?(?:COPY|ADD)\s+(?P<rest>.*)$", re.IGNORECASE | re.MULTILINE)
_MOUNT = re.compile(r"--mount=(?P<fields>\S*)")
_OPEN = re.compile(r"[*?$\[]")  # from here on it is a pattern or a variable
_FLAG = re.compile(r"--[a-z-]+(?:=\S*)?\s+")


def _named(dockerfile: Path) -> Iterator[str]:
    """The paths that the Dockerfile names, without those that are the whole context or that a variable begins."""
    try:
        text = _CONTINUED.sub(" ", dockerfile.read_text(encoding="utf-8", errors="surrogateescape"))
    except OSError:
        return
    for source in _sources(text):
        plain = _OPEN.split(source)[0]
        known = plain if plain == source else plain.rpartition("/")[0]
        if path := os.path.normpath(f"/{known}").strip("/"):
            yield path


def _sources(text: str) -> Iterator[str]:
    for match in _COPY.finditer(text):
        words = match["rest"]
        while flag := _FLAG.match(words):
            if flag[0].startswith("--from="):
                break
            words = words[flag.end() :]
        else:
            yield from _words(words)[:-1]
    for match in _MOUNT.finditer(text):
        fields = dict(each.partition("=")[::2] for each in match["fields"].split(","))
        if fields.get("type", "bind") == "bind" and "from" not in fields:
            yield fields.get("source") or fields.get("src") or ""


def _words(text: str) -> list[str]:
    if text.lstrip().startswith("["):
        try:
            return [str(each) for each in json.loads(text)]
        except ValueError:
            return []
    return text.split()
