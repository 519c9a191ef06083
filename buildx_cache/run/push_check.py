"""Ask registries whether they accept the push before the build starts, while the builder boots."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from buildx_cache.errors import DeniedError
from buildx_cache.reference import Reference

_PATIENCE = 5.0  # seconds that a build waits for the answers after its builder has booted


class PushCheck:
    """Ask registries in threads, from now on.

    Args:
        repositories: the repositories to push to.
        ask: returns why the registry refuses a push, or "".
    """

    def __init__(self, repositories: Sequence[Reference], ask: Callable[[Reference], str]) -> None:
        self._refusals: list[str] = []
        self._asking = [
            # A daemon: the call must not wait at its end for a registry that does not answer.
            threading.Thread(target=self._ask, args=(ask, repository), daemon=True)
            for repository in repositories
        ]
        for thread in self._asking:
            thread.start()

    def _ask(self, ask: Callable[[Reference], str], repository: Reference) -> None:
        if reason := ask(repository):
            self._refusals.append(reason)

    def finish(self) -> None:
        """Wait up to ``_PATIENCE`` seconds for the answers; an answer that is late counts as accepted.

        Raises:
            DeniedError: a registry refuses the push.
        """
        until = time.monotonic() + _PATIENCE
        for thread in self._asking:
            thread.join(max(0.0, until - time.monotonic()))
        if self._refusals:
            raise DeniedError(
                f"{self._refusals[0]}; nothing was built",
                code="push-denied",
                hint=(
                    "log in with --username and --password-env, or `docker login`; check the repository's name, and "
                    "that the account may write it; --no-push-check skips this check"
                ),
            )
