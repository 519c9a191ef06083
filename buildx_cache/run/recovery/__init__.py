"""Recover from failures that are not the Dockerfile's: one strategy a file, tried in order after a failed attempt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from buildx_cache.buildkit.events import Event
from buildx_cache.buildkit.trace import BuildTrace
from buildx_cache.plan import BuildInvocation


class AbandonedBuildError(Exception):
    """Cancel a running build to start it again. The strategy that raises this error then recovers the build."""


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One run of a build; ``code`` is Buildx' exit code, ``phase`` the report's name of the phase."""

    build: BuildInvocation
    trace: BuildTrace
    code: int
    phase: str = "build"


class Strategy(Protocol):
    """Watch the attempts of a build, and recover from one kind of failure."""

    keeps_steps: bool = False
    """Whether the failed attempt has completed its steps, so that the next attempt only writes."""

    def prepare(self, build: BuildInvocation) -> BuildInvocation:
        """Begin an attempt; return the build that Buildx runs."""
        return build

    def observe(self, event: Event) -> Event:
        """Take an event of the attempt; return the event with the plan's names in place of the prepared build's.

        Raises:
            AbandonedBuildError: the build has to start again.
        """
        return event

    def on_idle(self, seconds: float) -> None:
        """React to a build that has been silent for so many seconds.

        Raises:
            AbandonedBuildError: the build has to start again.
        """
        del seconds

    def recover(self, attempt: Attempt) -> BuildInvocation | None:
        """Return the next build after a failed attempt; None if this strategy cannot recover from the failure.

        Raises:
            BuildxCacheError: no strategy can recover from the failure.
        """
        del attempt
        return None
