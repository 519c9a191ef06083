"""One sample after another: each with a new builder, a copy of the same cache, and the same registry's contents."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tests.benchmarks.contenders import Contender
from tests.benchmarks.measuring import Measured, measure
from tests.benchmarks.project import Variant, write_project
from tests.benchmarks.repository import Descriptor, Manifest, Repository
from tests.benchmarks.samples import BOOT, NOT_COUNTED, Sample, executed_steps, recipe_parts
from tests.benchmarks.workloads import Workload
from tests.integration.conftest import PROJECT, Docker

_CLOCK = Path(__file__).parent / "clock.sh"


@dataclass(frozen=True, kw_only=True)
class Pristine:
    """A cache as a cold build left it, in a folder and in the registry, beside the image."""

    folder: Path
    manifest: Manifest


@dataclass(frozen=True, kw_only=True)
class Place:
    """What a sample works on, and what its command lines say of it."""

    folder: Path
    builder: str
    image: str
    ref: str

    @property
    def cache(self) -> Path:
        return self.folder / "cache"

    @property
    def context(self) -> Path:
        return self.folder / "context"

    @property
    def report(self) -> Path:
        return self.folder / "report.json"

    @property
    def clock(self) -> Path:
        return self.folder / "clock"

    def fill(self, words: tuple[str, ...]) -> list[str]:
        names = ("builder", "image", "ref", "cache", "context", "report")
        values = {f"{{{name}}}": str(getattr(self, name)) for name in names}
        return [_replace(word, values) for word in words]


class Laboratory:
    """Samples of images of one size. Whatever they leave is deleted, in the end what they all share too."""

    def __init__(self, docker: Docker, folder: Path, size: int) -> None:
        self._docker = docker
        self._folder = folder
        self.size = size
        """MB of the image."""
        self._repository = Repository(registry=docker.registry, name=f"benchmarks-{uuid.uuid4().hex[:8]}/{size}")
        self._pristine: dict[bool, Pristine] = {}
        self._kept: frozenset[Descriptor] = frozenset()

    def __enter__(self) -> Self:
        """Build once, so that there is a cache; with both ways to copy the source, on one builder."""
        self._folder.mkdir()
        builder = _builder_name()
        try:
            self._make_builder(builder)
            self._pristine = {linked: self._prepare(builder, linked=linked) for linked in (False, True)}
        finally:
            self._remove_builder(builder)
        tags = (f"{kind}-{linked}" for kind in ("image", "cache") for linked in self._pristine)
        self._kept = frozenset(self._repository.reachable(*tags))
        return self

    def __exit__(self, *_: object) -> None:
        self._repository.delete(self._kept)

    def sample(self, workload: Workload, contender: Contender) -> Sample:
        """Build once.

        Raises:
            AssertionError: it failed, or did not execute just the steps that it should, or pushed other layers.
        """
        with self._place(workload, contender) as place:
            boot, ran, removal = self._make_builder_and_run(workload, contender, place)
            what = f"{contender.name}, {workload.name}"
            assert ran.code == 0, f"{what}: {ran.stderr.decode(errors='replace')[-4000:]}"
            report = json.loads(place.report.read_text()) if contender.reports else {}
            executed = executed_steps(report, ran.stderr)
            assert executed == workload.executed, f"{what}: {executed} steps were executed"
            layers = sum(descriptor.is_layer for descriptor in self._new(contender.name))
            assert layers == workload.layers * contender.pushes, f"{what}: {layers} layers are new"
            parts = recipe_parts(place.clock) if contender.makes_builder else {}
        return Sample(
            size=self.size,
            workload=workload.name,
            contender=contender.name,
            seconds=ran.seconds - sum(parts.get(part, 0.0) for part in NOT_COUNTED),
            boot=boot + parts.get(BOOT, 0.0),
            removal=removal,
            parts=parts,
            peak=ran.peak if contender.reports else 0,
            report=report,
        )

    # --- one sample --------------------------------------------------------------------------------------

    def _make_builder_and_run(
        self, workload: Workload, contender: Contender, place: Place
    ) -> tuple[float, Measured, float]:
        """Seconds of making a builder, the build, and seconds of removing the builder."""
        os.sync()  # what the sample before it left to be written is not its own
        boot = 0.0
        try:
            if not contender.makes_builder:
                boot = self._make_builder(place.builder)
            if workload.built:
                self._build_and_compress(place)
            ran = measure(place.fill(contender.argv), env=self._env(place), cwd=place.context, output=place.folder)
        finally:
            removal = self._remove_builder(place.builder)
        return boot, ran, removal

    def _build_and_compress(self, place: Place) -> None:
        """Leave every layer in the builder, compressed, as after an export that is thrown away."""
        thrown_away = place.folder / "thrown-away"
        words = ("--output=type=cacheonly", f"--cache-to=type=local,dest={thrown_away},mode=max")
        self._docker.docker("buildx", "build", "--builder", place.builder, *words, str(place.context))
        shutil.rmtree(thrown_away)
        os.sync()

    @contextlib.contextmanager
    def _place(self, workload: Workload, contender: Contender) -> Iterator[Place]:
        """A context, the cache if there is one, and a name for each thing that is made; nothing of it stays."""
        image, cache = contender.name, f"{'cache' if workload.warm else 'no-cache'}-{contender.name}"
        place = Place(
            folder=self._folder / uuid.uuid4().hex[:8],
            builder=_builder_name(),
            image=self._repository.reference(image),
            ref=self._repository.reference(cache),
        )
        place.folder.mkdir()
        write_project(place.context, workload.variant, size=self.size, base=self._docker.base)
        if workload.warm:
            pristine = self._pristine[workload.variant.linked]
            copy_cache(pristine.folder, place.cache)
            self._repository.put(cache, pristine.manifest)
        try:
            yield place
        finally:
            self._docker.docker("image", "rm", "--force", place.image, place.builder, check=False)
            self._docker.docker("context", "rm", "--force", f"{place.builder}-context", check=False)
            self._repository.delete(self._new(image, cache))
            shutil.rmtree(place.folder)

    def _new(self, *tags: str) -> frozenset[Descriptor]:
        """What a sample's tags refer to and the first build's do not."""
        return frozenset(self._repository.reachable(*tags)) - self._kept

    def _env(self, place: Place) -> dict[str, str]:
        return self._docker.child_env(
            PYTHONPATH=str(PROJECT),
            BUILDKIT_PROGRESS="rawjson",  # to count the steps
            BASH_ENV=str(_CLOCK),
            CLOCK=str(place.clock),
            NAME=place.builder,
            IMAGE=place.image,
            CACHE=str(place.cache),
            BUILDER_OPTIONS=" ".join(self._builder_options),
            ENDPOINT=self._endpoint,
        )

    # --- what they share ---------------------------------------------------------------------------------

    def _prepare(self, builder: str, *, linked: bool) -> Pristine:
        context, folder = self._folder / f"context-{linked}", self._folder / f"cache-{linked}"
        write_project(context, Variant(linked=linked), size=self.size, base=self._docker.base)
        # One export at a time: two can leave a tag behind that refers to nothing.
        image, ref = (self._repository.reference(f"{kind}-{linked}") for kind in ("image", "cache"))
        for words in (
            ("--tag", image, "--push", f"--cache-to=type=registry,ref={ref},mode=max"),
            ("--output=type=cacheonly", f"--cache-to=type=local,dest={folder},mode=max"),
        ):
            self._docker.docker("buildx", "build", "--builder", builder, *words, str(context))
        manifest = self._repository.manifest(f"cache-{linked}")
        assert manifest
        return Pristine(folder=folder, manifest=manifest)

    def _make_builder(self, name: str) -> float:
        """Make it on a context of its own, as Buildx wants one where TLS comes from the environment."""
        self._docker.docker("context", "create", f"{name}-context", "--docker", self._endpoint)
        options = ("--name", name, "--bootstrap", *self._builder_options)
        return self._timed("buildx", "create", *options, f"{name}-context")

    def _remove_builder(self, name: str) -> float:
        seconds = self._timed("buildx", "rm", "--force", name)
        self._docker.docker("context", "rm", "--force", f"{name}-context", check=False)
        return seconds

    @property
    def _endpoint(self) -> str:
        """The engine, as ``docker context create`` takes it."""
        certificates = self._docker.env.get("DOCKER_CERT_PATH")
        files = {"ca": "ca.pem", "cert": "cert.pem", "key": "key.pem"} if certificates else {}
        host = self._docker.env.get("DOCKER_HOST", "unix:///var/run/docker.sock")
        return ",".join([f"host={host}", *(f"{name}={certificates}/{file}" for name, file in files.items())])

    @property
    def _builder_options(self) -> tuple[str, ...]:
        """What a builder is made with; it speaks plain HTTP to a registry that is not on its loopback."""
        config = self._folder / "buildkitd.toml"
        config.write_text(f'[registry."{self._docker.registry}"]\nhttp = true\n')
        return (*self._docker.buildx_options, "--buildkitd-config", str(config))

    def _timed(self, *words: str) -> float:
        """Run docker; how many seconds that took."""
        started = time.perf_counter()
        self._docker.docker(*words)
        return time.perf_counter() - started


def _builder_name() -> str:
    return f"benchmark-{uuid.uuid4().hex[:10]}"


def copy_cache(source: Path, target: Path) -> None:
    """Copy a cache's folder as quickly as a CI that has it unpacked already.

    Blobs are linked: nobody writes into one, as exports make a new file and rename it, and a sweep only unlinks. The
    rest is copied: an export rewrites ``index.json`` in place.
    """
    shutil.copytree(source, target, copy_function=lambda old, new: _copy(Path(old), Path(new)))


def _copy(source: Path, target: Path) -> None:
    if source.parent.parent.name == "blobs":
        os.link(source, target)
    else:
        shutil.copy2(source, target)


def _replace(word: str, values: Mapping[str, str]) -> str:
    for name, value in values.items():
        word = word.replace(name, value)
    return word
