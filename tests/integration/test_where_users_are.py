"""The ways to install, each in a container that has nothing else, and the image as a plugin: against real engines.

A container is a CI's job: a normal user, with the engine of this machine or one elsewhere that is reached by TLS.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.integration import job_images
from tests.integration.conftest import PROJECT, Docker

pytestmark = pytest.mark.soak
CLI = "buildx-cache-test/docker-cli:local"
IMAGE = "buildx-cache-test/image:local"
USER = job_images.USER
PYTHONS = ("3.11", "3.13")
PLATFORMS = [f"{libc}_{machine}" for libc in ("manylinux_2_17", "musllinux_1_1") for machine in ("x86_64", "aarch64")]
SHA = "0123456789012345678901234567890123456789"
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet")
OFFLINE = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "/wheels", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
WITH_UV = {"PATH": "/uv:/usr/local/bin:/usr/bin:/bin"}
UV_OFFLINE = "--no-index --find-links /wheels"
PUSH = 'buildx-cache build -t "$DOCKER_REGISTRY/app:{short_sha}" --push auto .\n'
THREE_BUILDS = f"""
buildx-cache build -t one --load --cache local --cache-dir /tmp/cache .
{PUSH}
{PUSH.replace(" .", " --cache inline .")}
"""
ON_PATH = 'export PATH="$HOME/.local/bin:$PATH"\n'


def run(*words: str, env: Mapping[str, str] | None = None) -> str:
    done = subprocess.run(words, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-4000:]
    return done.stdout.strip()


def readable(folder: Path) -> Path:
    """The folder, open to the container's user."""
    folder.chmod(0o755)
    return folder


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The executable's archive and its checksum."""
    folder = readable(tmp_path_factory.mktemp("release"))
    run(sys.executable, str(PROJECT / "docker" / "executable" / "build.py"), str(folder))
    return folder


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program's wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    run(*PIP, "wheel", "--no-deps", "--wheel-dir", str(folder), str(PROJECT))
    return next(folder.iterdir())


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory, wheel: Path) -> Path:
    """The program's wheel and those of all that it and pipx need, for the Pythons of the containers."""
    folder = readable(tmp_path_factory.mktemp("wheels"))
    needed = (str(wheel), "pip", "setuptools", "wheel")
    for version in PYTHONS:
        run(*PIP, "download", "--only-binary=:all:", f"--python-version={version}", f"--dest={folder}", *needed)
    return folder


@dataclass(frozen=True, kw_only=True)
class Job:
    """A job's container on this machine's engine; its commands use the engine ``used``."""

    runs_on: Docker
    used: Docker
    mounts: Mapping[Path, str]
    env: Mapping[str, str]
    group: int
    folder: str = field(default_factory=lambda: f"/work/{uuid.uuid4().hex[:12]}")
    """The project's: builders are named after it, and other jobs use the engine, too."""

    def ran(
        self, image: str, script: str = "", env: Mapping[str, str] | None = None, **mounts: Path
    ) -> subprocess.CompletedProcess[str]:
        """Run a shell, or the image's own command, as a normal user."""
        words = ["--rm", "--network=host", f"--user={USER}:{self.group}", f"--workdir={self.folder}"]
        project = Path(self.used.hello[-1])
        mounted = {**self.mounts, project: self.folder, **{path: f"/{name}" for name, path in mounts.items()}}
        words += [f"--volume={path}:{place}" for path, place in mounted.items()]
        settings = {**self.env, "HOME": "/tmp/home", **(env or {})}
        words += [f"--env={name}={value}" for name, value in settings.items()]
        command = ("sh", "-euc", script) if script else ()
        return subprocess.run(
            ("docker", "run", *words, image, *command),
            env=self.runs_on.child_env(),
            capture_output=True,
            text=True,
            check=False,
        )

    def __call__(self, image: str, script: str = "", env: Mapping[str, str] | None = None, **mounts: Path) -> str:
        """Run it, have it succeed, and return what it printed."""
        done = self.ran(image, script, env, **mounts)
        assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-4000:]
        return done.stdout

    @property
    def options(self) -> dict[str, str]:
        """The options without which the documented lines would take an image from a public registry."""
        return {
            "BUILD_ARG": f"BASE={self.used.base}",
            "DRIVER": "docker-container",
            "BUILDKIT_IMAGE": self.used.env["ENGINE_BUILDKIT_IMAGE"],
            "DRIVER_OPT": self.used.env["ENGINE_DRIVER_OPT"],
            "RM_BUILDER": "true",
        }

    def builds(self, image: str, script: str, env: Mapping[str, str] | None = None, **mounts: Path) -> str:
        """Run a job's script, with what a CI and its project's settings give; return what it printed."""
        options = {f"BUILDX_CACHE_{name}": value for name, value in self.options.items()}
        registry = self.used.repository()
        of_ci = {"CIRCLECI": "true", "CIRCLE_BRANCH": "main", "CIRCLE_SHA1": SHA, "DOCKER_REGISTRY": registry}
        return self(image, script, {**options, **of_ci, **(env or {})}, **mounts)


