"""Choose the cases of a table that the quick run has; the others are run each night."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import settings

PUSH, LONG = "push", "long"
"""Hypothesis' profiles: the quick run's, and that of a run that takes in the long tests."""


def examples(push: int, long: int) -> int:
    """Return how many examples the run tries of what takes long for each."""
    return long if settings.get_current_profile_name() == LONG else push


def quick(cases: Iterable[Any], *chosen: str) -> list[Any]:
    """Make parameters of cases that are named by their text; all but the chosen ones take part in the long run only.

    Choose one case for each mechanism: the others repeat it with another part, code, engine or signal.
    """
    found = {str(case): case for case in cases}
    assert set(chosen) <= set(found), set(chosen) - set(found)
    return [
        pytest.param(case, id=name, marks=() if name in chosen else pytest.mark.soak) for name, case in found.items()
    ]
