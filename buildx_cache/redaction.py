"""Redact secrets from texts: known secret values, and credentials recognized by their position."""

from __future__ import annotations

import base64
import dataclasses
import re
from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from typing import Any, TypeVar
from urllib.parse import unquote

from buildx_cache.formatting import WIDEST, anchor, is_plain, printable, quoted
from buildx_cache.secret_names import is_ordinary, is_secret_name

HIDDEN = "***"

# The scheme is checked only after an @ was found, so that the search is linear in the text's length.
_URL_CREDENTIALS = re.compile(r"://(?P<user>[^/\s]*)@")
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*\Z", re.IGNORECASE)
_LONGEST_SCHEME = 32
# Parameters that sign a URL (S3, Google Cloud Storage, Azure's SAS, CloudFront) or hold a token. `_state` is the state
# of an upload in distribution's registry.
_URL_PARAMETER = re.compile(
    r"(?P<name>[?&;#](?:X-Amz-(?:Signature|Security-Token|Credential)|X-Goog-(?:Signature|Credential)|Signature|sig"
    r"|AWSAccessKeyId|Policy|Key-Pair-Id|_state|ghtoken|secret_access_key|access_key_id"
    r"|(?:\w[\w-]{0,31}[_-])?(?:token|password|passwd|secret|api_?key))=)[^&#\s\"]+",
    re.IGNORECASE,
)
# In URLs with these schemes, the text before the @ is no secret: the name of an image, or a user without a password.
_IMAGE_SCHEMES = ("docker-image", "oci-layout")
_USER_SCHEMES = ("ssh", "git", "git+ssh")
_FIELDS = r"(?P<name>\b(?:secret_access_key|access_key_id|session_token|token|ghtoken|password)=)"
_QUOTED_SECRET_FIELD = re.compile(rf'"{_FIELDS}(?:[^"]|"")*"')
# Skip a parameter of a URL that is redacted already: other parameters may follow it.
_SECRET_FIELD = re.compile(rf'{_FIELDS}(?!{re.escape(HIDDEN)}(?:[&#\s"\x27]|$))[^,"]+')

# Shorter values are not redacted, as they occur in harmless words. _SHORTEST_PART is for a line or form among several.
_SHORTEST = 4
_SHORTEST_PART = 8
# A user name in a URL with at least this many characters is a token.
_SHORTEST_TOKEN = 20
# The line length of `base64`.
_BASE64_LINE = 76


_Value = TypeVar("_Value")


class Secret(str):
    """A value that may be handed to a child process but never shown."""

    __slots__ = ()

    def __repr__(self) -> str:
        return HIDDEN


def has_login(text: str) -> bool:
    """Return whether ``text`` holds a URL with credentials: a password or token before the @."""
    return any(_without_password(match) != match[0] for match in _URL_CREDENTIALS.finditer(text))


def is_secret_argument(name: str, value: str) -> bool:
    """Return whether to keep an argument off the command line: a secret name, or a URL with a login."""
    return is_secret_name(name) or has_login(value)


def is_hidden_argument(name: str, value: str) -> bool:
    """Return whether the argument's value is also redacted and masked; ``disabled`` in ``AUTH=disabled`` is not."""
    return is_secret_argument(name, value) and not is_ordinary(value)


def redact(text: str) -> str:
    """Return ``text`` without credentials and signatures in URLs, and without secret attributes of cache entries.

    Remove control characters only if they split a credential: a plan shows them escaped.
    """
    clean = printable(text)
    hidden = _without_credentials(clean)
    return hidden if clean == text or hidden != clean else _without_credentials(text)


def _may_hold_credentials(text: str) -> bool:
    return "=" in text or "@" in text


def _without_credentials(text: str) -> str:
    if not _may_hold_credentials(text):
        return text
    text = _URL_CREDENTIALS.sub(_without_password, text)
    text = _URL_PARAMETER.sub(rf"\g<name>{HIDDEN}", text)
    text = _QUOTED_SECRET_FIELD.sub(rf'"\g<name>{HIDDEN}"', text)
    return _SECRET_FIELD.sub(rf"\g<name>{HIDDEN}", text)


def _without_password(match: re.Match[str]) -> str:
    end = match.start()
    found = _SCHEME.search(match.string[max(end - _LONGEST_SCHEME, 0) : end])
    scheme = found[0].lower() if found else ""
    if not scheme or scheme in _IMAGE_SCHEMES or (scheme in _USER_SCHEMES and ":" not in match["user"]):
        return match[0]
    return f"://{HIDDEN}@"


class Redactor:
    r"""Replace credentials and secret values by ``***``, in every encoding in which a build may print them.

    Every text that a call shows or reports passes through its redactor: build events, messages, errors, cache results.
    Control characters are removed first, from texts and values: they could split one, as in ``hunt\x1b[0mer2secret``.
    """

    def __init__(self, values: Iterable[str]) -> None:
        values = tuple(values)
        self._forms = secret_forms(values)
        self._words = tuple(form for form in self._forms if " " in form)
        self._anchors = {
            part: anchor(part)
            for part in _all_parts(values)
            if not is_plain(part) and len(printable(part)) >= _SHORTEST
        }
        self._quoted: dict[str, re.Pattern[str]] = {}
        self.longest = max([0, *map(len, self._forms), *(WIDEST * len(part) for part in self._anchors)])
        """Length of the longest form, in characters."""

    def text(self, text: str) -> str:
        """Redact a text that may be shown on one line: any white space matches the spaces between a value's words."""
        text = self._without_values(text)
        if self._words and _ODD_SPACE.search(text):
            line = " ".join(text.split())
            for form in self._words:
                if form in line:
                    text = re.sub(r"\s+".join(map(re.escape, form.split())), HIDDEN, text)
        return _without_credentials(text)

    def log(self, text: str) -> str:
        """Redact lines of a log; keep their white space."""
        text = self._without_values(text)
        return "\n".join(map(_without_credentials, text.split("\n"))) if _may_hold_credentials(text) else text

    def _without_values(self, text: str) -> str:
        text = printable(text)
        return _without(text, self._found(text))

    def _found(self, text: str) -> Iterator[tuple[int, int]]:
        """Yield the start and end of each secret value in ``text``."""
        for form in self._forms:
            at = text.find(form)
            while at >= 0:
                yield at, at + len(form)
                at = text.find(form, at + len(form))
        for part, always in self._anchors.items():
            if always in text:
                if part not in self._quoted:  # compiling the pattern takes longer than most searches
                    self._quoted[part] = quoted(part)
                yield from (match.span() for match in self._quoted[part].finditer(text))


