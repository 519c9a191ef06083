"""Wait for an engine that a CI starts beside the job: it answers some seconds later."""

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
    """Ask an engine for facts until it answers; return them, and how often it was asked again.

    Args:
        ask: asks once.
        say: tells people, once, that it is waited for.
        may_come: whether there is anything to wait for.
        hint: how a job of this CI has an engine; empty: the error's own.
        policy: when it is asked again.
        sleep: waits for seconds.

    Raises:
        EngineError: the engine does not answer in time, or will not.
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
