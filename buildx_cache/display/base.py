"""Where a call tells people, or programs, what it does."""

from __future__ import annotations

import threading
from typing import Protocol

from buildx_cache.buildkit import BuildTrace, Event
from buildx_cache.errors import BuildxCacheError
from buildx_cache.report import BuildReport


class Display(Protocol):
    """What happens, in the order in which it does; a display decides nothing.

    ``lock``, ``broken`` and ``every`` are for its ``pulse``.
    """

    lock: threading.RLock
    broken: BuildxCacheError | None
    every: float

    def say(self, text: str) -> None:
        """A decision, or something that begins."""

    def warn(self, text: str) -> None:
        """Something that did not go as asked, but does not fail the call."""

    def command(self, line: str) -> None:
        """A command that is about to run, redacted."""

    def phase(self, name: str) -> None:
        """A phase of the call begins, by its name in the report; or, with an empty name, ends."""

    def event(self, event: Event) -> None:
        """The build's progress, event by event."""

    def restart(self) -> None:
        """The build begins anew: what was told of its steps no longer holds."""

    def beat(self) -> None:
        """Time has passed; called every now and then until ``close``, between two other calls."""

    def close(self) -> None:
        """The work is over. What was drawn is taken down, and what was held back is told; may be called again."""

    def result(self, line: str) -> None:
        """What the call gives to scripts."""

    def summary(self, report: BuildReport) -> None:
        """What the call did, at its end."""

    def failure(self, error: BuildxCacheError, trace: BuildTrace | None) -> None:
        """What failed and what to do, then the end of the failing step's log."""
