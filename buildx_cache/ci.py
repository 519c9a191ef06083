"""Which CI runs this, and what it builds: commit, branch, tag, pull request.

A CI is one row of :data:`PROVIDERS`. A row only names variables, so adding a CI means adding a row, and
checking one means holding it against the page of its documentation that the comment above it names.
:func:`detect` reads the first row that matches. It is pure: the environment, a way to ask git and a way to
read a file are given to it.

Every value counts as untrusted. Surrounding white space is dropped; a value that is empty, a placeholder, or
that holds a control character is treated as absent.

Forks fail closed: where a CI names both repositories of a pull request, anything but two equal names is a
fork. Where it names none, ``is_fork`` stays false, because nothing is known.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

ReadText = Callable[[str], str | None]
"""Gives the text of the file at a path, or ``None`` when it cannot be read."""

Names = tuple[str, ...]
"""Variables in order of preference: the first that holds something usable wins."""

Mark = tuple[str, str]
"""A variable, and a regular expression its whole value has to match."""

Documents = Callable[["_Variables", ReadText], Mapping[str, str]]
"""Reads what a CI keeps in files, as further variables."""


@dataclass(frozen=True, kw_only=True)
class GitFacts:
    """What ``git`` says of the working copy; every field may be ``None``: no git, no repository."""

    sha: str | None = None
    branch: str | None = None
    """``None`` when HEAD is detached."""
    tag: str | None = None
    """A tag that points exactly at HEAD."""
    default_branch: str | None = None
    """The branch ``refs/remotes/origin/HEAD`` points at, without ``origin/``."""


@dataclass(frozen=True, kw_only=True)
class CIContext:
    """What is being built, as far as the CI (and git, where the CI is silent) can tell."""

    provider: str
    """The name of a row of :data:`PROVIDERS`, or ``none``."""
    sha: str | None
    """The commit; of a pull request its head, not the merge commit some CIs check out."""
    branch: str | None
    """Of a pull request its source branch."""
    tag: str | None
    pull_request: str | None
    """The number, in digits."""
    target_branch: str | None
    """The branch a pull request would be merged into; ``None`` for everything else."""
    default_branch: str | None
    build: str | None
    """The CI's own number of this build."""
    is_fork: bool = False

    @property
    def is_ci(self) -> bool:
        """Whether any CI was recognised, be it only by ``CI=true``."""
        return self.provider != "none"


@dataclass(frozen=True, kw_only=True)
class Provider:
    """One CI: where each fact stands. A field without a description names the variables of that fact."""

    name: str
    marks: tuple[Mark, ...]
    """Any one of them gives this CI away."""
    documents: Documents | None = None
    ref: Names = ()
    """Full references (``refs/heads/…``, ``refs/pull/N/…``): the fallback of what no other field gives."""
    sha: Names = ()
    pull_sha: Names = ()
    """The head of a pull request, asked before ``sha``."""
    branch: Names = ()
    source_branch: Names = ()
    """The branch of a pull request; ``branch`` is then not asked, which on many CIs is the target."""
    target_branch: Names = ()
    tag: Names = ()
    pull_request: Names = ()
    pull_marks: tuple[Mark, ...] = ()
    """Any one of them says that this is a pull request, should its number be unreadable."""
    fork_marks: tuple[Mark, ...] = ()
    """Any one of them says that this is a pull request from a fork."""
    same_repository: tuple[tuple[str, str], ...] = ()
    """Source and target repository of a pull request; a name given twice has to be set."""
    default_branch: Names = ()
    build: Names = ()


_PLACEHOLDERS = frozenset({"", "<nil>", "<default>"})
"""CircleCI's empty pipeline value, and TeamCity's name for the branch its settings call the default."""

_CONTROL = frozenset({"Cc", "Cs", "Zl", "Zp"})
"""Unicode categories: control characters, lone surrogates, line and paragraph separators."""

