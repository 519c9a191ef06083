from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import TypedDict, Unpack

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from buildx_cache import ci
from buildx_cache.ci import CIContext, GitFacts

HEAD = "83a20ec058e2fb00e7fa4558c4c6e81e2dcf253d"
MERGE = "5357fa5ff1c6d2a0a0c64e2ff0f1e2d6e8b3c7aa"
WORKING_COPY = GitFacts(
    sha="0123456789abcdef0123456789abcdef01234567",
    branch="checked-out",
    tag="at-head",
    default_branch="trunk",
)
EVENT = "/runner/_temp/_github_workflow/event.json"


class Git:
    """Answers like git, and counts how often it is asked."""

    def __init__(self, facts: GitFacts = WORKING_COPY) -> None:
        self.facts = facts
        self.calls = 0

    def __call__(self) -> GitFacts:
        self.calls += 1
        return self.facts


class Told(TypedDict, total=False):
    sha: str | None
    branch: str | None
    tag: str | None
    pull_request: str | None
    target_branch: str | None
    default_branch: str | None
    build: str | None


NOTHING_TOLD = CIContext(
    provider="",
    sha=None,
    branch=None,
    tag=None,
    pull_request=None,
    target_branch=None,
    default_branch=None,
    build=None,
)


def built(provider: str, **told: Unpack[Told]) -> CIContext:
    return replace(NOTHING_TOLD, provider=provider, **told)


def forked(provider: str, **told: Unpack[Told]) -> CIContext:
    return replace(built(provider, **told), is_fork=True)


def detect(env: Mapping[str, str], *, git: Git | None = None, files: Mapping[str, str] | None = None) -> CIContext:
    return ci.detect(env, git=git or Git(), read_text=(files or {}).get)


@dataclass(frozen=True, kw_only=True)
class Case:
    id: str
    env: Mapping[str, str]
    expected: CIContext
    files: Mapping[str, str] = field(default_factory=dict)


def github_event(head: str | None, base: str = "acme/app") -> str:
    """Shorten the payload of a `pull_request` event to what matters, with some of the rest around it."""
    repository = {"id": 1296269, "full_name": base, "private": False, "default_branch": "develop"}
    return json.dumps(
        {
            "action": "synchronize",
            "number": 12,
            "pull_request": {
                "number": 12,
                "state": "open",
                "head": {
                    "ref": "feature/x",
                    "sha": HEAD,
                    "repo": head and {"full_name": head, "fork": head != base},
                },
                "base": {"ref": "release", "sha": MERGE, "repo": repository},
            },
            "repository": repository,
        }
    )


GITHUB_PUSH = json.dumps({"ref": "refs/heads/feature/x", "repository": {"default_branch": "develop"}})

CIRCLECI = {
    "CI": "true",
    "CIRCLECI": "true",
    "CIRCLE_BUILD_NUM": "871",
    "CIRCLE_PROJECT_REPONAME": "app",
    "CIRCLE_PROJECT_USERNAME": "acme",
    "CIRCLE_SHA1": HEAD,
}
GITHUB = {
    "CI": "true",
    "GITHUB_ACTIONS": "true",
    "GITHUB_BASE_REF": "",
    "GITHUB_EVENT_PATH": EVENT,
    "GITHUB_HEAD_REF": "",
    "GITHUB_REPOSITORY": "acme/app",
    "GITHUB_RUN_ID": "1658821493",
    "GITHUB_RUN_NUMBER": "3",
}
GITHUB_PULL = {
    **GITHUB,
    "GITHUB_BASE_REF": "release",
    "GITHUB_EVENT_NAME": "pull_request",
    "GITHUB_HEAD_REF": "feature/x",
    "GITHUB_REF": "refs/pull/12/merge",
    "GITHUB_REF_NAME": "12/merge",
    "GITHUB_REF_TYPE": "branch",
    "GITHUB_SHA": MERGE,
}
GITHUB_PULLED: Told = {
    "sha": HEAD,
    "branch": "feature/x",
    "pull_request": "12",
    "target_branch": "release",
    "default_branch": "develop",
    "build": "3",
}
GITLAB = {
    "CI": "true",
    "CI_DEFAULT_BRANCH": "develop",
    "CI_PIPELINE_ID": "1000123",
    "CI_PIPELINE_IID": "42",
    "CI_PROJECT_ID": "17893",
    "CI_PROJECT_PATH": "acme/app",
    "GITLAB_CI": "true",
}
GITLAB_MERGE_REQUEST = {
    **GITLAB,
    "CI_COMMIT_REF_NAME": "feature/x",
    "CI_COMMIT_SHA": HEAD,
    "CI_MERGE_REQUEST_ID": "99001",
    "CI_MERGE_REQUEST_IID": "7",
    "CI_MERGE_REQUEST_PROJECT_ID": "17893",
    "CI_MERGE_REQUEST_SOURCE_BRANCH_NAME": "feature/x",
    "CI_MERGE_REQUEST_SOURCE_BRANCH_SHA": "",
    "CI_MERGE_REQUEST_SOURCE_PROJECT_ID": "17893",
    "CI_MERGE_REQUEST_TARGET_BRANCH_NAME": "release",
    "CI_PIPELINE_SOURCE": "merge_request_event",
}
GITLAB_MERGED: Told = {
    "sha": HEAD,
    "branch": "feature/x",
    "pull_request": "7",
    "target_branch": "release",
    "default_branch": "develop",
    "build": "42",
}
BUILDKITE = {
    "BUILDKITE": "true",
    "BUILDKITE_BUILD_NUMBER": "1514",
    "BUILDKITE_COMMIT": HEAD,
    "BUILDKITE_PIPELINE_DEFAULT_BRANCH": "develop",
    "BUILDKITE_PULL_REQUEST": "false",
    "BUILDKITE_PULL_REQUEST_BASE_BRANCH": "",
    "BUILDKITE_PULL_REQUEST_REPO": "",
    "BUILDKITE_REPO": "git@github.com:acme/app.git",
    "BUILDKITE_TAG": "",
    "CI": "true",
}
BUILDKITE_PULL = {
    **BUILDKITE,
    "BUILDKITE_BRANCH": "feature/x",
    "BUILDKITE_PULL_REQUEST": "123",
    "BUILDKITE_PULL_REQUEST_BASE_BRANCH": "release",
    "BUILDKITE_PULL_REQUEST_REPO": "https://github.com/Acme/app.git",
}
BUILDKITE_PULLED: Told = {
    "sha": HEAD,
    "branch": "feature/x",
    "pull_request": "123",
    "target_branch": "release",
    "default_branch": "develop",
    "build": "1514",
}
AZURE = {
    "BUILD_BUILDID": "4711",
    "BUILD_BUILDNUMBER": "20240510.3",
    "BUILD_SOURCEVERSION": HEAD,
    "TF_BUILD": "True",
}
AZURE_PULL = {
    **AZURE,
    "BUILD_REASON": "PullRequest",
    "BUILD_SOURCEBRANCH": "refs/pull/18/merge",
    "BUILD_SOURCEBRANCHNAME": "merge",
    "BUILD_SOURCEVERSION": MERGE,
    "SYSTEM_PULLREQUEST_ISFORK": "False",
    "SYSTEM_PULLREQUEST_PULLREQUESTID": "1861234567",
    "SYSTEM_PULLREQUEST_PULLREQUESTNUMBER": "18",
    "SYSTEM_PULLREQUEST_SOURCEBRANCH": "refs/heads/feature/x",
    "SYSTEM_PULLREQUEST_SOURCECOMMITID": HEAD,
    "SYSTEM_PULLREQUEST_TARGETBRANCH": "refs/heads/release",
}
AZURE_PULLED: Told = {
    "sha": HEAD,
    "branch": "feature/x",
    "pull_request": "18",
    "target_branch": "release",
    "default_branch": "trunk",
    "build": "20240510.3",
}
BITBUCKET = {
    "BITBUCKET_BUILD_NUMBER": "55",
    "BITBUCKET_COMMIT": HEAD,
    "BITBUCKET_REPO_FULL_NAME": "acme/app",
    "CI": "true",
}
TRAVIS = {
    "CI": "true",
    "TRAVIS": "true",
    "TRAVIS_BUILD_NUMBER": "31",
    "TRAVIS_COMMIT": HEAD,
    "TRAVIS_EVENT_TYPE": "push",
    "TRAVIS_PULL_REQUEST": "false",
    "TRAVIS_PULL_REQUEST_BRANCH": "",
    "TRAVIS_PULL_REQUEST_SHA": "",
    "TRAVIS_PULL_REQUEST_SLUG": "",
    "TRAVIS_REPO_SLUG": "acme/app",
    "TRAVIS_TAG": "",
}
TRAVIS_PULL = {
    **TRAVIS,
    "TRAVIS_BRANCH": "release",
    "TRAVIS_COMMIT": MERGE,
    "TRAVIS_EVENT_TYPE": "pull_request",
    "TRAVIS_PULL_REQUEST": "9",
    "TRAVIS_PULL_REQUEST_BRANCH": "feature/x",
    "TRAVIS_PULL_REQUEST_SHA": HEAD,
    "TRAVIS_PULL_REQUEST_SLUG": "acme/app",
}
TRAVIS_PULLED: Told = {
    "sha": HEAD,
    "branch": "feature/x",
    "pull_request": "9",
    "target_branch": "release",
    "default_branch": "trunk",
    "build": "31",
}
WOODPECKER = {
    "CI": "woodpecker",
    "CI_COMMIT_SHA": HEAD,
    "CI_PIPELINE_NUMBER": "8",
    "CI_REPO": "acme/app",
    "CI_REPO_DEFAULT_BRANCH": "develop",
    "CI_SYSTEM_NAME": "woodpecker",
}
WOODPECKER_PULL = {
    **WOODPECKER,
    "CI_COMMIT_BRANCH": "release",
    "CI_COMMIT_PULL_REQUEST": "1",
    "CI_COMMIT_REF": "refs/pull/1/head",
    "CI_COMMIT_REFSPEC": "feature/x:release",
    "CI_COMMIT_SOURCE_BRANCH": "feature/x",
    "CI_COMMIT_TARGET_BRANCH": "release",
    "CI_PIPELINE_EVENT": "pull_request",
}
WOODPECKER_PULLED = built(
    "woodpecker",
    sha=HEAD,
    branch="feature/x",
    pull_request="1",
    target_branch="release",
    default_branch="develop",
    build="8",
)
DRONE = {
    "CI": "true",
    "DRONE": "true",
    "DRONE_BUILD_NUMBER": "64",
    "DRONE_COMMIT_SHA": HEAD,
    "DRONE_REPO": "acme/app",
    "DRONE_REPO_BRANCH": "develop",
}
DRONE_PULL = {
    **DRONE,
    "DRONE_BRANCH": "release",
    "DRONE_BUILD_EVENT": "pull_request",
    "DRONE_COMMIT_BRANCH": "release",
    "DRONE_COMMIT_REF": "refs/pull/42/head",
    "DRONE_PULL_REQUEST": "42",
    "DRONE_SOURCE_BRANCH": "feature/x",
    "DRONE_TARGET_BRANCH": "release",
}
DRONE_PULLED = built(
    "drone",
    sha=HEAD,
    branch="feature/x",
    pull_request="42",
    target_branch="release",
    default_branch="develop",
    build="64",
)
CODEBUILD = {
    "CODEBUILD_BUILD_ARN": "arn:aws:codebuild:us-east-1:123456789012:build/app:b1e6661e-e4f2-4156-9ab9",
    "CODEBUILD_BUILD_NUMBER": "77",
    "CODEBUILD_RESOLVED_SOURCE_VERSION": HEAD,
    "CODEBUILD_SOURCE_REPO_URL": "https://github.com/acme/app.git",
}
CODEBUILD_PULL = {
    **CODEBUILD,
    "CODEBUILD_SOURCE_VERSION": "pr/17",
    "CODEBUILD_WEBHOOK_BASE_REF": "refs/heads/release",
    "CODEBUILD_WEBHOOK_EVENT": "PULL_REQUEST_CREATED",
    "CODEBUILD_WEBHOOK_HEAD_REF": "refs/heads/feature/x",
    "CODEBUILD_WEBHOOK_TRIGGER": "pr/17",
}
CODEBUILD_PULLED = built(
    "codebuild",
    sha=HEAD,
    branch="feature/x",
    pull_request="17",
    target_branch="release",
    default_branch="trunk",
    build="77",
)
SEMAPHORE = {
    "CI": "true",
    "SEMAPHORE": "true",
    "SEMAPHORE_GIT_REPO_SLUG": "acme/app",
    "SEMAPHORE_GIT_SHA": HEAD,
    "SEMAPHORE_WORKFLOW_NUMBER": "201",
}
SEMAPHORE_PULL = {
    **SEMAPHORE,
    "SEMAPHORE_GIT_BRANCH": "release",
    "SEMAPHORE_GIT_PR_BRANCH": "feature/x",
    "SEMAPHORE_GIT_PR_NUMBER": "5",
    "SEMAPHORE_GIT_PR_SHA": HEAD,
    "SEMAPHORE_GIT_PR_SLUG": "acme/app",
    "SEMAPHORE_GIT_REF": "refs/pull/5/merge",
    "SEMAPHORE_GIT_REF_TYPE": "pull-request",
    "SEMAPHORE_GIT_SHA": MERGE,
    "SEMAPHORE_GIT_WORKING_BRANCH": "feature/x",
}
SEMAPHORE_PULLED: Told = {
    "sha": HEAD,
    "branch": "feature/x",
    "pull_request": "5",
    "target_branch": "release",
    "default_branch": "trunk",
    "build": "201",
}
APPVEYOR = {
    "APPVEYOR": "True",
    "APPVEYOR_BUILD_NUMBER": "7",
    "APPVEYOR_REPO_COMMIT": HEAD,
    "APPVEYOR_REPO_NAME": "acme/app",
    "CI": "True",
}
APPVEYOR_PULL = {
    **APPVEYOR,
    "APPVEYOR_PULL_REQUEST_HEAD_COMMIT": HEAD,
    "APPVEYOR_PULL_REQUEST_HEAD_REPO_BRANCH": "feature/x",
    "APPVEYOR_PULL_REQUEST_HEAD_REPO_NAME": "acme/app",
    "APPVEYOR_PULL_REQUEST_NUMBER": "5",
    "APPVEYOR_REPO_BRANCH": "release",
    "APPVEYOR_REPO_COMMIT": MERGE,
}
APPVEYOR_PULLED: Told = {
    "sha": HEAD,
    "branch": "feature/x",
    "pull_request": "5",
    "target_branch": "release",
    "default_branch": "trunk",
    "build": "7",
}
TEAMCITY = {
    "BUILD_NUMBER": "90",
    "BUILD_VCS_NUMBER": HEAD,
    "TEAMCITY_BUILD_PROPERTIES_FILE": "/agent/temp/build.properties",
    "TEAMCITY_VERSION": "2025.07 (build 197242)",
}


