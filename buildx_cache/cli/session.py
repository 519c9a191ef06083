"""Collect the facts for a request from git, the CI and Docker, and make the plan."""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from buildx_cache.ci import CIContext, GitFacts, detect, provider_of
from buildx_cache.engine.committed import own_files, refuse_committed, refuse_committed_git, settings_of_user
from buildx_cache.engine.docker import DockerEngine
from buildx_cache.engine.git import Provenance, git_provenance, read_git
from buildx_cache.engine.git_origin import at_commit
from buildx_cache.engine.own_files import cache_home
from buildx_cache.errors import EngineError, UsageError
from buildx_cache.plan import Builder, BuildPlan, Facts, ImageStore, Node, Place, TlsEndpoint, make_plan, needed_builder
from buildx_cache.report import RetryReport
from buildx_cache.request.build_request import BuildRequest, Driver
from buildx_cache.request.contexts import (
    check_cache_directories,
    check_exported_folders,
    context_notes,
    repository_notes,
)
from buildx_cache.request.images import named_images
from buildx_cache.request.path_checks import unmoved
from buildx_cache.request.probe import read_text, working_directory
from buildx_cache.request.remote_context import git_context, is_remote_context
from buildx_cache.retry_policy import RetryPolicy
from buildx_cache.working_copy import enclosing_top

POLICY = RetryPolicy(tries=60, first=0.3, longest=1.0, total=30.0)
_OF_ADDRESS = 16  # a stranger may choose an address, and finds another one with the same 32 bits in minutes
_NOT_YET = frozenset({"docker-down", "docker-tls-absent"})


@dataclass(frozen=True, kw_only=True)
class Session:
    """The engine, the CI's facts and the plan of one call."""

    engine: DockerEngine
    ci: CIContext
    plan: BuildPlan
    place: Place
    retries: tuple[RetryReport, ...] = ()


def open_session(request: BuildRequest, env: Mapping[str, str], say: Callable[[str], None]) -> Session:
    """Ask Docker for facts and make the plan; ``say`` shows that this program waits for the engine.

    Raises:
        BuildxCacheError: Docker is not usable, or the request cannot be carried out.
    """
    refuse_committed(request, env)
    place, request, ci, notes = _known_before_docker(request, env)
    provenance = git_provenance(*_places(request), env)
    own_env, another = {**env, **provenance.env}, _unchanged(request, env, provenance)
    engine = DockerEngine(own_env, request.docker_context, before_another=another)
    # If the request alone decides for the project's own builder, ask only for that one, not for the current builder.
    own = needed_builder(request, ci, _assumed(place, engine.context, engine.tls))
    name = own or request.builder
    facts, retries = facts_when_up(
        lambda: engine.facts(place, name),
        say,
        may_come=not request.no_wait and bool(ci.is_ci or env.get("DOCKER_HOST")),
        hint=provider_of(env).engine,
    )
    facts = replace(facts, variables=_set_variables(env))
    if own:
        facts = replace(facts, builder=None, own_builder=facts.builder)
    needed = needed_builder(request, ci, facts)
    if needed != own:  # the builder's name depends on the engine's facts, too
        facts = replace(facts, own_builder=engine.find_builder(needed))
    plan = _noted(make_plan(request, ci, facts), request, ci)
    plan = replace(plan, notes=(*plan.notes, *notes, *filter(None, (provenance.note,))))
    check_exported_folders(
        request, plan.cache.folders, settings=settings_of_user(request, env), programs=own_files(env)
    )
    check_cache_directories(plan.cache.written_folders)
    return Session(engine=engine, ci=ci, plan=plan, place=place, retries=retries)


def facts_when_up(
    ask: Callable[[], Facts],
    say: Callable[[str], None],
    *,
    may_come: bool,
    hint: str = "",
    policy: RetryPolicy = POLICY,
    sleep: Callable[[float], None] = time.sleep,
) -> tuple[Facts, tuple[RetryReport, ...]]:
    """Ask an engine for facts until it answers; return the facts and the retries.

    Args:
        ask: asks once.
        say: shows, once, that this program waits.
        may_come: whether the engine may still start.
        hint: the hint on how a job of this CI gets an engine; empty: the error's own hint.
        policy: the number of retries and their pauses.
        sleep: waits for a number of seconds.

    Raises:
        EngineError: the engine does not answer in time, or fails in a way that waiting does not solve.
    """
    pauses = policy.pauses() if may_come else iter(())
    count, reason = 0, ""
    while True:
        try:
            return ask(), (RetryReport(phase="engine", reason=reason, count=count),) if count else ()
        except EngineError as error:
            if error.code not in _NOT_YET:
                raise
            if (pause := next(pauses, None)) is None:
                raise EngineError(error.message, code=error.code, hint=hint or error.hint) from None
            reason = error.message
        if not count:
            say(f"{reason}: waiting for it, up to {policy.total:.0f} seconds")
        count += 1
        sleep(pause)


def _known_before_docker(
    request: BuildRequest, env: Mapping[str, str]
) -> tuple[Place, BuildRequest, CIContext, tuple[str, ...]]:
    """Return all facts that need no Docker: the project's paths, the request, the CI's facts, and notes."""
    place, ci = surroundings(request, env)
    request, ci, notes = at_commit(request, ci, env)
    return place, request, replace(ci, default_branch=request.default_branch or ci.default_branch), notes