@pytest.fixture
def tools(docker: Docker, tmp_path: Path) -> Path:
    """The docker command line and Buildx, at their places in Docker's own image."""
    tree = tmp_path / "cli"
    plugins = tree / "usr" / "local" / "libexec" / "docker" / "cli-plugins"
    plugins.mkdir(parents=True)
    (tree / "usr" / "local" / "bin").mkdir()
    program = Path(shutil.which("docker", path=docker.env["PATH"]) or "").resolve()
    shutil.copy(program, tree / "usr" / "local" / "bin" / "docker")
    shutil.copy(program.parents[1] / "libexec" / "docker" / "cli-plugins" / "docker-buildx", plugins)
    return tree


@pytest.fixture
def start(docker: Docker, tools: Path, tmp_path: Path) -> Callable[[Docker], Job]:
    """Make a job that uses an engine."""

    def made(used: Docker) -> Job:
        local = tools / "usr" / "local"
        mounts = {
            local / "bin" / "docker": "/usr/bin/docker",
            local / "libexec" / "docker": "/usr/libexec/docker",
        }
        env = {"DOCKER_HOST": used.env["DOCKER_HOST"]}
        if certificates := used.env.get("DOCKER_CERT_PATH"):
            own = shutil.copytree(certificates, tmp_path / "certificates")
            for path in (own, *own.iterdir()):
                os.chown(path, USER, USER)
            mounts[own] = "/certificates"
            env |= {"DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": "/certificates"}
            return Job(runs_on=docker, used=used, mounts=mounts, env=env, group=USER)
        socket = Path(env["DOCKER_HOST"].removeprefix("unix://"))
        mounts[socket] = str(socket)
        return Job(runs_on=docker, used=used, mounts=mounts, env=env, group=socket.stat().st_gid)

    return made


@pytest.fixture(params=["docker", "remote_docker"], ids=["local", "remote"])
def job(request: pytest.FixtureRequest, start: Callable[[Docker], Job]) -> Job:
    return start(request.getfixturevalue(request.param))


@pytest.fixture
def local_job(docker: Docker, start: Callable[[Docker], Job]) -> Job:
    return start(docker)


def pushed(said: str) -> int:
    return said.count(f"/app:{SHA[:7]}@sha256:")


@pytest.fixture
def uv() -> Path:
    return Path(shutil.which("uv") or "").parent


@pytest.mark.parametrize("python", ["none", "3.10"])
def test_the_executable_builds(job: Job, docker: Docker, release: Path, tmp_path: Path, python: str) -> None:
    make = job_images.without_python if python == "none" else job_images.with_old_python
    script = f"! python3 -m pip --version 2>/dev/null\nsh /docker/install.sh\n{ON_PATH}{THREE_BUILDS}"
    releases = {"BUILDX_CACHE_RELEASES": "/release"}
    said = job.builds(make(docker, tmp_path), script, releases, release=release, docker=PROJECT / "docker")
    assert pushed(said) == 2


def test_uv_builds_where_no_pip_is(job: Job, docker: Docker, wheels: Path, uv: Path, tmp_path: Path) -> None:
    image = job_images.with_python(docker, tmp_path)
    script = f"uv tool install {UV_OFFLINE} buildx-cache\n{ON_PATH}{THREE_BUILDS}"
    assert pushed(job.builds(image, script, WITH_UV, wheels=wheels, uv=uv)) == 2


def test_uv_brings_a_python_where_there_is_an_old_one(
    local_job: Job, docker: Docker, wheels: Path, uv: Path, tmp_path: Path
) -> None:
    """It downloads one; here from this machine, whose list of them takes the place of uv's own."""
    image = job_images.with_old_python(docker, tmp_path)
    (tmp_path / "pythons").mkdir()
    listed = job_images.uv_downloads(tmp_path / "pythons", "3.13")
    env = {**WITH_UV, "UV_PYTHON_DOWNLOADS_JSON_URL": f"/pythons/{listed.name}"}
    script = f"uv tool install --quiet --python 3.13 {UV_OFFLINE} buildx-cache\n{ON_PATH}{THREE_BUILDS}"
    said = local_job.builds(image, script, env, wheels=wheels, uv=uv, pythons=listed.parent)
    assert pushed(said) == 2


