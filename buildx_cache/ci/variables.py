"""Read and clean untrusted variables of a CI job."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass

Names = tuple[str, ...]
"""Variables in order of preference: the first with a usable value wins."""

Mark = tuple[str, str]
"""A variable, and a regular expression that its whole value must match."""

_PLACEHOLDERS = frozenset({"", "<nil>", "<default>"})
"""Values that count as empty: CircleCI's empty pipeline value, and TeamCity's name for the default branch."""

_BLANK = " \t\r\n\f\v"

_NO_NAMES = frozenset({"", "<default>", "detached"})
"""Values that stand for no branch. ``<nil>`` is none of them: a branch may have this name, and variables with a branch
are no pipeline values."""

_CONTROL = frozenset({"Cc", "Cs", "Zl", "Zp"})
"""Unicode categories: control characters, lone surrogates, line and paragraph separators."""

_FULL = (("^refs/heads/", ""),)
"""The rewrite for a variable that has a full reference in place of a name."""

_REWRITES: Mapping[str, tuple[tuple[str, str], ...]] = {
    # CodeBuild's short forms of references.
    "CODEBUILD_WEBHOOK_TRIGGER": (
        ("^branch/", "refs/heads/"),
        ("^tag/", "refs/tags/"),
        ("^pr/", "refs/pull/"),
    ),
    # A branch name. Read as a reference only for a fork's `pull/N`; a name like a reference is a branch name, too.
    "CIRCLE_BRANCH": (("^refs/", "refs/heads/refs/"),),
    "CODEBUILD_SOURCE_VERSION": (("^pr/", "refs/pull/"),),
    **dict.fromkeys(
        (
            "CODEBUILD_WEBHOOK_BASE_REF",
            "CODEBUILD_WEBHOOK_HEAD_REF",
            "SYSTEM_PULLREQUEST_SOURCEBRANCH",
            "SYSTEM_PULLREQUEST_TARGETBRANCH",
            "teamcity.build.branch",
            "teamcity.pullRequest.source.branch",
            "teamcity.pullRequest.target.branch",
            "vcsroot.branch",
        ),
        _FULL,
    ),
    # Jenkins' git plugin names the remote-tracking branch, or "detached" for a commit without a branch.
    "GIT_BRANCH": (
        ("^detached$", ""),
        ("^(refs/remotes/)?origin/|^refs/heads/", ""),
        # Where refspecs usually put pull requests, such as `+refs/pull/*:refs/remotes/origin/pr/*`.
        (r"^([^/]+/)?(pr|pull|pull-requests|merge-requests)/(?=[0-9]+/(head|merge|from)$)|^pr/(?=[0-9]+$)", "pull/"),
    ),
}
"""Rewrites of a variable's value before use: regular expressions and replacements."""

_REFERENCES = (
    re.compile(r"refs/heads/(?P<branch>.+)"),
    re.compile(r"refs/tags/(?P<tag>.+)"),
    # CircleCI (for forks) and TeamCity leave `refs/` out.
    re.compile(r"(?:refs/)?(?:pull|pull-requests|merge-requests)/(?P<pull_request>[0-9]+)(?:/.*)?"),
    re.compile(r"(?:refs/)?changes/[0-9]{2}/(?P<pull_request>[0-9]+)/[0-9]+"),  # Gerrit's
)
_SHA = re.compile(r"[0-9a-fA-F]{7,64}")
_NUMBER = re.compile(r"(?:.*/)?([0-9]+)")
"""A pull request's number, alone or at the end of an address."""
_HOST = re.compile(r"[A-Za-z0-9+.-]+://[^/]*/|[^/:]+:")
"""The text before the path of a repository: ``https://host/``, ``ssh://git@host:22/``, ``git@host:``."""


@dataclass(frozen=True, kw_only=True)
class Variables:
    """A mapping of untrusted values, read through :func:`clean`."""

    raw: Mapping[str, str]

    def get(self, name: str) -> str | None:
        """Return the cleaned value of a variable, rewritten if a rewrite is listed; None if it is absent."""
        value = clean(self.raw.get(name)) or ""
        for pattern, replacement in _REWRITES.get(name, ()):
            value = re.sub(pattern, replacement, value)
        return value or None

    def first(self, names: Names, read: Callable[[str], str | None] = str) -> str | None:
        """Return the result of ``read`` for the first value that is present and that ``read`` accepts, or None."""
        values = (value for name in names if (value := self.get(name)) is not None)
        return next((made for value in values if (made := read(value)) is not None), None)

    def any(self, marks: tuple[Mark, ...]) -> bool:
        """Return whether any of these variables matches its mark."""
        return any(re.fullmatch(pattern, self.get(name) or "") for name, pattern in marks)

    def is_spoilt(self, names: Names, read: Callable[[str], str | None] = str) -> bool:
        """Return whether the first of these variables that is set has an invalid value."""
        name = next((name for name in names if (self.raw.get(name) or "").strip(_BLANK) not in _NO_NAMES), None)
        if name is None:
            return False
        value = self.get(name)
        return value is None or read(value) is None


def clean(value: str | None) -> str | None:
    """Strip a value; None if the value is empty, a placeholder, or has a control character.

    Other white space than ASCII's at an end makes the value invalid: it can be part of a name, and stripping it would
    give another valid name.
    """
    stripped = (value or "").strip(_BLANK)
    hostile = any(unicodedata.category(character) in _CONTROL for character in stripped)
    return None if hostile or stripped in _PLACEHOLDERS or stripped != stripped.strip() else stripped


def read_sha(value: str) -> str | None:
    """Return a commit; None for any other value, such as Buildkite's ``HEAD`` or an S3 version of CodeBuild."""
    return value if _SHA.fullmatch(value) else None


def read_number(value: str) -> str | None:
    """Return a pull request's number; None for any other value, such as ``false`` of Buildkite and Travis."""
    match = _NUMBER.fullmatch(value)
    return match[1] if match else None


def read_branch(value: str) -> str | None:
    """Return a branch name without Buildkite's ``owner:``; git allows no colon in a branch.

    Return None for a full reference: a branch named ``refs/heads/main`` must not count as ``main``.
    """
    name = value.rpartition(":")[2]
    return None if not name or name.startswith("refs/") else name


def read_tag(value: str) -> str | None:
    """Return a tag without ``refs/tags/``, or None."""
    return value.removeprefix("refs/tags/") or None


def parse_reference(value: str | None) -> Mapping[str, str]:
    """Return the ``branch``, ``tag`` or ``pull_request`` in a git reference; empty for any other text."""
    matches = (pattern.fullmatch(value or "") for pattern in _REFERENCES)
    return next((match.groupdict() for match in matches if match), {})


def read_pull_request(value: str) -> str | None:
    """Return the number of a pull request whose reference, with or without ``refs/``, is given as a branch, or None."""
    return parse_reference(value).get("pull_request")


def read_repository(value: str) -> str:
    """Return the path of a repository from an address or a slug, so that different spellings compare equal.

    The host is dropped: a CI may clone through SSH, and name a pull request's repository by an HTTPS address.
    """
    host = _HOST.match(value)
    path = value[host.end() :] if host else value
    return path.strip("/").removesuffix(".git").casefold()
