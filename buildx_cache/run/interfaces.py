"""Protocols by which ``run`` reaches the engine and the display; ``engine.docker.DockerEngine`` is the real engine."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO, Protocol

from buildx_cache.plan import BuildInvocation, Container, Effect, Pods
from buildx_cache.plan.effects import LoadImage
from buildx_cache.plan.facts import Bridge
from buildx_cache.reference import Reference

NO_REASON = "no reason given"


class Tell(Protocol):
    """Show messages about the caches."""

    def say(self, text: str) -> None:
        """Show that something slow begins."""

    def warn(self, text: str) -> None:
        """Show a problem that does not fail the call."""


class Finished(Protocol):
    """A short command that ended."""

    @property
    def code(self) -> int:
        """Return the exit code."""

    @property
    def stderr(self) -> str:
        """Return the text written to stderr."""


def last_line(done: Finished) -> str:
    """Return the last line of stderr, without ``ERROR:``: the reason of a failure."""
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    return lines[-1].removeprefix("ERROR: ").strip() if lines else NO_REASON


class Engine(Protocol):
    """Carry out the effects of a plan."""

    def perform(self, effect: Effect, *, password: bytes = b"") -> Finished:
        """Carry out a short effect and wait for its end; a login reads ``password`` from stdin."""

    def load_image(self, effect: LoadImage, write: Callable[[IO[bytes]], None]) -> Finished:
        """Load an image from an archive that ``write`` writes; the engine need not read all of it."""

    @property
    def calls(self) -> int:
        """Return the number of docker commands that were run."""

    def build(
        self, build: BuildInvocation, on_stderr: Callable[[bytes], None], on_interrupt: Callable[[], None]
    ) -> int:
        """Run a build and return its exit code.

        Args:
            build: the build.
            on_stderr: takes each piece of stderr as it arrives, and ``b""`` a few times a second while the build is
                silent. An exception that it raises cancels the build.
            on_interrupt: called when a signal arrives, before the build is cancelled.
        """

    def bridge(self, network: str) -> Bridge:
        """Return how containers of a Docker network reach this host, and which there are."""

    def tunnel(
        self, ends: Sequence[Container | Pods], ports: Sequence[int]
    ) -> AbstractContextManager[Mapping[int, int]]:
        """Forward ports of each container's loopback to ports of this machine's; yield the containers' port for each.

        Raises:
            ExhaustedError: ssh is missing here or in the container, or the tunnel does not open.
        """

    def credentials(self, registry: str) -> AbstractContextManager[None]:
        """Keep logins to the registry of this key private to this call, in this context."""

    def has_login(self, registry: str) -> bool:
        """Whether the user has a stored login to the registry of this key."""

    def push_refusal(self, repository: Reference) -> str:
        """Return why the registry refuses a push to the repository; empty if it accepts or does not answer."""

    def newest_step(self, cache: Reference) -> float | None:
        """Return when the newest step in a cache in a registry ran, in seconds since the epoch; None if unknown."""

    def image_id(self, tag: str) -> str:
        """Return the ID of an image in the engine's store.

        Empty if it is not there.
        """

    def image_digests(self, name: str) -> tuple[str, ...] | None:
        """Return the digests under which registries are known to have an image.

        None if it is not in the engine's store.
        """

    def save_image(self, name: str, archive: Path) -> str:
        """Write an image to an archive; return the reason of a failure, else ""."""

    def remember_loaded(self, image_id: str) -> None:
        """Record that this program loaded an image: only recorded images are removed when they are replaced."""

    def remove_replaced(self, image_id: str) -> bool:
        """Remove an image that this program loaded, unless it has a tag or a container; return True if removed."""
