"""Lines of a CI's own file that make builds slow or change them unasked, found by a look at its text."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

_SHOWN = 10
"""Lines that are named of one kind."""


@dataclass(frozen=True, kw_only=True)
class Pitfall:
    """One kind of such a line."""

    name: str
    pattern: str
    """The pattern of the lines, from the beginning of a line."""
    unless: str = ""
    """What in the text that is found makes it harmless."""
    since: int = 0
    """The first major version of Docker with which it does harm."""
    problem: str
    advice: str
    """What to do about it; the place follows."""


@dataclass(frozen=True, kw_only=True)
class Hit:
    """A pitfall and the lines where it is."""

    pitfall: Pitfall
    lines: tuple[int, ...]


CIRCLECI = (
    # CircleCI's "Docker layer caching overview", known issues.
    Pitfall(
        name="layer cache",
        pattern=r"^[^#\n]*\bdocker_layer_caching\s*:\s*['\"]?true\b",
        since=29,
        problem="docker_layer_caching does not work with Docker 29, and each job pays for it",
        advice="delete docker_layer_caching: the cache of this program takes its place",
    ),
    # CircleCI's "remote Docker images support policy".
    Pitfall(
        name="remote engine",
        pattern=r"^(?P<margin> *)- +setup_remote_docker\b[^\n]*(?:\n(?P=margin) +[^\n]*)*",
        unless=r"\bversion\s*:",
        problem="setup_remote_docker names no version: its Docker changes whenever CircleCI's default does",
        advice="write `setup_remote_docker: {version: docker29}`, or `default` to have it so",
    ),
)


def hits(text: str, pitfalls: Sequence[Pitfall], docker: int) -> Iterator[Hit]:
    """Yield what is in the text of a CI's file; ``docker`` is the engine's major version, 0 if unknown."""
    for pitfall in pitfalls:
        lines = tuple(islice(_lines(text, pitfall), _SHOWN)) if docker >= pitfall.since else ()
        if lines:
            yield Hit(pitfall=pitfall, lines=lines)


def _lines(text: str, pitfall: Pitfall) -> Iterator[int]:
    for match in re.finditer(pitfall.pattern, text, re.MULTILINE):
        if not (pitfall.unless and re.search(pitfall.unless, match[0])):
            yield text.count("\n", 0, match.start()) + 1
