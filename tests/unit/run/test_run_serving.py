"""What becomes of a folder that is served, by a server that only counts; the real one is in ``tests/integration``."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

import jsonschema
import pytest

from buildx_cache.caches.entry import CacheEntry
from buildx_cache.ci import CIContext
from buildx_cache.errors import ExhaustedError
from buildx_cache.plan import BuildInvocation, BuildPlan
from buildx_cache.report import BuildReport, LazyReport, report_schema
from buildx_cache.run import execute
from buildx_cache.run.recovery import lazy, lazy_export
from buildx_cache.serve import Pushed, Received, Requests, Served, peers
from tests.unit.layout.damages import flip_bit
from tests.unit.layout.layouts import Layout
from tests.unit.run.calls import APP, CI, FACTS, MADE, FakeEngine, RecordingDisplay, planned, planned_for, said, vertex

SECRET = "5ec7e7" * 5 + "ab"
REPOSITORY = "127.0.0.1:4711/buildx-cache"
REFERENCE = f"{REPOSITORY}:{SECRET}"
WRITE_SECRET = "0ff1ce" * 5 + "ab"
WRITTEN = f"127.0.0.1:4712/buildx-cache/{WRITE_SECRET}:cache"
PLACE = f"http://127.0.0.1:4712/v2/buildx-cache/{WRITE_SECRET}"
ROOT = "sha256:" + "5e" * 32
PUSHED = Pushed(requests=9, blobs=3, bytes=4711, manifests=1)
READ = Requests(manifests=1, blobs=2, bytes=4711)
WHY = "the builder shares this host's network"
REFUSED = f'failed to do request: Head "http://127.0.0.1:4711/v2/buildx-cache/manifests/{SECRET}": connection refused'
IMPORTED = {**vertex(f"importing cache manifest from {REFERENCE}"), "digest": "sha256:import"}


@dataclass(kw_only=True)
class FakeServer:
    """Stands in for ``serve``: remembers what it served, and which servers are open."""

    address: str = ""
    folders: list[Path] = field(default_factory=list)
    open: int = 0
    requests: Requests = READ
    fails: bool = False

    @contextmanager
    def __call__(self, folder: Path, *, address: str) -> Iterator[Served]:
        if self.fails:
            raise ExhaustedError(f"the cache cannot be served on {address}: no", hint="")
        self.address = address
        self.folders.append(folder)
        self.open += 1
        repository = REPOSITORY.replace("127.0.0.1", address)
        yield Served(
            repository=repository,
            port=4711,
            tags={"latest": SECRET},
            manifests=frozenset({ROOT}),
            count=lambda: self.requests,
        )
        self.open -= 1


@dataclass(kw_only=True)
class FakeReceiver:
    """Stands in for ``receive``: remembers what could be written, and whether it can be still."""

    tags: list[tuple[Path, str]] = field(default_factory=list)
    open: int = 0
    pushed: Pushed = PUSHED
    holds: bool = True
    taken_back: int = 0

    def take_back(self) -> None:
        self.taken_back += 1

    @contextmanager
    def __call__(self, folder: Path, *, tag: str, address: str, log: Callable[[str], None]) -> Iterator[Received]:
        self.tags.append((folder, tag))
        self.open += 1
        log("PUT manifests/cache: no")
        reference = WRITTEN.replace("127.0.0.1", address)
        yield Received(
            reference=reference,
            port=4712,
            count=lambda: self.pushed,
            holds=lambda told: self.holds and ROOT in told,
            take_back=self.take_back,
        )
        self.open -= 1


@pytest.fixture(autouse=True)
def receiver(monkeypatch: pytest.MonkeyPatch) -> FakeReceiver:
    fake = FakeReceiver()
    monkeypatch.setattr(lazy_export, "receive", fake)
    return fake


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> FakeServer:
    fake = FakeServer()
    monkeypatch.setattr(lazy, "serve", fake)
    return fake


@pytest.fixture
def folder(tmp_path: Path) -> Layout:
    layout = Layout(tmp_path / "cache")
    layout.tag("latest", layout.cache([b"one", b"two", b"three"]))
    layout.write_index()
    return layout


def plan_of(folder: Layout, ci: CIContext = CI, **asked: object) -> BuildPlan:
    fixed = {"tag": [APP], "push": True, "cache": "local", "driver_opt": ["network=host"]}
    return planned_for(ci, FACTS, **{**fixed, "cache_dir": str(folder.folder), **asked})


Ran = tuple[BuildReport, FakeEngine, RecordingDisplay]


def run(plan: BuildPlan, *builds: tuple[bytes, int], **more: object) -> Ran:
    engine = FakeEngine(builds=list(builds), **more)  # type: ignore[arg-type]
    display = RecordingDisplay()
    report = execute(plan, engine, display, CI).report
    jsonschema.validate(json.loads(report.to_json()), report_schema())
    assert engine.builds == []
    return report, engine, display


def imports(engine: FakeEngine) -> list[list[str]]:
    """The sources of each build as the engine was given it."""
    lines = [what.argv for act, what in engine.acts if act == "build" and isinstance(what, BuildInvocation)]
    return [[word for before, word in pairwise(line) if before == "--cache-from"] for line in lines]


def test_buildkit_is_given_the_server_and_everybody_else_the_folder(server: FakeServer, folder: Layout) -> None:
    report, engine, display = run(plan_of(folder), (said(IMPORTED) + MADE, 0))

    assert imports(engine) == [[f"type=registry,ref={REFERENCE}"]]
    assert server.folders == [folder.folder]
    assert server.open == 0
    assert report.cache.lazy == LazyReport(used=True, why=WHY, bytes=4711, exported=True)
    assert report.cache.imports[0].status == "miss"
    assert report.retries == ()
    assert f"lazy: BuildKit reads {folder.folder} through a registry in this program: {WHY}" in display.said
    told = json.dumps([report.to_json(), display.said, display.warned, display.commands, repr(display.events)])
    assert SECRET not in told
    assert REPOSITORY not in told
    assert WRITE_SECRET not in told
    assert f"importing cache manifest from the folder {folder.folder}" in repr(display.events)


def test_on_a_network_of_its_own_a_builder_finds_the_server_at_the_gateway(server: FakeServer, folder: Layout) -> None:
    plan = plan_of(folder, driver_opt=["network=builds"])
    report, engine, _ = run(plan, (MADE, 0), gateways={"builds": "172.20.0.1"})
    reference = REFERENCE.replace("127.0.0.1", "172.20.0.1")
    assert server.address == "172.20.0.1"
    assert imports(engine) == [[f"type=registry,ref={reference},registry.insecure=true"]]
    assert report.cache.lazy
    assert report.cache.lazy.used


@pytest.mark.parametrize("provider", ["circleci", "none"])
@pytest.mark.parametrize("neighbours", [(), ("buildx_buildkit_other0",)])
def test_in_a_ci_a_network_that_others_share_is_not_used(
    server: FakeServer, folder: Layout, provider: str, neighbours: tuple[str, ...]
) -> None:
    """A step of a fork's builder could stand between a builder and the server, which speaks plain HTTP."""
    ci = replace(CI, provider=provider)
    plan = plan_of(folder, driver_opt=["network=builds"], ci=ci)
    own = f"buildx_buildkit_{plan.builder.name}0"
    gateways = {"builds": "172.20.0.1"}
    report, engine, _ = run(plan, (MADE, 0), gateways=gateways, neighbours=(own, *neighbours), tunnels=815)
    is_detour = bool(neighbours) and ci.is_ci
    assert server.address == ("127.0.0.1" if is_detour else "172.20.0.1")
    assert (("tunnel", f"{own} 4711 4712") in engine.acts) is is_detour
    assert report.cache.lazy
    assert ("others are on" in report.cache.lazy.why) is is_detour
    there = REFERENCE.replace("4711", "815")
    assert (imports(engine) == [[f"type=registry,ref={there}"]]) is is_detour


