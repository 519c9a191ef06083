"""Cache scopes as tags: ``buildcache-<scope>[-<variant>][-<platform>]``.

A variant distinguishes builds of one branch: ``for-test-0123456789ab`` is the cache of the target ``test``.

No two scopes, variants or platforms share a tag, even if an attacker names the branches: a build could write the cache
of another branch. A scope that is kept unchanged never ends like a hash, a variant or a platform. A changed scope ends
in 16 hexadecimal digits; variants and platforms do not, and neither ends like the other. So a tag can be parsed in one
way only.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

from buildx_cache.reference import MAX_TAG

REF_PREFIX = "buildcache-"

# 64 bits: an attacker can try branch names until the hash equals another branch's; 32 bits take seconds.
_SCOPE_DIGITS = 16
_PLATFORM_DIGITS = 20  # differs from _SCOPE_DIGITS, so that the two can be distinguished
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
    """Return the tag of a scope's cache, or of the scope's cache for one ``variant_text``."""
    return REF_PREFIX + scope_text(scope) + (f"-{variant}" if variant else "")


def variant_text(word: str, *parts: str) -> str:
    """Return the tag part for one build among several of a branch; different ``parts`` give different texts.

    The letters and digits of ``word`` are kept for people.
    """
    plain = re.sub(r"[^a-z0-9]", "", word.lower())[:_MAX_VARIANT_WORD] or "other"
    return f"for-{plain}-{_digits(chr(0).join(parts), _VARIANT_DIGITS)}"


def tag_for_platform(tag: str, platform: str) -> str:
    """Return the tag that holds the cache of ``tag`` for one platform."""
    suffix = f"-{platform_text(platform)}"
    room = MAX_TAG - len(suffix)
    return (tag if len(tag) <= room else _marked(tag, tag, room)) + suffix


def may_be_cache(tag: str, parts: Sequence[str]) -> bool:
    """Return whether ``tag`` may be the cache of some scope on some platform.

    ``parts`` are the literal texts before, between and after the fields in the template of cache tags.
    """
    head, *rest = map(re.escape, parts)
    between = "".join(f"(?>.+?{part})" for part in rest[:-1])  # atomic: the first match is as good as a later one
    end = f".+{rest[-1]}" if rest else ""
    return re.fullmatch(f"{head}{between}{end}(?:-{_PLATFORM_TEXT})?", tag, re.ASCII) is not None


def scopes_of(tag: str) -> tuple[str, ...]:
    """Return the texts of the scopes (see ``scope_text``) to which a cache tag can belong."""
    found = [tag.removeprefix(REF_PREFIX)]
    for ending in (_WITH_PLATFORM, _WITH_VARIANT):
        found += [match["scope"] for match in map(ending.fullmatch, tuple(found)) if match]
    return tuple(found)


def scope_text(scope: str) -> str:
    """Turn a scope into a text that fits into a tag and that no other scope gets.

    Keep ``main`` and ``feature-x``. Append a hash to a name that must change (``feature/x``) or that looks like a name
    with a hash, a variant or a platform.
    """
    if _PLAIN.fullmatch(scope) and not _AMBIGUOUS.fullmatch(scope):
        return scope
    return _marked(_FOREIGN.sub("-", scope).lstrip(".-"), scope, _MAX_SCOPE)


def platform_text(platform: str) -> str:
    """Turn a platform into a part of a tag or a folder's name: ``linux/arm64`` becomes ``linux-arm64``.

    Append a hash to an unknown platform. Ignore case, as BuildKit does.
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
