"""The stable names of causes: each place that raises an error gives one, and the troubleshooting page lists them.

``python -m tests.unit.test_error_codes`` writes the advice of causes into that page.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import buildx_cache
from buildx_cache import errors
from buildx_cache.buildkit.causes import CAUSES, Kind
from buildx_cache.errors import BuildFailedError, BuildxCacheError, InterruptedBuildError, UsageError
from buildx_cache.report import report_schema

PACKAGE = Path(buildx_cache.__file__).parent
CLASSES = {name for name, each in vars(errors).items() if isinstance(each, type) and issubclass(each, BuildxCacheError)}
CLASSES -= {InterruptedBuildError.__name__}
_CODE = re.compile(report_schema()["properties"]["error"]["oneOf"][1]["properties"]["code"]["pattern"])


def made() -> Iterator[tuple[str, ast.Call]]:
    """Give each place of the package that makes an error, but for signals, whose class knows its code."""
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in CLASSES:
                yield f"{path.relative_to(PACKAGE)}:{node.lineno}", node


CALLS = dict(made())


@pytest.mark.parametrize("place", CALLS)
def test_each_error_names_its_cause(place: str) -> None:
    codes = [each.value for each in CALLS[place].keywords if each.arg == "code"]
    assert len(codes) == 1
    assert not isinstance(codes[0], ast.Constant) or _CODE.match(str(codes[0].value))


def test_a_cause_of_docker_is_a_code() -> None:
    assert [kind for kind in Kind if not _CODE.match(kind.value)] == []


def test_an_error_without_a_code_has_that_of_its_class() -> None:
    assert (UsageError("x").code, UsageError("x", code="size-malformed").code) == ("usage", "size-malformed")


def exit_codes() -> dict[str, str]:
    """Every code of the program, with the exit codes that a call with it ends with."""
    found: dict[str, set[int]] = {}
    for call in CALLS.values():
        for each in call.keywords:
            if each.arg == "code" and isinstance(each.value, ast.Constant) and isinstance(call.func, ast.Name):
                found.setdefault(str(each.value.value), set()).add(int(getattr(errors, call.func.id).exit_code))
    for kind in Kind:
        ends = CAUSES[kind].error
        found.setdefault(kind.value, set()).update({int(ends.exit_code)} if ends else set())
    found[BuildFailedError.code] = {int(BuildFailedError.exit_code)}  # of a build whose cause is unknown
    of_signals = {"interrupted": "130, 143", "timed-out": "143", "reader-gone": "141", "internal-error": "70"}
    return {code: ", ".join(map(str, sorted(codes))) or "none" for code, codes in found.items()} | of_signals


PAGE = PACKAGE / "docs" / "troubleshooting.md"
_ROW = re.compile(
    r"^\| `(?P<code>[a-z0-9-]+)` \| (?P<exit>[^|]+) \| (?P<what>[^|]+) \| (?P<advice>.+) \|$", re.MULTILINE
)


def advice() -> dict[str, str]:
    """Return what causes advise, by code, but for codes that other places raise too, with a hint for each."""
    raised = {
        each.value.value for call in CALLS.values() for each in call.keywords if isinstance(each.value, ast.Constant)
    }
    return {
        kind.value: cause.advice or cause.in_step
        for kind, cause in CAUSES.items()
        if (cause.advice or cause.in_step) and kind.value not in raised
    }


def written() -> str:
    """Put the advice of causes into the page."""
    known = advice()

    def row(found: re.Match[str]) -> str:
        return found[0].replace(f"| {found['advice']} |", f"| {known.get(found['code'], found['advice'])} |")

    return _ROW.sub(row, PAGE.read_text(encoding="utf-8"))


def test_troubleshooting_has_an_entry_for_each_code() -> None:
    entries = [(found["code"], found["exit"]) for found in _ROW.finditer(PAGE.read_text(encoding="utf-8"))]
    assert dict(entries) == exit_codes()
    assert len(entries) == len(dict(entries))


def test_troubleshooting_advises_what_the_hint_of_the_cause_does() -> None:
    assert PAGE.read_text(encoding="utf-8") == written(), "python -m tests.unit.test_error_codes"


if __name__ == "__main__":
    PAGE.write_text(written(), encoding="utf-8")
