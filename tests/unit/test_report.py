from __future__ import annotations

import json
import os
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from buildx_cache import __version__
from buildx_cache.errors import ExhaustedError
from buildx_cache.report import (
    BuilderReport,
    BuildReport,
    CacheReport,
    CIReport,
    ExportReport,
    ImageReport,
    ImportReport,
    LocalReport,
    RetryReport,
    StepCounts,
    StepReport,
    report_schema,
)
from buildx_cache.report.formats import write_report

DIGEST = "sha256:" + "ab" * 32
EMPTY = BuildReport(
    status="failed",
    exit_code=3,
    started="2025-11-24T04:30:00.123Z",
    seconds=0.0,
    images={"default": ImageReport()},
    builder=BuilderReport(name="default", driver="docker", buildkit="unknown", created=False),
    ci=CIReport(provider="none", branch=None, sha=None, pull_request=None, is_fork=False),
    cache=CacheReport(mode="none", scope="main", read_only=False),
)
FULL = BuildReport(
    status="success",
    exit_code=0,
    started="2025-11-24T04:30:00.123Z",
    seconds=12.34567,
    images={
        "default": ImageReport(
            digest=DIGEST,
            platform_digests={"linux/amd64": DIGEST},
            tags=("registry.example.com/app:1",),
            pushed=True,
            platforms=("linux/amd64",),
        )
    },
    builder=BuilderReport(name="own", driver="docker-container", buildkit="0.25.0", created=True),
    ci=CIReport(provider="circleci", branch="größe", sha="83a20ec", pull_request="12", is_fork=True),
    cache=CacheReport(
        mode="registry",
        scope="main",
        read_only=False,
        imports=(ImportReport(type="registry", source="a", status="hit"),),
        exports=(ExportReport(type="registry", target="a", status="written", bytes=1024),),
        steps=StepCounts(total=3, cached=2, executed=1),
        hit_ratio=2 / 3,
    ),
    steps=(
        StepReport(
            name="RUN make",
            stage="build",
            platform="linux/amd64",
            digest=DIGEST,
            inputs=(DIGEST,),
            cached=False,
            seconds=1.00049,
            error="",
        ),
    ),
    phases={"build": 9.8765},
    retries=(RetryReport(phase="push", reason="503", count=2),),
    warnings=("careful",),
    commands=(("docker", "buildx", "build", "."),),
)


def parsed(report: BuildReport) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(report.to_json())
    return document


def validator() -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(report_schema())


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(report_schema())


LOCAL = replace(
    FULL,
    cache=replace(
        FULL.cache, mode="local", local=LocalReport(dir="/cache/app", live_bytes=5, swept_bytes=7, sound=True)
    ),
)


@pytest.mark.parametrize("report", [EMPTY, FULL, LOCAL], ids=["empty", "full", "local"])
def test_a_report_keeps_to_the_schema(report: BuildReport) -> None:
    validator().validate(parsed(report))


@pytest.mark.parametrize(
    ("where", "value"),
    [
        (("schema",), 2),
        (("status",), "ok"),
        (("exit_code",), -1),
        (("seconds",), -0.1),
        (("images",), {}),
        (("images", "default", "digest"), "sha256:short"),
        (("images", "default", "platform_digests", "linux/amd64"), ""),
        (("cache", "hit_ratio"), 1.5),
        (("cache", "imports", 0, "status"), "found"),
        (("cache", "exports", 0, "bytes"), 0.5),
        (("steps", 0, "name"), None),
        (("phases", "later"), "1"),
    ],
)
def test_the_schema_refuses_what_is_no_report(where: tuple[Any, ...], value: object) -> None:
    document = parsed(FULL)
    place = document
    for key in where[:-1]:
        place = place[key]
    place[where[-1]] = value
    assert [list(error.path) or error.validator for error in validator().iter_errors(document)]


@pytest.mark.parametrize(
    ("where", "value"),
    [
        (("later",), 1),
        (("images", "default", "later"), 1),
        (("images", "api"), parsed(FULL)["images"]["default"]),
        (("cache", "mode"), "s3"),
        (("cache", "local"), {**parsed(LOCAL)["cache"]["local"], "later": 1}),
        (("phases", "merge"), 1.5),
    ],
)
def test_the_schema_is_open_for_later_versions(where: tuple[Any, ...], value: object) -> None:
    document = parsed(FULL)
    place = document
    for key in where[:-1]:
        place = place[key]
    place[where[-1]] = value
    validator().validate(document)


