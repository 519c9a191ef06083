"""A value as other programs quote it: in a URL, in JSON, in HTML, in a shell's trace.

Each program leaves other characters as they are. So a pattern takes each one by itself, in whatever way it is written.
No pattern has two ways to match the same text, so that none takes long: neither values nor texts are trusted.
"""

from __future__ import annotations

import html
import re

from buildx_cache.formatting import printable

_UNIT = re.compile(r"(?P<slashes>\\*)(?P<sign>[^\\]?)", re.DOTALL)
_PLAIN = re.compile("[A-Za-z0-9]+")
_ESCAPES = {"\b": "b", "\t": "t", "\n": "n", "\f": "f", "\r": "r"}
_ENTITIES = {'"': "quot", "'": "apos", **{sign: html.escape(sign)[1:-1] for sign in "&<>"}}

WIDEST = 16
"""Characters that one of a value takes at most: two escapes of JSON, within JSON."""


def anchor(value: str) -> str:
    """Return what stands in each spelling of a value: its longest run of letters and digits."""
    return max(_PLAIN.findall(value), key=len, default="")


def is_plain(value: str) -> bool:
    """Tell whether a value is letters and digits alone, which nothing quotes."""
    return _PLAIN.fullmatch(value) is not None


def quoted(value: str) -> re.Pattern[str]:
    """Make the pattern of a value's spellings in printable text."""
    return re.compile("".join(_unit(unit["slashes"], unit["sign"]) for unit in _UNIT.finditer(value)))


def _unit(slashes: str, sign: str) -> str:
    r"""A sign and the backslashes before it, each written as up to four; ``"`` may be ``\"`` or ``\\\"``."""
    if not slashes and (not sign or is_plain(sign)):
        return sign
    count = len(slashes)
    before = rf"\\{{{count},{4 * count + 3}}}"
    if slashes:
        before = rf"(?:{before}|(?:%5[cC]|\\{{1,4}}u005[cC]){{{count}}})"
    if sign == "'":  # the shells' way to quote it, which may be taken for the next ones of a value
        return rf"""(?>{before}(?:{_ways(sign)}|'(?:\\''|"'"')?))"""
    raw = re.escape(printable(sign))
    return f"{before}(?:{_ways(sign)}|{raw})" if raw else f"(?:{before}(?:{_ways(sign)}))?"


def _ways(sign: str) -> str:
    """How a sign is written, but for the sign itself."""
    data = sign.encode("utf-8", "surrogateescape")
    units = re.findall("....", sign.encode("utf-16-be", "surrogatepass").hex())
    ways = ["".join(f"%{_hex(f'{byte:02x}')}" for byte in data), r"\\{1,4}".join(f"u{_hex(unit)}" for unit in units)]
    if sign:
        name = f"{_ENTITIES[sign]}|" if sign in _ENTITIES else ""
        ways.append(f"&(?:{name}#0?{ord(sign)}|#x0?{_hex(f'{ord(sign):x}')});")
    if sign in _ESCAPES:
        ways.append(_ESCAPES[sign])
    if sign == " ":
        ways.append(r"\+")
    return "|".join(ways)


def _hex(digits: str) -> str:
    """Write hexadecimal digits so that they match in upper and lower case."""
    return re.sub("[a-f]", lambda digit: f"[{digit[0]}{digit[0].upper()}]", digits)
