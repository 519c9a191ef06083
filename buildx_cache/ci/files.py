"""Files in which some CIs keep facts, read as further variables."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping

from buildx_cache.ci.variables import Variables, clean

ReadText = Callable[[str], str | None]
"""Gives the text of the file at a path, or ``None`` when it cannot be read."""

_EVENT_PATHS = (
    "pull_request.number",
    "pull_request.head.sha",
    "pull_request.head.ref",
    "pull_request.head.repo.full_name",
    "pull_request.base.ref",
    "pull_request.base.repo.full_name",
    "repository.default_branch",
)


def github_event(variables: Variables, read_text: ReadText) -> Mapping[str, str]:
    """Read the payload of the event; see "Webhook events and payloads" in GitHub's documentation.

    ``head.repo`` is null once the fork was deleted. Nothing here trusts the payload's shape.
    """
    path = variables.get("GITHUB_EVENT_PATH")
    try:
        event: object = json.loads((read_text(path) if path else None) or "null")
    except (ValueError, RecursionError):
        return {}
    leaves = {f"event.{dotted}": _leaf(event, dotted) for dotted in _EVENT_PATHS}
    return {name: leaf for name, leaf in leaves.items() if leaf is not None}


def _leaf(tree: object, dotted: str) -> str | None:
    for key in dotted.split("."):
        tree = tree.get(key) if isinstance(tree, dict) else None
    if isinstance(tree, int) and not isinstance(tree, bool):
        return str(tree)
    return tree if isinstance(tree, str) else None


_TEAMCITY_CONFIGURATION = "teamcity.configuration.properties.file"
_TEAMCITY_PROPERTIES = (
    "teamcity.build.branch",
    "teamcity.pullRequest.number",
    "teamcity.pullRequest.source.branch",
    "teamcity.pullRequest.target.branch",
    "vcsroot.branch",
)

_PROPERTY = re.compile(r"[ \t\f]*(?P<key>[^\s#!=:\\][^\s=:\\]*)[ \t\f]*[=:][ \t\f]*(?P<value>.*)")
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(.))")
_ESCAPED = {"t": "\t", "n": "\n", "r": "\r", "f": "\f"}


def teamcity_properties(variables: Variables, read_text: ReadText) -> Mapping[str, str]:
    """Read both files of properties: the environment names the first, which names the second.

    Configuration parameters, the branch among them, are only in the second; see "Predefined Build Parameters"
    in TeamCity's documentation.
    """
    first = variables.get("TEAMCITY_BUILD_PROPERTIES_FILE")
    build = _properties(read_text(first) if first else None)
    second = clean(build.get(_TEAMCITY_CONFIGURATION))
    found = {**build, **_properties(read_text(second) if second else None)}
    return {name: found[name] for name in _TEAMCITY_PROPERTIES if name in found}


def _properties(text: str | None) -> Mapping[str, str]:
    """Read Java properties as ``Properties.store`` writes them: one to a line, never continued."""
    matches = (_PROPERTY.fullmatch(line) for line in re.split(r"\r\n|\r|\n", text or ""))
    return {match["key"]: _ESCAPE.sub(_unescape, match["value"]) for match in matches if match}


def _unescape(match: re.Match[str]) -> str:
    digits, character = match.groups()
    return chr(int(digits, 16)) if digits else _ESCAPED.get(character, character)
