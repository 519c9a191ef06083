"""Print the results of a ``cache`` command on stdout, and everything else on stderr."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager

from buildx_cache.ci.capabilities import json_without_commands
from buildx_cache.cli.displays import wants_color
from buildx_cache.display import PlainDisplay
from buildx_cache.display.base import working
from buildx_cache.display.cache_tables import Results

SCHEMA = 1


class Output:
    """The output of one command: results on stdout, messages on stderr.

    ``console`` prints nothing if the user asked for JSON; ``now`` is in seconds since the epoch.
    """

    def __init__(self, env: Mapping[str, str], *, as_json: bool) -> None:
        self._as_json = as_json
        self._color = wants_color(env, no_color=False)
        on_terminal = wants_color(env, no_color=False, terminal=sys.stdout.isatty())
        self.console = Results(sys.stdout, color=on_terminal, quiet=as_json)
        self.now = time.time()
        display = PlainDisplay(sys.stderr, color=self._color)
        self.say, self.warn = display.say, display.warn

    def document(self, **values: object) -> None:
        """Print the JSON document, if the user asked for JSON."""
        if self._as_json:
            print(json_without_commands(json.dumps({"schema": SCHEMA, **values}, indent=2)))

    def working(self, text: str) -> AbstractContextManager[None]:
        """Show ``text`` on stderr if the context takes long."""
        return working(text, sys.stderr, color=self._color)
