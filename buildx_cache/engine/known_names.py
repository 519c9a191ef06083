"""List the names of Docker contexts and Buildx builders for shell completion, quickly and without asking an engine."""

from __future__ import annotations

import os
from collections.abc import Mapping

from buildx_cache.engine.committed import refuse_committed
from buildx_cache.engine.credentials import buildx_folder
from buildx_cache.engine.git import guarded
from buildx_cache.engine.process import capture_within
from buildx_cache.errors import UsageError
from buildx_cache.request.build_request import BuildRequest

# Seconds and bytes: the user waits for the completion.
_LIMITS = (2.0, 1 << 16)


def context_names(env: Mapping[str, str]) -> tuple[str, ...]:
    """Return the names of the Docker contexts; none if docker does not list them in time.

    python-on-whales lists contexts without a time limit.
    """
    try:
        refuse_committed(BuildRequest(), env)
        listed = capture_within(("docker", "context", "ls", "--quiet"), env=guarded(env), within=_LIMITS)
    except (OSError, UsageError):
        return ()
    return tuple(listed.stdout.split()) if listed.code == 0 else ()


def builder_names(env: Mapping[str, str]) -> tuple[str, ...]:
    """Return the names of the builders: the names of Buildx' files, and of the contexts, which are builders, too.

    ``docker buildx ls`` would ask each builder, and wait for one that does not answer.
    """
    try:
        kept = os.listdir(buildx_folder(env) / "instances")  # noqa: PTH208 -- names are asked for
    except (OSError, UsageError):
        kept = []
    return (*sorted(kept), *context_names(env))
