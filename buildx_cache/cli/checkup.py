"""Run the ``doctor`` command."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TextIO

import typer
from rich.console import Console
from rich.text import Text

from buildx_cache.atomic import read_regular
from buildx_cache.ci import Provider, provider_of
from buildx_cache.cli.displays import failing, wants_color
from buildx_cache.cli.secrets import forget_secrets
from buildx_cache.cli.session import facts_when_up, surroundings
from buildx_cache.display.base import Line
from buildx_cache.doctor import Check, CheckStatus, CIFile, Machine, Questions, examine
from buildx_cache.engine.committed import refuse_committed
from buildx_cache.engine.credentials import stored_credentials
from buildx_cache.engine.docker import DockerEngine
from buildx_cache.engine.git import git_version
from buildx_cache.errors import ExitCode, UsageError
from buildx_cache.formatting import printable
from buildx_cache.interrupts import interruptible
from buildx_cache.plan import Facts, Place
from buildx_cache.plan.facts import Credentials
from buildx_cache.reference import parse_reference, registry_name
from buildx_cache.request.ambient import AmbientLogin, ambient_login, half_a_login
from buildx_cache.request.build_request import BuildRequest
from buildx_cache.request.contexts import context_notes
from buildx_cache.request.probe import working_directory
from buildx_cache.working_copy import nearest_top

BUILDKIT_IMAGE = "moby/buildkit:buildx-stable-1"
"""What Buildx makes builders of (buildx' ``driver/docker-container``)."""
_LARGEST = 1 << 18
_STYLES = {CheckStatus.OK: "green", CheckStatus.WARN: "yellow", CheckStatus.FAIL: "bold red"}
_NAMES = 13
"""The width of the longest name of a check, in columns."""


def examine_machine(docker_context: str, cache_dir: str) -> None:
    """Run the checks and show one line for each.

    Raises:
        typer.Exit: a check failed, so a build cannot work.
    """
    env = dict(os.environ)
    ambient = ambient_login(env, provider_of(env).login)
    image = env.get("BUILDX_CACHE_BUILDKIT_IMAGE", "")
    forget_secrets(BuildRequest(), env, os.environ)
    with failing(env), interruptible():
        refuse_committed(BuildRequest(), env)
        reference = parse_reference(image or BUILDKIT_IMAGE)
        credentials = _with_ambient(stored_credentials(env), ambient)
        place, ci = surroundings(BuildRequest(), env)
        folder = cache_dir or place.cache_dir
        engine = DockerEngine(env, docker_context)
        machine = Machine(
            ci=ci,
            credentials=credentials,
            cache_dir=folder,
            path=env.get("PATH", ""),
            git=git_version(env),
            ci_file=_ci_file(provider_of(env)),
            buildkit_image=image,
            sent=context_notes(BuildRequest(), (folder,)),
        )
        ask = Questions(
            facts=lambda: _facts(engine, place, env),
            is_podman=engine.is_podman,
            pull_refusal=lambda: engine.pull_refusal(reference),
        )
        checks = tuple(examine(ask, machine))
    checks_table(checks, sys.stdout, color=wants_color(env, no_color=False, terminal=sys.stdout.isatty()))
    if any(check.status is CheckStatus.FAIL for check in checks):
        raise typer.Exit(ExitCode.NO_ENGINE)


def _facts(engine: DockerEngine, place: Place, env: Mapping[str, str]) -> Facts:
    """Ask the engine; where it does not answer, say how a job of this CI has one.

    Raises:
        EngineError: no usable Docker.
    """
    facts, _ = facts_when_up(lambda: engine.facts(place), lambda _: None, may_come=False, hint=provider_of(env).engine)
    return replace(facts, variables=frozenset(name for name, value in env.items() if value))


def _ci_file(provider: Provider) -> CIFile | None:
    """Read the repository's file for the CI that runs this, if there is one; no link is followed to it."""
    here = Path(os.path.realpath(working_directory()))
    top = nearest_top(here) or here
    for name in provider.files:
        with contextlib.suppress(OSError):
            content = read_regular(top / name, _LARGEST, below=top)
            return CIFile(name=name, text=content.decode(errors="replace"), pitfalls=provider.pitfalls)
    return None


def _with_ambient(credentials: Credentials, login: AmbientLogin) -> Credentials:
    """Add the registry of the environment's login, or the reason why that login is unusable."""
    if login.missing:
        return replace(credentials, unusable=half_a_login(login.missing))
    try:
        return replace(credentials, ambient=registry_name(login.key)) if login.username else credentials
    except UsageError as error:
        return replace(credentials, unusable=error.message)


def checks_table(checks: Iterable[Check], out: TextIO, *, color: bool) -> None:
    """Print one line for each check, its advice below."""
    console = Console(file=out, highlight=False, no_color=not color, soft_wrap=True)
    for check in checks:
        console.print(Line(f"{check.status:<4}", _STYLES[check.status], f"{check.name:<{_NAMES}} {check.found}").styled)
        if check.advice:
            console.print(Text(f"     {'':<{_NAMES}} {printable(check.advice)}"))
