r"""Match many patterns of a ``.dockerignore`` against a path at once, in time linear in the path.

moby/patternmatcher (``Pattern.compile``) rewrites a pattern as a regular expression of Go's ``regexp``, which never
backtracks. This module turns the rewritten patterns into one automaton whose states are the bits of one integer
(Shift-And): a character costs a few operations on that integer, for any patterns.

These are not supported, and a pattern with one of them matches nothing: ``{2}``, which patternmatcher does not escape,
and ``\b``, ``\B``, ``\z``, ``\p``, ``\P``, ``\Q``, ``\x`` and octal escapes. Go refuses all other escaped letters and
digits, and Docker then fails the build.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator
from typing import NamedTuple

STATES = 1 << 19
"""The largest number of states of an automaton; a character of a pattern is one state, ``**`` is two."""

SETS = 700
"""The largest number of different brackets (``[a-z]``)."""

_KEPT = 1 << 28  # the limit of bits in stored masks
_WATCHED = 1 << 12  # the number of states from which a character takes so long that the clock is checked

# A pattern's program is a string in which each character is a state: a character to match, or one of these codes. The
# codes are surrogates, which no decoded text has.
_NAME = "\ud800"  # `[^/]*`
_REST = "\ud801"  # anything
_LINE = "\ud802"  # `.*`, which matches no newline
_MARK = "\ud803"  # `[^/]`
_GROUP, _INSIDE = "\ud804", "\ud805"  # `(.*/)?`: its begin, and its `.*/`
_START = "\ud806"  # `^`
_OR = "\ud807"  # `|`
_ACCEPT = "\ud808"
_ONE, _MANY = 0xD900, 0xDC00  # the first code for brackets, and for brackets with a `*`
_UNDECODED = range(0xDC80, 0xDD00)  # Python's codes for bytes of a path that are no UTF-8; Go's regexp reads U+FFFD

# Codes at the start of a program that can match nothing: the program begins in each of their states and in the next.
_EMPTY = re.compile(f"[{_NAME}{_REST}{_LINE}{_GROUP}{_INSIDE}{_START}{chr(_MANY)}-\udfff]*+")

_CODES = {"(.*/)?": _GROUP + _INSIDE, ".*": _LINE, "[^/]*": _NAME, "[^/]": _MARK, "^": _START, "|": _OR}
_WORDS = {"d": ((48, 57),), "s": ((9, 10), (12, 13), (32, 32)), "w": ((48, 57), (65, 90), (95, 95), (97, 122))}
_CONTROL = {"a": "\a", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_POSIX = {
    "alnum": ((48, 57), (65, 90), (97, 122)),
    "alpha": ((65, 90), (97, 122)),
    "ascii": ((0, 127),),
    "blank": ((9, 9), (32, 32)),
    "cntrl": ((0, 31), (127, 127)),
    "digit": ((48, 57),),
    "graph": ((33, 126),),
    "lower": ((97, 122),),
    "print": ((32, 126),),
    "punct": ((33, 47), (58, 64), (91, 96), (123, 126)),
    "space": ((9, 13), (32, 32)),
    "upper": ((65, 90),),
    "word": _WORDS["w"],
    "xdigit": ((48, 57), (65, 70), (97, 102)),
}
_LAST = 0x10FFFF


class TooComplexError(Exception):
    """The patterns need more states or brackets than the limits allow."""


class _NeverError(Exception):
    """Go's regexp refuses the expression, or this module does not support it: the pattern matches nothing."""


class _Characters(NamedTuple):
    """A set of characters, by ranges of code points."""

    ranges: tuple[tuple[int, int], ...]
    is_negated: bool = False

    def holds(self, point: int) -> bool:
        return any(low <= point <= high for low, high in self.ranges) is not self.is_negated


# The tokens of a pattern in patternmatcher, which should escape `|{}`, too, but does not.
# Repeated `**` counts once: `(.*/)?(.*/)?` means the same as `(.*/)?`.
_STARS = re.compile(r"(?:\*\*/?)+")
_TOKEN = re.compile(
    r"(?P<stars>(?:\*\*/?)+)|(?P<wild>[*?])|(?P<special>[.+()$])|(?P<escape>\\.)|[^*?.+()$\\]+|\\", re.DOTALL
)
_EXPRESSION = {"*": "[^/]*", "?": "[^/]"}


def _expression(pattern: str) -> str:
    """Return the regular expression into which patternmatcher turns a pattern, in Go's syntax."""
    parts = []
    for token in _TOKEN.finditer(pattern):
        text = token[0]
        if token["stars"]:
            text = "(.*/)?" if token.end() < len(pattern) else ".*"
        elif token["wild"]:
            text = _EXPRESSION[text]
        elif token["special"]:
            text = f"\\{text}"
        parts.append(text)
    return "".join(parts)