INSTALLS = {
    "pipx": f"pipx install buildx-cache\n{ON_PATH}",
    "pip": f"pip install --quiet --break-system-packages buildx-cache\n{ON_PATH}",
    "venv": 'python3 -m venv "$HOME/env"\nPATH=$HOME/env/bin:$PATH\npip install --quiet buildx-cache\n',
}


@pytest.mark.parametrize("way", INSTALLS)
def test_pip_and_pipx_build(local_job: Job, docker: Docker, wheels: Path, tmp_path: Path, way: str) -> None:
    image = job_images.with_pip(docker, tmp_path)
    said = local_job.builds(image, f"{INSTALLS[way]}{PUSH}", OFFLINE, wheels=wheels)
    assert pushed(said) == 1


@pytest.mark.parametrize("runner", ["uvx ", "pipx install buildx-cache\nPATH=$PATH:~/.local/bin\n"])
def test_a_run_without_the_program_on_path_builds(
    local_job: Job, docker: Docker, wheels: Path, uv: Path, tmp_path: Path, runner: str
) -> None:
    image = job_images.with_pip(docker, tmp_path)
    given = f"{UV_OFFLINE} " if runner == "uvx " else ""
    said = local_job.builds(image, f"{runner}{given}{PUSH}", {**OFFLINE, **WITH_UV}, wheels=wheels, uv=uv)
    assert pushed(said) == 1


def test_the_executable_starts_as_fast_as_the_installed_program(
    release: Path, wheels: Path, uv: Path, tmp_path: Path
) -> None:
    """By CPU time, in turns: it may take 1.2 times as long, and 0.3 s more."""
    env = {**os.environ, "HOME": str(tmp_path), "UV_TOOL_BIN_DIR": str(tmp_path / "bin"), "UV_COMPILE_BYTECODE": "1"}
    run(str(uv / "uv"), "tool", "install", "--quiet", *UV_OFFLINE.split()[:2], str(wheels), "buildx-cache", env=env)
    installer = str(PROJECT / "docker" / "install.sh")
    run("sh", installer, "--to", str(tmp_path / "to"), env={**env, "BUILDX_CACHE_RELEASES": str(release)})
    programs = (tmp_path / "bin" / "buildx-cache", tmp_path / "to" / "buildx-cache")
    turns = [[cpu_seconds(str(program), "--help") for program in programs] for _ in range(5)]
    installed, executable = (statistics.median(times) for times in zip(*turns, strict=True))
    assert executable <= 1.2 * installed + 0.3


def cpu_seconds(*words: str) -> float:
    before = os.times()
    run(*words)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


@pytest.mark.parametrize("platform", PLATFORMS)
def test_no_platform_has_to_compile(wheel: Path, tmp_path: Path, platform: str) -> None:
    """Alpine is among them, for which there is no executable."""
    where = ("--only-binary=:all:", f"--platform={platform}", "--python-version=3.12")
    run(*PIP, "install", "--dry-run", f"--target={tmp_path / 'to'}", *where, str(wheel))


@pytest.fixture
def image(docker: Docker, release: Path, tools: Path, tmp_path: Path) -> str:
    """The image of docker/image, made by the program."""
    base = job_images.debian(docker, tmp_path)
    job_images.import_tree(docker, tools, CLI)
    file = PROJECT / "docker" / "image" / "Dockerfile"
    arguments = ("--build-arg", f"BASE={base}", "--build-arg", f"DOCKER={CLI}", "--builder", "default")
    docker.build("-t", IMAGE, "--load", "--cache", "none", "-f", str(file), *arguments, str(release))
    return IMAGE


def test_the_image_is_a_plugin(docker: Docker, job: Job, image: str) -> None:
    repository = job.used.repository()
    settings = {**job.options, "BUILD_ARGS": job.options["BUILD_ARG"], "PUSH": "true"}
    del settings["BUILD_ARG"]
    settings["TAGS"] = f"{repository}:1,{repository}:2"
    said = job(image, env={f"PLUGIN_{name}": value for name, value in settings.items()})
    assert said.count("@sha256:") == 2
    assert docker.docker("inspect", "--format", "{{.Config.User}}", image) == "builder"


def test_a_plugin_refuses_a_setting_that_is_no_option(local_job: Job, image: str) -> None:
    done = local_job.ran(image, env={"PLUGIN_CACH_DIR": "x", "PLUGIN_TAGS": "app"})
    assert done.returncode == 2
    assert [done.stderr.count(word) for word in ("error: ", "hint: ", "cache_dir")] == [1, 1, 1]