def test_without_a_tunnel_a_network_that_others_share_is_not_used_either(server: FakeServer, folder: Layout) -> None:
    plan = plan_of(folder, driver_opt=["network=builds"])
    report, engine, _ = run(plan, (MADE, 0), gateways={"builds": "172.20.0.1"}, neighbours=("other",))
    assert imports(engine) == [[str(entry) for entry in plan.cache.imports]]
    assert exports(engine) == [[str(entry) for entry in plan.cache.exports]]
    assert server.open == 0
    assert report.cache.lazy
    assert not report.cache.lazy.used


def test_a_builder_elsewhere_finds_the_server_at_the_end_of_a_tunnel(server: FakeServer, folder: Layout) -> None:
    there = REFERENCE.replace("4711", "815")
    imported = {**IMPORTED, "name": f"importing cache manifest from {there}"}
    plan = plan_of(folder, driver_opt=["network=none"])
    report, engine, display = run(plan, (said(imported) + MADE, 0), tunnels=815)
    assert server.address == "127.0.0.1"
    assert imports(engine) == [[f"type=registry,ref={there}"]]
    assert engine.order == ["run create", "tunnel", "build", "tunnel ends"]
    assert ("tunnel", f"buildx_buildkit_{plan.builder.name}0 4711 4712") in engine.acts
    assert exports(engine) == [[SENT.replace("4712", "815")]]
    assert report.cache.lazy == LazyReport(used=True, why=plan.cache.serving.why, bytes=4711, exported=True)
    told = json.dumps([report.to_json(), display.said, display.warned, display.commands, repr(display.events)])
    assert "815" not in told
    assert f"importing cache manifest from the folder {folder.folder}" in repr(display.events)


