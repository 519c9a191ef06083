"""Define the CIs, one row each: the variables with its facts, and its capabilities."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from buildx_cache.ci import capabilities as can
from buildx_cache.ci.files import (
    FOLLOWS_FORK,
    PULLED_REFERENCE,
    QUEUE_BASE,
    ReadText,
    github_event,
    teamcity_properties,
)
from buildx_cache.ci.pitfalls import CIRCLECI, Pitfall
from buildx_cache.ci.variables import Mark, Names, Variables

Documents = Callable[[Variables, ReadText], Mapping[str, str]]
"""Reads a CI's files as further variables."""

_SET = ".+"
_TRUE = "(?i:true|1|yes)"


@dataclass(frozen=True, kw_only=True)
class Provider:
    """One CI. A field without a description names the variables of that fact, the first usable one counts."""

    name: str
    marks: tuple[Mark, ...]
    """Any of these marks identifies the CI."""
    documents: Documents | None = None
    ref: Names = ()
    """Full references (``refs/heads/…``, ``refs/pull/N/…``): the fallback for facts that no other variable has."""
    sha: Names = ()
    pull_sha: Names = ()
    """The head of a pull request, preferred to ``sha``."""
    branch: Names = ()
    source_branch: Names = ()
    """The branch of a pull request, used instead of ``branch``, which is the target on many CIs."""
    target_branch: Names = ()
    queue_base: Names = ()
    """The branch into which a merge queue's build will be merged; the queue's own branch is temporary."""
    tag: Names = ()
    pull_request: Names = ()
    pull_marks: tuple[Mark, ...] = ()
    """Any of these marks identifies a pull request, even if its number is invalid."""
    fork_marks: tuple[Mark, ...] = ()
    """Any of these marks identifies a pull request from a fork."""
    own_marks: tuple[Mark, ...] = ()
    """Any of these marks shows that a pull request is not a fork's; without one it counts as a fork's."""
    follow_marks: tuple[Mark, ...] = ()
    """Any of these marks identifies a build that is no pull request, but may have a fork's content."""
    same_repository: tuple[tuple[str, str], ...] = ()
    """Source and target repository of a pull request; with the same name twice, that variable must be set."""
    default_branch: Names = ()
    build: Names = ()
    workspace: str = ""
    """The variable of the repository's folder, to which paths of annotations are relative."""
    login: tuple[str, ...] = ()
    """The variables of the CI's own registry and of a login there: host, user name, password."""
    engine: str = ""
    """The hint on how a job gets an engine; empty if that depends on the machine."""
    files: tuple[str, ...] = ()
    """The names of the file in which a repository configures this CI."""
    pitfalls: tuple[Pitfall, ...] = ()
    """Harmful lines of that file."""
    outputs: can.OutputFormat | None = None
    """None: use ``--dotenv``."""
    dotenv_limit: int | None = None
    """The size in bytes of the largest dotenv file that the CI accepts."""
    summary: can.SummaryFile | None = None
    annotation: Callable[[can.Annotation], str] | None = None
    masking: can.Masking | None = None
    folding: can.Folding | None = None
    """Set only if the CI obeys commands in its log."""

    @property
    def is_ci(self) -> bool:
        """Whether a CI was detected, even if only by ``CI=true``."""
        return self.name != "none"

    @property
    def tells_forks(self) -> bool:
        """Whether the CI says which pull requests come from forks."""
        return bool(self.fork_marks or self.own_marks or self.same_repository)


ANY_CI = Provider(name="ci", marks=(("CI", _TRUE),))
"""A CI that is not known: it tells neither branches nor pull requests."""

