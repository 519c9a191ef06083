"""The real engines, registries and builders that these tests drive; a missing one fails them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.integration.engines import OF_THIS_RUN, Engines
from tests.integration.forks import can_run, forks

PROJECT = Path(__file__).parents[2]
PROGRAM = ("-m", "buildx_cache")
HELLO = PROJECT / "docker" / "hello"
GREETING = "hello from 2 pages; the largest prime listed is 5987"

# What a test's commands see of this process' environment: no CI, no Docker, no options.
_PASSED_ON = ("PATH", "LANG", "LC_ALL")


@dataclass(frozen=True, kw_only=True)
class Ran:
    """How the program ended."""

    code: int
    stdout: str
    stderr: str
    report: dict[str, Any] = field(default_factory=dict)

    @property
    def steps(self) -> tuple[int, int, int]:
        steps = self.report["cache"]["steps"]
        return steps["total"], steps["cached"], steps["executed"]


@dataclass(frozen=True, kw_only=True)
class Docker:
    """One engine with its registries, and how to run things against it."""

    env: Mapping[str, str]
    home: Path

    @property
    def scratch(self) -> Mapping[str, Path]:
        """Where the test's own calls have their temporary files and logins, by the variable that says so."""
        folders = {"TMPDIR": self.home / "tmp", "XDG_RUNTIME_DIR": self.home / "run"}
        for folder in folders.values():
            folder.mkdir(mode=0o700, exist_ok=True)
        return folders

    def left_in_scratch(self) -> list[str]:
        """What calls have left of their temporary files and logins."""
        return [str(path) for folder in self.scratch.values() for path in folder.iterdir()]

    @property
    def registry(self) -> str:
        return self.env["ENGINE_REGISTRY"]

    @property
    def auth_registry(self) -> str:
        return self.env["ENGINE_AUTH_REGISTRY"]

    @property
    def base(self) -> str:
        return self.env["ENGINE_BASE_IMAGE"]

    @property
    def builder_image(self) -> tuple[str, ...]:
        image = self.env["ENGINE_BUILDKIT_IMAGE"]
        return ("--buildkit-image", image) if image else ()

    @property
    def container_builder(self) -> tuple[str, ...]:
        """Options that make a builder of this test's own, on the host's network to reach the registries."""
        return ("--driver", "docker-container", *self.builder_image, "--driver-opt", self.env["ENGINE_DRIVER_OPT"])

    @property
    def buildx_options(self) -> tuple[str, ...]:
        """What makes such a builder with ``docker buildx create``."""
        image = (f"image={image}" for image in self.builder_image[1:])
        given = (f"--driver-opt={option}" for option in (*image, self.env["ENGINE_DRIVER_OPT"]))
        return ("--driver", "docker-container", *given)

    @property
    def new_builder(self) -> tuple[str, ...]:
        """The same, removed after the call."""
        return (*self.container_builder, "--rm-builder")

    @property
    def hello(self) -> tuple[str, ...]:
        """What ends every command line that builds docker/hello, outside of any work tree: it has no branch."""
        copy = self.home / "hello"
        if not copy.exists():
            shutil.copytree(HELLO, copy)
            dockerfile = copy / "Dockerfile"
            dockerfile.write_text(dockerfile.read_text().replace("primes 600000", "primes 6000"))  # 4 seconds of work
        return ("--build-arg", f"BASE={self.base}", str(copy))

    def child_env(self, **more: str) -> dict[str, str]:
        passed_on = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        own = {"HOME": str(self.home), "XDG_CACHE_HOME": str(self.home / ".cache"), "BUILDX_CACHE_NO_WAIT": "true"}
        own |= {name: str(folder) for name, folder in self.scratch.items()}
        return {**passed_on, **self.env, **own, **more}

    def copy_configuration(self, folder: Path) -> None:
        """Copy the client's configuration without its builders, which other tests make and remove meanwhile."""
        if own := self.env.get("DOCKER_CONFIG"):
            shutil.copytree(own, folder, symlinks=True, ignore=shutil.ignore_patterns("buildx"))
        folder.mkdir(exist_ok=True)

    def docker(self, *words: str, check: bool = True, **more: str) -> str:
        done = subprocess.run(
            ("docker", *words), env=self.child_env(**more), capture_output=True, text=True, check=False
        )
        if check and done.returncode:
            pytest.fail(f"docker {' '.join(words)}: {done.stderr}")
        return done.stdout.strip()

    def tool(
        self,
        *words: str,
        env: Mapping[str, str] | None = None,
        cwd: Path = PROJECT,
        stdin: str | None = None,
        program: tuple[str, ...] = PROGRAM,
    ) -> Ran:
        """Run buildx-cache, with a report where it is a build."""
        report = self.home / f"report-{uuid.uuid4().hex}.json"
        command = [*words]
        if words[0] == "build":
            command[1:1] = ["--report", str(report)]
        done = self._ran(program, tuple(command), env=self.child_env(**(env or {})), cwd=cwd, stdin=stdin)
        written = json.loads(report.read_text()) if report.exists() else {}
        return Ran(code=done.returncode, stdout=done.stdout, stderr=done.stderr, report=written)

    @staticmethod
    def _ran(
        program: tuple[str, ...], words: tuple[str, ...], *, env: Mapping[str, str], cwd: Path, stdin: str | None
    ) -> subprocess.CompletedProcess[str]:
        if program == PROGRAM and can_run(words, env):
            return forks().run(words, env=env, cwd=cwd, stdin=stdin)
        return subprocess.run(
            (sys.executable, *program, *words),
            env=env,
            cwd=cwd,
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            check=False,
        )

    def build(self, *words: str, env: Mapping[str, str] | None = None, cwd: Path = PROJECT) -> Ran:
        """Run a build that has to succeed."""
        ran = self.tool("build", *words, env=env, cwd=cwd)
        assert ran.code == 0, ran.stderr
        return ran

    def greeting(self, image: str) -> str:
        """What the image says; pulled anew if it names a registry."""
        pull = ("--pull", "always", "--quiet") if "/" in image else ()
        return self.docker("run", "--rm", *pull, image)

    def repository(self, name: str = "hello") -> str:
        return f"{self.registry}/{uuid.uuid4().hex[:12]}/{name}"

    def builders(self) -> set[str]:
        return {line.split()[0].rstrip("*") for line in self.docker("buildx", "ls").splitlines()[1:] if line[0] != " "}

    def left_of(self, builder: str) -> str:
        """What there is of a builder that the program made: its name if Buildx knows it, its containers and volumes."""
        assert builder.startswith("buildx-cache-")
        made = f"name=buildx_buildkit_{builder}"
        containers = self.docker("ps", "--all", "--filter", made, "--format", "{{.Names}}")
        volumes = self.docker("volume", "ls", "--filter", made, "--format", "{{.Name}}")
        return " ".join((*self.builders() & {builder}, *containers.split(), *volumes.split()))


