"""Read files in which some CIs keep facts, as further variables."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping

from buildx_cache.ci.variables import Variables, clean, read_pull_request

ReadText = Callable[[str], str | None]
"""Returns the text of the file at a path, or ``None`` if the file cannot be read."""

_EVENT_PATHS = (
    "pull_request.number",
    "pull_request.head.sha",
    "pull_request.head.ref",
    "pull_request.head.repo.full_name",
    "pull_request.base.ref",
    "pull_request.base.repo.full_name",
    "repository.default_branch",
)


QUEUE_BASE = "event.merge_queue_base"
"""The variable of the branch into which a merge queue's build will be merged."""
FOLLOWS_FORK = "event.follows_fork"
"""Set if the event is no pull request's but may build a fork's content."""


def github_event(variables: Variables, read_text: ReadText) -> Mapping[str, str]:
    """Read the payload of the event; see "Webhook events and payloads" in GitHub's documentation.

    The payload may have any shape. For example, ``head.repo`` is null if the fork was deleted.
    """
    event = _event(variables, read_text)
    leaves = {f"event.{dotted}": _leaf(event, dotted) for dotted in _EVENT_PATHS}
    if variables.get("GITHUB_EVENT_NAME") == "merge_group":
        leaves[QUEUE_BASE] = (_leaf(event, "merge_group.base_ref") or "").removeprefix("refs/heads/") or None
    is_own = _OWN_EVENTS.get(variables.get("GITHUB_EVENT_NAME") or "")
    if is_own and not is_own(event, variables):
        leaves[FOLLOWS_FORK] = "true"
    return {name: leaf for name, leaf in leaves.items() if leaf is not None}


def _event(variables: Variables, read_text: ReadText) -> object:
    path = variables.get("GITHUB_EVENT_PATH")
    try:
        return json.loads((read_text(path) if path else None) or "null")
    except (ValueError, RecursionError):
        return None


def _leaf(tree: object, dotted: str) -> str | None:
    found = _branch(tree, dotted)
    if isinstance(found, int) and not isinstance(found, bool):
        return str(found)
    return found if isinstance(found, str) else None


def _branch(tree: object, dotted: str) -> object:
    for key in dotted.split("."):
        tree = tree.get(key) if isinstance(tree, dict) else None
    return tree


# --- events that follow others -----------------------------------------------------------------------------

# A run of one of these events names the repository of its commit. A run of an event that follows another event names
# this repository and its default branch, even if the other event was a fork's.
_TELLING_EVENTS = frozenset(
    {"push", "pull_request", "merge_group", "schedule", "workflow_dispatch", "create", "release"}
)


def _is_own_run(event: object, variables: Variables) -> bool:
    head, base = _leaf(event, "workflow_run.head_repository.full_name"), _leaf(event, "repository.full_name")
    is_own = bool(head and head == base) and _leaf(event, "workflow_run.event") in _TELLING_EVENTS
    return is_own and _is_branch_of_run(_leaf(event, "workflow_run.head_branch"), variables)


def _is_branch_of_run(name: object, variables: Variables) -> bool:
    """Return whether an event is about the branch of its run; if not, the job may build the other branch."""
    return bool(name) and variables.get("GITHUB_REF") == f"refs/heads/{name}"


def _is_about_no_pull_request(event: object, _: Variables) -> bool:
    issue = _branch(event, "issue")
    return isinstance(issue, dict) and not issue.get("pull_request")


def _has_own_branch(dotted: str) -> Callable[[object, Variables], bool]:
    """Return a check of the event's ``head_branch``, which is null if the branch is a fork's."""
    return lambda event, variables: _is_branch_of_run(_leaf(event, dotted), variables)


def _is_on_own_branch(event: object, variables: Variables) -> bool:
    """Return whether the run's branch is among ``branches``: this repository's branches that contain the commit."""
    branches = _branch(event, "branches")
    return isinstance(branches, list) and any(_is_branch_of_run(_leaf(each, "name"), variables) for each in branches)


def _deploys_named(_: object, variables: Variables) -> bool:
    """Return whether a branch or tag is deployed. GITHUB_REF is empty for a commit, which may be a fork's."""
    return bool(re.fullmatch("refs/(heads|tags)/.+", variables.get("GITHUB_REF") or ""))


def _was_sent_without_pull_request(event: object, _: Variables) -> bool:
    """Return whether ``client_payload`` has no pull request; dispatchers of commands in comments send one along."""
    return isinstance(event, dict) and not _mentions(event.get("client_payload"), "pull_request")


def _mentions(tree: object, key: str) -> bool:
    waiting = [tree]
    while waiting:
        each = waiting.pop()
        if isinstance(each, dict):
            if each.get(key):
                return True
            waiting += each.values()
        elif isinstance(each, list):
            waiting += each
    return False


_OWN_EVENTS: Mapping[str, Callable[[object, Variables], bool]] = {
    "check_run": _has_own_branch("check_run.check_suite.head_branch"),
    "check_suite": _has_own_branch("check_suite.head_branch"),
    "deployment": _deploys_named,
    "deployment_status": _deploys_named,
    "issue_comment": _is_about_no_pull_request,
    "repository_dispatch": _was_sent_without_pull_request,
    "status": _is_on_own_branch,
    "workflow_run": _is_own_run,
}
"""By event, the check that its build has no content of a fork or another branch.

Other events are pull requests, or have no such content.
"""


# --- TeamCity ----------------------------------------------------------------------------------------------


PULLED_REFERENCE = "teamcity.pulled_reference"
"""The variable of a pull request's whole reference, if that is built.

``teamcity.build.branch`` may be its number alone: the branch specification ``+:refs/pull/*/head`` cuts the rest off.
"""
_TEAMCITY_REFERENCE = "teamcity.build.vcs.branch."
"""The beginning of the name of a built reference; the ID of its VCS root follows."""
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
    """Read both files of properties: the environment names the first, and the first names the second.

    Configuration parameters, such as the branch, are only in the second; see "Predefined Build Parameters" in
    TeamCity's documentation.
    """
    first = variables.get("TEAMCITY_BUILD_PROPERTIES_FILE")
    build = _properties(read_text(first) if first else None)
    second = clean(build.get(_TEAMCITY_CONFIGURATION))
    found = {**build, **_properties(read_text(second) if second else None)}
    built = (text for name, text in found.items() if name.startswith(_TEAMCITY_REFERENCE))
    pulled = next(filter(read_pull_request, built), "")
    return {PULLED_REFERENCE: pulled, **{name: found[name] for name in _TEAMCITY_PROPERTIES if name in found}}


def _properties(text: str | None) -> Mapping[str, str]:
    """Parse Java properties as ``Properties.store`` writes them: one a line, never continued."""
    matches = (_PROPERTY.fullmatch(line) for line in re.split(r"\r\n|\r|\n", text or ""))
    return {match["key"]: _ESCAPE.sub(_unescape, match["value"]) for match in matches if match}


def _unescape(match: re.Match[str]) -> str:
    digits, character = match.groups()
    return chr(int(digits, 16)) if digits else _ESCAPED.get(character, character)