def teamcity_files(*properties: str) -> Mapping[str, str]:
    return {
        "/agent/temp/build.properties": "#TeamCity build properties without 'system.' prefix\r\n"
        "build.number=90\r\n"
        "teamcity.configuration.properties.file=/agent/temp/config.properties\r\n",
        "/agent/temp/config.properties": "\n".join(("#TeamCity configuration parameters", *properties)),
    }


JENKINS = {
    "BUILD_NUMBER": "153",
    "CI": "true",
    "GIT_COMMIT": HEAD,
    "JENKINS_URL": "https://ci.example.com/",
    "JOB_NAME": "app/main",
}
JENKINS_PULL = {
    **JENKINS,
    "BRANCH_NAME": "PR-24",
    "CHANGE_BRANCH": "feature/x",
    "CHANGE_ID": "24",
    "CHANGE_TARGET": "release",
    "GIT_BRANCH": "PR-24",
}
JENKINS_PULLED: Told = {
    "sha": HEAD,
    "branch": "feature/x",
    "pull_request": "24",
    "target_branch": "release",
    "default_branch": "trunk",
    "build": "153",
}

CASES = (
    Case(
        id="circleci-push",
        env={**CIRCLECI, "CIRCLE_BRANCH": "feature/x"},
        expected=built("circleci", sha=HEAD, branch="feature/x", default_branch="trunk", build="871"),
    ),
    Case(
        id="circleci-pull",
        env={
            **CIRCLECI,
            "CIRCLE_BRANCH": "feature/x",
            "CIRCLE_PULL_REQUEST": "https://github.com/acme/app/pull/15",
        },
        expected=built(
            "circleci", sha=HEAD, branch="feature/x", pull_request="15", default_branch="trunk", build="871"
        ),
    ),
    Case(
        id="circleci-fork",
        env={
            **CIRCLECI,
            "CIRCLE_BRANCH": "pull/15",
            "CIRCLE_PR_NUMBER": "15",
            "CIRCLE_PR_REPONAME": "app",
            "CIRCLE_PR_USERNAME": "octocat",
            "CIRCLE_PULL_REQUEST": "https://github.com/acme/app/pull/15",
        },
        expected=forked("circleci", sha=HEAD, branch="pull/15", pull_request="15", default_branch="trunk", build="871"),
    ),
    Case(
        id="circleci-fork-known-by-branch-only",
        env={**CIRCLECI, "CIRCLE_BRANCH": "pull/15"},
        expected=forked("circleci", sha=HEAD, branch="pull/15", pull_request="15", default_branch="trunk", build="871"),
    ),
    Case(
        id="circleci-tag",
        env={**CIRCLECI, "CIRCLE_TAG": "v1.2.0"},
        expected=built("circleci", sha=HEAD, tag="v1.2.0", default_branch="trunk", build="871"),
    ),
    Case(
        id="circleci-empty-pipeline-values",
        env={**CIRCLECI, "CIRCLE_BRANCH": "main", "CIRCLE_TAG": "<nil>", "CIRCLE_PR_NUMBER": "<nil>"},
        expected=built("circleci", sha=HEAD, branch="main", default_branch="trunk", build="871"),
    ),
    Case(
        id="github-push",
        env={
            **GITHUB,
            "GITHUB_EVENT_NAME": "push",
            "GITHUB_REF": "refs/heads/feature/x",
            "GITHUB_REF_NAME": "feature/x",
            "GITHUB_REF_TYPE": "branch",
            "GITHUB_SHA": HEAD,
        },
        files={EVENT: GITHUB_PUSH},
        expected=built("github", sha=HEAD, branch="feature/x", default_branch="develop", build="3"),
    ),
    Case(
        id="github-pull",
        env=GITHUB_PULL,
        files={EVENT: github_event("acme/app")},
        expected=built("github", **GITHUB_PULLED),
    ),
    Case(
        id="github-fork",
        env=GITHUB_PULL,
        files={EVENT: github_event("octocat/app")},
        expected=forked("github", **GITHUB_PULLED),
    ),
    Case(
        id="github-deleted-fork",
        env=GITHUB_PULL,
        files={EVENT: github_event(None)},
        expected=forked("github", **GITHUB_PULLED),
    ),
    Case(
        id="github-pull-request-target-of-a-fork",
        env={
            **GITHUB_PULL,
            "GITHUB_EVENT_NAME": "pull_request_target",
            "GITHUB_REF": "refs/heads/release",
            "GITHUB_REF_NAME": "release",
        },
        files={EVENT: github_event("octocat/app")},
        expected=forked("github", **GITHUB_PULLED),
    ),
    Case(
        id="github-pull-request-target-unreadable-event",
        env={
            **GITHUB_PULL,
            "GITHUB_EVENT_NAME": "pull_request_target",
            "GITHUB_REF": "refs/heads/release",
        },
        expected=forked(
            "github",
            sha=MERGE,
            branch="feature/x",
            target_branch="release",
            default_branch="trunk",
            build="3",
        ),
    ),
    Case(
        id="github-review",
        env={
            **GITHUB_PULL,
            "GITHUB_BASE_REF": "",
            "GITHUB_EVENT_NAME": "pull_request_review",
            "GITHUB_HEAD_REF": "",
        },
        files={EVENT: github_event("acme/app")},
        expected=built("github", **GITHUB_PULLED),
    ),
    Case(
        id="github-tag",
        env={
            **GITHUB,
            "GITHUB_EVENT_NAME": "push",
            "GITHUB_REF": "refs/tags/v1.2.0",
            "GITHUB_REF_NAME": "v1.2.0",
            "GITHUB_REF_TYPE": "tag",
            "GITHUB_SHA": HEAD,
        },
        files={EVENT: GITHUB_PUSH},
        expected=built("github", sha=HEAD, tag="v1.2.0", default_branch="develop", build="3"),
    ),
    Case(
        id="gitlab-push",
        env={
            **GITLAB,
            "CI_COMMIT_BRANCH": "feature/x",
            "CI_COMMIT_REF_NAME": "feature/x",
            "CI_COMMIT_SHA": HEAD,
            "CI_PIPELINE_SOURCE": "push",
        },
        expected=built("gitlab", sha=HEAD, branch="feature/x", default_branch="develop", build="42"),
    ),
    Case(id="gitlab-pull", env=GITLAB_MERGE_REQUEST, expected=built("gitlab", **GITLAB_MERGED)),
    Case(
        id="gitlab-pull-merged-results",
        env={
            **GITLAB_MERGE_REQUEST,
            "CI_COMMIT_SHA": MERGE,
            "CI_MERGE_REQUEST_SOURCE_BRANCH_SHA": HEAD,
        },
        expected=built("gitlab", **GITLAB_MERGED),
    ),
    Case(
        id="gitlab-fork",
        env={**GITLAB_MERGE_REQUEST, "CI_MERGE_REQUEST_SOURCE_PROJECT_ID": "20001"},
        expected=forked("gitlab", **GITLAB_MERGED),
    ),
    Case(
        id="gitlab-pull-of-a-github-mirror",
        env={
            **GITLAB,
            "CI_COMMIT_SHA": HEAD,
            "CI_EXTERNAL_PULL_REQUEST_IID": "7",
            "CI_EXTERNAL_PULL_REQUEST_SOURCE_BRANCH_NAME": "feature/x",
            "CI_EXTERNAL_PULL_REQUEST_SOURCE_BRANCH_SHA": HEAD,
            "CI_EXTERNAL_PULL_REQUEST_SOURCE_REPOSITORY": "acme/app",
            "CI_EXTERNAL_PULL_REQUEST_TARGET_BRANCH_NAME": "release",
            "CI_EXTERNAL_PULL_REQUEST_TARGET_REPOSITORY": "acme/app",
            "CI_PIPELINE_SOURCE": "external_pull_request_event",
        },
        expected=built("gitlab", **GITLAB_MERGED),
    ),
    Case(
        id="gitlab-tag",
        env={**GITLAB, "CI_COMMIT_REF_NAME": "v1.2.0", "CI_COMMIT_SHA": HEAD, "CI_COMMIT_TAG": "v1.2.0"},
        expected=built("gitlab", sha=HEAD, tag="v1.2.0", default_branch="develop", build="42"),
    ),
    Case(
        id="buildkite-push",
        env={**BUILDKITE, "BUILDKITE_BRANCH": "feature/x"},
        expected=built("buildkite", sha=HEAD, branch="feature/x", default_branch="develop", build="1514"),
    ),
    Case(
        id="buildkite-commit-is-symbolic",
        env={**BUILDKITE, "BUILDKITE_BRANCH": "feature/x", "BUILDKITE_COMMIT": "HEAD"},
        expected=built(
            "buildkite",
            sha=WORKING_COPY.sha,
            branch="feature/x",
            default_branch="develop",
            build="1514",
        ),
    ),
    Case(
        id="buildkite-branch-called-false",
        env={**BUILDKITE, "BUILDKITE_BRANCH": "false"},
        expected=built("buildkite", sha=HEAD, branch="false", default_branch="develop", build="1514"),
    ),
    Case(id="buildkite-pull", env=BUILDKITE_PULL, expected=built("buildkite", **BUILDKITE_PULLED)),
    Case(
        id="buildkite-fork",
        env={**BUILDKITE_PULL, "BUILDKITE_PULL_REQUEST_REPO": "git://github.com/octocat/app.git"},
        expected=forked("buildkite", **BUILDKITE_PULLED),
    ),
    Case(
        id="buildkite-fork-with-owner-before-branch",
        env={
            **BUILDKITE_PULL,
            "BUILDKITE_BRANCH": "octocat:feature/x",
            "BUILDKITE_PULL_REQUEST_REPO": "git://github.com/octocat/app.git",
        },
        expected=forked("buildkite", **BUILDKITE_PULLED),
    ),
    Case(
        id="buildkite-pull-of-an-unknown-repository",
        env={**BUILDKITE_PULL, "BUILDKITE_PULL_REQUEST_REPO": ""},
        expected=forked("buildkite", **BUILDKITE_PULLED),
    ),
    Case(
        id="buildkite-tag",
        env={**BUILDKITE, "BUILDKITE_BRANCH": "v1.2.0", "BUILDKITE_TAG": "v1.2.0"},
        expected=built("buildkite", sha=HEAD, tag="v1.2.0", default_branch="develop", build="1514"),
    ),
    Case(
        id="azure-push",
        env={**AZURE, "BUILD_REASON": "IndividualCI", "BUILD_SOURCEBRANCH": "refs/heads/feature/x"},
        expected=built("azure", sha=HEAD, branch="feature/x", default_branch="trunk", build="20240510.3"),
    ),
    Case(id="azure-pull", env=AZURE_PULL, expected=built("azure", **AZURE_PULLED)),
    Case(
        id="azure-pull-in-azure-repos",
        env={
            **{name: value for name, value in AZURE_PULL.items() if not name.endswith("REQUESTNUMBER")},
            "SYSTEM_PULLREQUEST_PULLREQUESTID": "18",
        },
        expected=built("azure", **AZURE_PULLED),
    ),
    Case(
        id="azure-fork",
        env={**AZURE_PULL, "SYSTEM_PULLREQUEST_ISFORK": "True"},
        expected=forked("azure", **AZURE_PULLED),
    ),
    Case(
        id="azure-tag",
        env={**AZURE, "BUILD_SOURCEBRANCH": "refs/tags/v1.2.0", "BUILD_SOURCEBRANCHNAME": "v1.2.0"},
        expected=built("azure", sha=HEAD, tag="v1.2.0", default_branch="trunk", build="20240510.3"),
    ),
    Case(
        id="bitbucket-push",
        env={**BITBUCKET, "BITBUCKET_BRANCH": "feature/x"},
        expected=built("bitbucket", sha=HEAD, branch="feature/x", default_branch="trunk", build="55"),
    ),
    Case(
        # There is no such thing as a pull request from a fork here: none is built.
        id="bitbucket-pull",
        env={
            **BITBUCKET,
            "BITBUCKET_BRANCH": "feature/x",
            "BITBUCKET_PR_DESTINATION_BRANCH": "release",
            "BITBUCKET_PR_ID": "3",
        },
        expected=built(
            "bitbucket",
            sha=HEAD,
            branch="feature/x",
            pull_request="3",
            target_branch="release",
            default_branch="trunk",
            build="55",
        ),
    ),
    Case(
        id="bitbucket-tag",
        env={**BITBUCKET, "BITBUCKET_TAG": "v1.2.0"},
        expected=built("bitbucket", sha=HEAD, tag="v1.2.0", default_branch="trunk", build="55"),
    ),
    Case(
        id="travis-push",
        env={**TRAVIS, "TRAVIS_BRANCH": "feature/x"},
        expected=built("travis", sha=HEAD, branch="feature/x", default_branch="trunk", build="31"),
    ),
    Case(id="travis-pull", env=TRAVIS_PULL, expected=built("travis", **TRAVIS_PULLED)),
    Case(
        id="travis-fork",
        env={**TRAVIS_PULL, "TRAVIS_PULL_REQUEST_SLUG": "octocat/app"},
        expected=forked("travis", **TRAVIS_PULLED),
    ),
    Case(
        id="travis-tag",
        env={**TRAVIS, "TRAVIS_BRANCH": "v1.2.0", "TRAVIS_TAG": "v1.2.0"},
        expected=built("travis", sha=HEAD, tag="v1.2.0", default_branch="trunk", build="31"),
    ),
    Case(
        id="woodpecker-push",
        env={
            **WOODPECKER,
            "CI_COMMIT_BRANCH": "feature/x",
            "CI_COMMIT_REF": "refs/heads/feature/x",
            "CI_PIPELINE_EVENT": "push",
        },
        expected=built("woodpecker", sha=HEAD, branch="feature/x", default_branch="develop", build="8"),
    ),
    Case(id="woodpecker-pull", env=WOODPECKER_PULL, expected=WOODPECKER_PULLED),
    Case(
        # A fork's environment differs in nothing.
        id="woodpecker-fork-cannot-be-told",
        env={**WOODPECKER_PULL, "CI_COMMIT_AUTHOR": "octocat"},
        expected=WOODPECKER_PULLED,
    ),
    Case(
        id="woodpecker-tag",
        env={
            **WOODPECKER,
            "CI_COMMIT_BRANCH": "develop",
            "CI_COMMIT_REF": "refs/tags/v1.2.0",
            "CI_COMMIT_TAG": "v1.2.0",
            "CI_PIPELINE_EVENT": "tag",
        },
        expected=built("woodpecker", sha=HEAD, tag="v1.2.0", default_branch="develop", build="8"),
    ),
    Case(
        id="drone-push",
        env={
            **DRONE,
            "DRONE_BRANCH": "feature/x",
            "DRONE_BUILD_EVENT": "push",
            "DRONE_COMMIT_REF": "refs/heads/feature/x",
            "DRONE_SOURCE_BRANCH": "feature/x",
            "DRONE_TARGET_BRANCH": "feature/x",
        },
        expected=built("drone", sha=HEAD, branch="feature/x", default_branch="develop", build="64"),
    ),
    Case(id="drone-pull", env=DRONE_PULL, expected=DRONE_PULLED),
    Case(
        # A fork's environment differs in nothing.
        id="drone-fork-cannot-be-told",
        env={**DRONE_PULL, "DRONE_COMMIT_AUTHOR": "octocat"},
        expected=DRONE_PULLED,
    ),
    Case(
        id="drone-tag",
        env={
            **DRONE,
            "DRONE_BRANCH": "develop",
            "DRONE_BUILD_EVENT": "tag",
            "DRONE_COMMIT_REF": "refs/tags/v1.2.0",
            "DRONE_TAG": "v1.2.0",
        },
        expected=built("drone", sha=HEAD, tag="v1.2.0", default_branch="develop", build="64"),
    ),
    Case(
        id="codebuild-push",
        env={
            **CODEBUILD,
            "CODEBUILD_WEBHOOK_EVENT": "PUSH",
            "CODEBUILD_WEBHOOK_HEAD_REF": "refs/heads/feature/x",
            "CODEBUILD_WEBHOOK_TRIGGER": "branch/feature/x",
        },
        expected=built("codebuild", sha=HEAD, branch="feature/x", default_branch="trunk", build="77"),
    ),
    Case(id="codebuild-pull", env=CODEBUILD_PULL, expected=CODEBUILD_PULLED),
    Case(
        # Nothing but the number of the actor's account differs.
        id="codebuild-fork-cannot-be-told",
        env={**CODEBUILD_PULL, "CODEBUILD_WEBHOOK_ACTOR_ACCOUNT_ID": "583231"},
        expected=CODEBUILD_PULLED,
    ),
    Case(
        id="codebuild-tag",
        env={
            **CODEBUILD,
            "CODEBUILD_WEBHOOK_EVENT": "PUSH",
            "CODEBUILD_WEBHOOK_HEAD_REF": "refs/tags/v1.2.0",
            "CODEBUILD_WEBHOOK_TRIGGER": "tag/v1.2.0",
        },
        expected=built("codebuild", sha=HEAD, tag="v1.2.0", default_branch="trunk", build="77"),
    ),
    Case(
        id="codebuild-source-in-s3-started-by-hand",
        env={**CODEBUILD, "CODEBUILD_RESOLVED_SOURCE_VERSION": "arn:aws:s3:::bucket/app.zip"},
        expected=built(
            "codebuild",
            sha=WORKING_COPY.sha,
            branch="checked-out",
            tag="at-head",
            default_branch="trunk",
            build="77",
        ),
    ),
    Case(
        id="semaphore-push",
        env={
            **SEMAPHORE,
            "SEMAPHORE_GIT_BRANCH": "feature/x",
            "SEMAPHORE_GIT_REF": "refs/heads/feature/x",
            "SEMAPHORE_GIT_REF_TYPE": "branch",
            "SEMAPHORE_GIT_WORKING_BRANCH": "feature/x",
        },
        expected=built("semaphore", sha=HEAD, branch="feature/x", default_branch="trunk", build="201"),
    ),
    Case(id="semaphore-pull", env=SEMAPHORE_PULL, expected=built("semaphore", **SEMAPHORE_PULLED)),
    Case(
        id="semaphore-fork",
        env={**SEMAPHORE_PULL, "SEMAPHORE_GIT_PR_SLUG": "octocat/app"},
        expected=forked("semaphore", **SEMAPHORE_PULLED),
    ),
    Case(
        id="semaphore-tag",
        env={
            **SEMAPHORE,
            "SEMAPHORE_GIT_BRANCH": "refs/tags/v1.2.0",
            "SEMAPHORE_GIT_REF": "refs/tags/v1.2.0",
            "SEMAPHORE_GIT_REF_TYPE": "tag",
            "SEMAPHORE_GIT_TAG_NAME": "v1.2.0",
        },
        expected=built("semaphore", sha=HEAD, tag="v1.2.0", default_branch="trunk", build="201"),
    ),
    Case(
        id="appveyor-push",
        env={**APPVEYOR, "APPVEYOR_REPO_BRANCH": "feature/x", "APPVEYOR_REPO_TAG": "false"},
        expected=built("appveyor", sha=HEAD, branch="feature/x", default_branch="trunk", build="7"),
    ),
    Case(id="appveyor-pull", env=APPVEYOR_PULL, expected=built("appveyor", **APPVEYOR_PULLED)),
    Case(
        id="appveyor-fork",
        env={**APPVEYOR_PULL, "APPVEYOR_PULL_REQUEST_HEAD_REPO_NAME": "octocat/app"},
        expected=forked("appveyor", **APPVEYOR_PULLED),
    ),
    Case(
        id="appveyor-tag",
        env={
            **APPVEYOR,
            "APPVEYOR_REPO_BRANCH": "v1.2.0",
            "APPVEYOR_REPO_TAG": "true",
            "APPVEYOR_REPO_TAG_NAME": "v1.2.0",
        },
        expected=built("appveyor", sha=HEAD, tag="v1.2.0", default_branch="trunk", build="7"),
    ),
    Case(
        id="teamcity-push",
        env=TEAMCITY,
        files=teamcity_files("teamcity.build.branch=feature/x", "vcsroot.branch=refs/heads/develop"),
        expected=built("teamcity", sha=HEAD, branch="feature/x", default_branch="develop", build="90"),
    ),
    Case(
        id="teamcity-push-to-the-default-branch",
        env=TEAMCITY,
        files=teamcity_files("teamcity.build.branch=<default>", "vcsroot.branch=refs/heads/develop"),
        expected=built("teamcity", sha=HEAD, branch="develop", default_branch="develop", build="90"),
    ),
    Case(
        id="teamcity-pull",
        env=TEAMCITY,
        files=teamcity_files(
            "teamcity.build.branch=feature/x",
            "teamcity.pullRequest.number=6",
            "teamcity.pullRequest.source.branch=feature/x",
            "teamcity.pullRequest.target.branch=refs/heads/release",
            "vcsroot.branch=refs/heads/develop",
        ),
        expected=built(
            "teamcity",
            sha=HEAD,
            branch="feature/x",
            pull_request="6",
            target_branch="release",
            default_branch="develop",
            build="90",
        ),
    ),
    Case(
        id="teamcity-fork",
        env=TEAMCITY,
        files=teamcity_files(
            "teamcity.build.branch=pull/6",
            "teamcity.pullRequest.number=6",
            "teamcity.pullRequest.target.branch=release",
            "vcsroot.branch=refs/heads/develop",
        ),
        expected=forked(
            "teamcity",
            sha=HEAD,
            pull_request="6",
            target_branch="release",
            default_branch="develop",
            build="90",
        ),
    ),
    Case(
        id="teamcity-tag",
        env=TEAMCITY,
        files=teamcity_files("teamcity.build.branch=refs/tags/v1.2.0", "vcsroot.branch=refs/heads/develop"),
        expected=built("teamcity", sha=HEAD, tag="v1.2.0", default_branch="develop", build="90"),
    ),
    Case(
        id="teamcity-on-windows",
        env={**TEAMCITY, "TEAMCITY_BUILD_PROPERTIES_FILE": r"C:\agent\build.properties"},
        files={
            r"C:\agent\build.properties": "! written by the agent\n"
            "no separator here\n"
            r"teamcity.configuration.properties.file=C\:\\agent\\config.properties",
            r"C:\agent\config.properties": "teamcity.build.branch = fix/\\u00e9\\=\n"
            "vcsroot.branch: refs/heads/develop\n",
        },
        expected=built("teamcity", sha=HEAD, branch="fix/é=", default_branch="develop", build="90"),
    ),
    Case(
        id="teamcity-files-unreadable",
        env=TEAMCITY,
        expected=built(
            "teamcity",
            sha=HEAD,
            branch="checked-out",
            tag="at-head",
            default_branch="trunk",
            build="90",
        ),
    ),
    Case(
        id="jenkins-push",
        env={**JENKINS, "BRANCH_NAME": "feature/x"},
        expected=built("jenkins", sha=HEAD, branch="feature/x", default_branch="trunk", build="153"),
    ),
    Case(
        id="jenkins-freestyle-push",
        env={**JENKINS, "GIT_BRANCH": "origin/feature/x"},
        expected=built("jenkins", sha=HEAD, branch="feature/x", default_branch="trunk", build="153"),
    ),
    Case(
        id="jenkins-freestyle-detached",
        env={**JENKINS, "GIT_BRANCH": "detached"},
        expected=built("jenkins", sha=HEAD, branch="checked-out", tag="at-head", default_branch="trunk", build="153"),
    ),
    Case(id="jenkins-pull", env=JENKINS_PULL, expected=built("jenkins", **JENKINS_PULLED)),
    Case(
        id="jenkins-fork",
        env={**JENKINS_PULL, "CHANGE_FORK": "octocat"},
        expected=forked("jenkins", **JENKINS_PULLED),
    ),
    Case(
        id="jenkins-change-without-a-number",
        env={**JENKINS_PULL, "CHANGE_ID": "I8473b95934b5732ac55d26311a706c9c2bde9940x"},
        expected=replace(built("jenkins", **JENKINS_PULLED), pull_request=None),
    ),
    *(
        Case(
            id=f"jenkins-fork-{mark}",
            env={**JENKINS, "GIT_BRANCH": "origin/main", mark: value},
            expected=forked("jenkins", sha=HEAD, default_branch="trunk", build="153"),
        )
        for mark, value in (
            *((name, "12") for name in ("ghprbPullId", "GITHUB_PR_NUMBER", "gitlabMergeRequestIid")),
            *((name, "12") for name in ("giteePullRequestIid", "BITBUCKET_PULL_REQUEST_ID", "pullRequestId")),
            ("GERRIT_EVENT_TYPE", "patchset-created"),
            ("GERRIT_EVENT_TYPE", "change-merged-not"),
        )
    ),
    *(
        Case(
            id=f"jenkins-gerrit-{event}",
            env={**JENKINS, "GIT_BRANCH": "main", "GERRIT_EVENT_TYPE": event},
            expected=built("jenkins", sha=HEAD, branch="main", default_branch="trunk", build="153"),
        )
        for event in ("change-merged", "ref-updated")
    ),
    Case(
        id="jenkins-tag",
        env={**JENKINS, "BRANCH_NAME": "v1.2.0", "GIT_BRANCH": "v1.2.0", "TAG_NAME": "v1.2.0"},
        expected=built("jenkins", sha=HEAD, tag="v1.2.0", default_branch="trunk", build="153"),
    ),
    *(
        Case(
            id=f"unknown-ci-{value}",
            env={"CI": value},
            expected=built("ci", sha=WORKING_COPY.sha, branch="checked-out", tag="at-head", default_branch="trunk"),
        )
        for value in ("true", "1", "True")
    ),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_golden(case: Case) -> None:
    git = Git()
    context = detect(case.env, git=git, files=case.files)
    assert context == case.expected
    assert context.is_ci
    left_open = {"trunk", WORKING_COPY.sha} & {context.default_branch, context.sha}
    assert git.calls == (1 if left_open else 0)


def test_every_provider_has_the_four_golden_cases() -> None:
    ids = {case.id for case in CASES}
    builds = ("push", "pull", "fork", "tag")
    named = [row.name for row in ci.PROVIDERS if row.name != "ci"]
    missing = {f"{name}-{build}" for name in named for build in builds} - ids
    # What these CIs cannot tell is said by their own cases above.
    assert missing == {"bitbucket-fork", "woodpecker-fork", "drone-fork", "codebuild-fork"}


@pytest.mark.parametrize(
    ("env", "provider"),
    [
        pytest.param({}, "none", id="nothing"),
        pytest.param({"CI": "false"}, "none", id="ci-false"),
        pytest.param({"CI": ""}, "none", id="ci-empty"),
        pytest.param({"CIRCLECI": "false", "CI": "1"}, "ci", id="mark-off"),
        pytest.param({"CIRCLECI": " true\n"}, "circleci", id="mark-in-white-space"),
        pytest.param({"JENKINS_URL": "  "}, "none", id="mark-blank"),
        pytest.param({"CI": "woodpecker", "DRONE": "true"}, "woodpecker", id="woodpecker-like-drone"),
        pytest.param({"GITLAB_CI": "true", "JENKINS_URL": "http://j/"}, "gitlab", id="gitlab-beside-jenkins"),
        pytest.param({"GITHUB_ACTIONS": "true", **CODEBUILD}, "github", id="github-runner-in-codebuild"),
        pytest.param({"BUILDKITE": "true", **CODEBUILD}, "buildkite", id="buildkite-agent-in-codebuild"),
        pytest.param({**TEAMCITY, "JENKINS_URL": "http://j/"}, "teamcity", id="teamcity-beside-jenkins"),
        pytest.param({"DRONE": "true", "JENKINS_URL": "http://j/"}, "drone", id="drone-beside-jenkins"),
    ],
)
def test_first_matching_row_wins(env: Mapping[str, str], provider: str) -> None:
    assert detect(env).provider == provider


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        pytest.param(
            GitFacts(sha=HEAD, branch="feature/x", default_branch="develop"),
            built("none", sha=HEAD, branch="feature/x", default_branch="develop"),
            id="branch",
        ),
        pytest.param(GitFacts(sha=HEAD), built("none", sha=HEAD, default_branch=None), id="detached"),
        pytest.param(
            GitFacts(sha=HEAD, tag="v1.2.0", default_branch="develop"),
            built("none", sha=HEAD, tag="v1.2.0", default_branch="develop"),
            id="detached-at-tag",
        ),
        pytest.param(
            GitFacts(sha=HEAD, branch="main", tag="v1.2.0"),
            built("none", sha=HEAD, branch="main", tag="v1.2.0", default_branch=None),
            id="branch-at-tag",
        ),
        pytest.param(GitFacts(), built("none", default_branch=None), id="no-git"),
        pytest.param(
            GitFacts(sha="", branch="a\nb", tag=" ", default_branch="\x1b[31m"),
            forked("none", default_branch=None),
            id="nonsense",
        ),
    ],
)
def test_laptop(facts: GitFacts, expected: CIContext) -> None:
    git = Git(facts)
    context = detect({"HOME": "/home/me", "GIT_BRANCH": "left over"}, git=git)
    assert context == expected
    assert not context.is_ci
    assert git.calls == 1


