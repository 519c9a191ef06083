"""Ask a registry whether it accepts a push, with the login that Buildx will use."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from buildx_cache.engine.credentials import credential_for
from buildx_cache.errors import BuildxCacheError
from buildx_cache.redaction import Redactor
from buildx_cache.reference import Reference
from buildx_cache.registry.repository import connect
from buildx_cache.registry.transport import ONCE, Pace, sender

_PACE = Pace(seconds=5, piece=5)


def push_refusal(repository: Reference, env: Mapping[str, str]) -> str:
    """Return why the registry refuses a push to the repository; empty if it accepts or does not answer.

    No answer is no refusal: the builder may reach a registry that this host does not.
    """
    connected = connect(repository, partial(credential_for, env), send=sender(env, _PACE, ONCE))
    try:
        reason = connected.registry.push_refusal()
    except BuildxCacheError:
        return ""
    return Redactor(connected.secrets).text(reason)