def test_without_a_tunnel_the_folder_is_imported_which_is_said_once(server: FakeServer, folder: Layout) -> None:
    server.requests = Requests()
    plan = plan_of(folder, driver_opt=["network=none"])
    report, engine, display = run(plan, (MADE, 0))
    assert imports(engine) == [[str(entry) for entry in plan.cache.imports]]
    assert report.cache.lazy == LazyReport(used=False, why="the builder's image has no ssh server")
    assert [line for line in display.said if "ssh server" in line] == [
        "a local cache is imported whole: the builder's image has no ssh server; use another"
    ]
    assert report.warnings == ()
    assert server.open == 0


def test_a_tunnel_that_ends_in_the_middle_costs_no_cache(server: FakeServer, folder: Layout) -> None:
    refused = REFUSED.replace("4711", "815")
    there = REFERENCE.replace("4711", "815")
    failed = {**IMPORTED, "name": f"importing cache manifest from {there}", "error": refused}
    plan = plan_of(folder, driver_opt=["network=none"])
    report, engine, display = run(plan, (said(failed), 0), (MADE, 0), tunnels=815)
    assert imports(engine)[1] == [f"type=local,src={folder.folder}"]
    assert report.status == "success"
    assert "is imported whole" in display.warned[0]
    assert "815" not in json.dumps([report.to_json(), display.warned, repr(display.events)])
    assert server.open == 0


def _no_gateway(_: FakeServer, folder: Layout) -> BuildPlan:
    return plan_of(folder, driver_opt=["network=builds"])


def _no_port(server: FakeServer, folder: Layout) -> BuildPlan:
    server.fails = True
    return plan_of(folder)


def _no_cache(_: FakeServer, folder: Layout) -> BuildPlan:
    return plan_of(folder, cache_dir=str(folder.folder.parent / "other"))


def _off(_: FakeServer, folder: Layout) -> BuildPlan:
    return plan_of(folder, lazy="off")


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (_no_gateway, "Docker's network 'builds' has no gateway"),
        (_no_port, "the cache cannot be served on 127.0.0.1: no"),
        (_no_cache, "there is no cache to read yet"),
        (_off, "--lazy off"),
    ],
)
def test_what_is_not_served_is_imported_as_it_is(
    server: FakeServer, folder: Layout, make: Callable[[FakeServer, Layout], BuildPlan], why: str
) -> None:
    plan = make(server, folder)
    report, engine, _ = run(plan, (MADE, 0))
    assert imports(engine) == [[str(entry) for entry in plan.cache.imports]]
    assert report.cache.lazy
    assert (report.cache.lazy.used, report.cache.lazy.why) == (False, why)


def test_a_call_without_a_local_cache_says_nothing_of_it(server: FakeServer) -> None:
    report, _, _ = run(planned(tag=[APP], push=True), (MADE, 0))
    assert report.cache.lazy is None
    assert server.folders == []


