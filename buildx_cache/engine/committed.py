"""Refuse a Docker configuration that the repository brings: it says which programs run, and where builds are sent.

CI jobs often set ``HOME`` or ``DOCKER_CONFIG`` to a folder of their checkout. What the job itself puts there is the
caller's; what git tracks there is the repository's, as a plug-in in ``cli-plugins``, a builder or a context is.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from buildx_cache.engine.credentials import buildx_folder, configuration_folder, read_configuration
from buildx_cache.engine.git import asked
from buildx_cache.errors import UsageError
from buildx_cache.working_copy import prepared_top

_CONFIG = "config.json"
_LEADING = ("cliPluginsExtraDirs", "currentContext")
"""What of a configuration file leads to a program or an engine; logins and helpers on ``PATH`` do not."""


def refuse_committed(env: Mapping[str, str]) -> None:
    """Stop before Docker reads a configuration of the repository's.

    Raises:
        UsageError: git tracks a file of it, or cannot tell in time.
    """
    for folder in dict.fromkeys((configuration_folder(env), buildx_folder(env))):
        for name in _tracked(Path(os.path.realpath(folder)), env):
            if name != _CONFIG or not read_configuration(env).keys().isdisjoint(_LEADING):
                raise UsageError(
                    f"the Docker configuration {folder} is the repository's, which has committed {name}: "
                    "it would choose programs that run here, or an engine",
                    code="docker-config-committed",
                    hint="set DOCKER_CONFIG to a folder outside of the working copy",
                )


def _tracked(folder: Path, env: Mapping[str, str]) -> Iterator[str]:
    """Give the files of a folder that git tracks.

    A dot stands for all where git cannot tell in time, or they are too many; without a git, for plug-ins.
    """
    top = prepared_top(folder)
    if top is None:
        return
    place = str(folder.relative_to(top))
    done = asked(top, env, "--literal-pathspecs", "ls-files", "-z", "--", place)
    has_git = shutil.which("git", path=env.get("PATH")) is not None
    if done.code < 0 and (folder if has_git else folder / "cli-plugins").exists():
        yield "."
    for path in filter(None, done.stdout.split("\0")):
        yield os.path.relpath(path, place)