@pytest.mark.parametrize(
    "env",
    [
        pytest.param({**GITLAB, "CI_COMMIT_TAG": "v1.2.0"}, id="tag"),
        pytest.param({**GITLAB, "CI_MERGE_REQUEST_IID": "7"}, id="pull-request"),
        pytest.param({**GITLAB, "CI_PIPELINE_SOURCE": "merge_request_event"}, id="pull-request-unnumbered"),
    ],
)
def test_git_never_names_the_branch_of_a_tag_or_pull_request(env: Mapping[str, str]) -> None:
    git = Git()
    context = detect(env, git=git)
    assert (context.sha, context.branch) == (WORKING_COPY.sha, None)
    assert context.tag == env.get("CI_COMMIT_TAG")
    assert git.calls == 1


@pytest.mark.parametrize(
    "env",
    [
        {**GITHUB, "GITHUB_EVENT_NAME": "pull_request_review"},
        {**GITHUB, "GITHUB_HEAD_REF": "a\nb", "GITHUB_EVENT_NAME": "pull_request_target"},
        {**GITHUB, "GITHUB_HEAD_REF": "refs/tags/x"},
        {**GITLAB, "CI_PIPELINE_SOURCE": "merge_request_event"},
        {**GITLAB, "CI_PIPELINE_SOURCE": "external_pull_request_event"},
        {**AZURE, "BUILD_REASON": "PullRequest"},
        {**TRAVIS, "TRAVIS_BRANCH": "release", "TRAVIS_EVENT_TYPE": "pull_request"},
        {**WOODPECKER, "CI_COMMIT_BRANCH": "release", "CI_PIPELINE_EVENT": "pull_request_closed"},
        {**DRONE, "DRONE_BRANCH": "release", "DRONE_BUILD_EVENT": "pull_request"},
        {**CODEBUILD, "CODEBUILD_WEBHOOK_EVENT": "PULL_REQUEST_UPDATED"},
        {**SEMAPHORE, "SEMAPHORE_GIT_WORKING_BRANCH": "x", "SEMAPHORE_GIT_REF_TYPE": "pull-request"},
        {**JENKINS, "BRANCH_NAME": "PR-x", "CHANGE_ID": "x"},
    ],
    ids=lambda env: list(env)[-1],
)
def test_pull_request_without_number_is_no_push(env: Mapping[str, str]) -> None:
    context = detect(env)
    assert (context.branch, context.tag, context.pull_request) == (None, None, None)


