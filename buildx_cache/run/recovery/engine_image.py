"""Hand the builder an image that only the engine has: a builder in a container pulls only from registries.

The engine's own builder reads ``FROM base:local`` from the engine's store. Any other builder gets a copy of the image
as a named context, which replaces the image in ``FROM``, ``COPY --from`` and mounts
(``frontend/dockerui/namedcontext.go``).
"""

from __future__ import annotations

import json
import re
import shutil
import tarfile
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from buildx_cache.buildkit.causes import Kind
from buildx_cache.buildkit.classify import Problem
from buildx_cache.buildkit.failure import failure
from buildx_cache.errors import BuildFailedError, UsageError
from buildx_cache.plan import BuilderPlan, BuildInvocation
from buildx_cache.reference import Reference, parse_reference
from buildx_cache.request.build_request import Driver
from buildx_cache.request.images import IMAGE_SCHEME
from buildx_cache.request.local_paths import LAYOUT_SCHEME
from buildx_cache.run.interfaces import Engine, Tell
from buildx_cache.run.recovery import Attempt, Strategy
from buildx_cache.run.retry import Retrying
from buildx_cache.scratch import making, scratch_folder

_ABSENT = (Kind.NO_IMAGE, Kind.NO_REPOSITORY, Kind.ABSENT)
# Each image costs a copy and a new start of the build, and a Dockerfile may name any number of images.
_MOST = 16
_MEMBER = re.compile(r"oci-layout|index\.json|blobs/sha256/[0-9a-f]{64}")


class EngineImages(Strategy):
    """Hand images over in one call. ``close`` deletes the copies.

    Args:
        plan: the planned builder.
        engine: the engine that has the images.
        tell: shows messages.
        retrying: the retries of the call.
        is_for_stranger: whether the build may be a stranger's, such as a fork's.
        is_classic: whether the engine has the classic image store.
    """

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
        """Add a named context for each copied image."""
        given = tuple(map(self._handed, build.build_context))
        added = (f"{_context_name(image)}={place}" for image, place in self._layouts.items())
        return replace(build, build_context=(*given, *added))

    def _handed(self, context: str) -> str:
        name, _, place = context.partition("=")
        image = _reference(place.removeprefix(IMAGE_SCHEME)) if place.startswith(IMAGE_SCHEME) else None
        return f"{name}={self._layouts[image]}" if image in self._layouts else context

    def recover(self, attempt: Attempt) -> BuildInvocation | None:
        """Build again with the engine's image if no registry has the image.

        An image that came from a registry (it has repository digests) is used only if the registry answers that the
        image is absent: the engine's copy may be old, or not meant for every user. The containerd store gives every
        image a repository digest, and Docker Hub answers "denied" for every unknown name: so with that store, "denied"
        counts as absent, too. A stranger's build (a fork, a remote context) gets no image: the engine may have images
        of other projects, and private images that somebody's login has pulled.

        Raises:
            BuildFailedError: the engine cannot export the image.
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
        self._tell.say(f"{_context_name(image)}: {reason}; the builder gets the engine's image")
        self._retrying.note("pull", f"{image} is in the engine alone")
        return attempt.build

    def _is_absent(self, problem: Problem) -> bool:
        return problem.kind in _ABSENT or (problem.is_denied and not self._is_classic)

    def _may_hand_over(self, build: BuildInvocation) -> bool:
        asks_registry = build.pull or any(flag.startswith("--pull") for flag in build.flags)
        return not (self._is_engines or asks_registry) and len(self._layouts) < _MOST

    def _refuse(self, image: Reference) -> None:
        """Warn once for each image, since its pull may be retried. The warning does not show if the engine has it."""
        if image not in self._refused:
            self._refused.add(image)
            self._tell.warn(
                f"{_context_name(image)}: a build of a stranger's work gets no image that only the engine has"
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
                f"the image {_context_name(image)} is only in the engine, and the builder cannot read it there: "
                f"{reason or 'the engine hands over no OCI layout'}",
                code="image-only-in-engine",
                hint="push it to a registry, upgrade Docker to 25 or newer, or build with --driver docker",
            )
        return f"{LAYOUT_SCHEME}{folder}@{digest}"


def _unpack(archive: Path, folder: Path) -> str:
    """Unpack an image's archive and delete it; return the manifest's digest, or "" if the archive is no OCI layout.

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
    """Return the canonical tagged reference; None for text that is no reference, or has a digest."""
    try:
        found = parse_reference(text).canonical.tagged if text else None
    except UsageError:
        return None
    return found if found and not found.digest else None


def _context_name(image: Reference) -> str:
    """Return the name under which BuildKit looks for an image among the named contexts."""
    return str(image.familiar).removesuffix(":latest")
