"""Read the user's logins, and make a temporary private copy of the Docker configuration for a new login."""

from __future__ import annotations

import base64
import binascii
import contextlib
import json
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

from buildx_cache.engine.git import guarded
from buildx_cache.engine.process import Completed, capture_within
from buildx_cache.errors import DeniedError, UsageError
from buildx_cache.formatting import shell_word
from buildx_cache.plan.facts import Credentials
from buildx_cache.redaction import Secret, redact
from buildx_cache.reference import HUB_KEY, auth_key
from buildx_cache.registry import Credential, IdentityToken, Password
from buildx_cache.scratch import making, scratch_folder


def home_folder(env: Mapping[str, str]) -> Path:
    """Return the user's home folder, from ``HOME`` or the system's list of users.

    Raises:
        UsageError: neither names a folder, as in a container that runs with a numeric user only.
    """
    if home := env.get("HOME"):
        return Path(home)
    try:
        return Path.home()
    except RuntimeError:
        raise UsageError(
            "this user has no home folder", code="home-absent", hint="set HOME to a folder that it can write"
        ) from None


DEFAULT_CONTEXT = "default"
"""The name of the Docker context for ``DOCKER_HOST`` or the local socket."""
_AUTH_CONFIG = "DOCKER_AUTH_CONFIG"
_TOKEN_USER = "<token>"  # noqa: S105 -- the user name that marks the secret as a token
_NOT_FOUND = "credentials not found in native keychain"
_MESSAGE_LIMIT = 200
# Seconds and bytes for a credential helper, which may ask the user to unlock a store.
_HELPER_LIMITS = (60.0, 1 << 20)

# On a tmpfs, the user's or the shared one, the copy never reaches a disk.
_OWN_MEMORY = "XDG_RUNTIME_DIR"
_MEMORY = Path("/dev/shm")  # noqa: S108


@contextlib.contextmanager
def private_configuration(env: Mapping[str, str], registry: str) -> Iterator[dict[str, str]]:
    """Yield an environment whose Docker configuration is a private copy of the user's.

    Credentials, helpers, contexts and plugins stay usable: ``config.json`` is copied, everything beside it linked.
    A login to ``registry`` (the key under which Docker stores the login) is written to the copy, and no credential
    helper gets it: an empty entry in ``credHelpers`` overrides ``credsStore``. ``DOCKER_AUTH_CONFIG`` would override
    both, so its login to that registry is removed (``docker/cli`` ``cli/config/configfile``).
    """
    user = configuration_folder(env)
    with scratch_folder(memory_folder(env)) as folder:
        with making("file"):
            _write_private(folder / "config.json", _copied_config(env, registry))
        for entry in _entries(user):
            if not (folder / entry.name).exists():  # the copy has a configuration and a lock file already
                (folder / entry.name).symlink_to(entry.absolute())
        own = {"DOCKER_CONFIG": str(folder), "BUILDX_CONFIG": str(buildx_folder(env))}
        yield {**env, **own, **_other_logins(env, registry)}


def _entries(folder: Path) -> tuple[Path, ...]:
    """Return the entries of a folder; none if it does not exist or cannot be read."""
    try:
        return tuple(folder.iterdir())
    except OSError:
        return ()


def memory_folder(env: Mapping[str, str]) -> Path | None:
    """Return a folder in memory, for files that must not reach a disk; None if there is none."""
    own = Path(env.get(_OWN_MEMORY, ""))
    if own.is_absolute() and _is_of_this_user(own):
        return own
    return _MEMORY if _MEMORY.is_dir() and os.access(_MEMORY, os.W_OK | os.X_OK) else None


def _is_of_this_user(folder: Path) -> bool:
    """Return whether only this user can enter a folder, as the specification of ``XDG_RUNTIME_DIR`` demands."""
    try:
        found = folder.stat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o077


def configuration_folder(env: Mapping[str, str]) -> Path:
    """Return the user's Docker configuration folder; it need not exist."""
    return Path(env.get("DOCKER_CONFIG") or home_folder(env) / ".docker")


