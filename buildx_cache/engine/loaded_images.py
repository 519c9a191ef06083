"""Which images this program loaded into engines: only those may it remove again."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path

from buildx_cache.atomic import write_text
from buildx_cache.engine.paths import home_folder

# Enough for every project of a machine; older ones are forgotten, and then simply never removed.
_REMEMBERED = 1000


def remembered(env: Mapping[str, str]) -> tuple[str, ...]:
    """The IDs of loaded images, the newest last; none where the record cannot be read."""
    try:
        found = json.loads(_record(env).read_bytes())
    except (OSError, ValueError):
        return ()
    return tuple(item for item in found if isinstance(item, str)) if isinstance(found, list) else ()


def remember(env: Mapping[str, str], image_id: str) -> None:
    """Add an image to the record; a record that cannot be written is done without."""
    known = [*(item for item in remembered(env) if item != image_id), image_id]
    with contextlib.suppress(OSError):
        write_text(_record(env), json.dumps(known[-_REMEMBERED:]))


def _record(env: Mapping[str, str]) -> Path:
    return cache_home(env) / "loaded.json"


def cache_home(env: Mapping[str, str]) -> Path:
    """The folder of this program in the user's cache directory."""
    return Path(env.get("XDG_CACHE_HOME") or home_folder(env) / ".cache") / "buildx-cache"
