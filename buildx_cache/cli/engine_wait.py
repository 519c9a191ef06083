"""Wait for an engine that a CI starts beside the job, and that needs some seconds to start."""

from __future__ import annotations

import time
from collections.abc import Callable

from buildx_cache.errors import EngineError
from buildx_cache.plan import Facts
from buildx_cache.report import RetryReport
from buildx_cache.retry_policy import RetryPolicy

POLICY = RetryPolicy(tries=60, first=0.3, longest=1.0, total=30.0)
_NOT_YET = frozenset({"docker-down", "docker-tls-absent"})


def facts_when_up(
    ask: Callable[[], Facts],
    say: Callable[[str], None],
    *,
    may_come: bool,
    hint: str = "",
    policy: RetryPolicy = POLICY,
    sleep: Callable[[float], None] = time.sleep,
) -> tuple[Facts, tuple[RetryReport, ...]]:
    """Ask an engine for facts until it answers; return the facts and the retries.

    Args:
        ask: asks once.
        say: shows, once, that this program waits.
        may_come: whether the engine may still start.
        hint: the hint on how a job of this CI gets an engine; empty: the error's own hint.
        policy: the number of retries and their pauses.
        sleep: waits for a number of seconds.

    Raises:
        EngineError: the engine does not answer in time, or fails in a way that waiting does not solve.
    """
    pauses = policy.pauses() if may_come else iter(())
    count, reason = 0, ""
    while True:
        try:
            return ask(), (RetryReport(phase="engine", reason=reason, count=count),) if count else ()
        except EngineError as error:
            if error.code not in _NOT_YET:
                raise
            if (pause := next(pauses, None)) is None:
                raise EngineError(error.message, code=error.code, hint=hint or error.hint) from None
            reason = error.message
        if not count:
            say(f"{reason}: waiting for it, up to {policy.total:.0f} seconds")
        count += 1
        sleep(pause)
