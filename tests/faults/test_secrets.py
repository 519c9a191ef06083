"""Secrets planted wherever a call can have one, and looked for wherever they must not be."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.faults.watched import Run, contents, is_image_configuration, leaks, watch
from tests.integration.conftest import Docker
from tests.selection import quick

ARGUMENT = "arg+Tree/4711-planted"
CONFIGURED = "conf/Otter+4712-planted"
INHERITED = "inherited/Crow+4713-planted"
VARIABLE = "var/Heron+4714-planted"
FILE = "file/Badger+4715-planted"
LOGIN = "login/Lynx+4716-planted"
PROXY = "proxy/Stoat+4717-planted"

SECRETS = {
    "build argument": ARGUMENT,
    "build argument of the configuration file": CONFIGURED,
    "build argument of the environment": INHERITED,
    "secret of a variable": VARIABLE,
    "secret of a file": FILE,
    "login in a build argument": LOGIN,
    "login of a proxy": PROXY,
}
ARGUMENTS = (
    "build argument",
    "build argument of the configuration file",
    "login in a build argument",
    "build argument of the environment",
)

INDEX = f"https://user:{quote(LOGIN, safe='')}@127.0.0.1:9/simple"
PROXIED = f"http://user:{quote(PROXY, safe='')}@127.0.0.1:9"
# Each is printed whole, in pieces, and in other spellings.
DOCKERFILE = r"""
ARG BASE
FROM ${BASE}
ARG NPM_TOKEN
ARG FILE_TOKEN
ARG ENV_TOKEN
ARG INDEX
RUN echo "$INDEX" "$HTTP_PROXY"; echo "${HTTP_PROXY#*:}"; echo -n "${INDEX#*//}" | base64
RUN echo one "$NPM_TOKEN" $FILE_TOKEN $ENV_TOKEN; echo -n "$NPM_TOKEN" | base64; echo -n "user:$ENV_TOKEN" | base64
RUN for part in 1 2 3; do echo -n "${NPM_TOKEN%-*}"; sleep 0.3; echo "-${NPM_TOKEN##*-}"; done
RUN --mount=type=secret,id=variable --mount=type=secret,id=file \
    cd /run/secrets; cat variable; echo; cat file >&2; base64 variable; base64 file; \
    head -c 7 file; sleep 0.3; tail -c +8 file; head -c 5 variable; sleep 0.3; tail -c +6 variable
RUN --mount=type=secret,id=file \
    for between in '\033[0m' '\033]0;x\007' '\033(B' '\000' '\010' '\342\200\213' '\302\255' '\302\233m'; do \
    printf "%s$between%s\n" "${NPM_TOKEN%-*}" "-${NPM_TOKEN##*-}"; \
    head -c 7 /run/secrets/file; printf "$between"; sleep 0.1; tail -c +8 /run/secrets/file; done
