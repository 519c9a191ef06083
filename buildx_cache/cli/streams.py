"""Wrap stdout and stderr: defuse commands to a CI in them, and end the call in order if they cannot be written."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TextIO, cast

from buildx_cache.ci.capabilities import without_commands
from buildx_cache.ci.providers import COMMAND_MARKS
from buildx_cache.errors import ExhaustedError, InterruptedBuildError

FULL, FULL_HINT = "the output cannot be written: no space left", "free some, or write it elsewhere"


@contextlib.contextmanager
def command_safe(env: Mapping[str, str]) -> Iterator[None]:
    """Defuse commands to the CI on stdout and stderr, in this context.

    Anybody may choose names of tags, branches, folders and layers, and Rich may break a line inside of a name. This
    program writes its own commands to ``raw_stream``.
    """
    if not any(env.get(name) for name in COMMAND_MARKS):
        yield
        return
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (cast("TextIO", _CommandSafe(stream)) for stream in before)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def raw_stream(stream: TextIO) -> TextIO:
    """Return the stream without the guard, for this program's own commands and for displays that defuse others."""
    return stream.raw_stream if isinstance(stream, _CommandSafe) else stream


class _CommandSafe:
    def __init__(self, stream: TextIO) -> None:
        self.raw_stream = stream

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 -- whatever else a stream has
        return getattr(self.raw_stream, name)

    def write(self, text: str) -> int:
        self.raw_stream.write(without_commands(text))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)


def discard(stream: TextIO) -> None:
    """Redirect the stream to /dev/null and discard buffered output."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def fail_fast(stream: TextIO) -> TextIO:
    """Wrap a stream so that a failed write ends the call in order; afterwards the stream discards everything.

    A write raises ``InterruptedBuildError`` if the reader is gone, and ``ExhaustedError`` if no space is left, each
    once. Python and Rich would end the program in other ways.
    """
    return cast("TextIO", _FailFast(stream))


class _FailFast:
    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 -- whatever else a stream has
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        with self._ending_in_order():
            return self._stream.write(text)

    def flush(self) -> None:
        with self._ending_in_order():
            self._stream.flush()

    @contextlib.contextmanager
    def _ending_in_order(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno not in (errno.EPIPE, errno.ENOSPC):
                raise
            discard(self._stream)
            if error.errno == errno.EPIPE:
                raise InterruptedBuildError(signal.SIGPIPE) from None
            raise ExhaustedError(FULL, code="stdout-full", hint=FULL_HINT) from None
