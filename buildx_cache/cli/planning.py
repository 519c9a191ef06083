"""Run the ``plan`` command."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

from buildx_cache.cli.displays import failing
from buildx_cache.cli.reading import read_request
from buildx_cache.cli.secrets import forget_secrets
from buildx_cache.cli.session import assumed_plan, open_session
from buildx_cache.formatting import printable
from buildx_cache.interrupts import interruptible
from buildx_cache.plan.render import plan_json, shell_lines
from buildx_cache.request.build_request import Driver


def plan(given: Mapping[str, object], driver: Driver | None, *, as_json: bool) -> None:
    """Print the commands that ``build`` would run with the given options; with a ``driver``, without asking Docker."""
    env = dict(os.environ)
    with failing(env, no_color=bool(given.get("no_color"))), interruptible():
        asked = read_request(given, env)
        request = asked.request
        for line in asked.lines:
            _tell(line)
        forget_secrets(request, env, os.environ)
        with asked.hiding_file_values():
            made = assumed_plan(request, env, driver) if driver else open_session(request, env, _tell).plan
        made = asked.noted(made)
        print(plan_json(made) if as_json else shell_lines(made), end="")


def _tell(line: str) -> None:
    print(printable(line), file=sys.stderr)
