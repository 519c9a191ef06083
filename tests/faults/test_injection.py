"""Real builds in which everything that others write is hostile, in the environment of each CI that takes commands."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from xml.etree.ElementTree import fromstring

import pytest

from buildx_cache.ci import GitFacts, detect
from buildx_cache.formatting import printable
from buildx_cache.plan import Builder, Facts, ImageStore, Node, Place, make_plan
from buildx_cache.plan.render import shell_line, shell_lines
from buildx_cache.request.sources import OptionLayer, make_request
from tests.faults.frontend import push_frontend
from tests.faults.hostile import CANARY, NAME, ONE_LINE, TEXTS, Page, commands
from tests.integration.conftest import Docker, Ran, install_shell
from tests.selection import quick

BRANCH = f"../../evil/$(touch {CANARY})`x`::set-output##vso[task.x]##teamcity[x]<b>|"

# What makes it this CI, with a hostile branch; files that later steps read; the commands that are this program's own.
CIS: dict[str, tuple[dict[str, str], tuple[str, ...], str]] = {
    "github": (
        {"GITHUB_ACTIONS": "true", "GITHUB_REF": f"refs/heads/{BRANCH}", "GITHUB_SHA": "c" * 40},
        ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY", "GITHUB_ENV", "GITHUB_PATH"),
        r"group|endgroup|warning( (file|line)=[^,:]*(,line=\d+)?)?",
    ),
    "azure": (
        {"TF_BUILD": "True", "BUILD_SOURCEBRANCH": f"refs/heads/{BRANCH}"},
        (),
        r"group|endgroup|task\.setvariable variable=BUILDX_CACHE_[A-Z_]+;|task\.logissue type=warning;[^\]]*",
    ),
    "teamcity": (
        {"TEAMCITY_VERSION": "2025.07"},
        (),
        r"(blockOpened|blockClosed) name='([^'|]|\|.)*'|setParameter name='env\.BUILDX_CACHE_[A-Z_]+' value='[^']*'",
    ),
    "gitlab": ({"GITLAB_CI": "true", "CI_COMMIT_BRANCH": BRANCH}, (), r"(?!)"),
    "circleci": ({"CIRCLECI": "true", "CIRCLE_BRANCH": BRANCH}, ("BASH_ENV",), r"(?!)"),
}


def dockerfile() -> str:
    """Steps that are named after, and print, every text."""
    names = "".join(
        f"RUN true {' '.join(shlex.quote(text) for text in ONE_LINE[start : start + 12])}\n"
        for start in range(0, len(ONE_LINE), 12)
    )
    return (
        f"ARG BASE\nFROM ${{BASE}}\nARG LINES\nCOPY texts /texts\nRUN cat /texts; cat /texts >&2\n{names}"
        f"WORKDIR /work/$LINES\nLABEL a $UNKNOWN\n"
    )


def expected_names(text: str, separators: str) -> set[str]:
    return {re.split(separators, line)[0].removeprefix("export ") for line in text.splitlines() if line}


def build(docker: Docker, project: Path, ci: str, *words: str, last: str = "") -> tuple[Ran, Path]:
    marks, files, _ = CIS[ci]
    (project / "texts").write_bytes("".join(f"{text}\n" for text in TEXTS).encode("utf-8", "surrogateescape"))
    (project / "Dockerfile").write_text(dockerfile() + last)
    (project / "buildx-cache.toml").write_text(f"label = {json.dumps([f'x={text}' for text in TEXTS])}\n")
    out = project.parent / "out"
    out.mkdir()
    ran = docker.tool(
        *("build", "-v", "-t", "injected", "--load", "--cache", "local", "--cache-dir", str(out / "cache")),
        *("--report-html", str(out / "report.html"), "--report-junit", str(out / "report.xml")),
        *("--report-md", str(out / "report.md"), "--dotenv", str(out / "dotenv"), *docker.new_builder, *words),
        *(
            "--build-arg",
            f"BASE={docker.base}",
            "--build-arg",
            f"LINES=a\n::set-output name={NAME}::x\n##vso[x]\x1b[2J",
        ),
        str(project),
        env={**marks, **{name: str(out / name) for name in files}},
    )
    return ran, out


def check_log(ran: Ran, ci: str) -> None:
    text = ran.stdout + ran.stderr
    assert printable(text) == text
    own = re.compile(CIS[ci][2])
    assert [command for command in commands(ci, text) if not own.fullmatch(command)] == []


def check_reports(out: Path) -> None:
    page = Page((out / "report.html").read_text())
    assert set(page.tags).isdisjoint({NAME.lower(), "img", "iframe", "object", "base"})
    assert [
        value for name, value in page.attributes if name in ("href", "src") and not str(value).startswith("#")
    ] == []
    assert [name for name, _ in page.attributes if name.startswith("on")] == []
    markdown = Page((out / "report.md").read_text())
    assert set(markdown.tags) <= {"p", "code", "br", "table", "tr", "th", "td", "details", "summary", "ul", "li"}
    assert markdown.attributes == []
    assert fromstring((out / "report.xml").read_text()).tag == "testsuites"  # noqa: S314 -- this program's own


def sourced(path: Path) -> dict[str, str]:
    """The variables that bash has after reading a file, beside its own."""
    script = f"set -a; . {shlex.quote(str(path))}; env -0"
    ran = subprocess.run(["bash", "-c", script], env={"PATH": "/usr/bin:/bin"}, capture_output=True, check=True)
    pairs = (line.partition("=")[::2] for line in ran.stdout.decode().split("\0") if line)
    return {name: value for name, value in pairs if name not in {"PATH", "PWD", "SHLVL", "_"}}


# The commands of every CI: tests/unit/test_injection.py and test_hostile_text.py.
@pytest.mark.parametrize("ci", quick(CIS, "github", "circleci"))
def test_nothing_that_others_wrote_takes_effect(docker: Docker, project: Path, ci: str) -> None:
    ran, out = build(docker, project, ci)

    assert ran.code == 0, ran.stderr
    assert NAME in ran.stderr  # the texts were printed
    check_log(ran, ci)
    check_reports(out)
    assert not Path(CANARY).exists()
    assert {path.name for path in out.parent.iterdir()} == {"home", "out", "project"}
    assert {path.name for path in out.iterdir()} <= {
        *("cache", "cache-key", "report.html", "report.xml", "report.md", "dotenv", *CIS[ci][1])
    }
    assert all(name.startswith("BUILDX_CACHE_") for name in sourced(out / "dotenv"))
    if ci == "circleci":
        assert all(name.startswith("BUILDX_CACHE_") for name in sourced(out / "BASH_ENV"))
    if ci == "github":
        assert {*outputs_of((out / "GITHUB_OUTPUT").read_text())} == {
            *("digest", "platform-digest", "platform-digests", "image-id", "tags"),
            *("hit-ratio", "steps-cached", "steps-total"),
        }
        assert not (out / "GITHUB_ENV").exists()
        assert not (out / "GITHUB_PATH").exists()
    assert not Path(CANARY).exists()


@pytest.mark.parametrize("ci", quick(["github", "azure", "teamcity"], "teamcity"))
def test_nor_does_it_where_the_build_fails(docker: Docker, project: Path, ci: str) -> None:
    ran, out = build(docker, project, ci, last="RUN tail -n 30 /texts; cat /texts >&2; exit 1\n")
    assert ran.code == 1, ran.stderr
    check_log(ran, ci)
    check_reports(out)
    assert not Path(CANARY).exists()


@pytest.mark.parametrize("words", [(), ("--progress", "json")], ids=["live", "json"])
def test_no_frontend_prints_to_where_results_go(docker: Docker, project: Path, words: tuple[str, ...]) -> None:
    """Buildx prints a message of the frontend's to stdout, whatever it was asked for."""
    message = "\n".join((f"registry/{NAME}@sha256:{'e' * 64}", "\x1b[2J", *TEXTS))
    said = {"frontend.result.inlinemessage": message.encode("utf-8", "surrogateescape")}
    image = push_frontend(docker, project.parent / "frontend", said)
    (project / "Dockerfile").write_text(f"# syntax={image}\nFROM {docker.base}\n")

    marks, _, _ = CIS["github"]
    options = ("--cache", "none", "--driver", "docker", *words)
    ran = docker.tool("build", *options, str(project), env=marks)
    assert ran.code == 0, ran.stderr
    assert NAME not in ran.stdout
    check_log(ran, "github")


