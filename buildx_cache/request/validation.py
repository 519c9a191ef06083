"""Refuse invalid values and combinations before anything has an effect; ``path_checks`` looks at paths."""

from __future__ import annotations

import re

from buildx_cache.caches.backend import closest
from buildx_cache.caches.entry import SCOPED
from buildx_cache.caches.parsing import parse_export, parse_import
from buildx_cache.errors import UsageError
from buildx_cache.redaction import has_login, is_secret_argument
from buildx_cache.reference import registry_key
from buildx_cache.request.build_request import BuildRequest, Driver, Progress, option_key, parse_endpoint
from buildx_cache.request.local_paths import (
    flag_values,
    output_pairs,
    outputs_of,
    values_of,
)
from buildx_cache.request.options import parse_duration, parse_size
from buildx_cache.request.outputs import Output, printing_flags, pushing_outputs
from buildx_cache.secret_names import is_controlling

# `_` is allowed in x86_64 only: BuildKit exports the files of `linux/arm/v7` and `linux/arm_v7` to the same folder.
_PLATFORM = re.compile(r"(?:x86_64|[a-z0-9-]+)(?:/(?:x86_64|[a-z0-9.-]+)){0,2}", re.IGNORECASE | re.ASCII)
_SEPARATOR = "/"
_VARIABLE = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_PREFIX = re.compile(r"[a-z][a-z0-9]*(?:-[a-z0-9]+)*", re.ASCII)
# The words that are a platform alone: BuildKit's systems and architectures, as ``containerd/platforms`` spells them,
# and Buildx' own word for the builder's platform.
_ALONE = frozenset((
    "linux", "windows", "darwin", "freebsd", "wasip1", "386", "i386", "amd64", "x86_64", "x86-64", "arm", "armhf",
    "armel", "arm64", "aarch64", "loong64", "mips", "mipsle", "mips64", "mips64le", "ppc64", "ppc64le", "riscv64",
    "s390x", "wasm", "local",
))  # fmt: skip
# Go's systems and architectures (``internal/syslist``), their synonyms in ``containerd/platforms``, and WebAssembly's.
_SYSTEMS = (
    "linux", "windows", "darwin", "freebsd", "netbsd", "openbsd", "dragonfly", "solaris", "illumos", "aix", "android",
    "ios", "hurd", "js", "nacl", "plan9", "zos", "wasip1", "wasi", "macos", "unknown",
)  # fmt: skip
_ARCHITECTURES = (
    "amd64", "arm64", "arm", "386", "i386", "x86_64", "x86-64", "aarch64", "armhf", "armel", "riscv64", "ppc64le",
    "s390x", "loong64", "mips", "mipsle", "mips64", "mips64le", "ppc64", "ppc", "riscv", "s390", "sparc", "sparc64",
    "amd64p32", "armbe", "arm64be", "mips64p32", "mips64p32le", "wasm", "wasm32", "unknown",
)  # fmt: skip


def check(request: BuildRequest) -> None:
    """Refuse values that cannot work with any engine and any CI.

    Raises:
        UsageError: with the option's name, and what to write instead.
    """
    for rule in (
        _check_addresses,
        _check_cache,
        _check_image,
        _check_exports,
        _check_builder,
        _check_login,
        _check_formats,
        _check_arguments,
        _check_progress,
    ):
        rule(request)


def _check_addresses(request: BuildRequest) -> None:
    """Refuse a login in an address: Buildx gets the address on its command line, which other users can read."""
    git = "leave it out; a token for git is handed over by --secret id=GIT_AUTH_TOKEN,env=NAME"
    drop = "leave it out"
    for option, hint, texts in (
        ("the build context", git, (request.context,)),
        ("--build-context", git, request.build_context),
        ("--file", git, (request.file,)),
        ("--cache-from", drop, request.cache_from),
        ("--cache-to", drop, request.cache_to),
        ("--endpoint", drop, request.endpoint),
    ):
        for text in filter(has_login, texts):
            raise UsageError(
                f"{option} has a login in its address, where others see it: {text}", code="login-in-address", hint=hint
            )


