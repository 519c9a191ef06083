"""Untrusted values, cleaned: the environment of a CI job, and what its variables mean."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass

Names = tuple[str, ...]
"""Variables in order of preference: the first that holds something usable wins."""

Mark = tuple[str, str]
"""A variable, and a regular expression its whole value has to match."""

_PLACEHOLDERS = frozenset({"", "<nil>", "<default>"})
"""CircleCI's empty pipeline value, and TeamCity's name for the branch its settings call the default."""

_BLANK = " \t\r\n\f\v"

_NO_NAMES = frozenset({"", "<default>", "detached"})
"""What stands for no branch at all. Not ``<nil>``: a branch can be called so, and CIs name theirs without a pipeline
value."""

_CONTROL = frozenset({"Cc", "Cs", "Zl", "Zp"})
"""Unicode categories: control characters, lone surrogates, line and paragraph separators."""

_FULL = (("^refs/heads/", ""),)
"""For a variable that holds a full reference where others hold a name."""

_REWRITES: Mapping[str, tuple[tuple[str, str], ...]] = {
    # CodeBuild's short forms, made references.
    "CODEBUILD_WEBHOOK_TRIGGER": (
        ("^branch/", "refs/heads/"),
        ("^tag/", "refs/tags/"),
        ("^pr/", "refs/pull/"),
    ),
    # A name, in which only the `pull/N` of a fork is looked for: one that looks like a reference is none.
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
    # Jenkins' git plugin names the remote-tracking branch, and "detached" where a bare commit was asked for.
    "GIT_BRANCH": (("^detached$", ""), ("^(refs/remotes/)?origin/|^refs/heads/", "")),
}
"""How a variable's value is rewritten before use: regular expressions and what replaces a match."""

_REFERENCES = (
    re.compile(r"refs/heads/(?P<branch>.+)"),
    re.compile(r"refs/tags/(?P<tag>.+)"),
    # CircleCI (forks) and TeamCity leave the leading part out.
    re.compile(r"(?:refs/)?(?:pull|pull-requests|merge-requests)/(?P<pull_request>[0-9]+)(?:/.*)?"),
)
_SHA = re.compile(r"[0-9a-fA-F]{7,64}")
_NUMBER = re.compile(r"(?:.*/)?([0-9]+)")
"""A pull request's number, alone or at the end of its address."""
_HOST = re.compile(r"[A-Za-z0-9+.-]+://[^/]*/|[^/:]+:")
"""What stands before the path of a repository: ``https://host/``, ``ssh://git@host:22/``, ``git@host:``."""


@dataclass(frozen=True, kw_only=True)
class Variables:
    """A mapping of untrusted values, read through :func:`clean`."""

    raw: Mapping[str, str]

    def get(self, name: str) -> str | None:
        """Return the value of a variable, rewritten where its CI writes it oddly; None where it is absent."""
        value = clean(self.raw.get(name)) or ""
        for pattern, replacement in _REWRITES.get(name, ()):
            value = re.sub(pattern, replacement, value)
        return value or None

    def first(self, names: Names, read: Callable[[str], str | None] = str) -> str | None:
        """Give the first value that is present and that ``read`` makes sense of, as ``read`` gives it."""
        values = (value for name in names if (value := self.get(name)) is not None)
        return next((made for value in values if (made := read(value)) is not None), None)

    def any(self, marks: tuple[Mark, ...]) -> bool:
        """Whether any of these variables has its value."""
        return any(re.fullmatch(pattern, self.get(name) or "") for name, pattern in marks)

    def is_spoilt(self, names: Names, read: Callable[[str], str | None] = str) -> bool:
        """Whether the first of these variables that is set holds nothing usable: a control character, a wrong form."""
        name = next((name for name in names if (self.raw.get(name) or "").strip(_BLANK) not in _NO_NAMES), None)
        if name is None:
            return False
        value = self.get(name)
        return value is None or read(value) is None


def clean(value: str | None) -> str | None:
    """Strip a value; None for one that is empty, a placeholder, or that holds a control character.

    White space that is not ASCII can be part of a name: with it cut off, the name would be another one.
    """
    stripped = (value or "").strip(_BLANK)
    hostile = any(unicodedata.category(character) in _CONTROL for character in stripped)
    return None if hostile or stripped in _PLACEHOLDERS or stripped != stripped.strip() else stripped


def read_sha(value: str) -> str | None:
    """Refuse what is no commit: Buildkite's ``HEAD``, the S3 version or ARN of a CodeBuild source."""
    return value if _SHA.fullmatch(value) else None


def read_number(value: str) -> str | None:
    """Refuse what is no number: the ``false`` of Buildkite and Travis."""
    match = _NUMBER.fullmatch(value)
    return match[1] if match else None


def read_branch(value: str) -> str | None:
    """Drop Buildkite's ``owner:``; git allows no colon in a branch.

    Refuse a name that is a full reference: of a branch called ``refs/heads/main``, ``main`` would be read.
    """
    name = value.rpartition(":")[2]
    return None if not name or name.startswith("refs/") else name


def read_tag(value: str) -> str | None:
    """Drop ``refs/tags/``."""
    return value.removeprefix("refs/tags/") or None


def parse_reference(value: str | None) -> Mapping[str, str]:
    """Say what a git reference names: a ``branch``, a ``tag`` or a ``pull_request``; nothing for anything else."""
    matches = (pattern.fullmatch(value or "") for pattern in _REFERENCES)
    return next((match.groupdict() for match in matches if match), {})


def read_repository(value: str) -> str:
    """Give the path of a repository from its address or its slug, so that different spellings compare equal.

    The host is left out: a CI may clone through SSH and give a pull request's repository its HTTPS address.
    """
    host = _HOST.match(value)
    path = value[host.end() :] if host else value
    return path.strip("/").removesuffix(".git").casefold()
