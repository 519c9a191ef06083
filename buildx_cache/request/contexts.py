"""What a build writes, of which it sends what an earlier one wrote: ``COPY . .`` would copy the cache into the cache.

``.dockerignore`` is read as moby/patternmatcher does, but for two things: a pattern is compared part by part with
Python's ``fnmatch``, and a later ``!`` pattern counts wherever it may bring something of the folder back.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from buildx_cache.request.checks import REPORTS, is_remote_context
from buildx_cache.request.looking import look
from buildx_cache.request.model import BuildRequest, option_key

_IGNORE = ".dockerignore"
_ANY = frozenset({"*", "**"})


def context_notes(request: BuildRequest, directories: Sequence[str]) -> tuple[str, ...]:
    """One line for each cache folder and report that is part of a local build context, with what keeps it out.

    So is a folder whose key file, ``FOLDER-key`` beside it, is sent: it changes whenever the cache does.
    """
    contexts = tuple(_contexts(request))
    folders = (_note(directory, *context) for directory in directories for context in contexts)
    files = (_note_file(name, path, *context) for name, path in _files(request) for context in contexts)
    return tuple(dict.fromkeys(filter(None, (*folders, *files))))


def _contexts(request: BuildRequest) -> Iterator[tuple[Path, Path]]:
    """Every local folder that is sent, and the file that says what is left out of it."""
    if not is_remote_context(request.context):
        context, _, ignore = main_context(request)
        yield context, ignore
    for text in request.build_context:
        named = Path(text.partition("=")[2])
        if named.name and look(named).is_folder:
            yield named, named / _IGNORE


def main_context(request: BuildRequest) -> tuple[Path, Path, Path]:
    """A local build context, its Dockerfile, and the file that says what is left out of it."""
    context = Path(request.context)
    dockerfile = Path(request.file) if request.file else context / "Dockerfile"
    own = dockerfile.with_name(dockerfile.name + _IGNORE)
    return context, dockerfile, own if look(own).is_file else context / _IGNORE


def _note(directory: str, context: Path, ignore: Path) -> str:
    folder, root = Path(os.path.realpath(directory)), Path(os.path.realpath(context))
    if not folder.is_relative_to(root):
        return ""
    inside = PurePosixPath(folder.relative_to(root))
    patterns = _patterns(ignore)
    if not any(_is_sent(path, patterns) for path in _written(inside)):
        return ""
    line = f"add `{inside}*` to {ignore}, or " if inside.name else ""
    return (
        f"the cache folder {directory} is part of the build context {context}: `COPY . .` copies it, so that it never "
        f"hits again and the folder grows; {line}keep the cache elsewhere"
    )


def _files(request: BuildRequest) -> Iterator[tuple[str, str]]:
    """The files that a call writes, each with the option that asks for it."""
    for name in (*REPORTS, "dotenv", "metadata_file", "iidfile"):
        if path := getattr(request, name):
            yield f"--{option_key(name)}", path


def _note_file(option: str, path: str, context: Path, ignore: Path) -> str:
    file, root = Path(os.path.realpath(path)), Path(os.path.realpath(context))
    if not file.is_relative_to(root) or not _is_sent(
        inside := PurePosixPath(file.relative_to(root)), _patterns(ignore)
    ):
        return ""
    return (
        f"{option} {path} is part of the build context {context}, and every build changes it, so that `COPY . .` never "
        f"hits; add `{inside}` to {ignore}, or write it elsewhere"
    )


def _written(folder: PurePosixPath) -> tuple[PurePosixPath, ...]:
    """What every build may change: the folder, and the key file beside it."""
    return (folder, folder.with_name(f"{folder.name}-key")) if folder.name else (folder,)


def ignore_lines(ignore: Path) -> tuple[tuple[bool, str], ...]:
    """The file's patterns, relative to the root: whether it brings back (``!``), and the pattern itself.

    None where the file cannot be read.
    """
    try:
        lines = ignore.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    except OSError:
        return ()
    patterns = ((line.strip().startswith("!"), line.strip().removeprefix("!").strip()) for line in lines)
    cleaned = (
        (back, os.path.normpath(f"/{pattern}").strip("/"))
        for back, pattern in patterns
        if pattern and not pattern.startswith("#")
    )
    return tuple((back, pattern) for back, pattern in cleaned if pattern)


def _patterns(ignore: Path) -> tuple[tuple[bool, tuple[str, ...]], ...]:
    """The file's patterns, and their parts."""
    return tuple((back, PurePosixPath(pattern).parts) for back, pattern in ignore_lines(ignore))


def _is_sent(path: PurePosixPath, patterns: Sequence[tuple[bool, tuple[str, ...]]]) -> bool:
    sent = True
    for back, pattern in patterns:
        if back:
            sent = sent or _meets(pattern, path.parts)
        elif _covers(pattern, path.parts):
            sent = False
    return sent


def _covers(pattern: Sequence[str], path: Sequence[str]) -> bool:
    """Whether the pattern leaves out the path, a folder above it, or all that is in it."""
    if not pattern:
        return True
    if not path:
        return _ANY.issuperset(pattern)
    if pattern[0] == "**":
        return any(_covers(pattern[1:], path[start:]) for start in range(len(path) + 1))
    return fnmatchcase(path[0], pattern[0]) and _covers(pattern[1:], path[1:])


def _meets(pattern: Sequence[str], path: Sequence[str]) -> bool:
    """Whether the pattern may bring back the path, or something in it."""
    for part, name in zip(pattern, path, strict=False):
        if part == "**":
            return True
        if not fnmatchcase(name, part):
            return False
    return True
