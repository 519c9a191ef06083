"""The plan: one immutable value that ``plan`` prints and ``build`` carries out."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from buildx_cache.caches import CacheEntry, CacheKind
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
from buildx_cache.plan.facts import UNKNOWN_VERSION, Certificates, Store, Version
from buildx_cache.redaction import Secret, is_secret_argument
from buildx_cache.reference import Reference
from buildx_cache.request.build_request import BuildxOptions, option_key
from buildx_cache.request.local_paths import flag_values
from buildx_cache.request.outputs import Output, printing_flags

_STDIN = "-"


@dataclass(frozen=True, kw_only=True)
class BuildArg:
    """A build argument. The value of a secret one goes by the environment, its name alone by the command line."""

    name: str
    value: Secret | None = None
    """None: taken from the environment of Buildx."""
    is_secret: bool = False

    @property
    def text(self) -> str:
        """Return the argument as it stands on the command line."""
        return self.name if self.value is None or self.is_secret else f"{self.name}={self.value!s}"


def parse_build_arg(text: str) -> BuildArg:
    """Read ``NAME[=VALUE]``, and decide whether the value is a secret."""
    name, given, value = text.partition("=")
    if not given:
        return BuildArg(name=name)
    return BuildArg(name=name, value=Secret(value), is_secret=is_secret_argument(name, value))


@dataclass(frozen=True, kw_only=True)
class BuildInvocation(BuildxOptions):
    """Everything that Buildx needs to know of one build."""

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
    """The words given after ``--``."""

    progress: str = ""
    """The style of Buildx' own progress; empty: Buildx chooses."""

    @property
    def argv(self) -> tuple[str, ...]:
        """Return the words after ``docker``; see :attr:`secrets` for what else the child needs."""
        words = ["buildx", "build"]
        words += ["--progress", self.progress] if self.progress else []
        words += ["--builder", self.builder]
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
        """The values that go by the environment, by variable."""
        return tuple((each.name, each.value) for each in self.build_args if each.is_secret and each.value is not None)

    @property
    def reads_stdin(self) -> bool:
        """Whether the build context or the Dockerfile comes on stdin."""
        files = (self.file, *flag_values(self.flags, "--file", "f"))
        return self.context == _STDIN or _STDIN in files

    @property
    def prints(self) -> bool:
        """Whether something was asked for that Buildx prints to stdout."""
        given = (*flag_values(self.flags, "--output", "o"), *(output.spec for output in self.outputs))
        return bool(printing_flags(self.flags)) or any(Output(spec=spec).is_streamed for spec in given)

    def fresh(self) -> BuildInvocation:
        """Return the same build without the builder's cache, where Buildx takes ``--no-cache`` with the given flags."""
        if any(word.partition("=")[0] == "--no-cache-filter" for word in self.flags):
            return self
        return replace(self, no_cache=True, no_cache_filter=())

    def reusing(self, planned: BuildInvocation) -> BuildInvocation:
        """Return the same build with the builder's cache, as far as the planned one takes it."""
        return replace(self, no_cache=planned.no_cache, no_cache_filter=planned.no_cache_filter)

    def without(self, *, imports: Collection[CacheEntry] = (), exports: Collection[CacheEntry] = ()) -> BuildInvocation:
        """Return the same build without some of its cache entries."""
        return replace(
            self,
            imports=tuple(entry for entry in self.imports if entry not in imports),
            exports=tuple(entry for entry in self.exports if entry not in exports),
        )


def _given(flag: str, value: str | tuple[str, ...]) -> tuple[str, ...]:
    """Spell an option as often as it is given."""
    items = (value,) if isinstance(value, str) else value
    return tuple(word for item in items if item for word in _option(flag, item))


def _option(flag: str, value: str) -> tuple[str, ...]:
    """Spell an option so that its value cannot be taken for another option."""
    is_joined = value.startswith("-") and (flag, value) != ("--file", "-")
    return (f"{flag}={value}",) if is_joined else (flag, value)


@dataclass(frozen=True, kw_only=True)
class RegistryPlan:
    """What a made builder takes over of the engine's registries."""

    insecure: tuple[str, ...] = ()
    mirrors: tuple[str, ...] = ()
    certificates: tuple[Certificates, ...] = ()
    left_out: tuple[str, ...] = ()
    """What it cannot take over, each with the reason."""

    @property
    def lines(self) -> tuple[str, ...]:
        """What is said of it, a line each."""
        taken = [
            *([f"insecure {', '.join(self.insecure)}"] if self.insecure else []),
            *([f"mirrors of Docker Hub {', '.join(self.mirrors)}"] if self.mirrors else []),
            *([f"certificates for {', '.join(each.host for each in self.certificates)}"] if self.certificates else []),
        ]
        head = [f"as the engine has them: {'; '.join(taken)}"] if taken else []
        return (*head, *(f"not taken over from the engine: {text}" for text in self.left_out))


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
    context: CreateContext | None = None
    """Makes the Docker context that the builder needs."""
    create: tuple[CreateNode, ...] = ()
    registries: RegistryPlan = RegistryPlan()
    boot: BootBuilder | None = None
    """The same as ``reboot``, where it is known not to run."""
    remove: tuple[RemoveBuilder | RemoveContext, ...] = ()
    """Undoes ``context`` and ``create``: after the call where asked, or at once if they fail."""
    temporary: bool = False
    """Whether it is removed after the call."""
    halt: KillContainer | None = None
    """Ends it at once, however busy it is; what it has is there when it is booted again."""
    scrap: tuple[RemoveContainer | RemoveVolume, ...] = ()
    """Removes what ``remove`` leaves when it is stopped halfway: Buildx forgets a builder before its volume is gone."""
    reboot: BootBuilder | None = None
    """Boots it where it is there and does not run."""


