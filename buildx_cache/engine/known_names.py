"""The names of Docker contexts and Buildx builders, for a shell that completes them: quick, and no engine is asked."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping

from buildx_cache.engine.committed import refuse_committed
from buildx_cache.engine.credentials import buildx_folder
from buildx_cache.engine.git import guarded
from buildx_cache.engine.process import capture_within
from buildx_cache.errors import UsageError
from buildx_cache.request import BuildRequest

# Seconds and bytes: who presses a key does not wait for longer, and no terminal shows more.
_LIMITS = (2.0, 1 << 16)
# What Docker and Buildx allow; a shell is given nothing else.
_NAME = re.compile(r"[A-Za-z0-9][\w.+-]*", re.ASCII)


def context_names(env: Mapping[str, str]) -> tuple[str, ...]:
    """Return the names of the Docker contexts; none where docker does not list them in time.

    python-on-whales lists them without a limit of time.
    """
    try:
        refuse_committed(BuildRequest(), env)
        listed = capture_within(("docker", "context", "ls", "--quiet"), env=guarded(env), within=_LIMITS)
    except (OSError, UsageError):
        return ()
    return _proper(listed.stdout.split()) if listed.code == 0 else ()


def builder_names(env: Mapping[str, str]) -> tuple[str, ...]:
    """Return the names of the builders: the files in which Buildx keeps them, and the contexts, which are builders too.

    ``docker buildx ls`` asks each builder, and waits for one that does not answer.
    """
    try:
        kept = os.listdir(buildx_folder(env) / "instances")  # noqa: PTH208 -- names are asked for
    except (OSError, UsageError):
        kept = []
    return _proper((*sorted(kept), *context_names(env)))


def _proper(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for name in names if _NAME.fullmatch(name)))
