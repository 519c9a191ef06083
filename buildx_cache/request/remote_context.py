"""A build context that BuildKit fetches: which address is a git repository, and what of it is built.

As in BuildKit's ``frontend/dockerfile/dfgitutil/git_ref.go`` and ``util/gitutil/git_url.go``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_URL = re.compile(r"[a-z][a-z0-9+.-]*://")
_SCP = re.compile(r"[a-zA-Z0-9_-]+@[a-zA-Z0-9.-]+:")
_GIT = re.compile(r"(?:git|ssh)://")
_HTTP = re.compile(r"https?://[^?#]*\.git(?=[?#]|$)")
_GITHUB = "github.com/"
_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")


@dataclass(frozen=True, kw_only=True)
class GitContext:
    """``ADDRESS[#REF[:FOLDER]]``; without a ``ref`` the repository's default branch is built."""

    address: str
    ref: str = ""
    folder: str = ""

    @property
    def commit(self) -> str:
        """Return the commit that the ref itself is, else the empty string."""
        return self.ref if _COMMIT.fullmatch(self.ref) else ""

    @property
    def has_query(self) -> bool:
        """Whether the address says in a query what is built, as newer BuildKits read it."""
        return "?" in self.address

    def at(self, commit: str) -> str:
        """Write the context with a commit in the place of its ref."""
        return f"{self.address}#{commit}" + (f":{self.folder}" if self.folder else "")


def is_url(text: str) -> bool:
    """Tell whether a text begins with a scheme."""
    return _URL.match(text) is not None


def is_remote_context(context: str) -> bool:
    """Tell whether the build context is fetched by BuildKit (a URL, a git address) or read from stdin."""
    return context == "-" or is_url(context) or context.startswith(_GITHUB) or _SCP.match(context) is not None


def git_context(context: str) -> GitContext | None:
    """Read the address of a git repository; None for any other context."""
    is_github = context.startswith(_GITHUB)
    if not (is_github or any(kind.match(context) for kind in (_SCP, _GIT, _HTTP))):
        return None
    address, _, fragment = context.partition("#")
    ref, _, folder = fragment.partition(":")
    return GitContext(address=f"https://{address}" if is_github else address, ref=ref, folder=folder)
