"""Who may hold a folder together with whom."""

from __future__ import annotations

import os
import stat
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from buildx_cache import layout
from buildx_cache.errors import ExhaustedError, ExitCode
from buildx_cache.layout import FindingKind, Sharing, locking
from buildx_cache.layout.parse import MalformedError
from buildx_cache.layout.store import INDEX_LOCK, LOCK


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
    attempt = locking._try_lock

    def deleted_at_first(file: int, sharing: Sharing) -> bool:
        if not attempts:
            (tmp_path / LOCK).unlink()
        attempts.append(file)
        return attempt(file, sharing)

    monkeypatch.setattr(locking, "_try_lock", deleted_at_first)
    with layout.lock(tmp_path, timeout=10):
        assert len(attempts) == 2
        assert os.path.samestat(os.fstat(attempts[-1]), (tmp_path / LOCK).stat())


def test_a_lock_file_with_a_second_name_keeps_its_mode(tmp_path: Path) -> None:
    """In a restored folder it may be any file of the user's."""
    others = tmp_path / "one", tmp_path / "two"
    for other, name in zip(others, (LOCK, INDEX_LOCK), strict=True):
        other.touch()
        other.chmod(0o644)
        (tmp_path / name).hardlink_to(other)
    root = os.open(tmp_path, os.O_RDONLY)
    with layout.lock(tmp_path, timeout=0), locking.index_lock(root):
        assert [stat.S_IMODE(other.stat().st_mode) for other in others] == [0o644, 0o644]
    os.close(root)


def _full_folder(path: Path) -> None:
    path.mkdir()
    (path / "file").touch()


def _link_to_nowhere(path: Path) -> None:
    path.symlink_to(path.parent / "elsewhere")


def _socket(path: Path) -> None:
    os.mknod(path, stat.S_IFSOCK | 0o600)


ODD: tuple[Callable[[Path], None], ...] = (_link_to_nowhere, _full_folder, os.mkfifo, _socket)


@pytest.mark.parametrize("plant", ODD, ids=lambda plant: plant.__name__)
@pytest.mark.parametrize("sharing", Sharing)
def test_what_is_no_ordinary_file_in_the_locks_place_is_renamed_and_not_followed(
    tmp_path: Path, plant: Callable[[Path], None], sharing: Sharing
) -> None:
    (tmp_path / f"{LOCK}.odd-1").touch()
    plant(tmp_path / LOCK)
    with layout.lock(tmp_path, timeout=0, sharing=sharing):
        assert stat.S_ISREG((tmp_path / LOCK).lstat().st_mode)
        with pytest.raises(ExhaustedError, match="another build holds"), layout.lock(tmp_path, timeout=0):
            pass
    names = {LOCK, f"{LOCK}.odd-1", f"{LOCK}.odd-2"}
    assert {path.name for path in tmp_path.iterdir()} == names


def test_where_it_cannot_be_renamed_a_build_goes_on_without_a_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_only(*_: object) -> None:
        raise OSError(30, "Read-only file system")

    os.mkfifo(tmp_path / LOCK)
    monkeypatch.setattr(Path, "rename", read_only)
    with layout.lock(tmp_path, timeout=0, sharing=Sharing.SHARED):
        pass
    with pytest.raises(ExhaustedError) as caught, layout.lock(tmp_path, timeout=0):
        pass
    assert caught.value.message.endswith("cannot be locked: .buildx-cache.lock is not an ordinary file")


def test_the_lock_of_a_build_that_was_quicker_stays_in_its_place(tmp_path: Path) -> None:
    with layout.lock(tmp_path, timeout=0):
        locking._move_unusable(tmp_path / LOCK)
        with pytest.raises(ExhaustedError, match="another build holds"), layout.lock(tmp_path, timeout=0):
            pass


@pytest.mark.parametrize("plant", ODD, ids=lambda plant: plant.__name__)
def test_what_is_no_ordinary_file_in_the_place_of_buildx_lock_is_told_and_left(
    tmp_path: Path, plant: Callable[[Path], None]
) -> None:
    plant(tmp_path / INDEX_LOCK)
    before = (tmp_path / INDEX_LOCK).lstat()
    root = os.open(tmp_path, os.O_RDONLY)
    try:
        with pytest.raises(MalformedError) as caught, locking.index_lock(root):
            pass
    finally:
        os.close(root)
    assert caught.value.problem == "cannot be locked: index.json.lock is not an ordinary file"
    assert caught.value.kind is FindingKind.NOT_A_FILE
    assert os.path.samestat((tmp_path / INDEX_LOCK).lstat(), before)
    assert not (tmp_path / "elsewhere").exists()


def test_a_folder_that_is_no_caches_is_never_written_to(tmp_path: Path) -> None:
    (tmp_path / "index.json").write_text("{}")
    with layout.lock(tmp_path, timeout=0, sharing=Sharing.SHARED):
        pass
    with pytest.raises(ExhaustedError, match="is not a Buildx cache"), layout.lock(tmp_path, timeout=0):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["index.json"]


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
