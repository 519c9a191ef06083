"""What carrying out a plan needs of the world; ``engine.docker.DockerEngine`` is the real engine."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO, Protocol

from buildx_cache.plan import BuildInvocation, Container, Effect
from buildx_cache.plan.effects import LoadImage
from buildx_cache.reference import Reference

NO_REASON = "no reason given"


class Tell(Protocol):
    """How people learn what happens to the caches."""

    def say(self, text: str) -> None:
        """Something that takes a while begins."""

    def warn(self, text: str) -> None:
        """Something did not go as asked, but does not fail the call."""


class Finished(Protocol):
    """How a short command ended."""

    @property
    def code(self) -> int:
        """Its exit code."""

    @property
    def stderr(self) -> str:
        """What it said."""


def last_line(done: Finished) -> str:
    """Return the reason that a command gave for its end."""
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    return lines[-1].removeprefix("ERROR: ").strip() if lines else NO_REASON


class Engine(Protocol):
    """The effects a plan has."""

    def perform(self, effect: Effect, *, password: bytes = b"") -> Finished:
        """Carry out a short effect to its end; a login takes a password."""

    def load_image(self, effect: LoadImage, write: Callable[[IO[bytes]], None]) -> Finished:
        """Load an image from an archive that ``write`` writes; the engine need not read all of it."""

    @property
    def calls(self) -> int:
        """How often the docker command line was run."""

    def build(
        self, build: BuildInvocation, on_stderr: Callable[[bytes], None], on_interrupt: Callable[[], None]
    ) -> int:
        """Run a build, handing over its stderr as it comes, and nothing a few times a second; returns its exit code.

        What ``on_stderr`` raises ends the build. ``on_interrupt`` is called when a signal does, before it has ended.
        """

    def gateway(self, network: str) -> str:
        """Return the numerical address by which containers of a Docker network reach this host.

        Empty if there is none.
        """

    def tunnel(self, container: Container, ports: Sequence[int]) -> AbstractContextManager[Mapping[int, int]]:
        """While this lasts, have ports of this machine's loopback on a container's; yields the port there of each.

        Raises:
            ExhaustedError: the container or this machine lacks what that takes.
        """

    def credentials(self, registry: str) -> AbstractContextManager[None]:
        """While this lasts, a login to the registry of this key is private to this call."""

    def has_login(self, registry: str) -> bool:
        """Whether the user has a stored login to the registry of this key."""

    def push_refusal(self, repository: Reference) -> str:
        """Why a registry lets nothing be pushed to a repository; empty where it does, or that cannot be told."""

    def image_id(self, tag: str) -> str:
        """Return the ID of an image in the engine's store.

        Empty if it is not there.
        """

    def image_digests(self, name: str) -> tuple[str, ...] | None:
        """Return the digests under which registries are known to have an image.

        None if it is not in the engine's store.
        """

    def save_image(self, name: str, archive: Path) -> str:
        """Write an image to an archive; why that did not work, if so."""

    def remember_loaded(self, image_id: str) -> None:
        """Note that this program loaded an image, so that it may remove it when it is replaced."""

    def remove_replaced(self, image_id: str) -> bool:
        """Remove an image that this program loaded, unless it has a tag or a container; whether it is gone."""
