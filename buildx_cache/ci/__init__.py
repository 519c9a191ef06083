"""Which CI runs this, and what it builds: commit, branch, tag, pull request.

A CI is one row of :data:`PROVIDERS`: it names variables, and what the CI can do with what a job says
(``capabilities``). Adding a CI means adding a row, and checking one means holding it against the page of its
documentation that the comment above it names. Nobody else asks which CI it is.
:func:`detect` reads the first row that matches. It is pure: the environment, a way to ask git and a way to
read a file are given to it.

Every value counts as untrusted. Surrounding white space is dropped; a value that is empty, a placeholder, or
that holds a control character is treated as absent.

Forks fail closed: where a CI can tell a fork, a pull request counts as one's until the CI says otherwise. So does one
whose source branch is not known, or is the target or the default branch where the CI tells nothing, and a build whose
branch has a name that cannot be used: each would write another branch's cache.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from buildx_cache.ci.files import ReadText
from buildx_cache.ci.providers import NO_CI, PROVIDERS, Provider, named
from buildx_cache.ci.variables import (
    Variables,
    clean,
    parse_reference,
    read_branch,
    read_number,
    read_repository,
    read_sha,
    read_tag,
)

__all__ = ["PROVIDERS", "CIContext", "GitFacts", "Provider", "detect", "provider_of"]


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
class Revision:
    """The commit that BuildKit fetches from another repository; a field is ``None`` where nobody knows it."""

    sha: str | None = None
    branch: str | None = None
    tag: str | None = None
    pull_request: str | None = None
    default_branch: str | None = None


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
    """``None`` where neither the CI nor git tells it."""
    build: str | None
    """The CI's own number of this build."""
    is_fork: bool = False
    """Whether the build has, or may have, a fork's content. Such a build only reads caches."""

    queue_base: str | None = None
    """The branch that a merge queue's build will be merged into, and whose cache it writes."""
    is_remote: bool = False
    """Whether BuildKit fetches another repository than the working copy's: the CI's values do not describe that one."""

    def at(self, revision: Revision) -> CIContext:
        """Return what BuildKit fetches; keep the CI's values where it fetches the CI's own commit."""
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
        """The default branch, or what it is likely called; a guess is read and never written."""
        return (self.default_branch,) if self.default_branch else ("main", "master")

    @property
    def is_ci(self) -> bool:
        """Whether any CI was recognised, be it only by ``CI=true``."""
        return named(self.provider).is_ci

    @property
    def may_be_strangers(self) -> bool:
        """Whether who wrote what is built may be one who may not push to this repository, as at any address."""
        row = named(self.provider)
        return self.is_fork or self.is_remote or (row.is_ci and not row.tells_forks)


def detect(
    env: Mapping[str, str], *, git: Callable[[], GitFacts], read_text: ReadText, default_branch: str = ""
) -> CIContext:
    """Say which CI set ``env``, and what it builds. No value and no text of a file makes it raise.

    ``default_branch`` is what the caller says, which counts more than what the CI and git tell.

    ``git`` is called at most once, and only for what the CI leaves open: the commit, the default branch, or what is
    built at all. Its branch and tag never complete a build
    that the CI says is one of a tag or of a pull request: HEAD is somewhere else there.
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
    """Return the row of the CI that set ``env``, or that of none."""
    return _row(Variables(raw=env))


def _with_default(found: CIContext, branch: str) -> CIContext:
    return replace(found, default_branch=clean(branch) or found.default_branch)


def _row(variables: Variables) -> Provider:
    return next((row for row in PROVIDERS if variables.any(row.marks)), NO_CI)


def _is_pull(row: Provider, variables: Variables) -> bool:
    return variables.any(row.pull_marks + row.fork_marks) or _pull_request(row, variables) is not None


def _pull_request(row: Provider, variables: Variables) -> str | None:
    return variables.first(row.pull_request, read_number) or _referenced(row, variables, "pull_request")


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
    if variables.any(row.fork_marks):
        return True
    if row.own_marks:
        return not variables.any(row.own_marks)
    if row.same_repository:
        return not _is_same_repository(row, variables)
    if pull.branch == pull.target_branch:
        return True  # a branch is not merged into itself: this is a fork's, also where a Jenkins plugin does not say so
    # The CI says nothing more. A repository seldom merges its default branch into another one; a fork often does.
    return not row.fork_marks and pull.branch in pull.default_branches


def _read_push(row: Provider, variables: Variables) -> CIContext:
    """Read a build of a branch or of a tag; of a tag, the variables of the branch hold something else."""
    found = replace(_read_any(row, variables), is_fork=variables.any(row.follow_marks))
    if found.tag:
        return found
    if _is_spoilt(row, variables):
        return replace(found, is_fork=True)
    return replace(found, branch=variables.first(row.branch, read_branch) or _referenced(row, variables, "branch"))


def _is_spoilt(row: Provider, variables: Variables) -> bool:
    """Whether the CI names a branch that cannot be used, such as one with a line separator in its name."""
    if variables.first(row.branch):
        return variables.is_spoilt(row.branch, read_branch)
    return any(map(variables.is_spoilt, (row.branch, row.ref, row.tag)))


def _read_any(row: Provider, variables: Variables) -> CIContext:
    """Read what all builds have in common."""
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
    """Place a build on the branch and the tag of the working copy, where the CI named neither."""
    branch, tag = clean(facts.branch), clean(facts.tag)
    spoilt = bool(facts.branch and not branch) or bool(facts.tag and not tag and not branch)
    placed = replace(found, branch=branch, tag=tag, is_fork=found.is_fork or spoilt)
    return _complete(placed, lambda: facts)