@pytest.mark.parametrize(
    ("name", "number"),
    [("CIRCLE_PR_NUMBER", "15"), ("CIRCLE_PR_REPONAME", None), ("CIRCLE_PR_USERNAME", None)],
)
def test_any_variable_of_a_forked_pull_request_is_enough_on_circleci(name: str, number: str | None) -> None:
    context = detect({**CIRCLECI, "CIRCLE_BRANCH": "feature/x", name: "15"})
    assert (context.is_fork, context.pull_request, context.branch) == (True, number, "feature/x")


@pytest.mark.parametrize(
    "value",
    [
        pytest.param("", id="empty"),
        pytest.param(" \t ", id="blank"),
        pytest.param("<nil>", id="nil"),
        pytest.param("main\nevil", id="newline"),
        pytest.param("main\r::set-output name=x::y", id="carriage-return"),
        pytest.param("main\x1b[2J", id="escape"),
        pytest.param("main\x00", id="nul"),
        pytest.param("main\x85evil", id="next-line"),
        pytest.param("main\u2028evil", id="line-separator"),
        pytest.param("main\udcff", id="undecodable"),
        pytest.param("refs/heads/", id="no-name"),
        pytest.param("refs/notes/x", id="no-branch"),
        pytest.param("octocat:", id="owner-only"),
    ],
)
def test_unusable_branch_is_absent(value: str) -> None:
    env = {**GITLAB, "CI_COMMIT_SHA": HEAD, "CI_COMMIT_BRANCH": value, "CI_DEFAULT_BRANCH": value}
    context = detect(env, git=Git(GitFacts()))
    assert (context.branch, context.default_branches) == (None, ("main", "master"))
    assert context.is_fork is bool(value.strip())  # it may be any branch's: main's cache is not written


