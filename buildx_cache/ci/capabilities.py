"""What a CI can do with what a job says: the parts that its row of ``providers`` is made of. All are pure."""

from __future__ import annotations

import secrets
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from buildx_cache.ci.commands import azure_command, github_command, teamcity_message


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
    """How a CI is told a value to mask; ``write`` makes its line.

    GitLab, CircleCI, Travis and Jenkins mask what is declared in their settings, Buildkite's agent takes more only from
    a process of its own (``buildkite-agent redactor add``).
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
    """A line that a POSIX shell sources."""
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
