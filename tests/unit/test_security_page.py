"""SECURITY.md names, for each promise, tests that exist."""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
PROMISES = [
    " ".join(item.split())
    for item in re.split(
        r"^- ",
        (PROJECT / "SECURITY.md")
        .read_text(encoding="utf-8")
        .partition("## What is promised")[2]
        .partition("## What is not")[0],
        flags=re.MULTILINE,
    )[1:]
]
NAMED = re.compile(r"`([\w/]+\.py)::(\w+)`")


@functools.cache
def functions(file: str) -> frozenset[str]:
    module = ast.parse((PROJECT / "tests" / file).read_text(encoding="utf-8"))
    return frozenset(node.name for node in module.body if isinstance(node, ast.FunctionDef))


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise[:50])
def test_a_promise_names_tests_that_exist(promise: str) -> None:
    named = NAMED.findall(promise)
    assert named
    for file, test in named:
        assert test in functions(file)