"""
ENDS = {
    "success": ("RUN echo done", 0),
    "failure": (f'RUN echo "$NPM_TOKEN is wrong, so is {FILE}" >&2; exit 3', 1),
    "interrupted": ("RUN echo now it waits; sleep 96", 143),
}


REPORTS = {"--report": "json", "--report-html": "html", "--report-junit": "xml", "--report-md": "md"}


@dataclass(frozen=True, kw_only=True)
class Place:
    """A project, the places of its secrets, and a folder for all that the program writes."""

    project: Path
    inputs: Path
    written: Path

    def options(self, docker: Docker) -> tuple[str, ...]:
        out = self.written
        return (
            *(
                "-v",
                "--provenance",
                "mode=min",
                "--push",
                "-o",
                f"type=oci,dest={out / 'image.tar'}",
                *docker.new_builder,
            ),
            *("--cache", "local", "--cache-dir", str(out / "cache")),
            *("--secret", "id=variable,env=OF_A_VARIABLE", "--secret", f"id=file,src={self.inputs / 'secret'}"),
            *(word for option, end in REPORTS.items() for word in (option, str(out / f"report.{end}"))),
            *("--dotenv", str(out / "dotenv"), "--metadata-file", str(out / "metadata.json"), str(self.project)),
        )

    def environment(self) -> dict[str, str]:
        return {
            "ENV_TOKEN": INHERITED,
            "OF_A_VARIABLE": VARIABLE,
            "GITHUB_ACTIONS": "true",
            "GITHUB_OUTPUT": str(self.written / "github-output"),
            "GITHUB_STEP_SUMMARY": str(self.written / "github-summary"),
        }


@pytest.fixture
def place(tmp_path: Path) -> Place:
    folders = Place(project=tmp_path / "project", inputs=tmp_path / "inputs", written=tmp_path / "written")
    for each in (folders.project, folders.inputs, folders.written):
        each.mkdir()
    (folders.inputs / "secret").write_text(FILE + "\n")
    return folders


def build_args(docker: Docker) -> list[str]:
    return [
        f"NPM_TOKEN={ARGUMENT}",
        "ENV_TOKEN",
        f"FILE_TOKEN={CONFIGURED}",
        f"BASE={docker.base}",
        f"INDEX={INDEX}",
        f"HTTP_PROXY={PROXIED}",
    ]


def found_in(run: Run, place: Place, docker: Docker, secrets: Mapping[str, str]) -> Iterator[str]:
    """Where any of the secrets was found that must not be there."""
    texts = (("stdout", run.stdout), ("stderr", run.stderr), *contents(place.written), *contents(docker.home))
    for where, text in texts:
        if where != "image.tar":  # its members are looked at one by one
            # BuildKit keeps the values of build arguments in an image's history: the user is warned of it.
            known = ARGUMENTS if is_image_configuration(text) else ()
            yield from (f"{name}: {where}" for name in leaks(text, secrets) if name not in known)
    for child in run.children:
        yield from (f"{name}: argv of {child.argv!r}" for name in leaks(child.argv, secrets))


def is_buildx(argv: bytes) -> bool:
    """Buildx, which takes arguments from its environment, and the git that it asks for a commit (``util/gitutil``)."""
    asks_git = b"log.showSignature=false" in argv and b"\0log\0-1" not in argv  # that one is the program's
    return b"buildx" in argv or asks_git


def check(run: Run, place: Place, docker: Docker, secrets: Mapping[str, str]) -> None:
    """What has to hold however the build ended."""
    masked = run.take_from_stderr(b"::add-mask::")  # GitHub's runner swallows these lines
    whole = (INDEX, PROXIED, *(quote(password, safe="") for password in (LOGIN, PROXY)))
    assert {line.removeprefix(b"::add-mask::").replace(b"%25", b"%").decode() for line in masked} == {
        *(*secrets.values(), *whole)
    }
    assert run.stderr.count(b"***") >= 10, run.stderr.decode()  # the steps did print them
    assert [*found_in(run, place, docker, secrets)] == []
    assert b"history and provenance: hand secrets over with --secret" in run.stderr
    assert len(run.children) >= 3
    assert [each.argv for each in run.children if leaks(each.environ, {"password": secrets["password"]})] == []
    arguments = {name: SECRETS[name] for name in (*ARGUMENTS[:3], "login of a proxy")}
    others = (each for each in run.children if not is_buildx(each.argv))
    assert [each.argv for each in others if leaks(each.environ, arguments)] == []
    assert json.loads((place.written / "report.json").read_text())["exit_code"] == run.code
    assert {(place.written / f"report.{end}").stat().st_mode & 0o777 for end in REPORTS.values()} == {0o600}


# A failure: see the configuration file's arguments below.
@pytest.mark.parametrize("end", quick(ENDS, "success"))
def test_a_planted_secret_is_nowhere(docker: Docker, place: Place, end: str) -> None:
    last, code = ENDS[end]
    (place.project / "Dockerfile").write_text(DOCKERFILE + last)
    target = docker.repository().replace(docker.registry, docker.auth_registry)
    user, password = docker.env["ENGINE_AUTH_USER"], docker.env["ENGINE_AUTH_PASSWORD"]
    arguments = (word for text in build_args(docker) for word in ("--build-arg", text))

    run = watch(
        docker,
        *("build", "-t", f"{target}:1", *arguments, *place.options(docker)),
        cwd=place.written,
        env={
            **place.environment(),
            "DOCKER_REGISTRY": docker.auth_registry,
            "DOCKER_LOGIN": user,
            "DOCKER_PASSWORD": password,
        },
        until="now it waits" if end == "interrupted" else "",
    )

    assert run.code == code, run.stderr.decode()
    check(run, place, docker, {**SECRETS, "password": password})
    assert docker.left_in_scratch() == []
    if end == "success":
        found = dict(contents(place.written))
        histories = [text for text in found.values() if is_image_configuration(text)]
        assert [sorted(leaks(text, SECRETS)) for text in histories] == [sorted(ARGUMENTS)]
        assert [text for text in found.values() if b"slsa.dev/provenance" in text] != []  # it was searched, that is
        assert [name for name in found if name.startswith("cache/blobs/") and name.endswith("(unpacked)")] != []


def test_arguments_of_the_configuration_file_and_a_password_on_stdin(docker: Docker, place: Place) -> None:
    (place.project / "Dockerfile").write_text(DOCKERFILE + ENDS["failure"][0])
    (place.project / "buildx-cache.toml").write_text(f"build-arg = {json.dumps(build_args(docker))}\n")
    user, password = docker.env["ENGINE_AUTH_USER"], docker.env["ENGINE_AUTH_PASSWORD"]
    target = docker.repository().replace(docker.registry, docker.auth_registry)

    run = watch(
        docker,
        *("build", "--config", str(place.project / "buildx-cache.toml"), "-t", f"{target}:1"),
        *("--username", user, "--password-stdin", *place.options(docker)),
        cwd=place.written,
        env=place.environment(),
        stdin=f"{password}\n",
    )

    assert run.code == 1, run.stderr.decode()
    secrets = {**SECRETS, "password": password}
    check(run, place, docker, secrets)
    assert [leaks(each.argv, secrets) for each in run.seen if each.is_own][-1] == []


@pytest.mark.parametrize(
    ("mark", "command"), [("GITHUB_ACTIONS", "::add-mask::"), ("TF_BUILD", "##vso[task.setsecret]"), ("GITLAB_CI", "")]
)
def test_a_ci_is_told_what_to_mask_where_it_reads_it(docker: Docker, tmp_path: Path, mark: str, command: str) -> None:
    words = ("build", "--progress", "json", "--secret", "id=x,env=MINE", "--build-arg", f"A_TOKEN={ARGUMENT}", ".")
    env = {"MINE": VARIABLE, mark: "true", "DOCKER_HOST": f"unix://{tmp_path}/nowhere"}
    values = (VARIABLE, ARGUMENT) if command else ()
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")

    run = watch(docker, *words, cwd=tmp_path, env=env)
    assert run.code == 3
    assert [json.loads(line)["event"] for line in run.stdout.splitlines()] == ["start", "error"]
    told = run.take_from_stderr(command.encode()) if command else []
    assert told == [f"{command}{value}".encode() for value in values]
    assert leaks(run.stdout + run.stderr, SECRETS) == []

    with (tmp_path / "log").open("wb") as log:
        assert watch(docker, *words, cwd=tmp_path, env=env, stderr=log).code == 3
    assert leaks((tmp_path / "log").read_bytes(), SECRETS) == []


@pytest.mark.parametrize(
    ("words", "env"),
    [
        (("build", "{}"), {}),
        (("plan", "-f", "{}", "."), {}),
        (("build", "."), {"BUILDX_CACHE_BUILD_CONTEXT": "base={}"}),
        (("build", "."), {"BUILDX_CACHE_CACHE_FROM": "type=gha,url={}"}),
        (("build", ".", "--progress", "json"), {"BUILDX_CACHE_CACHE_TO": "type=s3,bucket=b,endpoint_url={}"}),
        (("cache", "inspect", "{}"), {}),
        (("build", ".", "{}"), {}),
        (("build", "--no-such-option={}"), {}),
    ],
    ids=str,
)
def test_an_address_with_a_login_is_refused_before_anything_knows_it(
    docker: Docker, tmp_path: Path, words: tuple[str, ...], env: dict[str, str]
) -> None:
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    run = watch(
        docker,
        *(word.format(INDEX) for word in words),
        cwd=tmp_path,
        env={name: value.format(INDEX) for name, value in env.items()},
    )
    assert run.code == 2, run.stderr
    assert run.children == []
    assert len(run.stderr.splitlines()) == 2
    assert leaks(run.stdout + run.stderr, SECRETS) == []


# Each command and each scheme on a push; --all runs each with each.
@pytest.mark.parametrize(
    ("scheme", "words"),
    [
        pytest.param(scheme, words, marks=() if at == place else pytest.mark.soak)
        for at, scheme in enumerate(("tcp", "ssh", "http"))
        for place, words in enumerate((("build", "."), ("doctor",), ("plan", ".")))
    ],
    ids=str,
)
def test_the_login_of_an_engine_that_is_not_there_is_not_told(
    docker: Docker, tmp_path: Path, words: tuple[str, ...], scheme: str
) -> None:
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    run = watch(
        docker,
        *words,
        cwd=tmp_path,
        env={
            "DOCKER_HOST": f"{scheme}://user:{quote(LOGIN, safe='')}@127.0.0.1:9",
            "BUILDX_CACHE_BUILD_ARG": f"A_TOKEN={ARGUMENT}",
        },
    )
    assert run.code == 3, run.stderr
    assert run.children != []
    assert leaks(run.stdout + run.stderr, SECRETS) == []
    assert [each.argv for each in run.children if leaks(each.argv, SECRETS)] == []
    assert [each.argv for each in run.children if leaks(each.environ, {"argument": ARGUMENT})] == []
