"""Parse the address of a build context that BuildKit fetches: repository, ref and folder.

The rules are BuildKit's (``frontend/dockerfile/dfgitutil/git_ref.go`` and ``util/gitutil/git_url.go``).
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
    """The parts of ``ADDRESS[#REF[:FOLDER]]``; without a ``ref`` BuildKit builds the default branch."""

    address: str
    ref: str = ""
    folder: str = ""

    @property
    def commit(self) -> str:
        """Return the ref if it is a commit, else the empty string."""
        return self.ref if _COMMIT.fullmatch(self.ref) else ""

    @property
    def has_query(self) -> bool:
        """Whether the address has a query, in which newer BuildKits read ref and folder."""
        return "?" in self.address

    def at(self, commit: str) -> str:
        """Return the context's address with a commit in place of its ref."""
        return f"{self.address}#{commit}" + (f":{self.folder}" if self.folder else "")


def is_url(text: str) -> bool:
    """Return whether a text begins with a scheme."""
    return _URL.match(text) is not None


def is_remote_context(context: str) -> bool:
    """Return whether BuildKit fetches the build context (a URL, a git address) or reads it from stdin."""
    return context == "-" or is_url(context) or context.startswith(_GITHUB) or _SCP.match(context) is not None


def git_context(context: str) -> GitContext | None:
    """Parse the address of a git repository; None for any other context."""
    is_github = context.startswith(_GITHUB)
    if not (is_github or any(kind.match(context) for kind in (_SCP, _GIT, _HTTP))):
        return None
    address, _, fragment = context.partition("#")
    ref, _, folder = fragment.partition(":")
    return GitContext(address=f"https://{address}" if is_github else address, ref=ref, folder=folder)
