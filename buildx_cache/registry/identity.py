"""What a registry is logged in to with, and where the user's Docker configuration has it."""

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


@dataclass(frozen=True, kw_only=True)
class Credentials:
    """The user's Docker configuration as far as logins go: names only, never a secret."""

    folder: str
    registries: tuple[str, ...] = ()
    helpers: tuple[str, ...] = ()
    broken: str = ""
    """Why the configuration cannot be read; empty if it can."""
    ambient: str = ""
    """The registry that ``DOCKER_LOGIN`` is for; empty: there is no whole pair of variables."""
    unusable: str = ""
    """Why the variables make no login; empty if they do, or there are none."""
