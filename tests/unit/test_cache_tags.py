"""Which cache a scope and a platform have: no two pairs share one, whoever names the branches."""

from __future__ import annotations

import hashlib
import re

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from buildx_cache.cache_tags import (
    REF_PREFIX,
    cache_tag,
    platform_text,
    scope_text,
    scopes_of,
    tag_for_platform,
    variant_text,
)
from buildx_cache.reference import MAX_TAG, parse_reference
from tests.unit.tags import whole_tag

VALID_TAG = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"


def marked(text: str, name: str) -> str:
    return text + hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:16]


@pytest.mark.parametrize(
    "scope",
    ["main", "release-1.2_x", "feature-x", "_x", "main-", "fix-linux", "arm64", "fix-arm64", "main-linux-fix",
     "linux-amd64-fix", "port-to-windows", "try-v7", "Main", "a-0123456789abcde", "a-0123456789abcdef0", "b" * 48],
)  # fmt: skip
def test_an_ordinary_scope_is_kept(scope: str) -> None:
    assert cache_tag(scope) == REF_PREFIX + scope


@pytest.mark.parametrize(
    ("scope", "text"),
    [
        ("feature/x", "feature-x-"),
        ("feature//x", "feature-x-"),
        ("feature\\x", "feature-x-"),
        ("fix#12", "fix-12-"),
        (".hidden", "hidden-"),
        ("-dash", "dash-"),
        ("été", "t--"),
        ("m\u0430in", "m-in-"),  # Cyrillic a
        ("main\n", "main--"),
        ("#", ""),
        ("...", ""),
        ("", ""),
        ("\ud800", ""),
        # These look like a scope with a hash or a platform.
        ("0123456789abcdef", "0123456789abcdef-"),
        ("main-0123456789abcdef", "main-0123456789abcdef-"),
        ("main-linux-arm64", "main-linux-arm64-"),
        ("linux-arm64", "linux-arm64-"),
        ("main-linux-arm-v7", "main-linux-arm-v7-"),
        ("main-linux-x86_64", "main-linux-x86_64-"),
        ("main-linux-x86-64", "main-linux-x86-64-"),
        ("main-windows-amd64", "main-windows-amd64-"),
        ("main-platform-arm64-" + "0" * 20, "main-platform-arm64-" + "0" * 11 + "-"),
        ("main-for-x-0123456789ab", "main-for-x-0123456789ab-"),
        ("for-x-0123456789ab", "for-x-0123456789ab-"),
        # These are long.
        ("b" * 49, "b" * 31 + "-"),
        ("b" * 10**6, "b" * 31 + "-"),
        ("main/" + "é" * 10**6, "main---"[:6]),
    ],
)
def test_any_other_scope_carries_a_hash(scope: str, text: str) -> None:
    assert cache_tag(scope) == REF_PREFIX + marked(text, scope)


@pytest.mark.parametrize(
    ("platform", "text"),
    [
        ("linux/amd64", "linux-amd64"),
        ("Linux/ARM64", "linux-arm64"),
        ("linux/arm/v7", "linux-arm-v7"),
        ("linux/x86_64", "linux-x86_64"),
        ("linux/x86-64", "linux-x86-64"),
        ("windows/amd64", "windows-amd64"),
    ],
)
def test_a_known_platform_is_written_as_it_is(platform: str, text: str) -> None:
    assert platform_text(platform) == text


@pytest.mark.parametrize(
    ("platform", "word"),
    [
        ("arm64", "arm64"),
        ("linux", "linux"),
        ("linux-arm64", "linuxarm64"),
        ("linux/mips/softfloat", "linuxmipssof"),
        ("linux/amd64/v2.1", "linuxamd64v2"),
        ("linux/0123456789abcdef", "linux0123456"),
        ("_/_", ""),
        ("l/" + "x" * 1000, "lxxxxxxxxxxx"),
    ],
)
def test_any_other_platform_carries_a_hash(platform: str, word: str) -> None:
    assert re.fullmatch(rf"platform-{word}-[0-9a-f]{{20}}", platform_text(platform))


