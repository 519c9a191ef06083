"""Parse the target of a ``cache`` command: a folder, or a reference in a registry."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from buildx_cache import layout
from buildx_cache.errors import UsageError
from buildx_cache.reference import Reference, parse_reference, without_login
from buildx_cache.working_copy import led_outside


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
        caches = tuple(each for each in (path, *inner) if _is_cache(each))
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
    """Return whether a folder is a cache's layout, intact or damaged; quarantined and foreign folders are not."""
    if layout.is_aside(folder) or layout.is_foreign(folder):
        return False
    return (folder / "oci-layout").is_file() or ((folder / "index.json").is_file() and (folder / "blobs").is_dir())
