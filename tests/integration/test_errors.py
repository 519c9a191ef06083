"""What a failing build says at its end: what failed, what to do, the log of the step and its place in the Dockerfile.

``tests/unit/test_diagnose.py`` has the whole table of causes; these are real builds of rows that need no other machine.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.integration.conftest import Docker

NO_DIGEST = "sha256:" + "0" * 64
FOREIGN = "\x7fELF\x02\x01\x01" + "\0" * 9 + "\x02\0\xb7\0\x01" + "\0" * 60
"""The head of a program for arm64, which no emulator can run either: it has no segments."""


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A Dockerfile in which {base} and {registry} are filled in, and what its build says at the end."""

    dockerfile: str
    options: tuple[str, ...] = ()
    files: dict[str, str] = field(default_factory=dict)
    says: tuple[str, ...]


FAILURES = {
    "killed": Failure(
        dockerfile="FROM {base}\nRUN echo linking; sh -c 'kill -9 $$' || exit $?\n",
        says=("exit code: 137", "out of memory", "linking", ">>> RUN echo linking"),
    ),
    "no-such-command": Failure(
        dockerfile="FROM {base}\nRUN no-such-command --all\n",
        says=("exit code: 127", "install it in a RUN", "no-such-command: not found", ">>> RUN no-such-command"),
    ),
    "windows-line-endings": Failure(
        dockerfile="FROM {base}\nCOPY --chmod=755 go.sh /\nRUN /go.sh\n",
        files={"go.sh": "#!/bin/sh\r\necho hello\r\n"},
        says=("exit code: 127", "CRLF", "/go.sh: not found"),
    ),
    "foreign-program": Failure(
        dockerfile='FROM {base}\nCOPY --chmod=755 program /\nRUN ["/program"]\n',
        files={"program": FOREIGN},
        says=("for another platform", "change --platform", "exec /program: exec format error", '>>> RUN ["/program"]'),
    ),
    "hidden-by-dockerignore": Failure(
        dockerfile="FROM {base}\nCOPY notes.md /\n",
        files={"notes.md": "x", ".dockerignore": "*.md\n"},
        says=("COPY notes.md /: failed", '"/notes.md": not found', "a line of .dockerignore", ">>> COPY notes.md"),
    ),
    "no-such-stage": Failure(
        dockerfile="FROM {base} AS build\n",
        options=("--target", "biuld"),
        says=('target stage "biuld" could not be found', "--target names no stage"),
    ),
    "no-secret": Failure(
        dockerfile="FROM {base}\nRUN --mount=type=secret,id=token,required=true true\n",
        says=("secret token: not found", "add --secret id=", ">>> RUN --mount=type=secret"),
    ),
    "checksum": Failure(
        dockerfile=f"FROM {{base}}\nADD --checksum={NO_DIGEST} http://{{registry}}/v2/ /answer\n",
        says=("digest mismatch sha256:", "change --checksum"),
    ),
    "no-such-syntax": Failure(
        dockerfile="# syntax={registry}/nobody/frontend:9\nFROM {base}\n",
        says=("nobody/frontend:9: not found", "`# syntax` line", ">>> # syntax="),
    ),
    "flag-of-a-newer-frontend": Failure(
        dockerfile="FROM {base}\nRUN --security-of-tomorrow=insecure true\n",
        says=(
            "parse error on line 2: unknown flag: --security-of-tomorrow",
            "`# syntax=docker/dockerfile:1`",
            ">>> RUN",
        ),
    ),
}


@pytest.mark.parametrize("name", FAILURES)
def test_a_failed_build_says_what_to_do(docker: Docker, tmp_path: Path, name: str) -> None:
    failure = FAILURES[name]
    context = tmp_path / "context"
    context.mkdir()
    for file, content in failure.files.items():
        (context / file).write_bytes(content.encode("latin-1"))
    (context / "Dockerfile").write_text(failure.dockerfile.format(base=docker.base, registry=docker.registry))
    ran = docker.tool("build", "--driver", "docker", "--cache", "none", *failure.options, str(context))
    assert (ran.code, ran.stdout) == (1, ""), ran.stderr
    assert [words for words in failure.says if words not in ran.stderr] == [], ran.stderr