_PART = re.compile(
    r"(?P<fixed>\(\.\*/\)\?|\.\*|\[\^/\]\*?|[\^|])|(?P<bracket>\[)|(?P<escape>\\.)"
    r"|(?P<repeat>\{(?:0|[1-9]\d*+)(?:,(?:0|[1-9]\d*+)?)?\})|(?P<text>\{?[^\\\[(.^|{]++|\{)",
    re.DOTALL | re.ASCII,
)
_BEYOND_STARS = re.compile(r"[\[\]\\|^{]")


class Programs:
    """Compile patterns to programs, and number their brackets."""

    def __init__(self) -> None:
        """Start without brackets."""
        self.ones: dict[_Characters, str] = {}
        self.many: dict[_Characters, str] = {}

    def prefix(self, text: str) -> str:
        """Return the program for every path that begins with the text."""
        return text + _REST

    def suffix(self, text: str) -> str:
        """Return the program for every path that ends with the text."""
        return _REST + text

    def alternatives(self, pattern: str) -> tuple[str, ...]:
        """Return the programs of a pattern, one of which a path must match; none if no path can match.

        Raises:
            TooComplexError: there are more brackets than :data:`SETS`.
        """
        pattern = pattern.removeprefix("\ufeff")  # as in patternmatcher's scanner
        if not _BEYOND_STARS.search(pattern):
            plain = _STARS.sub(lambda run: _GROUP + _INSIDE if run.end() < len(pattern) else _LINE, pattern)
            return (plain.replace("*", _NAME).replace("?", _MARK),)
        try:
            program = "".join(self._parsed(_expression(pattern)))
        except _NeverError:
            return ()
        # `|` binds weaker than `^` and `$`: only the first alternative is anchored at the start, the last at the end.
        return tuple(program.replace(_OR, f"{_REST}{_OR}{_REST}").split(_OR))

    def _parsed(self, text: str) -> Iterator[str]:
        at, last_name = 0, text.rfind(":]")
        while at < len(text):
            part = _PART.match(text, at)
            if part is None or part["repeat"]:
                raise _NeverError
            at = part.end()
            if part["bracket"]:
                found, at = _class(text, at, last_name)
                is_star = text.startswith("*", at)
                yield _numbered(self.many, found, _MANY) if is_star else _numbered(self.ones, found, _ONE)
                at += is_star
            elif part["escape"]:
                yield self._escape(part["escape"])
            else:
                yield _CODES[part[0]] if part["fixed"] else part[0]

    def _escape(self, escape: str) -> str:
        if escape == r"\A":
            return _START
        ranges = _escaped(escape)
        low, high = ranges[0]
        return chr(low) if low == high else _numbered(self.ones, _Characters(ranges), _ONE)


def _numbered(known: dict[_Characters, str], characters: _Characters, first: int) -> str:
    if characters not in known and len(known) == SETS:
        raise TooComplexError
    return known.setdefault(characters, chr(first + len(known)))


def _escaped(escape: str) -> tuple[tuple[int, int], ...]:
    """Return the ranges of an escape."""
    letter = escape[1:]
    if letter in _CONTROL:
        letter = _CONTROL[letter]
    elif letter and letter.lower() in _WORDS:
        ranges = _WORDS[letter.lower()]
        return ranges if letter in _WORDS else tuple(_complement(ranges))
    elif not letter or letter.isalnum() or not letter.isascii():
        raise _NeverError
    return ((ord(letter), ord(letter)),)


