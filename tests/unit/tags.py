"""Name the tags of caches as a plan does."""

from __future__ import annotations

from buildx_cache.cache_tags import cache_tag, tag_for_platform


def whole_tag(scope: str, variant: str, platform: str) -> str:
    tag = cache_tag(scope, variant)
    return tag_for_platform(tag, platform) if platform else tag
