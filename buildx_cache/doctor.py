"""The checks of ``doctor``, which say whether this machine is ready to build."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from buildx_cache import layout
from buildx_cache.caches.backend import CacheKind
from buildx_cache.ci import CIContext
from buildx_cache.ci.pitfalls import Pitfall, hits
from buildx_cache.errors import BuildxCacheError, ExposedError
from buildx_cache.plan import Facts, show_version
from buildx_cache.plan.builder_choice import BUILDER_VARIABLE, unsupported_reason, wants_own
from buildx_cache.plan.facts import UNKNOWN_VERSION, Credentials, Version, parse_version
from buildx_cache.plan.registry_choice import take_over
from buildx_cache.request.build_request import BuildRequest
from buildx_cache.request.contexts import check_cache_directory

OLDEST_GIT: Version = (2, 38, 0)
"""The first git with ``safe.bareRepository``, which stops git from taking committed files for a repository."""


class CheckStatus(StrEnum):
    """The result of a check; only ``fail`` stops a build."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, kw_only=True)
class Check:
    """One line of ``doctor``."""

    name: str
    status: CheckStatus
    found: str
    advice: str = ""


@dataclass(frozen=True, kw_only=True)
class CIFile:
    """The repository's configuration file of the CI, and the pitfalls to look for in such a file."""

    name: str
    text: str
    pitfalls: tuple[Pitfall, ...]


@dataclass(frozen=True, kw_only=True)
class Machine:
    """The facts of this machine that need no Docker."""

    ci: CIContext
    credentials: Credentials
    cache_dir: str
    path: str
    """The search path for credential helpers."""
    git: Version
    """git's version; ``UNKNOWN_VERSION`` without git."""
    ci_file: CIFile | None = None
    buildkit_image: str = ""
    """The requested image of builders; empty: Buildx' default."""
    sent: tuple[str, ...] = ()
    """Warnings about a cache folder inside the build context."""


@dataclass(frozen=True, kw_only=True)
class Questions:
    """Queries to the engine, each sent only when its check needs it."""

    facts: Callable[[], Facts]
    is_podman: Callable[[], bool] = bool
    """Returns whether podman answers at the engine's address."""
    pull_refusal: Callable[[], str] = str
    """Returns why the engine cannot pull the builder image; empty if the engine can."""


def examine(ask: Questions, machine: Machine) -> Iterator[Check]:
    """Yield all checks, the ones that others depend on first."""
    version = UNKNOWN_VERSION
    try:
        facts = ask.facts()
    except BuildxCacheError as error:
        yield Check(name="docker", status=CheckStatus.FAIL, found=error.message, advice=error.hint)
    else:
        version = parse_version(facts.docker)
        yield from _docker(facts, ask, machine.buildkit_image)
    yield _cache_folder(machine)
    yield _git(machine.git)
    yield _ci(machine.ci)
    yield from _ci_file(machine.ci_file, version)
    yield _credentials(machine.credentials, machine.path)


def _docker(facts: Facts, ask: Questions, buildkit_image: str) -> Iterator[Check]:
    yield _engine(facts, is_podman=ask.is_podman())
    yield Check(name="buildx", status=CheckStatus.OK, found=show_version(facts.buildx))
    yield from _registries(facts)
    builder = _builder(facts)
    yield builder
    if wants_own(BuildRequest(buildkit_image=buildkit_image), facts, CacheKind.REGISTRY):
        yield from _builder_image(facts, ask.pull_refusal)


def _engine(facts: Facts, *, is_podman: bool) -> Check:
    found = f"engine {facts.docker}, context {facts.context}, {facts.store} image store"
    if is_podman:
        return Check(
            name="docker",
            status=CheckStatus.WARN,
            found=f"{found}: it is podman, which builds without BuildKit",
            advice="set DOCKER_HOST to the address of a Docker engine, or DOCKER_CONTEXT to its context",
        )
    return Check(name="docker", status=CheckStatus.OK, found=found)


def _builder_image(facts: Facts, refusal: Callable[[], str]) -> Iterator[Check]:
    """Yield a warning if the engine cannot pull the builder image; none with a mirror, which may have the image."""
    reason = "" if facts.registries.mirrors else refusal()
    if reason:
        yield Check(
            name="builder image",
            status=CheckStatus.WARN,
            found=reason,
            advice="name one that the engine can pull with --buildkit-image, or load it: `docker load --input FILE`",
        )


def _ci_file(file: CIFile | None, docker: Version) -> Iterator[Check]:
    """Yield the pitfalls in the CI's file, with their lines."""
    if file is None:
        return
    for hit in hits(file.text, file.pitfalls, docker[0]):
        lines = f"line{'s' if len(hit.lines) > 1 else ''} {', '.join(map(str, hit.lines))}"
        yield Check(
            name=hit.pitfall.name,
            status=CheckStatus.WARN,
            found=hit.pitfall.problem,
            advice=f"{lines} of {file.name}: {hit.pitfall.advice}",
        )