@pytest.fixture(scope="session")
def engines(pytestconfig: pytest.Config) -> Engines:
    return pytestconfig.stash[OF_THIS_RUN]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    path = tmp_path / "home"
    path.mkdir()
    return path


@pytest.fixture
def docker(engines: Engines, home: Path) -> Docker:
    """The engine that `docker/engine up` gives: the one that is there, else a private one."""
    return Docker(env=engines.start(), home=home)


@pytest.fixture
def special(engines: Engines, home: Path) -> Callable[[str, str], Docker]:
    """A private engine of a Debian suite and an image store."""

    def start(suite: str, store: str) -> Docker:
        kind = engines.start()["ENGINE_KIND"]
        if kind == "existing" and os.geteuid() != 0:
            pytest.skip("another engine than the one that is there takes root")
        return Docker(env=engines.start("--suite", suite, "--store", store), home=home)

    return start


@pytest.fixture
def old_docker(special: Callable[[str, str], Docker]) -> Docker:
    """Docker 26.1 with Buildx 0.13."""
    return special("trixie", "containerd")


@pytest.fixture
def classic_docker(special: Callable[[str, str], Docker]) -> Docker:
    """An engine with the classic image store."""
    return special("forky", "classic")


@pytest.fixture
def remote_docker(engines: Engines, home: Path) -> Docker:
    """An engine on another machine, which only Docker's API leads to, with TLS."""
    if engines.start()["ENGINE_KIND"] == "existing" and os.geteuid() != 0:
        pytest.skip("another engine than the one that is there takes root")
    return Docker(env=engines.start("--remote"), home=home)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A build context of a test's own, of one quick step."""
    return write_project(tmp_path / "project")


def install_shell(name: str) -> None:
    """Install a shell from Debian's packages if it is absent."""
    if not shutil.which(name):
        subprocess.run(("apt-get", "install", "-y", "-qq", "--no-install-recommends", name), check=True)


def write_project(folder: Path) -> Path:
    """A build context of one quick step, made in ``folder``."""
    folder.mkdir()
    (folder / "Dockerfile").write_text(
        "ARG BASE\nFROM ${BASE}\nCOPY word /word\nRUN cat /word > /said\nCMD cat /said\n"
    )
    (folder / "word").write_text("one\n")
    return folder