@pytest.mark.parametrize("value", ["  feature/x\n", "feature/x"])
def test_usable_branch_is_trimmed(value: str) -> None:
    assert detect({**GITLAB, "CI_COMMIT_BRANCH": value}).branch == "feature/x"


@pytest.mark.parametrize("value", ["HEAD", "main", "abc", "0" * 65, f"{HEAD}; rm -rf", "12345"])
def test_what_is_no_commit_is_asked_of_git(value: str) -> None:
    assert detect({**GITLAB, "CI_COMMIT_SHA": value, "CI_COMMIT_BRANCH": "x"}).sha == WORKING_COPY.sha


@pytest.mark.parametrize("value", ["false", "", "12a", "-1", "12/merge", "\uff11\uff12", "<nil>"])
def test_what_is_no_number_is_no_pull_request(value: str) -> None:
    context = detect({**BUILDKITE_PULL, "BUILDKITE_PULL_REQUEST": value})
    assert (context.pull_request, context.target_branch, context.is_fork) == (None, None, False)


@pytest.mark.parametrize(
    ("repository", "is_fork"),
    [
        pytest.param("git@github.com:acme/app.git", False, id="scp"),
        pytest.param("https://token@github.com/acme/app", False, id="https"),
        pytest.param("ssh://git@github.com:22/acme/app.git/", False, id="ssh"),
        pytest.param("https://github.com/ACME/App.git", False, id="case"),
        pytest.param("acme/app", False, id="slug"),
        pytest.param("https://github.com/octocat/app.git", True, id="other-owner"),
        pytest.param("https://github.com/acme/app-2.git", True, id="other-name"),
        pytest.param("https://gitlab.com/octocat/acme/app.git", True, id="same-end"),
        pytest.param("https://github.com/acme/app\n.git", True, id="newline"),
    ],
)
def test_repositories_are_compared_by_path(repository: str, *, is_fork: bool) -> None:
    assert detect({**BUILDKITE_PULL, "BUILDKITE_PULL_REQUEST_REPO": repository}).is_fork is is_fork


