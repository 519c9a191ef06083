"""Commands that a CI takes from the lines of a job's log, with the escapes that keep any text inside its field.

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