def test_a_server_out_of_reach_ends_the_build_at_once_and_the_next_imports_the_folder(
    server: FakeServer, folder: Layout
) -> None:
    refused = vertex(f"importing cache manifest from {REFERENCE}", error=REFUSED)
    cold = vertex("[build 2/2] RUN never-seen")
    opened: list[int] = []

    report, engine, display = run(
        plan_of(folder), (said(refused, cold), 0), (MADE, 0), deeds=[lambda: None, lambda: opened.append(server.open)]
    )

    assert imports(engine) == [[f"type=registry,ref={REFERENCE}"], [f"type=local,src={folder.folder}"]]
    assert opened == [0]
    assert "never-seen" not in repr(display.events)
    assert display.restarts == 1
    assert [retry.phase for retry in report.retries] == ["build"]
    assert report.cache.lazy
    assert not report.cache.lazy.used
    assert f'Head "{folder.folder}/manifests/latest": connection refused' in report.cache.lazy.why
    assert "is imported whole" in display.warned[0]


def test_a_server_of_which_nothing_is_asked_for_too_long_counts_as_out_of_reach(
    server: FakeServer, folder: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lazy, "SILENCE_SECONDS", -1.0)
    server.requests = Requests()
    began = {**vertex(f"importing cache manifest from {REFERENCE}"), "completed": None}
    report, engine, _ = run(plan_of(folder), (said(began, vertex("waits")), 0), (MADE, 0))
    assert len(imports(engine)) == 2
    assert report.cache.lazy
    assert report.cache.lazy.why.endswith("nothing reaches 127.0.0.1:4711")


@pytest.mark.parametrize("requests", [Requests(manifests=1), Requests(blobs=1)])
def test_a_slow_import_is_waited_for(
    server: FakeServer, folder: Layout, requests: Requests, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lazy, "SILENCE_SECONDS", -1.0)
    server.requests = requests
    began = {**vertex(f"importing cache manifest from {REFERENCE}"), "completed": None}
    report, engine, _ = run(plan_of(folder), (said(began, IMPORTED) + MADE, 0))
    assert len(imports(engine)) == 1
    assert report.cache.lazy
    assert report.cache.lazy.used


def broken(folder: Layout, scheme: str = "http") -> bytes:
    digest = str(folder.put(b"two")["digest"])
    url = f"{scheme}://127.0.0.1:4711/v2/buildx-cache/blobs/{digest}"
    error = f'failed to copy: httpReadSeeker: failed open: failed to do request: Get "{url}": connection refused'
    failed = vertex("[build 2/2] RUN make", error=error)
    return said(IMPORTED, failed, text=f"ERROR: failed to build: failed to solve: {error}\n")


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_server_that_ends_in_the_middle_costs_no_cache(server: FakeServer, folder: Layout, scheme: str) -> None:
    report, engine, display = run(plan_of(folder), (broken(folder, scheme), 1), (MADE, 0))
    assert imports(engine)[1] == [f"type=local,src={folder.folder}"]
    assert report.status == "success"
    assert "is imported whole" in display.warned[0]
    assert server.open == 0


@pytest.mark.usefixtures("server")
def test_a_damaged_folder_is_mended_and_not_imported_again(folder: Layout) -> None:
    stream = broken(folder)
    flip_bit(folder.path(str(folder.put(b"two")["digest"])))
    report, engine, _ = run(plan_of(folder), (stream, 1), (MADE, 0))
    assert imports(engine)[1] == []
    assert report.cache.imports[0].status == "corrupt"


def test_an_import_that_another_failure_cancels_is_no_failure_of_the_server(server: FakeServer, folder: Layout) -> None:
    cancelled = {**IMPORTED, "error": "failed to configure registry cache importer: context canceled"}
    error = "docker.io/library/absent:1: not found"
    failed = said(cancelled, vertex("[internal] load metadata", error=error), text=f"ERROR: failed to solve: {error}\n")
    report, engine, _ = run(plan_of(folder), (failed, 1))
    assert len(imports(engine)) == 1
    assert report.retries == ()
    assert server.open == 0


def test_all_folders_of_which_nothing_is_asked_are_given_up_at_once(
    server: FakeServer, folder: Layout, tmp_path: Path
) -> None:
    other = Layout(tmp_path / "other")
    other.tag("latest", other.cache([b"four"]))
    other.write_index()
    server.requests = Requests()
    refused = vertex(f"importing cache manifest from {REFERENCE}", error=REFUSED)
    plan = plan_of(folder, cache_from=[f"type=local,src={other.folder}"])
    report, engine, _ = run(plan, (said(refused), 0), (MADE, 0))
    assert imports(engine)[1] == [str(entry) for entry in plan.cache.imports]
    assert len(report.retries) == 1


