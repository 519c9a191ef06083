"""Run the ``cache`` commands for a folder, a reference, or all caches of the user."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping

from buildx_cache.cli import cache_folders
from buildx_cache.cli.cache_arguments import Folder, PruneLimits, parse_target
from buildx_cache.cli.cache_folders import clear_caches, list_caches
from buildx_cache.cli.displays import CommandOutput, failing
from buildx_cache.interrupts import interruptible
from buildx_cache.reference import Reference

__all__ = ["PruneLimits", "call", "clear_caches", "inspect_cache", "list_caches", "prune_cache", "verify_cache"]


@contextlib.contextmanager
def call() -> Iterator[dict[str, str]]:
    """Turn errors and signals into messages and exit codes; yield the environment."""
    env = dict(os.environ)
    with failing(env), interruptible():
        yield env


def inspect_cache(target: str, env: Mapping[str, str], layers: int, *, as_json: bool) -> None:
    """Run ``cache inspect``; errors are those of :mod:`cache_folders` and :mod:`cache_registries`."""
    output = CommandOutput(env, as_json=as_json)
    match parse_target(target):
        case Folder() as folder:
            cache_folders.inspect_folder(folder, output, layers)
        case Reference() as reference:
            from buildx_cache.cli import cache_registries  # noqa: PLC0415 -- urllib3: 50 ms that a folder does not need

            cache_registries.inspect_reference(reference, env, output, layers)


def verify_cache(target: str, env: Mapping[str, str], *, deep: bool, as_json: bool) -> None:
    """Run ``cache verify``; errors are those of :mod:`cache_folders` and :mod:`cache_registries`."""
    output = CommandOutput(env, as_json=as_json)
    match parse_target(target):
        case Folder() as folder:
            cache_folders.verify_folder(folder, output, deep=deep)
        case Reference() as reference:
            from buildx_cache.cli import cache_registries  # noqa: PLC0415 -- same

            cache_registries.verify_reference(reference, env, output, deep=deep)


def prune_cache(target: str, env: Mapping[str, str], limits: PruneLimits, *, dry_run: bool, as_json: bool) -> None:
    """Run ``cache prune``; errors are those of :mod:`cache_folders` and :mod:`cache_registries`."""
    output = CommandOutput(env, as_json=as_json)
    match parse_target(target):
        case Folder() as folder:
            cache_folders.prune_folder(folder, output, limits.of_folder(output.now), dry_run=dry_run)
        case Reference() as reference:
            from buildx_cache.cli import cache_registries  # noqa: PLC0415 -- same

            cache_registries.prune_reference(reference, env, output, limits.of_registry(env), dry_run=dry_run)
