"""One ``docker buildx build``: what it builds, from and into which caches, and where the result goes."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from buildx_cache.caches import CacheEntry, from_csv
from buildx_cache.redaction import Secret, is_secret_argument
from buildx_cache.request.local_paths import flag_values

# The options that are passed to Buildx as they are: field, flag. In this order on the command line.
PASSED_ON: Mapping[str, str] = {
    "file": "--file",
    "target": "--target",
    "build_context": "--build-context",
    "label": "--label",
    "annotation": "--annotation",
    "secret": "--secret",
    "ssh": "--ssh",
    "no_cache_filter": "--no-cache-filter",
    "network": "--network",
    "add_host": "--add-host",
    "allow": "--allow",
    "attest": "--attest",
    "provenance": "--provenance",
    "sbom": "--sbom",
    "shm_size": "--shm-size",
    "ulimit": "--ulimit",
    "cgroup_parent": "--cgroup-parent",
    "metadata_file": "--metadata-file",
    "iidfile": "--iidfile",
}
SWITCHES: Mapping[str, str] = {"pull": "--pull", "no_cache": "--no-cache"}
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
class Output:
    """A result of a build, in the syntax of ``--output``."""

    spec: str

    @property
    def is_image(self) -> bool:
        """Whether the result is an image in the builder's store, which can be pushed."""
        return ("type", "image") in from_csv(self.spec, option="--output")

    def adding(self, *attributes: str) -> Output:
        """Return the same output with more ``NAME=VALUE`` attributes."""
        return replace(self, spec=",".join((self.spec, *attributes)))


@dataclass(frozen=True, kw_only=True)
class BuildInvocation:
    """Everything that Buildx is told of one build. The passed-on fields have the names of ``BuildRequest``."""

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

    file: str = ""
    target: str = ""
    build_context: tuple[str, ...] = ()
    label: tuple[str, ...] = ()
    annotation: tuple[str, ...] = ()
    secret: tuple[str, ...] = ()
    ssh: tuple[str, ...] = ()
    no_cache_filter: tuple[str, ...] = ()
    network: str = ""
    add_host: tuple[str, ...] = ()
    allow: tuple[str, ...] = ()
    attest: tuple[str, ...] = ()
    provenance: str = ""
    sbom: str = ""
    shm_size: str = ""
    ulimit: tuple[str, ...] = ()
    cgroup_parent: str = ""
    metadata_file: str = ""
    iidfile: str = ""
    pull: bool = False
    no_cache: bool = False

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
        words += self._passed_on()
        words += [flag for field, flag in SWITCHES.items() if getattr(self, field)]
        words += [word for argument in self.build_args for word in _option("--build-arg", argument.text)]
        words += [word for entry in self.imports for word in ("--cache-from", str(entry))]
        words += [word for entry in self.exports for word in ("--cache-to", str(entry))]
        words += [word for output in self.outputs for word in _option("--output", output.spec)]
        words += [flag for flag, wanted in (("--push", self.push), ("--load", self.load)) if wanted]
        return (*words, *self.flags, self.context)

    def _passed_on(self) -> list[str]:
        words: list[str] = []
        for field, flag in PASSED_ON.items():
            value: str | tuple[str, ...] = getattr(self, field)
            for item in (value,) if isinstance(value, str) else value:
                words += _option(flag, item) if item else []
        return words

    @property
    def secrets(self) -> tuple[tuple[str, Secret], ...]:
        """The values that go by the environment, by variable."""
        return tuple((each.name, each.value) for each in self.build_args if each.is_secret and each.value is not None)

    @property
    def reads_stdin(self) -> bool:
        """Whether the build context or the Dockerfile comes on stdin."""
        files = (self.file, *flag_values(self.flags, "--file", "f"))
        return self.context == _STDIN or _STDIN in files

    def without(self, *, imports: Collection[CacheEntry] = (), exports: Collection[CacheEntry] = ()) -> BuildInvocation:
        """Return the same build without some of its cache entries."""
        return replace(
            self,
            imports=tuple(entry for entry in self.imports if entry not in imports),
            exports=tuple(entry for entry in self.exports if entry not in exports),
        )


def _option(flag: str, value: str) -> tuple[str, ...]:
    """Spell an option so that its value cannot be taken for another option."""
    is_joined = value.startswith("-") and (flag, value) != ("--file", "-")
    return (f"{flag}={value}",) if is_joined else (flag, value)