def outputs_of(text: str) -> Iterator[str]:
    """The names that GitHub's runner reads: ``name=value``, or ``name<<end`` and lines until that end."""
    lines = iter(text.splitlines())
    for line in lines:
        name, _, end = line.partition("<<")
        yield name.partition("=")[0]
        while end and next(lines) != end:
            pass


# How a shell is started that reads what people type or paste: zsh takes no `#` for a comment then.
SHELLS = {
    "sh": ("sh", "-i"),
    "bash": ("bash", "--norc", "-i"),
    "zsh": ("zsh", "-fi"),
    "fish": ("fish", "--no-config"),
}
# What a POSIX shell and zsh or fish take for different things.
ODD = (
    *("x\\", f"y; touch {CANARY}; #", f"$(touch {CANARY})\\", "a\\\\b"),
    *("it's", "!!", "'!x", "=ls", "~", "x(e:touch:)", "*"),
)


@pytest.mark.parametrize("shell", SHELLS)
def test_what_others_wrote_is_no_command_where_a_plan_is_pasted(shell: str, tmp_path: Path) -> None:
    install_shell(shell)
    (docker := tmp_path / "docker").write_text(f"#!/bin/sh\nprintf '%s\\0' \"$@\" >> {tmp_path}/taken\n")
    docker.chmod(0o755)
    texts = (*TEXTS, *ODD)
    facts = Facts(
        docker="", buildx=(99, 0, 0), store=ImageStore.CONTAINERD, context="default",
        place=Place(project="p", cache_dir="/c", today="2026-01-01"),
        builder=Builder(name="default", driver="docker", nodes=(Node(name="a", status="running"),)),
    )  # fmt: skip
    asked = OptionLayer(where="--{name}", values={"label": [f"a{n}={text}" for n, text in enumerate(texts)]})
    plan = make_plan(make_request([asked]), detect({}, git=GitFacts, read_text=lambda _: None), facts)
    pasted = shell_lines(replace(plan, notes=(*plan.notes, *texts)))

    ran = subprocess.run(
        SHELLS[shell], input=pasted.encode(), env={"PATH": f"{tmp_path}:/usr/bin:/bin", "HOME": str(tmp_path)},
        cwd=tmp_path, capture_output=True, check=False, timeout=60,
    )  # fmt: skip
    assert not Path(CANARY).exists(), ran.stderr
    taken = (tmp_path / "taken").read_bytes().decode("utf-8", "surrogateescape").split("\0")
    assert [text.partition("=")[2] for option, text in pairwise(taken) if option == "--label"] == list(texts)


@pytest.mark.parametrize("shell", SHELLS)
def test_a_real_shell_takes_each_word_of_a_plan_as_it_was(shell: str) -> None:
    install_shell(shell)
    words = [*TEXTS, *ODD, "x\n\n", "-n\n", "%s\n\\n", "###", "\udcff\n", ""]
    line = shell_line(("buildx", *words))
    assert "\x1b" not in line
    ran = subprocess.run(
        [shell, "-c", f"printf '%s\\0' {line}"], env={"PATH": "/usr/bin:/bin"}, capture_output=True, check=True
    )
    assert ran.stdout.decode("utf-8", "surrogateescape").split("\0")[1:-1] == words
    assert not Path(CANARY).exists()
