"""Complete values of options in a shell. A name that cannot be found in time is not completed.

Typer does not quote a backslash for zsh, which evaluates what it gets. So a shell gets plain names only.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from itertools import islice

import typer

_PLAIN = re.compile(r"[A-Za-z0-9][\w.+-]{,127}", re.ASCII)
_MOST = 200


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


def stages(ctx: typer.Context, incomplete: str) -> list[str]:
    """Complete the name of a stage of the Dockerfile: of --file and the build context before the cursor, if given."""
    from buildx_cache.request.build_request import BuildRequest  # noqa: PLC0415 -- same
    from buildx_cache.request.images import stage_names  # noqa: PLC0415 -- same
    from buildx_cache.request.options import ENV_PREFIX  # noqa: PLC0415 -- same

    file = ctx.params.get("file") or os.environ.get(f"{ENV_PREFIX}FILE", "")
    # Typer reads options first. It fails at the one that waits for its value, and leaves the arguments as they are.
    context = ctx.params.get("context") or (ctx.args or ["."])[0]
    request = BuildRequest(context=context, file=file)
    return _plain(stage_names(request), incomplete)


def caches(incomplete: str) -> list[str]:
    """Complete the name of a cache in the user's cache directory."""
    from buildx_cache.cli.cache_folders import cache_names  # noqa: PLC0415 -- same

    return _plain(cache_names(os.environ), incomplete)


def _plain(names: Iterable[str], incomplete: str) -> list[str]:
    fitting = (name for name in dict.fromkeys(names) if _PLAIN.fullmatch(name) and name.startswith(incomplete))
    return [*islice(fitting, _MOST)]
