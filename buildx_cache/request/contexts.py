"""Refuse unusable cache folders, and warn of files that a build writes into its own context.

With a cache in the context, ``COPY . .`` would copy the cache into the cache.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path, PurePosixPath

from buildx_cache import layout
from buildx_cache.errors import ExhaustedError, UsageError
from buildx_cache.request.build_request import BuildRequest, option_key
from buildx_cache.request.dockerignore import DockerIgnore, load_dockerignore
from buildx_cache.request.globs import TooComplexError
from buildx_cache.request.images import copies_context, has_cache_mounts
from buildx_cache.request.local_paths import (
    RESULT_FILES,
    dockerfile_of,
    is_path,
    output_pairs,
    outputs_of,
    used_paths,
    values_of,
    written_layouts,
)
from buildx_cache.request.path_checks import IGNORE
from buildx_cache.request.probe import has_file_inside, look
from buildx_cache.request.remote_context import is_remote_context
from buildx_cache.working_copy import prepared_root

_SECONDS = 1.5
# One entry of each kind in a cache folder. If the context includes one of them, the folder is part of the context.
_HELD = ("index.json", "oci-layout", f"blobs/sha256/{'0' * 64}")


@dataclass(frozen=True, kw_only=True)
class _Context:
    """A local build context, its ``.dockerignore`` file, and the patterns in that file."""

    folder: Path
    file: Path
    ignored: DockerIgnore | None
    """None if the file exceeds the limits."""
    until: float

    @property
    def root(self) -> Path:
        return Path(os.path.realpath(self.folder))

    def sends(self, path: PurePosixPath) -> bool:
        if self.ignored is None:
            return False
        try:
            return not self.ignored.is_ignored(str(path), self.until)
        except TimeoutError:
            return False


def context_notes(request: BuildRequest, directories: Sequence[str]) -> tuple[str, ...]:
    """Return a note for each cache folder and report that is part of a local build context, with a remedy.

    A cache folder counts if its key file, ``FOLDER-key`` beside it, is sent: that file changes whenever the cache does.
    A ``.dockerignore`` that exceeds the limits gets a note instead. The search ends after 1.5 seconds.
    """
    written = tuple(_files(request))
    if not directories and not written:
        return ()
    contexts = tuple(_contexts(request, time.monotonic() + _SECONDS))
    unread = (_unread(context) for context in contexts if context.ignored is None)
    folders = (_note(directory, context) for directory in directories for context in contexts)
    files = (_note_file(name, path, context) for name, path in written for context in contexts)
    return tuple(dict.fromkeys(filter(None, (*unread, *folders, *files))))


def repository_notes(request: BuildRequest, *, travels: bool) -> tuple[str, ...]:
    """Return notes on parts of the Dockerfile for which no cache helps.

    Args:
        request: the request.
        travels: whether the cache is written for other machines.
    """
    history = tuple(_contexts(request, time.monotonic() + _SECONDS))[:1] if copies_context(request) else ()
    notes = (
        *map(_note_history, () if is_remote_context(request.context) else history),
        _MOUNTS if travels and has_cache_mounts(request) else "",
    )
    return tuple(filter(None, notes))


_MOUNTS = (
    "caches do not include `RUN --mount=type=cache`: a cache mount stays in the builder, and is empty on a new machine"
)


def _note_history(context: _Context) -> str:
    has_history = look(context.folder / ".git").is_folder
    if not has_history or not context.sends(PurePosixPath(".git/HEAD")):
        return ""
    return (
        f".git is in the build context {context.folder}, and every commit changes it: `COPY . .` copies it and runs "
        f"again; add `.git` to {context.file}"
    )


def _contexts(request: BuildRequest, until: float) -> Iterator[_Context]:
    """Yield the local build context and the local named contexts."""
    if not is_remote_context(request.context):
        context, _, ignore = main_context(request)
        yield _context(context, ignore, until)
    for text in request.build_context:
        named = Path(text.partition("=")[2])
        if named.name and look(named).is_folder:
            yield _context(named, named / IGNORE, until)


def _context(folder: Path, ignore: Path, until: float) -> _Context:
    try:
        ignored = load_dockerignore(ignore, ignore.parent) if time.monotonic() < until else None
    except TooComplexError:
        ignored = None
    return _Context(folder=folder, file=ignore, ignored=ignored, until=until)


def _unread(context: _Context) -> str:
    return (
        f"{context.file} exceeds the limit of patterns: this program cannot tell whether the build context "
        f"{context.folder} includes a cache or a report"
    )


def main_context(request: BuildRequest) -> tuple[Path, Path, Path]:
    """Return a local build context, its Dockerfile, and its ``.dockerignore`` file."""
    context = Path(request.context)
    dockerfile = Path(dockerfile_of(request))
    own = dockerfile.with_name(dockerfile.name + IGNORE)
    return context, dockerfile, own if has_file_inside(own.parent, own) else context / IGNORE


def _note(directory: str, context: _Context) -> str:
    folder, root = Path(os.path.realpath(directory)), context.root
    if not folder.is_relative_to(root):
        return ""
    inside = PurePosixPath(folder.relative_to(root))
    if not any(map(context.sends, _written(inside))):
        return ""
    line = f"add `{inside}*` to {context.file}, or " if inside.name else ""
    return (
        f"the cache folder {directory} is in the build context {context.folder}: `COPY . .` "
        "copies it, is never cached, "
        f"and makes the folder grow; {line}choose a folder outside of the context"
    )


def _files(request: BuildRequest) -> Iterator[tuple[str, str]]:
    """Yield the files that a call writes: option, path."""
    for name in RESULT_FILES:
        if path := getattr(request, name):
            yield f"--{option_key(name)}", path


def _note_file(option: str, path: str, context: _Context) -> str:
    file, root = Path(os.path.realpath(path)), context.root
    if not file.is_relative_to(root) or not context.sends(inside := PurePosixPath(file.relative_to(root))):
        return ""
    return (
        f"{option} {path} is in the build context {context.folder}, and every build changes it: `COPY . .` is never "
        f"cached; add `{inside}` to {context.file}, or choose a file outside of the context"
    )


def _written(folder: PurePosixPath) -> tuple[PurePosixPath, ...]:
    """Return the paths that every build may change: the folder's entries, and the key file beside the folder."""
    key = (folder.with_name(f"{folder.name}-key"),) if folder.name else ()
    return (*(folder / each for each in _HELD), *key)


