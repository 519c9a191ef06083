"""Builders that are new every time, a cache to be broken, and what plain Buildx makes of it."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import shutil
import subprocess
import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from buildx_cache.buildkit.stream import StreamParser
from buildx_cache.buildkit.trace_builder import TraceBuilder
from tests.faults.damage import Part, copy_cache, parts_of
from tests.faults.example import write_project
from tests.integration.conftest import PROGRAM, Docker, Ran

_MANIFESTS = (
    "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, "
    "application/vnd.docker.distribution.manifest.v2+json"
)


class Builders:
    """Builders in containers, each for one build; the next ones boot while a test is at work."""

    def __init__(self, docker: Docker, ahead: int = 2) -> None:
        self._docker = docker
        self._pool = ThreadPoolExecutor(2)
        self._made = [self._pool.submit(self._make) for _ in range(ahead)]
        self._gone: list[Future[str]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for builder in self._made:
            self._remove(builder.result())
        self._pool.shutdown()
        for gone in self._gone:
            gone.result()

    @contextlib.contextmanager
    def new(self) -> Iterator[str]:
        """The name of a builder that nobody used, while this lasts."""
        self._made.append(self._pool.submit(self._make))
        name = self._made.pop(0).result()
        try:
            yield name
        finally:
            self._gone.append(self._pool.submit(self._remove, name))

    def _make(self) -> str:
        name = f"faults-{uuid.uuid4().hex[:10]}"
        self._docker.docker("buildx", "create", "--name", name, "--bootstrap", *self._docker.buildx_options)
        return name

    def _remove(self, name: str) -> str:
        return self._docker.docker("buildx", "rm", "--force", name)


@dataclass(frozen=True, kw_only=True)
class Pristine:
    """A cache as a cold build left it, in a folder and in the registry. Copies of it are broken, never it."""

    context: Path
    says: str
    folder: Path
    repository: str
    chain: tuple[str, ...]
    parts: Mapping[Part, str]
    manifest: bytes
    media_type: str


@dataclass(frozen=True, kw_only=True)
class Plainly:
    """How a build with plain Buildx ended."""

    code: int
    steps: int
    cached: int
    metadata: Mapping[str, Any]
    stderr: str


class Laboratory:
    """What a fault test works with."""

    def __init__(self, docker: Docker, builders: Builders, folder: Path) -> None:
        self.docker = docker
        self.builders = builders
        self.folder = folder
        self.pristine = self._pristine()

    # --- builds ------------------------------------------------------------------------------------------

    def tool(
        self,
        *words: str,
        context: Path | None = None,
        builder: str = "",
        program: tuple[str, ...] = PROGRAM,
    ) -> Ran:
        """A build with this program, on a new builder unless one is named; no request but the build's meets a fault."""
        words = ("--no-push-check", *words)
        where = context or self.pristine.context
        end = ("--build-arg", f"BASE={self.docker.base}", str(where))
        if builder:
            return self.docker.tool("build", "--builder", builder, *words, *end, cwd=where, program=program)
        with self.builders.new() as name:
            return self.docker.tool("build", "--builder", name, *words, *end, cwd=where, program=program)

    def plain(self, *words: str, context: Path | None = None, builder: str = "") -> Plainly:
        """A build with plain Buildx, on a new builder unless one is named."""
        if not builder:
            with self.builders.new() as name:
                return self.plain(*words, context=context, builder=name)
        metadata = self.folder / f"{uuid.uuid4().hex}.json"
        fixed = ("--builder", builder, "--provenance=false", "--progress=rawjson", f"--metadata-file={metadata}")
        end = ("--build-arg", f"BASE={self.docker.base}", str(context or self.pristine.context))
        done = subprocess.run(
            ("docker", "buildx", "build", *fixed, *words, *end),
            env=self.docker.child_env(),
            capture_output=True,
            check=False,
        )
        parser, trace = StreamParser(), TraceBuilder()
        for event in (*parser.feed(done.stderr), *parser.close()):
            trace.add(event)
        built = trace.trace()
        return Plainly(
            code=done.returncode,
            steps=built.total,
            cached=built.cached,
            metadata=json.loads(metadata.read_bytes()) if metadata.exists() else {},
            stderr="\n".join(built.text),
        )

    def says(self, image: str) -> str:
        """What an image prints; empty if there is none."""
        pull = ("--pull", "always", "--quiet") if "/" in image else ()
        return self.docker.docker("run", "--rm", *pull, image, check=False)

    # --- caches ------------------------------------------------------------------------------------------

    def local_copy(self) -> Path:
        """A copy of the pristine folder."""
        return copy_cache(self.pristine.folder, self.folder / f"cache-{uuid.uuid4().hex[:8]}")

    def registry_copy(self) -> str:
        """The pristine cache under a new tag, as path and tag without the registry's address."""
        tag, type_ = uuid.uuid4().hex[:12], self.pristine.media_type
        self._ask("PUT", self.pristine.repository, tag, {"Content-Type": type_}, self.pristine.manifest)
        return f"{self.pristine.repository}:{tag}"

    def context(self, number: int) -> tuple[Path, str]:
        """A project whose every layer differs from the pristine one's, and what its image prints."""
        folder = self.folder / f"context-{number}"
        return folder, write_project(folder, number=number)

    def changed(self, more: str) -> Path:
        """A copy of the pristine project whose Dockerfile has more lines."""
        folder = self.folder / f"changed-{uuid.uuid4().hex[:8]}"
        shutil.copytree(self.pristine.context, folder)
        with (folder / "Dockerfile").open("a") as dockerfile:
            dockerfile.write(more)
        return folder

    def _pristine(self) -> Pristine:
        context, says = self.context(0)
        folder = self.folder / "pristine"
        repository = f"{uuid.uuid4().hex[:12]}/faults"
        image = f"{self.docker.registry}/{repository}:image"
        ref = f"{self.docker.registry}/{repository}:cache"
        exports = (f"type=registry,ref={ref},mode=max", f"type=local,dest={folder},mode=max")
        built = self.plain("--tag", image, "--push", *(f"--cache-to={export}" for export in exports), context=context)
        assert built.code == 0, built.stderr
        shipped, _ = self._manifest(repository, built.metadata["containerimage.digest"])
        raw, media_type = self._manifest(repository, "cache")
        chain = tuple(layer["digest"] for layer in json.loads(shipped)["layers"])
        return Pristine(
            context=context,
            says=says,
            folder=folder,
            repository=repository,
            chain=chain,
            parts=parts_of(json.loads(raw), chain),
            manifest=raw,
            media_type=media_type,
        )

    def _manifest(self, repository: str, reference: str) -> tuple[bytes, str]:
        return self._ask("GET", repository, reference, {"Accept": _MANIFESTS})

    def _ask(
        self, method: str, repository: str, reference: str, headers: Mapping[str, str], body: bytes | None = None
    ) -> tuple[bytes, str]:
        """A request to the registry about a manifest: what it answers, and of which media type that is."""
        with contextlib.closing(http.client.HTTPConnection(self.docker.registry)) as connection:
            connection.request(method, f"/v2/{repository}/manifests/{reference}", body, dict(headers))
            answer = connection.getresponse()
            content = answer.read()
        assert answer.status < 300, content
        return content, answer.getheader("Content-Type", "")


def imported(ran: Ran, source: str) -> dict[str, str]:
    """What the report says of one cache import."""
    found: dict[str, str] = next(entry for entry in ran.report["cache"]["imports"] if source in entry["source"])
    return found


def builds(ran: Ran) -> int:
    """How often ``docker buildx build`` was run."""
    return sum(re.search(r"\bbuildx build\b", " ".join(argv)) is not None for argv in ran.report["commands"])
