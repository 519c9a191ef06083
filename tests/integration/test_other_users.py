"""Other users of the machine, who are real ones here: nothing that they make or may change is taken for ours."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import stat
import struct
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from buildx_cache import layout, permissions, scratch
from buildx_cache.cli.cache_arguments import PruneLimits
from buildx_cache.cli.upkeep import inspect_cache, prune_cache, verify_cache
from buildx_cache.engine.tunnel import tunnel
from buildx_cache.errors import BuildxCacheError, CacheError, ExhaustedError, ExitCode, ExposedError
from buildx_cache.layout import Sharing, quarantine
from buildx_cache.layout.store import INDEX_LOCK, LOCK
from buildx_cache.permissions import make_folder
from buildx_cache.request.path_checks import strange_entry
from buildx_cache.run.held_folder import write_key
from tests.integration.conftest import Docker, Ran, write_project
from tests.integration.other_users import as_user
from tests.unit.layout.layouts import Layout

pytestmark = pytest.mark.skipif(os.geteuid() != 0 and not os.environ.get("CI"), reason="to be another user takes root")

ROOT, ONE, OTHER = 0, 4711, 4712
PAIRS = [pytest.param(ROOT, OTHER, id="root-attacked"), pytest.param(ONE, OTHER, id="user-attacked")]


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder like /tmp: everybody may make entries in it, and change their own."""
    folder = Path(tempfile.mkdtemp(prefix="other-users-"))
    folder.chmod(0o1777)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="module", autouse=True)
