"""Read the login in the environment: ``DOCKER_REGISTRY``, ``DOCKER_LOGIN``, ``DOCKER_PASSWORD``, or a CI's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from buildx_cache.reference import registry_key

GIVEN_LOGIN = ("username", "password_stdin", "password_env")
"""The options with a login, which replaces the login in the environment."""
REGISTRY, USERNAME, PASSWORD = "DOCKER_REGISTRY", "DOCKER_LOGIN", "DOCKER_PASSWORD"


@dataclass(frozen=True, kw_only=True)
class AmbientLogin:
    """The login in the environment, for ``registry`` or Docker Hub; no other host gets it."""

    registry: str = ""
    """The registry, as the caller spelled it; empty: the caller named none."""
    source: str = REGISTRY
    """The option or variable that names the registry."""
    username: str = ""
    """Empty: user name or password is not set, or an option gives the login."""
    username_env: str = USERNAME
    password_env: str = PASSWORD
    is_cis: bool = False
    """Whether this is the CI's login to its own registry, used only for references there."""
    missing: str = ""
    """The variable that is empty although the other one is set; empty: both are set, or none."""

    @property
    def key(self) -> str:
        """Return the key of the login's registry.

        Raises:
            UsageError: the caller's registry is no valid name.
        """
        return registry_key(self.registry, self.source)

    def at(self, registry: str, source: str) -> AmbientLogin:
        """Return the login for the registry of an option, unless ``DOCKER_REGISTRY`` names one."""
        return self if self.registry or not registry else replace(self, registry=registry, source=source)


def ambient_login(env: Mapping[str, str], cis_own: tuple[str, ...] = ()) -> AmbientLogin:
    """Read ``DOCKER_LOGIN`` and ``DOCKER_PASSWORD``, else the CI's login; the password stays in the environment.

    ``cis_own`` are the CI's variables for a registry, a user name and a password.
    """
    if cis_own and not (env.get(USERNAME) or env.get(PASSWORD)) and all(env.get(name, "").strip() for name in cis_own):
        registry, username, password = cis_own
        return AmbientLogin(
            registry=env[registry].strip(),
            source=registry,
            username=env[username],
            username_env=username,
            password_env=password,
            is_cis=True,
        )
    empty = [name for name in (USERNAME, PASSWORD) if not env.get(name, "").strip("\r\n")]
    return AmbientLogin(
        registry=env.get(REGISTRY, "").strip(),
        username="" if empty else env[USERNAME],
        missing=empty[0] if len(empty) == 1 else "",
    )


def half_a_login(missing: str) -> str:
    """Return the message for a login with one empty variable."""
    other = PASSWORD if missing == USERNAME else USERNAME
    return (
        f"{other} is set and {missing} is empty, so nobody logs in; a CI gives no secrets to a pull request from a fork"
    )


def without_newline(password: str) -> str:
    r"""Remove one trailing ``\n`` or ``\r\n``, as ``docker login --password-stdin`` does."""
    return password.removesuffix("\n").removesuffix("\r") if password.endswith("\n") else password
