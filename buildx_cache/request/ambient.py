"""The login in the environment: ``DOCKER_REGISTRY``, ``DOCKER_LOGIN`` and ``DOCKER_PASSWORD``, or a CI's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from buildx_cache.reference import registry_key

GIVEN_LOGIN = ("username", "password_stdin", "password_env")
"""The options that give a login; it is used instead of that in the environment."""
REGISTRY, USERNAME, PASSWORD = "DOCKER_REGISTRY", "DOCKER_LOGIN", "DOCKER_PASSWORD"


@dataclass(frozen=True, kw_only=True)
class AmbientLogin:
    """The pair in the environment. It belongs to ``registry``, or to Docker Hub, and goes to no other host."""

    registry: str = ""
    """As the caller wrote it; empty: the caller named none."""
    source: str = REGISTRY
    """Where the caller wrote it."""
    username: str = ""
    """Empty: there is no whole pair, or a login was given otherwise."""
    username_env: str = USERNAME
    password_env: str = PASSWORD
    is_cis: bool = False
    """Whether the CI gives it for its own registry: it is used for names there alone."""
    missing: str = ""
    """The variable of the pair that is empty while the other is set; empty: the pair is whole or absent."""

    @property
    def key(self) -> str:
        """The key of the registry that the pair belongs to.

        Raises:
            UsageError: the caller names what is no registry.
        """
        return registry_key(self.registry, self.source)

    def at(self, registry: str, source: str) -> AmbientLogin:
        """Send the pair where the caller says by option, unless ``DOCKER_REGISTRY`` says where."""
        return self if self.registry or not registry else replace(self, registry=registry, source=source)


def ambient_login(env: Mapping[str, str], cis_own: tuple[str, ...] = ()) -> AmbientLogin:
    """Read the pair, or where it is not set what the CI gives; the password stays in the environment.

    ``cis_own`` are the CI's variables of a registry, a user name and a password.
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
    """Say that one variable of the pair is empty."""
    other = PASSWORD if missing == USERNAME else USERNAME
    return (
        f"{other} is set and {missing} is empty, so nobody logs in; a CI gives no secrets to a pull request from a fork"
    )


def without_newline(password: str) -> str:
    r"""Cut one trailing ``\n`` or ``\r\n``, as ``docker login --password-stdin`` does."""
    return password.removesuffix("\n").removesuffix("\r") if password.endswith("\n") else password
