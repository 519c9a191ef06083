"""Detect the CI and what it builds: commit, branch, tag, pull request.

A CI is one row of :data:`PROVIDERS`, with its variables and its ``capabilities``: outputs, summary, annotations, masks,
folding. To add a CI, add a row. To check a row, compare it with the page of the CI's documentation that the comment
above the row names. All differences between CIs are in the rows.
:func:`detect` reads the first row that matches. It is pure: the caller passes the environment, a function that asks git
and a function that reads a file.

Every value is untrusted. White space around it is dropped. A value that is empty, a placeholder, or has a control
character counts as absent.

Forks fail closed. If a CI can show that a pull request is no fork's, the pull request counts as a fork's until the CI
shows that. If a CI shows nothing, it counts as a fork's if its source branch is the target or the default branch. A
pull request without a known source branch, and a build with an invalid branch name, count as a fork's, too. In each of
these cases the build could write another branch's cache. A branch with the name of a pull request's reference
(``pull/5/head``) is a pull request, since many jobs build these references like branches.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from buildx_cache.ci.files import ReadText
from buildx_cache.ci.providers import ANY_CI, NO_CI, PROVIDERS, Provider, named
from buildx_cache.ci.variables import (
    Variables,
    clean,
    parse_reference,
    read_branch,
    read_number,
    read_pull_request,
    read_repository,
    read_sha,
    read_tag,
)

__all__ = ["ANY_CI", "PROVIDERS", "CIContext", "GitFacts", "Provider", "detect", "provider_of"]


@dataclass(frozen=True, kw_only=True)
class GitFacts:
    """Facts from ``git`` about the working copy; a field is ``None`` if git does not know it, or without git."""

    sha: str | None = None
    branch: str | None = None
    """``None`` when HEAD is detached."""
    tag: str | None = None
    """A tag that points exactly at HEAD."""
    default_branch: str | None = None
    """The branch that ``refs/remotes/origin/HEAD`` points at, without ``origin/``."""


@dataclass(frozen=True, kw_only=True)
class Revision:
    """The commit that BuildKit fetches from another repository; a field is ``None`` if it is unknown."""

    sha: str | None = None
    branch: str | None = None
    tag: str | None = None
    pull_request: str | None = None
    default_branch: str | None = None


@dataclass(frozen=True, kw_only=True)
class CIContext:
    """The commit that is built, from the CI's variables, else from git; a field is ``None`` if it is unknown."""

    provider: str
    """The name of a row of :data:`PROVIDERS`, or ``none``."""
    sha: str | None
    """The commit; for a pull request its head, not the merge commit that some CIs check out."""
    branch: str | None
    """The branch; for a pull request its source branch."""
    tag: str | None
    pull_request: str | None
    """The number, in digits."""
    target_branch: str | None
    """The branch into which a pull request would be merged; ``None`` for other builds."""
    default_branch: str | None
    """The repository's default branch."""
    build: str | None
    """The CI's own number of this build."""
    is_fork: bool = False
    """Whether the build may have a fork's content. Such a build only reads caches."""

    queue_base: str | None = None
    """The branch into which a merge queue's build will be merged; the build writes that branch's cache."""
    is_remote: bool = False
    """Whether BuildKit fetches another repository than the working copy's, which the CI's values do not describe."""

    def at(self, revision: Revision) -> CIContext:
        """Return the context of a revision that BuildKit fetches; unchanged if that is the CI's own commit."""
        if self.sha and self.sha == revision.sha:
            return self
        return replace(
            self,
            sha=revision.sha,
            branch=revision.branch,
            tag=revision.tag,
            pull_request=revision.pull_request,
            target_branch=None,
            queue_base=None,
            default_branch=revision.default_branch,
            is_remote=True,
        )

    @property
    def default_branches(self) -> tuple[str, ...]:
        """Return the default branch, else the usual names; the cache of a guessed branch is only read."""
        return (self.default_branch,) if self.default_branch else ("main", "master")

    @property
    def is_ci(self) -> bool:
        """Whether a CI was detected, even if only by ``CI=true``."""
        return named(self.provider).is_ci

    @property
    def may_be_strangers(self) -> bool:
        """Whether the built content may be from a person without push rights, such as a fork's or an address'."""
        row = named(self.provider)
        return self.is_fork or self.is_remote or (row.is_ci and not row.tells_forks)


