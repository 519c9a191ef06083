"""Define the capabilities of CIs for the rows in ``providers``: outputs, summary, annotations, masks, folding.

The functions are pure. They also escape values in a CI's commands, and defuse commands in texts.
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
    """Return ``::name key=value,key=value::message``; see "Workflow commands" in GitHub's documentation."""
    listed = ",".join(f"{key}={value.translate(_GITHUB_PROPERTY)}" for key, value in properties.items())
    return f"::{name}{' ' if listed else ''}{listed}::{message.translate(_GITHUB_MESSAGE)}"


def azure_command(name: str, properties: Mapping[str, str], message: str) -> str:
    """Return ``##vso[area.action key=value;]message``; see "Logging commands" in Azure Pipelines' documentation."""
    listed = "".join(f"{key}={value.translate(_AZURE_PROPERTY)};" for key, value in properties.items())
    return f"##vso[{name}{' ' if listed else ''}{listed}]{message.translate(_AZURE_MESSAGE)}"


def teamcity_message(name: str, attributes: Mapping[str, str]) -> str:
    """Return ``##teamcity[name key='value']``; see "Service Messages" in TeamCity's documentation."""
    listed = "".join(f" {key}='{_TEAMCITY_SPECIAL.sub(_teamcity_escape, value)}'" for key, value in attributes.items())
    return f"##teamcity[{name}{listed}]"


def _teamcity_escape(match: re.Match[str]) -> str:
    """Escape a character, by its named escape or by its UTF-16 units with four digits each."""
    digits = match[0].encode("utf-16-be", "surrogatepass").hex()
    units = (digits[start : start + 4] for start in range(0, len(digits), 4))
    return _TEAMCITY_ESCAPES.get(match[0]) or "".join(f"|0x{unit}" for unit in units)


# --- texts without commands ----------------------------------------------------------------------------------

# GitHub's runner obeys `::` at the start of a line, after any spaces, and `##[` anywhere (`ActionCommand.cs`). The
# agents of Azure and TeamCity obey `##vso[` and `##teamcity[` anywhere, Buildkite obeys headings at the start. A blank
# inside of the mark defuses each of them.
# The patterns never backtrack: a log may have lines of blanks, and blank lines, of any length.
_START = r"(?:^|(?<=\r))"
_BLANKS = r"[^\S\r\n]"
# Compiled when first used: compiling takes 4 ms, and most logs are no CI's.
_FLAGS = re.MULTILINE | re.IGNORECASE
_COMMAND = rf"{_START}{_BLANKS}*+(?::(?=:)|(?P<heading>[-+~^])(?=(?P=heading){{2}}))|##(?=(?:vso|teamcity)?\[)"
# Characters that .NET ignores in a culture-sensitive comparison, by which both agents look for their marks.
_PASSED_OVER = r"\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff\ufff0-\ufff8\U000e0000-\U000e0fff"  # noqa: E501
_VEIL = f"[{_PASSED_OVER}]*+"
_VSO, _TEAMCITY = (_VEIL.join(mark) for mark in ("vso", "teamcity"))
# The same commands with such characters anywhere in their marks.
_VEILED_COMMAND = (
    rf"{_START}(?:{_BLANKS}|[{_PASSED_OVER}])*+(?::(?={_VEIL}:)|(?P<heading>[-+~^])(?=(?:{_VEIL}(?P=heading)){{2}}))"
    rf"|#(?={_VEIL}#{_VEIL}(?:{_VSO}|{_TEAMCITY})?{_VEIL}\[)"
)

MARK = re.compile(f"#(?={_VEIL}#)")
"""The first character of a mark that agents obey anywhere in a line."""


def without_commands(text: str) -> str:
    """Defuse commands to a CI in a text: anybody may choose a build's log and the names of its steps."""
    return re.sub(_COMMAND if text.isascii() else _VEILED_COMMAND, r"\g<0> ", text, flags=_FLAGS)


def json_without_commands(text: str) -> str:
    """Return the same JSON with ``#`` escaped where a CI could find a command.

    No line needs an escape at its start: each begins with a bracket, a quote or blanks.
    """
    return MARK.sub(r"\\u0023", text)


