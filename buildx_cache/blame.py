"""Which cache imports a build's trouble comes from: told from a Dockerfile's failure, a base image's and a push's.

BuildKit takes a cache's word for it that a layer is there, and notices only when it reads the layer that it is lost,
cut short or changed. Then the build fails, or the cache export does, or BuildKit runs the step after all.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from typing import Literal

from buildx_cache.caches import CacheEntry

# How a layer that cannot be read shows: containerd's content store (``core/content``), its local one, and its
# registry client (``core/remotes/docker``, httpReadSeeker), and BuildKit's ``util/contentutil``. From the first word
# on: what a Dockerfile names (an address, a path, a command's own words) stands further on in an error, if at all.
_UNREADABLE = re.compile(
    r"(?:failed to (?:compute cache key|copy): |error writing layer blob: |NotFound: |rpc error: code = \w+ desc = )*"
    r"(?:content sha256:[0-9a-f]{64}: not found"
    r"|failed commit on ref \"layer-sha256:[0-9a-f]{64}\": commit failed: "
    r"|short read: expected \d+ bytes|failed to read expected number of bytes"
    r"|httpReadSeeker: failed"
    r"|parent snapshot sha256:[0-9a-f]{64} does not exist"  # a layer below could not be extracted
    r"|parsing time \"|failed to get stream processor for \S+ no processor for media-type)"  # a changed manifest
)
_LOST = re.compile(
    r"not found|unexpected commit|failed size validation|short read|failed to read expected|parsing time|no processor"
)
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_URL = re.compile(r"https?://[^/\s\"]+/v2/\S+?/(?:blobs|manifests)/")


def blame(
    error: str, imports: Collection[CacheEntry], digests: Callable[[CacheEntry], Collection[str]]
) -> tuple[CacheEntry, ...]:
    """The imports that an error comes from; none where no import is at fault.

    An error that names an address is blamed on the imports of that repository, one that names a file on the folder that
    it was served from, one that names a blob on the folder that has it; one of a download, as far as no folder has the
    blob, on all imports that are not local; any other on all.

    Args:
        error: BuildKit's own words, of a step or an export.
        imports: what was imported.
        digests: the blobs of a local import.
    """
    if not _UNREADABLE.match(error):
        return ()
    named = tuple(entry for entry in imports if entry.is_named_by(error))
    if named or _URL.search(error):
        return named
    remote = tuple(entry for entry in imports if not entry.folder)
    if "httpReadSeeker: " in error:
        return remote
    blobs = set(_DIGEST.findall(error))
    holders = tuple(entry for entry in imports if blobs.intersection(digests(entry)))
    return holders or (remote if "failed commit on ref" in error else ()) or tuple(imports)


def damage_status(error: str) -> Literal["damaged", "unreachable"]:
    """Whether such an error says that a layer is lost or changed, or only that it could not be fetched."""
    return "damaged" if _LOST.search(error) else "unreachable"
