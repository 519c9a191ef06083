"""The plan: one immutable value that ``plan`` prints and ``build`` carries out."""

from __future__ import annotations

from dataclasses import dataclass

from buildx_cache.caches import CacheEntry, CacheKind
from buildx_cache.plan.facts import UNKNOWN_VERSION, Version
from buildx_cache.redaction import Secret


@dataclass(frozen=True, kw_only=True)
class Command:
    """One call of the ``docker`` command line: the words after ``docker``, and secrets for its environment."""

    argv: tuple[str, ...]
    secrets: tuple[tuple[str, Secret], ...] = ()


@dataclass(frozen=True, kw_only=True)
class BuilderPlan:
    """Which builder runs the build, and what it takes to have it."""

    name: str
    driver: str
    why: str
    buildkit: Version = UNKNOWN_VERSION
    nodes: int = 1
    owned: bool = False
    """Whether it is this project's own, so that it may be pruned and removed."""
    context: Command | None = None
    """Makes the Docker context that the builder needs."""
    create: tuple[Command, ...] = ()
    boot: Command | None = None
    remove: tuple[Command, ...] = ()
    """Undoes ``context`` and ``create``: after the call where asked, or at once if they fail."""
    temporary: bool = False
    """Whether it is removed after the call."""


@dataclass(frozen=True, kw_only=True)
class LoginPlan:
    """One login; the password itself is no part of a plan."""

    registry: str
    username: str
    password_env: str
    """The variable that holds the password; empty: it comes on stdin."""
    command: Command


@dataclass(frozen=True, kw_only=True)
class CachePlan:
    """Where cache comes from and goes to, and why."""

    kind: CacheKind
    why: str
    scope: str = ""
    read_only: bool = False
    directory: str = ""
    imports: tuple[CacheEntry, ...] = ()
    exports: tuple[CacheEntry, ...] = ()
    node_exports: tuple[tuple[str, CacheEntry], ...] = ()
    """Exports of a builder with several nodes, by platform: in one build the last node would win."""
    tags: tuple[str, ...] = ()
    """Tags given to the image for the cache's sake (``inline``)."""


@dataclass(frozen=True, kw_only=True)
class ImagePlan:
    """The image's names and where it ends up."""

    tags: tuple[str, ...] = ()
    push: bool = False
    load: bool = False
    platforms: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class BuildPlan:
    """Everything that will be done, in order: context, builder, login, build, cache exports, prune, removal."""

    builder: BuilderPlan
    cache: CachePlan
    image: ImagePlan
    build: Command
    metadata_file: str = ""
    """Where the user wants Buildx' metadata; empty: nowhere in particular."""
    login: LoginPlan | None = None
    node_exports: tuple[Command, ...] = ()
    """The builds that write ``CachePlan.node_exports``, after the image's."""
    prune: Command | None = None
    strict_cache: bool = False
    notes: tuple[str, ...] = ()

    def phases(self) -> tuple[tuple[str, Command], ...]:
        """The commands in the order in which they run, each with the name of its phase."""
        builder = self.builder
        steps: list[tuple[str, Command | None]] = [
            ("context", builder.context),
            *(("builder", command) for command in builder.create),
            ("builder", builder.boot),
            ("login", self.login.command if self.login else None),
            ("build", self.build),
            *(("export", command) for command in self.node_exports),
            ("prune", self.prune),
            *(("remove", command) for command in (builder.remove if builder.temporary else ())),
        ]
        return tuple((phase, command) for phase, command in steps if command is not None)
