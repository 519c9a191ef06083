"""What the user is logged in to a registry with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from buildx_cache.redaction import Secret


@dataclass(frozen=True, kw_only=True)
class Password:
    """A user name and a password or access token."""

    username: str
    secret: Secret
    otherwise: Callable[[], Credential | None] | None = field(default=None, repr=False, compare=False)
    """Gives another login, where this one is refused."""


@dataclass(frozen=True, kw_only=True)
class IdentityToken:
    """A refresh token, which the registry's token service changes into short-lived ones."""

    secret: Secret


Credential = Password | IdentityToken
