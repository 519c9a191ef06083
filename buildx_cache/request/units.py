"""Sizes and durations as people write them: ``500MB``, ``2GiB``; ``7d``, ``1h30m``."""

from __future__ import annotations

import re

# Go keeps sizes and durations, in nanoseconds, in as many bits.
_MOST = 2**63 - 1
_NANOSECONDS = 10**9
_SIZE = re.compile(r"(\d{1,19})(?:\.(\d{1,19}))?\s*(?:([kmgtp])i?b?|b)?", re.IGNORECASE)
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?[dhms])+")
_PART = re.compile(r"(\d+(?:\.\d+)?)([dhms])")
_SECONDS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0}


def parse_size(text: str) -> int | None:
    """Bytes, or None if it is no size to Docker; every unit is binary, as in its own options (``docker/go-units``)."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        return None
    whole, part, unit = match[1], match[2] or "", (match[3] or "").lower()
    size = int((int(whole + part) << 10 * _POWERS[unit]) // 10 ** len(part))
    return size if size <= _MOST else None


def parse_duration(text: str) -> float | None:
    """Seconds: Go's ``h``, ``m`` and ``s``, and ``d`` for days. None if it is no duration, or more than 292 years."""
    if not _DURATION.fullmatch(text.strip()):
        return None
    seconds = sum(float(number) * _SECONDS[unit] for number, unit in _PART.findall(text))
    return seconds if seconds <= _MOST // _NANOSECONDS else None