def _unchanged(request: BuildRequest, env: Mapping[str, str], provenance: Provenance) -> Callable[[], None]:
    """Return a check for further builds of the call: it raises UsageError if an exported image changed the context.

    The check compares the paths that Buildx uses, and the repository that git finds.
    """
    check = unmoved(request)

    def unchanged() -> None:
        check()
        if git_provenance(*_places(request), env) != provenance:
            raise UsageError(
                "the build context moved to another repository during this call: building stops",
                code="context-moved",
                hint="export the image to another folder",
            )

    return unchanged


def _noted(plan: BuildPlan, request: BuildRequest, ci: CIContext) -> BuildPlan:
    """Add notes on caches and reports in the build context, and on parts of the Dockerfile that no cache helps.

    A cache directory with one folder a platform counts as one folder.
    """
    cache = plan.cache
    given = (entry.folder for entry in cache.exports)
    folders = tuple(dict.fromkeys(filter(None, (cache.directory, *given)))) if cache.written else ()
    found = (*context_notes(request, folders), *repository_notes(request, travels=bool(cache.exports) and ci.is_ci))
    return replace(plan, notes=(*plan.notes, *found))


def surroundings(request: BuildRequest, env: Mapping[str, str]) -> tuple[Place, CIContext]:
    """Return the project's paths, and the facts from the CI and git.

    Raises:
        UsageError: git would read settings that the repository has committed, or ``--default-branch`` is invalid.
    """
    refuse_committed_git(request, env)
    context, top = _places(request)
    folder = context or Path(os.path.realpath(working_directory()))
    root = top or folder
    project = f"{_slug(root.name)}-{_digest(str(root))}"
    remote = git_context(request.context) if context is None else None
    address = remote.address if remote else request.context.partition("?")[0]
    apart = "" if context or request.context == "-" else f"-{_digest(address, digits=_OF_ADDRESS)}"
    parts = ((remote.folder or ".") if remote else str(folder.relative_to(root)), _dockerfile(request, folder))
    cache_dir = str(cache_home(env) / f"{project}{apart}")
    here = top if context or request.context == "-" else None  # BuildKit builds another repository than this one
    ci = detect(env, git=lambda: read_git(here, env), read_text=read_text, default_branch=request.default_branch)
    if request.default_branch and ci.default_branch != request.default_branch:
        raise UsageError(
            f"--default-branch {request.default_branch!r} is not a branch name",
            code="branch-malformed",
            hint="write it as git does, such as trunk",
        )
    place = Place(
        project=project,
        cache_dir=cache_dir,
        today=datetime.now(UTC).date().isoformat(),
        source=() if parts == (".", "Dockerfile") else parts,
        images=() if ci.is_fork else named_images(request),  # a fork must not decide which registries are insecure
    )
    return place, ci


def _dockerfile(request: BuildRequest, folder: Path) -> str:
    """Return the Dockerfile's path relative to the build context, so that different spellings compare equal."""
    if not request.file:
        return "Dockerfile"
    if request.file == "-" or is_remote_context(request.file):
        return request.file
    return os.path.relpath(request.file, folder)


def _places(request: BuildRequest) -> tuple[Path | None, Path | None]:
    """Return the build context's folder, None if BuildKit fetches the context, and the top of its working copy."""
    here = Path(os.path.realpath(working_directory()))
    context = None if is_remote_context(request.context) else Path(os.path.realpath(request.context))
    return context, enclosing_top(context or here, here)


def ci_without_git(env: Mapping[str, str]) -> CIContext:
    """Return the CI's facts without git's, for a call that fails before planning."""
    return detect(env, git=GitFacts, read_text=read_text)


def assumed_plan(request: BuildRequest, env: Mapping[str, str], driver: Driver) -> BuildPlan:
    """Return the plan for a driver without asking Docker: with current versions and only the engine's own builder."""
    place, request, ci, notes = _known_before_docker(request, env)
    facts = replace(_assumed(place, request.docker_context or "default"), variables=_set_variables(env))
    if request.builder and facts.builder:
        facts = replace(facts, builder=replace(facts.builder, name=request.builder, driver=driver))
    chosen = (
        request if request.builder or request.driver or driver is Driver.DOCKER else replace(request, driver=driver)
    )
    plan = _noted(make_plan(chosen, ci, facts), request, ci)
    return replace(plan, notes=(*plan.notes, *notes))


def _assumed(place: Place, context: str, tls: TlsEndpoint | None = None) -> Facts:
    """Return assumed facts: an engine with current versions, whose own builder can carry out any request."""
    return Facts(
        docker="",
        buildx=(99, 0, 0),
        store=ImageStore.CONTAINERD,
        context=context,
        place=place,
        tls=tls,
        elsewhere="not known: Docker was not asked",
        builder=Builder(name="default", driver=Driver.DOCKER, nodes=(Node(name="assumed", status="running"),)),
    )


def _set_variables(env: Mapping[str, str]) -> frozenset[str]:
    return frozenset(name for name, value in env.items() if value)


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:32] or "project"


def _digest(*parts: str, digits: int = 8) -> str:
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogateescape")).hexdigest()[:digits]
