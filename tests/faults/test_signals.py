"""A call that is stopped at any moment, by any signal: the right exit code within seconds, and nothing is left.

Phases that are a command of Docker's are held by a `docker` on PATH that runs the real one and then waits; what
BuildKit does is held by a step that sleeps, and by a registry that takes requests and never answers.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import pytest

from buildx_cache import layout
from tests.faults.proxy import WRITE, Kind, Proxy, Rule, Stall
from tests.faults.watched import IMPATIENT
from tests.integration.conftest import Docker
from tests.integration.test_builders import tls_engine
from tests.selection import quick

__all__ = ["tls_engine"]

_SEED = 20261125
_KILLS = 50
_WAIT = 120.0  # seconds; what a held call waits for takes more than a thousand
_STEPS = "ARG BASE\nFROM ${{BASE}}\nCOPY word /word\nRUN echo begun; {work}\n"
_SHIM = """\
#!/bin/sh
case " $* " in
*" {words} "*)
    if ! [ -e {reached} ]; then
        {docker} "$@"
        code=$?
        touch {reached}
        sleep {nap}
        exit $code
    fi
    ;;
esac
exec {docker} "$@"
"""


@dataclass(frozen=True, kw_only=True)
class Phase:
    """Where a call is when the signal comes: in a docker command, in a step, or at a registry that does not answer."""

    command: str = ""
    says: str = ""
    rule: Rule | None = None
    words: tuple[str, ...] = ()
    """What it takes to get there, by the names of ``Scene.words``."""
    work: str = "true"
    shared: bool = False
    """Whether another build is in the cache's folder, which the sweep waits for."""
    earlier: bool = False
    """Whether a call that was killed has left its builder, which was not booted yet."""


def _stalled(*kinds: Kind, methods: frozenset[str] = frozenset({"GET", "HEAD"}), path: str = "") -> Rule:
    return Rule(act=Stall(), kinds=frozenset(kinds), methods=methods, path=path)


PHASES: Mapping[str, Phase] = {
    "context": Phase(command="context create", words=("TLS",)),
    "builder": Phase(command="buildx create"),
    "boot": Phase(command="buildx inspect --bootstrap", earlier=True),
    "login": Phase(command="login", words=("LOGIN",)),
    "import": Phase(rule=_stalled(Kind.TAG, path="/cache/"), words=("CACHE",)),
    "build": Phase(says="begun", work="sleep NAP"),
    "export": Phase(rule=_stalled(Kind.UPLOAD, methods=WRITE, path="/cache/"), words=("CACHE",)),
    "push": Phase(rule=_stalled(Kind.UPLOAD, methods=WRITE, path="/image/"), words=("PUSH",)),
    "sweep": Phase(shared=True),
    "load": Phase(command="image load", words=("LOAD",)),
    "prune": Phase(command="buildx prune", words=("PRUNE",)),
    "removal": Phase(command="buildx rm"),
}


