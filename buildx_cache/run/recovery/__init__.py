"""Recovery from failures that are not the Dockerfile's: one strategy a file, tried in order after a failed attempt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from buildx_cache.buildkit import BuildTrace, Event
from buildx_cache.plan import BuildInvocation


class AbandonedBuildError(Exception):
    """A running build is better begun again. Raised by the strategy that then recovers it."""


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One run of a build; ``code`` is Buildx' exit code, ``phase`` the report's word for what the build is for."""

    build: BuildInvocation
    trace: BuildTrace
    code: int
    phase: str = "build"


class Strategy(Protocol):
    """Watch the attempts of a build, and go on where one failed over something that this strategy knows."""

    keeps_steps: bool = False
    """Whether the steps of the failed attempt are done, and the next one only writes."""

    def prepare(self, build: BuildInvocation) -> BuildInvocation:
        """Begin an attempt; return the build as Buildx is to run it."""
        return build

    def observe(self, event: Event) -> Event:
        """Take an event of the attempt; return it in the plan's words.

        Raises:
            AbandonedBuildError: the build is better begun again.
        """
        return event

    def on_idle(self, seconds: float) -> None:
        """Take notice that no event has come for so long.

        Raises:
            AbandonedBuildError: the build is better begun again.
        """
        del seconds

    def recover(self, attempt: Attempt) -> BuildInvocation | None:
        """Return the build to go on with after a failed attempt; None where the failure is not this strategy's.

        Raises:
            BuildxCacheError: nothing can be done.
        """
        del attempt
        return None