def _without(text: str, spans: Iterable[tuple[int, int]]) -> str:
    """Replace each stretch of ``text`` that spans cover by ``***``; overlapping spans are one stretch."""
    covered = bytearray(len(text))
    for start, end in spans:
        covered[start:end] = b"x" * (end - start)
    if b"x" not in covered:
        return text
    pieces, shown = [], 0
    for stretch in re.finditer(b"x+", covered):
        pieces += [text[shown : stretch.start()], HIDDEN]
        shown = stretch.end()
    return "".join((*pieces, text[shown:]))


def rewritten(value: _Value, change: Callable[[str], str]) -> _Value:
    """Apply ``change`` to every string in a value, also in tuples and dataclasses."""
    found: Any = value
    if isinstance(found, str) and not isinstance(found, Enum):
        found = change(found)
    elif isinstance(found, tuple):
        found = tuple(rewritten(each, change) for each in found)
    elif dataclasses.is_dataclass(found) and not isinstance(found, type):
        names = [field.name for field in dataclasses.fields(found)]
        found = dataclasses.replace(found, **{name: rewritten(getattr(found, name), change) for name in names})
    return found  # type: ignore[no-any-return]


_ODD_SPACE = re.compile(r"[^\S ]|\s\s")


def secret_forms(values: Iterable[str]) -> tuple[str, ...]:
    """Return the strings to redact in printable text so that none of ``values`` is shown, longest first.

    They are: each value; its base64, also as a part of a longer text such as ``user:password``; each line of a value of
    several lines, and the value that a line assigns to a secret name; the password in a URL. No string has a line
    break. Spellings in URLs, JSON and the like are found by ``formatting.quoted``.
    """
    values = tuple(values)
    found = {printable(form) for part in _all_parts(values) for form in _spellings(part)}
    found.update(form for value in values for form in _in_base64(value))
    found |= {" ".join(form.split()) for form in found}  # as of `echo $VALUE`
    return tuple(sorted((form for form in found if len(form) >= _SHORTEST), key=lambda form: (-len(form), form)))


def _all_parts(values: tuple[str, ...]) -> set[str]:
    return {*secret_parts(values), *(line for value in values for line in _odd_lines(value))}


def secret_parts(values: Iterable[str]) -> tuple[str, ...]:
    """Return the secret parts of ``values``, each once, without a line break and not too short for a secret."""
    return tuple(dict.fromkeys(part for value in values for part in _parts(value)))


def _parts(value: str) -> Iterator[str]:
    lines = value.splitlines()
    if len(lines) == 1 and len(line := lines[0].strip()) >= _SHORTEST:
        yield line
    for line in map(str.strip, lines if len(lines) > 1 else ()):
        if len(line) >= _SHORTEST_PART:
            yield line
    for line in lines:
        yield from _passwords(line)
        name, _, assigned = line.partition("=")
        assigned = assigned.strip(" \t\"'")
        if is_secret_name(name.strip()) and not is_ordinary(assigned):
            yield assigned


def _odd_lines(value: str) -> Iterator[str]:
    """Yield each line with control characters, both as it is and without them."""
    lines = value.strip("\r\n").split("\n")
    shortest = _SHORTEST if len(lines) == 1 else _SHORTEST_PART
    for line in lines:
        shown = printable(line)
        if shown != line and len(shown) >= shortest:
            yield from (line, shown)


def _passwords(line: str) -> Iterator[str]:
    """Yield passwords and tokens in URLs, both quoted and unquoted; ``postgres:postgres@`` has none."""
    for match in _URL_CREDENTIALS.finditer(line):
        name, _, password = match["user"].partition(":")
        for word, shortest in ((password, _SHORTEST_PART), (name, _SHORTEST_TOKEN)):
            unquoted = unquote(word)
            if len(word) >= shortest and name != password and _without_password(match) != match[0]:
                yield word
                if len(unquoted) >= shortest and len(unquoted.splitlines()) == 1:
                    yield unquoted


def _spellings(part: str) -> Iterator[str]:
    yield part
    raw = part.encode("utf-8", "surrogateescape")
    yield raw.decode("utf-8", "replace")
    yield from _in_base64(part)


def _in_base64(text: str) -> Iterator[str]:
    """Yield the base64 digits of a text, in pieces of the usual line length, at each of the three byte offsets."""
    raw = text.encode("utf-8", "surrogateescape")
    for coded in (base64.b64encode, base64.urlsafe_b64encode):
        for before in range(3):
            # Only digits with bits of this value alone: the first and last may mix in bits of the adjacent bytes.
            digits = coded(bytes(before) + raw).decode("ascii")
            core = digits[-(-before * 8 // 6) : (before + len(raw)) * 8 // 6]
            yield from (
                piece
                for start in range(0, len(core), _BASE64_LINE)
                if len(piece := core[start : start + _BASE64_LINE]) >= _SHORTEST_PART
            )
