"""What makes a build context large, and the lines that leave it out."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from buildx_cache.buildkit.trace import BuildTrace
from buildx_cache.request.build_request import BuildRequest
from buildx_cache.request.large_files import LARGE, heavy_entries, ignore_line
from buildx_cache.run import Outcome, with_context
from tests.unit.report.builds import report_of, trace_of, transfer
from tests.unit.run.calls import RecordingDisplay

MB = 1_000_000


def context(
    root: Path, sizes: Mapping[str, int], dockerfile: str = "FROM scratch\nCOPY . .\n", ignore: str = ""
) -> Path:
    """A build context with files of these sizes, which take no room on the disk."""
    for name, size in {"Dockerfile": 0, ".dockerignore": 0, **sizes}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        with (root / name).open("wb") as out:
            out.truncate(size)
    (root / "Dockerfile").write_text(dockerfile)
    (root / ".dockerignore").write_text(ignore)
    return root


def heavy(root: Path, *, file: str = "") -> dict[str, int]:
    return {each.line: each.bytes for each in heavy_entries(BuildRequest(context=str(root), file=file))}


SIZES = {"node_modules/a/x": 90 * MB, "node_modules/b/y": 90 * MB, ".git/objects/pack": 80 * MB, "src/main": MB}


def test_the_biggest_folders_are_told_biggest_first(tmp_path: Path) -> None:
    assert list(heavy(context(tmp_path, SIZES)).items()) == [("node_modules", 180 * MB), (".git", 80 * MB)]


@pytest.mark.parametrize(
    ("ignore", "found"),
    [
        ("node_modules", {".git": 80 * MB}),
        ("# x\n/node_modules/\n./.git", {"src": MB}),
        ("*\n!src", {"src": MB}),
        ("**/x\n!node_modules/a/x\n.git/obj*", {"node_modules": 180 * MB}),
        ("node_modules/*\n!node_modules/b\n.git", {"node_modules": 90 * MB}),
        ("**/pack\nnode_[a-n]odules/?/x\nnode_[^m]*", {"node_modules": 90 * MB}),
        ("**", {}),
        ("node\\_modules\n\\.git\n[", {"src": MB}),
    ],
)
def test_only_what_is_sent_counts(tmp_path: Path, ignore: str, found: dict[str, int]) -> None:
    told = heavy(context(tmp_path, SIZES, ignore=ignore))
    assert {line.partition("/")[0]: size for line, size in told.items()} == found


@pytest.mark.parametrize(
    "instruction",
    [
        "COPY data/big /",
        "copy --chown=1:1 --link ./data/big \\\n  /x",
        'ADD ["x", "/data/big", "/"]',
        "COPY data /",
        "COPY data/b* /",
        "COPY data/$NAME /",
        "ONBUILD ADD data/big/x /",
        "RUN --mount=type=bind,source=data/big,target=/x true",
    ],
)
def test_what_the_dockerfile_names_is_never_suggested(tmp_path: Path, instruction: str) -> None:
    sizes = {"data/big/x": 90 * MB, "media/y": 60 * MB}
    assert heavy(context(tmp_path, sizes, f"FROM scratch\n{instruction}\n")) == {"media/y": 60 * MB}


def test_beside_what_is_named_the_rest_is_suggested(tmp_path: Path) -> None:
    sizes = {"app/node_modules/x": 90 * MB, "app/src/y": 10 * MB}
    assert heavy(context(tmp_path, sizes, "FROM scratch\nCOPY app/src /\n")) == {"app/node_modules": 90 * MB}


@pytest.mark.parametrize("instruction", ["COPY --from=x data /", "RUN --mount=type=bind,from=x,source=data true"])
def test_what_is_named_of_another_stage_is_not_of_the_context(tmp_path: Path, instruction: str) -> None:
    found = heavy(context(tmp_path, {"data/a": 40 * MB, "data/b": 30 * MB}, f"FROM scratch\n{instruction}\n"))
    assert found == {"data": 70 * MB}


def test_a_folder_that_is_nearly_all_one_is_looked_into(tmp_path: Path) -> None:
    sizes = {"web/app/node_modules/x": 90 * MB, "web/app/src/y": MB, "api/z": MB}
    assert heavy(context(tmp_path, sizes)) == {"web/app/node_modules": 90 * MB}


def test_links_are_not_followed(tmp_path: Path) -> None:
    root = context(tmp_path / "context", {"a": MB})
    (tmp_path / "other").write_bytes(b"x" * 100)
    (root / "file").symlink_to(tmp_path / "other")
    (root / "again").symlink_to(root, target_is_directory=True)
    assert heavy(root) == {"a": MB}


def test_another_dockerfile_has_an_ignore_file_of_its_own(tmp_path: Path) -> None:
    root = context(tmp_path, SIZES)
    (root / "Other").write_text("FROM scratch\nCOPY node_modules /\n")
    (root / "Other.dockerignore").write_text("src")
    assert heavy(root, file=str(root / "Other")) == {".git": 80 * MB}


@pytest.mark.parametrize("remote", ["-", "https://example.com/x.git", "git@example.com:x"])
def test_a_remote_context_is_not_looked_into(remote: str) -> None:
    assert heavy_entries(BuildRequest(context=remote)) == ()


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("a b", "a b"),
        ("#a", "\\#a"),
        ("!a", "\\!a"),
        ("a*[b]?^\\", "a\\*\\[b\\]\\?\\^\\\\"),
        (" a ", "[ ]a[ ]"),
        ("a\nb\x1b[0m", "a?b?\\[0m"),
        (os.fsdecode(b"a\xff"), "a?"),
        ("a\u202eb", "a?b"),
        ("ä/日", "ä/日"),
    ],
)
def test_a_line_means_just_its_path(tmp_path: Path, path: str, line: str) -> None:
    assert ignore_line(path) == line
    root = context(tmp_path, {path: MB, "another": MB})
    (root / ".dockerignore").write_text(f"{line}\n", encoding="utf-8")
    assert heavy(root) == {"another": MB}


def sent(*sizes: int) -> BuildTrace:
    transfers = (replace(transfer("context", f"d{size}", (1, 2)), bytes=size) for size in sizes)
    names = ("[internal] load build context", "[context other] load from client")
    return trace_of(transfers=tuple(replace(each, name=name) for each, name in zip(transfers, names, strict=False)))


@pytest.mark.parametrize(
    ("sizes", "is_large"), [((LARGE,), False), ((LARGE + 1,), True), ((1, LARGE), False), ((LARGE + 1, 5), True)]
)
def test_a_large_context_is_told_and_reported(tmp_path: Path, sizes: tuple[int, ...], is_large: bool) -> None:  # noqa: FBT001
    trace, display = sent(*sizes), RecordingDisplay()
    before = Outcome(report=report_of(trace), trace=trace)
    request = BuildRequest(context=str(context(tmp_path, SIZES)))
    report = with_context(before, request, display).report
    assert report.build_context
    assert report.build_context.bytes == sum(sizes)
    assert bool(report.build_context.largest) is is_large
    assert display.warned == [*report.warnings[len(before.report.warnings) :]]
    assert len(display.warned) == is_large
    for hint in display.warned:
        assert hint.endswith("one a line: `node_modules` (171.7 MiB), `.git` (76.3 MiB)")
        assert "if the build does not need them" in hint


def test_without_a_transfer_nothing_is_said() -> None:
    trace = trace_of()
    outcome = Outcome(report=report_of(trace), trace=trace)
    assert with_context(outcome, BuildRequest(context="."), RecordingDisplay()) is outcome
    untraced = replace(outcome, trace=None)
    assert with_context(untraced, BuildRequest(context="."), RecordingDisplay()) is untraced
