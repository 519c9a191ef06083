"""Why a login failed."""

from __future__ import annotations

from buildx_cache.errors import BuildxCacheError, DeniedError, UnreachableError
from buildx_cache.reference import HUB_KEY

_REFUSED = ("unauthorized", "denied", "incorrect", "401", "403")


def login_error(registry: str, reason: str) -> BuildxCacheError:
    """The error of a login that ended with this reason, which is shown."""
    where = "the default registry" if registry == HUB_KEY else registry
    if any(sign in reason.lower() for sign in _REFUSED):
        return DeniedError(f"the login to {where} was refused: {reason}", hint="check --username and the password")
    return UnreachableError(
        f"the login to {where} failed: {reason}", hint="check the registry's address and the network"
    )
