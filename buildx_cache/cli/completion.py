"""Complete values of options in a shell. A name that cannot be found in time is not completed.

Typer does not quote a backslash for zsh, which evaluates what it gets. So a shell gets plain names only.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable

_PLAIN = re.compile(r"[A-Za-z0-9][\w.+-]*", re.ASCII)


def builders(incomplete: str) -> list[str]:
    """Complete the name of a builder."""
    from buildx_cache.engine.known_names import builder_names  # noqa: PLC0415 -- 120 ms that --help does not need

    return _plain(builder_names(os.environ), incomplete)


def contexts(incomplete: str) -> list[str]:
    """Complete the name of a Docker context."""
    from buildx_cache.engine.known_names import context_names  # noqa: PLC0415 -- same

    return _plain(context_names(os.environ), incomplete)


def networks(incomplete: str) -> list[str]:
    """Complete the network mode of RUN steps."""
    return [mode for mode in ("default", "host", "none") if mode.startswith(incomplete)]


def caches(incomplete: str) -> list[str]:
    """Complete the name of a cache in the user's cache directory."""
    from buildx_cache.cli.cache_folders import cache_names  # noqa: PLC0415 -- same

    return _plain(cache_names(os.environ), incomplete)


def _plain(names: Iterable[str], incomplete: str) -> list[str]:
    return [name for name in dict.fromkeys(names) if _PLAIN.fullmatch(name) and name.startswith(incomplete)]