class Scene:
    """One call, what holds it, and all that it may leave behind."""

    def __init__(self, docker: Docker, folder: Path, phase: Phase, proxy: Proxy, env: Mapping[str, str]) -> None:
        self.docker = docker
        self.phase = phase
        self.proxy = proxy
        self.more_env = env
        self.folder = folder
        self.name = uuid.uuid4().hex[:12]
        self.nap = f"{int(self.name, 16) % 100_000 + 1000}"
        self.context, self.cache = folder / "context", folder / "cache"
        self.report, self.log, self.reached = folder / "report.json", folder / "stderr", folder / "reached"
        for path in (self.context, folder / "shim"):
            path.mkdir(parents=True)
        (self.context / "word").write_text(f"{self.name}\n")
        real = subprocess.run(("which", "docker"), env=docker.child_env(), capture_output=True, text=True, check=True)
        words = {"words": phase.command or "none at all", "docker": real.stdout.strip(), "nap": self.nap}
        (folder / "shim" / "docker").write_text(_SHIM.format(reached=self.reached, **words))
        (folder / "shim" / "docker").chmod(0o755)

    # --- the call ------------------------------------------------------------------------------------------

    def command(self, work: str) -> tuple[str, ...]:
        """A build of a step that does this."""
        return (sys.executable, *IMPATIENT, "build", "--report", str(self.report), "-v", *self.words(work))

    def words(self, work: str) -> tuple[str, ...]:
        """The options of that build, and its build context."""
        (self.context / "Dockerfile").write_text(_STEPS.format(work=work))
        docker, repository = self.docker, f"{self.proxy.address}/{{}}/{self.name}"
        meanings: Mapping[str, tuple[str, ...]] = {
            "TLS": (),
            "LOGIN": ("--registry", docker.auth_registry, "--username", "tester", "--password-env", "PASSWORD"),
            "CACHE": ("--cache", "registry", "--cache-ref", f"{repository.format('cache')}:cache"),
            "PUSH": ("-t", f"{repository.format('image')}:1", "--push"),
            "LOAD": ("-t", self.name, "--load"),
            "PRUNE": ("--prune",),
        }
        asked = [word for each in self.phase.words for word in meanings[each]]
        cache = () if "CACHE" in self.phase.words else ("--cache", "local", "--cache-dir", str(self.cache))
        builder = docker.container_builder if "PRUNE" in self.phase.words else docker.new_builder
        return (*asked, *cache, *builder, "--build-arg", f"BASE={docker.base}", str(self.context))

    def env(self, **more: str) -> dict[str, str]:
        secret = {"PASSWORD": self.docker.env["ENGINE_AUTH_PASSWORD"]}
        return self.docker.child_env(**secret, **self.more_env, **more)

    @contextlib.contextmanager
    def held(self) -> Iterator[subprocess.Popen[bytes]]:
        """A call that has come to the phase and does not get on."""
        path = f"{self.folder / 'shim'}:{self.docker.child_env()['PATH']}"
        command = self.command(self.phase.work.replace("NAP", self.nap))
        rules = (self.phase.rule,) if self.phase.rule else ()
        with (
            self._other_build(),
            self.proxy.ruled(*rules),
            self.log.open("wb") as log,
            subprocess.Popen(command, env=self.env(PATH=path), stdout=subprocess.DEVNULL, stderr=log) as call,
        ):
            try:
                assert _await(self._is_there, _WAIT), self.log.read_text()
                yield call
            finally:
                call.kill()  # a call that is held would be waited for as long as what holds it sleeps

    def _other_build(self) -> contextlib.AbstractContextManager[object]:
        if not self.phase.shared:
            return contextlib.nullcontext()
        return layout.lock(self.cache, timeout=0, sharing=layout.Sharing.SHARED)

    def _is_there(self) -> bool:
        if self.phase.shared:
            is_built = "[3/3] RUN" in self.log.read_text()
            return is_built and not any("buildx build" in line for line in self.processes())
        said = bool(self.phase.says) and f"| {self.phase.says}" in self.log.read_text()
        return said or self.reached.exists() or bool(self.proxy.acted)

    def build(self) -> None:
        """Another call works, and finds nothing in its way."""
        done = subprocess.run(self.command("true"), env=self.env(), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert "waiting for" not in done.stderr

    # --- what is left --------------------------------------------------------------------------------------

    @cached_property
    def builder(self) -> str:
        planned = self.docker.tool(
            "plan", "--format", "json", *self.words("true"), env={**self.more_env, "PASSWORD": "x"}
        )
        return str(json.loads(planned.stdout)["builder"]["name"])

    def processes(self) -> list[str]:
        """The command lines of this call's processes, those of the builder included."""
        marks = (f"sleep {self.nap}", str(self.folder))
        return [line for line in _command_lines() if any(mark in line for mark in marks)]

    def folders(self) -> list[str]:
        """Temporary folders, logins, images on their way to the engine."""
        return [*self.docker.left_in_scratch(), *map(str, self.cache.glob(".buildx-cache-linked-*"))]

    def left(self) -> list[str]:
        builder = () if "PRUNE" in self.phase.words else self.docker.left_of(self.builder).split()
        return [*self.processes(), *builder, *self.folders(), *self.contexts()]

    def contexts(self) -> list[str]:
        """The Docker contexts that the program made for this call's engine: other tests run beside this one."""
        listed = self.docker.docker("context", "ls", "--format", "{{.DockerEndpoint}} {{.Name}}").splitlines()
        engine = self.env().get("DOCKER_HOST", "unix:///var/run/docker.sock")
        return [line for line in listed if line.startswith(f"{engine} buildx-cache-")]

    def remove(self) -> None:
        self.docker.docker("buildx", "rm", "--force", self.builder, check=False)
        self.docker.docker("image", "rm", self.name, check=False)


def _command_lines() -> Iterator[str]:
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdecimal() and int(entry.name) != os.getpid():
                yield (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")


def _await(condition: Callable[[], object], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


@pytest.fixture
def scene(docker: Docker, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Scene]:
    phase = PHASES[request.param]
    env = request.getfixturevalue("tls_engine") if "TLS" in phase.words else {}
    with Proxy(docker.registry) as proxy:
        made = Scene(docker, tmp_path / "scene", phase, proxy, env)
        if "LOAD" in phase.words:
            made.build()  # an image comes from a folder only where there is a cache
        if phase.earlier:
            docker.docker("buildx", "create", "--name", made.builder, *docker.buildx_options)
        yield made
        made.remove()


SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


QUICK = ("boot", "push", "sweep")
"""A short command of Docker's, the build, and work of the program's own: each is stopped in another way."""


def stops() -> Iterator[Any]:
    """Each signal in each phase; the quick run has one of the first two in some."""
    for place, phase in enumerate(PHASES):
        for number in SIGNALS:
            is_quick = phase in QUICK and number is SIGNALS[place % 2]
            yield pytest.param(phase, number, id=f"{phase}-{number.name}", marks=() if is_quick else pytest.mark.soak)


@pytest.mark.parametrize(("scene", "number"), [*stops()], indirect=["scene"])
def test_a_signal_in_any_phase_ends_the_call_and_leaves_nothing(scene: Scene, number: signal.Signals) -> None:
    with scene.held() as call:
        call.send_signal(number)
        code = call.wait(_WAIT)
    said = scene.log.read_text()
    assert code == (130 if number is signal.SIGINT else 143), said
    assert f"error: stopped by {number.name}" in said
    if scene.phase is PHASES["build"]:
        assert "stopping the build" in said.partition("error: ")[0]
    assert _await(lambda: not scene.processes(), _WAIT), scene.processes()
    assert scene.left() == []
    report = json.loads(scene.report.read_text())
    assert (report["status"], report["exit_code"]) == ("interrupted", code)
    if number is signal.SIGTERM:
        scene.build()


@pytest.mark.parametrize("scene", quick(PHASES, "build"), indirect=True)
def test_after_a_kill_nothing_goes_on_and_the_next_call_cleans_up(scene: Scene) -> None:
    with scene.held() as call:
        call.kill()
        assert call.wait(_WAIT) == -signal.SIGKILL
        assert _await(lambda: not scene.processes(), _WAIT), scene.processes()
    scene.build()
    assert scene.left() == []


PAIRS = {"SIGINT SIGTERM": (signal.SIGINT, signal.SIGTERM), "SIGHUP SIGTERM": (signal.SIGHUP, signal.SIGTERM)}
# Each waits where it has come: for docker, for docker in a check, for its stdin.
WAITING = (("build", "."), ("doctor",), ("cache", "prune", "--keep-branches-from", "-", "registry.example/app"))
_ROUNDS = 3


@pytest.mark.parametrize("names", quick(PAIRS, "SIGINT SIGTERM"))
@pytest.mark.parametrize("words", WAITING, ids=lambda words: words[0])
def test_two_signals_at_any_time_end_the_call_in_order(tmp_path: Path, words: tuple[str, ...], names: str) -> None:
    """At any time from the first line of the program, whose imports are most of the time here."""
    pair = PAIRS[names]
    nap = str(random.randrange(10**6, 10**7))  # noqa: S311 - nothing secret
    docker, temporary = tmp_path / "bin" / "docker", tmp_path / "tmp"
    docker.parent.mkdir()
    temporary.mkdir()
    docker.write_text(f"#!/bin/sh\nexec sleep {nap}\n")
    docker.chmod(0o755)
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    env = {"PATH": f"{docker.parent}:{os.environ['PATH']}", "HOME": str(tmp_path), "TMPDIR": str(temporary)}
    numbers = random.Random(f"{_SEED} {words} {pair}")  # noqa: S311 - same
    for _ in range(_ROUNDS):
        command = (sys.executable, "-m", "buildx_cache", *words)
        pipe = subprocess.PIPE
        with subprocess.Popen(command, cwd=tmp_path, env=env, stdin=pipe, stdout=pipe, stderr=pipe) as call:
            try:
                assert _await(partial(_is_ready_for, signal.SIGTERM, call.pid), _WAIT)
                time.sleep(numbers.choice((0.0, numbers.uniform(0.0, 0.8))))
                for number in pair:
                    call.send_signal(number)
                    time.sleep(numbers.choice((0.0, 0.0002, 0.001)))
                # The kernel, and Python, may hand over two that wait in the order of their numbers.
                assert call.wait(_WAIT) in {130 if number is signal.SIGINT else 143 for number in pair}
                said = b"".join(call.communicate()).decode()
            finally:
                call.kill()
        assert "Traceback" not in said
        assert "Exception ignored" not in said
        assert [line for line in _command_lines() if f"sleep {nap}" in line] == []
        assert list(temporary.iterdir()) == []


def _is_ready_for(number: signal.Signals, process: int) -> bool:
    """Whether a signal would not end the process: it is caught, or has to wait."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    masks = dict(line.split(":\t") for line in lines if line.startswith(("SigBlk", "SigCgt")))
    return any(int(mask, 16) & 1 << (number - 1) for mask in masks.values())


@pytest.mark.soak
@pytest.mark.parametrize("half", [0, 1])  # for two processes
def test_calls_that_are_stopped_at_random_leave_nothing(docker: Docker, tmp_path: Path, half: int) -> None:
    print(f"seed {_SEED + half}")  # noqa: T201 - pytest shows it with a failure
    numbers = random.Random(_SEED + half)  # noqa: S311 - nothing secret
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL)
    phase = Phase(words=("LOGIN", "LOAD"))
    with Proxy(docker.registry) as proxy:
        scene = Scene(docker, tmp_path / "scene", phase, proxy, {})
        began = time.monotonic()
        scene.build()
        seconds = time.monotonic() - began
        killed: set[str] = set()
        for round_ in range(_KILLS // 2):
            number = numbers.choice(signals)
            with scene.log.open("wb") as log:
                call = subprocess.Popen(
                    scene.command(f"echo {round_}"), env=scene.env(), stdout=subprocess.DEVNULL, stderr=log
                )
                time.sleep(numbers.uniform(0.0, 1.1) * seconds)
                call.send_signal(number)
                code = call.wait(_WAIT)
            said = f"round {round_}, {number.name}: {scene.log.read_text()}"
            # Python itself ends where the signal comes before the call begins.
            assert code in (0, -number, 130 if number is signal.SIGINT else 143), said
            assert _await(lambda: not scene.processes(), _WAIT), (scene.processes(), said)
            if number is not signal.SIGKILL:
                assert [name for name in scene.left() if name not in killed] == [], said
            killed = set(scene.left())
            assert layout.verify(scene.cache) == (), said
        scene.build()
        assert scene.left() == []
        scene.remove()
