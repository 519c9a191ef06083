"""Define the options of ``build`` and ``plan``: one table for the command line, the readers and the rules for files.

A new option needs a field of :class:`BuildRequest`, with its type and default, a row here, and a parameter of the
command. A test fails if one of them is missing.
"""

from __future__ import annotations

import difflib
import re
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, TypeVar

from buildx_cache.caches.backend import closest
from buildx_cache.errors import UsageError
from buildx_cache.request import rules
from buildx_cache.request.build_request import BuildRequest, option_key

ENV_PREFIX = "BUILDX_CACHE_"

_Choice = TypeVar("_Choice", bound=StrEnum)


@dataclass(frozen=True, kw_only=True)
class Option:
    """One option, named after its field: ``cache_dir`` is ``--cache-dir`` and ``BUILDX_CACHE_CACHE_DIR``."""

    help: str
    metavar: str = " "
    """The value's placeholder in the help; a switch has a blank."""
    short: str = ""
    off: str = ""
    """The flag that turns a switch off; empty if there is none."""
    rule: rules.Permission | None = None
    """The rule for configuration files; None: no file may set the option."""
    is_variable: bool = True
    """True: the environment may set the option. ``--password-stdin`` makes sense on a command line only."""
    adds_up: bool = False
    """True: every source adds its ``NAME=VALUE`` items, and the highest source decides each name.

    False: the highest source decides the whole value.
    """
    panel: str = ""

    def flags(self, name: str) -> tuple[str, ...]:
        """Return the option's flags in Typer's syntax."""
        spelled = f"--{option_key(name)}" + (f"/{self.off}" if self.off else "")
        return (self.short, spelled) if self.short else (spelled,)