PROVIDERS: tuple[Provider, ...] = (
    # "Project values and variables". Only pull requests from forks have CIRCLE_PR_ variables and a branch `pull/N`.
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
        engine="add a setup_remote_docker step before this one, or use a machine executor",
        files=(".circleci/config.yml", ".circleci/config.yaml"),
        pitfalls=CIRCLECI,
        # "Set an environment variable": every later step sources the file.
        outputs=can.OutputFormat(write=can.export, file="BASH_ENV", spell=can.variable),
    ),
    # "Variables reference", "Events that trigger workflows". The event's file is needed: GITHUB_REF of a
    # pull_request_target is the target branch, and reviews have no GITHUB_HEAD_REF. The file also shows whether an
    # event with the default branch in GITHUB_REF follows a pull request.
    Provider(
        name="github",
        marks=(("GITHUB_ACTIONS", _TRUE),),
        documents=github_event,
        ref=("GITHUB_REF",),
        sha=("GITHUB_SHA",),
        pull_sha=("event.pull_request.head.sha",),
        queue_base=(QUEUE_BASE,),
        source_branch=("GITHUB_HEAD_REF", "event.pull_request.head.ref"),
        target_branch=("GITHUB_BASE_REF", "event.pull_request.base.ref"),
        pull_request=("event.pull_request.number",),
        pull_marks=(("GITHUB_EVENT_NAME", "pull_request.*"), ("GITHUB_HEAD_REF", _SET)),
        follow_marks=((FOLLOWS_FORK, _SET),),
        same_repository=(("event.pull_request.head.repo.full_name", "event.pull_request.base.repo.full_name"),),
        default_branch=("event.repository.default_branch",),
        build=("GITHUB_RUN_NUMBER",),
        workspace="GITHUB_WORKSPACE",
        outputs=can.OutputFormat(write=can.heredoc, file="GITHUB_OUTPUT", spell=str, separator="\n"),
        summary=can.SummaryFile("GITHUB_STEP_SUMMARY", 1024 * 1024),  # GitHub shows nothing of a larger file
        annotation=can.github_annotation,
        masking=can.GITHUB_MASKING,
        folding=can.GITHUB_FOLDING,
    ),
    # "Predefined CI/CD variables reference". A merged-results pipeline builds a merge commit, and has another variable
    # for the head. An external pull request belongs to a repository mirrored from GitHub.
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
        login=("CI_REGISTRY", "CI_REGISTRY_USER", "CI_REGISTRY_PASSWORD"),
        engine="give the job the service docker:dind, and DOCKER_HOST as its documentation says",
        dotenv_limit=5 * 1024 - 1,  # `artifacts:reports:dotenv`: the upload of a larger one fails
    ),
    # "Environment variables". The branch of a tag build is the tag. A fork's branch may be `owner:branch`, and a
    # trigger step can pass it on to a build that is no pull request.
    Provider(
        name="buildkite",
        marks=(("BUILDKITE", _TRUE),),
        sha=("BUILDKITE_COMMIT",),
        branch=("BUILDKITE_BRANCH",),
        source_branch=("BUILDKITE_BRANCH",),
        target_branch=("BUILDKITE_PULL_REQUEST_BASE_BRANCH",),
        tag=("BUILDKITE_TAG",),
        pull_request=("BUILDKITE_PULL_REQUEST",),
        follow_marks=(("BUILDKITE_BRANCH", ".*:.*"),),
        same_repository=(("BUILDKITE_PULL_REQUEST_REPO", "BUILDKITE_REPO"),),
        default_branch=("BUILDKITE_PIPELINE_DEFAULT_BRANCH",),
        build=("BUILDKITE_BUILD_NUMBER",),
        folding=can.BUILDKITE_FOLDING,
    ),
    # "Use predefined variables". For a repository on GitHub SYSTEM_PULLREQUEST_PULLREQUESTID is not the number;
    # SYSTEM_PULLREQUEST_PULLREQUESTNUMBER is, and is set only there. The reference always has the number. A pipeline
    # that another pipeline triggers has that one's reference, and no SYSTEM_PULLREQUEST_ variable.
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
        own_marks=(("SYSTEM_PULLREQUEST_ISFORK", "(?i:false)"),),
        build=("BUILD_BUILDNUMBER",),
        workspace="BUILD_SOURCESDIRECTORY",
        outputs=can.OutputFormat(write=can.azure_variable, spell=can.variable),
        annotation=can.azure_annotation,
        masking=can.AZURE_MASKING,
        folding=can.AZURE_FOLDING,
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
        own_marks=(("BITBUCKET_PR_ID", _SET),),
        engine="give the step the service docker",
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
    # "Environment variables". Before Drone, since it can set Drone's variables for old plugins. The reference shows
    # whether a deployment belongs to a pull request.
    Provider(
        name="woodpecker",
        marks=(("CI", "woodpecker"),),
        ref=("CI_COMMIT_REF",),
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
    # "Reference: variables". DRONE_BRANCH is the branch or the target, and a tag build's default branch. The reference
    # shows whether a promotion belongs to a pull request.
    Provider(
        name="drone",
        marks=(("DRONE", _TRUE),),
        ref=("DRONE_COMMIT_REF",),
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
        ref=("CODEBUILD_WEBHOOK_TRIGGER", "CODEBUILD_SOURCE_VERSION"),
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
    # "Predefined Build Parameters", "Pull Requests". The source branch is set only if both repositories are the same.
    # `vcsroot.branch` is the default branch of the settings, which is built if no other branch is named. A personal
    # build has changes that are not in its branch.
    Provider(
        name="teamcity",
        marks=(("TEAMCITY_VERSION", _SET),),
        documents=teamcity_properties,
        ref=(PULLED_REFERENCE, "teamcity.build.branch"),
        sha=("BUILD_VCS_NUMBER",),
        branch=("teamcity.build.branch", "vcsroot.branch"),
        source_branch=("teamcity.pullRequest.source.branch",),
        target_branch=("teamcity.pullRequest.target.branch",),
        pull_request=("teamcity.pullRequest.number",),
        follow_marks=(("BUILD_IS_PERSONAL", _TRUE),),
        same_repository=(("teamcity.pullRequest.source.branch", "teamcity.pullRequest.source.branch"),),
        default_branch=("vcsroot.branch",),
        build=("BUILD_NUMBER",),
        outputs=can.OutputFormat(write=can.teamcity_parameter, spell=can.variable),
        folding=can.TEAMCITY_FOLDING,
    ),
    # "Using environment variables", and the page `env-vars.html` of every server. The last named CI, since JENKINS_URL
    # is often set for a whole machine. BRANCH_NAME of a change request is artificial (`PR-24`), of a tag it is the tag.
    # These plugins build pull requests, also of forks, in jobs that are no change requests, and GIT_BRANCH may be the
    # target: "GitHub Pull Request Builder", "GitHub Integration", "GitLab", "Gitee", "Bitbucket Push and Pull Request",
    # "Stash" and "Bitbucket Pull Request Builder". "Gerrit Trigger" builds each change that somebody proposes.
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
        fork_marks=(
            ("CHANGE_FORK", _SET),
            ("ghprbPullId", _SET),
            ("GITHUB_PR_NUMBER", _SET),
            ("gitlabMergeRequestIid", _SET),
            ("giteePullRequestIid", _SET),
            ("BITBUCKET_PULL_REQUEST_ID", _SET),
            ("pullRequestId", _SET),
            ("GERRIT_EVENT_TYPE", r"(?!(?:change-merged|ref-updated|ref-replicated)\Z).+"),
        ),
        build=("BUILD_NUMBER",),
    ),
    ANY_CI,
)
"""The known CIs, in the order in which they are tried: the first row that matches wins.

A CI that marks its own jobs comes first. Then come CIs whose mark may belong to the machine or to the host of another
CI's runner: CodeBuild hosts runners of GitHub, GitLab and Buildkite; processes of an agent inherit ``TEAMCITY_VERSION``
and ``JENKINS_URL``; Woodpecker can set Drone's variables. ``CI`` alone, the weakest mark, is last.
"""

NO_CI = Provider(name="none", marks=())

COMMAND_MARKS = tuple(name for row in PROVIDERS if row.folding for name, _ in row.marks)
"""The variables that mark a CI that obeys commands in a job's log."""


def named(name: str) -> Provider:
    """Return the row of that name, else ``NO_CI``."""
    return next((row for row in PROVIDERS if row.name == name), NO_CI)
