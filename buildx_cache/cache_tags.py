"""Cache scopes as tags: ``buildcache-<scope>[-<variant>][-<platform>]``.

A variant tells builds of one branch apart: ``for-test-0123456789ab`` is the cache of the target ``test``.

No two of these share a tag, whoever names the branches: the one could write the other's cache. An unchanged scope ends
neither in a hash nor in a variant nor in a platform. A changed one ends in 16 hexadecimal digits; no variant and no
platform does, and neither ends in another one. A tag therefore has one reading, and tells its branch.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

from buildx_cache.reference import MAX_TAG

REF_PREFIX = "buildcache-"

# 64 bits: whoever names a branch can try names until the hash is another branch's, and 32 bits take seconds.
_SCOPE_DIGITS = 16
_PLATFORM_DIGITS = 20  # not as many as a scope has: that tells the two apart
_VARIANT_DIGITS = 12
_MAX_SCOPE = 48
_MAX_VARIANT_WORD = 8
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
_VARIANT_TEXT = rf"for-[a-z0-9]{{1,{_MAX_VARIANT_WORD}}}-[0-9a-f]{{{_VARIANT_DIGITS}}}"
_WITH_VARIANT = re.compile(rf"(?P<scope>.+)-{_VARIANT_TEXT}", re.ASCII)
_WITH_PLATFORM = re.compile(rf"(?P<scope>.+)-{_PLATFORM_TEXT}", re.ASCII)
_PLAIN = re.compile(rf"[A-Za-z0-9_][A-Za-z0-9_.-]{{0,{_MAX_SCOPE - 1}}}", re.ASCII)
_AMBIGUOUS = re.compile(rf"(?:.*-)?(?:[0-9a-f]{{{_SCOPE_DIGITS}}}|{_VARIANT_TEXT}|{_PLATFORM_TEXT})", re.ASCII)
_FOREIGN = re.compile(r"[^A-Za-z0-9_.-]+", re.ASCII)


def cache_tag(scope: str, variant: str = "") -> str:
    """Name the tag of a scope's cache, or of its cache for one ``variant_text``."""
    return REF_PREFIX + scope_text(scope) + (f"-{variant}" if variant else "")


def variant_text(word: str, *parts: str) -> str:
    """Write what tells a build from others of its branch, so that other parts have another text.

    Only letters and digits of the ``word`` stay, for people.
    """
    plain = re.sub(r"[^a-z0-9]", "", word.lower())[:_MAX_VARIANT_WORD] or "other"
    return f"for-{plain}-{_digits(chr(0).join(parts), _VARIANT_DIGITS)}"


def tag_for_platform(tag: str, platform: str) -> str:
    """Name the tag beside ``tag`` that holds the cache for one platform."""
    suffix = f"-{platform_text(platform)}"
    room = MAX_TAG - len(suffix)
    return (tag if len(tag) <= room else _marked(tag, tag, room)) + suffix


def may_be_cache(tag: str, parts: Sequence[str]) -> bool:
    """Tell whether ``tag`` may be the cache of some scope on some platform.

    ``parts`` are what the template of caches' tags writes before, between and after its fields.
    """
    head, *rest = map(re.escape, parts)
    between = "".join(f"(?>.+?{part})" for part in rest[:-1])  # the first place is as good as a later one
    end = f".+{rest[-1]}" if rest else ""
    return re.fullmatch(f"{head}{between}{end}(?:-{_PLATFORM_TEXT})?", tag, re.ASCII) is not None


def scopes_of(tag: str) -> tuple[str, ...]:
    """List the texts of the scopes (see ``scope_text``) that a cache's tag can belong to."""
    found = [tag.removeprefix(REF_PREFIX)]
    for ending in (_WITH_PLATFORM, _WITH_VARIANT):
        found += [match["scope"] for match in map(ending.fullmatch, tuple(found)) if match]
    return tuple(found)


def scope_text(scope: str) -> str:
    """Write a scope so that it fits into a tag and no other scope has the same text.

    Keep ``main`` and ``feature-x``. Append a hash to a name that has to change (``feature/x``) and to one that looks
    like a name with a hash, a variant or a platform.
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