_PAIR = "KEY=VALUE"
_TABLE: Mapping[str, Mapping[str, Option]] = {
    "Image": {
        "tag": Option(
            help="Name of the image; {sha} {short_sha} {branch} {tag} {pr} {build} {date} are filled in. Repeatable.",
            metavar="REF",
            short="-t",
            rule=rules.NAMED,
        ),
        "push": Option(help="Push every tag. Default: no.", off="--no-push", rule=rules.PUSHED),
        "push_auto": Option(
            help="Push every tag, but build only, and exit 0, in a pull request from a fork. Also: --push auto.",
            rule=rules.PUSHED_AUTO,
        ),
        "load": Option(help="Load the image into the engine. Default: no.", off="--no-load", rule=rules.LOADED),
        "output": Option(
            help="Another output, in Buildx syntax. Repeatable.", metavar="SPEC", short="-o", rule=rules.OUTPUT
        ),
    },
    "Build (as in docker buildx build)": {
        "file": Option(
            help="Dockerfile. Default: CONTEXT/Dockerfile.", metavar="FILE", short="-f", rule=rules.DOCKERFILE
        ),
        "target": Option(help="Stage to build. Default: the last.", metavar="STAGE", rule=rules.BUILT),
        "platform": Option(
            help="Platforms to build for. Default: DOCKER_DEFAULT_PLATFORM, else the builder's.",
            metavar="OS/ARCH",
            rule=rules.BUILT,
        ),
        "build_arg": Option(help="Build argument.", metavar=_PAIR, rule=rules.BUILD_ARG, adds_up=True),
        "build_context": Option(help="Named context.", metavar="NAME=PATH", rule=rules.BUILD_CONTEXT, adds_up=True),
        "label": Option(help="Label of the image.", metavar=_PAIR, rule=rules.BUILT, adds_up=True),
        "annotation": Option(help="Annotation of the image.", metavar=_PAIR, rule=rules.ANNOTATED, adds_up=True),
        "secret": Option(help="Secret for RUN --mount=type=secret.", metavar="SPEC", rule=rules.SECRET),
        "ssh": Option(help="SSH agent or keys for the build.", metavar="SPEC", rule=rules.SECRET),
        "pull": Option(help="Always look for newer base images. Default: no.", off="--no-pull", rule=rules.BUILT),
        "no_cache": Option(help="Execute every step, cached or not.", rule=rules.BUILT),
        "no_cache_filter": Option(help="Execute these stages, cached or not.", metavar="STAGE", rule=rules.BUILT),
        "network": Option(
            help="Network of RUN steps: default, host or none. Default: default.", metavar="MODE", rule=rules.NETWORK
        ),
        "add_host": Option(help="Extra line for /etc/hosts.", metavar="HOST:IP", rule=rules.BUILT),
        "allow": Option(help="Privilege to grant to the build.", metavar="NAME", rule=rules.PRIVILEGE),
        "attest": Option(help="Attestation to attach.", metavar="SPEC", rule=rules.BUILT),
        "provenance": Option(
            help="Provenance: true, false, mode=… Default: Buildx' own.", metavar="SPEC", rule=rules.BUILT
        ),
        "sbom": Option(help="SBOM: true, false, generator=… Default: false.", metavar="SPEC", rule=rules.BUILT),
        "shm_size": Option(help="Size of /dev/shm. Default: 64m.", metavar="SIZE", rule=rules.BUILT),
        "ulimit": Option(help="Limit for RUN steps.", metavar="SPEC", rule=rules.BUILT, adds_up=True),
        "cgroup_parent": Option(help="Cgroup of RUN steps.", metavar="NAME", rule=rules.PRIVILEGE),
        "metadata_file": Option(help="Write Buildx' metadata.", metavar="FILE", rule=rules.WRITTEN),
        "iidfile": Option(help="Write the image's ID.", metavar="FILE", rule=rules.WRITTEN),
    },
    "Cache": {
        "cache": Option(
            help="auto, local, registry, inline or none. Default: auto, which is registry with --push, else local.",
            metavar="KIND",
            rule=rules.CACHE_KIND,
        ),
        "cache_dir": Option(
            help="Folder of a local cache, outside of CONTEXT. Default: one per project, in your cache directory.",
            metavar="DIR",
            rule=rules.CACHE_DIR,
        ),
        "cache_ref": Option(
            help="Reference of a registry cache. Default: IMAGE:buildcache-SCOPE.", metavar="REF", rule=rules.CACHE
        ),
        "cache_scope": Option(help="Cache scope to write. Default: the branch.", metavar="NAME", rule=rules.CACHE),
        "default_branch": Option(
            help="The repository's default branch, whose cache all builds read. Default: from the CI or git.",
            metavar="NAME",
            rule=rules.BRANCH,
        ),
        "cache_mode": Option(
            help="min: layers of the image; max: layers of every stage. Default: max.", metavar="MODE", rule=rules.CACHE
        ),
        "cache_compression": Option(
            help="Compression of cache and image: gzip, zstd, estargz or uncompressed. Default: gzip.",
            metavar="KIND",
            rule=rules.CACHE,
        ),
        "cache_from": Option(help="Another cache to import, in Buildx syntax.", metavar="SPEC", rule=rules.CACHE_FROM),
        "cache_to": Option(help="Another cache to export, in Buildx syntax.", metavar="SPEC", rule=rules.CACHE_TO),
        "cache_read_only": Option(
            help="Import the cache, never export it. Default: in pull requests from forks.",
            off="--no-cache-read-only",
            rule=rules.CACHE_READ_ONLY,
        ),
        "cache_max_size": Option(
            help="Largest size of a local cache after the build. Default: none.", metavar="SIZE", rule=rules.CACHE
        ),
        "lazy": Option(
            help="Import a local cache lazily: auto, on or off. Default: auto.", metavar="WHEN", rule=rules.CACHE
        ),
        "strict_cache": Option(
            help="Fail when a cache cannot be imported or exported. Default: warn and go on.", rule=rules.CACHE
        ),
    },
    "Builder": {
        "builder": Option(
            help="Use this builder as it is. Default: the current builder, or a new one where that cannot do the job.",
            metavar="NAME",
            rule=rules.BUILDER,
        ),
        "driver": Option(
            help="Driver of a new builder: docker, docker-container, remote or kubernetes. Default: docker-container.",
            metavar="DRIVER",
            rule=rules.BUILDER,
        ),
        "endpoint": Option(
            help="Node of a builder; ,platform=… and ,name=… may follow. Repeatable.",
            metavar="ADDRESS",
            rule=rules.BUILDER,
        ),
        "driver_opt": Option(help="Option of the driver.", metavar=_PAIR, rule=rules.BUILDER, adds_up=True),
        "buildkit_image": Option(help="BuildKit's image. Default: Buildx' own.", metavar="REF", rule=rules.BUILDER),
        "buildkitd_config": Option(help="A buildkitd.toml.", metavar="FILE", rule=rules.BUILDER),
        "buildkitd_flags": Option(help="Flags of buildkitd.", metavar="FLAGS", rule=rules.BUILDER),
        "docker_context": Option(
            help="Docker context to use. Default: the current one.", metavar="NAME", rule=rules.BUILDER
        ),
        "no_wait": Option(
            help="Fail at once if the engine does not answer. Default: wait up to 30 s in a CI or with DOCKER_HOST.",
            rule=rules.SHOWN,
        ),
        "no_push_check": Option(
            help="Skip the check before the build that the registry accepts the push. Default: check.", rule=rules.SHOWN
        ),
        "rm_builder": Option(
            help="Remove the builder after the build. Default: keep.", off="--keep-builder", rule=rules.BUILDER
        ),
    },
    "Login": {
        "registry": Option(
            help="Registry to log in to. Default: DOCKER_REGISTRY, else the host of the first tag.",
            metavar="HOST",
            rule=rules.LOGIN,
        ),
        "username": Option(help="User name of the login. Default: DOCKER_LOGIN.", metavar="NAME", rule=rules.LOGIN),
        "password_stdin": Option(help="Read the password from stdin.", is_variable=False),
        "password_env": Option(
            help="Environment variable that holds the password. Default: DOCKER_PASSWORD.",
            metavar="NAME",
            rule=rules.LOGIN,
        ),
    },
    "Prune": {
        "prune": Option(
            help="Prune the builder's cache after the build. Default: in a CI.", off="--no-prune", rule=rules.PRUNE
        ),
        "prune_keep": Option(
            help="Keep at most this much of the builder's cache. Default: no limit.", metavar="SIZE", rule=rules.CACHE
        ),
        "prune_older_than": Option(
            help="Prune what no build used for this long. Default: 7d.", metavar="DURATION", rule=rules.CACHE
        ),
    },
    "Configuration": {
        "config": Option(
            help="Configuration file. Default: buildx-cache.toml or pyproject.toml of the repository.", metavar="FILE"
        ),
        "trust_config": Option(
            help="Let the repository's file set every option, logins and builder included. Default: no."
        ),
    },
    "Output": {
        "timeout": Option(
            help="Stop the call after this long, such as 20m. Default: never.", metavar="DURATION", rule=rules.SHOWN
        ),
        "progress": Option(
            help="auto, live, plain, json or quiet. Default: auto, which is live on a terminal, else plain.",
            metavar="STYLE",
            rule=rules.PROGRESS,
        ),
        "report": Option(help="Write a report as JSON.", metavar="FILE.json", rule=rules.WRITTEN),
        "report_html": Option(
            help="Write the report as one HTML page with a timeline of the steps.",
            metavar="FILE.html",
            rule=rules.WRITTEN,
        ),
        "report_junit": Option(
            help="Write the report as JUnit XML, one case per step.", metavar="FILE.xml", rule=rules.WRITTEN
        ),
        "report_md": Option(help="Write the report as Markdown.", metavar="FILE.md", rule=rules.WRITTEN),
        "dotenv": Option(
            help="Append digest, tags and cache figures as NAME=value lines.", metavar="FILE", rule=rules.WRITTEN
        ),
        "output_prefix": Option(
            help="Word before the names of values for later steps: api makes BUILDX_CACHE_API_DIGEST.",
            metavar="WORD",
            rule=rules.RESULTS,
        ),
        "one_line": Option(
            help="Print one REPOSITORY@DIGEST line to stdout, not one line per tag.", rule=rules.RESULTS
        ),
        "verbose": Option(help="Show the commands that run.", short="-v", rule=rules.SHOWN),
        "quiet": Option(help="Only warnings and errors.", short="-q", rule=rules.SHOWN),
        "no_color": Option(help="No colours (also NO_COLOR).", rule=rules.SHOWN),
    },
}
OPTIONS: Mapping[str, Option] = {
    name: replace(option, panel=panel) for panel, options in _TABLE.items() for name, option in options.items()
}
CONFIG_FIELDS = tuple(name for name, option in OPTIONS.items() if option.rule)
VARIABLES: Mapping[str, str] = {
    ENV_PREFIX + name.upper(): name for name, option in OPTIONS.items() if option.is_variable
}


