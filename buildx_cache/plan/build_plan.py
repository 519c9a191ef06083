"""Define the plan: one immutable value that ``plan`` prints and ``build`` carries out."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from buildx_cache.caches.backend import CacheKind
from buildx_cache.caches.entry import CacheEntry
from buildx_cache.plan.effects import (
    BootBuilder,
    CreateContext,
    CreateNode,
    Effect,
    KillContainer,
    LoadImage,
    LogIn,
    PruneBuilder,
    RemoveBuilder,
    RemoveContainer,
    RemoveContext,
    RemoveVolume,
)
from buildx_cache.plan.facts import UNKNOWN_VERSION, Certificates, ImageStore, Version
from buildx_cache.redaction import Secret, is_secret_argument
from buildx_cache.reference import Reference
from buildx_cache.request.build_request import BuildxOptions, option_key
from buildx_cache.request.local_paths import flag_values
from buildx_cache.request.outputs import Output, printing_flags

_STDIN = "-"


@dataclass(frozen=True, kw_only=True)
class BuildArg:
    """A build argument. A secret value is passed in the environment; then only the name is on the command line."""

    name: str
    value: Secret | None = None
    """None: Buildx takes the value from its environment."""
    is_secret: bool = False

    @property
    def text(self) -> str:
        """Return the argument's text on the command line."""
        return self.name if self.value is None or self.is_secret else f"{self.name}={self.value!s}"


def parse_build_arg(text: str) -> BuildArg:
    """Parse ``NAME[=VALUE]``, and decide whether the value is a secret."""
    name, given, value = text.partition("=")
    if not given:
        return BuildArg(name=name)
    return BuildArg(name=name, value=Secret(value), is_secret=is_secret_argument(name, value))


@dataclass(frozen=True, kw_only=True)
class BuildInvocation(BuildxOptions):
    """One build by Buildx, with all its options."""

    builder: str
    context: str
    tags: tuple[str, ...] = ()
    platforms: tuple[str, ...] = ()
    build_args: tuple[BuildArg, ...] = ()
    imports: tuple[CacheEntry, ...] = ()
    exports: tuple[CacheEntry, ...] = ()
    outputs: tuple[Output, ...] = ()
    push: bool = False
    load: bool = False
    flags: tuple[str, ...] = ()
    """The words that the user gave after ``--``."""

    progress: str = ""
    """The value of ``--progress``; empty: Buildx chooses."""
    resets_policy: bool = False
    """Whether Buildx ignores the policy in the build context."""

    @property
    def argv(self) -> tuple[str, ...]:
        """Return the words after ``docker``; the child also needs the variables in :attr:`secrets`."""
        words = ["buildx", "build"]
        words += ["--progress", self.progress] if self.progress else []
        words += ["--builder", self.builder]
        words += ["--policy", "reset=true"] if self.resets_policy else []
        words += [word for tag in self.tags for word in ("--tag", tag)]
        words += _option("--platform", ",".join(self.platforms)) if self.platforms else ()
        for name, value in self.passed_on.items():
            flag = f"--{option_key(name)}"
            words += [flag] * value if isinstance(value, bool) else _given(flag, value)
        words += [word for argument in self.build_args for word in _option("--build-arg", argument.text)]
        words += [word for entry in self.imports for word in ("--cache-from", str(entry))]
        words += [word for entry in self.exports for word in ("--cache-to", str(entry))]
        words += [word for output in self.outputs for word in _option("--output", output.spec)]
        words += [flag for flag, wanted in (("--push", self.push), ("--load", self.load)) if wanted]
        return (*words, *self.flags, self.context)

    @property
    def secrets(self) -> tuple[tuple[str, Secret], ...]:
        """Return the values to pass in the environment, by variable."""
        return tuple((each.name, each.value) for each in self.build_args if each.is_secret and each.value is not None)

    @property
    def reads_stdin(self) -> bool:
        """Whether Buildx reads the build context or the Dockerfile from stdin."""
        files = (self.file, *flag_values(self.flags, "--file", "f"))
        return self.context == _STDIN or _STDIN in files

    @property
    def prints(self) -> bool:
        """Whether the user requested output that Buildx prints to stdout."""
        given = (*flag_values(self.flags, "--output", "o"), *(output.spec for output in self.outputs))
        return bool(printing_flags(self.flags)) or any(Output(spec=spec).is_streamed for spec in given)

    def fresh(self) -> BuildInvocation:
        """Return the build with ``--no-cache``; unchanged if a flag after ``--`` conflicts with that option."""
        if any(word.partition("=")[0] == "--no-cache-filter" for word in self.flags):
            return self
        return replace(self, no_cache=True, no_cache_filter=())

    def reusing(self, planned: BuildInvocation) -> BuildInvocation:
        """Return the build with the planned build's use of the builder's cache."""
        return replace(self, no_cache=planned.no_cache, no_cache_filter=planned.no_cache_filter)

    def without(self, *, imports: Collection[CacheEntry] = (), exports: Collection[CacheEntry] = ()) -> BuildInvocation:
        """Return the build without the given cache entries."""
        return replace(
            self,
            imports=tuple(entry for entry in self.imports if entry not in imports),
            exports=tuple(entry for entry in self.exports if entry not in exports),
        )


