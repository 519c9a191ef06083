"""Declare the commands ``cache ls``, ``inspect``, ``verify``, ``prune`` and ``clear``."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from buildx_cache.cli.completion import caches
from buildx_cache.cli.parameters import choice

_INSPECT_EXAMPLES = """[bold]Examples[/]

buildx-cache cache inspect ~/.cache/app

buildx-cache cache inspect registry.example.com/team/app

buildx-cache cache inspect registry.example.com/team/app:buildcache-main"""

_VERIFY_EXAMPLES = """[bold]Examples[/]

buildx-cache cache verify --deep ~/.cache/app

buildx-cache cache verify registry.example.com/team/app:buildcache-main"""

_PRUNE_EXAMPLES = """[bold]Examples[/]

buildx-cache cache prune ~/.cache/app --max-size 2GB

buildx-cache cache prune registry.example.com/app --max-age 30d --dry-run

buildx-cache cache prune registry.example.com/app --keep-branches-from git"""


_CLEAR_EXAMPLES = """[bold]Examples[/]

buildx-cache cache clear --all --dry-run

buildx-cache cache clear app-1f2e3d4c"""


class Format(StrEnum):
    """The format of results."""

    TABLE = "table"
    JSON = "json"


_Target = Annotated[
    str, typer.Argument(metavar="DIR|REF", help="A cache's folder, or its reference in a registry.", show_default=False)
]
_Format = Annotated[
    Format, choice(Format, "--format", metavar="<table|json>", help="table for people, json for machines.")
]
_DryRun = Annotated[bool, typer.Option("--dry-run", metavar=" ", help="Only list what would be deleted.")]


app = typer.Typer(rich_markup_mode="rich", help="List, inspect, verify, prune and clear caches.")


@app.callback(invoke_without_command=True)
def _cache(ctx: typer.Context) -> None:
    if ctx.invoked_subcommand is None:
        typer.echo(ctx.get_help(), nl=False)


@app.command("ls")
def _ls(output_format: _Format = Format.TABLE) -> None:
    """List the caches in your cache directory: one per project that builds without --cache-dir."""
    from buildx_cache.cli import upkeep  # noqa: PLC0415 -- 60 ms that --help does not need

    with upkeep.call() as env:
        upkeep.list_caches(env, as_json=output_format is Format.JSON)


@app.command("inspect", epilog=_INSPECT_EXAMPLES)
def _inspect(
    target: _Target,
    output_format: _Format = Format.TABLE,
    layers: Annotated[int, typer.Option("--layers", metavar="N", min=0, help="Layers to list, largest first.")] = 10,
) -> None:
    """Show what a cache holds: tags, layers, sizes, ages, and what is wrong with it.

    A repository without a tag: list its buildcache-* tags.
    A folder also tells the steps of the build that wrote it. A cache in a
    registry does not: BuildKit keeps digests of steps only.
    """
    from buildx_cache.cli import upkeep  # noqa: PLC0415 -- same

    with upkeep.call() as env:
        upkeep.inspect_cache(target, env, layers, as_json=output_format is Format.JSON)


@app.command("verify", epilog=_VERIFY_EXAMPLES)
def _verify(
    target: _Target,
    *,
    deep: Annotated[bool, typer.Option("--deep", metavar=" ", help="Read every layer, too.")] = False,
    output_format: _Format = Format.TABLE,
) -> None:
    """Check a cache: exit code 0 if it is sound, 7 if it is damaged.

    Reads manifests and records, and compares layers by size; --deep also
    reads every layer.
    """
    from buildx_cache.cli import upkeep  # noqa: PLC0415 -- same

    with upkeep.call() as env:
        upkeep.verify_cache(target, env, deep=deep, as_json=output_format is Format.JSON)


@app.command("prune", epilog=_PRUNE_EXAMPLES)
def _prune(
    target: _Target,
    max_size: Annotated[
        str,
        typer.Option("--max-size", metavar="SIZE", help="Largest size of a folder: 500MB, 2GB.", show_default=False),
    ] = "",
    max_age: Annotated[
        str, typer.Option("--max-age", metavar="DURATION", help="Largest age of a tag: 30d, 12h.", show_default=False)
    ] = "",
    keep_branches_from: Annotated[
        str,
        typer.Option(
            "--keep-branches-from",
            metavar="git|FILE",
            help="Keep the tags of these branches: those of git's origin, or a file's (- is stdin), one a line.",
            show_default=False,
        ),
    ] = "",
    *,
    dry_run: _DryRun = False,
    output_format: _Format = Format.TABLE,
) -> None:
    """Delete the parts of a cache that no build needs.

    In a folder: unreferenced blobs, tags older than --max-age, and the
    oldest tags beyond --max-size, which keeps the newest tag.

    In a repository: buildcache-* tags older than --max-age, or whose branch
    is gone. With both options a tag goes only if both apply. Images stay.

    A tag is as old as the newest step it holds. Neither folders nor
    registries tell when a cache was last used.
    """
    from buildx_cache.cli import upkeep  # noqa: PLC0415 -- same

    with upkeep.call() as env:
        limits = upkeep.PruneLimits(max_size=max_size, max_age=max_age, keep_branches_from=keep_branches_from)
        upkeep.prune_cache(target, env, limits, dry_run=dry_run, as_json=output_format is Format.JSON)


@app.command("clear", epilog=_CLEAR_EXAMPLES)
def _clear(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME", help="Caches, by their names in `cache ls`.", autocompletion=caches),
    ] = None,
    *,
    everything: Annotated[bool, typer.Option("--all", metavar=" ", help="Clear all caches.")] = False,
    dry_run: _DryRun = False,
) -> None:
    """Empty caches in your cache directory.

    Waits for builds that use them; the next build writes them again.
    """
    from buildx_cache.cli import upkeep  # noqa: PLC0415 -- same

    with upkeep.call() as env:
        upkeep.clear_caches(env, names or (), everything=everything, dry_run=dry_run)
