"""Run the ``doctor`` command."""

from __future__ import annotations

import os
import sys
from dataclasses import replace

import typer

from buildx_cache.ci import provider_of
from buildx_cache.cli.displays import failing, wants_color
from buildx_cache.cli.secrets import forget_secrets
from buildx_cache.cli.session import surroundings
from buildx_cache.display.checks import checks_table
from buildx_cache.doctor import Verdict, examine
from buildx_cache.engine.committed import refuse_committed
from buildx_cache.engine.credentials import stored_credentials
from buildx_cache.engine.docker import DockerEngine
from buildx_cache.engine.git import git_version
from buildx_cache.errors import ExitCode, UsageError
from buildx_cache.interrupts import interruptible
from buildx_cache.reference import registry_name
from buildx_cache.registry.identity import Credentials
from buildx_cache.request import BuildRequest
from buildx_cache.request.ambient import AmbientLogin, ambient_login, half_a_login


def examine_machine(docker_context: str, cache_dir: str) -> None:
    """Run the checks and show one line for each.

    Raises:
        typer.Exit: a check failed, so a build cannot work.
    """
    env = dict(os.environ)
    ambient = ambient_login(env, provider_of(env).login)
    forget_secrets(BuildRequest(), env, os.environ)
    with failing(env), interruptible():
        refuse_committed(BuildRequest(), env)
        credentials = _with_ambient(stored_credentials(env), ambient)
        place, ci = surroundings(BuildRequest(), env)
        checks = tuple(
            examine(
                lambda: replace(
                    DockerEngine(env, docker_context).facts(place),
                    variables=frozenset(name for name, value in env.items() if value),
                ),
                ci,
                credentials,
                cache_dir or place.cache_dir,
                env.get("PATH", ""),
                git=git_version(env),
            )
        )
    checks_table(checks, sys.stdout, color=wants_color(env, no_color=False, terminal=sys.stdout.isatty()))
    if any(check.verdict is Verdict.FAIL for check in checks):
        raise typer.Exit(ExitCode.NO_ENGINE)


def _with_ambient(credentials: Credentials, login: AmbientLogin) -> Credentials:
    """Add the registry of the environment's login, or the reason why that login is unusable."""
    if login.missing:
        return replace(credentials, unusable=half_a_login(login.missing))
    try:
        return replace(credentials, ambient=registry_name(login.key)) if login.username else credentials
    except UsageError as error:
        return replace(credentials, unusable=error.message)
