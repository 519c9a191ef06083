"""What is written when a call is through: reports, and values for later steps."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from buildx_cache.cli.building import _tell_files
from buildx_cache.display import PlainDisplay
from buildx_cache.errors import BuildFailedError, BuildxCacheError, ExhaustedError
from buildx_cache.request.build_request import BuildRequest
from buildx_cache.run import Outcome
from tests.unit.report.builds import report_of, trace_of


def tell(request: BuildRequest, error: BuildxCacheError | None) -> str:
    shown = io.StringIO()
    _tell_files(request, Outcome(report=report_of(trace_of()), error=error), {}, PlainDisplay(shown, color=False))
    return shown.getvalue()


def asked(folder: Path) -> BuildRequest:
    """A report that cannot be written, and others that can."""
    (folder / "file").touch()
    blocked = str(folder / "file" / "report.json")
    return BuildRequest(report=blocked, report_md=str(folder / "report.md"), dotenv=str(folder / "build.env"))


def test_a_report_that_cannot_be_written_ends_a_call_that_else_succeeded(tmp_path: Path) -> None:
    with pytest.raises(ExhaustedError, match="the report cannot be written"):
        tell(asked(tmp_path), None)
    assert (tmp_path / "report.md").exists()
    assert (tmp_path / "build.env").exists()


def test_a_failed_build_ends_as_it_failed_whatever_becomes_of_its_reports(tmp_path: Path) -> None:
    told = tell(asked(tmp_path), BuildFailedError("the build failed", hint="look"))
    assert told.startswith("warning: the report cannot be written")
    assert (tmp_path / "report.md").exists()
    assert (tmp_path / "build.env").exists()
