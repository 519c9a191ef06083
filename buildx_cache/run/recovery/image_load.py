"""Load an image into the engine from a folder that has the cache's layers, so that BuildKit does not send them.

The plan and all output show ``--load``. Without a usable folder the build runs with ``--load``.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from buildx_cache import layout
from buildx_cache.caches.backend import to_csv
from buildx_cache.layout.parse import MalformedError
from buildx_cache.plan import BuildInvocation, LoadingPlan, Output
from buildx_cache.run.interfaces import Engine
from buildx_cache.run.recovery import Attempt, Strategy


class ImageLoad(Strategy):
    """Load the image of one call. ``close`` deletes the image's folder.

    Args:
        plan: the planned load.
        engine: the engine to load into.
        cache: returns a local folder that has the build's cache, or None.
    """

    def __init__(self, plan: LoadingPlan, engine: Engine, cache: Callable[[BuildInvocation], Path | None]) -> None:
        self._plan = plan
        self._engine = engine
        self._cache = cache
        self._folder: Path | None = None

    @property
    def is_on(self) -> bool:
        """Whether the last build wrote its image to a folder."""
        return self._folder is not None

    # --- the build -----------------------------------------------------------------------------------------

    def prepare(self, build: BuildInvocation) -> BuildInvocation:
        """Have the build write its image into a folder in the cache's folder; without a cache change nothing."""
        self.close()
        cache = self._cache(build) if self._plan.effect else None
        if cache is None:
            return build
        try:
            self._folder = layout.new_linked_folder(cache)
        except (MalformedError, OSError):
            return build
        output = to_csv(["type=oci", "tar=false", f"dest={self._folder}"])
        return replace(build, load=False, outputs=(Output(spec=output),))

    def recover(self, attempt: Attempt) -> BuildInvocation | None:
        """Build again with ``--load`` if the error names the folder."""
        if self._folder is None or str(self._folder) not in attempt.trace.error:
            return None
        self.stop()
        return attempt.build

    # --- after it ------------------------------------------------------------------------------------------

    def load(self) -> str:
        """Load the image into the engine; return the reason of a failure, else ""."""
        if self._folder is None or self._plan.effect is None:
            return ""
        try:
            archive = layout.read_archive(self._folder, self._plan.names)
            done = self._engine.load_image(self._plan.effect, archive.write)
        except MalformedError as error:
            return f"its folder is damaged: {error.problem}"
        except OSError as error:
            return f"its folder cannot be read: {error.strerror or error}"
        finally:
            self.close()
        return "" if done.code == 0 else " ".join(done.stderr.split())

    def stop(self) -> None:
        """Delete the folder; the next build sends the image with ``--load``."""
        self.close()
        self._plan = LoadingPlan()

    def close(self) -> None:
        """Delete the folder."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None