def check_cache_directories(directories: Sequence[str]) -> None:
    """Refuse folders that cannot hold a cache, and two caches in the same folder.

    Raises:
        UsageError: as ``check_cache_directory``, or two of the folders are the same.
        ExhaustedError: as ``check_cache_directory``.
    """
    seen: set[str] = set()
    for directory in directories:
        check_cache_directory(directory)
        real = os.path.realpath(directory)
        if real in seen:
            raise UsageError(
                f"two caches are written to the folder {directory}: Buildx keeps only the last one's tag",
                code="cache-dir-given-twice",
                hint="give each its own folder",
            )
        seen.add(real)


def check_exported_folders(
    request: BuildRequest, caches: Sequence[str], settings: Sequence[Path] = (), programs: Sequence[Path] = ()
) -> None:
    """Refuse an export of the image's files into a folder that the same call uses for something else.

    ``caches`` are the folders of the caches that the call reads or writes.

    Folders of a cache, a layout or another export are refused: Buildx writes the image's files first and then follows
    their links, so the image would choose which files of the host are written. Folders with the user's ``settings`` are
    refused, and results over these settings, too: a Docker plug-in of the image would run on the host at the next
    docker command of this call. (An archive begins with the name of a file, which may be JSON that Docker reads.)
    Files of this program (``programs``) are loaded while it runs: an image could replace them. The lines of a
    ``--dotenv`` file become variables of later steps: nothing else may write that file.

    Raises:
        UsageError: with the two folders.
    """
    outputs = (dict(output_pairs(text)) for text in outputs_of(request))
    exported = tuple(filter(None, (fields.get("dest") for fields in outputs if fields.get("type") == "local")))
    _refuse_settings(request, settings)
    _refuse_programs(request, programs)
    _refuse_dotenv(request)
    _refuse_results(request, exported)
    _refuse_caches(exported, (*caches, *written_layouts(request)))


def _refuse_settings(request: BuildRequest, settings: Sequence[Path]) -> None:
    for path, place in product(_results(request), settings):
        if _meet(place, path):
            raise UsageError(
                f"the result {path} overlaps with the user's settings {place}: "
                "what is built could choose programs to run here",
                code="output-over-settings",
                hint="write it elsewhere, or set HOME to a folder outside of it",
            )