@pytest.mark.parametrize(
    "event",
    [
        pytest.param(None, id="unreadable"),
        pytest.param("", id="empty"),
        pytest.param("{", id="truncated"),
        pytest.param("null", id="null"),
        pytest.param("[1, 2]", id="list"),
        pytest.param('"pull_request"', id="string"),
        pytest.param("NaN", id="nan"),
        pytest.param("[" * 100_000, id="deep"),
        pytest.param("9" * 10_000, id="long-number"),
        pytest.param('{"pull_request": null, "repository": null}', id="null-members"),
        pytest.param('{"pull_request": [], "repository": "x"}', id="list-member"),
        pytest.param('{"pull_request": {"head": 1, "base": true}}', id="numbers-for-objects"),
        pytest.param('{"pull_request": {"number": true, "head": {"sha": 1.5, "ref": []}}}', id="leaf-types"),
        pytest.param(
            '{"pull_request": {"head": {"sha": "x", "ref": "a\\nb", "repo": {"full_name": {}}},'
            ' "base": {"ref": "\\ud800", "repo": {"full_name": {}}}},'
            ' "repository": {"default_branch": "\\u001b[2J"}}',
            id="hostile-strings",
        ),
    ],
)
def test_malformed_event(event: str | None) -> None:
    context = detect(GITHUB_PULL, files={} if event is None else {EVENT: event})
    assert context == forked(
        "github",
        sha=MERGE,
        branch="feature/x",
        pull_request="12",
        target_branch="release",
        default_branch="trunk",
        build="3",
    )


# --- what follows a fork -------------------------------------------------------------------------------------

ACME = {"repository": {"full_name": "acme/app", "default_branch": "develop"}}
OWN_HEAD = {"head_repository": {"full_name": "acme/app"}, "head_branch": "develop"}
OTHER_HEAD = {**OWN_HEAD, "head_branch": "feature/x"}
FORK_HEAD = {"head_repository": {"full_name": "octocat/app"}}
PULL = {"head": {"repo": {"full_name": "octocat/app"}}}


