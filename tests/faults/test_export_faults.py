"""A cache that cannot be written fails no build, and what went wrong is named; two caches at once leave both sound."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from buildx_cache import layout
from tests.faults.cases import WRITING, RegistryFault
from tests.faults.example import STEPS
from tests.faults.laboratory import Laboratory
from tests.faults.proxy import Proxy
from tests.integration.conftest import Ran
from tests.selection import quick


@contextmanager
def mounted(folder: Path, options: str) -> Iterator[Path]:
    """A file system of its own in memory."""
    if os.geteuid() != 0:
        pytest.skip("a file system of its own takes root")
    folder.mkdir()
    subprocess.run(("mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)), check=True)
    try:
        yield folder
    finally:
        subprocess.run(("umount", str(folder)), check=True)


def exported(ran: Ran) -> dict[str, str]:
    (entry,) = ran.report["cache"]["exports"]
    return dict(entry)


QUICK = ("404 for uploads",)  # refused at once; one that is denied has a test below


@pytest.mark.parametrize("fault", quick(WRITING, *QUICK))
def test_a_registry_cache_that_cannot_be_written_fails_no_build(
    laboratory: Laboratory, proxy: Proxy, fault: RegistryFault
) -> None:
    reference = f"{proxy.address}/{laboratory.registry_copy()}"
    image = f"{laboratory.docker.registry}/{uuid.uuid4().hex[:12]}/image:1"
    words = ("--cache", "registry", "--cache-ref", reference, "--push", "--tag", image)
    context, says = laboratory.context(1)

    with proxy.ruled(*fault.rules(laboratory.pristine.parts)):
        ran = laboratory.tool(*words, context=context)
        assert proxy.acted

    assert ran.code == 0, ran.stderr
    assert laboratory.says(image) == says
    assert ran.report["images"]["default"]["pushed"] is True
    assert ran.stdout.startswith(f"{image}@sha256:")
    assert exported(ran)["status"] == "failed"
    assert exported(ran)["detail"].startswith(fault.status)
    assert any(reference in warning for warning in ran.report["warnings"])

    again = laboratory.tool(*words)

    assert again.steps == (STEPS, STEPS, 0)


def test_a_cache_out_of_reach_fails_no_build(laboratory: Laboratory) -> None:
    image = f"{laboratory.docker.registry}/{uuid.uuid4().hex[:12]}/image:1"

    ran = laboratory.tool("--cache", "registry", "--cache-ref", "127.0.0.1:1/none:cache", "--push", "--tag", image)

    assert ran.code == 0, ran.stderr
    assert laboratory.says(image) == laboratory.pristine.says
    assert exported(ran)["detail"].startswith("unreachable")


def test_a_strict_call_fails_where_writing_is_denied(laboratory: Laboratory, proxy: Proxy) -> None:
    reference = f"{proxy.address}/{laboratory.registry_copy()}"
    fault = next(fault for fault in WRITING if fault.name == "403 for uploads")
    context, _ = laboratory.context(1)

    with proxy.ruled(*fault.rules(laboratory.pristine.parts)):
        ran = laboratory.tool("--cache", "registry", "--cache-ref", reference, "--strict-cache", context=context)

    assert ran.code == 7
    assert "403 Forbidden" in ran.stderr


@pytest.mark.soak  # a full disk: tests/faults/test_limits.py
def test_a_full_disk_fails_no_build_and_leaves_what_was_there(laboratory: Laboratory, tmp_path: Path) -> None:
    image = f"faults-{uuid.uuid4().hex[:8]}:1"
    with mounted(tmp_path / "full", "size=512k") as disk:
        words = ("--cache", "local", "--cache-dir", str(disk / "cache"), "--load", "--tag", image)

        ran = laboratory.tool(*words)

        assert ran.code == 0, ran.stderr
        assert laboratory.says(image) == laboratory.pristine.says
        assert exported(ran)["status"] == "failed"
        assert exported(ran)["detail"].startswith("full")

        subprocess.run(("mount", "-o", "remount,size=64m", str(disk)), check=True)
        laboratory.tool(*words)
        again = laboratory.tool(*words)

        assert again.steps == (STEPS, STEPS, 0)
        assert layout.verify(disk / "cache", deep=True) == ()


def test_a_cache_on_a_read_only_disk_is_read_where_that_is_all_that_is_asked(
    laboratory: Laboratory, tmp_path: Path
) -> None:
    image = f"faults-{uuid.uuid4().hex[:8]}:1"
    with mounted(tmp_path / "fixed", "size=64m") as disk:
        shutil.copytree(laboratory.pristine.folder, disk / "cache")
        subprocess.run(("mount", "-o", "remount,ro", str(disk)), check=True)
        words = ("--cache", "local", "--cache-dir", str(disk / "cache"), "--load", "--tag", image)

        refused = laboratory.tool(*words)
        ran = laboratory.tool(*words, "--cache-read-only")
        commands = {name: laboratory.docker.tool("cache", name, str(disk / "cache")) for name in ("verify", "prune")}

    assert {name: command.code for name, command in commands.items()} == {"verify": 0, "prune": 6}
    assert refused.code == 6
    assert "--cache-read-only" in refused.stderr
    assert ran.code == 0, ran.stderr
    assert laboratory.says(image) == laboratory.pristine.says
    assert ran.steps == (STEPS, STEPS, 0)


@pytest.mark.soak  # the lock itself: tests/unit/run/test_run_caches.py
def test_an_index_that_another_process_keeps_locked_fails_no_build(laboratory: Laboratory) -> None:
    image = f"faults-{uuid.uuid4().hex[:8]}:1"
    folder = laboratory.local_copy()
    with (folder / "index.json.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)

        ran = laboratory.tool("--cache", "local", "--cache-dir", str(folder), "--load", "--tag", image)

    assert ran.code == 0, ran.stderr
    assert laboratory.says(image) == laboratory.pristine.says
    assert exported(ran)["status"] == "failed"
    assert layout.verify(folder, deep=True) == ()


ATTRIBUTES = ("image-manifest=false", "oci-mediatypes=false", "compression=zstd")
MAIN = [f"{main} {attributes}" for main in ("local", "registry") for attributes in ATTRIBUTES]


@pytest.mark.parametrize("case", quick(MAIN, "local compression=zstd"))
def test_two_caches_written_at_once_are_both_whole(laboratory: Laboratory, case: str) -> None:
    main, _, attributes = case.partition(" ")
    folder = laboratory.folder / f"both-{uuid.uuid4().hex[:8]}"
    reference = f"{laboratory.docker.registry}/{uuid.uuid4().hex[:12]}/cache:1"
    options = {
        "local": ("--cache", "local", "--cache-dir", str(folder)),
        "registry": ("--cache", "registry", "--cache-ref", reference),
    }
    other = {"local": f"type=registry,ref={reference}", "registry": f"type=local,dest={folder}"}

    ran = laboratory.tool(*options[main], "--cache-to", f"{other[main]},mode=max,{attributes}")

    assert ran.code == 0, ran.stderr
    assert {entry["status"] for entry in ran.report["cache"]["exports"]} == {"written"}
    assert layout.verify(folder, deep=True) == ()
    for source in (f"type=local,src={folder}", f"type=registry,ref={reference}"):
        again = laboratory.tool("--cache", "none", "--cache-from", source)
        assert again.steps == (STEPS, STEPS, 0)