_REWRITES: Mapping[str, tuple[tuple[str, str], ...]] = {
    # CodeBuild's short forms, made references.
    "CODEBUILD_WEBHOOK_TRIGGER": (
        ("^branch/", "refs/heads/"),
        ("^tag/", "refs/tags/"),
        ("^pr/", "refs/pull/"),
    ),
    # Jenkins' git plugin names the remote-tracking branch, and "detached" where a bare commit was asked for.
    "GIT_BRANCH": (("^(refs/remotes/)?origin/", ""), ("^detached$", "")),
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

_SET = ".+"
_TRUE = "(?i:true|1|yes)"


@dataclass(frozen=True, kw_only=True)
class _Variables:
    """A mapping of untrusted values, read through :func:`_clean`."""

    raw: Mapping[str, str]

    def get(self, name: str) -> str | None:
        value = _clean(self.raw.get(name)) or ""
        for pattern, replacement in _REWRITES.get(name, ()):
            value = re.sub(pattern, replacement, value)
        return value or None

    def first(self, names: Names, read: Callable[[str], str | None] = str) -> str | None:
        """Give the first value that is present and that ``read`` makes sense of, as ``read`` gives it."""
        values = (value for name in names if (value := self.get(name)) is not None)
        return next((made for value in values if (made := read(value)) is not None), None)

    def any(self, marks: tuple[Mark, ...]) -> bool:
        return any(re.fullmatch(pattern, self.get(name) or "") for name, pattern in marks)


def _clean(value: str | None) -> str | None:
    stripped = (value or "").strip()
    hostile = any(unicodedata.category(character) in _CONTROL for character in stripped)
    return None if hostile or stripped in _PLACEHOLDERS else stripped


def _sha(value: str) -> str | None:
    """Refuse what is no commit: Buildkite's ``HEAD``, the S3 version or ARN of a CodeBuild source."""
    return value if _SHA.fullmatch(value) else None


def _number(value: str) -> str | None:
    """Refuse what is no number: the ``false`` of Buildkite and Travis."""
    match = _NUMBER.fullmatch(value)
    return match[1] if match else None


def _branch(value: str) -> str | None:
    """Drop ``refs/heads/`` and Buildkite's ``owner:``; git allows no colon in a branch."""
    name = value.removeprefix("refs/heads/").rpartition(":")[2]
    return None if not name or name.startswith("refs/") else name


def _tag(value: str) -> str | None:
    return value.removeprefix("refs/tags/") or None


def _parse_reference(value: str | None) -> Mapping[str, str]:
    matches = (pattern.fullmatch(value or "") for pattern in _REFERENCES)
    return next((match.groupdict() for match in matches if match), {})


def _repository(value: str) -> str:
    """Give the path of a repository from its address or its slug, so that different spellings compare equal.

    The host is left out: a CI may clone through SSH and give a pull request's repository its HTTPS address.
    """
    host = _HOST.match(value)
    path = value[host.end() :] if host else value
    return path.strip("/").removesuffix(".git").casefold()


# --- files some CIs keep facts in -------------------------------------------------------------------------

_EVENT_PATHS = (
    "pull_request.number",
    "pull_request.head.sha",
    "pull_request.head.ref",
    "pull_request.head.repo.full_name",
    "pull_request.base.ref",
    "pull_request.base.repo.full_name",
    "repository.default_branch",
)


def _github_event(variables: _Variables, read_text: ReadText) -> Mapping[str, str]:
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


def _teamcity_properties(variables: _Variables, read_text: ReadText) -> Mapping[str, str]:
    """Read both files of properties: the environment names the first, which names the second.

    Configuration parameters, the branch among them, are only in the second; see "Predefined Build Parameters"
    in TeamCity's documentation.
    """
    first = variables.get("TEAMCITY_BUILD_PROPERTIES_FILE")
    build = _properties(read_text(first) if first else None)
    second = _clean(build.get(_TEAMCITY_CONFIGURATION))
    found = {**build, **_properties(read_text(second) if second else None)}
    return {name: found[name] for name in _TEAMCITY_PROPERTIES if name in found}


def _properties(text: str | None) -> Mapping[str, str]:
    """Read Java properties as ``Properties.store`` writes them: one to a line, never continued."""
    matches = (_PROPERTY.fullmatch(line) for line in re.split(r"\r\n|\r|\n", text or ""))
    return {match["key"]: _ESCAPE.sub(_unescape, match["value"]) for match in matches if match}


def _unescape(match: re.Match[str]) -> str:
    digits, character = match.groups()
    return chr(int(digits, 16)) if digits else _ESCAPED.get(character, character)


# --- the table --------------------------------------------------------------------------------------------

PROVIDERS: tuple[Provider, ...] = (
    # "Project values and variables". Only pull requests from forks have the CIRCLE_PR_ variables, and a
    # branch called `pull/N`.
    Provider(
        name="circleci",
        marks=(("CIRCLECI", _TRUE),),
        ref=("CIRCLE_BRANCH",),
        sha=("CIRCLE_SHA1",),
        branch=("CIRCLE_BRANCH",),
        source_branch=("CIRCLE_BRANCH",),
        tag=("CIRCLE_TAG",),
        pull_request=("CIRCLE_PR_NUMBER", "CIRCLE_PULL_REQUEST"),
        fork_marks=(
            ("CIRCLE_PR_NUMBER", _SET),
            ("CIRCLE_PR_USERNAME", _SET),
            ("CIRCLE_PR_REPONAME", _SET),
            ("CIRCLE_BRANCH", r"pull/[0-9]+(/.*)?"),
        ),
        build=("CIRCLE_BUILD_NUM",),
    ),
    # "Variables reference", "Events that trigger workflows". GITHUB_REF of a pull_request_target is the
    # target branch, and reviews have no GITHUB_HEAD_REF: hence the event.
    Provider(
        name="github",
        marks=(("GITHUB_ACTIONS", _TRUE),),
        documents=_github_event,
        ref=("GITHUB_REF",),
        sha=("GITHUB_SHA",),
        pull_sha=("event.pull_request.head.sha",),
        source_branch=("GITHUB_HEAD_REF", "event.pull_request.head.ref"),
        target_branch=("GITHUB_BASE_REF", "event.pull_request.base.ref"),
        pull_request=("event.pull_request.number",),
        pull_marks=(("GITHUB_EVENT_NAME", "pull_request.*"), ("GITHUB_HEAD_REF", _SET)),
        same_repository=(("event.pull_request.head.repo.full_name", "event.pull_request.base.repo.full_name"),),
        default_branch=("event.repository.default_branch",),
        build=("GITHUB_RUN_NUMBER",),
    ),
    # "Predefined CI/CD variables reference". A merged-results pipeline builds a merge commit and names the
    # head apart; an external pull request is one of a repository mirrored from GitHub.
    Provider(
        name="gitlab",
        marks=(("GITLAB_CI", _TRUE),),
        sha=("CI_COMMIT_SHA",),
        pull_sha=("CI_MERGE_REQUEST_SOURCE_BRANCH_SHA",),
        branch=("CI_COMMIT_BRANCH",),
        source_branch=("CI_MERGE_REQUEST_SOURCE_BRANCH_NAME", "CI_EXTERNAL_PULL_REQUEST_SOURCE_BRANCH_NAME"),
        target_branch=("CI_MERGE_REQUEST_TARGET_BRANCH_NAME", "CI_EXTERNAL_PULL_REQUEST_TARGET_BRANCH_NAME"),
        tag=("CI_COMMIT_TAG",),
        pull_request=("CI_MERGE_REQUEST_IID", "CI_EXTERNAL_PULL_REQUEST_IID"),
        pull_marks=(("CI_PIPELINE_SOURCE", "merge_request_event|external_pull_request_event"),),
        same_repository=(
            ("CI_MERGE_REQUEST_SOURCE_PROJECT_ID", "CI_MERGE_REQUEST_PROJECT_ID"),
            ("CI_EXTERNAL_PULL_REQUEST_SOURCE_REPOSITORY", "CI_EXTERNAL_PULL_REQUEST_TARGET_REPOSITORY"),
        ),
        default_branch=("CI_DEFAULT_BRANCH",),
        build=("CI_PIPELINE_IID",),
    ),
    # "Environment variables". The branch of a tag build is the tag; that of a fork may be `owner:branch`.
    Provider(
        name="buildkite",
        marks=(("BUILDKITE", _TRUE),),
        sha=("BUILDKITE_COMMIT",),
        branch=("BUILDKITE_BRANCH",),
        source_branch=("BUILDKITE_BRANCH",),
        target_branch=("BUILDKITE_PULL_REQUEST_BASE_BRANCH",),
        tag=("BUILDKITE_TAG",),
        pull_request=("BUILDKITE_PULL_REQUEST",),
        same_repository=(("BUILDKITE_PULL_REQUEST_REPO", "BUILDKITE_REPO"),),
        default_branch=("BUILDKITE_PIPELINE_DEFAULT_BRANCH",),
        build=("BUILDKITE_BUILD_NUMBER",),
    ),
    # "Use predefined variables". SYSTEM_PULLREQUEST_PULLREQUESTID is not the number where the repository is on
    # GitHub; the number is set only there, and always in the reference.
    Provider(
        name="azure",
        marks=(("TF_BUILD", _TRUE),),
        ref=("BUILD_SOURCEBRANCH",),
        sha=("BUILD_SOURCEVERSION",),
        pull_sha=("SYSTEM_PULLREQUEST_SOURCECOMMITID",),
        source_branch=("SYSTEM_PULLREQUEST_SOURCEBRANCH",),
        target_branch=("SYSTEM_PULLREQUEST_TARGETBRANCH",),
        pull_request=("SYSTEM_PULLREQUEST_PULLREQUESTNUMBER",),
        pull_marks=(("BUILD_REASON", "PullRequest"),),
        fork_marks=(("SYSTEM_PULLREQUEST_ISFORK", _TRUE),),
        build=("BUILD_BUILDNUMBER",),
    ),
    # "Variables and secrets". Pull requests from forks are not built.
    Provider(
        name="bitbucket",
        marks=(("BITBUCKET_BUILD_NUMBER", _SET),),
        sha=("BITBUCKET_COMMIT",),
        branch=("BITBUCKET_BRANCH",),
        source_branch=("BITBUCKET_BRANCH",),
        target_branch=("BITBUCKET_PR_DESTINATION_BRANCH",),
        tag=("BITBUCKET_TAG",),
        pull_request=("BITBUCKET_PR_ID",),
        build=("BITBUCKET_BUILD_NUMBER",),
    ),
    # "Environment variables". TRAVIS_BRANCH is the branch, the target or the tag.
    Provider(
        name="travis",
        marks=(("TRAVIS", _TRUE),),
        sha=("TRAVIS_COMMIT",),
        pull_sha=("TRAVIS_PULL_REQUEST_SHA",),
        branch=("TRAVIS_BRANCH",),
        source_branch=("TRAVIS_PULL_REQUEST_BRANCH",),
        target_branch=("TRAVIS_BRANCH",),
        tag=("TRAVIS_TAG",),
        pull_request=("TRAVIS_PULL_REQUEST",),
        pull_marks=(("TRAVIS_EVENT_TYPE", "pull_request"),),
        same_repository=(("TRAVIS_PULL_REQUEST_SLUG", "TRAVIS_REPO_SLUG"),),
        build=("TRAVIS_BUILD_NUMBER",),
    ),
    # "Environment variables". Before Drone, whose variables it can carry for old plugins.
    Provider(
        name="woodpecker",
        marks=(("CI", "woodpecker"),),
        sha=("CI_COMMIT_SHA",),
        branch=("CI_COMMIT_BRANCH",),
        source_branch=("CI_COMMIT_SOURCE_BRANCH",),
        target_branch=("CI_COMMIT_TARGET_BRANCH",),
        tag=("CI_COMMIT_TAG",),
        pull_request=("CI_COMMIT_PULL_REQUEST",),
        pull_marks=(("CI_PIPELINE_EVENT", "pull_request.*"),),
        default_branch=("CI_REPO_DEFAULT_BRANCH",),
        build=("CI_PIPELINE_NUMBER",),
    ),
    # "Reference: variables". DRONE_BRANCH is the branch or the target, and a tag build's default branch.
    Provider(
        name="drone",
        marks=(("DRONE", _TRUE),),
        sha=("DRONE_COMMIT_SHA",),
        branch=("DRONE_BRANCH",),
        source_branch=("DRONE_SOURCE_BRANCH",),
        target_branch=("DRONE_TARGET_BRANCH",),
        tag=("DRONE_TAG",),
        pull_request=("DRONE_PULL_REQUEST",),
        pull_marks=(("DRONE_BUILD_EVENT", "pull_request"),),
        default_branch=("DRONE_REPO_BRANCH",),
        build=("DRONE_BUILD_NUMBER",),
    ),
    # "Environment variables in build environments". After the CIs whose runners CodeBuild can host.
    Provider(
        name="codebuild",
        marks=(("CODEBUILD_BUILD_ARN", _SET),),
        ref=("CODEBUILD_WEBHOOK_TRIGGER",),
        sha=("CODEBUILD_RESOLVED_SOURCE_VERSION",),
        source_branch=("CODEBUILD_WEBHOOK_HEAD_REF",),
        target_branch=("CODEBUILD_WEBHOOK_BASE_REF",),
        pull_marks=(("CODEBUILD_WEBHOOK_EVENT", "PULL_REQUEST_.*"),),
        build=("CODEBUILD_BUILD_NUMBER",),
    ),
    # "Environment variables". SEMAPHORE_GIT_BRANCH of a pull request is its target.
    Provider(
        name="semaphore",
        marks=(("SEMAPHORE", _TRUE),),
        sha=("SEMAPHORE_GIT_SHA",),
        pull_sha=("SEMAPHORE_GIT_PR_SHA",),
        branch=("SEMAPHORE_GIT_WORKING_BRANCH",),
        source_branch=("SEMAPHORE_GIT_PR_BRANCH",),
        target_branch=("SEMAPHORE_GIT_BRANCH",),
        tag=("SEMAPHORE_GIT_TAG_NAME",),
        pull_request=("SEMAPHORE_GIT_PR_NUMBER",),
        pull_marks=(("SEMAPHORE_GIT_REF_TYPE", "pull-request"),),
        same_repository=(("SEMAPHORE_GIT_PR_SLUG", "SEMAPHORE_GIT_REPO_SLUG"),),
        build=("SEMAPHORE_WORKFLOW_NUMBER",),
    ),
    # "Environment variables". APPVEYOR_REPO_BRANCH of a pull request is its target.
    Provider(
        name="appveyor",
        marks=(("APPVEYOR", _TRUE),),
        sha=("APPVEYOR_REPO_COMMIT",),
        pull_sha=("APPVEYOR_PULL_REQUEST_HEAD_COMMIT",),
        branch=("APPVEYOR_REPO_BRANCH",),
        source_branch=("APPVEYOR_PULL_REQUEST_HEAD_REPO_BRANCH",),
        target_branch=("APPVEYOR_REPO_BRANCH",),
        tag=("APPVEYOR_REPO_TAG_NAME",),
        pull_request=("APPVEYOR_PULL_REQUEST_NUMBER",),
        same_repository=(("APPVEYOR_PULL_REQUEST_HEAD_REPO_NAME", "APPVEYOR_REPO_NAME"),),
        build=("APPVEYOR_BUILD_NUMBER",),
    ),
    # "Predefined Build Parameters", "Pull Requests": the source branch is given only where both repositories
    # are the same. `vcsroot.branch` is the default branch of the settings, and what is built where no other
    # is named.
    Provider(
        name="teamcity",
        marks=(("TEAMCITY_VERSION", _SET),),
        documents=_teamcity_properties,
        ref=("teamcity.build.branch",),
        sha=("BUILD_VCS_NUMBER",),
        branch=("teamcity.build.branch", "vcsroot.branch"),
        source_branch=("teamcity.pullRequest.source.branch",),
        target_branch=("teamcity.pullRequest.target.branch",),
        pull_request=("teamcity.pullRequest.number",),
        same_repository=(("teamcity.pullRequest.source.branch", "teamcity.pullRequest.source.branch"),),
        default_branch=("vcsroot.branch",),
        build=("BUILD_NUMBER",),
    ),
    # "Using environment variables", and the page `env-vars.html` of every server. Last of the named:
    # JENKINS_URL is often set for a whole machine. BRANCH_NAME of a change request is made up (`PR-24`), of a
    # tag it is the tag.
    Provider(
        name="jenkins",
        marks=(("JENKINS_URL", _SET),),
        sha=("GIT_COMMIT",),
        branch=("BRANCH_NAME", "GIT_BRANCH"),
        source_branch=("CHANGE_BRANCH",),
        target_branch=("CHANGE_TARGET",),
        tag=("TAG_NAME",),
        pull_request=("CHANGE_ID",),
        pull_marks=(("CHANGE_ID", _SET),),
        fork_marks=(("CHANGE_FORK", _SET),),
        build=("BUILD_NUMBER",),
    ),
    Provider(name="ci", marks=(("CI", _TRUE),)),
)
"""The CIs known, in the order they are tried: the first that matches wins.

A CI that marks its own jobs comes before one whose mark can also belong to the machine, or to the host of
another CI's runner. CodeBuild hosts runners of GitHub, GitLab and Buildkite; what an agent starts inherits
``TEAMCITY_VERSION`` and ``JENKINS_URL``; Woodpecker can set Drone's variables. ``CI`` alone says the least.
"""

_NO_CI = Provider(name="none", marks=())


# --- detection --------------------------------------------------------------------------------------------


def detect(env: Mapping[str, str], *, git: Callable[[], GitFacts], read_text: ReadText) -> CIContext:
    """Say which CI set ``env``, and what it builds. No value and no text of a file makes it raise.

    ``git`` is called at most once, and only for what the CI leaves open: the commit, the default branch
    (``main`` if git does not know either), or what is built at all. Its branch and tag never complete a build
    that the CI says is one of a tag or of a pull request: HEAD is somewhere else there.
    """
    variables = _Variables(raw=env)
    row = next((row for row in PROVIDERS if variables.any(row.marks)), _NO_CI)
    if row.documents:
        variables = _Variables(raw={**env, **row.documents(variables, read_text)})
    if _is_pull(row, variables):
        return _complete(_read_pull(row, variables), git)
    push = _read_push(row, variables)
    return _complete(push, git) if push.branch or push.tag else _complete_from_head(push, git())


def _is_pull(row: Provider, variables: _Variables) -> bool:
    return variables.any(row.pull_marks + row.fork_marks) or _pull_request(row, variables) is not None


def _pull_request(row: Provider, variables: _Variables) -> str | None:
    return variables.first(row.pull_request, _number) or _referenced(row, variables, "pull_request")


def _referenced(row: Provider, variables: _Variables, what: str) -> str | None:
    return _parse_reference(variables.first(row.ref)).get(what)


def _read_pull(row: Provider, variables: _Variables) -> CIContext:
    is_foreign = bool(row.same_repository) and not _is_same_repository(row, variables)
    return replace(
        _read_any(row, variables),
        sha=variables.first(row.pull_sha, _sha) or variables.first(row.sha, _sha),
        branch=variables.first(row.source_branch, _branch),
        pull_request=_pull_request(row, variables),
        target_branch=variables.first(row.target_branch, _branch),
        is_fork=is_foreign or variables.any(row.fork_marks),
    )


def _read_push(row: Provider, variables: _Variables) -> CIContext:
    """Read a build of a branch or of a tag; of a tag, the variables of the branch hold something else."""
    found = _read_any(row, variables)
    branch = variables.first(row.branch, _branch) or _referenced(row, variables, "branch")
    return found if found.tag else replace(found, branch=branch)


def _read_any(row: Provider, variables: _Variables) -> CIContext:
    """Read what is told in the same way of every build."""
    return CIContext(
        provider=row.name,
        sha=variables.first(row.sha, _sha),
        branch=None,
        tag=variables.first(row.tag, _tag) or _referenced(row, variables, "tag"),
        pull_request=None,
        target_branch=None,
        default_branch=variables.first(row.default_branch, _branch),
        build=variables.first(row.build),
    )


def _is_same_repository(row: Provider, variables: _Variables) -> bool:
    pairs = ((variables.get(source), variables.get(target)) for source, target in row.same_repository)
    return any(source and target and _repository(source) == _repository(target) for source, target in pairs)


def _complete(found: CIContext, git: Callable[[], GitFacts]) -> CIContext:
    facts = GitFacts() if found.sha and found.default_branch else git()
    return replace(
        found,
        sha=found.sha or _clean(facts.sha),
        default_branch=found.default_branch or _clean(facts.default_branch) or "main",
    )


def _complete_from_head(found: CIContext, facts: GitFacts) -> CIContext:
    """Place a build on the branch and the tag of the working copy, where the CI named neither."""
    placed = replace(found, branch=_clean(facts.branch), tag=_clean(facts.tag))
    return _complete(placed, lambda: facts)