def current_context(env: Mapping[str, str]) -> str:
    """Return the Docker context in use (docker/cli's ``resolveContextName`` in ``cli/command/cli.go``)."""
    if env.get("DOCKER_HOST"):
        return DEFAULT_CONTEXT
    chosen = read_configuration(env).get("currentContext")
    return env.get("DOCKER_CONTEXT") or (chosen if isinstance(chosen, str) else "") or DEFAULT_CONTEXT


def buildx_folder(env: Mapping[str, str]) -> Path:
    """Return the folder in which Buildx keeps its builders."""
    return Path(env.get("BUILDX_CONFIG") or configuration_folder(env) / "buildx").absolute()


def _copied_config(env: Mapping[str, str], registry: str) -> dict[str, object]:
    """Return the user's configuration, changed so that no credential helper serves ``registry``."""
    config = read_configuration(env)
    return {**config, "credHelpers": {**_mapping(config, "credHelpers"), registry: ""}}


def _other_logins(env: Mapping[str, str], registry: str) -> dict[str, str]:
    """Return ``DOCKER_AUTH_CONFIG`` without the logins to ``registry``; empty if it has no such login."""
    given = _json_object(env.get(_AUTH_CONFIG, "").encode("utf-8", "surrogateescape"))
    auths = _mapping(given, "auths")
    others = {key: value for key, value in auths.items() if registry not in (key, _hostname(key))}
    return {} if len(others) == len(auths) else {_AUTH_CONFIG: json.dumps({**given, "auths": others})}


def _write_private(file: Path, config: dict[str, object]) -> None:
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as out:
        json.dump(config, out)


def stored_credentials(env: Mapping[str, str]) -> Credentials:
    """Return the registries that the user is logged in to, and the credential helpers; the result has no secret."""
    folder = configuration_folder(env)
    file = folder / "config.json"
    try:
        config = json.loads(file.read_bytes()) if file.exists() else {}
    except (OSError, ValueError, RecursionError) as error:
        return Credentials(folder=str(folder), broken=str(error))
    if not isinstance(config, dict):
        return Credentials(folder=str(folder), broken="not a JSON object")
    auths, by_registry = (
        value if isinstance(value := config.get(key), dict) else {} for key in ("auths", "credHelpers")
    )
    helpers = dict.fromkeys(str(name) for name in (config.get("credsStore"), *by_registry.values()) if name)
    names = dict.fromkeys(redact(str(name)) for name in {**auths, **by_registry})
    return Credentials(folder=str(folder), registries=tuple(names), helpers=tuple(helpers))


def credential_for(env: Mapping[str, str], registry: str) -> Credential | None:
    """Return the user's login to ``registry`` (a host as in image references), or None if there is none.

    The first of these decides, as in docker/cli's ``cli/config/configfile``: ``DOCKER_AUTH_CONFIG``, then in
    ``config.json`` the registry's helper (``credHelpers``), the common helper (``credsStore``), and ``auths``. A
    configuration that cannot be read counts as empty, as for ``docker``.

    Raises:
        DeniedError: a credential helper cannot be started or fails, or the stored login is malformed.
    """
    server = auth_key(registry)
    given = _json_object(env.get(_AUTH_CONFIG, "").encode("utf-8", "surrogateescape"))
    if login := _stored_login(given, server):
        return login
    config = read_configuration(env)
    helper = _mapping(config, "credHelpers").get(server, config.get("credsStore"))
    if isinstance(helper, str) and helper:
        return _ask_helper(env, helper, server)
    return _stored_login(config, server)


def read_configuration(env: Mapping[str, str]) -> Mapping[str, object]:
    """Return the user's Docker configuration; empty if it is absent or cannot be read."""
    try:
        return _json_object((configuration_folder(env) / "config.json").read_bytes())
    except OSError:
        return {}


