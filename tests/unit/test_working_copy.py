import os
from pathlib import Path

import pytest

from buildx_cache.working_copy import enclosing_top, first_link, leaves, led_outside, nearest_top


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "repo/.git").mkdir(parents=True)
    (tmp_path / "repo/sub/vendor/.git").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "repo/out").symlink_to(tmp_path / "elsewhere")
    return tmp_path / "repo"


def test_the_nearest_top_is_the_first_folder_with_a_git_entry(root: Path) -> None:
    assert nearest_top(root / "sub") == root
    assert nearest_top(root / "sub/vendor") == root / "sub/vendor"


def test_the_working_copy_of_the_call_wins_over_an_embedded_one(root: Path) -> None:
    assert enclosing_top(root / "sub/vendor", root / "sub") == root
    assert enclosing_top(root / "sub/vendor", root.parent / "elsewhere") == root / "sub/vendor"


def test_a_dangling_link_named_git_marks_a_top(root: Path) -> None:
    (root / "sub/.git").symlink_to("nowhere")
    assert nearest_top(root / "sub") == root / "sub"


@pytest.mark.parametrize("path", ["sub/report.json", "sub/../report.json", "new/folder/report.json", "."])
def test_a_path_below_the_root_stays_inside(root: Path, path: str) -> None:
    assert leaves(root / path, root) == ""


@pytest.mark.parametrize(
    "path", ["../elsewhere/x", "/etc/passwd", "out/x", "out", "sub/../out/x", ".git/config", "sub/vendor/.GIT/hooks/x"]
)
def test_a_path_that_leaves_the_root_says_why(root: Path, path: str) -> None:
    assert leaves(root / path, root)


def test_the_first_link_is_named(root: Path) -> None:
    assert first_link(root / "out/x", root) == root / "out"
    assert first_link(root / "sub/x", root) is None
    assert first_link(Path("/etc/passwd"), root) is None


@pytest.mark.parametrize("here", ["repo", "repo/sub", "."])
def test_a_link_that_leads_out_of_the_working_copy_is_found(
    root: Path, here: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(root.parent / here)
    for path in ("out", "out/x", "sub/../out/new/folder"):
        assert led_outside(root / path) == root / "out"
        assert led_outside(Path(os.path.relpath(root, root.parent / here), path)) == root / "out"


def test_a_link_that_stays_in_the_working_copy_is_harmless(root: Path) -> None:
    (root / "inner").symlink_to("sub")
    assert led_outside(root / "inner/x") is None
    assert led_outside(root / "sub/new/x") is None


@pytest.mark.parametrize("target", [".", "sub", "/", "/absent", "sub/vendor"])
@pytest.mark.parametrize("path", ["link/..", "link/../x", "link/a/../../x", "sub/../link/../x", "absent/../link/../x"])
def test_no_way_goes_through_a_link_and_back(
    root: Path, target: str, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel goes on from where the link leads; a path that is normalised says nothing of it."""
    (root / "link").symlink_to(target)
    monkeypatch.chdir(root)
    for spelled in (Path(path), root / path):
        assert leaves(spelled, root)
        assert first_link(spelled, root) == root / "link"
        assert led_outside(spelled) == root / "link"


def test_a_link_of_the_system_leads_no_found_path_back(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root.parent / "system").symlink_to("/usr/bin")
    monkeypatch.chdir(root)
    assert leaves(Path("../system/../repo/x"), root)
    assert leaves(Path("../repo/x"), root) == ""


def test_a_path_outside_of_every_working_copy_is_the_callers(root: Path) -> None:
    (root.parent / "link").symlink_to("elsewhere")
    assert led_outside(root.parent / "link/x") is None


def test_a_link_to_another_working_copy_leads_out_too(root: Path) -> None:
    (root.parent / "elsewhere/.git").mkdir()
    assert led_outside(root / "out") == root / "out"
