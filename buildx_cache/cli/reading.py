"""From the command line to a request, and to the password that goes with it."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

from buildx_cache.errors import UsageError
from buildx_cache.options import Options
from buildx_cache.redaction import Secret
from buildx_cache.request import (
    BuildRequest,
    Layer,
    check_paths,
    config_layer,
    environment_layer,
    make_request,
    working_directory,
)


def read_request(options: Options, buildx_flags: tuple[str, ...], env: Mapping[str, str]) -> BuildRequest:
    """The options, merged from command line, environment and configuration file.

    Raises:
        UsageError: a value, a combination or a path that cannot work.
    """
    values = options.given()
    given = Layer(where="--{name}", values={**values, "buildx_flags": buildx_flags} if buildx_flags else values)
    config = config_layer(str(values.get("context", ".")), working_directory())
    layers = (given, environment_layer(env), *((config,) if config else ()))
    login_given = any(
        name in layer.values for layer in layers for name in ("username", "password_stdin", "password_env")
    )
    request = make_request((*layers, _login_layer(env, whole=not login_given)))
    check_paths(request)
    return request


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