@pytest.mark.parametrize(
    ("name", "event", "is_fork"),
    [
        *(
            ("workflow_run", {"workflow_run": {"event": trigger, **head}}, head is not OWN_HEAD)
            for trigger in ("push", "pull_request", "merge_group", "schedule", "workflow_dispatch")
            for head in (OWN_HEAD, OTHER_HEAD, FORK_HEAD, {"head_repository": None}, {})
        ),
        *(
            ("workflow_run", {"workflow_run": {"event": trigger, **OWN_HEAD}}, True)
            for trigger in ("pull_request_target", "workflow_run", "issue_comment", "check_suite", "", None, ["push"])
        ),
        ("workflow_run", {"workflow_run": {"event": "push", **OWN_HEAD}, "repository": None}, True),
        ("workflow_run", {"workflow_run": {"event": "push"}, "repository": {}}, True),
        ("issue_comment", {"issue": {"number": 1}}, False),
        ("issue_comment", {"issue": {"number": 1, "pull_request": None}}, False),
        ("issue_comment", {"issue": {"number": 1, "pull_request": {"url": "u"}}}, True),
        ("issue_comment", {"issue": []}, True),
        ("check_run", {"check_run": {"check_suite": {"head_branch": "develop"}}}, False),
        ("check_run", {"check_run": {"check_suite": {"head_branch": "feature/x"}}}, True),
        ("check_run", {"check_run": {"check_suite": {"head_branch": None, "pull_requests": []}}}, True),
        ("check_run", {"check_run": {"head_branch": "feature/x"}}, True),
        ("check_suite", {"check_suite": {"head_branch": "develop"}}, False),
        ("check_suite", {"check_suite": {"head_branch": "feature/x"}}, True),
        ("check_suite", {"check_suite": {"head_branch": None}}, True),
        ("status", {"branches": [{"name": "feature/x"}, {"name": "develop"}]}, False),
        ("status", {"branches": [{"name": "feature/x"}]}, True),
        ("status", {"branches": []}, True),
        ("status", {"branches": {"name": "x"}}, True),
        ("repository_dispatch", {"client_payload": {"image": "app"}}, False),
        ("repository_dispatch", {"client_payload": {"pull_request": PULL}}, True),
        ("repository_dispatch", {"client_payload": {"github": {"payload": [{"issue": {"pull_request": PULL}}]}}}, True),
        # They bring nothing of a fork.
        *((name, {}, False) for name in ("push", "schedule", "workflow_dispatch", "merge_group", "release", "create")),
        *((name, {}, False) for name in ("issues", "discussion", "discussion_comment", "watch", "fork", "", "new_one")),
        # They are pull requests.
        *((f"pull_request{rest}", {}, True) for rest in ("", "_target", "_review", "_review_comment", "_comment")),
    ],
)
def test_events_of_github(name: str, event: dict[str, object], *, is_fork: bool) -> None:
    env = {**GITHUB, "GITHUB_EVENT_NAME": name, "GITHUB_REF": "refs/heads/develop", "GITHUB_SHA": HEAD}
    context = detect(env, files={EVENT: json.dumps({**ACME, **event})})
    assert context.is_fork is is_fork
    assert context.branch == (None if name.startswith("pull_request") else "develop")


@pytest.mark.parametrize(("name", "base"), [("merge_group", "develop"), ("push", None)])
def test_a_merge_queue_tells_its_base(name: str, base: str | None) -> None:
    queued = "gh-readonly-queue/develop/pr-7-0123abc"
    env = {**GITHUB, "GITHUB_EVENT_NAME": name, "GITHUB_REF": f"refs/heads/{queued}", "GITHUB_SHA": HEAD}
    context = detect(env, files={EVENT: json.dumps({**ACME, "merge_group": {"base_ref": "refs/heads/develop"}})})
    assert (context.queue_base, context.branch, context.is_fork) == (base, queued, False)


FOLLOWING = ("workflow_run", "issue_comment", "check_run", "check_suite", "status", "repository_dispatch")


@pytest.mark.parametrize("event", [None, "", "{", "[]", '"x"', "7", "null", "{}", "[" * 100_000])
@pytest.mark.parametrize("name", FOLLOWING)
def test_an_event_that_cannot_be_read_may_be_a_forks(name: str, event: str | None) -> None:
    env = {**GITHUB, "GITHUB_EVENT_NAME": name, "GITHUB_REF": "refs/heads/develop", "GITHUB_SHA": HEAD}
    sent_nothing = (name, event) == ("repository_dispatch", "{}")
    for told in (env, {**env, "GITHUB_EVENT_PATH": ""}):
        context = detect(told, files={} if event is None else {EVENT: event})
        assert context.is_fork or (sent_nothing and told is env)


@pytest.mark.parametrize("name", ["deployment", "deployment_status"])
@pytest.mark.parametrize(
    ("reference", "is_fork"),
    [("refs/heads/x", False), ("refs/tags/v1", False), ("", True), (HEAD, True), ("refs/pull/1/head", True)],
)
def test_a_deployment_of_a_bare_commit_may_be_a_forks(name: str, reference: str, *, is_fork: bool) -> None:
    env = {**GITHUB, "GITHUB_EVENT_NAME": name, "GITHUB_REF": reference, "GITHUB_SHA": HEAD}
    assert detect(env, files={EVENT: json.dumps(ACME)}).is_fork is is_fork


@pytest.mark.parametrize(
    ("env", "is_fork"),
    [
        pytest.param({**GITLAB_MERGE_REQUEST, "CI_PIPELINE_SOURCE": "parent_pipeline"}, False, id="gitlab-child"),
        pytest.param(
            {
                **GITLAB_MERGE_REQUEST,
                "CI_PIPELINE_SOURCE": "parent_pipeline",
                "CI_MERGE_REQUEST_SOURCE_PROJECT_ID": "20001",
            },
            True,
            id="gitlab-child-of-a-forks",
        ),
        pytest.param({**GITLAB, "CI_PIPELINE_SOURCE": "external_pull_request_event"}, True, id="gitlab-external"),
        pytest.param(
            {**AZURE, "BUILD_REASON": "ResourceTrigger", "BUILD_SOURCEBRANCH": "refs/pull/18/merge"},
            True,
            id="azure-after-a-pull-requests-pipeline",
        ),
        pytest.param(
            {**AZURE, "BUILD_REASON": "ResourceTrigger", "BUILD_SOURCEBRANCH": "refs/heads/x"},
            False,
            id="azure-after-a-branchs-pipeline",
        ),
        pytest.param({**AZURE_PULL, "SYSTEM_PULLREQUEST_ISFORK": ""}, True, id="azure-silent"),
        pytest.param({**AZURE_PULL, "SYSTEM_PULLREQUEST_ISFORK": "no\u2028"}, True, id="azure-odd"),
        pytest.param({**BUILDKITE, "BUILDKITE_BRANCH": "octocat:develop"}, True, id="buildkite-triggered-by-a-forks"),
        pytest.param({**BUILDKITE, "BUILDKITE_BRANCH": "develop"}, False, id="buildkite-triggered"),
        pytest.param({**TRAVIS_PULL, "TRAVIS_PULL_REQUEST_SLUG": ""}, True, id="travis-silent"),
        pytest.param({**SEMAPHORE_PULL, "SEMAPHORE_GIT_PR_SLUG": ""}, True, id="semaphore-silent"),
        pytest.param({**APPVEYOR_PULL, "APPVEYOR_PULL_REQUEST_HEAD_REPO_NAME": ""}, True, id="appveyor-silent"),
        # A repository has no pull request from a branch to itself, and seldom one from its default branch.
        *(
            pytest.param({**pull, source: branch}, branch != "feature/x", id=f"{pull[source]}-{source}-{branch}")
            for pull, source in (
                (WOODPECKER_PULL, "CI_COMMIT_SOURCE_BRANCH"),
                (DRONE_PULL, "DRONE_SOURCE_BRANCH"),
            )
            for branch in ("feature/x", "release", "develop", "a\u2028b", "")
        ),
        pytest.param({**CODEBUILD_PULL, "CODEBUILD_WEBHOOK_HEAD_REF": "refs/heads/trunk"}, True, id="codebuild-trunk"),
        pytest.param({**CODEBUILD, "CODEBUILD_SOURCE_VERSION": "pr/17"}, True, id="codebuild-by-hand"),
        pytest.param({**CODEBUILD, "CODEBUILD_SOURCE_VERSION": HEAD}, False, id="codebuild-commit-by-hand"),
        pytest.param(
            {
                **DRONE,
                "DRONE_BRANCH": "release",
                "DRONE_BUILD_EVENT": "promote",
                "DRONE_COMMIT_REF": "refs/pull/4/head",
            },
            True,
            id="drone-promotion-of-a-pull-request",
        ),
        pytest.param(
            {
                **WOODPECKER,
                "CI_COMMIT_BRANCH": "release",
                "CI_PIPELINE_EVENT": "deployment",
                "CI_COMMIT_REF": "refs/pull/4/head",
            },
            True,
            id="woodpecker-deployment-of-a-pull-request",
        ),
        pytest.param({**CIRCLECI, "CIRCLE_BRANCH": "pull/15/head"}, True, id="circleci-branch"),
        pytest.param({**JENKINS_PULL, "CHANGE_BRANCH": ""}, True, id="jenkins-without-a-source"),
        # Not each branch source plugin sets CHANGE_FORK; no repository asks itself to pull a branch into the same one.
        pytest.param({**JENKINS_PULL, "CHANGE_BRANCH": "release"}, True, id="jenkins-source-is-the-target"),
        pytest.param({**JENKINS_PULL, "CHANGE_BRANCH": "main"}, False, id="jenkins-source-is-the-default-branch"),
        pytest.param({**BITBUCKET, "BITBUCKET_PR_ID": "3"}, True, id="bitbucket-without-a-source"),
    ],
)
def test_what_a_fork_brings_is_told_apart(env: Mapping[str, str], *, is_fork: bool) -> None:
    context = detect(env)
    assert context.is_fork is is_fork


