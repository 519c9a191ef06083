"""Cache scopes as tags: ``buildcache-<scope>[-<platform>]``.

Two pairs of scope and platform never share a tag, whoever names the branches: the one could write the other's cache.
An unchanged scope ends neither in a hash nor in a platform. A changed one ends in 16 hexadecimal digits; no platform
does, and no platform ends in another one. A tag therefore has one reading.
"""

from __future__ import annotations

import hashlib
import re

from buildx_cache.reference import MAX_TAG

REF_PREFIX = "buildcache-"

# 64 bits: whoever names a branch can try names until the hash is another branch's, and 32 bits take seconds.
_SCOPE_DIGITS = 16
_PLATFORM_DIGITS = 20  # not as many as a scope has: the two are told apart by it
_MAX_SCOPE = 72
_MAX_PLATFORM_WORD = 12

# Go's systems and architectures, and their other names in containerd's ``platforms``.
_OS = (
    "aix|android|darwin|dragonfly|freebsd|illumos|ios|js|linux|netbsd|openbsd|plan9|solaris|wasi|wasip1|wasip2"
    "|windows|zos"
)
_ARCH = (
    "386|i386|amd64|x86_64|x86-64|arm|armhf|armel|arm64|aarch64|loong64|mips|mipsle|mips64|mips64le|ppc64|ppc64le"
    "|riscv64|s390x|wasm"
)
_KNOWN_PLATFORM = re.compile(rf"(?:{_OS})/(?:{_ARCH})(?:/v[0-9]{{1,2}})?", re.ASCII)
_PLATFORM_TEXT = (
    rf"(?:(?:{_OS})-(?:{_ARCH})(?:-v[0-9]{{1,2}})?"
    rf"|platform-[a-z0-9]{{0,{_MAX_PLATFORM_WORD}}}-[0-9a-f]{{{_PLATFORM_DIGITS}}})"
)
_WITH_PLATFORM = re.compile(rf"(?P<scope>.+)-{_PLATFORM_TEXT}", re.ASCII)
_PLAIN = re.compile(rf"[A-Za-z0-9_][A-Za-z0-9_.-]{{0,{_MAX_SCOPE - 1}}}", re.ASCII)
_AMBIGUOUS = re.compile(rf"(?:.*-)?(?:[0-9a-f]{{{_SCOPE_DIGITS}}}|{_PLATFORM_TEXT})", re.ASCII)
_FOREIGN = re.compile(r"[^A-Za-z0-9_.-]+", re.ASCII)


def cache_tag(scope: str, platform: str = "") -> str:
    """Name the tag of a scope's cache, or of its cache for one platform."""
    suffix = f"-{platform_text(platform)}" if platform else ""
    return REF_PREFIX + scope_text(scope) + suffix


def tag_for_platform(tag: str, platform: str) -> str:
    """Name the tag beside ``tag`` that holds the cache for one platform."""
    suffix = f"-{platform_text(platform)}"
    room = MAX_TAG - len(suffix)
    return (tag if len(tag) <= room else _marked(tag, tag, room)) + suffix


def scopes_of(tag: str) -> tuple[str, ...]:
    """List the texts of the scopes (see ``scope_text``) that a cache's tag can belong to."""
    text = tag.removeprefix(REF_PREFIX)
    match = _WITH_PLATFORM.fullmatch(text)
    return (text, match["scope"]) if match else (text,)


def scope_text(scope: str) -> str:
    """Write a scope so that it fits into a tag and no other scope has the same text.

    Keep ``main`` and ``feature-x``. Append a hash to a name that has to change (``feature/x``) and to one that looks
    like a name with a hash or a platform.
    """
    if _PLAIN.fullmatch(scope) and not _AMBIGUOUS.fullmatch(scope):
        return scope
    return _marked(_FOREIGN.sub("-", scope).lstrip(".-"), scope, _MAX_SCOPE)


def platform_text(platform: str) -> str:
    """Write a platform as part of a tag or as a folder's name: ``linux/arm64`` is ``linux-arm64``.

    Give an unknown platform a hash. Upper and lower case are the same, as in BuildKit.
    """
    name = platform.lower()
    if _KNOWN_PLATFORM.fullmatch(name):
        return name.replace("/", "-")
    word = re.sub(r"[^a-z0-9]", "", name)[:_MAX_PLATFORM_WORD]
    return f"platform-{word}-{_digits(name, _PLATFORM_DIGITS)}"


def _marked(text: str, name: str, room: int) -> str:
    mark = _digits(name, _SCOPE_DIGITS)
    return f"{text[: room - len(mark) - 1]}-{mark}" if text else mark


def _digits(name: str, count: int) -> str:
    return hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:count]
