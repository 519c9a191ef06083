"""Who may hold a folder together with whom."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from buildx_cache import layout
from buildx_cache.errors import ExhaustedError, ExitCode
from buildx_cache.layout import Sharing, locking


def test_builds_share_a_folder_and_upkeep_is_alone(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "cache"
    with layout.lock(folder, timeout=0, sharing=Sharing.SHARED):
        with layout.lock(folder, timeout=0, sharing=Sharing.SHARED):
            pass
        with pytest.raises(ExhaustedError), layout.lock(folder, timeout=0):
            pass
    with layout.lock(folder, timeout=0):
        for sharing in Sharing:
            with pytest.raises(ExhaustedError), layout.lock(folder, timeout=0, sharing=sharing):
                pass


def test_the_error_of_a_lock_that_timed_out(tmp_path: Path) -> None:
    with layout.lock(tmp_path, timeout=0), pytest.raises(ExhaustedError) as caught, layout.lock(tmp_path, timeout=0.1):
        pass
    assert caught.value.message == f"another build holds the cache folder {tmp_path} (waited 0.1s)"
    assert "--cache-dir" in caught.value.hint
    assert caught.value.exit_code is ExitCode.EXHAUSTED


def test_a_lock_is_had_as_soon_as_the_other_lets_go(tmp_path: Path) -> None:
    taken, release = threading.Event(), threading.Event()

    def hold() -> None:
        with layout.lock(tmp_path, timeout=0):
            taken.set()
            release.wait()

    holder = threading.Thread(target=hold)
    holder.start()
    taken.wait()
    started = time.time()
    threading.Timer(0.1, release.set).start()
    with layout.lock(tmp_path, timeout=60) as held:
        assert held.folder == tmp_path
        assert started <= held.since <= time.time()
    holder.join()


def test_a_lock_is_released_by_an_error(tmp_path: Path) -> None:
    with pytest.raises(KeyError), layout.lock(tmp_path, timeout=0):
        raise KeyError
    with layout.lock(tmp_path, timeout=0):
        pass


def test_a_lock_file_that_was_deleted_meanwhile_is_not_taken_for_the_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts: list[int] = []
    attempt = locking._try

    def deleted_at_first(file: int, sharing: Sharing) -> bool:
        if not attempts:
            (tmp_path / locking.LOCK).unlink()
        attempts.append(file)
        return attempt(file, sharing)

    monkeypatch.setattr(locking, "_try", deleted_at_first)
    with layout.lock(tmp_path, timeout=10):
        assert len(attempts) == 2
        assert os.path.samestat(os.fstat(attempts[-1]), (tmp_path / locking.LOCK).stat())


def test_a_symbolic_link_is_no_lock(tmp_path: Path) -> None:
    (tmp_path / locking.LOCK).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ExhaustedError, match="cannot be locked"), layout.lock(tmp_path, timeout=0):
        pass
    assert not (tmp_path / "elsewhere").exists()


def test_a_file_in_the_folders_place_cannot_be_locked(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ExhaustedError) as caught, layout.lock(tmp_path / "file", timeout=0):
        pass
    assert "make it a folder" in caught.value.hint


def test_a_folder_that_cannot_be_written_is_shared_without_a_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_only(*_: object) -> int:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(locking, "_acquire", read_only)
    with layout.lock(tmp_path, timeout=0, sharing=Sharing.SHARED):
        pass
    with pytest.raises(ExhaustedError, match="Read-only file system"), layout.lock(tmp_path, timeout=0):
        pass