# Made of the very pieces that tags are made of, so that pairs get as near to each other as they can.
PIECES = (
    "main", "x", "linux", "windows", "arm64", "arm", "v7", "x86", "64", "x86_64", "amd64", "wasm", "platform",
    "0123456789abcdef", "0123456789abcdef0123", "for", "0123456789ab", "/", ".", "_", "é", "", "b" * 40,
)  # fmt: skip
BUILT = st.lists(st.sampled_from(PIECES), min_size=1, max_size=5).map("-".join)
SCOPES = BUILT | st.text(max_size=12)
KNOWN = st.sampled_from(["", "linux/amd64", "linux/arm64", "linux/arm/v7", "linux/x86-64", "windows/amd64", "js/wasm"])
PLATFORMS = KNOWN | st.lists(st.sampled_from([*PIECES[:14], "softfloat"]), min_size=1, max_size=3).map("/".join)


VARIANTS = st.just("") | st.sampled_from(["x", "main", "for"]).map(lambda word: variant_text(word, word))
Parts = tuple[str, str, str]
"""Scope, variant and platform."""


@st.composite
def near_parts(draw: st.DrawFn) -> tuple[Parts, Parts]:
    """Two tags' parts: any, or the second a try to have the first's tag."""
    first = (draw(SCOPES), draw(VARIANTS), draw(PLATFORMS))
    text = whole_tag(*first).removeprefix(REF_PREFIX)
    cut = draw(st.sampled_from([place for place, sign in enumerate(text + "-") if sign == "-"]))
    rest = text[cut + 1 :]
    second = draw(
        st.sampled_from(
            [
                (text, "", ""),
                (text[:cut], "", rest.replace("-", "/")),
                (text[:cut], "", rest.replace("-", "/", 1)),
                (text[:cut], *first[1:]),
                (text[:cut], "", first[2]),
                (scope_text(first[0]), *first[1:]),
                (scope_text(first[0]), "", first[2]),
                (scope_text(first[0]), "", ""),
                (draw(SCOPES), draw(VARIANTS), draw(PLATFORMS)),
            ]
        )
    )
    return first, second


@settings(derandomize=True, deadline=None, max_examples=400)
@given(near_parts())
def test_no_two_share_a_tag(parts: tuple[Parts, Parts]) -> None:
    one, other = parts
    assume((*one[:2], one[2].lower()) != (*other[:2], other[2].lower()))
    assert whole_tag(*one) != whole_tag(*other)


@settings(derandomize=True, deadline=None, max_examples=300)
@given(SCOPES, VARIANTS, PLATFORMS)
def test_any_parts_have_a_valid_tag_that_belongs_to_its_scope(scope: str, variant: str, platform: str) -> None:
    tag = whole_tag(scope, variant, platform)
    assert re.fullmatch(VALID_TAG, tag)
    assert parse_reference(f"app:{tag}").tag == tag
    assert scope_text(scope) in scopes_of(tag)


def test_variants_differ_by_their_parts_and_show_a_word() -> None:
    assert re.fullmatch(r"for-unittest-[0-9a-f]{12}", variant_text("Unit_Tests!", "a"))
    assert variant_text("x", "a", "b") != variant_text("x", "ab")
    assert variant_text("", "a").startswith("for-other-")


@pytest.mark.parametrize("tag", ["shared", "s" * 128, "v1.0-linux-amd64"])
@pytest.mark.parametrize("platform", ["linux/amd64", "linux/arm64/v8", "arm64", "a/" + "b" * 300])
def test_a_tag_of_ones_own_gets_a_neighbour_for_each_platform(tag: str, platform: str) -> None:
    beside = tag_for_platform(tag, platform)
    assert re.fullmatch(VALID_TAG, beside)
    assert beside != tag
    assert beside.endswith("-" + platform_text(platform))
    assert len(tag) > MAX_TAG - 50 or beside.startswith(tag)
    assert tag_for_platform(tag[:-1] + "z", platform) != beside


def test_the_hash_of_a_platform_is_not_taken_for_that_of_a_scope() -> None:
    scope = "abcdefghijkl"
    platform = f"{scope}/platform-{scope}"
    assert cache_tag(platform) != whole_tag(scope, "", platform)
