"""Decide what each ``--output`` does, by Buildx' rules (``util/buildflags/export.go``, ``build/opt.go``)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from buildx_cache.request.build_request import BuildRequest
from buildx_cache.request.local_paths import output_pairs, outputs_of

# Flags with which Buildx prints to stdout; -q and -h may follow other switches, or precede -o and its value.
_PRINTING = ("--call", "--check", "--print", "--quiet", "--help")
_PRINTING_LETTERS = re.compile(r"-D*[qh]")
_PUSH = "--push"
_DISABLED = re.compile(r"(?:^|,)disabled=(?:1|t|true)(?:,|$)", re.IGNORECASE)
_OFF = ("0", "f", "false")


def is_on(value: str) -> bool:
    """Return whether an attribute is on: each value is, except the false ones of Go's ``strconv.ParseBool``."""
    return value.lower() not in _OFF


@dataclass(frozen=True, kw_only=True)
class Output:
    """One output of a build, in the syntax of ``--output``."""

    spec: str

    @property
    def is_image(self) -> bool:
        """Whether the output is an image in the builder's store, which can be pushed."""
        return self._fields.get("type") in ("image", "registry")

    @property
    def is_pushed(self) -> bool:
        """Whether the image is pushed; ``type=registry`` ignores ``push=false``."""
        return self.is_image and (self._fields["type"] == "registry" or self._has("push"))

    @property
    def is_by_digest(self) -> bool:
        """Whether the image is pushed without a tag."""
        return self.is_pushed and self._has("push-by-digest")

    @property
    def is_loaded(self) -> bool:
        """Whether the image is loaded into the engine of the call's Docker context."""
        return self._fields.get("type") == "docker" and not self._fields.keys() & {"dest", "context"}

    @property
    def is_streamed(self) -> bool:
        """Whether the output goes to stdout."""
        return self._fields.get("dest") == "-"

    @property
    def names(self) -> tuple[str, ...]:
        """Return the image's names in the output; Buildx ignores them if the call has tags."""
        return tuple(name.strip() for name in self._fields.get("name", "").split(",") if name.strip())

    @property
    def _fields(self) -> Mapping[str, str]:
        return dict(output_pairs(self.spec))

    def _has(self, name: str) -> bool:
        return is_on(self._fields.get(name, "false"))

    def pushed(self) -> Output:
        """Return the output with ``push=true``."""
        return self if self.is_pushed else replace(self, spec=f"{self.spec},push=true")

    def styled(self, *attributes: str) -> Output:
        """Add ``NAME=VALUE`` attributes that the output does not set itself."""
        added = (each for each in attributes if each.partition("=")[0] not in self._fields)
        return replace(self, spec=",".join((self.spec, *added)))


def printing_flags(flags: Sequence[str]) -> tuple[str, ...]:
    """Return the flags for Buildx with which it prints to stdout."""
    return tuple(flag for flag in flags if flag.partition("=")[0] in _PRINTING or _PRINTING_LETTERS.match(flag))


def _is_flagged(switch: str, flags: Sequence[str]) -> bool:
    """Return whether a switch is on among the flags for Buildx: the last one counts (``pflag``)."""
    given = (flag.partition("=") for flag in flags if flag.partition("=")[0] == switch)
    return next((not equals or is_on(value) for _, equals, value in reversed(tuple(given))), False)


def pushing_outputs(request: BuildRequest) -> tuple[Output, ...]:
    """Return the outputs that push: ``--push`` makes every image output push, or adds one.

    ``--push`` may also be among the flags for Buildx.
    """
    outputs = tuple(Output(spec=text) for text in outputs_of(request))
    if request.push or _is_flagged(_PUSH, request.buildx_flags):
        return tuple(each.pushed() for each in outputs if each.is_image) or (Output(spec="type=image,push=true"),)
    return tuple(each for each in outputs if each.is_pushed)


def loads(request: BuildRequest) -> bool:
    """Return whether the image is loaded into the engine."""
    return request.load or any(Output(spec=text).is_loaded for text in request.output)


def attests(request: BuildRequest) -> bool:
    """Return whether attestations are requested: provenance, an SBOM, or others."""
    asked = (request.provenance, request.sbom, *request.attest)
    return any(each and is_on(each) and not _DISABLED.search(each) for each in asked)


def pushes(request: BuildRequest) -> bool:
    """Return whether the image is pushed."""
    return bool(pushing_outputs(request))


def pushes_by_digest(request: BuildRequest) -> bool:
    """Return whether the image is pushed without a tag; then ``--tag`` may name only repositories."""
    return any(each.is_by_digest for each in pushing_outputs(request))
