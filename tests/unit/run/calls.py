"""Calls without a Docker: an engine that does nothing and remembers it, and what builds say."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import signal
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, cast

import jsonschema

from buildx_cache import layout
from buildx_cache.buildkit.events import Event
from buildx_cache.buildkit.trace import BuildTrace
from buildx_cache.caches.entry import CacheEntry
from buildx_cache.ci import CIContext
from buildx_cache.errors import BuildxCacheError, ExhaustedError, InterruptedBuildError
from buildx_cache.plan import (
    Builder,
    BuildInvocation,
    BuildPlan,
    Container,
    Effect,
    Facts,
    ImageStore,
    Node,
    Output,
    Place,
    Pods,
    TlsEndpoint,
    make_plan,
)
from buildx_cache.plan.effects import LoadImage
from buildx_cache.plan.facts import Bridge
from buildx_cache.plan.render import command_line
from buildx_cache.redaction import Secret
from buildx_cache.reference import Reference
from buildx_cache.report import BuildReport, report_schema
from buildx_cache.request.sources import OptionLayer, make_request
from buildx_cache.run import Outcome, Secrets, execute

SHA = "83a20ec058e2fb00e7fa4558c4c6e81e2dcf253d"
APP = "registry.example.com/app:1"
DIGEST = "sha256:" + "ab" * 32
CI = CIContext(
    provider="circleci",
    sha=SHA,
    branch="main",
    tag=None,
    pull_request=None,
    target_branch=None,
    default_branch="main",
    build=None,
)
FLEET = Builder(
    name="fleet", driver="remote", nodes=(Node(name="a", status="running"), Node(name="b", status="running"))
)
CURRENT = Builder(name="current", driver="docker-container", nodes=(Node(name="a", status="running"),))
FACTS = Facts(
    docker="28.5.2",
    buildx=(0, 29, 1),
    store=ImageStore.CLASSIC,
    context="default",
    place=Place(project="app", cache_dir="/nowhere", today="2025-11-24"),
    builder=Builder(name="default", driver="docker", nodes=(Node(name="default", status="running"),)),
)
STOPPED_OWN = replace(FACTS, own_builder=replace(CURRENT, nodes=(Node(name="a", status="stopped"),)))
TLS = replace(FACTS, tls=TlsEndpoint(host="tcp://10.0.0.5:2376", cert_path="/certs"))


def planned(facts: Facts = FACTS, /, **asked: object) -> BuildPlan:
    return planned_for(CI, facts, **asked)


def planned_for(ci: CIContext, facts: Facts, /, **asked: object) -> BuildPlan:
    values = {"cache": "none", "driver": "docker-container", "prune": False, **asked}
    if facts.builder and facts.builder.name != "default":
        del values["driver"]
    return make_plan(make_request([OptionLayer(where="--{name}", values=values)]), ci, facts)


# --- what a build says -------------------------------------------------------------------------------------


def said(*vertices: Mapping[str, object], text: str = "") -> bytes:
    return "".join(json.dumps({"vertexes": [each]}) + "\n" for each in vertices).encode() + text.encode()


def vertex(name: str, *, cached: bool = False, error: str = "", seconds: float = 2.5) -> dict[str, object]:
    times = {"started": "2025-11-24T04:30:00Z", "completed": f"2025-11-24T04:30:{seconds:06.3f}Z"}
    return {"digest": f"sha256:{name}", "name": name, "cached": cached, "error": error, **times}


MADE = said(vertex("[build 1/2] FROM scratch", cached=True), vertex("[build 2/2] RUN make"))
EXIT_2 = 'process "/bin/sh -c make" did not complete successfully: exit code: 2'
BROKEN = said(vertex("[build 2/2] RUN make", error=EXIT_2), text=f"ERROR: failed to solve: {EXIT_2}\n")


@dataclass(frozen=True, kw_only=True)
class Ended:
    code: int = 0
    stderr: str = ""


Act = tuple[str, object]
CACHE_ONLY = (Output(spec="type=cacheonly"),)


@dataclass(kw_only=True)
class FakeEngine:
    """Does nothing and remembers it; ``ends`` are the ends of short commands, by a word in them.

    ``deeds`` are what builds do beside talking, one each. Then each build copies the cache of a cache folder into its
    linked folder, as Buildx would export it, with the blobs ``unindexed`` (digests). With ``stays``, the last of
    ``builds`` is how all others end.
    """

    ends: Mapping[str, Ended] = field(default_factory=dict)
    builds: list[tuple[bytes, int]] = field(default_factory=lambda: [(MADE, 0)])
    metadata: object = field(default_factory=lambda: {"containerimage.digest": DIGEST})
    images: list[str] = field(default_factory=list)
    stays: bool = False
    deeds: Sequence[Callable[[], object]] = ()
    interrupt: str = ""
    acts: list[Act] = field(default_factory=list)
    gateways: Mapping[str, str] = field(default_factory=dict)
    neighbours: Collection[str] = ()
    tunnels: int | None = None
    fed: list[bytes] = field(default_factory=list)
    slept: list[float] = field(default_factory=list)
    stored: bool = False
    digests: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    refusals: Mapping[str, str] = field(default_factory=dict)
    newest: Mapping[str, float] = field(default_factory=dict)
    archive: bytes = b""
    unindexed: Collection[str] = ()

    @property
    def calls(self) -> int:
        return len(self.acts)

    def bridge(self, network: str) -> Bridge:
        self.acts.append(("bridge", network))
        return Bridge(gateway=self.gateways.get(network, ""), containers=frozenset(self.neighbours))

    @contextlib.contextmanager
    def tunnel(self, ends: Sequence[Container | Pods], ports: Sequence[int]) -> Iterator[Mapping[int, int]]:
        names = " ".join(end.name if isinstance(end, Container) else end.builder for end in ends)
        self.acts.append(("tunnel", " ".join([names, *map(str, ports)])))
        if self.tunnels is None:
            raise ExhaustedError("the builder's image has no ssh server", code="tunnel-sshd-absent", hint="use another")
        yield dict.fromkeys(ports, self.tunnels)
        self.acts.append(("tunnel ends", names))

    def perform(self, effect: Effect, *, password: bytes = b"") -> Ended:
        line = " ".join(effect.argv)
        self.acts.append((f"run <{password.decode()}" if password else "run", effect))
        if self.interrupt in effect.argv:
            self.interrupt = ""  # further ones are ignored
            raise InterruptedBuildError(signal.SIGINT)
        return next((end for word, end in self.ends.items() if word in line), Ended())

    def load_image(self, effect: LoadImage, write: Callable[[IO[bytes]], None]) -> Ended:
        archive = io.BytesIO()
        write(archive)
        self.fed.append(archive.getvalue())
        return self.perform(effect)

    def build(
        self, build: BuildInvocation, on_stderr: Callable[[bytes], None], on_interrupt: Callable[[], None]
    ) -> int:
        for deed in self.deeds[len(self.built) :][:1]:
            deed()
        self.acts.append(("build", build))
        for linked in filter(None, map(linked_folder, build.exports)):
            _export(linked, self.unindexed)
        stream, code = self.builds.pop(0) if len(self.builds) > 1 or not self.stays else self.builds[0]
        for start in range(0, len(stream), 50):
            on_stderr(stream[start : start + 50])
            on_stderr(b"")  # silence
        if self.interrupt == "build":
            on_interrupt()
            raise InterruptedBuildError(signal.SIGTERM)
        if "--metadata-file" in build.argv and code == 0:
            path = Path(build.argv[build.argv.index("--metadata-file") + 1])
            path.write_text(json.dumps(self.metadata) if not isinstance(self.metadata, str) else self.metadata)
        return code

    @contextlib.contextmanager
    def credentials(self, registry: str) -> Iterator[None]:
        self.acts.append(("credentials", registry))
        try:
            yield
        finally:
            self.acts.append(("forgotten", registry))

    def has_login(self, registry: str) -> bool:
        self.acts.append(("has_login", registry))
        return self.stored

    def push_refusal(self, repository: Reference) -> str:
        return self.refusals.get(str(repository), "")

    def newest_step(self, cache: Reference) -> float | None:
        return self.newest.get(str(cache))

    def image_digests(self, name: str) -> tuple[str, ...] | None:
        self.acts.append(("image_digests", name))
        return self.digests.get(name)

    def save_image(self, name: str, archive: Path) -> str:
        self.acts.append(("save_image", name))
        archive.write_bytes(self.archive)
        return ""

    def image_id(self, tag: str) -> str:
        self.acts.append(("image_id", tag))
        return self.images.pop(0)

    def remember_loaded(self, image_id: str) -> None:
        self.acts.append(("loaded", image_id))

    def remove_replaced(self, image_id: str) -> bool:
        self.acts.append(("remove_replaced", image_id))
        return True

    @property
    def built(self) -> list[BuildInvocation]:
        """The builds that ran, without what this program adds to follow them."""
        return [planned_build(what) for _, what in self.acts if isinstance(what, BuildInvocation)]

    @property
    def order(self) -> list[str]:
        """What was done, in short."""
        return [_short(*act) for act in self.acts]


def _short(act: str, what: object) -> str:
    if isinstance(what, str | BuildInvocation):
        return act
    verbs = ("context", "create", "inspect", "login", "prune", "rm", "kill", "container", "volume")
    return " ".join(["run", *(word for word in cast("Effect", what).argv if word in verbs)])


@dataclass(kw_only=True)
class RecordingDisplay:
    said: list[str] = field(default_factory=list)
    warned: list[str] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    restarts: int = 0
    lock: threading.RLock = field(default_factory=threading.RLock)
    broken: BuildxCacheError | None = None
    every: float = 0.0

    def restart(self) -> None:
        self.restarts += 1

    def say(self, text: str) -> None:
        self.said.append(text)

    def warn(self, text: str) -> None:
        self.warned.append(text)

    def command(self, line: str) -> None:
        self.commands.append(line)

    def phase(self, name: str) -> None:
        """The report tells of phases."""

    def tick(self) -> None:
        raise AssertionError

    def close(self) -> None:
        raise AssertionError

    def result(self, line: str) -> None:
        raise AssertionError(line)

    def event(self, event: Event) -> None:
        self.events.append(event)

    def summary(self, report: BuildReport) -> None:
        raise AssertionError(report)

    def failure(self, error: BuildxCacheError, trace: BuildTrace | None) -> None:
        raise AssertionError(error, trace)


def done(plan: BuildPlan, engine: FakeEngine, *, password: str = "hunter2") -> tuple[Outcome, RecordingDisplay]:  # noqa: S107 -- the test's own
    display = RecordingDisplay()
    secrets = Secrets(password=Secret(password) if plan.login else None)
    outcome = execute(plan, engine, display, CI, secrets, engine.slept.append)
    jsonschema.validate(json.loads(outcome.report.to_json()), report_schema())
    assert outcome.report.commands == tuple(_ran(engine, plan))
    return outcome, display


def _ran(engine: FakeEngine, plan: BuildPlan) -> Iterator[tuple[str, ...]]:
    """The command lines that the engine was given, without what this program adds to follow a build."""
    for _, what in engine.acts:
        if isinstance(what, BuildInvocation):
            named = plan.target.build.metadata_file if what.metadata_file and what.outputs != CACHE_ONLY else ""
            build = planned_build(what, named)
            exports = tuple(_as_named(entry, plan) for entry in build.exports)
            yield command_line(plan, replace(build, exports=exports))
        elif not isinstance(what, str):
            yield command_line(plan, cast("Effect", what))


def linked_folder(entry: CacheEntry) -> Path | None:
    """The folder that Buildx gets in place of the planned one."""
    folder = Path(entry.folder)
    return folder if layout.is_linked(folder) else None


def _export(linked: Path, unindexed: Collection[str]) -> None:
    """Write the cache that is in the cache folder, as Buildx would."""
    index, blobs = linked.parent / "index.json", linked.parent / "blobs" / "sha256"
    if index.is_file():
        shutil.copy(index, linked)
        for digest in (*layout.reach(linked.parent).digests, *unindexed):
            there = linked / "blobs" / "sha256" / digest.removeprefix("sha256:")
            if (blobs / there.name).is_file() and not there.exists():
                shutil.copy2(blobs / there.name, there)


def planned_build(build: BuildInvocation, metadata_file: str = "") -> BuildInvocation:
    assert build.progress == "rawjson"
    linked = {entry: linked_folder(entry) for entry in build.exports}
    exports = tuple(entry.having("dest", str(there.parent)) if there else entry for entry, there in linked.items())
    return replace(build, progress="", metadata_file=metadata_file, exports=exports)


def _as_named(entry: CacheEntry, plan: BuildPlan) -> CacheEntry:
    """The export with its folder's name as it was given."""
    return next((each for each in plan.cache.written if each.folder and _is_same(each, entry)), entry)


def _is_same(one: CacheEntry, other: CacheEntry) -> bool:
    names = (os.path.realpath(one.folder), os.path.realpath(other.folder))
    return one.having("dest", names[0]) == other.having("dest", names[1])


def told(error: BuildxCacheError | None) -> tuple[type[BuildxCacheError], str, str]:
    assert error is not None
    return type(error), error.message, error.hint


def is_free(folder: Path) -> bool:
    """Whether nobody holds a cache folder."""
    try:
        with layout.lock(folder, timeout=0.0):
            return True
    except ExhaustedError:
        return False