def _registries(facts: Facts) -> Iterator[Check]:
    """Yield a check of the registry settings that a container builder copies from the engine, if there are any."""
    plan = take_over(facts.registries, facts.default_config)
    if plan.lines:
        yield Check(
            name="registries",
            status=CheckStatus.WARN if plan.left_out else CheckStatus.OK,
            found="; ".join(plan.lines),
            advice="add what is missing to a buildkitd.toml: --buildkitd-config FILE" if plan.left_out else "",
        )


def _builder(facts: Facts) -> Check:
    builder = facts.builder
    if builder is None and BUILDER_VARIABLE in (facts.variables or ()):
        return Check(
            name="builder",
            status=CheckStatus.FAIL,
            found=f"there is no builder of the name in {BUILDER_VARIABLE}",
            advice=f"unset {BUILDER_VARIABLE}, or name one that `docker buildx ls` lists",
        )
    if builder is None:
        return Check(
            name="builder",
            status=CheckStatus.WARN,
            found="there is no current builder",
            advice="one is made for each project; `docker buildx use default` selects the engine's own",
        )
    found = f"{builder.name} (driver {builder.driver}, BuildKit {show_version(builder.buildkit)})"
    reason = unsupported_reason(BuildRequest(), builder.driver, facts.store, CacheKind.REGISTRY)
    if reason:
        return Check(
            name="builder",
            status=CheckStatus.OK,
            found=f"{found} {reason}: a docker-container builder will be made",
        )
    return Check(name="builder", status=CheckStatus.OK, found=f"{found} can export every kind of cache")


def _cache_folder(machine: Machine) -> Check:
    if machine.sent:
        return Check(
            name="cache folder",
            status=CheckStatus.WARN,
            found=machine.sent[0],
            advice="give a folder outside of the repository with --cache-dir",
        )
    directory = machine.cache_dir
    try:
        check_cache_directory(directory)
    except BuildxCacheError as error:
        return Check(name="cache folder", status=CheckStatus.FAIL, found=error.message, advice=error.hint)
    try:
        layout.refuse_exposed(Path(directory))
    except ExposedError as error:
        return Check(name="cache folder", status=CheckStatus.WARN, found=error.message, advice=error.hint)
    if not (Path(directory) / "index.json").is_file():
        return Check(name="cache folder", status=CheckStatus.OK, found=f"{directory}: not there yet: it will be made")
    faults = layout.damage_of(layout.verify(Path(directory)))
    if faults:
        return Check(
            name="cache folder",
            status=CheckStatus.WARN,
            found=f"{directory}: corrupt: {faults[0].problem}",
            advice="the next build sets it aside and runs every step; `buildx-cache cache verify` lists the faults",
        )
    return Check(name="cache folder", status=CheckStatus.OK, found=f"{directory}: holds a cache")


def _git(version: Version) -> Check:
    if version == UNKNOWN_VERSION:
        return Check(name="git", status=CheckStatus.OK, found="not on PATH: the CI alone tells commit and branch")
    if version < OLDEST_GIT:
        return Check(
            name="git",
            status=CheckStatus.WARN,
            found=f"{show_version(version)} can mistake committed files for a repository",
            advice=f"upgrade git to {show_version(OLDEST_GIT)} or newer",
        )
    return Check(name="git", status=CheckStatus.OK, found=show_version(version))


def _ci(ci: CIContext) -> Check:
    default = f"default branch {' or '.join(ci.default_branches)}"
    if not ci.is_ci:
        where = f"branch {ci.branch}" if ci.branch else "no branch"
        return Check(name="ci", status=CheckStatus.OK, found=f"none; {where}, {default}")
    found = f"{ci.provider}; branch {ci.branch or 'none'}, {default}"
    if ci.is_fork:
        return Check(
            name="ci",
            status=CheckStatus.OK,
            found=f"{found}; a pull request from a fork, or possibly one: caches are read-only",
        )
    if not (ci.branch or ci.tag):
        return Check(
            name="ci",
            status=CheckStatus.WARN,
            found=f"{found}: neither branch nor tag is known",
            advice="give --cache-scope, or a cache in a registry is read-only",
        )
    return Check(name="ci", status=CheckStatus.OK, found=found)


def _credentials(credentials: Credentials, path: str) -> Check:
    if credentials.broken:
        return Check(
            name="credentials",
            status=CheckStatus.WARN,
            found=f"{credentials.folder}/config.json: {credentials.broken}",
            advice="mend the file: Docker ignores it",
        )
    if credentials.unusable:
        return Check(
            name="credentials",
            status=CheckStatus.WARN,
            found=credentials.unusable,
            advice="set DOCKER_LOGIN, DOCKER_PASSWORD and the DOCKER_REGISTRY that they are for, or none of them",
        )
    missing = [name for name in credentials.helpers if not shutil.which(f"docker-credential-{name}", path=path)]
    if missing:
        return Check(
            name="credentials",
            status=CheckStatus.WARN,
            found=f"the credential helper docker-credential-{missing[0]} is not on PATH",
            advice=f"install it, or take it out of {credentials.folder}{os.sep}config.json",
        )
    ambient = (f"{credentials.ambient} (DOCKER_LOGIN)",) if credentials.ambient else ()
    logins = ", ".join((*credentials.registries, *ambient)) or "none stored"
    return Check(name="credentials", status=CheckStatus.OK, found=f"logins: {logins}")
