"""What kind of machine the figures are of."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping

from buildx_cache import __version__
from buildx_cache.wording import size


def machine(env: Mapping[str, str]) -> str:
    """Cores, memory and versions in one sentence, from this machine and the engine's variables."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    kernel = ".".join(platform.release().split(".")[:2])
    private = env["ENGINE_KIND"] == "private"
    buildkit = "BuildKit as in that Docker, in a container" if private else "BuildKit's published image"
    return (
        f"{os.cpu_count()} cores ({platform.machine()}), {size(memory)} of memory, Linux {kernel}, "
        f"Docker {env['ENGINE_DOCKER_VERSION']}, Buildx {env['ENGINE_BUILDX_VERSION']}, {buildkit}, "
        f"Python {platform.python_version()}, buildx-cache {__version__}"
    )