def _check_cache(request: BuildRequest) -> None:
    backend = SCOPED.get(request.cache)
    if backend and request.cache_mode and request.cache_mode not in backend.modes:
        raise UsageError(
            f"--cache {request.cache} has no --cache-mode {request.cache_mode}: the image carries only its own layers",
            code="option-conflict",
            hint="use --cache registry for the layers of every stage, or drop --cache-mode",
        )
    for text in request.cache_from:
        parse_import(text)
    for text in request.cache_to:
        parse_export(text)


def _check_image(request: BuildRequest) -> None:
    nameless = next((each.spec for each in pushing_outputs(request) if not each.names), "")
    if nameless and not values_of(request, "tag"):
        what = "--push" if request.push else f"-o {nameless}"
        raise UsageError(f"{what} needs a tag to push", code="push-without-tag", hint="add -t REGISTRY/REPOSITORY:TAG")
    if "" in request.tag:
        raise UsageError(
            "--tag is empty", code="value-empty", hint="give REGISTRY/REPOSITORY:TAG; a variable in it may not be set"
        )
    for platform in request.platform:
        _check_platform(platform)


def _check_platform(platform: str) -> None:
    """Refuse an unknown platform. BuildKit accepts any word, but an image for ``linux/arm65`` runs nowhere."""
    system, separator, rest = platform.lower().partition(_SEPARATOR)
    if not (_PLATFORM.fullmatch(platform) and (separator or system in _ALONE)):
        raise UsageError(
            f"--platform {platform!r} is not a platform",
            code="platform-malformed",
            hint="write OS/ARCH, such as linux/arm64",
        )
    architecture = rest.partition(_SEPARATOR)[0]
    for what, word, known in (("system", system, _SYSTEMS), ("architecture", architecture, _ARCHITECTURES)):
        if separator and word not in known:
            raise UsageError(
                f"--platform {platform!r} names an unknown {what}: {word}",
                code="platform-unknown",
                hint=closest(word, known),
            )


def _check_exports(request: BuildRequest) -> None:
    """Refuse to export the files of several platforms to one folder: BuildKit writes them together and follows links.

    The image of one platform could place a link at a path of the other image (``exporter/local/export.go``).
    """
    flags = (each for value in flag_values(request.buildx_flags, "--platform") for each in value.split(","))
    if len({*request.platform, *flags}) > 1 and any(map(_is_merged, outputs_of(request))):
        raise UsageError(
            "--output puts several platforms into one folder, where the image of one could place links for another",
            code="output-unsafe",
            hint="leave platform-split out, or export an archive: type=tar",
        )


def _is_merged(output: str) -> bool:
    """Return whether the platforms share one folder; BuildKit reads the attribute by Go's ``strconv.ParseBool``."""
    fields = dict(output_pairs(output))
    return fields.get("type") == "local" and fields.get("platform-split", "true").lower() not in ("1", "t", "true")


def _check_builder(request: BuildRequest) -> None:
    made_of = ("driver_opt", "buildkit_image", "buildkitd_config", "buildkitd_flags", "endpoint")
    making = [option_key(name) for name in (*made_of, "driver", "rm_builder") if getattr(request, name)]
    if request.builder and making:
        raise UsageError(
            f"--builder uses a builder as it is; --{making[0]} makes or removes one",
            code="option-conflict",
            hint="drop one of the two",
        )
    if request.driver is Driver.DOCKER and making[0] in map(option_key, made_of):
        raise UsageError(
            f"--driver docker is the engine's own builder and takes no --{making[0]}",
            code="option-conflict",
            hint="use --driver docker-container",
        )
    if request.driver is Driver.REMOTE and not request.endpoint:
        raise UsageError(
            "--driver remote needs the address of a buildkitd",
            code="endpoint-missing",
            hint="add --endpoint tcp://HOST:1234",
        )
    addresses = [parse_endpoint(text).address for text in request.endpoint]
    if request.driver is not Driver.KUBERNETES and len({*addresses}) < len(addresses):
        raise UsageError(
            "--endpoint names one address twice",
            code="endpoint-repeated",
            hint="leave one out, or give its node several platforms: ADDRESS,platform=linux/amd64,platform=linux/arm64",
        )


