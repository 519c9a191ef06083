"""``type=gha``: the cache service of GitHub Actions (BuildKit's ``cache/remotecache/gha``)."""

from __future__ import annotations

from collections.abc import Collection
from typing import ClassVar

from buildx_cache.caches.backend import Attributes, CacheBackend

_TOKEN, _ADDRESSES = "ACTIONS_RUNTIME_TOKEN", ("ACTIONS_RESULTS_URL", "ACTIONS_CACHE_URL")
_ATTRIBUTES = ("url", "url_v2", "token", "scope", "timeout", "version", "ghtoken", "repository")


class GitHubBackend(CacheBackend):
    """A cache in GitHub's service, by scope. GitHub itself separates branches."""

    type: ClassVar = "gha"
    import_attributes: ClassVar = _ATTRIBUTES
    export_attributes: ClassVar = (*_ATTRIBUTES, "mode", "ignore-error")
    secrets: ClassVar = ("token", "ghtoken")
    exporters: ClassVar = ("exporting to GitHub Actions Cache", "exporting to GitHub cache")  # the latter before 0.12
    borrows_login: ClassVar = True
    left_out: ClassVar = "where ACTIONS_RUNTIME_TOKEN or ACTIONS_RESULTS_URL is not set"  # `isActive` in `build/opt.go`

    def missing(self, attributes: Attributes, variables: Collection[str]) -> str:
        """Return the missing variables for token and address (Buildx' ``build/opt.go``), which only actions have."""
        has_token = attributes.get("token") or _TOKEN in variables
        has_address = attributes.get("url") or attributes.get("url_v2") or any(name in variables for name in _ADDRESSES)
        lacking = (("" if has_token else _TOKEN), ("" if has_address else " or ".join(_ADDRESSES)))
        return ", ".join(filter(None, lacking))

    def place(self, attributes: Attributes) -> str:
        """Return the kind and the scope; BuildKit's default scope is ``buildkit``."""
        return f"{self.type}:{attributes.get('scope', 'buildkit')}"

    def host(self, attributes: Attributes) -> str:
        """Return the address of GitHub's service."""
        return attributes.get("url_v2") or attributes.get("url") or self.type

    def is_named_by(self, attributes: Attributes, error: str) -> bool:
        """Return whether an error has the key of the scope's index (``indexKey``)."""
        return f"index-{attributes.get('scope', 'buildkit')}-" in error


GHA = GitHubBackend()
