"""What is large, odd, full or not there: it works, or fails with one clear line and the right exit code."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.conftest import PROGRAM, PROJECT, Docker, Ran
from tests.selection import quick
from tests.unit.command_line import ERROR_CODE

BUILD = ("build", "--driver", "docker", "--cache", "none")
ODD = "a b, \"c\" 'd'\nü"
"""A name with a space, a comma, quotes, a line break and a letter beyond ASCII."""


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a disk of one page, which a file fills."""
    if os.geteuid() != 0:
        pytest.skip("a disk of its own takes root")
    folder = tmp_path / "full"
    folder.mkdir()
    subprocess.run(("mount", "-t", "tmpfs", "-o", "size=4k", "limits", folder), check=True)
    try:
        (folder / "filler").write_bytes(bytes(4096))
        yield folder
    finally:
        subprocess.run(("umount", folder), check=True)


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A build context whose image holds its Dockerfile."""
    folder = tmp_path / "small"
    folder.mkdir()
    (folder / "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /\n")
    return folder


def raw(docker: Docker, *words: str | bytes, **env: str) -> subprocess.CompletedProcess[bytes]:
    """Run the program with words and output that need not be text."""
    return subprocess.run(
        (sys.executable, *PROGRAM, *words),
        env={**docker.child_env(), "PYTHONPATH": str(PROJECT), **env},
        cwd=PROJECT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )


def told(ran: Ran) -> tuple[int, str, str]:
    """The exit code and the last two lines: what failed, and what to do."""
    assert "Traceback" not in ran.stderr
    message, hint = (line for line in ran.stderr.splitlines() if line.startswith(("error: ", "hint: ")))
    return ran.code, ERROR_CODE.sub(r"\g<message>", message).removeprefix("error: "), hint.removeprefix("hint: ")


# --- large -------------------------------------------------------------------------------------------------


@pytest.mark.soak
def test_two_hundred_tags_and_five_thousand_build_arguments(docker: Docker, small: Path) -> None:
    repository = docker.repository("tags")
    tags = [word for number in range(200) for word in ("--tag", f"{repository}:{number}")]
    arguments = [word for number in range(5000) for word in ("--build-arg", f"ARGUMENT_{number}=value-{number}")]
    ran = docker.tool(*BUILD, *tags, "--push", *arguments, str(small))
    assert ran.code == 0, ran.stderr[-2000:]
    assert [line.partition("@")[0] for line in ran.stdout.splitlines()] == tags[1::2]


def test_a_value_that_no_command_line_can_hold(docker: Docker, small: Path) -> None:
    (small / "buildx-cache.toml").write_text(f'build-arg = ["LONG={200_000 * "x"}"]\n')
    assert told(docker.tool(*BUILD, str(small))) == (
        2,
        "the docker command line is too long for this system: at most 128 KiB a word, about 2 MB in all",
        "give large values in files: --secret id=NAME,src=FILE, or files of the build context",
    )


@pytest.mark.soak
def test_ten_thousand_files_and_a_line_of_ten_megabytes(docker: Docker, tmp_path: Path) -> None:
    for number in range(10_000):
        (tmp_path / f"file-{number}").touch()
    steps = "RUN head -c 10000000 /dev/zero | tr '\\0' x; test $(ls /all | wc -l) = 1"
    (tmp_path / "Dockerfile").write_text(f"FROM {docker.base}\nCOPY file-* /all/\n{steps}\n")
    ran = docker.tool(*BUILD, "--no-cache", str(tmp_path))
    assert ran.code == 1
    assert "exit code: 1" in ran.stderr
    assert len(ran.stderr) < 1_000_000


# --- odd ---------------------------------------------------------------------------------------------------


def test_bytes_that_are_no_text(docker: Docker, tmp_path: Path) -> None:
    odd = os.fsencode(tmp_path / "context-") + b"\xff"
    Path(os.fsdecode(odd)).mkdir()
    text = f"FROM {docker.base}\n# \udcfe\nRUN printf '\\377\\376 log\\n'\n"
    Path(os.fsdecode(odd + b"/Docker\xfefile")).write_bytes(text.encode("utf-8", "surrogateescape"))
    report = os.fsencode(tmp_path) + b"/report-\xff.json"
    ran = raw(docker, *BUILD, "--no-cache", "--report", report, "-f", odd + b"/Docker\xfefile", odd, ODD_BYTES="\udcff")
    assert b"Traceback" not in ran.stderr
    assert ran.returncode == 1, ran.stderr
    assert b"hint: rename the file, or encode the value in UTF-8" in ran.stderr
    assert os.path.exists(report)  # noqa: PTH110 -- a name of bytes


def test_odd_paths(docker: Docker, tmp_path: Path) -> None:
    context = tmp_path / ODD
    context.mkdir()
    (context / ODD).write_text(f"FROM {docker.base}\nRUN --mount=type=secret,id=s grep -q word /run/secrets/s\n")
    (tmp_path / "secret, a").write_text("word")
    report = tmp_path / f"{ODD}.json"
    ran = raw(
        docker,
        *BUILD,
        *("--no-cache", "--report-md", str(report), "--secret", f'id=s,"src={tmp_path}/secret, a"'),
        *("-f", str(context / ODD), str(context)),
    )
    assert ran.returncode == 0, ran.stderr.decode()
    assert report.exists()


def test_an_odd_cache_folder(docker: Docker, small: Path, tmp_path: Path) -> None:
    folder = tmp_path / "a b, \"c\" 'd'"
    words = ("--driver", "docker", "--cache", "local", "--cache-dir", str(folder), str(small))
    docker.build(*words)
    assert (folder / "index.json").exists()
    assert [entry["status"] for entry in docker.build(*words).report["cache"]["imports"]] == ["hit"]


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-"])
def test_a_closed_stream(docker: Docker, small: Path, closed: str) -> None:
    line = f'exec "$@" {closed}'
    ran = subprocess.run(
        ("sh", "-c", line, "sh", sys.executable, *PROGRAM, *BUILD, str(small)),
        env=docker.child_env(),
        cwd=PROJECT,
        capture_output=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr


@pytest.mark.parametrize("env", [{"LC_ALL": "C", "PYTHONUTF8": "0"}, {"PYTHONIOENCODING": "ascii:strict"}], ids=str)
def test_no_locale(docker: Docker, small: Path, env: dict[str, str]) -> None:
    (small / "Dockerfile").write_text(f"FROM {docker.base}\nRUN echo 'grün ✓'; false\n")
    ran = raw(docker, *BUILD, "--no-cache", str(small), PYTHONCOERCECLOCALE="0", **env)
    assert ran.returncode == 1
    assert b"error: RUN echo 'gr" in ran.stderr


# --- not there ---------------------------------------------------------------------------------------------


def test_a_working_directory_that_is_gone(docker: Docker, tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    ran = subprocess.run(
        ("sh", "-c", f'rmdir "{gone}"; exec "$@"', "sh", sys.executable, *PROGRAM, "build", "/"),
        env={**docker.child_env(), "PYTHONPATH": str(PROJECT)},
        cwd=gone,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, ran.stderr.splitlines()[0]) == (
        2,
        "error: the working directory cannot be read: No such file or directory [working-directory-absent]",
    )


@pytest.mark.parametrize("value", ["", "/proc", "/nonexistent/home"])
def test_a_home_that_is_of_no_use(docker: Docker, small: Path, value: str) -> None:
    ran = docker.tool(*BUILD, str(small), env={"HOME": value, "XDG_CACHE_HOME": ""})
    assert ran.code == 0, ran.stderr


def test_no_git(docker: Docker, small: Path, tmp_path: Path) -> None:
    found = shutil.which("docker", path=docker.child_env()["PATH"])
    assert found
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "docker").symlink_to(found)
    ran = docker.tool(*BUILD, str(small), env={"PATH": str(tmp_path / "bin")})
    assert ran.code == 0, ran.stderr


# --- full --------------------------------------------------------------------------------------------------


def test_a_full_disk_under_the_cache_folder(docker: Docker, small: Path, full_disk: Path) -> None:
    ran = docker.tool(
        "build", "--driver", "docker", "--cache", "local", "--cache-dir", str(full_disk / "cache"), str(small)
    )
    assert ran.code == 0, ran.stderr
    assert "no space left on device" in ran.stderr, ran.stderr
    assert [each["status"] for each in ran.report["cache"]["exports"]] == ["failed"]


@pytest.mark.parametrize("kind", quick(["local", "tar", "oci"], "local", "oci"))
def test_a_full_disk_under_an_output(docker: Docker, small: Path, full_disk: Path, kind: str) -> None:
    output = f"type={kind},dest={full_disk / 'out'}"
    ran = docker.tool("build", *docker.container_builder, "--cache", "none", "-o", output, str(small))
    code = "output-failed" if kind == "local" else "client-disk-full"
    assert (ran.code, ran.report["error"]["code"]) == (6, code), ran.stderr


def test_a_full_disk_under_a_report(docker: Docker, small: Path, full_disk: Path) -> None:
    code, message, hint = told(docker.tool(*BUILD, "--report-md", str(full_disk / "report.md"), str(small)))
    assert (code, hint) == (6, "give another --report-md")
    assert message == f"the report cannot be written to {full_disk}/report.md: No space left on device"


def test_a_full_disk_under_temporary_files(docker: Docker, small: Path, full_disk: Path) -> None:
    """They go elsewhere; ``tests/unit/test_scratch.py`` has what is told where there is no other place."""
    ran = docker.tool(*BUILD, str(small), env={"TMPDIR": str(full_disk)})
    assert ran.code == 0, ran.stderr
