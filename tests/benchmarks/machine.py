"""What kind of machine the figures are of."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from pathlib import Path

from buildx_cache import __version__
from buildx_cache.formatting import size


def machine(env: Mapping[str, str], folder: Path | None) -> str:
    """Cores, memory, versions and where the data were, in one sentence.

    Args:
        env: The engine's variables; without any, it says nothing of Docker.
        folder: Where all data are; without one, they may be on several filesystems.
    """
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    kernel = ".".join(platform.release().split(".")[:2])
    return ", ".join(
        (
            f"{os.cpu_count()} cores ({platform.machine()})",
            f"{size(memory)} of memory",
            f"Linux {kernel}",
            *((f"data on {_filesystem(folder)}",) if folder else ()),
            *_docker(env),
            f"Python {platform.python_version()}",
            f"buildx-cache {__version__}",
        )
    )


def _docker(env: Mapping[str, str]) -> tuple[str, ...]:
    if "ENGINE_KIND" not in env:
        return ()
    private = env["ENGINE_KIND"] == "private"
    return (
        f"Docker {env['ENGINE_DOCKER_VERSION']}",
        f"Buildx {env['ENGINE_BUILDX_VERSION']}",
        "BuildKit as in that Docker, in a container" if private else "BuildKit's published image",
    )


def _filesystem(folder: Path) -> str:
    """Such as ``tmpfs``: a filesystem in memory. By ``proc_pid_mountinfo(5)``; of mounts on one another the last."""
    kinds = {}
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        mount, _, source = line.partition(" - ")
        kinds[mount.split(" ")[4]] = source.split(" ")[0]
    folder = folder.resolve()
    return next(kinds[str(place)] for place in (folder, *folder.parents) if str(place) in kinds)
