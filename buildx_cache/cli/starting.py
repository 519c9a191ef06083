"""``init``: its options."""

from __future__ import annotations

from typing import Annotated

import typer

from buildx_cache.cli.parameters import choice
from buildx_cache.starter.recipes import CIName, StepCache

INIT_EXAMPLES = """[bold]Examples[/]

buildx-cache init

buildx-cache init --ci circleci --cache local --dry-run

buildx-cache init --ci github --file docker/api.Dockerfile"""


def init(
    ci: Annotated[
        CIName | None,
        choice(
            CIName,
            "--ci",
            metavar="NAME",
            help="circleci, github, gitlab, buildkite, bitbucket, azure, jenkins or woodpecker. "
            "Default: the CI that the repository has a file of, else that of its git host.",
            show_default=False,
        ),
    ] = None,
    cache: Annotated[
        StepCache,
        choice(
            StepCache,
            "--cache",
            metavar="KIND",
            help="registry, inline or local. Default: registry.",
            show_default=False,
        ),
    ] = StepCache.REGISTRY,
    file: Annotated[
        str,
        typer.Option(
            "--file",
            "-f",
            metavar="FILE",
            help="Dockerfile; the build context is the top of the repository then. Default: the repository's own.",
            show_default=False,
        ),
    ] = "",
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", metavar=" ", help="Only print the file.")] = False,
    force: Annotated[bool, typer.Option("--force", metavar=" ", help="Replace the file if it exists.")] = False,
) -> None:
    """Write the CI's file with a step that builds the image.

    Where that file exists already, the step is printed instead, and nothing is written.
    """
    from buildx_cache.cli.first_step import write_step  # noqa: PLC0415 -- 60 ms that --help does not need

    write_step(ci, cache, file, dry_run=dry_run, force=force)
