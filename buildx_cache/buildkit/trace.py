"""Describe what a build did so far: the steps of the Dockerfile, the transfers, and the failure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from buildx_cache.buildkit.classify import is_cancelled
from buildx_cache.buildkit.vertex_names import is_base_image

if TYPE_CHECKING:
    from buildx_cache.buildkit.vertex_names import TransferKind

_WRITING = frozenset({"image-export", "push", "cache-export"})


@dataclass(frozen=True, kw_only=True)
class Step:
    """One instruction of the Dockerfile. ``started`` and ``completed`` are POSIX seconds, None if not (yet) known.

    ``seconds`` is the run time, 0.0 for a cached step; ``bytes`` of ``bytes_total`` were pulled, 0 if unknown.
    ``digest`` and ``inputs`` are BuildKit's vertex digests. The interval of a cached step starts when BuildKit first
    requests the step, and includes waiting: ``loaded`` is the interval in which its layers were pulled or extracted,
    None if none were.
    """

    name: str
    stage: str
    platform: str
    number: int
    total: int
    digest: str
    inputs: tuple[str, ...]
    cached: bool
    seconds: float
    error: str
    started: float | None
    completed: float | None
    bytes: int = 0
    bytes_total: int = 0
    loaded: tuple[float, float] | None = None

    @property
    def is_base(self) -> bool:
        """Return whether the step is a base image (FROM).

        BuildKit never flags a base image as cached, as resolving its name always runs. This program counts a base image
        as cached if no layer had to be pulled.
        """
        return is_base_image(self.name)


@dataclass(frozen=True, kw_only=True)
class Transfer:
    """A vertex that is not a step: an import, an export, or of kind ``other``, such as a metadata lookup.

    ``bytes`` of ``bytes_total`` were moved, 0 if the stream does not say; times are as in ``Step``. ``manifests`` are
    the digests that an image export wrote, one for each platform; ``index`` is the digest of their index.
    """

    kind: TransferKind
    name: str
    error: str
    seconds: float
    bytes: int
    digest: str
    bytes_total: int = 0
    started: float | None = None
    completed: float | None = None
    manifests: tuple[str, ...] = ()
    index: str = ""
    pushed: tuple[tuple[str, str], ...] = ()
    """The full name and the digest of each image that an export pushed to a tag."""


@dataclass(frozen=True, kw_only=True)
class BuildTrace:
    """The state of a build so far. Steps are in the order of their start, unstarted ones last.

    ``errors`` are all pairs of vertex name and error, also those from which BuildKit recovered.
    """

    steps: tuple[Step, ...]
    transfers: tuple[Transfer, ...]
    warnings: tuple[str, ...]
    text: tuple[str, ...]
    failed: Step | None
    error: str
    log_tail: tuple[str, ...]
    errors: tuple[tuple[str, str], ...] = ()

    @property
    def total(self) -> int:
        """Return the number of steps that the build needs, also those never reached."""
        return len(self.steps)

    @property
    def cached(self) -> int:
        """Return the number of cached steps, base images included."""
        return sum(step.cached for step in self.steps)

    @property
    def reused(self) -> int:
        """Return the number of cached steps, base images excluded."""
        return sum(step.cached and not step.is_base for step in self.steps)

    @property
    def executed(self) -> int:
        """Return the number of steps that ran, failed and running ones included."""
        return sum(step.started is not None and not step.cached for step in self.steps)

    @property
    def hit_ratio(self) -> float | None:
        """Return the share of cached steps among those reached; None if no step was reached."""
        reached = self.cached + self.executed
        return self.cached / reached if reached else None

    @property
    def unfinished(self) -> tuple[str, ...]:
        """Return the names of the steps and transfers that were running when the build was stopped."""
        all_of_it: tuple[Step | Transfer, ...] = (*self.steps, *self.transfers)
        begun = (each for each in all_of_it if each.started)
        return tuple(each.name for each in begun if not each.completed or is_cancelled(each.error))

    def written_again(self, later: BuildTrace) -> BuildTrace:
        """Return this build's steps with the writes of a ``later`` run, in which all steps were cached.

        Return ``later`` alone if a step of either build failed, or if no write of this build failed.
        """
        if later.failed or self.failed or not any(each.error and each.kind in _WRITING for each in self.transfers):
            return later
        done = (transfer for transfer in self.transfers if transfer.kind not in _WRITING)
        written = (transfer for transfer in later.transfers if transfer.kind in _WRITING)
        return replace(later, steps=self.steps, transfers=(*done, *written), warnings=self.warnings)
