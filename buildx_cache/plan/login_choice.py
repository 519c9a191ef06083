"""Choose the login: which user, and to which registry."""

from __future__ import annotations

from buildx_cache.errors import UsageError
from buildx_cache.plan.build_plan import LoginPlan
from buildx_cache.reference import HUB_KEY, Reference, registry_key, registry_name
from buildx_cache.request.ambient import REGISTRY, USERNAME, AmbientLogin, half_a_login
from buildx_cache.request.build_request import BuildRequest


def plan_login(request: BuildRequest, named: tuple[Reference, ...]) -> LoginPlan | None:
    """Plan the login of the options, else that of the environment; None if there is no login for these names.

    ``named`` are the image's tags and the reference of ``--cache-ref``.

    Raises:
        UsageError: a registry's name is invalid, or it is unclear which registry the password is for.
    """
    servers = tuple(each.auth_key for each in named)
    if request.username:
        key = _registry_of_given(request, servers)
        password_env = "" if request.password_stdin else request.password_env
        return _plan(request, request.username, password_env, _spelled(key, servers))
    ambient = request.ambient or AmbientLogin()
    key = _registry_of_ambient(request, ambient, servers)
    return _plan(request, ambient.username, ambient.password_env, _spelled(key, servers)) if key else None


def login_notes(request: BuildRequest, named: tuple[Reference, ...]) -> tuple[str, ...]:
    """Return notes on login variables that are incomplete or not used."""
    ambient, servers = request.ambient or AmbientLogin(), tuple(each.auth_key for each in named)
    if ambient.missing:
        return (half_a_login(ambient.missing),)
    if not ambient.username or ambient.is_cis or _registry_of_ambient(request, ambient, servers):
        return ()
    where = f"without {REGISTRY} it is for {registry_name(HUB_KEY)}, and these tags go to {servers[0]}"
    return (f"{USERNAME} is not used: {where}; a stored login is used",)


def _registry_of_given(request: BuildRequest, servers: tuple[str, ...]) -> str:
    """Return the registry key for a login of the options: ``--registry``, else the registry of the tags."""
    if request.registry:
        return registry_key(request.registry, "--registry")
    ambient = request.ambient
    keys = [registry_key(server) for server in servers]
    if ambient is None or not ambient.registry:
        return keys[0] if keys else HUB_KEY
    if keys and ambient.key not in keys:
        raise UsageError(
            f"it is not clear where --username logs in: the tags go to {registry_name(keys[0])}, and {REGISTRY} is "
            f"{registry_name(ambient.key)}",
            code="login-registry-unclear",
            hint="add --registry",
        )
    return ambient.key


def _registry_of_ambient(request: BuildRequest, ambient: AmbientLogin, servers: tuple[str, ...]) -> str:
    """Return the registry key for the login of the environment; empty if that login is not used."""
    if not ambient.username:
        return ""
    if ambient.is_cis:
        return ambient.key if ambient.key in map(registry_key, servers) else ""
    if request.registry and registry_key(request.registry, "--registry") != ambient.key:
        raise UsageError(
            f"there is no login for the registry {request.registry}: {USERNAME} is for {registry_name(ambient.key)}",
            code="login-missing",
            hint=f"add --username and its password, or set {REGISTRY} to the registry",
        )
    is_meant = ambient.registry or not servers or HUB_KEY in map(registry_key, servers)
    return ambient.key if is_meant else ""


def _spelled(key: str, servers: tuple[str, ...]) -> str:
    """Spell a registry key as in the tags: Buildx looks for the login under that spelling."""
    return key if key == HUB_KEY else next((server for server in servers if registry_key(server) == key), key)


def _plan(request: BuildRequest, username: str, password_env: str, registry: str) -> LoginPlan:
    return LoginPlan(registry=registry, username=username, password_env=password_env, is_ambient=not request.username)