def _results(request: BuildRequest) -> Iterator[str]:
    """Yield the paths of outputs and result files."""
    return (each.path for each in used_paths(request) if each.name in (*RESULT_FILES, "output") and is_path(each.path))


def _refuse_programs(request: BuildRequest, programs: Sequence[Path]) -> None:
    for path, place in product(_results(request), programs):
        if _meet(place, path):
            raise UsageError(
                f"the result {path} overlaps with this program's files in {place}: what is built could replace them",
                code="output-over-program",
                hint="write it elsewhere, such as -o out, or install the program outside of that folder",
            )


def _refuse_dotenv(request: BuildRequest) -> None:
    outputs = (each.path for each in used_paths(request) if each.name == "output" and is_path(each.path))
    for path in outputs:
        if request.dotenv and _resolved(request.dotenv).is_relative_to(_resolved(path)):
            raise UsageError(
                f"--dotenv {request.dotenv} is in the output {path}: later steps would take variables of the image",
                code="output-over-result",
                hint="write it elsewhere",
            )


def _refuse_results(request: BuildRequest, exported: Sequence[str]) -> None:
    for folder, path in product(exported, _led_by_links(request)):
        if _resolved(folder) in _resolved(path).parents:
            raise UsageError(
                f"{path} is in {folder}, which the image is exported to: a link of the image could "
                "lead the result elsewhere",
                code="output-over-result",
                hint="write it outside of that folder",
            )


def _refuse_caches(exported: Sequence[str], written: Sequence[str]) -> None:
    for number, folder in enumerate(exported):
        for other in filter(None, (*written, *exported[:number])):
            if _meet(other, folder):
                raise UsageError(
                    f"the image is exported to {folder}, which overlaps with {other}: a link of the "
                    "image could lead what Buildx writes elsewhere",
                    code="output-over-cache",
                    hint="export to another folder, or choose another folder with --cache-dir",
                )


def _led_by_links(request: BuildRequest) -> Iterator[Path]:
    """Yield the paths by which a result file is opened: its folder, or the file itself if its link is followed.

    Files in a working copy are left out: this program follows no link there (``working_copy.prepared_root``).
    """
    for name in RESULT_FILES:
        for path in map(Path, filter(None, values_of(request, name))):
            if prepared_root(path) is None:
                yield path if name in ("metadata_file", "iidfile") else path.parent


def _resolved(path: str | Path) -> Path:
    return Path(os.path.realpath(path))


def _meet(one: str | Path, other: str | Path) -> bool:
    """Tell whether one folder lies in the other, links followed."""
    one, other = _resolved(one), _resolved(other)
    return one.is_relative_to(other) or other.is_relative_to(one)


def check_cache_directory(directory: str) -> None:
    """Refuse a path that is no folder, holds something else than a cache, or cannot be written.

    Raises:
        UsageError: the path is a file, is below a file, has no name, or holds something else than a cache.
        ExhaustedError: the folder, or the one to create it in, is not writable.
    """
    path = Path(directory)
    if not (path.name and Path(os.path.realpath(path)).name):
        raise UsageError(
            f"the cache folder {directory} has no name",
            code="cache-dir-unnamed",
            hint="give a folder that has a name with --cache-dir",
        )
    found = look(path)
    if found.hidden:
        raise UsageError(
            f"the cache folder cannot be used: {path}: {found.hidden}",
            code="cache-dir-unreadable",
            hint="give another --cache-dir",
        )
    if found.mode and not found.is_folder:
        raise UsageError(
            f"the cache folder is a file: {path}", code="cache-dir-not-a-folder", hint="give a folder with --cache-dir"
        )
    existing = next(parent for parent in (path, *path.absolute().parents) if look(parent).mode)
    if not look(existing).is_folder:
        raise UsageError(
            f"the cache folder lies below a file: {existing}",
            code="cache-dir-not-a-folder",
            hint="give a folder with --cache-dir",
        )
    if not os.access(existing, os.W_OK | os.X_OK):
        raise ExhaustedError(
            f"the cache folder cannot be written: {path}",
            code="cache-dir-not-writable",
            hint="check its permissions, give another --cache-dir, or only read it: --cache-read-only",
        )
    if layout.is_foreign(path) and not layout.exposure(path):  # an exposed folder is not used at all
        raise UsageError(
            f"the cache folder holds an index.json or blobs of something else: {path}",
            code="cache-dir-foreign",
            hint="give the cache its own folder with --cache-dir",
        )
