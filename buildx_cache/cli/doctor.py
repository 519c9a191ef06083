"""``doctor``."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from buildx_cache.cli.help import DrawnCommand
from buildx_cache.cli.terminal import failing, wants_color
from buildx_cache.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from buildx_cache.doctor import Credentials
    from buildx_cache.request.ambient import AmbientLogin


def _doctor(
    docker_context: Annotated[
        str, typer.Option("--docker-context", metavar="NAME", help="Docker context to use.", show_default=False)
    ] = "",
    cache_dir: Annotated[
        str, typer.Option("--cache-dir", metavar="DIR", help="Folder of a local cache.", show_default=False)
    ] = "",
) -> None:
    """Check Docker, Buildx, the builder, the cache folder, the CI and credentials.

    One line each; exit 0, or 3 if a build cannot work.
    """
    from buildx_cache.cli.hidden import forget_secrets
    from buildx_cache.cli.session import surroundings
    from buildx_cache.display.tables import checks_table
    from buildx_cache.doctor import Verdict, examine
    from buildx_cache.engine.credentials import stored_credentials
    from buildx_cache.engine.docker import DockerEngine
    from buildx_cache.engine.git import git_version
    from buildx_cache.request import BuildRequest
    from buildx_cache.request.ambient import ambient_login

    env = dict(os.environ)
    ambient = ambient_login(env)
    forget_secrets(BuildRequest(), env, os.environ)
    with failing(env):
        credentials = _with_ambient(stored_credentials(env), ambient)
        place, ci = surroundings(BuildRequest(), env)
        checks = tuple(
            examine(
                lambda: DockerEngine(env, docker_context).facts(place),
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
    """Add where the environment's login goes, or why it goes nowhere."""
    from buildx_cache.reference import registry_name
    from buildx_cache.request.ambient import half_a_login

    if login.missing:
        return replace(credentials, unusable=half_a_login(login.missing))
    try:
        return replace(credentials, ambient=registry_name(login.key)) if login.username else credentials
    except UsageError as error:
        return replace(credentials, unusable=error.message)


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("doctor", cls=DrawnCommand)(_doctor)