def _json_object(content: bytes) -> Mapping[str, object]:
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _mapping(parent: Mapping[str, object], key: str) -> Mapping[str, object]:
    value = parent.get(key)
    return value if isinstance(value, dict) else {}


def _stored_login(config: Mapping[str, object], server: str) -> Credential | None:
    """Return the login under ``auths``, by the key, or by the host of a key that is an address with a scheme."""
    auths = _mapping(config, "auths")
    key = server if server in auths else next((key for key in auths if _hostname(key) == server), "")
    entry = _mapping(auths, key)
    token = entry.get("identitytoken")
    if isinstance(token, str) and token:
        return IdentityToken(secret=Secret(token))
    username, password = (
        _decoded(entry, server) if entry.get("auth") else (entry.get("username"), entry.get("password"))
    )
    if isinstance(username, str) and isinstance(password, str) and username:
        return Password(username=username, secret=Secret(password))
    return None


def _hostname(key: str) -> str:
    return key.removeprefix("http://").removeprefix("https://").partition("/")[0]


def _decoded(entry: Mapping[str, object], server: str) -> tuple[str, str]:
    """Return user name and password of an entry's ``auth``."""
    try:
        text = base64.b64decode(str(entry["auth"]), validate=True).decode("utf-8")
    except (binascii.Error, ValueError):
        text = ""
    username, colon, password = text.partition(":")
    if not colon:
        raise DeniedError(
            f"the stored login to {server} is malformed", code="login-malformed", hint=f"log in again: {_login(server)}"
        )
    return username, password.strip("\0")


def is_helper_name(name: object) -> bool:
    """Return whether a helper is looked up on ``PATH``: a slash would lead to a program below the working directory."""
    return isinstance(name, str) and "/" not in name and name.isprintable()


def _ask_helper(env: Mapping[str, str], helper: str, server: str) -> Credential | None:
    """Ask a credential helper for a login.

    Protocol (docker-credential-helpers): the server on stdin; JSON on stdout, or a message on stdout and exit code 1.
    """
    program = f"docker-credential-{helper}"
    if not is_helper_name(helper):
        raise _helper_failed(program, server, "it is no program on PATH")
    try:
        done = capture_within((program, "get"), env=guarded(env), within=_HELPER_LIMITS, stdin=server.encode())
    except TimeoutError:
        raise _helper_failed(program, server, f"no answer within {_HELPER_LIMITS[0]:g} s") from None
    except OSError as error:
        raise DeniedError(
            f"the credential helper {program} cannot be started: {error.strerror}",
            code="credential-helper-failed",
            hint=f"install it, or take it out of {configuration_folder(env) / 'config.json'}",
        ) from None
    if done.code:
        if _NOT_FOUND in done.stdout:
            return None
        raise _helper_failed(program, server, f"exit code {done.code}{_complaint(done)}")
    answer = _json_object(done.stdout.encode())
    username, secret = answer.get("Username"), answer.get("Secret")
    if not isinstance(username, str) or not isinstance(secret, str):
        raise _helper_failed(program, server, "its answer is not understood")
    if username == _TOKEN_USER:
        return IdentityToken(secret=Secret(secret))
    return Password(username=username, secret=Secret(secret)) if username or secret else None


def _complaint(done: Completed) -> str:
    """Return the message of a helper that failed: its stderr, else its stdout unless that may hold a login."""
    said = next((text.strip() for text in (done.stderr, done.stdout) if text.strip()), "")
    return "" if said.startswith("{") else f": {redact(said.splitlines()[0])[:_MESSAGE_LIMIT]}" if said else ""


def _helper_failed(program: str, server: str, reason: str) -> DeniedError:
    return DeniedError(
        f"the credential helper {program} gives no login to {server}: {reason}",
        code="credential-helper-failed",
        hint=f"try it: echo {server} | {shell_word(program)} get; or log in: {_login(server)}",
    )


def _login(server: str) -> str:
    return "docker login" if server == HUB_KEY else f"docker login {server}"
