"""Format sizes, times and digests for people; quote words for shells; make patterns for values as others quote them."""

from __future__ import annotations

import html
import re
import shlex

# ECMA-48's sequences, which begin with ESC or a C1 control: CSI; OSC, DCS, SOS, PM and APC with their text, up to the
# terminator or the end of the line; all others.
_SEQUENCE = (
    r"(?:\x1b\[|\x9b)[0-?]*+[ -/]*+[@-~]"
    r"|(?:\x1b[]PX^_]|[\x90\x98\x9d-\x9f])[^\n\x07\x1b\x9c]*+(?:\x07|\x1b\\|\x9c)?"
    r"|\x1b[ -/]*+[0-Z\\-~]"
)
# C0 and C1 controls except tab and line feed; bidirectional controls; line and paragraph separators; and invisible
# characters: Unicode's Default_Ignorable_Code_Point (zero width, variation selectors, soft hyphen, tags), interlinear
# annotation, noncharacters. A word split by one of these looks whole, or becomes whole in a program that drops them.
_UNSEEN = (
    r"\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\u00ad\u034f\u115f\u1160\u17b4\u17b5"
    r"\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\ufff0-\ufffb\ufdd0-\ufdef\ufffe\uffff"
    r"\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
_ASCII_CONTROLS = bytes({*range(0x20), 0x7F} - {*b"\t\n"})
_NOT_PRINTABLE = re.compile(f"{_SEQUENCE}|[{_UNSEEN}]")
_LINE_BREAKS = re.compile(r"(?<!\s)\s*[\r\n]\s*+")  # the lookbehind keeps it linear: white space can be a megabyte
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


MESSAGE_LIMIT = 4096
"""The longest error, in characters. Patterns are searched in an error, some in quadratic time."""


def bounded(text: str) -> str:
    """Cut the middle out of an error that is too long: the failed operation comes first, the cause last."""
    half = MESSAGE_LIMIT // 2
    return text if len(text) <= MESSAGE_LIMIT else f"{text[:half]} [...] {text[-half:]}"


def printable(text: str) -> str:
    """Remove terminal control sequences and all other invisible characters: a build's log may hold any.

    Call this before searching a text for secrets: such characters can split one.
    """
    if text.isascii() and len(text.encode().translate(None, _ASCII_CONTROLS)) == len(text):
        return text  # true of nearly every text, and twenty times as fast as the pattern
    return _NOT_PRINTABLE.sub("", text)


def is_printable(text: str) -> bool:
    """Return whether a text is one line without invisible characters."""
    return text.isprintable() and printable(text) == text


# What fish takes for an escape inside of single quotes, where a POSIX shell knows none.
_FISH_ESCAPE = re.compile(r"\\(?:[\\']|\Z)")


def shell_word(word: str) -> str:
    """Quote a word for POSIX shells, zsh and fish: on one line, and without sequences that a terminal would obey."""
    if is_printable(word) and not _FISH_ESCAPE.search(word):
        plain = shlex.quote(word)
        return f"'{plain}'" if plain.startswith("=") else plain  # zsh takes =ls for /bin/ls
    kept = word.rstrip("\n")  # `$(...)` drops line breaks at the end
    return f"\"$(printf '{''.join(map(_octal, kept))}')\"" + "'\n'" * (len(word) - len(kept))


def _octal(character: str) -> str:
    """Return a character, escaped for ``printf``'s first argument in single quotes."""
    if character == "%":
        return "%%"
    # Escaped are what fish reads inside of quotes, a CI's mark of a command (`##`), `-`, which may begin an option, and
    # `!`: in double quotes bash 3.2 replaces it by an earlier line.
    if is_printable(character) and character not in "\\'#-!":
        return character
    return "".join(f"\\{byte:03o}" for byte in character.encode("utf-8", "surrogateescape"))


_PLAIN_COMMENT = re.compile(r"[\w@%+,.:/ -]*", re.ASCII)
_SPECIAL_IN_DOUBLE_QUOTES = re.compile(r'[$`\\!"]')


def shell_comment(text: str) -> str:
    """Quote a text to stand after ``#`` on a shell's line; in double quotes where they suffice: prose has apostrophes.

    Where people type or paste, zsh knows no comments by default: there ``#`` is a command that does not
    exist, and the words after it mean what they mean after any command.
    """
    shown = "".join(character if is_printable(character) else " " for character in text)
    if _PLAIN_COMMENT.fullmatch(shown):
        return shown
    return shlex.quote(shown) if _SPECIAL_IN_DOUBLE_QUOTES.search(shown) else f'"{shown}"'


def duration(seconds: float) -> str:
    """Format a duration: ``3.4s``, or ``2m 05s`` from one minute on."""
    if round(seconds, 1) < 60:  # noqa: PLR2004 -- seconds in a minute
        return f"{max(seconds, 0.0):.1f}s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}m {rest:02d}s"


def size(count: int) -> str:
    """Format bytes in binary units with one decimal: ``1.5 MiB``."""
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:  # noqa: PLR2004 -- a binary unit
            return f"{value:.0f} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


def short_digest(digest: str) -> str:
    """Return a digest's algorithm and first 12 digits."""
    algorithm, _, digits = digest.partition(":")
    return f"{algorithm}:{digits[:12]}"


def with_short_digests(text: str) -> str:
    """Return ``text`` with every digest shortened."""
    return _DIGEST.sub(lambda digest: short_digest(digest[0]), text)


def as_message(text: str) -> str:
    """Return a message on one line, digests shortened."""
    return with_short_digests(_LINE_BREAKS.sub(" ", text))


def as_error(message: str, code: str) -> str:
    """Return an error's message as people read it, with the code by which the troubleshooting page lists it."""
    return f"{as_message(message)} [{code}]"


def age(seconds: float) -> str:
    """Format an age in its largest whole unit: ``40s``, ``5m``, ``3h``, ``12d``."""
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= length:
            return f"{int(seconds // length)}{unit}"
    return f"{max(int(seconds), 0)}s"


def counted(count: int, noun: str) -> str:
    """Format a count with its noun: ``1 blob``, ``2 blobs``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


_UNIT = re.compile(r"(?P<slashes>\\*)(?P<sign>[^\\]?)", re.DOTALL)
_PLAIN = re.compile("[A-Za-z0-9]+")
_ESCAPES = {"\b": "b", "\t": "t", "\n": "n", "\f": "f", "\r": "r", "\x1b": "E"}
_ENTITIES = {'"': "quot", "'": "apos", **{sign: html.escape(sign)[1:-1] for sign in "&<>"}}

WIDEST = 16
"""The longest spelling of one character of a value, in characters: two JSON escapes, escaped in JSON again."""


def anchor(value: str) -> str:
    """Return the longest run of letters and digits of a value, which every spelling of the value contains."""
    return max(_PLAIN.findall(value), key=len, default="")


def is_plain(value: str) -> bool:
    """Return whether a value has only letters and digits, which no encoding quotes."""
    return _PLAIN.fullmatch(value) is not None


def quoted(value: str) -> re.Pattern[str]:
    """Return the pattern of a value's spellings in printable text."""
    return re.compile("".join(_unit(unit["slashes"], unit["sign"]) for unit in _UNIT.finditer(value)))


def _unit(slashes: str, sign: str) -> str:
    r"""Return the pattern of a character and its backslashes, each spelled as one to four: ``"``, ``\"``, ``\\\"``."""
    if not slashes and (not sign or is_plain(sign)):
        return sign
    count = len(slashes)
    before = rf"\\{{{count},{4 * count + 3}}}"
    if slashes:
        before = rf"(?:{before}|(?:%5[cC]|\\{{1,4}}u005[cC]){{{count}}})"
    if sign == "'":  # a shell spells it '\'' or '"'"'; atomic, as the value's next characters could match a part
        return rf"""(?>{before}(?:{_ways(sign)}|'(?:\\''|"'"')?))"""
    raw = re.escape(printable(sign))
    return f"{before}(?:{_ways(sign)}|{raw})" if raw else f"(?:{before}(?:{_ways(sign)}))?"


def _ways(sign: str) -> str:
    """Return the pattern of a character's other spellings: percent-encoded, escaped, or as an HTML entity."""
    data = sign.encode("utf-8", "surrogateescape")
    units = re.findall("....", sign.encode("utf-16-be", "surrogatepass").hex())
    ways = ["".join(f"%{_hex(f'{byte:02x}')}" for byte in data), r"\\{1,4}".join(f"u{_hex(unit)}" for unit in units)]
    if sign:
        name = f"{_ENTITIES[sign]}|" if sign in _ENTITIES else ""
        ways.append(f"&(?:{name}#0?{ord(sign)}|#x0?{_hex(f'{ord(sign):x}')});")
    if not (sign.isascii() and sign.isprintable()):  # bash's spelling, of any character in the C locale
        ways.append(r"\\{1,4}".join(f"{byte:03o}" for byte in data))
    if sign in _ESCAPES:
        ways.append(_ESCAPES[sign])
    if sign == " ":
        ways.append(r"\+")
    return "|".join(ways)


def _hex(digits: str) -> str:
    """Return a pattern for hexadecimal digits in upper or lower case."""
    return re.sub("[a-f]", lambda digit: f"[{digit[0]}{digit[0].upper()}]", digits)
