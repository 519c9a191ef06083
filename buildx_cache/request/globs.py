r"""Match many patterns of a ``.dockerignore`` against a path at once, in time linear in the path.

moby/patternmatcher (``Pattern.compile``) rewrites a pattern as a regular expression of Go's ``regexp``, which never
backtracks. Here the same rewriting becomes the states of one automaton for all patterns, kept as the bits of one
integer (Shift-And): a character costs a few operations on that integer, however the patterns are made.

Not supported, so that such a pattern matches nothing: ``\b``, ``\B``, ``\z``, ``\p``, ``\P``, ``\Q``, ``\x`` and octal
escapes. Go refuses all other escaped letters and digits, and Docker then fails the build.
"""

from __future__ import annotations

import re
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

STATES = 1 << 19
"""The most states of an automaton; a character of a pattern is one, ``**`` two."""

SETS = 20_000
"""The most brackets (``[a-z]``)."""

_LAST = 0x10FFFF
_UNDECODED = range(0xDC80, 0xDD00)  # how Python keeps a byte that is no UTF-8; Go's regexp reads U+FFFD
_KEPT = 1 << 28  # bits of all masks that are kept
_WATCHED = 1 << 12  # states from which on a character takes long enough to look at the clock


class TooComplexError(Exception):
    """The patterns need more states or brackets than are allowed."""


class _NeverError(Exception):
    """Go's regexp refuses the expression, or this module does not support it: the pattern matches nothing."""


class Characters(NamedTuple):
    """A set of characters, by ranges of code points."""

    ranges: tuple[tuple[int, int], ...]
    is_negated: bool = False

    def holds(self, point: int) -> bool:
        """Return True if the code point is in the set."""
        return any(low <= point <= high for low, high in self.ranges) is not self.is_negated


_ANY = Characters((), is_negated=True)
_NOT_NEWLINE = Characters(((10, 10),), is_negated=True)
_NOT_SLASH = Characters(((47, 47),), is_negated=True)


class Item(NamedTuple):
    """A part of an expression: a ``text``, ``one`` character of a set or any number (``star``), ``(.*/)?`` or ``^``."""

    kind: str
    text: str = ""
    characters: Characters = _ANY


_GROUP, _START = Item("group"), Item("start")
_REST = Item("star")
_NAME, _MARK = Item("star", characters=_NOT_SLASH), Item("one", characters=_NOT_SLASH)
_FIXED = {"(.*/)?": _GROUP, ".*": Item("star", characters=_NOT_NEWLINE), "[^/]*": _NAME, "[^/]": _MARK, "^": _START}


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


# How patternmatcher cuts a pattern up. A run of `**` is one: `(.*/)?(.*/)?` means what `(.*/)?` means.
_TOKEN = re.compile(
    r"(?P<stars>(?:\*\*/?)+)|(?P<wild>[*?])|(?P<special>[.+()|{}$])|(?P<escape>\\.)|[^*?.+()|{}$\\]+|\\", re.DOTALL
)
_EXPRESSION = {"*": "[^/]*", "?": "[^/]"}


def expression(pattern: str) -> str:
    """Return the regular expression, of Go's syntax, that patternmatcher makes of a pattern."""
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


def prefix_items(text: str) -> tuple[Item, ...]:
    """Return what matches every path that begins with the text."""
    return (Item("text", text), _REST)


def suffix_items(text: str) -> tuple[Item, ...]:
    """Return what matches every path that ends with the text."""
    return (_REST, Item("text", text))


def expression_items(text: str) -> tuple[Item, ...]:
    """Return the items of an expression; none if it can match nothing."""
    try:
        return tuple(_parsed(text))
    except _NeverError:
        return ()


_PART = re.compile(r"(?P<fixed>\(\.\*/\)\?|\.\*|\[\^/\]\*?|\^)|(?P<bracket>\[)|\\.|(?P<text>[^\\\[(.^]+)", re.DOTALL)


def _parsed(text: str) -> Iterator[Item]:
    at, last_name = 0, text.rfind(":]")
    while part := _PART.match(text, at):
        at = part.end()
        if part["text"]:
            yield Item("text", part[0])
        elif part["fixed"]:
            yield _FIXED[part[0]]
        elif part["bracket"]:
            found, at = _class(text, at, last_name)
            is_star = text.startswith("*", at)
            yield Item("star" if is_star else "one", characters=found)
            at += is_star
        else:
            ranges = _escaped(part[0])
            yield Item("one", characters=Characters(ranges)) if ranges else _START


def _escaped(escape: str, *, in_class: bool = False) -> tuple[tuple[int, int], ...] | None:
    """Return the ranges of an escape; None for the start of the path."""
    letter = escape[1:]
    if letter in _CONTROL:
        letter = _CONTROL[letter]
    elif letter.lower() in _WORDS:
        ranges = _WORDS[letter.lower()]
        return ranges if letter in _WORDS else tuple(_complement(ranges))
    elif letter == "A" and not in_class:
        return None
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


