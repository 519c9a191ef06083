"""Which display a call gets, and what of it is refused."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from types import SimpleNamespace

import pytest

from buildx_cache.cli.displays import display_for
from buildx_cache.errors import UsageError
from buildx_cache.request.build_request import BuildRequest, Progress
from buildx_cache.request.sources import OptionLayer, make_request

TERMINAL = {"TERM": "xterm"}


@pytest.mark.parametrize(
    ("progress", "terminal", "env", "kind"),
    [
        ("auto", True, TERMINAL, "Live"),
        ("live", True, TERMINAL, "Live"),
        ("plain", True, TERMINAL, "Plain"),
        ("quiet", True, TERMINAL, "Quiet"),
        ("json", True, TERMINAL, "Json"),
        ("auto", False, TERMINAL, "Plain"),
        ("live", False, TERMINAL, "Plain"),
        ("auto", True, {"TERM": "dumb"}, "Plain"),
        ("live", True, {"TERM": "dumb"}, "Plain"),
        ("auto", True, {**TERMINAL, "NO_COLOR": "1"}, "Plain"),
        ("live", True, {**TERMINAL, "NO_COLOR": "1"}, "Live"),
        ("auto", True, {**TERMINAL, "CI": "true"}, "Plain"),
        ("live", True, {**TERMINAL, "CI": "true"}, "Plain"),
        ("live", True, {**TERMINAL, "GITHUB_ACTIONS": "true"}, "Plain"),
    ],
)
def test_the_display_is_one_that_its_reader_can_take(
    progress: str,
    terminal: bool,  # noqa: FBT001 -- a table
    env: Mapping[str, str],
    kind: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stream = SimpleNamespace(isatty=lambda: terminal, fileno=lambda: 2, encoding="utf-8", write=len, flush=lambda: None)
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setattr(os, "get_terminal_size", lambda *_: os.terminal_size((80, 24)))
    display = display_for(BuildRequest(progress=Progress(progress)), env)
    assert type(display).__name__ == f"{kind}Display"


@pytest.mark.parametrize(
    "values",
    [
        {"output": ["-"]},
        {"output": ["type=tar,dest=-"]},
        {"output": ["type=tar"]},
        {"output": ["type=oci,dest="]},
        {"buildx_flags": ("--call=check",)},
        {"buildx_flags": ("--print",)},
        {"buildx_flags": ("-Dq",)},
        {"buildx_flags": ("-o", "-")},
    ],
)
def test_two_things_on_stdout_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(UsageError, match=r"--progress json and .* both write to stdout"):
        make_request((OptionLayer(where="--{name}", values={**values, "progress": "json"}),))
    make_request((OptionLayer(where="--{name}", values={**values, "progress": "plain"}),))
    make_request((OptionLayer(where="--{name}", values={"output": ["type=tar,dest=x"], "progress": "json"}),))
