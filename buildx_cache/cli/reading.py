"""Read the request and the login's password, from the command line, the environment and the configuration file."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from buildx_cache.ci import GitFacts, detect, provider_of
from buildx_cache.ci.step_outputs import handed_on
from buildx_cache.engine.committed import homes_below, logins_of_user
from buildx_cache.errors import BuildxCacheError, UsageError
from buildx_cache.plan import BuildPlan
from buildx_cache.plan.registry_choice import named_hosts
from buildx_cache.redaction import Secret, redact
from buildx_cache.reference import FORKS, is_loopback
from buildx_cache.request.ambient import GIVEN_LOGIN, AmbientLogin, ambient_login, without_newline
from buildx_cache.request.build_request import BuildRequest, Progress, parse_endpoint
from buildx_cache.request.config import Configuration, found_config, named_config
from buildx_cache.request.local_paths import flag_values, read_paths
from buildx_cache.request.path_checks import check_paths
from buildx_cache.request.probe import read_text, working_directory
from buildx_cache.request.sources import (
    OptionLayer,
    checked,
    converted,
    environment_layer,
    make_request,
    setting,
    unknown_variables,
    unusable,
)
from buildx_cache.request.trust import check_found, check_use, with_push_decided

_INSTALLERS = ("BUILDX_CACHE_RELEASES", "BUILDX_CACHE_SHA256")
"""Variables of docker/install.sh, which the job's environment may hold."""

_LONGEST_PASSWORD = 64 * 1024
"""Bytes; a cloud's key file has a few thousand."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """The request, lines about the configuration file (none if the caller wants quiet), and warnings.

    ``file`` is the configuration file's layer; ``from_file`` are the options that this layer decides.
    """

    request: BuildRequest
    lines: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    file: OptionLayer | None = None
    from_file: frozenset[str] = frozenset()

    def noted(self, plan: BuildPlan) -> BuildPlan:
        """Add the warnings to the notes of a plan."""
        return replace(plan, notes=(*self.warnings, *plan.notes))

    @contextlib.contextmanager
    def hiding_file_values(self) -> Iterator[None]:
        """Replace an error that shows a value of the configuration file by one that names the value's place."""
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


_DEFAULT_PLATFORM = "DOCKER_DEFAULT_PLATFORM"
# Options whose values are validated by the plan.
_PLANNED = ("tag", "cache_ref", "cache_dir", "cache_to", "builder", "docker_context")


def read_request(given: Mapping[str, object], env: Mapping[str, str]) -> Asked:
    """Merge the options of the command line with those of the environment and the configuration file.

    Raises:
        UsageError: a value, a combination or a path cannot work, or a file of the repository may not set a value.
    """
    _check_words(given)
    callers = (OptionLayer(where="--{name}", values=given), environment_layer(env))
    asked = converted(callers)
    found = _configuration(asked)
    default_branch = str(asked.get("default_branch") or _trusted(found).get("default_branch") or "")
    is_fork = detect(env, git=GitFacts, read_text=read_text, default_branch=default_branch).is_fork
    if found.layer and found.ground:
        ground = replace(
            found.ground,
            programs=_programs(env),
            settings=_existing((*logins_of_user(env), *_keys(BuildRequest(**asked)))),
            homes=homes_below(found.ground.root, env),
        )
        check_found(found.layer, ground, is_fork=is_fork)
    layers = with_push_decided((*callers, *((found.layer,) if found.layer else ())), is_fork=is_fork)
    file = layers[-1] if found.layer else None
    _refuse_empty_login(layers)
    request = replace(
        make_request((*layers, *_default_platform(layers, env))),
        ambient=_ambient(layers, layers[: len(callers)] if found.ground else layers, env),
    )
    if file and found.ground:
        check_use(request, layers, file, is_fork=is_fork)
        own = BuildRequest(**converted(layers[: len(callers)]))
        named = named_hosts(own)
        of_file = (host for host in named_hosts(request) if host not in named)
        request = replace(request, untrusted_hosts=tuple(host for host in of_file if is_fork or is_loopback(host)))
    checked(request, layers, check_paths)
    is_quiet = asked.get("quiet") or asked.get("progress") is Progress.QUIET
    from_file = frozenset(name for name in (file.values if file else ()) if file in setting(name, layers))
    lines = () if is_quiet else found.lines
    warnings = tuple(unknown_variables(env, (*handed_on(env), *_INSTALLERS)))
    return Asked(request=request, lines=lines, warnings=warnings, file=file, from_file=from_file)


def _check_words(given: Mapping[str, object]) -> None:
    """Refuse words that are neither CONTEXT nor a flag: Typer treats words after ``--`` like those before.

    The error does not show the words: one may be a password after an option without a value.

    Raises:
        UsageError: a flag is in place of CONTEXT, or another word in place of a flag.
    """
    context, flags = str(given.get("context", ".")), given.get("buildx_flags")
    if context.startswith("-") and context != "-":
        raise UsageError(
            "flags for Buildx need a CONTEXT before them",
            code="context-missing",
            hint="write it before the dashes: build . -- --flag",
        )
    if isinstance(flags, list | tuple) and flags and not str(flags[0]).startswith("-"):
        raise UsageError(
            "there is an extra word after the build context",
            code="context-repeated",
            hint="quote what has spaces; flags for Buildx follow two dashes: build . -- --flag",
        )


