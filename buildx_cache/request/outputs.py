"""What an ``--output`` does with the image, as Buildx reads it (``util/buildflags/export.go``, ``build/opt.go``)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from buildx_cache.request.build_request import BuildRequest
from buildx_cache.request.local_paths import output_pairs, outputs_of

# Flags of Buildx' own with which it prints to stdout; -q also among other switches, and with the value of -o.
_PRINTING = ("--call", "--check", "--print", "--quiet", "--help")
_PRINTING_LETTERS = re.compile(r"-D*[qh]")
_PUSH = "--push"
_DISABLED = re.compile(r"(?:^|,)disabled=(?:1|t|true)(?:,|$)", re.IGNORECASE)
_OFF = ("0", "f", "false")


def is_on(value: str) -> bool:
    """Tell whether an attribute is on: it is unless it is off by a word of Go's ``strconv.ParseBool``."""
    return value.lower() not in _OFF


@dataclass(frozen=True, kw_only=True)
class Output:
    """A result of a build, in the syntax of ``--output``."""

    spec: str

    @property
    def is_image(self) -> bool:
        """Whether the result is an image in the builder's store, which can be pushed."""
        return self._fields.get("type") in ("image", "registry")

    @property
    def is_pushed(self) -> bool:
        """Whether the image is pushed; ``type=registry`` is, whatever its ``push`` says."""
        return self.is_image and (self._fields["type"] == "registry" or self._has("push"))

    @property
    def is_by_digest(self) -> bool:
        """Whether the registry gets the image without a tag."""
        return self.is_pushed and self._has("push-by-digest")

    @property
    def is_loaded(self) -> bool:
        """Whether the engine gets the image, that of the call's own context."""
        return self._fields.get("type") == "docker" and not self._fields.keys() & {"dest", "context"}

    @property
    def is_streamed(self) -> bool:
        """Whether the result goes to stdout."""
        return self._fields.get("dest") == "-"

    @property
    def names(self) -> tuple[str, ...]:
        """The names that the output gives the image; Buildx takes the tags of the call in their place, if any."""
        return tuple(name.strip() for name in self._fields.get("name", "").split(",") if name.strip())

    @property
    def _fields(self) -> Mapping[str, str]:
        return dict(output_pairs(self.spec))

    def _has(self, name: str) -> bool:
        return is_on(self._fields.get(name, "false"))

    def pushed(self) -> Output:
        """Return the same image, pushed."""
        return self if self.is_pushed else replace(self, spec=f"{self.spec},push=true")

    def styled(self, *attributes: str) -> Output:
        """Return the same output with ``NAME=VALUE`` attributes, as far as it does not set them itself."""
        added = (each for each in attributes if each.partition("=")[0] not in self._fields)
        return replace(self, spec=",".join((self.spec, *added)))


def printing_flags(flags: Sequence[str]) -> tuple[str, ...]:
    """Return those of the flags that are passed on to Buildx with which it prints to stdout."""
    return tuple(flag for flag in flags if flag.partition("=")[0] in _PRINTING or _PRINTING_LETTERS.match(flag))


def _is_flagged(switch: str, flags: Sequence[str]) -> bool:
    """Tell whether a switch is on among the flags that are passed on to Buildx: the last one counts (``pflag``)."""
    given = (flag.partition("=") for flag in flags if flag.partition("=")[0] == switch)
    return next((not equals or is_on(value) for _, equals, value in reversed(tuple(given))), False)


def pushing_outputs(request: BuildRequest) -> tuple[Output, ...]:
    """Return what pushes: ``--push`` pushes every image output, or adds one; none where nothing does.

    The flags that are passed on to Buildx count, too.
    """
    outputs = tuple(Output(spec=text) for text in outputs_of(request))
    if request.push or _is_flagged(_PUSH, request.buildx_flags):
        return tuple(each.pushed() for each in outputs if each.is_image) or (Output(spec="type=image,push=true"),)
    return tuple(each for each in outputs if each.is_pushed)


def loads(request: BuildRequest) -> bool:
    """Tell whether the engine gets the image."""
    return request.load or any(Output(spec=text).is_loaded for text in request.output)


def attests(request: BuildRequest) -> bool:
    """Tell whether attestations of the image are asked for: provenance, an SBOM, or others."""
    asked = (request.provenance, request.sbom, *request.attest)
    return any(each and is_on(each) and not _DISABLED.search(each) for each in asked)


def pushes(request: BuildRequest) -> bool:
    """Tell whether the image is pushed."""
    return bool(pushing_outputs(request))


def pushes_by_digest(request: BuildRequest) -> bool:
    """Tell whether the image is pushed without a tag; then no tag of the call may have one."""
    return any(each.is_by_digest for each in pushing_outputs(request))
