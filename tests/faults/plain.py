"""What the same faults do to plain Buildx, as a Markdown table: ``python -m tests.faults.plain``.

A build imports from and exports to the broken cache, with ``docker buildx build`` as one would write it by hand; then
the same build once more on another new builder, with what the first one left.
"""

from __future__ import annotations

import sys
import tempfile
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.faults.cases import LOCAL, READING, WRITING, LocalFault, RegistryFault
from tests.faults.laboratory import Builders, Laboratory, Plainly
from tests.faults.proxy import Proxy
from tests.integration.conftest import Docker
from tests.integration.engines import Engines

_HEAD = ("cache", "fault", "the build", "its image", "the next build")


@dataclass(frozen=True, kw_only=True)
class Row:
    """A row of the table: what a fault comes to."""

    cache: str
    fault: str
    first: Plainly
    image: bool
    then: Plainly

    @property
    def cells(self) -> tuple[str, ...]:
        fails = "**fails**" if self.first.code else "succeeds"
        return self.cache, self.fault, fails, _image(self.first, there=self.image), _next(self.then)


def local_row(laboratory: Laboratory, fault: LocalFault) -> Row:
    """A local cache, with ``--load``."""
    folder = laboratory.local_copy()
    fault.harm(folder, laboratory.pristine.chain)
    image = f"faults-{uuid.uuid4().hex[:8]}:1"
    caches = ("--cache-from", f"type=local,src={folder}", "--cache-to", f"type=local,dest={folder},mode=max")
    words = (*caches, "--tag", image, "--load")
    first = laboratory.plain(*words)
    there = laboratory.says(image) == laboratory.pristine.says
    return Row(cache="local", fault=fault.name, first=first, image=there, then=laboratory.plain(*words))


def reading_row(laboratory: Laboratory, proxy: Proxy, fault: RegistryFault) -> Row:
    """A registry's cache that cannot be read, with ``--push``."""
    image = f"{laboratory.docker.registry}/{uuid.uuid4().hex[:12]}/image:1"
    words = _registry_words(f"{proxy.address}/{laboratory.registry_copy()}", image)
    rules = fault.rules(laboratory.pristine.parts)
    with proxy.ruled(*rules):
        first = laboratory.plain(*words)
    there = laboratory.says(image) == laboratory.pristine.says
    with proxy.ruled(*(rules if fault.stays else ())):
        then = laboratory.plain(*words)
    return Row(cache="registry, read", fault=fault.name, first=first, image=there, then=then)


def writing_row(laboratory: Laboratory, proxy: Proxy, fault: RegistryFault) -> Row:
    """A registry's cache that cannot be written after a change, with ``--push``; the next build has no such change."""
    image = f"{laboratory.docker.registry}/{uuid.uuid4().hex[:12]}/image:1"
    words = _registry_words(f"{proxy.address}/{laboratory.registry_copy()}", image)
    context, says = laboratory.context(1)
    with proxy.ruled(*fault.rules(laboratory.pristine.parts)):
        first = laboratory.plain(*words, context=context)
    there = laboratory.says(image) == says
    return Row(cache="registry, written", fault=fault.name, first=first, image=there, then=laboratory.plain(*words))


def table(rows: Iterable[tuple[str, ...]]) -> str:
    """Rows of cells as a Markdown table."""
    lines = (_HEAD, tuple("---" for _ in _HEAD), *rows)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _registry_words(reference: str, image: str) -> tuple[str, ...]:
    entry = f"type=registry,ref={reference}"
    return "--cache-from", entry, "--cache-to", f"{entry},mode=max", "--tag", image, "--push"


def _image(built: Plainly, *, there: bool) -> str:
    if not there:
        return "none"
    return "there" if not built.code else "there, though the build failed"


def _next(built: Plainly) -> str:
    if built.code:
        return "**fails**"
    return "warm" if built.cached == built.steps else f"{built.cached} of {built.steps} steps cached"


def _rows(laboratory: Laboratory, proxy: Proxy) -> Iterator[Row]:
    yield from (local_row(laboratory, fault) for fault in LOCAL)
    yield from (reading_row(laboratory, proxy, fault) for fault in READING)
    yield from (writing_row(laboratory, proxy, fault) for fault in WRITING)


def main() -> None:
    """Print the table, the engine started if none is up."""
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        home = Path(folder) / "home"
        home.mkdir()
        engines = Engines(home)
        docker = Docker(env=engines.start(), home=home)
        try:
            with Builders(docker) as builders:
                laboratory = Laboratory(docker, builders, Path(folder))
                with Proxy(docker.registry) as proxy:
                    sys.stdout.write(table(row.cells for row in _rows(laboratory, proxy)) + "\n")
        finally:
            engines.stop()


if __name__ == "__main__":
    main()
