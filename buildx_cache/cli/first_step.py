"""Run the ``init`` command: write or print the CI's file."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from buildx_cache.atomic import read_regular, write_bytes
from buildx_cache.cli.displays import CommandOutput
from buildx_cache.cli.secrets import forget_secrets
from buildx_cache.cli.upkeep import call
from buildx_cache.engine.committed import refuse_committed_git
from buildx_cache.engine.git import ask, read_git
from buildx_cache.errors import ExhaustedError, UsageError
from buildx_cache.request.build_request import BuildRequest
from buildx_cache.request.contexts import main_context
from buildx_cache.request.probe import look, working_directory
from buildx_cache.starter.recipes import CIName, Recipe, StepCache
from buildx_cache.starter.rendering import render
from buildx_cache.starter.source import Source, check_cache, choose_ci, choose_source, registry_of, values_of
from buildx_cache.starter.survey import Findings, existing, survey
from buildx_cache.working_copy import leaves, nearest_top

_MODE = 0o644
_IGNORE_BYTES = 1 << 20


def write_step(ci: CIName | None, cache: StepCache, file: str, *, dry_run: bool, force: bool) -> None:
    """Write the CI's file at the top of the repository; print it if the file exists, or with ``dry_run``.

    Raises:
        typer.Exit: the CI or the Dockerfile cannot be chosen, or the file exists or cannot be written.
    """
    with call() as env:
        forget_secrets(BuildRequest(), env, os.environ)
        refuse_committed_git(BuildRequest(), env)
        here = Path(os.path.realpath(working_directory()))
        findings = _findings(here, env)
        recipe = choose_ci(ci, findings)
        check_cache(recipe, cache)
        source = choose_source(_inside(file, here, findings.top), findings)
        text = render(recipe, cache, values_of(source, findings))
        output = CommandOutput(env, as_json=False)
        _put(recipe, text, findings.top, output, dry_run=dry_run, force=force)
        needed = recipe.kept if cache is StepCache.LOCAL else recipe.login
        if cache is StepCache.LOCAL and recipe.ignored and source.context == "." and not dry_run:
            needed = _ignore(recipe.ignored, source, findings.top, output) or needed
        registry = registry_of(findings.remote)
        if needed:
            output.say(f"next: {needed.format(registry=f' ({registry})' if registry else '')}")


def _findings(here: Path, env: dict[str, str]) -> Findings:
    top = nearest_top(here)
    known = ("refs/heads/main", "refs/heads/master")
    branch = read_git(top, env).default_branch or ask(
        top, env, "for-each-ref", "--count=1", "--format=%(refname:short)", *known
    )
    return survey(top or here, origin=ask(top, env, "config", "--get", "remote.origin.url"), branch=branch)


def _inside(file: str, here: Path, top: Path) -> str:
    """Return the path of ``--file`` from the top of the repository.

    Raises:
        UsageError: the file does not exist, or is outside of the repository.
    """
    if not file:
        return ""
    path = here / file
    if reason := leaves(path, top):
        raise UsageError(
            f"--file {file} is not in the repository: {reason}",
            code="dockerfile-outside",
            hint=f"give a file below {top}",
        )
    if not look(path).is_file:
        raise UsageError(f"--file {file} is not a file", code="dockerfile-not-found", hint="check the path")
    return os.path.relpath(path, top)


def _put(recipe: Recipe, text: str, top: Path, output: CommandOutput, *, dry_run: bool, force: bool) -> None:
    found = existing(top, recipe)
    is_replaced = force and found == recipe.file
    if dry_run or (found and not is_replaced):
        sys.stdout.write(text)
    if found and not is_replaced and not dry_run:
        raise UsageError(
            f"{found} exists already; nothing is written",
            code="ci-file-exists",
            hint=f"{recipe.place}, as printed above" + ("; --force replaces the file" if found == recipe.file else ""),
        )
    if dry_run:
        output.say(f"{found} exists already: {recipe.place}" if found else f"not written: {recipe.file}")
        return
    try:
        write_bytes(top / recipe.file, text.encode(), below=top, mode=_MODE)
    except OSError as error:
        raise ExhaustedError(
            f"{recipe.file} cannot be written: {error.strerror}",
            code="ci-file-not-writable",
            hint=f"check {top / recipe.file}, or print the step: --dry-run",
        ) from None
    output.say(f"written: {recipe.file}")


def _ignore(line: str, source: Source, top: Path, output: CommandOutput) -> str:
    """Leave a cache folder at the top out of the build context.

    Return what to do next; "" if the file that says it cannot be written.
    """
    dockerfile = str(top / source.file) if source.file else ""
    file = main_context(BuildRequest(context=str(top / source.context), file=dockerfile))[2]
    name = file.relative_to(top)
    try:
        found = read_regular(file, _IGNORE_BYTES, below=top) if os.path.lexists(file) else b""
        if line.encode() not in found.splitlines():
            end = b"\n" if found and not found.endswith(b"\n") else b""
            write_bytes(file, found + end + line.encode() + b"\n", below=top, mode=_MODE)
            output.say(f"written: {line} in {name}, so that no image and no build context has the cache")
    except OSError:
        return ""
    return f"commit {name} with the step"
