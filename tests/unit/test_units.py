from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from buildx_cache.request.options import parse_duration, parse_size

REPEATABLE = settings(derandomize=True, deadline=None)
UNITS = {"": 1, "b": 1, "k": 1024, "m": 1024**2, "g": 1024**3, "t": 1024**4, "p": 1024**5}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0),
        ("100", 100),
        ("1024b", 1024),
        ("1k", 1024),
        ("1kb", 1024),
        ("1KiB", 1024),
        ("512MB", 512 * 1024**2),
        ("10 GB", 10 * 1024**3),
        (" 2GiB\n", 2 * 1024**3),
        ("1.5gb", 3 * 512 * 1024**2),
        ("0.5k", 512),
        ("0.1b", 0),
        ("3T", 3 * 1024**4),
        ("1p", 1024**5),
    ],
)
def test_sizes_are_bytes_and_every_unit_is_binary(text: str, expected: int) -> None:
    assert parse_size(text) == expected


@pytest.mark.parametrize("text", ["9223372036854775808", "8192p", "0." + "1" * 20, "9" * 5000], ids=len)
def test_what_docker_cannot_keep_is_no_size(text: str) -> None:
    assert parse_size(text) is None
    assert parse_size("9223372036854775807") == 2**63 - 1


@pytest.mark.parametrize(
    "text",
    ["", " ", "lots", "GB", "-1GB", "+1", "1e3", "1,5GB", ".5k", "1.k", "1.5.5k", "1kk", "1ib", "1 k b", "1EB", "∞"],
)
def test_what_is_no_size(text: str) -> None:
    assert parse_size(text) is None


@given(number=st.integers(0, 8191), unit=st.sampled_from([*UNITS]), gap=st.sampled_from(["", " "]), upper=st.booleans())
@REPEATABLE
def test_a_whole_number_of_any_unit_is_exact(number: int, unit: str, gap: str, upper: bool) -> None:  # noqa: FBT001 -- drawn
    text = f"{number}{gap}{unit}"
    assert parse_size(text.upper() if upper else text) == number * UNITS[unit]


@given(text=st.text(max_size=12))
@REPEATABLE
def test_any_text_is_a_size_or_not(text: str) -> None:
    size = parse_size(text)
    assert size is None or size >= 0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("30s", 30),
        ("90m", 5400),
        ("48h", 172800),
        ("7d", 604800),
        ("1h30m", 5400),
        ("1d12h", 129600),
        ("1.5h", 5400),
        ("0s", 0),
        (" 1h ", 3600),
        ("1m1s1m", 121),
    ],
)
def test_durations_are_seconds(text: str, expected: float) -> None:
    assert parse_duration(text) == expected


@pytest.mark.parametrize("text", ["", "7", "a week", "7 d", "d", "-1h", "1w", "1H", "1h 30m", "1h30", ".5h", "1ms"])
def test_what_is_no_duration(text: str) -> None:
    assert parse_duration(text) is None


@pytest.mark.parametrize("text", ["106752d", "9223372037s", "9" * 400 + "h"], ids=len)
def test_what_is_longer_than_292_years_is_no_duration(text: str) -> None:
    assert parse_duration(text) is None
    assert parse_duration("9223372036s") == 9223372036.0


@given(days=st.integers(0, 9999), hours=st.integers(0, 99), minutes=st.integers(0, 99), seconds=st.integers(0, 99))
@REPEATABLE
def test_parts_of_a_duration_add_up(days: int, hours: int, minutes: int, seconds: int) -> None:
    expected = ((days * 24 + hours) * 60 + minutes) * 60 + seconds
    assert parse_duration(f"{days}d{hours}h{minutes}m{seconds}s") == expected


@given(text=st.text(max_size=12))
@REPEATABLE
def test_any_text_is_a_duration_or_not(text: str) -> None:
    duration = parse_duration(text)
    assert duration is None or duration >= 0