def detect(
    env: Mapping[str, str], *, git: Callable[[], GitFacts], read_text: ReadText, default_branch: str = ""
) -> CIContext:
    """Detect the CI that set ``env``, and what it builds. No value and no file's text makes this function raise.

    Args:
        env: the environment.
        git: asks git; called at most once, and only if the CI does not set the commit, the default branch, or any of
            branch, tag and pull request. For a build of a tag or pull request, git's branch and tag are not used: HEAD
            differs there.
        read_text: reads a file.
        default_branch: the caller's value, which overrides the CI's and git's.
    """
    variables = Variables(raw=env)
    row = _row(variables)
    if row.documents:
        variables = Variables(raw={**env, **row.documents(variables, read_text)})
    if _is_pull(row, variables):
        pull = _complete(_with_default(_read_pull(row, variables), default_branch), git)
        return replace(pull, is_fork=pull.branch is None or _is_foreign(row, variables, pull))
    push = _with_default(_read_push(row, variables), default_branch)
    if push.branch or push.tag:
        return _complete(push, git)
    return _complete_from_head(push, git())


def provider_of(env: Mapping[str, str]) -> Provider:
    """Return the row of the CI that set ``env``, else ``NO_CI``."""
    return _row(Variables(raw=env))


def _with_default(found: CIContext, branch: str) -> CIContext:
    return replace(found, default_branch=clean(branch) or found.default_branch)


def _row(variables: Variables) -> Provider:
    return next((row for row in PROVIDERS if variables.any(row.marks)), NO_CI)


def _is_pull(row: Provider, variables: Variables) -> bool:
    return variables.any(row.pull_marks + row.fork_marks) or _pull_request(row, variables) is not None


def _pull_request(row: Provider, variables: Variables) -> str | None:
    return (
        variables.first(row.pull_request, read_number)
        or _referenced(row, variables, "pull_request")
        or variables.first(row.branch, read_pull_request)
    )


def _referenced(row: Provider, variables: Variables, what: str) -> str | None:
    return parse_reference(variables.first(row.ref)).get(what)


def _read_pull(row: Provider, variables: Variables) -> CIContext:
    return replace(
        _read_any(row, variables),
        sha=variables.first(row.pull_sha, read_sha) or variables.first(row.sha, read_sha),
        branch=variables.first(row.source_branch, read_branch),
        pull_request=_pull_request(row, variables),
        target_branch=variables.first(row.target_branch, read_branch),
    )


def _is_foreign(row: Provider, variables: Variables, pull: CIContext) -> bool:
    if variables.any(row.fork_marks + row.follow_marks):
        return True
    if row.own_marks:
        return not variables.any(row.own_marks)
    if row.same_repository:
        return not _is_same_repository(row, variables)
    if pull.branch == pull.target_branch or read_pull_request(pull.branch or ""):
        return True  # no branch is merged into itself: it is a fork's, even if a Jenkins plugin does not say so
    # Without marks, guess: a pull request from a default branch is seldom the repository's own, and often a fork's.
    return not row.fork_marks and pull.branch in pull.default_branches


def _read_push(row: Provider, variables: Variables) -> CIContext:
    """Read a build of a branch or a tag; for a tag's build, ignore the variables of the branch."""
    found = replace(_read_any(row, variables), is_fork=variables.any(row.follow_marks))
    if found.tag:
        return found
    if _is_spoilt(row, variables):
        return replace(found, is_fork=True)
    return replace(found, branch=variables.first(row.branch, read_branch) or _referenced(row, variables, "branch"))


def _is_spoilt(row: Provider, variables: Variables) -> bool:
    """Return whether the CI's branch name is invalid, such as a name with a line separator."""
    if variables.first(row.branch):
        return variables.is_spoilt(row.branch, read_branch)
    return any(map(variables.is_spoilt, (row.branch, row.ref, row.tag)))


def _read_any(row: Provider, variables: Variables) -> CIContext:
    """Read the values that all kinds of builds have."""
    return CIContext(
        provider=row.name,
        sha=variables.first(row.sha, read_sha),
        branch=None,
        tag=variables.first(row.tag, read_tag) or _referenced(row, variables, "tag"),
        pull_request=None,
        target_branch=None,
        default_branch=variables.first(row.default_branch, read_branch),
        build=variables.first(row.build),
        queue_base=variables.first(row.queue_base, read_branch),
    )


def _is_same_repository(row: Provider, variables: Variables) -> bool:
    pairs = ((variables.get(source), variables.get(target)) for source, target in row.same_repository)
    return any(source and target and read_repository(source) == read_repository(target) for source, target in pairs)


def _complete(found: CIContext, git: Callable[[], GitFacts]) -> CIContext:
    facts = GitFacts() if found.sha and found.default_branch else git()
    return replace(
        found,
        sha=found.sha or clean(facts.sha),
        default_branch=found.default_branch or clean(facts.default_branch),
    )


def _complete_from_head(found: CIContext, facts: GitFacts) -> CIContext:
    """Complete a build from the working copy's branch and tag, if the CI set neither."""
    branch, tag = clean(facts.branch), clean(facts.tag)
    spoilt = bool(facts.branch and not branch) or bool(facts.tag and not tag and not branch)
    placed = replace(found, branch=branch, tag=tag, is_fork=found.is_fork or spoilt)
    return _complete(placed, lambda: facts)
