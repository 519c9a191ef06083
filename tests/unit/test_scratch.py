"""Folders for the time of a call, and those that killed calls left."""

from __future__ import annotations

import contextlib
import shutil
import signal
import stat
import tempfile
from pathlib import Path

import pytest

from buildx_cache import scratch
from buildx_cache.errors import ExhaustedError, InterruptedBuildError
from buildx_cache.interrupts import interruptible
from buildx_cache.scratch import scratch_folder


def left(place: Path) -> list[str]:
    return sorted(entry.name.partition("-call-")[0] for entry in place.iterdir())


def test_a_folder_is_private_and_gone_afterwards(tmp_path: Path) -> None:
    with scratch_folder(tmp_path) as folder:
        (folder / "secret").write_text("hunter2")
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert stat.S_IMODE((folder / ".lock").stat().st_mode) == 0o600
        assert folder.parent == tmp_path
    assert left(tmp_path) == []


def test_no_private_folder_lies_in_a_working_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job's XDG_RUNTIME_DIR or TMPDIR may be there: the login would be sent with the build context."""
    wanted, other = tmp_path / "copy" / "run", tmp_path / "other"
    for folder in (tmp_path / "copy" / ".git", wanted, other):
        folder.mkdir(parents=True)
    monkeypatch.setattr(scratch, "_OTHERS", (other,))
    with scratch_folder(wanted) as folder:
        assert folder.parent == other
    monkeypatch.setattr(scratch, "_OTHERS", ())
    with scratch_folder(wanted) as folder:
        assert folder.parent == wanted


def test_what_a_killed_call_left_goes_and_what_others_use_stays(tmp_path: Path) -> None:
    dead = tmp_path / "buildx-cache-call-dead"
    dead.mkdir()
    (dead / ".lock").touch()
    (dead / "config.json").write_text("hunter2")
    for name in ("buildx-cache", "buildx-cache-mine", "buildx-cache-call-unlocked"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").touch()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / ".lock").touch()
    (tmp_path / "buildx-cache-call-link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "buildx-cache-call-file").touch()
    with scratch_folder(tmp_path) as first, scratch_folder(tmp_path) as second:
        assert not dead.exists()
        assert first.is_dir()
        assert second.is_dir()
        assert (tmp_path / "elsewhere" / ".lock").exists()
    assert len(left(tmp_path)) == 6


def test_folders_of_another_user_are_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another user may make hundreds of thousands, and each call makes several folders."""
    theirs = tmp_path / "buildx-cache-call-theirs"
    theirs.mkdir()
    asked: list[Path] = []
    monkeypatch.setattr(scratch, "exposure_of", lambda path, _: asked.append(path))
    monkeypatch.setattr(scratch, "exposure_on_the_way", lambda _: None)
    monkeypatch.setattr("os.geteuid", lambda: theirs.stat().st_uid + 1)
    with scratch_folder(tmp_path):
        assert not asked


def test_a_lock_that_is_no_file_of_ours_is_not_followed(tmp_path: Path) -> None:
    odd = tmp_path / "buildx-cache-call-odd"
    odd.mkdir()
    (odd / ".lock").symlink_to(tmp_path / "buildx-cache-call-odd")
    with scratch_folder(tmp_path):
        assert odd.is_dir()


@pytest.mark.parametrize("at", ["mkdtemp", "_lock"])
def test_a_signal_between_making_and_knowing_a_folder_leaves_none(
    tmp_path: Path, at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = tempfile if at == "mkdtemp" else scratch
    real = getattr(owner, at)

    def signalled(*given: object, **named: object) -> object:
        made = real(*given, **named)
        signal.raise_signal(signal.SIGTERM)
        return made

    monkeypatch.setattr(owner, at, signalled)
    with pytest.raises(InterruptedBuildError), interruptible(), scratch_folder(tmp_path):
        raise AssertionError
    assert left(tmp_path) == []


def test_a_signal_while_a_folder_is_deleted_leaves_nothing_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = shutil.rmtree

    def signalled(path: Path, *, ignore_errors: bool) -> None:
        signal.raise_signal(signal.SIGTERM)
        real(path, ignore_errors=ignore_errors)

    monkeypatch.setattr(shutil, "rmtree", signalled)
    with pytest.raises(InterruptedBuildError), interruptible(), scratch_folder(tmp_path):
        pass
    assert left(tmp_path) == []


def test_where_no_folder_can_be_made_that_is_said(tmp_path: Path) -> None:
    absent = scratch_folder(tmp_path / "absent")
    with pytest.raises(ExhaustedError, match="no temporary folder can be made: No such file"), absent:
        raise AssertionError


def test_an_error_of_the_call_is_not_taken_for_one_of_the_folder(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="mine"), scratch_folder(tmp_path):
        raise OSError("mine")


def test_no_descriptor_is_left(tmp_path: Path) -> None:
    def count() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    before = count()
    for _ in range(3):
        with contextlib.suppress(ValueError), scratch_folder(tmp_path):
            raise ValueError
    assert count() == before


def test_a_full_disk_under_a_temporary_file_is_a_resource() -> None:
    with pytest.raises(ExhaustedError, match="no temporary file can be made: No space left"), scratch.making("file"):
        raise OSError(28, "No space left on device")
