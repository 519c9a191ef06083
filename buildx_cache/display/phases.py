"""The phases of a call, as those are told that wait for one."""

from __future__ import annotations

from dataclasses import dataclass, field

from buildx_cache.formatting import duration

# Seconds after which a phase is worth a word.
_PATIENCE = 1.0
# By the names that the report has for them. The build tells of itself.
_WORDS = {
    "context": "making the Docker context",
    "builder": "starting the builder",
    "login": "logging in",
    "verify": "verifying the cache folder",
    "export": "writing the cache of every node",
    "sweep": "tidying the cache folder",
    "prune": "pruning the builder's cache",
}


@dataclass(kw_only=True)
class Phase:
    """A phase that runs since a moment of the monotonic clock; none where the name is empty."""

    name: str = ""
    since: float = 0.0
    _is_told: bool = field(default=False)

    def words(self, now: float) -> str:
        """What is done, if that takes a while already."""
        return _WORDS.get(self.name, "") if now - self.since >= _PATIENCE else ""

    def due(self, now: float) -> str:
        """The same, once."""
        words = "" if self._is_told else self.words(now)
        self._is_told = self._is_told or bool(words)
        return words

    def still(self, now: float) -> str:
        """What is done, and for how long already."""
        words = self.words(now)
        return f"{words} ({duration(now - self.since)})" if words else ""
