"""Reports in files: whole or not at all, and readable by their owner only."""

from __future__ import annotations

from pathlib import Path

from buildx_cache.atomic import write_text
from buildx_cache.errors import ExhaustedError
from buildx_cache.report.model import BuildReport


def write_report(report: BuildReport, path: str) -> None:
    """Write the report's JSON to ``path`` atomically, readable by its owner only.

    Raises:
        ExhaustedError: it cannot be written there.
    """
    try:
        write_text(Path(path), report.to_json())
    except OSError as error:
        raise ExhaustedError(
            f"the report cannot be written to {path}: {error.strerror}", hint="give another --report"
        ) from None
