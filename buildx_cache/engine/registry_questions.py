"""Ask a registry, with the login that Docker will use, whether it refuses a pull or a push, and how new a cache is."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from buildx_cache.engine.credentials import credential_for
from buildx_cache.errors import BuildxCacheError
from buildx_cache.layout.parse import MalformedError
from buildx_cache.redaction import Redactor
from buildx_cache.reference import Reference
from buildx_cache.registry.repository import Repository, connect
from buildx_cache.registry.transport import ONCE, Pace, sender

_PACE = Pace(seconds=5, piece=5)


def pull_refusal(image: Reference, env: Mapping[str, str]) -> str:
    """Return why an image cannot be pulled, as far as this host can tell; empty where it can."""
    connected = _connect(image, env)
    try:
        if connected.registry.digest(image.digest or image.tagged.tag):
            return ""
    except (BuildxCacheError, MalformedError) as error:
        return f"{image}: {Redactor(connected.secrets).text(str(error))}"
    return f"{image}: there is no such image"


def push_refusal(repository: Reference, env: Mapping[str, str]) -> str:
    """Return why the registry refuses a push to the repository; empty if it accepts or does not answer.

    No answer is no refusal: the builder may reach a registry that this host does not.
    """
    connected = _connect(repository, env)
    try:
        reason = connected.registry.push_refusal()
    except BuildxCacheError:
        return ""
    return Redactor(connected.secrets).text(reason)


def newest_step(cache: Reference, env: Mapping[str, str]) -> float | None:
    """Return the newest time in the cache's records, in seconds since the epoch.

    Return None if the cache is absent or cannot be read, or if the registry does not answer.
    """
    try:
        return _connect(cache, env).inspect(cache.canonical.tagged.tag).created
    except BuildxCacheError:
        return None


def _connect(reference: Reference, env: Mapping[str, str]) -> Repository:
    return connect(reference, partial(credential_for, env), send=sender(env, _PACE, ONCE))
