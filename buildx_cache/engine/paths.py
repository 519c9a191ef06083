"""The user's home folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from buildx_cache.errors import UsageError


def home_folder(env: Mapping[str, str]) -> Path:
    """The folder that ``HOME`` or the system's list of users names.

    Raises:
        UsageError: neither does, as in a container that runs with a user's number alone.
    """
    if home := env.get("HOME"):
        return Path(home)
    try:
        return Path.home()
    except RuntimeError:
        raise UsageError(
            "this user has no home folder", code="home-absent", hint="set HOME to a folder that it can write"
        ) from None
