"""Ask a registry when the newest step in a cache ran, with the login that Buildx will use."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from buildx_cache.engine.credentials import credential_for
from buildx_cache.errors import BuildxCacheError
from buildx_cache.reference import Reference
from buildx_cache.registry.repository import connect
from buildx_cache.registry.transport import ONCE, Pace, sender

_PACE = Pace(seconds=5, piece=5)


def newest_step(cache: Reference, env: Mapping[str, str]) -> float | None:
    """Return the newest time in the cache's records, in seconds since the epoch.

    None if there is no such cache, if it cannot be read, or if the registry does not answer.
    """
    try:
        repository = connect(cache, partial(credential_for, env), send=sender(env, _PACE, ONCE))
        return repository.inspect(cache.canonical.tagged.tag).created
    except BuildxCacheError:
        return None
