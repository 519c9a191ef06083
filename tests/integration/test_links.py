"""Builds of a repository that has committed links where results are written."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

import pytest

from tests.integration.conftest import Docker
from tests.integration.test_plan import shimmed

OPTIONS = {
    "--report": "report.json",
    "--report-html": "report.html",
    "--report-junit": "report.xml",
    "--report-md": "report.md",
    "--dotenv": "dotenv",
    "--metadata-file": "metadata.json",
    "--iidfile": "id",
}
# A docker that exchanges the folder for a link before it builds.
EXCHANGES = """\
#!/bin/sh
case "$*" in *"buildx build"*) rmdir "{results}" && cp -P "{link}" "{results}" ;; esac
exec {docker} "$@"
"""
SCRATCH = "FROM scratch\nCOPY word /\n"


def state(folder: Path) -> str:
    found = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if not path.is_dir():
            found.update(f"{path}\0{os.lstat(path).st_mode}\0".encode() + path.read_bytes())
    return found.hexdigest()


@pytest.fixture
def repository(project: Path, home: Path) -> Path:
    (project / ".git").mkdir()
    (project / "Dockerfile").write_text(SCRATCH)
    (project / "out").symlink_to(home / "precious")
    (home / "precious").mkdir()
    for name in OPTIONS.values():
        (home / "precious" / name).write_text("mine\n")
    return project


def test_a_committed_link_is_refused(docker: Docker, repository: Path, home: Path) -> None:
    """Each option at each position is in the table of the unit tests."""
    before = state(home / "precious")
    for option in ("--report", "--dotenv", "--iidfile"):
        name = OPTIONS[option]
        command = "plan" if option == "--dotenv" else "build"
        ran = docker.tool(command, "--driver", "docker", option, f"out/{name}", ".", cwd=repository)
        assert (ran.code, "out" in ran.stderr) == (2, True), (option, ran.stderr)
    assert state(home / "precious") == before


def test_a_build_writes_all_files_in_ordinary_folders_of_the_working_copy(docker: Docker, repository: Path) -> None:
    words = [word for option, name in OPTIONS.items() for word in (option, f"results/{name}")]
    results = repository / "results"
    results.mkdir()
    (results / "id").write_text("stale")
    build = ("build", "--driver", "docker", "--cache", "none", *words[2:])
    (repository / "Dockerfile").write_text("FROM scratch\nCOPY absent /\n")
    failed = docker.tool(*build, ".", cwd=repository)
    assert (failed.code, (results / "id").exists()) == (1, False)
    (repository / "Dockerfile").write_text(SCRATCH)
    docker.build(*build[1:], ".", cwd=repository)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in results.iterdir()}
    assert modes == {
        name: 0o600 if option.startswith("--report") else 0o644 for option, name in list(OPTIONS.items())[1:]
    }
    assert (results / "id").read_text().startswith("sha256:")
    assert "buildx.build.ref" in (results / "metadata.json").read_text()


def test_a_folder_that_becomes_a_link_while_the_build_runs_leads_nowhere(
    docker: Docker, repository: Path, home: Path
) -> None:
    before = state(home / "precious")
    results = repository / "results"
    results.mkdir()
    env = shimmed(
        docker, home / "bin", EXCHANGES.replace("{results}", str(results)).replace("{link}", str(repository / "out"))
    )
    words = [word for option, name in OPTIONS.items() for word in (option, f"results/{name}")]
    ran = docker.tool("build", "--driver", "docker", "--cache", "none", *words[2:], ".", cwd=repository, env=env)
    assert (ran.code, results.is_symlink()) == (6, True), ran.stderr
    assert state(home / "precious") == before
