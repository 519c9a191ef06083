"""A stream whose reader may go away while a build runs."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from typing import Any, TextIO, cast

from buildx_cache.errors import InterruptedBuildError


def watched(stream: TextIO) -> TextIO:
    """The same stream, which ends a call in order where nobody reads it any more, and from then on leads nowhere.

    Writing raises ``InterruptedBuildError`` once; Python and Rich would each have their own way to end the program.
    """
    return cast("TextIO", _Watched(stream))


class _Watched:
    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 -- whatever else a stream has
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        with self._watching():
            return self._stream.write(text)

    def flush(self) -> None:
        with self._watching():
            self._stream.flush()

    @contextlib.contextmanager
    def _watching(self) -> Iterator[None]:
        try:
            yield
        except BrokenPipeError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)
            raise InterruptedBuildError(signal.SIGPIPE) from None
