"""Say what each CI does with a job's output: the parts of the rows in ``providers``. All are pure.

Commands in a CI's log are escaped here, and taken out of texts.
"""

from __future__ import annotations

import re
import secrets
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

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
    """Escape a character; one without a named escape as its UTF-16 units, four digits each."""
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
    """Return the same JSON, spelled so that no CI finds a command in it.

    Its lines begin with a bracket, a quote or blanks.
    """
    return MARK.sub(r"\\u0023", text)


@dataclass(frozen=True, kw_only=True)
class Folding:
    """How a CI folds lines of the log; each field makes a line of the group's title.

    GitLab and Travis fold by control sequences, which a log must not need to be readable elsewhere.
    """

    begin: Callable[[str], str]
    end: Callable[[str], str] | None = None
    """None where a group lasts until the next one begins."""
    show: Callable[[str], str] = str
    """A title whose lines stay open; a plain line where there is nothing of the kind."""


@dataclass(frozen=True, kw_only=True)
class Masking:
    """How to have a CI mask a value; ``write`` makes its line.

    GitLab, CircleCI, Travis and Jenkins mask what is declared in their settings, Buildkite's agent takes more only from
    another process (``buildkite-agent redactor add``).
    """

    write: Callable[[str], str]
    shortest: int = 1
    """Characters of the shortest value that it masks whatever its settings are: a shorter one could be shown."""


@dataclass(frozen=True, kw_only=True)
class OutputFormat:
    """How a CI takes variables for later steps; ``write`` makes the line or lines of one from its name and value."""

    write: Callable[[str, str], str]
    file: str = ""
    """The variable that names the file; empty where the log is read."""
    spell: Callable[[str], str]
    """How a value's name is spelled there."""
    separator: str = ","
    """What stands between the words of a list; no image reference has a comma."""


class SummaryFile(NamedTuple):
    """The Markdown file of a job's page: the variable that names it, and the bytes that the CI shows at most."""

    variable: str
    limit: int


class Finding(NamedTuple):
    """A warning and its place; ``file`` and ``line`` are empty where it names none."""

    message: str
    file: str = ""
    line: str = ""


# --- annotations ---------------------------------------------------------------------------------------------


def github_annotation(finding: Finding) -> str:
    """See "Workflow commands", setting a warning message."""
    return github_command("warning", _given({"file": finding.file, "line": finding.line}), finding.message)


def azure_annotation(finding: Finding) -> str:
    """See "Logging commands", LogIssue."""
    place = {"type": "warning", "sourcepath": finding.file, "linenumber": finding.line}
    return azure_command("task.logissue", _given(place), finding.message)


def _given(properties: Mapping[str, str]) -> Mapping[str, str]:
    return {name: value for name, value in properties.items() if value}


# --- variables -----------------------------------------------------------------------------------------------


def variable(name: str) -> str:
    """``hit-ratio`` as an environment variable: ``BUILDX_CACHE_HIT_RATIO``."""
    return f"BUILDX_CACHE_{name.upper().replace('-', '_')}"


def heredoc(name: str, value: str) -> str:
    """One output, possibly of many lines, ended by a line that is not in it.

    See "Workflow commands: multiline strings" in GitHub's documentation, and ``FileCommandManager`` of its runner.
    """
    end = f"end-{secrets.token_hex(16)}"
    while end in value:
        end = f"end-{secrets.token_hex(16)}"
    return f"{name}<<{end}\n{value}\n{end}"


def export(name: str, value: str) -> str:
    """Return a line that a POSIX shell sources."""
    return f"export {name}={shlex.quote(value)}"


def azure_variable(name: str, value: str) -> str:
    """See "Logging commands", SetVariable."""
    return azure_command("task.setvariable", {"variable": name}, value)


def teamcity_parameter(name: str, value: str) -> str:
    """See "Service messages", adding or changing a build parameter."""
    return teamcity_message("setParameter", {"name": f"env.{name}", "value": value})


def assignment(name: str, value: str) -> str:
    """Nothing quotes here: GitLab keeps quotes as part of the value (its ``ParseDotenvArtifactService``)."""
    return f"{name}={value}"


# --- how CIs do it -------------------------------------------------------------------------------------------

# See "Workflow commands", grouping log lines.
GITHUB_FOLDING = Folding(
    begin=lambda title: github_command("group", {}, title), end=lambda _: github_command("endgroup", {}, "")
)
# See "Logging commands", formatting commands.
AZURE_FOLDING = Folding(begin=lambda title: f"##[group]{title}", end=lambda _: "##[endgroup]")
# See "Managing log output".
BUILDKITE_FOLDING = Folding(begin=lambda title: f"--- {title}", show=lambda title: f"+++ {title}")
# See "Service messages", blocks of service messages.
TEAMCITY_FOLDING = Folding(
    begin=lambda title: teamcity_message("blockOpened", {"name": title}),
    end=lambda title: teamcity_message("blockClosed", {"name": title}),
)
# "Workflow commands", masking a value in a log.
GITHUB_MASKING = Masking(write=lambda value: github_command("add-mask", {}, value))
# "Logging commands", SetSecret. An agent may be told to pass over what is shorter than six characters at most
# (AZP_IGNORE_SECRETS_SHORTER_THAN).
AZURE_MASKING = Masking(write=lambda value: azure_command("task.setsecret", {}, value), shortest=6)
# What --dotenv writes.
DOTENV = OutputFormat(write=assignment, spell=variable)
