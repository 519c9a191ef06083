"""The ``cache`` commands for whatever they are pointed at; imported when one runs."""

from __future__ import annotations

from collections.abc import Mapping

from buildx_cache.cli import folders
from buildx_cache.cli.limits import Limits
from buildx_cache.cli.output import Output
from buildx_cache.cli.targets import Folder, parse_target
from buildx_cache.reference import Reference


def inspect_cache(target: str, env: Mapping[str, str], layers: int, *, as_json: bool) -> None:
    """``cache inspect``; raises what :mod:`folders` and :mod:`registries` do."""
    output = Output(env, as_json=as_json)
    match parse_target(target):
        case Folder() as folder:
            folders.inspect_folder(folder, output, layers)
        case Reference() as reference:
            from buildx_cache.cli import registries  # brings the HTTP library

            registries.inspect_reference(reference, env, output, layers)


def verify_cache(target: str, env: Mapping[str, str], *, deep: bool, as_json: bool) -> None:
    """``cache verify``; raises what :mod:`folders` and :mod:`registries` do."""
    output = Output(env, as_json=as_json)
    match parse_target(target):
        case Folder() as folder:
            folders.verify_folder(folder, output, deep=deep)
        case Reference() as reference:
            from buildx_cache.cli import registries

            registries.verify_reference(reference, env, output, deep=deep)


def prune_cache(target: str, env: Mapping[str, str], limits: Limits, *, dry_run: bool, as_json: bool) -> None:
    """``cache prune``; raises what :mod:`folders` and :mod:`registries` do."""
    output = Output(env, as_json=as_json)
    match parse_target(target):
        case Folder() as folder:
            folders.prune_folder(folder, output, limits.of_folder(output.now), dry_run=dry_run)
        case Reference() as reference:
            from buildx_cache.cli import registries

            registries.prune_reference(reference, env, output, limits.of_registry(env), dry_run=dry_run)
