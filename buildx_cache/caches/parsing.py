"""Parse and validate ``--cache-from`` and ``--cache-to`` values.

BuildKit silently ignores a misspelt attribute, and silently treats a misspelt ``mode`` as ``min``. An attribute that
this program does not know may be valid in a newer BuildKit: it is passed on, with a warning.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from buildx_cache.caches.backend import CacheMode, Compression, closest, from_csv, is_misspelling
from buildx_cache.caches.entry import BACKENDS, CacheEntry, redacted_entry
from buildx_cache.errors import UsageError
from buildx_cache.reference import parse_reference

IMPORT_ATTRIBUTES: Mapping[str, tuple[str, ...]] = {
    kind: backend.import_attributes for kind, backend in BACKENDS.items() if backend.import_attributes
}
EXPORT_ATTRIBUTES: Mapping[str, tuple[str, ...]] = {
    kind: backend.export_attributes for kind, backend in BACKENDS.items()
}
_EVERY = tuple({name for names in (*IMPORT_ATTRIBUTES.values(), *EXPORT_ATTRIBUTES.values()) for name in names})
_IGNORED = ("compression", "compression-level", "force-compression")  # s3, gha and azblob ignore these
_BOOLEAN = ("true", "false")
# Attributes with a fixed set of values.
_WORDS: Mapping[str, tuple[str, ...]] = {
    "mode": tuple(CacheMode),
    "compression": tuple(Compression),
    "retry_mode": ("standard", "adaptive"),
    "force-compression": _BOOLEAN,
    "ignore-error": _BOOLEAN,
    "image-manifest": _BOOLEAN,
    "oci-mediatypes": _BOOLEAN,
    "registry.insecure": _BOOLEAN,
    "reset": _BOOLEAN,
}
# Attributes with a pattern: the pattern, its name in a message, and the hint.
_COUNT = (re.compile(r"0*[1-9][0-9]*"), "a number", "write 1 or more")
_DIGEST = (re.compile(r"sha256:[0-9a-f]{64}"), "a digest", "write sha256: and 64 hexadecimal digits, in lower case")
_FORMS = {"digest": _DIGEST, "retry_max_attempts": _COUNT, "upload_parallelism": _COUNT}


def parse_import(text: str) -> CacheEntry:
    """Parse a ``--cache-from`` value; a bare image reference means ``type=registry``.

    Raises:
        UsageError: an unknown type, a misspelt attribute, an invalid value, or a missing attribute.
    """
    required = {kind: backend.required_import for kind, backend in BACKENDS.items()}
    return _parse(text, "--cache-from", IMPORT_ATTRIBUTES, required)


def parse_export(text: str) -> CacheEntry:
    """Parse a ``--cache-to`` value; ``inline`` alone means ``type=inline``.

    Raises:
        UsageError: an unknown type, a misspelt attribute, an invalid value, or a missing attribute.
    """
    required = {kind: backend.required_export for kind, backend in BACKENDS.items()}
    return _parse(text, "--cache-to", EXPORT_ATTRIBUTES, required)


def _parse(text: str, option: str, known: Mapping[str, tuple[str, ...]], required: Mapping[str, str]) -> CacheEntry:
    if "=" not in text:
        return _shorthand(text, option, known)
    # Buildx converts keys to lower case; of two equal keys the last one counts (``util/buildflags/cache.go``).
    pairs = {key.lower(): value for key, value in from_csv(text, option=option)}
    kind = pairs.pop("type", "")
    if kind not in known:
        what = f"has no cache type {kind!r}" if kind else "names no type"
        raise UsageError(
            f"{option} {redacted_entry(text)!r} {what}", code="cache-entry-malformed", hint=closest(kind, list(known))
        )
    need = required[kind]
    is_lacking = bool(need) and not pairs.get(need)
    for key, value in pairs.items():
        if key in known[kind]:
            _check_value(option, kind, key, value)
        elif is_lacking or not value or is_misspelling(key, _EVERY):
            # An attribute of another type or of the other option does nothing here, and is a mistake, too.
            hint = "drop it: BuildKit ignores it there" if key in _IGNORED else closest(key, known[kind])
            raise UsageError(
                f"{option} type={kind} has no attribute {key!r}", code="cache-attribute-unknown", hint=hint
            )
    if is_lacking:
        raise UsageError(
            f"{option} {redacted_entry(text)!r} has no {need}=",
            code="cache-entry-malformed",
            hint=f"add {need}=… to it",
        )
    return CacheEntry(type=kind, attributes=tuple(pairs.items()))


def _shorthand(text: str, option: str, known: Mapping[str, tuple[str, ...]]) -> CacheEntry:
    if text in ("inline", "gha"):
        if text not in known:
            raise UsageError(
                f"{option} {text!r} has no cache type {text!r}",
                code="cache-type-unknown",
                hint="give the image: type=registry,ref=…",
            )
        return CacheEntry(type=text)
    parse_reference(text)
    return CacheEntry(type="registry", attributes=(("ref", text),))


def _check_value(option: str, kind: str, key: str, value: str) -> None:
    values = _WORDS.get(key, ())
    if values and value not in values:
        raise UsageError(
            f"{option}: {key}={value!r} is not a value of {key}",
            code="cache-attribute-invalid",
            hint=closest(value, values),
        )
    if key == "ref":
        parse_reference(value)
    if key in _FORMS:
        pattern, what, how = _FORMS[key]
        if not pattern.fullmatch(value):
            raise UsageError(f"{option}: {key}={value!r} is not {what}", code="cache-attribute-invalid", hint=how)
    modes = BACKENDS[kind].modes
    if key == "mode" and value not in modes:
        raise UsageError(
            f"an {kind} cache has only mode={', '.join(modes)}",
            code="cache-attribute-invalid",
            hint=f"use a registry or local cache for mode={value}",
        )
