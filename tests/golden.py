"""Read and update golden files: TOML tables of cases by name, each with the text that it has to come to.

``python -m pytest --update-golden tests/unit/...`` writes the text of today into the files; read the diff.
"""

from __future__ import annotations

import fcntl
import json
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

_FOLDER = Path(__file__).parent / "unit" / "golden"
_WIDTH = 120
_CONTINUED = " \\\n    "

Table = dict[str, dict[str, Any]]


class Golden:
    """Compare results with golden files, or write them there."""

    def __init__(self, *, update: bool) -> None:
        self._update = update

    def check(self, name: str, case: str, found: Mapping[str, object]) -> None:
        """Assert that ``found`` stands in the table ``case`` of the file ``name``, or write it there."""
        if self._update:
            _write(_path(name), case, found)
        else:
            entry = read(name).get(case, {})
            assert {key: entry.get(key) for key in found} == dict(found)

    def check_all(self, name: str, table: Table) -> None:
        """Assert that the file ``name`` holds these cases and no other, or write them there."""
        if self._update:
            _path(name).write_text(dumps(table))
        assert read(name) == table


def read(name: str) -> Table:
    """Read the cases of the golden file ``name``."""
    table: Table = tomllib.loads(_path(name).read_text())
    return table


def names(folder: str) -> list[str]:
    """List the golden files of a folder."""
    return sorted(f"{folder}/{path.stem}" for path in (_FOLDER / folder).glob("*.toml"))


def wrapped(lines: Iterable[str]) -> str:
    """Join lines, each of which goes on after a backslash where it is long; ``unwrapped`` is the way back."""
    return "".join(f"{_wrap(line)}\n" for line in lines)


def unwrapped(text: str) -> list[str]:
    """Split what ``wrapped`` joined."""
    return text.replace(_CONTINUED, " ").splitlines()


def dumps(table: Table) -> str:
    """Write TOML as ``read`` reads it: the standard library has no writer."""
    text = "\n".join(f"[{_key(case)}]\n{''.join(_lines(entry))}" for case, entry in table.items())
    assert tomllib.loads(text) == table
    return text


def _path(name: str) -> Path:
    return _FOLDER / f"{name}.toml"


def _write(path: Path, case: str, found: Mapping[str, object]) -> None:
    """Change one case, one process at a time."""
    with path.open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        table = tomllib.loads(file.read())
        table.setdefault(case, {}).update(found)
        file.truncate(0)
        file.write(dumps(table))


def _lines(entry: Mapping[str, Any], prefix: str = "") -> Iterable[str]:
    for key, value in entry.items():
        if isinstance(value, Mapping) and value:
            yield from _lines(value, f"{prefix}{_key(key)}.")
        elif isinstance(value, str) and "\n" in value and "'''" not in value:
            yield f"{prefix}{_key(key)} = '''\n{value}'''\n"
        else:
            yield f"{prefix}{_key(key)} = {_value(value)}\n"


def _key(name: str) -> str:
    return name if re.fullmatch(r"[\w-]+", name, re.ASCII) else _value(name)


def _value(value: object) -> str:
    """Write a value on one line; strings are written alike in TOML and JSON."""
    return json.dumps(value, ensure_ascii=False)


def _wrap(line: str) -> str:
    """Break a line before options."""
    rows = [""]
    for words in re.split(" (?=-)", line):
        row = f"{rows[-1]} {words}" if rows[-1] else words
        if rows[-1] and len(row) > _WIDTH - len(_CONTINUED):
            rows.append(words)
        else:
            rows[-1] = row
    return _CONTINUED.join(rows)
