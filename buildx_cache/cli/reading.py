"""From the command line to a request, and to the password that goes with it."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from buildx_cache.ci import GitFacts, detect
from buildx_cache.errors import BuildxCacheError, UsageError
from buildx_cache.options import Options
from buildx_cache.redaction import Secret, redact
from buildx_cache.request import (
    BuildRequest,
    Configuration,
    Layer,
    Progress,
    check_found,
    check_paths,
    check_use,
    checked,
    converted,
    deciding,
    environment_layer,
    found_config,
    make_request,
    named_config,
    read_text,
    unusable,
    working_directory,
)


@dataclass(frozen=True, kw_only=True)
class Asked:
    """The request, and what is told of the configuration file; nothing where the caller wants quiet."""

    request: BuildRequest
    lines: tuple[str, ...] = ()
    file: Layer | None = None
    from_file: frozenset[str] = frozenset()

    @contextlib.contextmanager
    def values_unshown(self) -> Iterator[None]:
        """While this lasts, a refusal over a value of the configuration file names its place instead."""
        try:
            yield
        except BuildxCacheError as error:
            name = next((name for name in _PLANNED if name in self.from_file and self._is_shown(name, error)), "")
            if self.file and name:
                raise unusable(self.file, name, error) from None
            raise

    def _is_shown(self, name: str, error: BuildxCacheError) -> bool:
        value = getattr(self.request, name)
        texts = (redact(each) for each in ((value,) if isinstance(value, str) else value))
        return any(text and re.search(rf"(?<!\w){re.escape(text)}(?!\w)", error.message) for text in texts)


# Options whose values only a plan looks into.
_PLANNED = ("tag", "cache_ref", "cache_dir", "cache_to", "builder", "docker_context")


def read_request(options: Options, buildx_flags: tuple[str, ...], env: Mapping[str, str]) -> Asked:
    """The options, merged from command line, environment and configuration file.

    Raises:
        UsageError: a value, a combination or a path that cannot work, or that a file of the repository may not set.
    """
    values = options.given()
    given = Layer(where="--{name}", values={**values, "buildx_flags": buildx_flags} if buildx_flags else values)
    callers = (given, environment_layer(env))
    asked = converted(callers)
    found = _configuration(asked)
    is_fork = found.ground is not None and detect(env, git=GitFacts, read_text=read_text).is_fork
    if found.layer and found.ground:
        check_found(found.layer, found.ground, is_fork=is_fork)
    layers = (*callers, *((found.layer,) if found.layer else ()))
    login_given = any(
        name in layer.values for layer in layers for name in ("username", "password_stdin", "password_env")
    )
    layers = (*layers, _login_layer(env, whole=not login_given))
    request = make_request(layers)
    if found.layer and found.ground:
        check_use(request, layers, found.layer, is_fork=is_fork)
    checked(request, layers, check_paths)
    is_quiet = asked.get("quiet") or asked.get("progress") is Progress.QUIET
    from_file = frozenset(
        name for name in (found.layer.values if found.layer else ()) if deciding(name, layers) is found.layer
    )
    lines = () if is_quiet else found.lines
    return Asked(request=request, lines=lines, file=found.layer, from_file=from_file)


def _configuration(asked: Mapping[str, Any]) -> Configuration:
    if asked.get("config"):
        return named_config(asked["config"])
    is_trusted = bool(asked.get("trust_config"))
    return found_config(asked.get("context", "."), working_directory(), is_trusted=is_trusted)


def _login_layer(env: Mapping[str, str], *, whole: bool) -> Layer:
    """``DOCKER_REGISTRY``, and where ``whole``, ``DOCKER_LOGIN`` and ``DOCKER_PASSWORD``, as CI recipes name them.

    A login given otherwise is taken as it is: a name from here and a password from there make none.
    """
    values: dict[str, object] = {"registry": env["DOCKER_REGISTRY"]} if env.get("DOCKER_REGISTRY") else {}
    if whole and env.get("DOCKER_LOGIN") and env.get("DOCKER_PASSWORD"):
        values |= {"username": env["DOCKER_LOGIN"], "password_env": "DOCKER_PASSWORD"}
    return Layer(where="DOCKER_*", values=values)


def read_password(request: BuildRequest, env: Mapping[str, str]) -> Secret | None:
    """The login's password, from stdin or from the variable named.

    Raises:
        UsageError: there is none.
    """
    if not request.username:
        return None
    if request.password_stdin:
        password, source = sys.stdin.buffer.readline().rstrip(b"\r\n"), "stdin"
    else:
        password, source = os.fsencode(env.get(request.password_env, "")), f"the variable {request.password_env}"
    if not password:
        raise UsageError(f"there is no password in {source}", hint="set it in the CI's settings, or drop --username")
    try:
        return Secret(password.decode())
    except UnicodeDecodeError:
        raise UsageError(f"the password in {source} is not text in UTF-8", hint="store it as UTF-8") from None
