"""Buildx' syntax of a cache entry: ``KEY=VALUE`` fields in one CSV record."""

from __future__ import annotations

import csv
import difflib
import re
from collections.abc import Sequence

from buildx_cache.errors import UsageError

# As alike as `ignore-errors` and `ignore-error`, or `dst` and `dest`.
_LIKELY = 0.75


def to_csv(fields: Sequence[str]) -> str:
    """Join ``key=value`` fields as one CSV record, quoted where a value needs it: Buildx' own syntax.

    Not by ``csv.writer``, which before Python 3.13 leaves a field with a line break unquoted.
    """
    return ",".join(map(_quoted, fields))


def _quoted(field: str) -> str:
    return '"' + field.replace('"', '""') + '"' if re.search(r'[",\r\n]', field) else field


def from_csv(text: str, *, option: str) -> tuple[tuple[str, str], ...]:
    """Split one CSV record into ``(key, value)`` pairs; a field without ``=`` has an empty value.

    Raises:
        UsageError: the record's quotes are wrong.
    """
    try:
        rows = list(csv.reader([text], strict=True))
    except csv.Error as error:
        raise UsageError(
            f"{option} {text!r} is not a list of KEY=VALUE: {error}",
            hint='quote a whole field that holds a comma: type=local,"src=a,b"',
        ) from None
    pairs = (field.partition("=") for row in rows for field in row)
    return tuple((key.strip(), value) for key, _, value in pairs)


def closest(word: str, words: Sequence[str]) -> str:
    """Name the nearest right word in a hint, or all of them."""
    near = difflib.get_close_matches(word, words, n=1, cutoff=0.5)
    return f"did you mean {str(near[0])!r}?" if near else "use one of: " + ", ".join(words)


def is_misspelling(word: str, words: Sequence[str]) -> bool:
    """Tell whether ``word`` is likely one of ``words`` mistyped, and not a word that is missing among them."""
    return bool(difflib.get_close_matches(word, words, n=1, cutoff=_LIKELY))
