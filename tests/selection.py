"""Choose the cases of a table that the quick run has; the others are run each night."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest


def quick(cases: Iterable[Any], *chosen: str) -> list[Any]:
    """Make parameters of cases that are named by their text; all but the chosen ones take part in the long run only.

    Choose one case for each mechanism: the others repeat it with another part, code, engine or signal.
    """
    found = {str(case): case for case in cases}
    assert set(chosen) <= set(found), set(chosen) - set(found)
    return [
        pytest.param(case, id=name, marks=() if name in chosen else pytest.mark.soak) for name, case in found.items()
    ]
