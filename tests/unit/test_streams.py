"""A stream whose reader goes away ends the call in order, once."""

from __future__ import annotations

import os

import pytest
from rich.console import Console

from buildx_cache.cli.streams import watched
from buildx_cache.errors import InterruptedBuildError


def test_a_reader_that_goes_away_is_told_once() -> None:
    reader, writer = os.pipe()
    with os.fdopen(writer, "w", buffering=1) as stream:
        out = watched(stream)
        assert out.write("heard\n") == 6
        out.flush()
        assert os.read(reader, 100) == b"heard\n"
        assert (out.isatty(), out.fileno()) == (False, writer)
        os.close(reader)
        with pytest.raises(InterruptedBuildError) as raised:
            out.write("unheard\n")
        assert raised.value.exit_code == 141
        out.write("said to nobody\n")
        Console(file=out).print("so is this")


def test_rich_leaves_it_to_the_call() -> None:
    reader, writer = os.pipe()
    with os.fdopen(writer, "w", buffering=1) as stream:
        console = Console(file=watched(stream))
        os.close(reader)
        with pytest.raises(InterruptedBuildError):
            console.print("unheard")
        console.print("said to nobody")
