"""A job's log as a CI shows it: groups of lines that are folded, and what it would take for a command of ours.

GitLab and Travis fold by control sequences, which a log must not need to be readable elsewhere: theirs is not folded.
CircleCI and the others have nothing of the kind.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from buildx_cache.ci.commands import github_command, teamcity_message

# GitHub's runner takes `::` at the start of a line, spaces aside, and `##[` anywhere (`ActionCommand.cs`); the agent of
# Azure `##vso[`, and that of TeamCity `##teamcity[`, anywhere; Buildkite its headings at the start. A blank within
# makes none of it mean anything.
_START = r"(?:^|(?<=\r))"
_COMMAND = re.compile(
    rf"{_START}[^\S\r\n]*+(?::(?=:)|(?P<heading>[-+~^])(?=(?P=heading){{2}}))|##(?=(?:vso|teamcity)?\[)",
    re.MULTILINE | re.IGNORECASE,
)
# What .NET passes over where it compares texts as people do, as both agents look for their marks.
_PASSED_OVER = r"\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff\ufff0-\ufff8\U000e0000-\U000e0fff"  # noqa: E501
_VEIL = f"[{_PASSED_OVER}]*+"
_VSO, _TEAMCITY = (_VEIL.join(mark) for mark in ("vso", "teamcity"))
# The same commands with such characters anywhere in their marks.
_VEILED_COMMAND = re.compile(
    rf"{_START}(?:[^\S\r\n]|[{_PASSED_OVER}])*+(?::(?={_VEIL}:)|(?P<heading>[-+~^])(?=(?:{_VEIL}(?P=heading)){{2}}))"
    rf"|#(?={_VEIL}#{_VEIL}(?:{_VSO}|{_TEAMCITY})?{_VEIL}\[)",
    re.MULTILINE | re.IGNORECASE,
)

MARK = re.compile(f"#(?={_VEIL}#)")
"""The first sign of what agents take for a command anywhere in a line."""


@dataclass(frozen=True, kw_only=True)
class Folding:
    """How one CI folds; each field makes a line of the group's title."""

    begin: Callable[[str], str]
    end: Callable[[str], str] | None = None
    """None where a group lasts until the next one begins."""
    show: Callable[[str], str] = str
    """A title whose lines stay open; a plain line where there is nothing of the kind."""


FOLDINGS: Mapping[str, Folding] = {
    # See "Workflow commands", grouping log lines.
    "github": Folding(
        begin=lambda title: github_command("group", {}, title), end=lambda _: github_command("endgroup", {}, "")
    ),
    # See "Logging commands", formatting commands.
    "azure": Folding(begin=lambda title: f"##[group]{title}", end=lambda _: "##[endgroup]"),
    # See "Managing log output".
    "buildkite": Folding(begin=lambda title: f"--- {title}", show=lambda title: f"+++ {title}"),
    # See "Service messages", blocks of service messages.
    "teamcity": Folding(
        begin=lambda title: teamcity_message("blockOpened", {"name": title}),
        end=lambda title: teamcity_message("blockClosed", {"name": title}),
    ),
}
"""By the name of a provider."""


def without_commands(text: str) -> str:
    """``text`` in which no CI finds a command: what a build prints, and what its steps are called, is anybody's."""
    return (_COMMAND if text.isascii() else _VEILED_COMMAND).sub(r"\g<0> ", text)


def json_without_commands(text: str) -> str:
    """The same JSON, spelled so that no CI finds a command in it: its lines begin with a bracket, a quote or blanks."""
    return MARK.sub(r"\\u0023", text)
