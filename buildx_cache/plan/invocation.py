"""One ``docker buildx build``: what it builds, from and into which caches, and where the result goes."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from buildx_cache.caches import CacheEntry
from buildx_cache.redaction import Secret, is_secret_argument
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
    """Everything that Buildx is told of one build."""

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
