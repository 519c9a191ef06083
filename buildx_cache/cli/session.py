"""From a request to a plan."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from buildx_cache.ci import CIContext, GitFacts, detect
from buildx_cache.engine.docker import DockerEngine, cache_home
from buildx_cache.engine.git import read_git
from buildx_cache.engine.provenance import Provenance, git_provenance
from buildx_cache.errors import UsageError
from buildx_cache.plan import Builder, BuildPlan, Facts, Node, Place, Store, TlsEndpoint, make_plan, needed_builder
from buildx_cache.request import (
    BuildRequest,
    Driver,
    context_notes,
    is_remote_context,
    named_images,
    read_text,
    unmoved,
    working_directory,
)
from buildx_cache.request.contexts import check_cache_directories, check_exported_folders
from buildx_cache.working_copy import enclosing_top


@dataclass(frozen=True, kw_only=True)
class Session:
    """What a build needs beside its request."""

    engine: DockerEngine
    ci: CIContext
    plan: BuildPlan
    place: Place


def open_session(request: BuildRequest, env: Mapping[str, str]) -> Session:
    """Ask Docker what is there, and decide.

    Raises:
        BuildxCacheError: no usable Docker, or a request that it cannot carry out.
    """
    place, ci = surroundings(request, env)
    provenance = git_provenance(*_places(request), env)
    own_env, another = {**env, **provenance.env}, _unchanged(request, env, provenance)
    engine = DockerEngine(own_env, request.docker_context, before_another=another)
    # The project's own builder where the request alone asks for it: then the current one is of no interest.
    own = needed_builder(request, ci, _assumed(place, engine.context, engine.tls))
    facts = engine.facts(place, own or request.builder)
    if own:
        facts = replace(facts, builder=None, own_builder=facts.builder)
    needed = needed_builder(request, ci, facts)
    if needed != own:  # its name depends on what the engine says, too
        facts = replace(facts, own_builder=engine.find_builder(needed))
    plan = _noted(make_plan(request, ci, facts), request)
    if provenance.note:
        plan = replace(plan, notes=(*plan.notes, provenance.note))
    check_exported_folders(request, plan.cache.written_folders)
    check_cache_directories(plan.cache.written_folders)
    return Session(engine=engine, ci=ci, plan=plan, place=place)


def _unchanged(request: BuildRequest, env: Mapping[str, str], provenance: Provenance) -> Callable[[], None]:
    """Return a check for a further build of the call: the image that it has exported moved no path, and no repository.

    The check raises UsageError where it did.
    """
    check = unmoved(request)

    def unchanged() -> None:
        check()
        if git_provenance(*_places(request), env) != provenance:
            raise UsageError(
                "the build context is in another repository since this call began: nothing more is built",
                code="context-moved",
                hint="export the image to a folder of its own",
            )

    return unchanged


def _noted(plan: BuildPlan, request: BuildRequest) -> BuildPlan:
    """The plan with what is to be said of what lies in the build context; of a fleet's cache folders as one."""
    cache = plan.cache
    given = (entry.folder for entry in cache.exports)
    folders = tuple(dict.fromkeys(filter(None, (cache.directory, *given)))) if cache.written else ()
    return replace(plan, notes=(*plan.notes, *context_notes(request, folders)))


def surroundings(request: BuildRequest, env: Mapping[str, str]) -> tuple[Place, CIContext]:
    """Where this project keeps its things, and what the CI (or git) tells."""
    context, top = _places(request)
    folder = context or Path(os.path.realpath(working_directory()))
    root = top or folder
    project = f"{_slug(root.name)}-{_digest(str(root))}"
    parts = (str(folder.relative_to(root)), request.context if is_remote_context(request.context) else "", request.file)
    own = "" if parts == (".", "", "") else f"-{_digest(*parts)}"
    cache_dir = str(cache_home(env) / f"{project}{own}")
    ci = detect(env, git=lambda: read_git(top, env), read_text=read_text)
    place = Place(
        project=project,
        cache_dir=cache_dir,
        today=datetime.now(UTC).date().isoformat(),
        # A fork's Dockerfile does not choose its builder's network.
        images=() if ci.is_fork else named_images(request),
    )
    return place, ci


def _places(request: BuildRequest) -> tuple[Path | None, Path | None]:
    """Return the build context's folder, None where BuildKit fetches it, and the top of the working copy around it."""
    here = Path(os.path.realpath(working_directory()))
    context = None if is_remote_context(request.context) else Path(os.path.realpath(request.context))
    return context, enclosing_top(context or here, here)


def told_by_ci(env: Mapping[str, str]) -> CIContext:
    """What the CI alone tells, without git: for a call that fails before anything else is known."""
    return detect(env, git=GitFacts, read_text=read_text)


def assumed_plan(request: BuildRequest, env: Mapping[str, str], driver: Driver) -> BuildPlan:
    """The plan for a driver, without asking Docker: current versions, no builder there but the engine's own."""
    place, ci = surroundings(request, env)
    facts = _assumed(place, request.docker_context or "default")
    if request.builder and facts.builder:
        facts = replace(facts, builder=replace(facts.builder, name=request.builder, driver=driver))
    chosen = (
        request if request.builder or request.driver or driver is Driver.DOCKER else replace(request, driver=driver)
    )
    return _noted(make_plan(chosen, ci, facts), request)


def _assumed(place: Place, context: str, tls: TlsEndpoint | None = None) -> Facts:
    """An engine of the current version, whose own builder can do whatever is asked of it."""
    return Facts(
        docker="",
        buildx=(99, 0, 0),
        store=Store.CONTAINERD,
        context=context,
        place=place,
        tls=tls,
        elsewhere="not known: Docker was not asked",
        builder=Builder(name="default", driver=Driver.DOCKER, nodes=(Node(name="assumed", status="running"),)),
    )


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:32] or "project"


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogateescape")).hexdigest()[:8]