def _default_platform(layers: tuple[OptionLayer, ...], env: Mapping[str, str]) -> tuple[OptionLayer, ...]:
    """Return a layer, below all others, for Buildx' own default of ``--platform`` (``commands/build.go``).

    So jobs that set one platform each by this variable have separate caches, as with ``--platform``.
    """
    platform = env.get(_DEFAULT_PLATFORM, "").strip()
    flags = next((layer.values["buildx_flags"] for layer in layers if "buildx_flags" in layer.values), ())
    is_given = isinstance(flags, list | tuple) and any(flag_values(tuple(map(str, flags)), "--platform"))
    return (
        (OptionLayer(where=_DEFAULT_PLATFORM, values={"platform": (platform,)}),) if platform and not is_given else ()
    )


def _configuration(asked: Mapping[str, Any]) -> Configuration:
    if asked.get("config"):
        return named_config(asked["config"])
    is_trusted = bool(asked.get("trust_config"))
    return found_config(asked.get("context", "."), working_directory(), is_trusted=is_trusted)


def _programs(env: Mapping[str, str]) -> tuple[Path, ...]:
    """Return the folders of ``PATH``, without links."""
    return tuple(Path(os.path.realpath(folder)) for folder in env.get("PATH", os.defpath).split(os.pathsep))


def _keys(request: BuildRequest) -> Iterator[Path]:
    """Yield the files of ``--ssh``, and the certificates and keys of ``--endpoint``."""
    yield from (Path(each.path) for each in read_paths(request) if each.name == "ssh" and each.path)
    yield from (Path(path) for endpoint in map(parse_endpoint, request.endpoint) for _, path in endpoint.files)


def _existing(places: Iterable[Path]) -> tuple[Path, ...]:
    return tuple(Path(os.path.realpath(place)) for place in places if os.path.lexists(place))


def _trusted(found: Configuration) -> Mapping[str, object]:
    """Return the values of a configuration file that may set every option; else nothing."""
    return found.layer.values if found.layer and not found.ground else {}


def _refuse_empty_login(layers: tuple[OptionLayer, ...]) -> None:
    """Refuse an option of the login with an empty value: the password would be sent elsewhere, or not used.

    Raises:
        UsageError: such an option is empty.
    """
    for layer in layers:
        for name in ("registry", *GIVEN_LOGIN):
            if layer.values.get(name) == "":
                raise UsageError(
                    f"{layer.locate(name)} is empty",
                    code="value-empty",
                    hint=f"check the variable that it comes from; {FORKS}",
                )


def _ambient(layers: tuple[OptionLayer, ...], callers: tuple[OptionLayer, ...], env: Mapping[str, str]) -> AmbientLogin:
    """Read the environment's login, for the registry that the caller names; a repository's file cannot name one.

    If an option gives the login, the environment's user name and password are not used: sources are never mixed.
    """
    found = ambient_login(env, provider_of(env).login)
    if any(name in layer.values for layer in layers for name in GIVEN_LOGIN):
        return AmbientLogin() if found.is_cis else replace(found, username="", missing="")
    layer = next((layer for layer in callers if "registry" in layer.values), None)
    return found.at(str(layer.values["registry"]), layer.locate("registry")) if layer else found


def read_password(request: BuildRequest, env: Mapping[str, str]) -> Secret | None:
    """Return the login's password, from stdin or from the named variable, without one newline at its end.

    Raises:
        UsageError: the password is missing or invalid.
    """
    if request.username and request.password_stdin:
        return _checked(_stdin(), "stdin")
    if request.username:
        name = request.password_env  # by mistake it may be the password itself
        source = f"the variable {name}" if name in env else "the variable that --password-env names"
        return _checked(os.fsencode(env.get(name, "")), source)
    if request.ambient and request.ambient.username:
        name = request.ambient.password_env
        return _checked(os.fsencode(env.get(name, "")), f"the variable {name}")
    return None


def _stdin() -> bytes:
    """Read stdin, up to one byte more than a password may have."""
    return sys.stdin.buffer.read(_LONGEST_PASSWORD + 1) if sys.stdin else b""


def _checked(content: bytes, source: str) -> Secret:
    if len(content) > _LONGEST_PASSWORD:
        raise UsageError(
            f"the text in {source} is too long for a password",
            code="password-malformed",
            hint="give the password alone",
        )
    if b"\0" in content:
        raise UsageError(
            f"the password in {source} holds a NUL character", code="password-malformed", hint="store it as text"
        )
    try:
        password = without_newline(content.decode())
    except UnicodeDecodeError:
        raise UsageError(
            f"the password in {source} is not text in UTF-8", code="password-malformed", hint="store it as UTF-8"
        ) from None
    if not password:
        raise UsageError(
            f"there is no password in {source}",
            code="password-empty",
            hint=f"set it in the CI's settings, or drop --username; {FORKS}",
        )
    return Secret(password)
