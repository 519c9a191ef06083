"""What the docs say of plain Buildx is what it does; ``python -m tests.faults.plain`` makes the whole table."""

from __future__ import annotations

import pytest

from tests.faults.cases import LOCAL, READING, WRITING
from tests.faults.laboratory import Laboratory
from tests.faults.plain import Row, local_row, reading_row, table, writing_row
from tests.faults.proxy import Proxy
from tests.integration.conftest import PROJECT


def row_of(laboratory: Laboratory, proxy: Proxy, cache: str, name: str) -> Row:
    match cache:
        case "local":
            return local_row(laboratory, next(fault for fault in LOCAL if fault.name == name))
        case "registry, read":
            return reading_row(laboratory, proxy, next(fault for fault in READING if fault.name == name))
        case _:
            return writing_row(laboratory, proxy, next(fault for fault in WRITING if fault.name == name))


@pytest.mark.soak  # Buildx alone, but for each row's second half, which the other tests of these faults show
@pytest.mark.parametrize(
    ("cache", "name"),
    [
        ("local", "middle layer absent"),
        ("local", "last layer bit-flipped"),
        ("registry, read", "lost blob: middle layer"),
        ("registry, written", "403 for uploads"),
    ],
)
def test_the_docs_table_is_what_plain_buildx_does(laboratory: Laboratory, proxy: Proxy, cache: str, name: str) -> None:
    document = PROJECT / "buildx_cache" / "docs" / "damaged-caches.md"
    written = document.read_text()

    line = table([row_of(laboratory, proxy, cache, name).cells]).splitlines()[-1]

    assert line in written
