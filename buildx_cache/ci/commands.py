"""Commands that a CI takes from the lines of a job's log: their escapes, and texts in which no CI finds a command.

A command is one line and has to begin it. All three CIs are sent it on stderr, as stdout carries results only. The
runner of GitHub and the agent of Azure read both streams; TeamCity's documentation promises only stdout.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_BREAKS = {"\r": "%0D", "\n": "%0A"}
# `escapeData` and `escapeProperty` of `packages/core/src/command.ts` in actions/toolkit.
_GITHUB_MESSAGE = str.maketrans({"%": "%25", **_BREAKS})
_GITHUB_PROPERTY = str.maketrans({"%": "%25", **_BREAKS, ":": "%3A", ",": "%2C"})
# The same in `node/taskcommand.ts` of microsoft/azure-pipelines-task-lib. `%25` would stay as it is: the agent knows
# only `%AZP25` (its `CommandStringConvertor`).
_AZURE_MESSAGE = str.maketrans({"%": "%AZP25", **_BREAKS})
_AZURE_PROPERTY = str.maketrans({"%": "%AZP25", **_BREAKS, "]": "%5D", ";": "%3B"})
# "Service Messages: Escaped Values" in TeamCity's documentation.
_TEAMCITY_SPECIAL = re.compile(r"[^ -~]|['|\[\]]")
_TEAMCITY_ESCAPES = {"\n": "|n", "\r": "|r", "'": "|'", "|": "||", "[": "|[", "]": "|]"}


def github_command(name: str, properties: Mapping[str, str], message: str) -> str:
    """``::name key=value,key=value::message``; see "Workflow commands" in GitHub's documentation."""
    listed = ",".join(f"{key}={value.translate(_GITHUB_PROPERTY)}" for key, value in properties.items())
    return f"::{name}{' ' if listed else ''}{listed}::{message.translate(_GITHUB_MESSAGE)}"


def azure_command(name: str, properties: Mapping[str, str], message: str) -> str:
    """``##vso[area.action key=value;]message``; see "Logging commands" in Azure Pipelines' documentation."""
    listed = "".join(f"{key}={value.translate(_AZURE_PROPERTY)};" for key, value in properties.items())
    return f"##vso[{name}{' ' if listed else ''}{listed}]{message.translate(_AZURE_MESSAGE)}"


def teamcity_message(name: str, attributes: Mapping[str, str]) -> str:
    """``##teamcity[name key='value']``; see "Service Messages" in TeamCity's documentation."""
    listed = "".join(f" {key}='{_TEAMCITY_SPECIAL.sub(_teamcity_escape, value)}'" for key, value in attributes.items())
    return f"##teamcity[{name}{listed}]"


def _teamcity_escape(match: re.Match[str]) -> str:
    """Escape a character; one without an escape of its own as its UTF-16 units, four digits each."""
    digits = match[0].encode("utf-16-be", "surrogatepass").hex()
    units = (digits[start : start + 4] for start in range(0, len(digits), 4))
    return _TEAMCITY_ESCAPES.get(match[0]) or "".join(f"|0x{unit}" for unit in units)


# --- texts without commands ----------------------------------------------------------------------------------

# GitHub's runner takes `::` at the start of a line, spaces aside, and `##[` anywhere (`ActionCommand.cs`); the agent of
# Azure `##vso[`, and that of TeamCity `##teamcity[`, anywhere; Buildkite its headings at the start. A blank within
# makes none of it mean anything.
# No pattern here looks twice at what it passed over: a log has lines of blanks, and blank lines, of any length.
_START = r"(?:^|(?<=\r))"
_BLANKS = r"[^\S\r\n]"
# Compiled when first used: that takes 4 ms, and most logs are no CI's.
_FLAGS = re.MULTILINE | re.IGNORECASE
_COMMAND = rf"{_START}{_BLANKS}*+(?::(?=:)|(?P<heading>[-+~^])(?=(?P=heading){{2}}))|##(?=(?:vso|teamcity)?\[)"
# What .NET passes over where it compares texts as people do, as both agents look for their marks.
_PASSED_OVER = r"\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff\ufff0-\ufff8\U000e0000-\U000e0fff"  # noqa: E501
_VEIL = f"[{_PASSED_OVER}]*+"
_VSO, _TEAMCITY = (_VEIL.join(mark) for mark in ("vso", "teamcity"))
# The same commands with such characters anywhere in their marks.
_VEILED_COMMAND = (
    rf"{_START}(?:{_BLANKS}|[{_PASSED_OVER}])*+(?::(?={_VEIL}:)|(?P<heading>[-+~^])(?=(?:{_VEIL}(?P=heading)){{2}}))"
    rf"|#(?={_VEIL}#{_VEIL}(?:{_VSO}|{_TEAMCITY})?{_VEIL}\[)"
)

MARK = re.compile(f"#(?={_VEIL}#)")
"""The first sign of what agents take for a command anywhere in a line."""


def without_commands(text: str) -> str:
    """``text`` in which no CI finds a command: what a build prints, and what its steps are called, is anybody's."""
    return re.sub(_COMMAND if text.isascii() else _VEILED_COMMAND, r"\g<0> ", text, flags=_FLAGS)


def json_without_commands(text: str) -> str:
    """The same JSON, spelled so that no CI finds a command in it: its lines begin with a bracket, a quote or blanks."""
    return MARK.sub(r"\\u0023", text)
