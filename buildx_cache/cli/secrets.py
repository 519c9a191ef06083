"""Collect the secret values of a call, have the CI mask them, and remove them from the environment."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from typing import TextIO

from buildx_cache.caches.entry import secret_values
from buildx_cache.ci.step_outputs import mask
from buildx_cache.redaction import Redactor, Secret, is_hidden_argument, is_secret_argument
from buildx_cache.request.ambient import PASSWORD, AmbientLogin
from buildx_cache.request.build_request import BuildRequest
from buildx_cache.request.local_paths import flag_values, secret_sources
from buildx_cache.request.options import ENV_PREFIX
from buildx_cache.secret_names import is_ordinary

# BuildKit accepts secrets of up to 500 KiB; a longer value than this limit is no password, key or token.
_LONGEST = 64 * 1024


def hidden_values(request: BuildRequest, env: Mapping[str, str], password: Secret | None) -> tuple[Secret, ...]:
    """Return the values to redact in all output, beside the values of the plan's build arguments.

    They are the login's password, the value of each ``--secret``, keys and tokens in cache entries, build arguments
    that Buildx takes from the environment, and build arguments among the flags for Buildx. A secret's file is skipped
    if it is not regular, not readable, or larger than 64 KiB.
    """
    values = (
        *((password,) if password else ()),
        *(
            value
            for entry in (*request.cache_from, *request.cache_to)
            for value in secret_values(entry)
            if not is_ordinary(value)
        ),
        *(value for name, value in _inherited(request, env) if is_hidden_argument(name, value)),
        *_hidden_arguments(flag_values(request.buildx_flags, "--build-arg")),
        *(value for entry in _secrets(request) if (value := _value(entry, env))),
    )
    return tuple(Secret(value) for value in dict.fromkeys(values))


def have_masked(request: BuildRequest, hidden: tuple[Secret, ...], log: TextIO, *, provider: str) -> None:
    """Write the CI's commands that mask the hidden values and secret build arguments in the job's log.

    The commands are written only if a program reads ``log``: the CI, which removes them. In a file or on a terminal
    they would stay and show the values.
    """
    lines = mask(provider, (*hidden, *_hidden_arguments(request.build_arg)))
    if lines and _is_read_by_another(log):
        log.write("".join(f"{line}\n" for line in lines))
        log.flush()


def redactor(request: BuildRequest, hidden: tuple[Secret, ...]) -> Redactor:
    """Build the redactor for a call that has no plan yet."""
    return Redactor((*hidden, *_hidden_arguments(request.build_arg)))


def _secrets(request: BuildRequest) -> tuple[str, ...]:
    return (*request.secret, *flag_values(request.buildx_flags, "--secret"))


def _arguments(request: BuildRequest) -> tuple[str, ...]:
    return (*request.build_arg, *flag_values(request.buildx_flags, "--build-arg"))


def _hidden_arguments(arguments: Iterable[str]) -> Iterator[str]:
    given = (text.partition("=")[::2] for text in arguments)
    return (value for name, value in given if is_hidden_argument(name, value))


def _is_read_by_another(stream: TextIO) -> bool:
    try:
        mode = os.fstat(stream.fileno()).st_mode
    except (OSError, ValueError):  # the stream has no usable descriptor
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)


def keep_out_of_metadata(request: BuildRequest, env: MutableMapping[str, str]) -> None:
    """Disable provenance in Buildx' metadata file if it would show secret build arguments, unless the caller sets it.

    The image's attested provenance is not affected: it has build arguments only with ``mode=max``.
    """
    given = (text.partition("=")[::2] for text in _arguments(request))
    if any(is_secret_argument(name, value) for name, value in (*given, *_inherited(request, env))):
        env.setdefault("BUILDX_METADATA_PROVENANCE", "disabled")


def forget_secrets(request: BuildRequest, *environments: MutableMapping[str, str]) -> None:
    """Delete variables that no child process needs: the login's password, and this program's options.

    ``docker login`` gets the password on stdin. Variables that a ``--secret`` or ``--build-arg`` names stay.
    """
    needed = {*_named_arguments(request), *(name for entry in _secrets(request) for name in secret_sources(entry)[0])}
    ambient = request.ambient or AmbientLogin()
    passwords = {PASSWORD, request.password_env, ambient.password_env}
    for environment in environments:
        for name in [name for name in environment if name in passwords or name.startswith(ENV_PREFIX)]:
            if name not in needed:
                del environment[name]


def _named_arguments(request: BuildRequest) -> Iterator[str]:
    """Yield the build arguments without a value, which Buildx takes from the environment."""
    return (text for text in _arguments(request) if "=" not in text)


def _inherited(request: BuildRequest, env: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    return ((name, env[name]) for name in _named_arguments(request) if name in env)


def _value(entry: str, env: Mapping[str, str]) -> str:
    variables, path = secret_sources(entry)
    for name in variables:
        if name in env:
            return env[name]
    return _content(path) if path else ""


def _content(path: str) -> str:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except (OSError, ValueError):
        return ""
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_size > _LONGEST:
            return ""
        return os.read(descriptor, _LONGEST).decode("utf-8", "surrogateescape")
    finally:
        os.close(descriptor)