def _check_login(request: BuildRequest) -> None:
    registry_key(request.registry, "--registry")
    if request.password_stdin and request.password_env:
        raise UsageError(
            "--password-stdin and --password-env are two sources of one password",
            code="option-conflict",
            hint="drop one",
        )
    if request.password_stdin and "-" in (request.context, request.file):
        raise UsageError(
            "--password-stdin and a Dockerfile or build context on stdin cannot share it",
            code="option-conflict",
            hint="hand the password over with --password-env NAME",
        )
    if (request.password_stdin or request.password_env) and not request.username:
        raise UsageError("a password without a --username", code="login-incomplete", hint="add --username NAME")
    if request.password_env and not _VARIABLE.fullmatch(request.password_env):
        raise UsageError(
            "--password-env is not the name of a variable",
            code="value-invalid",
            hint="write the name of the variable that holds the password, not the password: --password-env NAME",
        )
    if request.username and not (request.password_stdin or request.password_env):
        raise UsageError(
            "--username without a password",
            code="login-incomplete",
            hint="add --password-env NAME (a variable that holds it) or --password-stdin",
        )


def _check_formats(request: BuildRequest) -> None:
    for name in ("prune_keep", "cache_max_size"):
        size = getattr(request, name)
        if size and parse_size(size) is None:
            raise UsageError(
                f"--{option_key(name)} {size!r} is not a size", code="size-malformed", hint="write 10GB, 512MB, …"
            )
    for name in ("prune_older_than", "timeout"):
        duration = getattr(request, name)
        if duration and parse_duration(duration) is None:
            raise UsageError(
                f"--{option_key(name)} {duration!r} is not a duration",
                code="duration-malformed",
                hint="write 7d, 48h, 90m, …",
            )
    if request.timeout and not parse_duration(request.timeout):
        raise UsageError(
            "--timeout 0 leaves no time",
            code="value-invalid",
            hint="give the longest that the call may take, such as 30m",
        )
    if request.output_prefix and not _PREFIX.fullmatch(request.output_prefix):
        raise UsageError(
            f"--output-prefix {request.output_prefix!r} cannot be part of a variable's name",
            code="prefix-malformed",
            hint="write a word of letters, digits and dashes, such as api",
        )


def _check_arguments(request: BuildRequest) -> None:
    """Refuse a build argument without a name, and one that docker would take for its own setting.

    A secret value is set in docker's environment: a list of arguments may hold a text of the repository.
    """
    for text in request.build_arg:
        name, _, value = text.partition("=")
        if not name:
            raise UsageError(
                "--build-arg has no name before its =",
                code="build-arg-malformed",
                hint="write NAME=VALUE, or NAME to take it from the environment",
            )
        if is_secret_argument(name, value) and is_controlling(name):
            raise UsageError(
                f"--build-arg {name} looks like a secret, and would be set in docker's environment, which it controls",
                code="build-arg-controlling",
                hint="give it another name, or hand it over with --secret",
            )


def _check_progress(request: BuildRequest) -> None:
    """Refuse ``--progress json`` together with other output on stdout."""
    if request.progress is not Progress.JSON:
        return
    streamed = (f"-o {spec}" for spec in outputs_of(request) if Output(spec=spec).is_streamed)
    for what in (*streamed, *printing_flags(request.buildx_flags)):
        raise UsageError(
            f"--progress json and {what} both write to stdout",
            code="option-conflict",
            hint="drop one, or have the output go to a file",
        )