def _kind(hint: object) -> Any:  # noqa: ANN401 -- a type
    """Return ``tuple``, ``bool``, ``str`` or the type of the choices."""
    origin = typing.get_origin(hint)
    return typing.get_args(hint)[0] if origin not in (None, tuple) else origin or hint


_ARGUMENTS = ("context", "buildx_flags")
_HINTS = typing.get_type_hints(BuildRequest)
KINDS: Mapping[str, type] = {name: _kind(_HINTS[name]) for name in (*_ARGUMENTS, *OPTIONS)}
"""The type of each argument's and option's value, without None."""
# Synonyms of options for which difflib finds a wrong option.
OTHER_NAMES: Mapping[str, str] = {"dockerfile": "file", "image": "tag", "name": "tag"}


def nearest(word: str, names: Iterable[str]) -> str:
    """Return the option that a word probably means, as on the command line, or the empty string."""
    word = word.lower().replace("_", "-")
    if other := OTHER_NAMES.get(word):
        return other
    return next(iter(difflib.get_close_matches(word, map(option_key, names), n=1, cutoff=0.5)), "")


# Go stores sizes in bytes, and durations in nanoseconds, as 64-bit integers.
_MOST = 2**63 - 1
_NANOSECONDS = 10**9
_SIZE = re.compile(r"(\d{1,19})(?:\.(\d{1,19}))?\s*(?:([kmgtp])i?b?|b)?", re.IGNORECASE)
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?[dhms])+")
_PART = re.compile(r"(\d+(?:\.\d+)?)([dhms])")
_SECONDS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0}


def parse_size(text: str) -> int | None:
    """Return a size in bytes, or None if Docker would refuse it; units are binary, as in ``docker/go-units``."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        return None
    whole, part, unit = match[1], match[2] or "", (match[3] or "").lower()
    size = int((int(whole + part) << 10 * _POWERS[unit]) // 10 ** len(part))
    return size if size <= _MOST else None


def parse_duration(text: str) -> float | None:
    """Return a duration in seconds, with Go's units ``h``, ``m``, ``s``, and ``d``.

    None if the text is no duration, or more than 292 years.
    """
    if not _DURATION.fullmatch(text.strip()):
        return None
    seconds = sum(float(number) * _SECONDS[unit] for number, unit in _PART.findall(text))
    return seconds if seconds <= _MOST // _NANOSECONDS else None


def chosen(kind: type[_Choice], value: object, *, where: str, shown: str = "") -> _Choice:
    """Convert a value to one of several choices.

    Raises:
        UsageError: the value is no choice; the hint has the nearest one.
    """
    if value in (words := tuple(kind)):
        return words[words.index(value)]
    raise UsageError(
        f"{where}: invalid value: {shown or repr(value)}", code="value-invalid", hint=closest(str(value), words)
    )
