"""The README's demo, from a directory that is not the project's; by itself and twice it also prepares Python anew."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.integration.conftest import PROJECT, Docker


# The other kinds on a container builder: test_caches.py.
@pytest.mark.parametrize(
    ("kinds", "times"), [(("local",), 1), pytest.param((), 2, marks=pytest.mark.soak)], ids=["once", "twice"]
)
def test_the_demo_is_warm_with_every_kind_of_cache(
    docker: Docker, tmp_path: Path, kinds: tuple[str, ...], times: int
) -> None:
    env = {name: value for name, value in docker.child_env().items() if not name.startswith("ENGINE_")}
    if times == 1:  # with the Python environment that is kept: that of these tests, where test.sh has begun them
        env["XDG_CACHE_HOME"] = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    for _ in range(times):
        done = subprocess.run(
            ("sh", str(PROJECT / "docker" / "demo.sh"), *kinds),
            env=env,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        rows = [line for line in done.stdout.splitlines() if "warm" in line]
        assert [("12 (100%)" in row) for row in rows] == [True] * (len(kinds) or 3)
        assert max(map(len, done.stdout.splitlines())) <= 80
        assert "The image says: hello from" in done.stdout
