"""The engine reads a loaded image from a folder that has the cache's layers, so that BuildKit need not send them.

To everybody else the build is the planned one, with ``--load``, and that is what runs where the folder is of no use.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

from buildx_cache import layout
from buildx_cache.buildkit import BuildTrace
from buildx_cache.caches import to_csv
from buildx_cache.layout.parse import MalformedError
from buildx_cache.plan import BuildInvocation, LoadingPlan, Output
from buildx_cache.run.interfaces import Engine


class Loading:
    """How the image of one call is loaded. ``close`` leaves nothing of it behind."""

    def __init__(self, plan: LoadingPlan, engine: Engine) -> None:
        self._plan = plan
        self._engine = engine
        self._folder: Path | None = None

    @property
    def is_on(self) -> bool:
        """Whether the last build wrote its image to a folder."""
        return self._folder is not None

    # --- the build -----------------------------------------------------------------------------------------

    def written(self, planned: BuildInvocation, cache: Path | None) -> BuildInvocation:
        """A build that writes its image beside the layers of the cache's folder; without one the planned build."""
        self.close()
        if self._plan.effect is None or cache is None:
            return planned
        try:
            self._folder = layout.new_image_folder(cache)
        except (MalformedError, OSError):
            return planned
        output = to_csv(["type=oci", "tar=false", f"dest={self._folder}"])
        return replace(planned, load=False, outputs=(Output(spec=output),))

    def may_retry(self, trace: BuildTrace) -> bool:
        """Whether a build that failed did so over the folder, which the next one goes without."""
        if self._folder is None or str(self._folder) not in trace.error:
            return False
        self.stop()
        return True

    # --- after it ------------------------------------------------------------------------------------------

    def load(self) -> str:
        """Have the engine read the image; why that did not work, if so."""
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
        """Have the next build send the image itself."""
        self.close()
        self._plan = LoadingPlan()

    def close(self) -> None:
        """Delete the folder."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None