@pytest.mark.parametrize(
    ("branch", "reference", "number"),
    [
        # By the branch specification: `refs/pull/*/head`, `refs/pull/(*/merge)`, `refs/(pull/*)/merge`, other forges'.
        ("6", "refs/pull/6/head", "6"),
        ("6/merge", "refs/pull/6/merge", "6"),
        ("pull/6", "refs/pull/6/merge", "6"),
        ("6", "refs/merge-requests/6/head", "6"),
        ("6", "refs/pull-requests/6/from", "6"),
        ("56/3456/2", "refs/changes/56/3456/2", "3456"),
        ("6", "refs/heads/6", None),
        ("release/6", "refs/heads/release/6", None),
    ],
)
def test_a_pull_request_is_one_on_teamcity_without_the_feature_too(
    branch: str, reference: str, number: str | None
) -> None:
    other = "teamcity.build.vcs.branch.Acme_Tools=refs/heads/main"
    built_reference = f"teamcity.build.vcs.branch.Acme_App={reference}"
    found = detect(TEAMCITY, files=teamcity_files(other, f"teamcity.build.branch={branch}", built_reference))
    assert (found.pull_request, found.is_fork, found.branch) == (number, bool(number), None if number else branch)


def test_a_pull_request_of_the_own_repository_stays_one_on_teamcity() -> None:
    files = teamcity_files(
        "teamcity.build.branch=pull/6",
        "teamcity.build.vcs.branch.Acme_App=refs/pull/6/head",
        "teamcity.pullRequest.number=6",
        "teamcity.pullRequest.source.branch=feature/x",
    )
    found = detect(TEAMCITY, files=files)
    assert (found.pull_request, found.is_fork, found.branch) == ("6", False, "feature/x")


@pytest.mark.parametrize(("mark", "is_fork"), [("true", True), ("", False)])
def test_a_personal_build_has_more_than_its_branch(mark: str, *, is_fork: bool) -> None:
    pull = ("teamcity.pullRequest.number=6", "teamcity.pullRequest.source.branch=feature/x")
    for built_branch in (("teamcity.build.branch=main",), ("teamcity.build.branch=pull/6", *pull)):
        assert detect({**TEAMCITY, "BUILD_IS_PERSONAL": mark}, files=teamcity_files(*built_branch)).is_fork is is_fork


@pytest.mark.parametrize(("source", "is_fork"), [("trunk", True), ("main", False), ("feature", False)])
def test_a_pull_request_of_the_default_branch_that_is_given_may_be_a_forks(source: str, *, is_fork: bool) -> None:
    """Where the CI does not tell forks apart, as CodeBuild does not."""
    env = {**CODEBUILD_PULL, "CODEBUILD_WEBHOOK_HEAD_REF": f"refs/heads/{source}"}
    found = ci.detect(env, git=Git(GitFacts()), read_text=dict[str, str]().get, default_branch="trunk")
    assert (found.default_branch, found.is_fork) == ("trunk", is_fork)


# --- hostile names -------------------------------------------------------------------------------------------

# How each CI names a branch that is pushed.
PUSHES = (
    (CIRCLECI, "CIRCLE_BRANCH", "{}"),
    (GITHUB, "GITHUB_REF", "refs/heads/{}"),
    (GITLAB, "CI_COMMIT_BRANCH", "{}"),
    (BUILDKITE, "BUILDKITE_BRANCH", "{}"),
    (AZURE, "BUILD_SOURCEBRANCH", "refs/heads/{}"),
    (BITBUCKET, "BITBUCKET_BRANCH", "{}"),
    (TRAVIS, "TRAVIS_BRANCH", "{}"),
    (WOODPECKER, "CI_COMMIT_BRANCH", "{}"),
    (DRONE, "DRONE_BRANCH", "{}"),
    (CODEBUILD, "CODEBUILD_WEBHOOK_TRIGGER", "branch/{}"),
    (SEMAPHORE, "SEMAPHORE_GIT_WORKING_BRANCH", "{}"),
    (APPVEYOR, "APPVEYOR_REPO_BRANCH", "{}"),
    (JENKINS, "BRANCH_NAME", "{}"),
    (JENKINS, "GIT_BRANCH", "origin/{}"),
)


@pytest.mark.parametrize("name", ["pull/5/head", "pull/5", "pull-requests/5/from", "merge-requests/5/head"])
@pytest.mark.parametrize(("env", "variable", "form"), PUSHES, ids=[variable for _, variable, _ in PUSHES])
def test_a_branch_that_is_named_like_a_pull_request_is_one(
    env: Mapping[str, str], variable: str, form: str, name: str
) -> None:
    """Where the CI gives a name alone: a job may build such references as if they were branches."""
    context = detect({**env, variable: form.format(name)})
    is_branch = form.startswith(("refs/heads/", "branch/"))
    assert (context.pull_request, context.is_fork) == ((None, False) if is_branch else ("5", True))


@pytest.mark.parametrize(
    ("branch", "number"),
    [
        *((f"origin/{name}", "28") for name in ("pr/28/head", "pr/28/merge", "pr/28", "pull-requests/28/from")),
        *((name, "28") for name in ("upstream/pr/28/head", "origin-pull/pull/28/merge", "refs/remotes/origin/pr/28")),
        *((f"origin/{name}", None) for name in ("fix/pr/28", "pr/28/fix", "pr/fix", "pr28", "release/28")),
    ],
)
def test_jenkins_without_a_plugin_builds_pull_requests_too(branch: str, number: str | None) -> None:
    found = detect({**JENKINS, "GIT_BRANCH": branch})
    assert (found.pull_request, found.is_fork) == (number, bool(number))
    assert found.branch == (None if number else branch.removeprefix("origin/"))


# Names that git takes for a branch's.
ODD_NAMES = (
    *("<nil>", "main\u2028", "\u2029main", "ma\x85in", "x\udcff", "main\xa0", "\u3000main", "\u2003", "\x1c"),
    *("refs/heads/main", "refs/tags/v1", "detached", "MAIN", "m\u0430in"),
)


@pytest.mark.parametrize("name", ODD_NAMES)
@pytest.mark.parametrize(("env", "variable", "form"), PUSHES, ids=[variable for _, variable, _ in PUSHES])
def test_no_name_of_a_branch_makes_it_another_one(env: Mapping[str, str], variable: str, form: str, name: str) -> None:
    context = detect({**env, variable: form.format(name)}, git=Git(GitFacts(sha=HEAD, default_branch="main")))
    assert context.is_fork or context.branch == name
    assert context.tag is None


@pytest.mark.parametrize("name", ["x\\u2028", "\\u0085", "main\\u00a0"])
def test_no_name_of_a_branch_makes_it_the_default_one_on_teamcity(name: str) -> None:
    files = teamcity_files(f"teamcity.build.branch={name}", "vcsroot.branch=refs/heads/develop")
    assert detect(TEAMCITY, files=files).is_fork


@pytest.mark.parametrize("name", ["x\u2028", "main\xa0"])
def test_no_name_of_a_branch_makes_it_the_default_one_outside_of_a_ci(name: str) -> None:
    assert detect({}, git=Git(GitFacts(sha=HEAD, branch=name))).is_fork


NAMES = sorted(
    {"GITHUB_EVENT_PATH", "TEAMCITY_BUILD_PROPERTIES_FILE", *re.findall(r"'([A-Z][A-Z0-9_]+)'", repr(ci.PROVIDERS))}
)
TELLING = st.sampled_from(
    (
        "true",
        "false",
        "1",
        "12",
        "p",
        "HEAD",
        "<nil>",
        "a:b",
        "woodpecker",
        "pull_request",
        "refs/heads/x",
        "refs/tags/x",
        "refs/pull/1/merge",
        "pull/1",
        "pr/2",
        "tag/x",
        "branch/x",
        "origin/",
        "origin/x",
        "git@h:a/b.git",
    )
)
TREES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(("pull_request", "head", "repo")), inner),
    max_leaves=8,
)
TEXTS = st.none() | st.text() | TREES.map(json.dumps) | st.just("teamcity.configuration.properties.file=\\")


@given(
    env=st.dictionaries(st.sampled_from(NAMES), TELLING | st.text(), max_size=12),
    mark=st.sampled_from([name for row in ci.PROVIDERS for name, _ in row.marks]),
    text=TEXTS,
)
@settings(derandomize=True, deadline=None, max_examples=400)
def test_any_environment_is_survived(env: dict[str, str], mark: str, text: str | None) -> None:
    git = Git()
    context = ci.detect({mark: "true", **env}, git=git, read_text=lambda _: text)
    told = [value for value in asdict(context).values() if isinstance(value, str)]
    assert all(value == value.strip() != "" for value in told)
    assert not any(re.search(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]", value) for value in told)
    assert context.default_branch
    assert re.fullmatch(r"[0-9]*", context.pull_request or "")
    assert git.calls <= 1