@pytest.mark.parametrize(("digest", "is_served"), [(ROOT, True), ("sha256:" + "0" * 64, False)])
def test_a_manifest_is_served_by_its_digest_if_it_is_there(
    server: FakeServer, folder: Layout, digest: str, *, is_served: bool
) -> None:
    entry = f"type=local,src={folder.folder},digest={digest}"
    lost = f"content {digest}: not found"
    stream = said(IMPORTED, vertex("[1/1] RUN x", error=f"failed to compute cache key: {lost}"))
    plan = plan_of(folder, cache="none", cache_from=[entry])
    report, engine, _ = run(plan, (stream, 1))
    reference = f"type=registry,ref={REPOSITORY}@{digest}"
    assert imports(engine)[0] == [reference if is_served else entry]
    assert server.folders == [folder.folder]
    assert lost in report.steps[0].error
    assert report.cache.lazy
    assert report.cache.lazy.used is is_served


@pytest.mark.usefixtures("server")
def test_another_failure_is_none_of_the_server(folder: Layout) -> None:
    error = 'process "make" did not complete successfully: exit code: 2'
    failed = said(IMPORTED, vertex("[build 2/2] RUN make", error=error), text=f"ERROR: failed to solve: {error}\n")
    report, engine, _ = run(plan_of(folder), (failed, 1))
    assert len(imports(engine)) == 1
    assert report.exit_code == 1


# --- exports ---


def exports(engine: FakeEngine) -> list[list[str]]:
    """The targets of each build as the engine was given it, a linked folder by the name of its cache folder."""
    return [[str(entry) for entry in build.exports] for build in engine.built]


def exporting(error: str = "") -> dict[str, object]:
    return {**vertex("exporting cache to registry", error=error), "digest": "sha256:export"}


SENT = f"type=registry,ref={WRITTEN},mode=max,ignore-error=true"
REFUSED_PUSH = f'error writing layer blob: failed to do request: Head "{PLACE}/blobs/sha256:1": connection refused'


@pytest.mark.usefixtures("server")
def test_buildkit_writes_to_the_server_and_everybody_else_is_told_of_the_folder(
    receiver: FakeReceiver, folder: Layout
) -> None:
    plan = plan_of(folder)
    report, engine, display = run(plan, (said(IMPORTED, exporting()) + MADE, 0))

    assert exports(engine) == [[SENT]]
    assert receiver.tags == [(folder.folder, "latest")]
    assert receiver.open == 0
    assert report.cache.lazy
    assert report.cache.lazy.exported
    assert (report.cache.exports[0].type, report.cache.exports[0].status) == ("local", "unchanged")
    told = json.dumps([report.to_json(), display.said, display.warned, display.commands, repr(display.events)])
    assert WRITE_SECRET not in told
    assert "4712" not in told
    assert "exporting cache to client directory" in repr(display.events)
    assert any("the cache folder refused PUT manifests/cache: no" in line for line in display.said)


def test_a_cache_that_is_not_there_yet_is_written_so_too(receiver: FakeReceiver, tmp_path: Path) -> None:
    report, engine, _ = run(plan_of(Layout(tmp_path / "x"), cache_dir=str(tmp_path / "new")), (MADE, 0))
    assert exports(engine) == [[SENT]]
    assert receiver.tags == [(tmp_path / "new", "latest")]
    assert report.cache.lazy
    assert (report.cache.lazy.used, report.cache.lazy.exported) == (False, True)


def test_attributes_of_the_export_stay(folder: Layout, server: FakeServer) -> None:
    entry = f"type=local,dest={folder.folder},tag=x,image-manifest=false,compression=zstd,mode=min,ignore-error=false"
    _, engine, _ = run(plan_of(folder, cache="none", cache_to=[entry]), (MADE, 0))
    kept = "image-manifest=false,compression=zstd,mode=min,ignore-error=true"
    assert exports(engine) == [[f"type=registry,ref={WRITTEN},{kept}"]]
    assert server.folders == []


def _beside_a_registry(folder: Layout) -> BuildPlan:
    return plan_of(folder, cache_to=["type=registry,ref=registry.example.com/cache"])


def _two_folders(folder: Layout) -> BuildPlan:
    return plan_of(folder, cache_to=[f"type=local,dest={folder.folder.parent / 'other'}"])


