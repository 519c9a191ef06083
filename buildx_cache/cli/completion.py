"""Complete values of options in a shell. A name that cannot be found in time is not completed."""

from __future__ import annotations

import os


def builders(incomplete: str) -> list[str]:
    """Complete the name of a builder."""
    from buildx_cache.engine.known_names import builder_names  # noqa: PLC0415 -- 120 ms that --help does not need

    return [name for name in builder_names(os.environ) if name.startswith(incomplete)]


def contexts(incomplete: str) -> list[str]:
    """Complete the name of a Docker context."""
    from buildx_cache.engine.known_names import context_names  # noqa: PLC0415 -- same

    return [name for name in context_names(os.environ) if name.startswith(incomplete)]


def networks(incomplete: str) -> list[str]:
    """Complete the network mode of RUN steps."""
    return [mode for mode in ("default", "host", "none") if mode.startswith(incomplete)]


def caches(incomplete: str) -> list[str]:
    """Complete the name of a cache in the user's cache directory."""
    from buildx_cache.cli.own_caches import cache_names  # noqa: PLC0415 -- same

    return [name for name in cache_names(os.environ) if name.startswith(incomplete)]