@pytest.mark.parametrize(
    ("key", "value"),
    [("dir", None), ("live_bytes", -1), ("live_bytes", 0.5), ("swept_bytes", "7"), ("sound", None)],
)
def test_the_schema_refuses_what_is_no_local_folder(key: str, value: object) -> None:
    document = parsed(LOCAL)
    document["cache"]["local"][key] = value
    assert not validator().is_valid(document)


@pytest.mark.parametrize("key", ["dir", "live_bytes", "swept_bytes", "sound"])
def test_the_schema_wants_all_of_a_local_folder(key: str) -> None:
    document = parsed(LOCAL)
    del document["cache"]["local"][key]
    assert not validator().is_valid(document)


def test_a_local_folder_is_read_back_as_it_was() -> None:
    assert parsed(LOCAL)["cache"]["local"] == {"dir": "/cache/app", "live_bytes": 5, "swept_bytes": 7, "sound": True}


@pytest.mark.parametrize("key", sorted(parsed(FULL)))
def test_the_schema_wants_every_key(key: str) -> None:
    document = parsed(FULL)
    del document[key]
    assert not validator().is_valid(document)


def test_a_report_is_read_back_as_it_was() -> None:
    document = parsed(FULL)
    assert list(document)[:4] == ["schema", "tool", "status", "exit_code"]
    assert document["tool"] == {"name": "buildx-cache", "version": __version__}
    assert document["seconds"] == 12.346
    assert document["steps"][0]["seconds"] == 1.0
    assert document["phases"]["build"] == 9.877
    assert document["cache"]["hit_ratio"] == 0.667
    assert document["cache"]["local"] is None
    assert document["commands"] == [["docker", "buildx", "build", "."]]
    assert document["ci"]["branch"] == "größe"
    assert FULL.to_json().endswith("}\n")


def test_the_phases_are_those_of_the_contract() -> None:
    assert list(parsed(EMPTY)["phases"]) == [
        "context", "builder", "login", "verify", "build", "export", "push", "sweep", "prune",
    ]  # fmt: skip


def test_a_report_is_written_for_its_owner_only(tmp_path: Path) -> None:
    before = os.umask(0o000)
    try:
        write_report(FULL.to_json(), str(tmp_path / "new" / "folder" / "report.json"), "--report")
    finally:
        os.umask(before)
    file = tmp_path / "new" / "folder" / "report.json"
    assert file.read_text(encoding="utf-8") == FULL.to_json()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert os.listdir(file.parent) == ["report.json"]  # noqa: PTH208 -- with what is hidden


def test_a_report_takes_the_place_of_an_older_one(tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    write_report(EMPTY.to_json(), str(file), "--report")
    write_report(FULL.to_json(), str(file), "--report")
    assert json.loads(file.read_text(encoding="utf-8"))["status"] == "success"


def test_a_report_that_cannot_be_written_leaves_the_older_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "report.json"
    write_report(EMPTY.to_json(), str(file), "--report")

    def full(new: str, target: str, **_: int) -> None:
        raise OSError(28, "No space left on device", new, None, target)

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(ExhaustedError) as failed:
        write_report(FULL.to_json(), str(file), "--report")
    assert failed.value.message == f"the report cannot be written to {file}: No space left on device"
    assert failed.value.hint == "give another --report"
    assert file.read_text(encoding="utf-8") == EMPTY.to_json()
    assert [entry.name for entry in tmp_path.iterdir()] == ["report.json"]


def test_a_report_cannot_be_written_below_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ExhaustedError, match=r"the report cannot be written to .*: (Not a directory|File exists)"):
        write_report(FULL.to_json(), str(tmp_path / "file" / "report.json"), "--report")


def test_a_name_in_no_encoding_does_not_stop_the_report(tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    write_report(replace(FULL, warnings=("bad \udcff name",)).to_json(), str(file), "--report")
    assert json.loads(file.read_text(encoding="utf-8"))["warnings"] == ["bad \udcff name"]
