"""Hand over an image that only the engine has: a builder in a container asks registries alone.

The engine's own builder takes ``FROM base:local`` from the engine's store. Another one is given the same image as a
named context, which stands for it in ``FROM``, ``COPY --from`` and mounts (``frontend/dockerui/namedcontext.go``).
"""

from __future__ import annotations

import json
import re
import shutil
import tarfile
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from buildx_cache.buildkit import Kind, Problem, failure
from buildx_cache.errors import BuildFailedError, UsageError
from buildx_cache.plan import BuilderPlan, BuildInvocation
from buildx_cache.reference import Reference, parse_reference
from buildx_cache.request import Driver
from buildx_cache.request.images import IMAGE_SCHEME
from buildx_cache.request.local_paths import LAYOUT_SCHEME
from buildx_cache.run.interfaces import Engine, Tell
from buildx_cache.run.recovery import Attempt, Strategy
from buildx_cache.run.retry import Retrying
from buildx_cache.scratch import making, scratch_folder

_ABSENT = (Kind.NO_IMAGE, Kind.NO_REPOSITORY, Kind.ABSENT)
# Each costs a copy and another begin of the build, and a Dockerfile can name all images there are.
_MOST = 16
_MEMBER = re.compile(r"oci-layout|index\.json|blobs/sha256/[0-9a-f]{64}")


class EngineImages(Strategy):
    """The images that were handed over in one call. ``close`` leaves nothing of them behind."""

    def __init__(
        self,
        plan: BuilderPlan,
        engine: Engine,
        tell: Tell,
        retrying: Retrying,
        *,
        is_for_stranger: bool = False,
        is_classic: bool = True,
    ) -> None:
        self._is_classic = is_classic
        self._is_engines = plan.driver == Driver.DOCKER
        self._is_for_stranger = is_for_stranger
        self._engine = engine
        self._tell = tell
        self._retrying = retrying
        self._layouts: dict[Reference, str] = {}
        self._refused: set[Reference] = set()
        self._stack = ExitStack()

    def close(self) -> None:
        """Delete the copies."""
        self._stack.close()

    def prepare(self, build: BuildInvocation) -> BuildInvocation:
        """Have a build take the images from their copies."""
        given = tuple(map(self._handed, build.build_context))
        added = (f"{_context_name(image)}={place}" for image, place in self._layouts.items())
        return replace(build, build_context=(*given, *added))

    def _handed(self, context: str) -> str:
        name, _, place = context.partition("=")
        image = _reference(place.removeprefix(IMAGE_SCHEME)) if place.startswith(IMAGE_SCHEME) else None
        return f"{name}={self._layouts[image]}" if image in self._layouts else context

    def recover(self, attempt: Attempt) -> BuildInvocation | None:
        """Build again with the engine's image where no registry has it.

        One that a registry has had is taken only where it says that it has it no more: it may be old, or not for all.
        The containerd store names every image as if a registry had it, and a registry that denies one may mean that it
        has none: Docker Hub says so of every name that it does not know.
        A stranger names none, in a fork or at an address: the engine may have those of other projects, and what
        somebody's login has pulled.

        Raises:
            BuildFailedError: the engine cannot hand it over.
            ExhaustedError: there is no room for a copy.
        """
        failed = failure(attempt.trace)
        image = _reference(failed.image)
        if image is None or image in self._layouts or not self._may_hand_over(attempt.build):
            return None
        if self._is_for_stranger:
            self._refuse(image)
            return None
        digests = self._engine.image_digests(str(image))
        if digests is None or (digests and not self._is_absent(failed.problem)):
            return None
        self._layouts[image] = self._copy(image)
        reason = "no registry gives it" if failed.problem.is_denied else "it is in no registry"
        self._tell.say(f"{_context_name(image)}: {reason}, and the builder is handed the engine's image")
        self._retrying.note("pull", f"{image} is in the engine alone")
        return attempt.build

    def _is_absent(self, problem: Problem) -> bool:
        return problem.kind in _ABSENT or (problem.is_denied and not self._is_classic)

    def _may_hand_over(self, build: BuildInvocation) -> bool:
        asks_registry = build.pull or any(flag.startswith("--pull") for flag in build.flags)
        return not (self._is_engines or asks_registry) and len(self._layouts) < _MOST

    def _refuse(self, image: Reference) -> None:
        """Warn once of an image whose pull may be tried several times, whether or not the engine has it."""
        if image not in self._refused:
            self._refused.add(image)
            self._tell.warn(
                f"{_context_name(image)}: what may be a stranger's is handed no image that only the engine has"
            )

    def _copy(self, image: Reference) -> str:
        """Copy the image to an OCI layout; return its address."""
        folder = self._stack.enter_context(scratch_folder())
        archive = folder / "image.tar"
        reason = self._engine.save_image(str(image), archive)
        with making("file"):
            digest = "" if reason else _unpack(archive, folder)
        if not digest:
            raise BuildFailedError(
                f"the image {_context_name(image)} is in the engine alone, and the builder cannot read it there: "
                f"{reason or 'the engine hands over no OCI layout'}",
                code="image-only-in-engine",
                hint="push it to a registry, upgrade Docker to 25 or newer, or build with --driver docker",
            )
        return f"{LAYOUT_SCHEME}{folder}@{digest}"


def _unpack(archive: Path, folder: Path) -> str:
    """Unpack an image's archive and delete it; return its manifest's digest, or nothing where it is no OCI layout.

    Raises:
        OSError: there is no room.
    """
    (folder / "blobs" / "sha256").mkdir(parents=True)
    try:
        with tarfile.open(archive) as members:
            for member in members:
                content = members.extractfile(member) if _MEMBER.fullmatch(member.name) and member.isreg() else None
                if content:
                    with (folder / member.name).open("wb") as file:
                        shutil.copyfileobj(content, file)
        digest = json.loads((folder / "index.json").read_bytes())["manifests"][0]["digest"]
    except (tarfile.TarError, FileNotFoundError, ValueError, LookupError, TypeError):
        return ""
    archive.unlink()
    return str(digest)


def _reference(text: str) -> Reference | None:
    """Return the image in full; None for what has no name."""
    try:
        found = parse_reference(text).canonical.tagged if text else None
    except UsageError:
        return None
    return found if found and not found.digest else None


def _context_name(image: Reference) -> str:
    """Return what BuildKit looks an image up under among the named contexts."""
    return str(image.familiar).removesuffix(":latest")