@dataclass(frozen=True, kw_only=True)
class LoginPlan:
    """One login; the password itself is no part of a plan."""

    registry: str
    """The key that Docker stores the login under: ``reference.registry_key``, spelled as in the tags."""
    username: str
    password_env: str
    """The variable that holds the password; empty: it comes on stdin."""
    is_ambient: bool = False
    """Whether it comes from ``DOCKER_LOGIN``: where it fails, a stored login does."""

    @property
    def effect(self) -> LogIn:
        """The login, but for its password."""
        return LogIn(registry=self.registry, username=self.username)


@dataclass(frozen=True, kw_only=True)
class Container:
    """A builder's container."""

    name: str
    endpoint: str = ""
    """The Docker context or address of its engine; empty: the engine of the call."""


@dataclass(frozen=True, kw_only=True)
class ServingPlan:
    """Whether BuildKit is handed local folders through a registry of this program's, and why (not).

    Plans name the folders: the registry's address is made up anew for every run.
    """

    why: str = ""
    network: str = ""
    """Where the builder finds it: on loopback (``host``), or on the gateway of a Docker network; nowhere if empty."""
    container: Container | None = None
    """The container whose loopback a tunnel makes it be on, where the builder finds it nowhere."""

    @property
    def is_on(self) -> bool:
        """Whether folders are served."""
        return bool(self.network or self.container)


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
    serving: ServingPlan = ServingPlan()
    left_out: tuple[tuple[CacheEntry, str], ...] = ()
    """Entries that Buildx would leave out without a word, each with the variables that it lacks."""
    max_size: int | None = None
    """Bytes that a local folder may hold after the build; None: what its current caches refer to."""

    @property
    def written(self) -> tuple[CacheEntry, ...]:
        """Every export, those of single nodes included."""
        return (*self.exports, *(entry for _, entry in self.node_exports))

    def active(self, entries: tuple[CacheEntry, ...]) -> tuple[CacheEntry, ...]:
        """Return those of some entries that are not left out."""
        return tuple(entry for entry in entries if entry not in dict(self.left_out))

    @property
    def written_folders(self) -> tuple[str, ...]:
        """The folder of every local export."""
        return tuple(entry.folder for entry in self.written if entry.folder)


@dataclass(frozen=True, kw_only=True)
class LoadingPlan:
    """Whether the engine reads a loaded image from a folder that has the cache's layers, and why (not).

    Plans say ``--load``, which comes to the same: the folder is made up anew for every run.
    """

    why: str = ""
    effect: LoadImage | None = None
    """Loads the image, from an archive on its stdin; None where BuildKit sends the image."""
    names: tuple[str, ...] = ()
    """What the image is called there, in full."""


@dataclass(frozen=True, kw_only=True)
class ImagePlan:
    """The image's names and where it ends up."""

    tags: tuple[str, ...] = ()
    pushed: tuple[str, ...] = ()
    """What the registry has it under: ``repository:tag``, and ``repository`` where it is pushed by digest."""
    asked: tuple[Reference, ...] = ()
    """The repositories whose registries are asked, before the build, whether they let it push."""
    push: bool = False
    load: bool = False
    platforms: tuple[str, ...] = ()
    loading: LoadingPlan = LoadingPlan()
    one_line: bool = False
    """Whether stdout gets one line without a tag, however many tags are pushed."""
    told_id: str = ""
    """The key of Buildx' metadata that has a loaded image's ID; empty: ask the engine."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """One image: the build that makes it, and the builds that write its caches after it."""

    name: str = "default"
    """The Dockerfile's target, or ``default``: the key of its image in the report."""
    image: ImagePlan
    build: BuildInvocation
    node_exports: tuple[BuildInvocation, ...] = ()
    """The builds that write ``CachePlan.node_exports``, after the image's."""
    cache_build: BuildInvocation | None = None
    """Writes ``CachePlan.exports`` without the image; runs only where a damaged cache kept them from being written.

    None where Buildx' own flags are passed on, since it would not repeat them and might build something else.
    """


@dataclass(frozen=True, kw_only=True)
class BuildPlan:
    """Everything that will be done, in order: context, builder, login, build, cache exports, prune, removal."""

    builder: BuilderPlan
    cache: CachePlan
    targets: tuple[Target, ...]
    """What is built: one for ``build``."""
    docker_context: str = ""
    """The Docker context that every command is run in; empty: the current one."""
    store: Store = Store.CLASSIC
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
        """Return the steps in the order in which they run, each with the name of its phase."""
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
