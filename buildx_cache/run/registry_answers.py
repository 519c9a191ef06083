"""Ask registries while the builder boots, each question in another thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Generic, TypeVar

_PATIENCE = 5.0  # seconds that a build waits for the answers after its builder has booted

Subject = TypeVar("Subject", bound=Hashable)
Answer = TypeVar("Answer")


class RegistryAnswers(Generic[Subject, Answer]):
    """Ask about each subject, from now on.

    Args:
        subjects: what is asked about, such as repositories.
        ask: asks about one subject, and returns the answer.
    """

    def __init__(self, subjects: Sequence[Subject], ask: Callable[[Subject], Answer]) -> None:
        self._found: dict[Subject, Answer] = {}
        self._asking = [
            # A daemon: the call must not wait at its end for a registry that does not answer.
            threading.Thread(target=self._ask, args=(ask, subject), daemon=True)
            for subject in subjects
        ]
        for thread in self._asking:
            thread.start()

    def _ask(self, ask: Callable[[Subject], Answer], subject: Subject) -> None:
        self._found[subject] = ask(subject)

    def finish(self) -> Mapping[Subject, Answer]:
        """Wait up to ``_PATIENCE`` seconds; return the answers in the order in which they came, without late ones."""
        until = time.monotonic() + _PATIENCE
        for thread in self._asking:
            thread.join(max(0.0, until - time.monotonic()))
        return dict(self._found)
