"""Choose the CI and the Dockerfile, and refuse what cannot be chosen or written down."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from buildx_cache.errors import UsageError
from buildx_cache.reference import parse_reference
from buildx_cache.starter.recipes import RECIPES, CIName, Recipe, StepCache, recipe_of
from buildx_cache.starter.survey import Findings, Remote

# What means nothing to a shell, to YAML, Groovy or the expressions of any CI.
_PLAIN = re.compile(r"[A-Za-z0-9_.][A-Za-z0-9_./-]{0,254}", re.ASCII)
_NO_REGISTRY = "registry.example.com"
_REGISTRIES = {"github.com": "ghcr.io", "gitlab.com": "registry.gitlab.com"}
"""The registries that git hosts have."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """What is built: the context, and the Dockerfile where it is not the context's own; paths from the top."""

    context: str = "."
    file: str = ""

    @property
    def words(self) -> str:
        """The words of the command line."""
        return f"-f {self.file} {self.context}" if self.file else self.context


def choose_ci(asked: CIName | None, findings: Findings) -> Recipe:
    """Return the CI that is asked for, else the one whose files are there, else the one of the origin's host.

    Raises:
        UsageError: there are several, or none.
    """
    if asked:
        return recipe_of(asked)
    hosted = tuple(row.name for row in RECIPES if row.hosts and re.fullmatch(row.hosts, findings.remote.host))
    found = findings.cis or hosted
    if len(found) > 1:
        raise UsageError(
            f"the repository has files of several CIs: {', '.join(found)}",
            code="ci-ambiguous",
            hint=f"name one: --ci {found[0]}",
        )
    if not found:
        raise UsageError(
            "no CI is known by the repository's files or the address of its origin",
            code="ci-unclear",
            hint=f"name one with --ci: {', '.join(row.name for row in RECIPES)}",
        )
    return recipe_of(found[0])


def choose_source(file: str, findings: Findings) -> Source:
    """Return what is built: ``file`` if it is given, else the Dockerfile at the top, else the only one below it.

    Raises:
        UsageError: there is none, there are several, or its name could mean something to a shell or a CI.
    """
    if file:
        return Source(file=_plain(file))
    found = findings.dockerfiles
    own = next((name for name in found if name.lower() == "dockerfile"), "")
    if own:
        return Source()
    if not found:
        raise UsageError(
            f"there is no Dockerfile in {findings.top}",
            code="dockerfile-not-found",
            hint="write one, or name it with --file",
        )
    if len(found) > 1:
        raise UsageError(
            f"there are {len(found)} Dockerfiles, and none at the top: {', '.join(map(repr, found[:5]))}",
            code="dockerfile-ambiguous",
            hint="name one with --file",
        )
    folder, _, name = _plain(found[0]).rpartition("/")
    return Source(context=folder) if folder and name.lower() == "dockerfile" else Source(file=found[0])


def check_cache(recipe: Recipe, cache: StepCache) -> None:
    """Refuse a kind of cache that there is no step for.

    Raises:
        UsageError: there is no template for it.
    """
    if cache not in recipe.caches:
        raise UsageError(
            f"there is no step with a {cache} cache for {recipe.title}",
            code="ci-cache-unsupported",
            hint="use --cache registry or --cache inline",
        )


def values_of(source: Source, findings: Findings) -> Mapping[str, str]:
    """Return what a template names; what the repository calls a branch or itself is taken where it is plain."""
    image = _image_of(findings.remote.path) or _image_of(findings.top.name) or "app"
    return {
        "image": image,
        "name": image.rpartition("/")[2],
        "registry": registry_of(findings.remote) or _NO_REGISTRY,
        "branch": findings.branch if _PLAIN.fullmatch(findings.branch) else "main",
        "context": source.words,
    }


def registry_of(remote: Remote) -> str:
    """Return the registry of the origin's host; "" if it is not known to have one."""
    return _REGISTRIES.get(remote.host, "")


def _image_of(name: str) -> str:
    """Return a name in lower case where an image can have it, else ""."""
    path = name.lower()
    try:
        return parse_reference(f"{_NO_REGISTRY}/{path}").path if _PLAIN.fullmatch(path) else ""
    except UsageError:
        return ""


def _plain(path: str) -> str:
    if not _PLAIN.fullmatch(path):
        raise UsageError(
            f"the Dockerfile's path {path!r} has characters that a shell or a CI could take for more than a name",
            code="dockerfile-name-unsafe",
            hint="rename it: letters, digits and . _ - / only",
        )
    return path
