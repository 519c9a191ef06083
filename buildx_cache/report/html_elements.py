"""Build HTML and XML elements, and clean and shorten the texts in them.

The standard library's ElementTree writes the elements and escapes every text and attribute.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Sequence
from itertools import accumulate
from xml.etree.ElementTree import Element

from buildx_cache.formatting import printable, with_short_digests

# XML 1.0 forbids these two characters (section 2.2), and others that `printable` removes.
_NO_CHARACTERS = re.compile("[\ufffe\uffff]")

_LINE = 500
"""The most bytes of one line of a log; longer lines are cut."""


def element(tag: str, *children: Element | str, **attributes: str) -> Element:
    """Return an element. In attribute names, ``_`` becomes ``-``; a final ``_`` is removed, as in ``class_``."""
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
    """Remove what HTML and XML cannot hold: control characters, terminal sequences, lone surrogates."""
    return _NO_CHARACTERS.sub("", printable(text)).encode("utf-8", "replace").decode("utf-8")


def breakable(text: str) -> Iterator[Element | str]:
    """Yield the pieces of a reference, with a line break opportunity after each ``/``, ``:`` and ``@``."""
    first, *rest = re.split(r"(?<=[/:@])", text)
    yield first
    for piece in rest:
        yield element("wbr")
        yield piece


def one_line(text: str) -> str:
    """Replace every run of white space, also with line breaks, by one space."""
    return " ".join(plain(text).split())


def step_title(name: str, limit: int) -> str:
    """Return the name of a step on one line, digests shortened, cut to about ``limit`` bytes."""
    return clipped(with_short_digests(one_line(name)), limit)


def clipped(text: str, limit: int) -> str:
    """Cut a text to about ``limit`` bytes in the page."""
    text = plain(text)
    if _size_in_page(text) <= limit:
        return text
    fitting = sum(used <= limit for used in accumulate(map(_size_in_page, text[:limit])))
    return text[:fitting].rstrip() + "…"


def tail(lines: Sequence[str], limit: int, count: int) -> str:
    """Return the last ``lines`` of a log: at most ``count``, and at most ``limit`` bytes in the page."""
    kept: list[str] = []
    for line in reversed(lines[-count:]):
        shown = clipped(line.rstrip(), min(limit, _LINE))
        limit -= _size_in_page(shown) + 1
        if limit < 0 and kept:
            break
        kept.append(shown)
    return "\n".join(reversed(kept))


def _size_in_page(text: str) -> int:
    """Return the bytes of a text in the page."""
    return len(html.escape(text, quote=False).encode())
