"""Parse ``.dockerignore`` and decide which paths of a build context it excludes, as Docker does.

Lines are parsed like moby/patternmatcher's ``ignorefile``, patterns like its ``New``. Paths are excluded as in Buildx'
walk of the context (fsutil's ``filterFS`` with ``MatchesUsingParentResults``): a pattern that matches a folder counts
for everything in it, unless the pattern changed nothing for the folder.

No library implements these patterns: pathspec implements gitignore's, docker-py ``fnmatch``'s, both with Python's
``re``, which takes exponential time for ``*a*a*a*a*b``.

The time is linear in the length of the path, see :mod:`buildx_cache.request.globs`. The limits are :data:`LONGEST`,
Docker's own limit on a line, and the automaton's; a file that exceeds a limit is not used at all.
"""

from __future__ import annotations

import codecs
import errno
import math
import posixpath
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from buildx_cache.request.globs import Automaton, Programs, TooComplexError
from buildx_cache.request.probe import read_inside

LONGEST = 2 * 1024 * 1024
"""The size of the largest file that is read, in bytes."""

_LINE = 64 * 1024  # bufio.MaxScanTokenSize: with a longer line Docker fails the build
# The spaces of Go's unicode.IsSpace; Python's strip() would also strip \x1c to \x1f.
_SPACE = "".join(
    map(chr, (*range(9, 14), 32, 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F, 0x205F, 0x3000))
)
_UNDECODED = re.compile("[\udc80-\udcff]")
_CHARACTER = r"(?:[^\\\]-]|\\.)"
# A part of a pattern, up to the next `*`, that Go's filepath.Match accepts; Docker fails the build over any other.
_VALID = re.compile(rf"(?:[^\\\[]|\\.|\[\^?+(?:{_CHARACTER}(?:-{_CHARACTER})?+)++\])*+", re.DOTALL)
_PART = re.compile(r"\**+(?P<text>(?:\\.?+|\[(?:\\.|[^\]\\])*+\]?+|[^*\\\[])*+)", re.DOTALL)
_DOT = frozenset({".", "?", "\\."})
_WILD = re.compile(r"[*?\\\[\]]")
_ONE_STARS = re.compile(r"(?P<before>[^*?\\\[\]]*+)\*\*(?P<after>[^*?\\\[\]]*+)")


@dataclass(frozen=True, kw_only=True)
class Pattern:
    """A cleaned pattern of the file; ``is_exception`` if its line begins with ``!``, which includes paths again."""

    text: str
    is_exception: bool = False


@dataclass(frozen=True, slots=True)
class MatchState:
    """A path of the build context, and the state of matching at that path."""

    path: str = ""
    is_ignored: bool = False
    matched: tuple[int, ...] = ()
    states: int = 0


