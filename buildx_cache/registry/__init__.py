"""Inspect, verify and prune caches in a registry through the distribution API.

Start with :func:`buildx_cache.registry.repository.connect`. This module has the logins and no more, so that only a
command that talks to a registry loads the HTTP library.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from buildx_cache.redaction import Secret


@dataclass(frozen=True, kw_only=True)
class Password:
    """A user name and a password or access token."""

    username: str
    secret: Secret
    fallback: Callable[[], Credential | None] | None = field(default=None, repr=False, compare=False)
    """Returns another login to try if the registry refuses this one."""


@dataclass(frozen=True, kw_only=True)
class IdentityToken:
    """A refresh token, which the registry's token service exchanges for short-lived tokens."""

    secret: Secret


Credential = Password | IdentityToken
