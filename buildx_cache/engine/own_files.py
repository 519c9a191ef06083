"""Find the program's folder in the user's cache directory, and record there which images it loaded."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path

from buildx_cache.atomic import read_regular, write_text
from buildx_cache.engine.credentials import home_folder

# Enough for all projects of a machine. Older images are dropped from the record, and so are never removed.
_REMEMBERED = 1000
_RECORD_LIMIT = 1 << 20


def cache_home(env: Mapping[str, str]) -> Path:
    """Return this program's folder in the user's cache directory."""
    return Path(env.get("XDG_CACHE_HOME") or home_folder(env) / ".cache") / "buildx-cache"


def remembered(env: Mapping[str, str]) -> tuple[str, ...]:
    """Return the recorded IDs of loaded images, the newest last; none if the record cannot be read."""
    try:
        found = json.loads(read_regular(_record(env), _RECORD_LIMIT))
    except (OSError, ValueError, RecursionError):
        return ()
    return tuple(item for item in found if isinstance(item, str)) if isinstance(found, list) else ()


def remember(env: Mapping[str, str], image_id: str) -> None:
    """Add an image to the record; ignore a record that cannot be written."""
    known = [*(item for item in remembered(env) if item != image_id), image_id]
    with contextlib.suppress(OSError):
        write_text(_record(env), json.dumps(known[-_REMEMBERED:]))


def _record(env: Mapping[str, str]) -> Path:
    return cache_home(env) / "loaded.json"