def _complement(ranges: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    begin = 0
    for low, high in ranges:
        if begin < low:
            yield begin, low - 1
        begin = high + 1
    yield begin, _LAST


def _class(text: str, at: int, last_name: int) -> tuple[_Characters, int]:
    """Parse a bracket, from the position after its ``[`` (``parseClass`` in Go); return its set and its end.

    ``last_name`` is the position of the last ``:]`` in the text: a search in each bracket would take quadratic time.
    """
    is_negated = text.startswith("^", at)
    at += is_negated
    ranges: list[tuple[int, int]] = []
    first = at
    while at == first or not text.startswith("]", at):
        if at >= len(text):
            raise _NeverError
        found, at = (_named(text, at) if at < last_name else None) or _range(text, at)
        ranges.extend(found)
    return _Characters(tuple(ranges), is_negated), at + 1


def _named(text: str, at: int) -> tuple[Iterable[tuple[int, int]], int] | None:
    """Parse ``[:alpha:]`` or ``[:^alpha:]``; None if there is no such name at this position."""
    if not text.startswith("[:", at) or (end := text.find(":]", at + 2)) < 0:
        return None
    name = text[at + 2 : end]
    ranges = _POSIX.get(name.removeprefix("^"))
    if ranges is None:
        raise _NeverError
    return (_complement(ranges) if name.startswith("^") else ranges), end + 2


def _range(text: str, at: int) -> tuple[Iterable[tuple[int, int]], int]:
    """Parse ``a``, ``a-z`` or an escape."""
    if text[at] == "\\" and text[at + 1 : at + 2].lower() in _WORDS:
        return _escaped(text[at : at + 2]), at + 2
    low, at = _point(text, at)
    high = low
    if text.startswith("-", at) and not text.startswith("]", at + 1) and at + 1 < len(text):
        high, at = _point(text, at + 1)
    if high < low:
        raise _NeverError
    return ((low, high),), at


def _point(text: str, at: int) -> tuple[int, int]:
    if text[at] != "\\":
        return ord(text[at]), at + 1
    found = _escaped(text[at : at + 2])
    if len(found) != 1:
        raise _NeverError
    return found[0][0], at + 2


class Automaton:
    """One automaton for many patterns; each state is a bit of an integer, the first pattern has the lowest bits.

    A matched character moves a bit up by one. An item that matches any number of characters keeps its bit. Without a
    character, bits pass on from a star (one up) and from the start of a group (one and two up).
    """

    def __init__(self, numbered: Iterable[tuple[int, str]], programs: Programs) -> None:
        """Combine the programs of patterns, each with its pattern's number.

        Raises:
            TooComplexError: there are more states than :data:`STATES`.
        """
        parts: list[str] = []
        begins: list[int] = []
        self._numbers: dict[int, int] = {}
        size = 0
        for number, program in numbered:
            begins += range(size, size + 1 + _empty(program))
            size += len(program)
            self._numbers[size] = number
            size += 1
            parts += (program, _ACCEPT)
            if size > STATES:
                raise TooComplexError
        self._program, self._size, self._programs = "".join(parts), size, programs
        self._accept, self._group, self._star = (
            self._mask(_ACCEPT),
            self._mask(_GROUP),
            self._mask(_NAME, _REST, _LINE, *programs.many.values()),
        )
        self._name, self._mark, self._rest = self._mask(_NAME), self._mask(_MARK), self._mask(_REST)
        self._line, self._inside = self._mask(_LINE), self._mask(_INSIDE)
        self._masks: dict[str, tuple[int, int]] = {}
        self.begin = self._bits(begins)

    def advance(self, bits: int, text: str, until: float) -> int:
        """Return the states to which the text leads from the states in ``bits``.

        Raises:
            TimeoutError: ``time.monotonic()`` is past ``until``.
        """
        for character in text:
            if not bits:
                return 0
            if self._size > _WATCHED and time.monotonic() > until:
                raise TimeoutError
            step, loop = self._masks.get(character) or self._make_masks(character)
            bits = ((bits & step) << 1) | (bits & loop)
            before = -1
            while bits != before:  # a few rounds: adjacent `*` and `**` are one or two items
                before, star, group = bits, bits & self._star, bits & self._group
                bits |= (star << 1) | (group << 1) | (group << 2)
        return bits

    def accepts(self, bits: int) -> bool:
        """Return True if a pattern matches the text that led to ``bits``."""
        return bool(bits & self._accept)

    def matched(self, bits: int) -> Iterator[int]:
        """Yield the numbers of the patterns that match the text that led to ``bits``, in ascending order."""
        if accepted := bits & self._accept:
            for one in re.finditer("1", f"{accepted:b}"[::-1]):
                yield self._numbers[one.start()]

    def _make_masks(self, character: str) -> tuple[int, int]:
        """Return the masks of the states that the character moves up, and of those that it keeps."""
        point = 0xFFFD if ord(character) in _UNDECODED else ord(character)
        ones = (code for characters, code in self._programs.ones.items() if characters.holds(point))
        many = (code for characters, code in self._programs.many.items() if characters.holds(point))
        step, loop = self._mask(chr(point), *ones), self._mask(*many) | self._rest
        if character == "/":
            step |= self._inside
        else:
            step, loop = step | self._mark, loop | self._name
        if character != "\n":
            loop |= self._line | self._inside
        if len(self._masks) * self._size > _KEPT:
            self._masks.clear()
        self._masks[character] = step, loop
        return step, loop

    def _mask(self, *codes: str) -> int:
        if not codes:
            return 0
        states = re.compile(f"[{''.join(map(re.escape, codes))}]")
        return self._bits(found.start() for found in states.finditer(self._program))

    def _bits(self, positions: Iterable[int]) -> int:
        found = bytearray(self._size // 8 + 1)
        for each in positions:
            found[each >> 3] |= 1 << (each & 7)
        return int.from_bytes(found, "little")


def _empty(program: str) -> int:
    """Return the number of codes at the start of a program that can match nothing."""
    found = _EMPTY.match(program)
    return found.end() if found else 0