def _class(text: str, at: int, last_name: int) -> tuple[Characters, int]:
    """Read a bracket from behind its ``[`` (``parseClass`` in Go); return the set and where the bracket ends.

    ``last_name`` is where the last ``:]`` of the text is: to look for it in each bracket would take quadratic time.
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
    return Characters(tuple(ranges), is_negated), at + 1


def _named(text: str, at: int) -> tuple[Iterable[tuple[int, int]], int] | None:
    """Read ``[:alpha:]`` or ``[:^alpha:]``."""
    if not text.startswith("[:", at) or (end := text.find(":]", at + 2)) < 0:
        return None
    name = text[at + 2 : end]
    ranges = _POSIX.get(name.removeprefix("^"))
    if ranges is None:
        raise _NeverError
    return (_complement(ranges) if name.startswith("^") else ranges), end + 2


def _range(text: str, at: int) -> tuple[Iterable[tuple[int, int]], int]:
    """Read ``a``, ``a-z`` or an escape."""
    if text[at] == "\\" and text[at + 1 : at + 2].lower() in _WORDS:
        return _escaped(text[at : at + 2], in_class=True) or (), at + 2
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
    found = _escaped(text[at : at + 2], in_class=True) or ()
    if len(found) != 1:
        raise _NeverError
    return found[0][0], at + 2


class Automaton:
    """The states of many patterns; each is a bit of an integer, the lowest bits those of the first pattern.

    Bits move up by one where a character is taken (``step``), stay where an item takes any number of it (``loop``),
    and reach further states without a character behind a ``star`` (one up) and a ``group`` (one and two up).
    """

    def __init__(self, patterns: Iterable[tuple[int, tuple[Item, ...]]]) -> None:
        """Build the states of patterns, each with its number.

        Raises:
            TooComplexError: there are more states or brackets than :data:`STATES` and :data:`SETS`.
        """
        self._size = 0
        self._steps: defaultdict[str, list[int]] = defaultdict(list)
        self._set_steps: defaultdict[Characters, list[int]] = defaultdict(list)
        self._set_loops: defaultdict[Characters, list[int]] = defaultdict(list)
        self._numbers: dict[int, int] = {}
        self._stars: list[int] = []
        self._groups: list[int] = []
        begins: list[int] = []
        for number, items in patterns:
            begins.extend(_begins(items, self._size))
            for item in items:
                self._add(item)
            self._numbers[self._size] = number
            self._size += 1
            if self._size > STATES or len(self._set_steps) + len(self._set_loops) > SETS:
                raise TooComplexError
        self.begin = self._mask(begins)
        self._accept = self._mask(self._numbers)
        self._star = self._mask(self._stars)
        self._group = self._mask(self._groups)
        self._common = [
            (each, self._mask(self._set_steps.pop(each, ())), self._mask(self._set_loops.pop(each, ())))
            for each in (_ANY, _NOT_NEWLINE, _NOT_SLASH)
        ]
        self._masks: dict[str, tuple[int, int]] = {}

    def _add(self, item: Item) -> None:
        kind, text, characters = item
        at = self._size
        self._size += 1
        if kind == "text":
            self._size = at + len(text)
            for place, character in enumerate(text, at):
                self._steps[character].append(place)
        elif kind == "one":
            self._set_steps[characters].append(at)
        elif kind == "star":
            self._set_loops[characters].append(at)
            self._stars.append(at)
        elif kind == "group":
            self._size += 1
            self._groups.append(at)
            self._set_loops[_NOT_NEWLINE].append(at + 1)
            self._steps["/"].append(at + 1)

    def advance(self, bits: int, text: str, until: float) -> int:
        """Return the states that the text leads to from those in ``bits``.

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
            if group := bits & self._group:
                bits |= (group << 1) | (group << 2)
            if star := bits & self._star:
                bits |= star << 1
        return bits

    def accepts(self, bits: int) -> bool:
        """Return True if a pattern matches the text which led to ``bits``."""
        return bool(bits & self._accept)

    def matched(self, bits: int) -> Iterator[int]:
        """Yield the numbers of the patterns that match the text which led to ``bits``, in ascending order."""
        if accepted := bits & self._accept:
            for one in re.finditer("1", f"{accepted:b}"[::-1]):
                yield self._numbers[one.start()]

    def _make_masks(self, character: str) -> tuple[int, int]:
        """Return the states that take the character and those that stay."""
        point = 0xFFFD if ord(character) in _UNDECODED else ord(character)
        step = self._mask((*self._steps.get(chr(point), ()), *_holding(self._set_steps, point)))
        loop = self._mask(_holding(self._set_loops, point))
        for characters, steps, loops in self._common:
            if characters.holds(point):
                step, loop = step | steps, loop | loops
        if len(self._masks) * self._size > _KEPT:
            self._masks.clear()
        self._masks[character] = step, loop
        return step, loop

    def _mask(self, positions: Iterable[int]) -> int:
        found = bytearray(self._size // 8 + 1)
        for each in positions:
            found[each >> 3] |= 1 << (each & 7)
        return int.from_bytes(found, "little")


def _begins(items: Sequence[Item], at: int) -> Iterator[int]:
    """Yield the states in which a pattern begins, of which the first is ``at``."""
    yield at
    for item in items:
        if item.kind in {"one", "text"}:
            return
        if item is _GROUP:
            at += 1
            yield at
        at += 1
        yield at


def _holding(sets: Mapping[Characters, list[int]], point: int) -> Iterator[int]:
    for characters, positions in sets.items():
        if characters.holds(point):
            yield from positions
