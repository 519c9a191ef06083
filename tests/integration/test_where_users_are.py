"""The ways to install, in containers that have nothing else, and the image as a plugin: against the real engine."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.integration.conftest import PROJECT, Docker, write_project

pytestmark = pytest.mark.soak
DEBIAN = "buildx-cache-test/debian:bookworm"
BARE = "buildx-cache-test/bare:bookworm"
CLI = "buildx-cache-test/docker-cli:local"
IMAGE = "buildx-cache-test/image:local"
USER = 1000
INCLUDED = "ca-certificates,git,openssh-client,python3"


def run(*words: str, env: Mapping[str, str] | None = None, cwd: Path | None = None, stdin: str = "") -> str:
    done = subprocess.run(words, env=env, cwd=cwd, input=stdin, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
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
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program's wheel and those of all that it needs."""
    folder = readable(tmp_path_factory.mktemp("wheels"))
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--wheel-dir", str(folder), str(PROJECT))
    return folder


def import_tree(docker: Docker, tree: Path, image: str) -> None:
    with subprocess.Popen(("tar", "-C", str(tree), "-c", "."), stdout=subprocess.PIPE) as tar:
        subprocess.run(
            ("docker", "import", "-", image), stdin=tar.stdout, env=docker.child_env(), check=True, capture_output=True
        )


@pytest.fixture
def debian(docker: Docker, tmp_path: Path) -> str:
    """Debian with Python, but neither pip nor venv, as an image of the engine."""
    if not docker.docker("images", "--quiet", DEBIAN):
        if not shutil.which("debootstrap"):
            run("apt-get", "install", "-y", "-qq", "debootstrap")
        run("debootstrap", "--variant=minbase", f"--include={INCLUDED}", "bookworm", str(tmp_path / "tree"))
        (tmp_path / "tree" / "etc" / "apt" / "sources.list").write_text("")
        import_tree(docker, tmp_path / "tree", DEBIAN)
    return DEBIAN


@pytest.fixture
def bare(docker: Docker, debian: str) -> str:
    """The same without Python."""
    run("docker", "build", "-qt", BARE, "-", env=docker.child_env(), stdin=f"FROM {debian}\nRUN rm /usr/bin/python3*\n")
    return BARE


@pytest.fixture
def docker_cli(docker: Docker, tmp_path: Path) -> Path:
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
def container(docker: Docker, docker_cli: Path, tmp_path: Path) -> Callable[..., str]:
    """Run a shell, or the image's own command, in an image as a normal user who may use the engine's socket."""
    checkout = write_project(tmp_path / "project")
    socket = Path(docker.env["DOCKER_HOST"].removeprefix("unix://"))
    local = docker_cli / "usr" / "local"
    places = {checkout: "/work", socket: str(socket), local / "bin" / "docker": "/usr/bin/docker"}
    places[local / "libexec" / "docker"] = "/usr/libexec/docker"

    def start(image: str, script: str = "", env: Mapping[str, str] | None = None, **mounts: Path) -> str:
        mounted = {**places, **{path: f"/{name}" for name, path in mounts.items()}}
        words = ["run", "--rm", "--network=host", f"--user={USER}:{socket.stat().st_gid}", "--workdir=/work"]
        words += [f"--volume={path}:{place}" for path, place in mounted.items()]
        settings = {"DOCKER_HOST": docker.env["DOCKER_HOST"], "HOME": "/tmp/home", **(env or {})}
        words += [f"--env={name}={value}" for name, value in settings.items()]
        return run("docker", *words, image, *(("sh", "-euc", script) if script else ()), env=docker.child_env())

    return start


def three_builds(docker: Docker) -> str:
    """A shell's lines that build in the three modes."""
    options = f"--build-arg BASE={docker.base} --builder default"
    return "\n".join(
        (
            f"buildx-cache build -t one --load --cache local --cache-dir /tmp/cache {options} .",
            f"buildx-cache build -t {docker.repository()}:1 --push --cache registry {options} .",
            f"buildx-cache build -t {docker.repository()}:1 --push --cache inline {options} .",
        )
    )


def test_the_executable_builds_where_no_python_is(
    docker: Docker, bare: str, container: Callable[..., str], release: Path
) -> None:
    script = f'sh /docker/install.sh\nexport PATH="$HOME/.local/bin:$PATH"\n{three_builds(docker)}\n'
    said = container(bare, script, {"BUILDX_CACHE_RELEASES": "/release"}, release=release, docker=PROJECT / "docker")
    assert said.count("@sha256:") == 2


def test_uv_installs_where_no_pip_is(docker: Docker, debian: str, container: Callable[..., str], wheels: Path) -> None:
    uv = Path(shutil.which("uv") or "")
    offline = "--no-index --find-links /wheels"
    script = f'uv tool install {offline} buildx-cache\nexport PATH="$HOME/.local/bin:$PATH"\n{three_builds(docker)}\n'
    script += f"uvx {offline} buildx-cache --version\n"
    said = container(debian, script, {"PATH": "/uv:/usr/bin:/bin"}, wheels=wheels, uv=uv.parent)
    assert said.count("@sha256:") == 2
    assert "buildx-cache 0." in said


def test_pip_installs_the_wheel(wheels: Path, tmp_path: Path) -> None:
    run(sys.executable, "-m", "venv", str(tmp_path / "env"))
    python = tmp_path / "env" / "bin" / "python"
    run(str(python), "-m", "pip", "install", "--quiet", "--no-index", f"--find-links={wheels}", "buildx-cache")
    assert run(str(tmp_path / "env" / "bin" / "buildx-cache"), "--version").startswith("buildx-cache 0.")


def test_the_image_is_a_plugin(
    docker: Docker, debian: str, docker_cli: Path, container: Callable[..., str], release: Path
) -> None:
    import_tree(docker, docker_cli, CLI)
    file = PROJECT / "docker" / "image" / "Dockerfile"
    arguments = ("--build-arg", f"BASE={debian}", "--build-arg", f"DOCKER={CLI}", "--builder", "default")
    docker.build("-t", IMAGE, "--load", "--cache", "none", "-f", str(file), *arguments, str(release))
    image = docker.repository()
    settings = {
        "TAGS": f"{image}:1,{image}:2",
        "PUSH": "true",
        "BUILD_ARGS": f"BASE={docker.base}",
        "BUILDER": "default",
    }
    said = container(IMAGE, env={f"PLUGIN_{name}": value for name, value in settings.items()})
    assert said.count("@sha256:") == 2
    assert docker.docker("inspect", "--format", "{{.Config.User}}", IMAGE) == "builder"
