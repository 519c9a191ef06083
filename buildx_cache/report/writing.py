"""Reports in files: whole or not at all, and readable by their owner only."""

from __future__ import annotations

from pathlib import Path

from buildx_cache.atomic import write_text
from buildx_cache.errors import ExhaustedError
from buildx_cache.working_copy import prepared_root


def write_report(text: str, path: str, option: str) -> None:
    """Write a report to ``path`` atomically; ``option`` is what asked for it.

    Raises:
        ExhaustedError: it cannot be written there.
    """
    try:
        write_text(Path(path), text, below=prepared_root(Path(path)))
    except OSError as error:
        raise ExhaustedError(
            f"the report cannot be written to {path}: {error.strerror}", hint=f"give another {option}"
        ) from None