def _imported(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Have all modules imported: another user may not be able to read them."""
    folder = tmp_path_factory.mktemp("imported")
    make_cache(folder)
    prune(folder)
    look(folder)
    (folder / "index.json").write_bytes(b"{}")
    with pytest.raises(CacheError):
        look(folder)


def prune(folder: Path) -> None:
    """``cache prune``."""
    prune_cache(
        str(folder), {}, PruneLimits(max_size="", max_age="", keep_branches_from=""), dry_run=False, as_json=True
    )


def look(folder: Path) -> None:
    """``cache inspect`` and ``cache verify``."""
    inspect_cache(str(folder), {}, 10, as_json=True)
    verify_cache(str(folder), {}, deep=True, as_json=True)


def make_cache(folder: Path, mode: int = 0o755) -> None:
    made = Layout(folder)
    made.tag("latest", made.cache([b"one", b"two"]))
    made.write_index()
    folder.chmod(mode)


def listing(folder: Path) -> dict[str, tuple[int, int, float]]:
    states = {str(path): path.lstat() for path in (folder, *folder.rglob("*"))}
    return {path: (state.st_uid, state.st_mode, state.st_mtime) for path, state in states.items()}


# --- folders that are not this user's alone ----------------------------------------------------------------

Arrange = Callable[[Path, int, int], Path]
"""Makes a cache in a shared folder, as the user whose program it is and as the attacker; returns its --cache-dir."""


def made_by_another(shared: Path, _: int, attacker: int) -> Path:
    as_user(attacker, partial(make_cache, shared / "cache"))
    return shared / "cache"


def open_to_everybody(shared: Path, user: int, attacker: int) -> Path:
    as_user(user, partial(make_cache, shared / "cache", 0o777))
    as_user(attacker, (shared / "cache" / "planted").touch)
    return shared / "cache"


def with_blobs_of_another(shared: Path, user: int, attacker: int) -> Path:
    as_user(user, partial(make_cache, shared / "cache"))
    os.chown(shared / "cache" / "blobs" / "sha256", attacker, attacker)
    return shared / "cache"


def with_an_index_that_everybody_may_write(shared: Path, user: int, attacker: int) -> Path:
    as_user(user, partial(make_cache, shared / "cache"))
    (shared / "cache" / "index.json").chmod(0o666)
    as_user(attacker, lambda: (shared / "cache" / "index.json").write_bytes(b"{}"))
    return shared / "cache"


def with_a_partial_write_that_everybody_may_change(shared: Path, user: int, attacker: int) -> Path:
    """Buildx opens ``data`` in it by name, and would write to what a link leads to."""
    place = shared / "cache" / "ingest" / ("a" * 64)
    as_user(user, partial(make_cache, shared / "cache"))
    as_user(user, partial(place.mkdir, parents=True))
    place.chmod(0o777)
    as_user(attacker, (place / "data").touch)
    return shared / "cache"


def of_a_group(shared: Path, user: int, attacker: int) -> Path:
    as_user(user, partial(make_cache, shared / "cache", 0o775))
    os.chown(shared / "cache", user, attacker)
    as_user(attacker, (shared / "cache" / "planted").touch)
    return shared / "cache"


def _grant(path: Path, *entries: tuple[int, int, int]) -> None:
    """Give a file or folder an access control list, as ``setfacl`` does; each entry is a tag, a mode and a number."""
    nobody = 0xFFFFFFFF
    usual = [(0x01, 7, nobody), (0x04, 5, nobody), (0x10, 7, nobody), (0x20, 5, nobody)]
    listed = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in sorted([*usual, *entries]))
    try:
        os.setxattr(path, "system.posix_acl_access", listed)
    except OSError as error:
        pytest.skip(f"the file system has no access control lists: {error}")


def of_a_user_in_an_access_list(shared: Path, user: int, attacker: int) -> Path:
    as_user(user, partial(make_cache, shared / "cache"))
    _grant(shared / "cache", (0x02, 7, attacker))
    as_user(attacker, (shared / "cache" / "planted").touch)
    return shared / "cache"


def of_a_group_in_an_access_list(shared: Path, user: int, attacker: int) -> Path:
    as_user(user, partial(make_cache, shared / "cache"))
    _grant(shared / "cache" / "blobs" / "sha256", (0x08, 7, attacker))
    as_user(attacker, (shared / "cache" / "blobs" / "sha256" / ("a" * 64)).touch)
    return shared / "cache"


def below_a_folder_of_another(shared: Path, user: int, attacker: int) -> Path:
    as_user(attacker, (shared / "above").mkdir)
    (shared / "above").chmod(0o777)
    as_user(user, partial(make_cache, shared / "above" / "cache"))
    as_user(attacker, partial((shared / "above" / "cache").rename, shared / "above" / "moved"))
    as_user(attacker, partial((shared / "above" / "moved").rename, shared / "above" / "cache"))
    (shared / "above").chmod(0o755)
    return shared / "above" / "cache"


def below_a_folder_open_to_everybody(shared: Path, user: int, attacker: int) -> Path:
    as_user(user, (shared / "above").mkdir)
    (shared / "above").chmod(0o777)
    as_user(user, partial(make_cache, shared / "above" / "cache"))
    as_user(attacker, partial((shared / "above" / "cache").rename, shared / "above" / "moved"))
    as_user(attacker, partial((shared / "above" / "moved").rename, shared / "above" / "cache"))
    return shared / "above" / "cache"


def by_a_link_of_another(shared: Path, user: int, attacker: int) -> Path:
    as_user(user, partial(make_cache, shared / "cache"))
    as_user(attacker, lambda: (shared / "link").symlink_to("cache"))
    return shared / "link"


def by_an_own_link_through_a_folder_of_another(shared: Path, user: int, attacker: int) -> Path:
    as_user(user, partial(make_cache, shared / "cache"))
    as_user(attacker, (shared / "between").mkdir)
    as_user(attacker, lambda: (shared / "between" / "link").symlink_to("../cache"))
    as_user(user, lambda: (shared / "link").symlink_to("between/link"))
    return shared / "link"


ARRANGEMENTS: tuple[Arrange, ...] = (
    made_by_another,
    open_to_everybody,
    with_blobs_of_another,
    with_an_index_that_everybody_may_write,
    with_a_partial_write_that_everybody_may_change,
    of_a_group,
    of_a_user_in_an_access_list,
    of_a_group_in_an_access_list,
    below_a_folder_of_another,
    below_a_folder_open_to_everybody,
    by_a_link_of_another,
    by_an_own_link_through_a_folder_of_another,
)


def hold(folder: Path, sharing: Sharing) -> str:
    """What comes of holding a folder."""
    try:
        with layout.lock(folder, timeout=0, sharing=sharing):
            return "held"
    except ExposedError as error:
        return f"exposed, {int(error.exit_code)}"


def command(deed: Callable[[], None]) -> int:
    """The exit code of a command of the program."""
    try:
        deed()
    except BuildxCacheError as error:
        return error.exit_code
    return ExitCode.OK


@pytest.mark.parametrize(("user", "attacker"), PAIRS)
@pytest.mark.parametrize("arrange", ARRANGEMENTS, ids=lambda arrange: arrange.__name__)
def test_a_folder_that_another_user_may_change_is_looked_at_and_nothing_more(
    arrange: Arrange, user: int, attacker: int, shared: Path
) -> None:
    folder = arrange(shared, user, attacker)
    before = listing(shared)
    for sharing in Sharing:
        assert as_user(user, partial(hold, folder, sharing)) == "exposed, 6"
    is_damaged = arrange is with_an_index_that_everybody_may_write
    assert as_user(user, partial(command, partial(prune, folder))) == 6
    assert as_user(user, partial(command, partial(look, folder))) == (7 if is_damaged else 0)
    assert listing(shared) == before


@pytest.mark.parametrize(("user", "attacker"), PAIRS)
def test_an_own_folder_in_a_shared_one_is_held_and_nobody_else_can_hold_it(
    user: int, attacker: int, shared: Path
) -> None:
    folder = shared / "cache"
    as_user(user, partial(make_cache, folder))
    as_user(user, (folder / LOCK).touch)  # as of an earlier version: all can read it
    assert as_user(user, partial(hold, folder, Sharing.EXCLUSIVE)) == "held"
    assert stat.S_IMODE((folder / LOCK).stat().st_mode) == 0o600

    def take(name: str) -> None:
        with (folder / name).open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)

    with pytest.raises(PermissionError):
        as_user(attacker, partial(take, LOCK))

    def take_index() -> int:
        with layout.store.open_store(folder) as store, layout.locking.index_lock(store.root):
            return stat.S_IMODE((folder / INDEX_LOCK).stat().st_mode)

    assert as_user(user, take_index) == 0o600


@pytest.mark.parametrize("user", [ROOT, ONE])
@pytest.mark.parametrize("entry", [(0x02, 5, OTHER), (0x02, 7, ROOT), (0x08, 5, OTHER)], ids=["read", "root", "group"])
def test_a_list_that_lets_nobody_else_write_is_no_hindrance(
    entry: tuple[int, int, int], user: int, shared: Path
) -> None:
    as_user(user, partial(make_cache, shared / "cache"))
    _grant(shared / "cache", entry)
    assert as_user(user, partial(hold, shared / "cache", Sharing.EXCLUSIVE)) == "held"


@pytest.mark.parametrize("user", [ROOT, ONE])
def test_a_folder_of_a_group_that_has_its_user_alone_is_held(user: int, shared: Path) -> None:
    """As under the umask 002."""
    as_user(user, partial(make_cache, shared / "cache", 0o775))
    assert as_user(user, partial(hold, shared / "cache", Sharing.SHARED)) == "held"


@pytest.mark.parametrize(
    ("starter", "marked", "exposed"), [(OTHER, True, False), (OTHER, False, True), (ONE, True, True)]
)
def test_who_started_the_container_is_trusted(
    starter: int,
    marked: bool,  # noqa: FBT001 -- a table
    exposed: bool,  # noqa: FBT001 -- a table
    shared: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """GitHub's container jobs: root, with a HOME and a checkout of the runner's user."""
    home, checkout, mark = shared / "home", shared / "checkout", shared / "mark"
    as_user(OTHER, home.mkdir)
    as_user(starter, checkout.mkdir)
    make_cache(home / ".cache" / "app")
    restored = home / ".cache" / "restored"
    as_user(OTHER, partial(make_cache, shared / "made"))
    (shared / "made").rename(restored)
    monkeypatch.setattr(permissions, "_CONTAINER_MARKS", (mark,))
    if marked:
        mark.touch()
    monkeypatch.chdir(checkout)
    for folder in (home / ".cache" / "app", restored):
        assert bool(layout.exposure(folder)) is exposed
    if not exposed:
        prune(restored)
        assert hold(restored, Sharing.EXCLUSIVE)


@pytest.mark.parametrize("user", [ROOT, ONE])
def test_a_link_of_another_user_beside_the_working_directory_leads_to_no_cache(
    user: int, shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A link is followed twice, here and by Buildx, and its owner can have it lead elsewhere between the two."""
    for name in ("checkout", "cache"):
        as_user(user, partial(make_cache, shared / name))
    as_user(OTHER, partial((shared / "link").symlink_to, shared / "cache"))
    as_user(user, partial((shared / "own").symlink_to, shared / "cache"))
    for here in (shared / "checkout", shared):
        monkeypatch.chdir(here)
        assert as_user(user, lambda: layout.exposure(shared / "link") is not None)
        assert as_user(user, lambda: layout.exposure(shared / "own") is None)
        assert as_user(user, lambda: layout.exposure(shared / "cache") is None)


def test_modes_do_not_count_in_a_pod(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A volume of Kubernetes is open to all, and belongs to root."""
    volume, hosts = shared / "volume", shared / "hosts"
    volume.mkdir()
    volume.chmod(0o777)
    as_user(ONE, partial(make_cache, volume / "cache", 0o777))
    assert as_user(ONE, lambda: layout.exposure(volume / "cache") is not None)
    hosts.write_text("# Kubernetes-managed hosts file.\n127.0.0.1 localhost\n")
    hosts.chmod(0o644)
    monkeypatch.setattr(permissions, "_HOSTS", hosts)
    assert as_user(ONE, lambda: layout.exposure(volume / "cache") is None)
    assert as_user(OTHER, lambda: layout.exposure(volume / "cache") is not None)


def test_a_folder_of_root_is_read_without_a_lock(shared: Path) -> None:
    make_cache(shared / "cache")
    assert as_user(ONE, lambda: layout.exposure(shared / "cache") is None)
    assert as_user(ONE, partial(hold, shared / "cache", Sharing.SHARED))


def test_what_another_user_may_not_look_into_is_no_cache(shared: Path) -> None:
    (shared / "cache" / "blobs").mkdir(parents=True)
    (shared / "cache" / "blobs").chmod(0o700)
    assert as_user(ONE, partial(layout.is_foreign, shared / "cache"))


@pytest.mark.parametrize(("user", "attacker"), PAIRS)
def test_a_lock_of_another_user_is_moved_out_of_the_way(user: int, attacker: int, shared: Path) -> None:
    folder = shared / "cache"
    as_user(user, partial(make_cache, folder))
    (folder / LOCK).touch(mode=0o600)
    os.chown(folder / LOCK, attacker, attacker)
    assert as_user(user, partial(hold, folder, Sharing.SHARED)) == "held"
    assert ((folder / LOCK).stat().st_uid, (folder / f"{LOCK}.odd-1").stat().st_uid) == (user, attacker)


def test_a_folder_that_another_user_is_quicker_to_make_is_not_used(
    shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is made after it was seen to be absent, and before this program makes it."""
    folder = shared / "cache"

    def late(path: Path) -> None:
        as_user(OTHER, partial(make_cache, folder))
        make_folder(path)

    monkeypatch.setattr("buildx_cache.layout.locking.make_folder", late)
    layout.refuse_exposed(folder)
    assert hold(folder, Sharing.SHARED) == "exposed, 6"
    assert not (folder / LOCK).exists()


# --- what is set aside -------------------------------------------------------------------------------------


def aside_of(place: Path) -> None:
    """What looks like a folder that the program set aside."""
    make_cache(place)
    (place / quarantine._MARK).touch()


@pytest.mark.parametrize(("user", "attacker"), PAIRS)
def test_a_folder_that_another_user_made_is_not_taken_for_one_set_aside(user: int, attacker: int, shared: Path) -> None:
    folder = shared / "cache"
    as_user(user, lambda: Layout(folder).write_index())
    as_user(attacker, partial(aside_of, shared / "cache.damaged-1"))
    as_user(attacker, lambda: (shared / "cache.damaged-2").symlink_to("cache.damaged-1"))
    before = listing(shared / "cache.damaged-1")
    aside = as_user(user, partial(layout.set_aside, folder))
    assert aside.parent == folder, "beside it, anybody may write"
    assert stat.S_IMODE(aside.stat().st_mode) == 0o700
    assert as_user(user, partial(layout.set_aside, folder)) == aside, "the older one went"
    assert listing(shared / "cache.damaged-1") == before


@pytest.mark.parametrize("part", ["", quarantine._MARK], ids=["folder", "mark"])
def test_a_part_of_another_user_makes_a_folder_set_aside_a_strange_one(part: str, tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    make_cache(folder)
    aside = layout.set_aside(folder)
    os.chown(aside / part, OTHER, OTHER)
    assert layout.set_aside(folder) != aside
    assert aside.exists()


# --- what lies beside or in it -----------------------------------------------------------------------------


class Told:
    def __init__(self) -> None:
        self.warned: list[str] = []

    def say(self, text: str) -> None:
        self.warned.append(text)

    def warn(self, text: str) -> None:
        self.warned.append(text)


@pytest.mark.parametrize(("user", "attacker"), PAIRS)
def test_a_key_file_of_another_user_is_left_alone(user: int, attacker: int, shared: Path) -> None:
    as_user(user, partial(make_cache, shared / "cache"))
    key = f"{'a' * 64}\n"
    as_user(attacker, lambda: (shared / "cache-key").write_text(key))

    def write() -> list[str]:
        told = Told()
        for name in "ab":
            write_key(shared / "cache", name * 64, told)
        return told.warned

    assert len(as_user(user, write)) == 2
    assert ((shared / "cache-key").read_text(), (shared / "cache-key").stat().st_uid) == (key, attacker)


@pytest.mark.parametrize(("user", "attacker"), PAIRS)
def test_what_looks_like_a_killed_calls_is_deleted_only_where_it_is_ours_alone(
    user: int, attacker: int, shared: Path
) -> None:
    def leave(name: str, mode: int) -> None:
        folder = shared / f"buildx-cache-call-{name}"
        folder.mkdir()
        folder.chmod(mode)
        (folder / ".lock").touch()

    as_user(attacker, partial(leave, "others", 0o755))
    as_user(user, partial(leave, "open", 0o777))
    as_user(user, partial(leave, "own", 0o700))

    def call() -> None:
        with scratch.scratch_folder(shared):
            pass

    as_user(user, call)
    assert sorted(path.name for path in shared.iterdir()) == ["buildx-cache-call-open", "buildx-cache-call-others"]


@pytest.mark.parametrize("user", [ROOT, ONE])
def test_no_private_folder_is_made_where_another_user_can_exchange_it(user: int, shared: Path) -> None:
    """The attack: in a temporary folder that is not sticky, another user's Docker configuration takes its place."""

    def call() -> bool:
        with scratch.scratch_folder(shared) as folder:
            assert stat.S_IMODE(folder.stat().st_mode) == 0o700
            return folder.is_relative_to(shared)

    assert as_user(user, call)
    shared.chmod(0o777)
    assert not as_user(user, call)


# --- builds ------------------------------------------------------------------------------------------------


def build(docker: Docker, tmp_path: Path, folder: Path, *words: str) -> Ran:
    project = tmp_path / "project"
    if not project.exists():
        write_project(project)
    base = ("--build-arg", f"BASE={docker.base}")
    return docker.tool(
        "build", "--driver", "docker", "--cache", "local", "--cache-dir", str(folder), *base, *words, str(project)
    )


def statuses(ran: Ran) -> tuple[list[str], list[str]]:
    cache = ran.report["cache"]
    return [each["status"] for each in cache["imports"]], [each["status"] for each in cache["exports"]]


@pytest.mark.parametrize("arrange", [made_by_another, below_a_folder_open_to_everybody], ids=lambda one: one.__name__)
def test_a_build_goes_without_a_folder_that_another_user_may_change(
    arrange: Arrange, docker: Docker, shared: Path, tmp_path: Path
) -> None:
    folder = arrange(shared, ROOT, OTHER)
    before = listing(shared)
    ran = build(docker, tmp_path, folder)
    assert ran.code == 0, ran.stderr
    assert statuses(ran) == (["skipped"], ["skipped"])
    (warning,) = (warning for warning in ran.report["warnings"] if str(folder) in warning)
    assert "user" in warning
    assert ran.report["cache"]["local"] is None
    assert listing(shared) == before
    strict = build(docker, tmp_path, folder, "--strict-cache")
    assert strict.code == 7
    assert listing(shared) == before


def test_a_build_takes_nothing_from_what_looks_set_aside(docker: Docker, shared: Path, tmp_path: Path) -> None:
    """The attack: a cache, and a mark that says that an earlier call set it aside, where anybody may write."""
    as_user(OTHER, partial(aside_of, shared / "cache.damaged-1"))
    hostile = {path.name for path in (shared / "cache.damaged-1" / "blobs" / "sha256").iterdir()}
    before = listing(shared / "cache.damaged-1")
    ran = build(docker, tmp_path, shared / "cache")
    assert ran.code == 0, ran.stderr
    assert statuses(ran) == (["absent"], ["written"])
    assert hostile.isdisjoint(path.name for path in (shared / "cache" / "blobs" / "sha256").iterdir())
    assert listing(shared / "cache.damaged-1") == before
    assert json.loads((shared / "cache" / "index.json").read_bytes())["manifests"]
    assert stat.S_IMODE((shared / "cache").stat().st_mode) == 0o700


def test_what_buildx_makes_under_an_open_umask_is_a_cache_for_the_next_build(
    docker: Docker, shared: Path, tmp_path: Path
) -> None:
    """GitLab's runners have the umask 000."""
    before = os.umask(0)
    try:
        ran = build(docker, tmp_path, shared / "cache")
        assert ran.code == 0, ran.stderr
        again = build(docker, tmp_path, shared / "cache")
    finally:
        os.umask(before)
    assert statuses(again)[0] == ["hit"]


def test_a_user_without_an_entry_is_told_what_ssh_lacks() -> None:
    def opened() -> tuple[str, str]:
        try:
            with tunnel([("false",)], [4711], env={"PATH": os.environ["PATH"]}):
                return "", ""
        except ExhaustedError as error:
            return error.code, error.hint

    code, hint = as_user(54321, opened)
    assert code == "tunnel-failed"
    assert "/etc/passwd" in hint


def with_mode(folder: Path, name: str, mode: int) -> None:
    make_cache(folder)
    if name == LOCK:
        (folder / LOCK).touch()
    else:
        (folder / name / ("a" * 64)).mkdir()
        (folder / name / ("a" * 64) / "data").symlink_to(folder.parent / "outside")
    (folder / name).chmod(mode)


def locked_alone(folder: Path) -> bool:
    with layout.lock(folder, timeout=0):
        return layout.is_own(folder / LOCK)


@pytest.mark.parametrize("mode", [0o000, 0o400])
def test_a_lock_file_that_cannot_be_opened_keeps_nobody_from_setting_a_folder_aside(shared: Path, mode: int) -> None:
    """The attack: without the lock nothing goes from the folder, its links neither. An archive has modes."""
    as_user(ONE, partial(with_mode, shared / "cache", LOCK, mode))
    assert as_user(ONE, partial(locked_alone, shared / "cache"))


def test_partial_writes_that_cannot_be_listed_are_damage(shared: Path) -> None:
    """The attack: Buildx opens them by name."""
    as_user(ONE, partial(with_mode, shared / "cache", "ingest", 0o311))
    assert as_user(ONE, partial(strange_entry, shared / "cache")) == "ingest"
    assert as_user(ONE, lambda: layout.damaged(layout.verify(shared / "cache")))
    as_user(ONE, partial(layout.set_aside, shared / "cache"))
    assert as_user(ONE, partial(strange_entry, shared / "cache")) == ""


def test_a_folder_that_may_be_read_and_not_searched_is_damage(shared: Path) -> None:
    """The call ended with an internal error."""
    as_user(ONE, partial(make_cache, shared / "cache", 0o444))
    assert as_user(ONE, lambda: layout.damaged(layout.verify(shared / "cache")))
