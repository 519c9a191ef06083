"""What the self-contained executable takes along, as text; the real one is built and run in ``tests/integration``."""

from __future__ import annotations

from pathlib import Path

import pytest

from docker.executable.build import forget_place

PLACE = "/home/someone/.pyenv/versions/3.13.0/lib"


@pytest.mark.parametrize(("name", "is_changed"), [("libpython3.13.so.1.0", True), ("note.so.txt", False)])
def test_no_library_is_looked_for_where_it_was_built(tmp_path: Path, name: str, *, is_changed: bool) -> None:
    mark = b"\x7fELF" if is_changed else b"text"
    file = tmp_path / name
    file.write_bytes(mark + b"\0libm.so.6\0" + PLACE.encode() + b"\0end")
    size = file.stat().st_size
    forget_place(tmp_path, PLACE)
    content = file.read_bytes()
    assert (PLACE.encode() in content) is not is_changed
    assert (b"\0$ORIGIN\0" in content) is is_changed
    assert (len(content), content.endswith(b"\0end")) == (size, True)