@dataclass(frozen=True, kw_only=True)
class Folding:
    """Fold lines of a CI's log; each field turns a group's title into a line.

    GitLab and Travis are left out: they fold by control sequences, with which a log is unreadable elsewhere.
    """

    begin: Callable[[str], str]
    end: Callable[[str], str] | None = None
    """None if a group lasts until the next group begins."""
    show: Callable[[str], str] = str
    """Begins a group that stays unfolded; a plain line if the CI has no such group."""


@dataclass(frozen=True, kw_only=True)
class Masking:
    """Have a CI mask a value in its log; ``write`` returns the line.

    GitLab, CircleCI, Travis and Jenkins mask only values of their settings. Buildkite's agent accepts values only from
    another process (``buildkite-agent redactor add``).
    """

    write: Callable[[str], str]
    shortest: int = 1
    """The length in characters from which the CI masks a value, whatever its settings are."""


@dataclass(frozen=True, kw_only=True)
class OutputFormat:
    """Pass variables to later steps of a CI; ``write`` returns the line or lines for a name and a value."""

    write: Callable[[str, str], str]
    file: str = ""
    """The variable that names the file; empty if the CI reads its log."""
    spell: Callable[[str], str]
    """Returns the name of the CI's variable for the name of a value."""
    separator: str = ","
    """The separator of a list's words; no image reference has a comma."""


class SummaryFile(NamedTuple):
    """The Markdown file for a job's page: the variable with its path, and the largest size shown, in bytes."""

    variable: str
    limit: int


class Annotation(NamedTuple):
    """A warning and its place; ``file`` and ``line`` are empty if it has no place."""

    message: str
    file: str = ""
    line: str = ""


# --- annotations ---------------------------------------------------------------------------------------------


def github_annotation(warning: Annotation) -> str:
    """Return GitHub's command for a warning; see "Workflow commands", setting a warning message."""
    return github_command("warning", _given({"file": warning.file, "line": warning.line}), warning.message)


def azure_annotation(warning: Annotation) -> str:
    """Return Azure's command for a warning; see "Logging commands", LogIssue."""
    place = {"type": "warning", "sourcepath": warning.file, "linenumber": warning.line}
    return azure_command("task.logissue", _given(place), warning.message)


def _given(properties: Mapping[str, str]) -> Mapping[str, str]:
    return {name: value for name, value in properties.items() if value}


# --- variables -----------------------------------------------------------------------------------------------


def variable(name: str) -> str:
    """Return the environment variable for a value: ``BUILDX_CACHE_HIT_RATIO`` for ``hit-ratio``."""
    return f"BUILDX_CACHE_{name.upper().replace('-', '_')}"


def heredoc(name: str, value: str) -> str:
    """Return GitHub's text for an output of one or more lines, ended by a line that the output does not have.

    See "Workflow commands: multiline strings" in GitHub's documentation, and ``FileCommandManager`` of its runner.
    """
    end = f"end-{secrets.token_hex(16)}"
    while end in value:
        end = f"end-{secrets.token_hex(16)}"
    return f"{name}<<{end}\n{value}\n{end}"


def export(name: str, value: str) -> str:
    """Return a variable's line in a file that POSIX shells source."""
    return f"export {name}={shlex.quote(value)}"


def azure_variable(name: str, value: str) -> str:
    """Return Azure's command for a variable; see "Logging commands", SetVariable."""
    return azure_command("task.setvariable", {"variable": name}, value)


def teamcity_parameter(name: str, value: str) -> str:
    """Return TeamCity's command for a variable; see "Service messages", adding or changing a build parameter."""
    return teamcity_message("setParameter", {"name": f"env.{name}", "value": value})


def assignment(name: str, value: str) -> str:
    """Return a variable's line in a dotenv file, without quotes: GitLab keeps them (``ParseDotenvArtifactService``)."""
    return f"{name}={value}"


# --- capabilities of CIs -------------------------------------------------------------------------------------

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
# "Logging commands", SetSecret. AZP_IGNORE_SECRETS_SHORTER_THAN can make an agent ignore values of less than up to six
# characters.
AZURE_MASKING = Masking(write=lambda value: azure_command("task.setsecret", {}, value), shortest=6)
# The format of --dotenv.
DOTENV = OutputFormat(write=assignment, spell=variable)
