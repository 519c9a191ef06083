"""Words that make a second reading necessary stand nowhere: name the actor, use an active verb."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
HARD = re.compile(r"\b(?:is|are|was|were) told\b|\bbecomes of\b|\bof its own\b|\bto do:")
PAGES = sorted(
    (*PROJECT.glob("*.md"), *(PROJECT / "buildx_cache").rglob("*.py"), *(PROJECT / "buildx_cache").rglob("*.md"))
)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT)))
def test_hard_words_stand_nowhere(page: Path) -> None:
    lines = enumerate(page.read_text(encoding="utf-8").splitlines(), 1)
    assert [f"{number}: {line}" for number, line in lines if HARD.search(line)] == []
