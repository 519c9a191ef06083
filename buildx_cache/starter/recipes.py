"""The CIs that ``init`` writes a step for: one row each, and a template a kind of cache."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class CIName(StrEnum):
    """The CIs, as ``--ci`` takes them."""

    CIRCLECI = "circleci"
    GITHUB = "github"
    GITLAB = "gitlab"
    BUILDKITE = "buildkite"
    BITBUCKET = "bitbucket"
    AZURE = "azure"
    JENKINS = "jenkins"
    WOODPECKER = "woodpecker"


class StepCache(StrEnum):
    """Where the step keeps its cache."""

    REGISTRY = "registry"
    INLINE = "inline"
    LOCAL = "local"


_ALL = tuple(StepCache)
_PUSHED = (StepCache.REGISTRY, StepCache.INLINE)
_LOGIN = "set DOCKER_REGISTRY{registry}, DOCKER_LOGIN and DOCKER_PASSWORD"


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One CI; paths are relative to the top of the repository."""

    name: CIName
    title: str
    file: str
    """The file that is written."""
    same: tuple[str, ...] = ()
    """What the CI reads in its place."""
    marks: tuple[str, ...] = ()
    """What else shows that the repository uses this CI."""
    hosts: str = ""
    """A pattern of the git hosts whose repositories use it."""
    place: str
    """Where in a file that exists the step goes."""
    login: str = ""
    """What a step that pushes needs beside the file; ``{registry}`` is the registry that is likely meant."""
    kept: str = ""
    """What a local cache needs beside the file."""
    ignored: str = ""
    """The line of .dockerignore for a local cache that the CI keeps in the project."""
    caches: tuple[StepCache, ...] = _ALL
    suffix: str = "yml"
    """Of its templates."""


RECIPES: tuple[Recipe, ...] = (
    Recipe(
        name=CIName.CIRCLECI,
        title="CircleCI",
        file=".circleci/config.yml",
        same=(".circleci/config.yaml",),
        place="add the job under `jobs`, and its name to a workflow",
        login=f"{_LOGIN} in the project's settings or a context",
    ),
    Recipe(
        name=CIName.GITHUB,
        title="GitHub Actions",
        file=".github/workflows/image.yml",
        marks=(".github/workflows",),
        hosts=r"github\.com",
        place="add the job under `jobs`",
    ),
    Recipe(
        name=CIName.GITLAB,
        title="GitLab",
        file=".gitlab-ci.yml",
        hosts=r"gitlab\..+",
        place="add the job at the top level",
        kept="add `.buildx-cache*` to .dockerignore: GitLab keeps only folders of the project",
        ignored=".buildx-cache*",
    ),
    Recipe(
        name=CIName.BUILDKITE,
        title="Buildkite",
        file=".buildkite/pipeline.yml",
        same=(".buildkite/pipeline.yaml", "buildkite.yml", "buildkite.yaml"),
        marks=(".buildkite",),
        place="add the step under `steps`",
        login=f"{_LOGIN} by the agent's environment hook or its secrets",
        kept="the cache stays on the agent's disk, in ~/.cache/buildx-cache",
    ),
    Recipe(
        name=CIName.BITBUCKET,
        title="Bitbucket Pipelines",
        file="bitbucket-pipelines.yml",
        hosts=r"bitbucket\.org",
        place="add the step to a pipeline",
        login=f"{_LOGIN} as repository variables, the password as a secured one",
        caches=_PUSHED,
    ),
    Recipe(
        name=CIName.AZURE,
        title="Azure Pipelines",
        file="azure-pipelines.yml",
        same=("azure-pipelines.yaml", ".azure-pipelines.yml"),
        marks=(".azure-pipelines",),
        hosts=r"(?:.+\.)?(?:dev\.azure|visualstudio)\.com",
        place="add the step under `steps` of a job",
        login=f"{_LOGIN} as variables of the pipeline, the password as a secret one",
    ),
    Recipe(
        name=CIName.JENKINS,
        title="Jenkins",
        file="Jenkinsfile",
        place="add the stage under `stages`",
        login="store user name and password as the credentials `registry`, and check DOCKER_REGISTRY in the file",
        kept="the cache stays on the agent's disk, in ~/.cache/buildx-cache",
        suffix="groovy",
    ),
    Recipe(
        name=CIName.WOODPECKER,
        title="Woodpecker",
        file=".woodpecker.yaml",
        same=(".woodpecker.yml", ".woodpecker"),
        place="add the step under `steps`, the service under `services`",
        login=(
            "set the secrets docker_registry{registry}, docker_login and docker_password; "
            "the service takes a trusted repository"
        ),
        caches=_PUSHED,
    ),
)


def recipe_of(name: CIName) -> Recipe:
    """Return the row of a CI."""
    return next(row for row in RECIPES if row.name == name)
