"""Elements of a page, and texts that may stand in one.

The standard library's ElementTree writes the elements and escapes every text and attribute.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Sequence
from itertools import accumulate
from xml.etree.ElementTree import Element

from buildx_cache.formatting import printable, with_short_digests

# XML 1.0 allows neither (section 2.2); of the rest that it forbids, a printable text has none.
_NO_CHARACTERS = re.compile("[\ufffe\uffff]")

_LINE = 500
"""Bytes of one line of a log; a longer one is cut."""


def element(tag: str, *children: Element | str, **attributes: str) -> Element:
    """Return an element. In the names of attributes ``_`` stands for ``-``, and one at the end for nothing.

    ``class_``.
    """
    made = Element(tag, {name.rstrip("_").replace("_", "-"): plain(value) for name, value in attributes.items()})
    for child in children:
        if not isinstance(child, str):
            made.append(child)
        elif len(made):
            made[-1].tail = (made[-1].tail or "") + plain(child)
        else:
            made.text = (made.text or "") + plain(child)
    return made


def plain(text: str) -> str:
    """``text`` without what HTML and XML cannot hold: control characters, terminal sequences, lone surrogates."""
    return _NO_CHARACTERS.sub("", printable(text)).encode("utf-8", "replace").decode("utf-8")


def breakable(text: str) -> Iterator[Element | str]:
    """``text``, with places where a narrow screen may break it: in a reference after ``/``, ``:`` and ``@``."""
    first, *rest = re.split(r"(?<=[/:@])", text)
    yield first
    for piece in rest:
        yield element("wbr")
        yield piece


def one_line(text: str) -> str:
    """``text`` with every run of white space, line breaks among it, as one space."""
    return " ".join(plain(text).split())


def step_title(name: str, limit: int) -> str:
    """Return the name of a step on one line, with short digests."""
    return clipped(with_short_digests(one_line(name)), limit)


def clipped(text: str, limit: int) -> str:
    """``text``, cut where it would take more than about ``limit`` bytes of a page."""
    text = plain(text)
    if _weight(text) <= limit:
        return text
    fitting = sum(used <= limit for used in accumulate(map(_weight, text[:limit])))
    return text[:fitting].rstrip() + "…"


def tail(lines: Sequence[str], limit: int, count: int) -> str:
    """Return the last of a log's ``lines``: at most ``count``, and as many as take ``limit`` bytes of a page."""
    kept: list[str] = []
    for line in reversed(lines[-count:]):
        shown = clipped(line.rstrip(), min(limit, _LINE))
        limit -= _weight(shown) + 1
        if limit < 0 and kept:
            break
        kept.append(shown)
    return "\n".join(reversed(kept))


def _weight(text: str) -> int:
    """Bytes that a text takes in a page."""
    return len(html.escape(text, quote=False).encode())
