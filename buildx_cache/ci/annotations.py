"""Warnings about the Dockerfile, as annotations of its lines where the CI has such.

A warning's text is what ``progress.trace`` makes of it: the finding, and at its end ``(Dockerfile:2)`` if it has a
place. Other CIs have no command for it (GitLab's code quality report is an artifact that the job has to declare).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePath

from buildx_cache.ci.commands import azure_command, github_command
from buildx_cache.formatting import as_message, printable
from buildx_cache.redaction import redact

_PLACED = re.compile(r"(?P<message>.*) \((?P<file>[^()]+):(?P<line>[1-9][0-9]{0,6})\)")


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A warning and its place; ``file`` and ``line`` are empty where it names none."""

    message: str
    file: str = ""
    line: str = ""


def annotate(provider: str, warnings: Iterable[str], dockerfile: str) -> tuple[str, ...]:
    """Give the lines that show ``warnings`` in the CI of that name; nothing for one that has no annotations.

    ``dockerfile`` is the path from the repository's root, which BuildKit does not know: it names the base name only.
    """
    command = _COMMANDS.get(provider)
    if command is None:
        return ()
    return tuple(command(_find(printable(as_message(redact(text))), dockerfile)) for text in warnings)


def _find(text: str, dockerfile: str) -> Finding:
    match = _PLACED.fullmatch(text)
    if match is None:
        return Finding(message=text)
    is_known = PurePath(dockerfile).name == match["file"]
    return Finding(message=match["message"], file=dockerfile if is_known else match["file"], line=match["line"])


def _github(finding: Finding) -> str:
    place = {"file": finding.file, "line": finding.line}
    return github_command("warning", _given(place), finding.message)


def _azure(finding: Finding) -> str:
    place = {"type": "warning", "sourcepath": finding.file, "linenumber": finding.line}
    return azure_command("task.logissue", _given(place), finding.message)


def _given(properties: Mapping[str, str]) -> Mapping[str, str]:
    return {name: value for name, value in properties.items() if value}


# By the name of a provider.
_COMMANDS: Mapping[str, Callable[[Finding], str]] = {"github": _github, "azure": _azure}
