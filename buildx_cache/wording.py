"""Words, figures and digests as people read them."""

from __future__ import annotations

import re

# Everything a terminal could take for a command: C0 and C1 controls, but for the tab. And what shows text in another
# order than it is in: the marks, embeddings and isolates of bidirectional text.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_LINE_BREAKS = re.compile(r"(?<!\s)\s*[\r\n]\s*")  # tried once for each run of spaces
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_ESCAPE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])")


def printable(text: str) -> str:
    """``text`` without terminal control sequences: a build's log may say anything."""
    return _CONTROL.sub("", _ESCAPE.sub("", text))


def duration(seconds: float) -> str:
    """``3.4s``, or ``2m 05s`` from a minute on."""
    if round(seconds, 1) < 60:  # noqa: PLR2004 -- seconds in a minute
        return f"{max(seconds, 0.0):.1f}s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}m {rest:02d}s"


def size(count: int) -> str:
    """Bytes in binary units with one decimal: ``1.5 MiB``."""
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:  # noqa: PLR2004 -- a binary unit
            return f"{value:.0f} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


def short_digest(digest: str) -> str:
    """A digest's algorithm and first 12 digits."""
    algorithm, _, digits = digest.partition(":")
    return f"{algorithm}:{digits[:12]}"


def with_short_digests(text: str) -> str:
    """``text`` with every digest in it shortened."""
    return _DIGEST.sub(lambda digest: short_digest(digest[0]), text)


def as_message(text: str) -> str:
    """A message as people read it: on one line, digests shortened."""
    return with_short_digests(_LINE_BREAKS.sub(" ", text))


def age(seconds: float) -> str:
    """How long ago, in the largest whole unit: ``40s``, ``5m``, ``3h``, ``12d``."""
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= length:
            return f"{int(seconds // length)}{unit}"
    return f"{max(int(seconds), 0)}s"


def counted(count: int, noun: str) -> str:
    """``1 blob``, ``2 blobs``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
