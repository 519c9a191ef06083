"""Logins to a registry, and the summary of the logins in the user's Docker configuration."""

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


@dataclass(frozen=True, kw_only=True)
class Credentials:
    """The logins in the user's Docker configuration and environment: names only, never a secret."""

    folder: str
    registries: tuple[str, ...] = ()
    helpers: tuple[str, ...] = ()
    broken: str = ""
    """Why the configuration cannot be read; empty if it can."""
    ambient: str = ""
    """The registry that ``DOCKER_LOGIN`` is for; empty if the variables do not make a login."""
    unusable: str = ""
    """Why the variables do not make a login; empty if they do, or none is set."""
