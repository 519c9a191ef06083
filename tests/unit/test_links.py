"""What is written follows no link that a repository can have committed, and none that is put in its way meanwhile."""

from __future__ import annotations

import contextlib
import hashlib
import io
import itertools
import os
import pwd
import shutil
import stat
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from buildx_cache.atomic import read_regular, write_text
from buildx_cache.ci.step_outputs import Addition, Outputs, write_outputs
from buildx_cache.errors import ExhaustedError, UsageError
from buildx_cache.plan import BuildInvocation
from buildx_cache.report.formats import write_report
from buildx_cache.request.build_request import BuildRequest
from buildx_cache.request.local_paths import REPORTS
from buildx_cache.request.path_checks import check_paths
from buildx_cache.run.held_folder import write_key
from buildx_cache.run.result_files import ResultFile, put_in_place, redirected, remove_stale
from buildx_cache.working_copy import prepared_root
from tests.unit.run.calls import RecordingDisplay

NAME = "file-key"


class Home:
    """A folder of the user's, and a working copy of a repository that is not trusted."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.copy = folder / "home", folder / "copy"
        (self.folder / "empty").mkdir(parents=True)
        (self.folder / NAME).write_text("mine\n")
        (self.folder / "locked").mkdir(mode=0o500)
        (self.copy / ".git").mkdir(parents=True)
        (self.copy / "Dockerfile").write_text("FROM scratch\n")
        self.before = self.state()

    def state(self) -> str:
        found = hashlib.sha256()
        for path in sorted(self.folder.rglob("*")):
            what = os.lstat(path)
            found.update(f"{path}\0{what.st_mode}\0{what.st_ino}\0{what.st_mtime_ns}\0".encode())
            found.update(path.read_bytes() if path.is_file() else b"")
        return found.hexdigest()


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    made = Home(tmp_path)
    yield made
    assert made.state() == made.before


POSITIONS: dict[str, tuple[str, str, str]] = {
    # what is a link, where it leads, and the file that is asked for
    "file": (NAME, f"../home/{NAME}", NAME),
    "absent-file": (NAME, "../home/new", NAME),
    "parent": ("out", "../home", f"out/{NAME}"),
    "parent-of-new-folders": ("out", "../home/empty", f"out/a/b/{NAME}"),
    "grandparent": ("out", "../home", f"out/empty/{NAME}"),
    "dangling": ("out", "../home/new", f"out/{NAME}"),
    "loop": ("out", "out", f"out/{NAME}"),
    "locked": ("out", "../home/locked", f"out/{NAME}"),
    "inside": ("out", ".git", f"out/{NAME}"),
    "absolute": ("out", "/", f"out/{NAME}"),
    "back-and-forth": ("out", "../home/empty", f"./sub/../out/../out/{NAME}"),
}
OPTIONS = (*REPORTS, "dotenv", "metadata_file", "iidfile")
FROM = ("relative", "absolute", "through-a-link-of-the-user")


def asking(**options: Any) -> BuildRequest:  # noqa: ANN401 -- of any option
    return BuildRequest(**{"context": "-", **options})


def asked(home: Home, position: str, start: str, monkeypatch: pytest.MonkeyPatch) -> str:
    link, target, path = POSITIONS[position]
    (home.copy / link).symlink_to(target)
    monkeypatch.chdir(home.copy)
    if start == "through-a-link-of-the-user":
        (home.copy.parent / "mine").symlink_to(home.copy)
        return str(home.copy.parent / "mine" / path)
    return path if start == "relative" else f"{home.copy}/{path}"


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("start", FROM)
@pytest.mark.parametrize("position", POSITIONS)
def test_a_path_behind_a_link_is_refused_before_anything(
    home: Home, position: str, start: str, option: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = asked(home, position, start, monkeypatch)
    with pytest.raises(UsageError) as raised:
        check_paths(asking(context=str(home.copy), **{option: path}))
    assert POSITIONS[position][0] in raised.value.message


def report(path: Path) -> None:
    write_report("{}", str(path), "--report")


def dotenv(path: Path) -> None:
    write_outputs(Outputs(files=(Addition(name="--dotenv", path=str(path), text="a=b\n"),)), io.StringIO())


def key(path: Path) -> None:
    write_key(path.with_name("file"), "a" * 64, RecordingDisplay())


def result(path: Path) -> None:
    put_in_place(ResultFile(option="--iidfile", path=str(path), content=b"sha256:1"))


def stale(path: Path) -> None:
    remove_stale(BuildInvocation(builder="b", context=".", iidfile=str(path)))


WRITERS: dict[str, Callable[[Path], None]] = {
    "report": report,
    "dotenv": dotenv,
    "key": key,
    "result": result,
    "stale": stale,
}


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("start", FROM)
@pytest.mark.parametrize("position", POSITIONS)
def test_nothing_is_written_behind_a_link(
    home: Home, position: str, start: str, writer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = asked(home, position, start, monkeypatch)
    inside = sorted((home.copy / ".git").iterdir())
    with contextlib.suppress(ExhaustedError):
        WRITERS[writer](Path(path))
    assert sorted((home.copy / ".git").iterdir()) == inside
    assert not Path("/", NAME).exists()


@pytest.mark.parametrize("writer", WRITERS)
def test_a_folder_that_turns_into_a_link_meanwhile_leads_nowhere(home: Home, writer: str) -> None:
    real, link, out = home.copy / "real", home.copy / "link", home.copy / "out"
    real.mkdir()
    link.symlink_to(home.folder)
    done = threading.Event()

    def flip() -> None:
        for number in itertools.count():
            for source in (real, link):
                try:
                    source.rename(out)
                    out.rename(source)
                except OSError:  # a folder of that name was made meanwhile
                    out.rename(home.copy / f"made-{number}-{source.name}")
            if done.is_set():
                return

    flipping = threading.Thread(target=flip)
    flipping.start()
    try:
        for _ in range(150):
            with contextlib.suppress(ExhaustedError):
                WRITERS[writer](out / NAME)
    finally:
        done.set()
        flipping.join()
    assert {name for name in os.listdir(home.folder)} == {"empty", "locked", NAME}  # noqa: C416, PTH208


def test_a_job_whose_home_is_its_checkout_follows_no_links_of_it(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    (home.copy / "out").symlink_to(home.folder)
    monkeypatch.chdir(home.copy)
    for place in (home.copy, home.copy / "sub"):
        monkeypatch.setenv("HOME", str(place))
        assert prepared_root(Path("out/new")) == home.copy
        for values in ({"report": "out/new"}, {"cache_dir": "out"}, {"output": ("out",)}):
            with pytest.raises(UsageError):
                check_paths(asking(**values))


def test_a_home_of_the_user_database_is_no_working_copy(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    user = pwd.struct_passwd(("me", "x", os.geteuid(), 0, "", str(home.copy), "/bin/sh"))
    monkeypatch.setattr(pwd, "getpwuid", lambda _: user)
    assert prepared_root(home.copy / "out" / "new") is None


def test_without_git_the_working_directory_is_the_working_copy(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """A container without git gets an archive of the sources, and so do jobs to which another one hands them on."""
    (home.copy / ".git").rmdir()
    (home.copy / "out").symlink_to(home.folder)
    (home.copy / "id").symlink_to(home.folder / "id")
    assert prepared_root(home.copy / "out/new") is None
    monkeypatch.chdir(home.copy)
    assert prepared_root(Path("out/new")) == home.copy
    assert prepared_root(home.folder / "new") is None
    (home.copy / "inner/.git").mkdir(parents=True)  # it counts by itself
    assert prepared_root(home.copy / "inner/new") == home.copy / "inner"
    for values in ({"report": "out/new"}, {"cache_dir": "out"}, {"output": ("out",)}, {"iidfile": "id"}):
        with pytest.raises(UsageError):
            check_paths(asking(**values))


@pytest.mark.parametrize(
    ("link", "path", "root"),
    [("mine", "mine/out/x", "mine"), ("sub-of-mine", "sub-of-mine/x", "sub-of-mine"), ("", "copy/out/x", "copy")],
)
def test_links_count_from_where_the_way_enters_a_working_copy(home: Home, link: str, path: str, root: str) -> None:
    top = home.copy.parent
    (home.copy / "sub").mkdir()
    if link:
        (top / link).symlink_to(home.copy / "sub" if link.startswith("sub") else home.copy)
    assert prepared_root(top / path) == top / root
    assert prepared_root(top / "elsewhere/x") is None


def test_outside_of_a_working_copy_the_users_links_are_followed(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "disk")
    (tmp_path / "last").symlink_to(tmp_path / "disk/last")
    for writer, path in itertools.product((report, dotenv, result), ("out/x", "out/y/z")):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        check_paths(BuildRequest(context="-", report=str(tmp_path / path)))
        writer(tmp_path / path)
        assert (tmp_path / "disk" / path.removeprefix("out/")).exists()
        (tmp_path / path).unlink()
    (tmp_path / "disk/last").touch()
    check_paths(BuildRequest(context="-", iidfile=str(tmp_path / "last")))
    result(tmp_path / "last")
    assert (tmp_path / "disk/last").read_bytes() == b"sha256:1"


def test_a_link_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine").touch()
    (tmp_path / "last").symlink_to("mine")
    (tmp_path / "folder").mkdir()
    (tmp_path / "between").symlink_to("folder")
    owner = os.geteuid()
    if owner == 0:
        os.lchown(tmp_path / "last", 12345, 12345)
        os.lchown(tmp_path / "between", 12345, 12345)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    for option, place in itertools.product(OPTIONS, ("last", "between/new", "between/new/er", "folder/../between/x")):
        with pytest.raises(UsageError, match="another user's"):
            check_paths(asking(**{option: str(tmp_path / place)}))
    for output in (
        f"type=local,dest={tmp_path}/between/new",
        str(tmp_path / "between"),
        f"type=tar,dest={tmp_path}/last",
    ):
        with pytest.raises(UsageError, match="another user's"):
            check_paths(asking(output=(output,)))


def test_a_second_name_of_a_file_is_not_appended_to(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine\n")
    (tmp_path / "dotenv").hardlink_to(tmp_path / "mine")
    given = Outputs(files=(Addition(name="--dotenv", path=str(tmp_path / "dotenv"), text="a=b\n"),))
    assert len(write_outputs(given, io.StringIO())) == 1
    assert (tmp_path / "mine").read_text() == "mine\n"


def test_in_an_ordinary_folder_of_a_working_copy_all_is_written_as_elsewhere(home: Home) -> None:
    for name, writer in WRITERS.items():
        path = home.copy / name / "new" / NAME
        path.parent.mkdir(parents=True)
        writer(path)
    modes = {path.parts[-3]: stat.S_IMODE(path.stat().st_mode) for path in home.copy.rglob(NAME)}
    umask = os.umask(0)
    os.umask(umask)
    assert modes == {"report": 0o600, "dotenv": 0o644 & ~umask, "key": 0o600, "result": 0o644 & ~umask}


def test_folders_that_are_missing_are_made_below_the_root(home: Home) -> None:
    write_text(home.copy / "a/b/c", "x", below=home.copy)
    assert (home.copy / "a/b/c").read_text() == "x"


@pytest.mark.parametrize("kind", ["fifo", "link", "folder", "large", "device"])
def test_only_an_ordinary_file_within_the_limit_is_read(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "file"
    make: dict[str, Callable[[], object]] = {
        "fifo": lambda: os.mkfifo(path),
        "link": lambda: path.symlink_to("/etc/passwd"),
        "folder": path.mkdir,
        "large": lambda: path.write_bytes(b"x" * 11),
        "device": lambda: None,
    }
    make[kind]()
    with pytest.raises(OSError, match=r".+"):
        read_regular(Path("/dev/zero") if kind == "device" else path, 10)


def test_buildx_is_given_a_private_folder_for_its_files(tmp_path: Path) -> None:
    build = BuildInvocation(builder="b", context=".", tags=("i",), metadata_file="m", iidfile="i")
    private = replace(build, metadata_file=f"{tmp_path}/metadata-file", iidfile=f"{tmp_path}/iidfile")
    assert redirected(build, tmp_path) == private


def test_files_that_flags_after_the_dashes_ask_for_are_private_too(tmp_path: Path) -> None:
    build = BuildInvocation(builder="b", context=".", flags=("--iidfile", "i", "--metadata-file", "m"))
    flags = ("--iidfile", f"{tmp_path}/iidfile", "--metadata-file", f"{tmp_path}/metadata-file")
    assert redirected(build, tmp_path) == replace(build, flags=flags)
    joined = replace(build, flags=("--iidfile=i", "--metadata-file=m"))
    private = (f"--iidfile={tmp_path}/iidfile", f"--metadata-file={tmp_path}/metadata-file")
    assert redirected(joined, tmp_path) == replace(build, flags=private)


@pytest.mark.parametrize(
    "option",
    [
        pytest.param({"context": "out"}, id="context"),
        pytest.param({"context": "out/app"}, id="below-a-link"),
        pytest.param({"file": "out/Dockerfile"}, id="file"),
        pytest.param({"build_context": ("x=out",)}, id="build-context"),
        pytest.param({"build_context": ("x=oci-layout://out:tag",)}, id="layout"),
        pytest.param({"cache_dir": "out/cache"}, id="cache-dir"),
        pytest.param({"cache_from": ("type=local,src=out",)}, id="cache-from"),
        pytest.param({"cache_to": ("type=local,dest=out",)}, id="cache-to"),
        pytest.param({"output": ("out",)}, id="output"),
        pytest.param({"output": ("type=tar,dest=out/x.tar",)}, id="tar"),
        pytest.param({"secret": ("id=x,src=out/credentials",)}, id="secret"),
        pytest.param({"ssh": ("default", "id=key,out/key")}, id="ssh"),
        pytest.param({"buildkitd_config": "out/Dockerfile"}, id="buildkitd-config"),
        *(
            pytest.param({"buildx_flags": tuple(flags.split())}, id=flags)
            for flags in (
                *("-o out", "-oout", "-qo out", "-o=out", "--output=type=tar,dest=out/x.tar", "-f out/Dockerfile"),
                *("--file=out/Dockerfile", "--build-context x=out", "--cache-from=type=local,src=out"),
                *("--cache-to type=local,dest=out,new=x", "--secret id=x,src=out/x", "--ssh id=key,out/key"),
                *("--metadata-file=out/x", "--metadata-file out/x", "--iidfile out/x"),
            )
        ),
    ],
)
def test_no_committed_link_says_which_folder_of_the_host_is_meant(
    option: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("repo/.git", "repo/inside/app", "host/app"):
        (tmp_path / folder).mkdir(parents=True)
    for place in (tmp_path / "repo", *tmp_path.rglob("app"), tmp_path / "repo/inside", tmp_path / "host"):
        (place / "Dockerfile").write_text("FROM scratch\n")
    link = tmp_path / "repo/out"
    monkeypatch.chdir(tmp_path / "repo")
    link.symlink_to("inside")
    check_paths(BuildRequest(**option))
    for has_git, target in ((True, tmp_path / "host"), (True, Path(".git")), (False, tmp_path / "host")):
        link.unlink()
        link.symlink_to(target)
        for place in (tmp_path / "repo/.git/app", tmp_path / "repo/.git") if has_git else ():
            place.mkdir(exist_ok=True)
            (place / "Dockerfile").write_text("FROM scratch\n")
        if not has_git:  # an archive of the sources has none
            shutil.rmtree(tmp_path / "repo/.git")
        with pytest.raises(UsageError) as refused:
            check_paths(BuildRequest(**option))
        assert refused.value.code == "path-behind-a-link"
