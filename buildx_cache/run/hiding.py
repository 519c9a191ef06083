"""Secret build arguments in what a build says: BuildKit names a step after it has put the arguments' values in."""

from __future__ import annotations

import base64
from dataclasses import replace

from buildx_cache.plan import Command
from buildx_cache.progress import Event
from buildx_cache.progress.events import LogEvent, rewritten
from buildx_cache.redaction import HIDDEN

# A shorter one is no secret, and would take harmless words with it.
_SHORTEST = 4


class Hiding:
    """Takes the secret values of a command out of the events of its build."""

    def __init__(self, command: Command) -> None:
        values = {str(value) for _, value in command.secrets if len(value) >= _SHORTEST}
        self._values = sorted(values, key=len, reverse=True)  # one may be a part of another

    def take(self, event: Event) -> Event:
        """The event without the values, as far as each stands in it whole."""
        if not self._values:
            return event
        return self._log(event) if isinstance(event, LogEvent) else rewritten(event, self._text)

    def _text(self, text: str) -> str:
        for value in self._values:
            text = text.replace(value, HIDDEN)
        return text

    def _log(self, event: LogEvent) -> LogEvent:
        data = event.data
        for value in self._values:
            data = data.replace(value.encode("utf-8", "surrogateescape"), HIDDEN.encode())
        return event if data == event.data else replace(event, encoded=base64.b64encode(data).decode("ascii"))