def _given(flag: str, value: str | tuple[str, ...]) -> tuple[str, ...]:
    """Return the words of an option, repeated for each value that is not empty."""
    items = (value,) if isinstance(value, str) else value
    return tuple(word for item in items if item for word in _option(flag, item))


def _option(flag: str, value: str) -> tuple[str, ...]:
    """Return the words of an option; joined by ``=`` if the value could be read as another option."""
    is_joined = value.startswith("-") and (flag, value) != ("--file", "-")
    return (f"{flag}={value}",) if is_joined else (flag, value)


@dataclass(frozen=True, kw_only=True)
class RegistryPlan:
    """The engine's settings for registries that a new builder gets."""

    insecure: tuple[str, ...] = ()
    mirrors: tuple[str, ...] = ()
    certificates: tuple[Certificates, ...] = ()
    left_out: tuple[str, ...] = ()
    """The settings that the builder cannot get, each with the reason."""

    @property
    def lines(self) -> tuple[str, ...]:
        """Return the lines for the user."""
        taken = [
            *([f"insecure {', '.join(self.insecure)}"] if self.insecure else []),
            *([f"mirrors of Docker Hub {', '.join(self.mirrors)}"] if self.mirrors else []),
            *([f"certificates for {', '.join(each.host for each in self.certificates)}"] if self.certificates else []),
        ]
        head = [f"as the engine has them: {'; '.join(taken)}"] if taken else []
        return (*head, *(f"not taken over from the engine: {text}" for text in self.left_out))


@dataclass(frozen=True, kw_only=True)
class BuilderPlan:
    """The builder that runs the build, and the effects that create, boot and remove it."""

    name: str
    driver: str
    why: str
    buildkit: Version = UNKNOWN_VERSION
    nodes: int = 1
    owned: bool = False
    """Whether the builder is this project's own, so that it may be pruned and removed."""
    context: CreateContext | None = None
    """Creates the Docker context that the builder needs."""
    create: tuple[CreateNode, ...] = ()
    registries: RegistryPlan = RegistryPlan()
    boot: BootBuilder | None = None
    """The same as ``reboot``, set only if the builder exists and does not run."""
    remove: tuple[RemoveBuilder | RemoveContext, ...] = ()
    """Undoes ``context`` and ``create``: after the call if the builder is temporary, or at once if they fail."""
    temporary: bool = False
    """Whether the builder is removed after the call."""
    halt: KillContainer | None = None
    """Stops the builder at once; its state is kept for the next boot."""
    scrap: tuple[RemoveContainer | RemoveVolume, ...] = ()
    """Removes the rest after an interrupted ``remove``: Buildx forgets a builder before it removes the volume."""
    reboot: BootBuilder | None = None
    """Boots an existing builder that does not run."""


@dataclass(frozen=True, kw_only=True)
class LoginPlan:
    """One login, without its password."""

    registry: str
    """The key under which Docker stores the login: ``reference.registry_key``, spelled as in the tags."""
    username: str
    password_env: str
    """The variable that holds the password; empty: the password comes on stdin."""
    is_ambient: bool = False
    """Whether the login comes from ``DOCKER_LOGIN``; if the registry refuses it, a stored login is used."""

    @property
    def effect(self) -> LogIn:
        """Return the effect that logs in; the password is passed on stdin."""
        return LogIn(registry=self.registry, username=self.username)


@dataclass(frozen=True, kw_only=True)
class Container:
    """A builder's container."""

    name: str
    endpoint: str = ""
    """The Docker context or address of the container's engine; empty: the engine of the call."""


@dataclass(frozen=True, kw_only=True)
class Pods:
    """The pods of a ``kubernetes`` builder, whose names are known only while they run."""

    builder: str


@dataclass(frozen=True, kw_only=True)
class ServingPlan:
    """Whether this program serves local folders to BuildKit as a registry, and why (not).

    A plan names the folders, since the registry has another address in every run.
    """

    why: str = ""
    network: str = ""
    """Where the registry listens: on loopback (``host``), or on the gateway of this Docker network; empty: nowhere."""
    tunnels: tuple[Container | Pods, ...] = ()
    """The containers into whose loopback tunnels lead, if the builder cannot reach the registry by a network."""
    tunnels_if_shared: tuple[Container | Pods, ...] = ()
    """The tunnels that are used in place of the network if other containers are on it.

    A step of a stranger's build could stand in between there.
    """

    @property
    def is_on(self) -> bool:
        """Whether folders are served."""
        return bool(self.network or self.tunnels)