class DockerIgnore:
    """The paths that a list of patterns excludes."""

    def __init__(self, patterns: Sequence[Pattern]) -> None:
        """Prepare the patterns.

        Raises:
            TooComplexError: the patterns exceed the limits of the automaton.
        """
        self._exceptions = [each.is_exception for each in patterns]
        self._exact: defaultdict[str, list[int]] = defaultdict(list)
        self._tails: defaultdict[str, list[int]] = defaultdict(list)
        programs = Programs()
        self._automaton = Automaton(self._beyond_lookup(patterns, programs), programs)
        self._tail_lengths = sorted({tail.count("/") + 1 for tail in self._tails})
        self.has_exceptions = True in self._exceptions
        self.top = MatchState(states=self._automaton.begin)

    def _beyond_lookup(self, patterns: Sequence[Pattern], programs: Programs) -> Iterator[tuple[int, str]]:
        """Store simple patterns for look-up, and yield programs for the others (``compile`` in patternmatcher)."""
        for number, pattern in enumerate(patterns):
            text = pattern.text
            stars = _ONE_STARS.fullmatch(text)
            if not _WILD.search(text):
                self._exact[text].append(number)
            elif stars and not stars["before"]:
                rest = text[2:]
                if rest.startswith("/"):
                    self._tails[rest[1:]].append(number)
                else:
                    yield number, programs.suffix(rest)
            elif stars and not stars["after"]:
                yield number, programs.prefix(stars["before"])
            else:
                yield from ((number, program) for program in programs.alternatives(text))

    def below(self, place: MatchState, name: str, until: float = math.inf) -> MatchState:
        """Return the entry ``name`` of the folder at ``place``.

        Raises:
            TimeoutError: ``time.monotonic()`` is past ``until``.
        """
        path = f"{place.path}/{name}" if place.path else name
        if place.is_ignored and not self.has_exceptions:
            return MatchState(path, is_ignored=True)
        states = self._automaton.advance(place.states, f"/{name}" if place.path else name, until)
        if not self.has_exceptions:
            is_ignored = self._automaton.accepts(states) or next(self._looked_up(path, name), None) is not None
            return MatchState(path, is_ignored=is_ignored, states=states)
        is_ignored, matched = self._decided({*self._looked_up(path, name), *self._automaton.matched(states)}, place)
        return MatchState(path, is_ignored=is_ignored, matched=matched, states=states)

    def _looked_up(self, path: str, name: str) -> Iterator[int]:
        yield from self._exact.get(path, ())
        if self._tail_lengths == [1]:
            yield from self._tails.get(name, ())
            return
        parts = path.split("/")
        for length in self._tail_lengths:
            if length > len(parts):
                return
            yield from self._tails.get("/".join(parts[-length:]), ())

    def _decided(self, own: set[int], folder: MatchState) -> tuple[bool, tuple[int, ...]]:
        """Return whether a path is excluded, and the patterns that count for the entries in it.

        A pattern that matched the folder always counts. Another pattern counts only if it changes the result for this
        path; if it does not, it counts later only for entries that it matches itself.
        """
        is_ignored, counting, of_folder = False, [], set(folder.matched)
        for number in sorted(own | of_folder):
            is_exception = self._exceptions[number]
            if number in of_folder or is_exception is is_ignored:
                counting.append(number)
                is_ignored = not is_exception
        return is_ignored, tuple(counting)

    def is_ignored(self, path: str, until: float = math.inf) -> bool:
        """Return True if the path, relative to the build context, is excluded.

        Raises:
            TimeoutError: ``time.monotonic()`` is past ``until``.
        """
        place = self.top
        for name in filter(None, path.split("/")):
            place = self.below(place, name, until)
        return place.is_ignored


def load_dockerignore(file: Path, root: Path) -> DockerIgnore:
    """Read and parse the file; links are resolved inside of ``root``, as BuildKit does.

    A file that is absent, no regular file or not readable excludes nothing, as for Docker.

    Raises:
        TooComplexError: the file exceeds the limits.
    """
    try:
        content = read_inside(root, file, LONGEST)
    except OSError as error:
        if error.errno == errno.EFBIG:
            raise TooComplexError from None
        content = b""
    return DockerIgnore(parse_dockerignore(content))


def parse_dockerignore(content: bytes) -> tuple[Pattern, ...]:
    """Return the patterns in a file's content, without invalid patterns, over which Docker fails the build.

    Raises:
        TooComplexError: a line is longer than Docker's limit.
    """
    return tuple(found for text in _lines(content) if (found := _pattern(text)))


def _lines(content: bytes) -> Iterator[str]:
    """Yield the cleaned lines, like ``ignorefile.ReadAll``."""
    text = _UNDECODED.sub("\ufffd", content.removeprefix(codecs.BOM_UTF8).decode("utf-8", "surrogateescape"))
    for line in text.split("\n"):
        if len(line) >= _LINE:
            raise TooComplexError
        pattern = line.strip(_SPACE)
        if not pattern or line.startswith("#"):
            continue
        sign = "!" if pattern.startswith("!") else ""
        pattern = pattern.removeprefix(sign).strip(_SPACE)
        cleaned = _clean(pattern) if pattern else ""
        yield sign + (cleaned[1:] if len(cleaned) > 1 and cleaned.startswith("/") else cleaned)


def _pattern(text: str) -> Pattern | None:
    """Parse a pattern like ``patternmatcher.New``; None if that refuses the pattern."""
    text = _clean(text.strip(_SPACE))
    is_exception = text.startswith("!")
    text = text.removeprefix("!") if is_exception else text
    return Pattern(text=text, is_exception=is_exception) if text and _is_valid(text) else None


def _is_valid(text: str) -> bool:
    """Return True if ``filepath.Match(text, ".")`` accepts the pattern: it checks only as far as it can match."""
    part = _PART.match(text)
    while part and _VALID.fullmatch(part["text"]):
        if part["text"] not in _DOT:
            return True
        part = _PART.match(text, part.end())
    return False


def _clean(path: str) -> str:
    """Clean a path like Go's ``filepath.Clean``, which gives ``//`` at the front no meaning."""
    cleaned = posixpath.normpath(path)
    return cleaned[1:] if cleaned.startswith("//") else cleaned
