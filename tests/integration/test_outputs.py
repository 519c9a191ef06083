"""What real shells make of the files that later steps read."""

from __future__ import annotations

import io
import subprocess
from pathlib import Path

import pytest

from buildx_cache.ci.capabilities import export, variable
from buildx_cache.ci.step_outputs import outputs, write_outputs
from tests.unit.test_ci_outputs import DIGEST, HOSTILE, IMAGE_ID, NAMES, PLATFORM_VALUES, TAGS, report

EVIL = Path("/tmp/evil")
VALUES = (DIGEST, *PLATFORM_VALUES, IMAGE_ID, ",".join(TAGS), "0.833", "5", "7")


def sourced(shell: str, path: Path, names: tuple[str, ...], before: str = "") -> list[str]:
    """The values of ``names`` after a shell read the file."""
    script = f"set -eu; {before} . {path}; " + "".join(f'printf "%s\\0" "${name}"; ' for name in names)
    ran = subprocess.run([shell, "-c", script], capture_output=True, check=True, env={"PATH": "/usr/bin:/bin"})
    assert ran.stderr == b""
    return ran.stdout.decode("utf-8", "surrogateescape").split("\0")[:-1]


@pytest.mark.parametrize("shell", ["bash", "sh"])
def test_a_later_step_has_the_values(tmp_path: Path, shell: str) -> None:
    path = tmp_path / "env"
    path.write_text("export BEFORE=1")  # without an end of line
    made = outputs(report("circleci"), {"BASH_ENV": str(path)}, image_id=IMAGE_ID)
    assert write_outputs(made, io.StringIO()) == ()
    assert sourced(shell, path, ("BEFORE", *map(variable, NAMES))) == ["1", *VALUES]


@pytest.mark.parametrize("shell", ["bash", "sh"])
def test_a_dotenv_file_can_be_sourced_too(tmp_path: Path, shell: str) -> None:
    path = tmp_path / "env"
    write_outputs(outputs(report("buildkite"), {}, image_id=IMAGE_ID, dotenv=str(path)), io.StringIO())
    assert sourced(shell, path, tuple(map(variable, NAMES)), before="set -a;") == [*VALUES]


@pytest.mark.parametrize("shell", ["bash", "sh"])
def test_a_hostile_value_stays_one(tmp_path: Path, shell: str) -> None:
    values = [value for value in HOSTILE if "\0" not in value and "\ud800" not in value]
    names = tuple(f"X{number}" for number in range(len(values)))
    path = tmp_path / "env"
    text = "".join(f"{export(name, value)}\n" for name, value in zip(names, values, strict=True))
    path.write_bytes(text.encode())
    assert sourced(shell, path, names) == values
    assert not EVIL.exists()