@dataclass(frozen=True, kw_only=True)
class CachePlan:
    """The cache's imports and exports, and why."""

    kind: CacheKind
    why: str
    scope: str = ""
    read_only: bool = False
    directory: str = ""
    imports: tuple[CacheEntry, ...] = ()
    exports: tuple[CacheEntry, ...] = ()
    node_exports: tuple[tuple[str, CacheEntry], ...] = ()
    """Exports of a builder with several nodes, by platform; in one build the last node would overwrite the others."""
    tags: tuple[str, ...] = ()
    """Tags of the image that an inline cache needs."""
    serving: ServingPlan = ServingPlan()
    fallbacks: tuple[tuple[CacheEntry, ...], ...] = ()
    """Groups of imports that may hold the same steps: the build's own scope first, then those that it falls back to.

    The call leaves out a fallback in which no step is newer than in those before it (:func:`run.fallbacks.superseded`).
    """
    asked: tuple[CacheEntry, ...] = ()
    """The entries of ``fallbacks`` whose registry this host asks for the time of the newest step."""
    left_out: tuple[tuple[CacheEntry, str], ...] = ()
    """Entries that Buildx would leave out silently, each with the variables that are not set."""
    max_size: int | None = None
    """Bytes that the local folders may hold after the build; None: no limit besides garbage collection."""

    @property
    def written(self) -> tuple[CacheEntry, ...]:
        """Return all exports, with those of single nodes."""
        return (*self.exports, *(entry for _, entry in self.node_exports))

    def active(self, entries: tuple[CacheEntry, ...]) -> tuple[CacheEntry, ...]:
        """Return the entries that are not left out."""
        return tuple(entry for entry in entries if entry not in dict(self.left_out))

    @property
    def folders(self) -> tuple[str, ...]:
        """Return the local folders that the build reads or writes, and the folder around those of several platforms."""
        found = (entry.folder for entry in (*self.imports, *self.written))
        return tuple(dict.fromkeys(filter(None, (self.directory, *found))))

    @property
    def written_folders(self) -> tuple[str, ...]:
        """Return the folder of each local export."""
        return tuple(entry.folder for entry in self.written if entry.folder)


@dataclass(frozen=True, kw_only=True)
class LoadingPlan:
    """Whether the engine loads the image from a folder that has the cache's layers, and why (not).

    A plan shows ``--load``, which has the same result, since the folder has another name in every run.
    """

    why: str = ""
    effect: LoadImage | None = None
    """Loads the image from an archive on stdin; None if BuildKit sends the image."""
    names: tuple[str, ...] = ()
    """The image's full names in the engine."""


@dataclass(frozen=True, kw_only=True)
class ImagePlan:
    """The image's names and destinations."""

    tags: tuple[str, ...] = ()
    pushed: tuple[str, ...] = ()
    """The image's names in registries: ``repository:tag``, or ``repository`` if it is pushed by digest."""
    asked: tuple[Reference, ...] = ()
    """The repositories whose registries are asked before the build whether they accept the push."""
    push: bool = False
    load: bool = False
    platforms: tuple[str, ...] = ()
    loading: LoadingPlan = LoadingPlan()
    one_line: bool = False
    """Whether stdout gets one line without a tag, for any number of pushed tags."""
    id_key: str = ""
    """The key in Buildx' metadata for the loaded image's ID; empty: ask the engine."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """One image: the build of the image, and the builds that write its caches afterwards."""

    name: str = "default"
    """The Dockerfile's target, or ``default``; the image's key in the report."""
    image: ImagePlan
    build: BuildInvocation
    node_exports: tuple[BuildInvocation, ...] = ()
    """The builds that write ``CachePlan.node_exports``, after the build of the image."""
    cache_build: BuildInvocation | None = None
    """Writes ``CachePlan.exports`` without the image; runs only if the image's build lost them to a damaged cache.

    None if the user gave flags after ``--``: this build would lack them, and might build something else.
    """


@dataclass(frozen=True, kw_only=True)
class BuildPlan:
    """All effects of a call, in order: context, login, builder, build, cache exports, prune, removal."""

    builder: BuilderPlan
    cache: CachePlan
    targets: tuple[Target, ...]
    """The images to build: one for ``build``."""
    docker_context: str = ""
    """The Docker context of every command; empty: the current one."""
    store: ImageStore = ImageStore.CLASSIC
    """The engine's image store."""
    login: LoginPlan | None = None
    prune: PruneBuilder | None = None
    strict_cache: bool = False
    notes: tuple[str, ...] = ()

    @property
    def target(self) -> Target:
        """The only target."""
        (target,) = self.targets
        return target

    def phases(self) -> tuple[tuple[str, Effect | BuildInvocation], ...]:
        """Return the effects in the order in which they run, each with the name of its phase."""
        builder = self.builder
        effects: list[tuple[str, Effect | BuildInvocation | None]] = [
            ("context", builder.context),
            ("login", self.login.effect if self.login else None),
            *(("builder", effect) for effect in builder.create),
            ("builder", builder.boot),
            *(("build", target.build) for target in self.targets),
            *(("export", build) for target in self.targets for build in target.node_exports),
            ("prune", self.prune),
            *(("remove", effect) for effect in (builder.remove if builder.temporary else ())),
        ]
        return tuple((phase, effect) for phase, effect in effects if effect is not None)