def _reset(folder: Layout) -> BuildPlan:
    return plan_of(folder, cache="none", cache_to=[f"type=local,dest={folder.folder},reset=true"])


def _raw_flags(folder: Layout) -> BuildPlan:
    return plan_of(folder, buildx_flags=["--annotation", "a=b"])


def _lazy_off(folder: Layout) -> BuildPlan:
    return plan_of(folder, lazy="off")


@pytest.mark.usefixtures("server")
def test_where_no_kernel_tells_users_apart_nothing_is_taken(
    receiver: FakeReceiver, folder: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On macOS, any user can read the name in the arguments of Buildx."""
    monkeypatch.setattr(peers, "_TABLES", (folder.folder / "no-table",))
    plan = plan_of(folder)
    _, engine, _ = run(plan, (MADE, 0))
    assert exports(engine) == [[str(entry) for entry in plan.cache.exports]]
    assert receiver.tags == []
    assert not peers.may_write(("127.0.0.1", 4711), ("127.0.0.1", 4712))


def test_refusals_without_end_are_not_kept(folder: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    logs: list[Callable[[str], None]] = []

    @contextmanager
    def receive(_: Path, *, log: Callable[[str], None], **__: object) -> Iterator[Received]:
        logs.append(log)
        yield Received(reference=WRITTEN, port=4712, count=lambda: PUSHED, holds=lambda _: True, take_back=lambda: None)

    monkeypatch.setattr(lazy_export, "receive", receive)
    display = RecordingDisplay()
    found = lazy_export.LazyExports(tell=display)
    entry = CacheEntry(type="local", attributes=(("dest", str(folder.folder)),))
    found.start({entry: folder.folder}, (entry,), "127.0.0.1", "127.0.0.1")
    for number in range(1000):
        logs[0](f"PUT {number}")
    assert len(found._refusals) == 3
    found.close()
    assert len(display.said) == 3


@pytest.mark.usefixtures("server")
@pytest.mark.parametrize("make", [_beside_a_registry, _two_folders, _reset, _raw_flags, _lazy_off])
def test_what_cannot_be_told_apart_or_written_again_is_written_as_planned(
    receiver: FakeReceiver, folder: Layout, make: Callable[[Layout], BuildPlan]
) -> None:
    plan = make(folder)
    report, engine, _ = run(plan, (MADE, 0))
    assert exports(engine) == [[str(entry) for entry in plan.cache.exports]]
    assert receiver.tags == []
    assert report.cache.lazy
    assert not report.cache.lazy.exported


@pytest.mark.usefixtures("server")
@pytest.mark.parametrize("strict", [False, True])
def test_what_cannot_be_sent_is_written_as_planned(receiver: FakeReceiver, folder: Layout, *, strict: bool) -> None:
    plan = plan_of(folder, strict_cache=strict)
    written = {**vertex("exporting cache to client directory"), "digest": "sha256:again"}
    report, engine, display = run(plan, (said(IMPORTED, exporting(REFUSED_PUSH)) + MADE, 0), (said(written), 0))
    assert exports(engine) == [[SENT], [str(entry) for entry in plan.cache.exports]]
    assert imports(engine)[1] == imports(engine)[0]
    assert receiver.open == 0
    assert report.status == "success"
    assert report.cache.exports[0].status == "unchanged"
    assert [retry.phase for retry in report.retries] == ["export"]
    assert report.cache.lazy
    assert (report.cache.lazy.used, report.cache.lazy.exported) == (True, False)
    assert "is written by BuildKit's session" in display.warned[0]
    assert "4712" not in json.dumps([report.to_json(), display.warned])


@pytest.mark.usefixtures("server")
@pytest.mark.parametrize("holds", [True, False])
def test_what_is_not_what_buildkit_says_it_wrote_is_written_as_planned(
    receiver: FakeReceiver, folder: Layout, *, holds: bool
) -> None:
    """BuildKit tells by Docker's API what it wrote; another client may have learnt the name, and written, too."""
    receiver.holds = holds
    opened: list[int] = []
    told = {"statuses": [{"id": f"writing cache image manifest {ROOT}", "vertex": "sha256:export"}]}
    written = {**vertex("exporting cache to client directory"), "digest": "sha256:again"}
    stream = said(IMPORTED, exporting()) + json.dumps(told).encode() + b"\n" + MADE
    again = () if holds else ((said(written), 0),)
    plan = plan_of(folder)
    report, engine, display = run(plan, (stream, 0), *again, deeds=[lambda: None, lambda: opened.append(receiver.open)])
    assert exports(engine) == [[SENT], *([str(entry) for entry in plan.cache.exports] for _ in again)]
    assert opened == [0 for _ in again]
    assert report.cache.lazy
    assert report.cache.lazy.exported is holds
    assert bool(display.warned) is not holds
    assert receiver.taken_back == (0 if holds else 1)
    assert "4712" not in json.dumps([report.to_json(), display.warned])


@pytest.mark.usefixtures("server")
@pytest.mark.parametrize("came", [0, 1])
@pytest.mark.parametrize("told", [True, False])
def test_what_came_in_a_build_that_failed_stays_only_if_buildkit_wrote_it(
    receiver: FakeReceiver, folder: Layout, *, came: int, told: bool
) -> None:
    """The attack: another client pushes, and holds up BuildKit until the call is stopped."""
    receiver.pushed = replace(PUSHED, manifests=came)
    status = f"writing cache image manifest {ROOT}" if told else "preparing build cache for export"
    began = {"vertexes": [{**exporting(), "completed": None}], "statuses": [{"id": status, "vertex": "sha256:export"}]}
    stream = said(IMPORTED) + json.dumps(began).encode() + b"\n"
    report, _, _ = run(plan_of(folder), (stream, 1))
    assert report.status == "failed"
    assert receiver.taken_back == (came if not told else 0)


@pytest.mark.usefixtures("server")
def test_a_full_folder_is_no_reason_to_trust_what_came(receiver: FakeReceiver, folder: Layout) -> None:
    receiver.pushed, receiver.holds = replace(PUSHED, failure="No space left on device"), False
    told = {"statuses": [{"id": f"writing cache image manifest {ROOT}", "vertex": "sha256:export"}]}
    stream = said(IMPORTED, exporting()) + json.dumps(told).encode() + b"\n" + MADE
    written = {**vertex("exporting cache to client directory"), "digest": "sha256:again"}
    _, engine, _ = run(plan_of(folder), (stream, 0), (said(written), 0))
    assert len(exports(engine)) == 2
    assert receiver.taken_back == 1


@pytest.mark.usefixtures("server")
def test_a_folder_that_cannot_be_written_is_not_written_again(receiver: FakeReceiver, folder: Layout) -> None:
    receiver.pushed = Pushed(requests=9, failure="No space left on device")
    error = f"error writing layer blob: unexpected status from PUT request to {PLACE}/blobs/uploads/1: 413 Too Large"
    report, engine, display = run(plan_of(folder), (said(IMPORTED, exporting(error)) + MADE, 0))
    assert len(exports(engine)) == 1
    assert report.cache.exports[0].status == "failed"
    assert report.cache.exports[0].detail.startswith("full: ")
    assert str(folder.folder) in display.warned[0]


@pytest.mark.usefixtures("server")
def test_an_export_of_which_nothing_arrives_is_written_as_planned(
    receiver: FakeReceiver, folder: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lazy_export, "SILENCE_SECONDS", -1.0)
    receiver.pushed = Pushed()
    began = {**exporting(), "completed": None}
    sending = {"vertexes": [began], "statuses": [{"id": "writing layer sha256:1", "vertex": "sha256:export"}]}
    plan = plan_of(folder)
    report, engine, _ = run(plan, (said(IMPORTED) + json.dumps(sending).encode() + b"\n", 0), (MADE, 0))
    assert exports(engine) == [[SENT], [str(entry) for entry in plan.cache.exports]]
    assert report.cache.lazy
    assert not report.cache.lazy.exported


@pytest.mark.usefixtures("server")
def test_an_import_that_gets_nothing_here_has_the_export_written_as_planned_too(
    server: FakeServer, folder: Layout
) -> None:
    server.requests = Requests()
    refused = vertex(f"importing cache manifest from {REFERENCE}", error=REFUSED)
    plan = plan_of(folder)
    _, engine, _ = run(plan, (said(refused), 0), (MADE, 0))
    assert exports(engine) == [[SENT], [str(entry) for entry in plan.cache.exports]]
