"""Words, figures and digests as people read them."""

from __future__ import annotations

import re

# ECMA-48's sequences, begun by ESC or a C1 control: CSI; OSC, DCS, SOS, PM and APC with their text, to the end of the
# line at most where nothing ends it; all others.
_SEQUENCE = (
    r"(?:\x1b\[|\x9b)[0-?]*+[ -/]*+[@-~]"
    r"|(?:\x1b[]PX^_]|[\x90\x98\x9d-\x9f])[^\n\x07\x1b\x9c]*+(?:\x07|\x1b\\|\x9c)?"
    r"|\x1b[ -/]*+[0-Z\\-~]"
)
# C0 and C1 controls but tab and line feed; bidirectional controls; line and paragraph separators; and what is not shown
# at all: Unicode's Default_Ignorable_Code_Point (zero width, variation selectors, soft hyphen, tags), interlinear
# annotation, noncharacters. A word split by one of these looks whole, or becomes whole where a reader drops them.
_UNSEEN = (
    r"\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\u00ad\u034f\u115f\u1160\u17b4\u17b5"
    r"\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\ufff0-\ufffb\ufdd0-\ufdef\ufffe\uffff"
    r"\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
_ASCII_CONTROLS = bytes({*range(0x20), 0x7F} - {*b"\t\n"})
_NOT_PRINTABLE = re.compile(f"{_SEQUENCE}|[{_UNSEEN}]")
_LINE_BREAKS = re.compile(r"(?<!\s)\s*[\r\n]\s*+")  # from where white space begins: it can be a megabyte
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


MESSAGE_LIMIT = 4096
"""Characters of an error that are kept. Patterns are searched in it, some in quadratic time."""


def bounded(text: str) -> str:
    """Cut the middle out of an error that is too long: what failed stands first, why it failed last."""
    half = MESSAGE_LIMIT // 2
    return text if len(text) <= MESSAGE_LIMIT else f"{text[:half]} [...] {text[-half:]}"


def printable(text: str) -> str:
    """Remove terminal control sequences and all other invisible characters: a build's log may hold any.

    Call this before searching a text for secrets: such characters can split one.
    """
    if text.isascii() and len(text.encode().translate(None, _ASCII_CONTROLS)) == len(text):
        return text  # as nearly every text, told twenty times as fast
    return _NOT_PRINTABLE.sub("", text)


def is_printable(text: str) -> bool:
    """Tell whether a text is one line without invisible characters."""
    return text.isprintable() and printable(text) == text


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
