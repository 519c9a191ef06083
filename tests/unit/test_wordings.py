"""What each error says, by its code: a message that is reworded shows in ``golden/wordings.toml``, and there alone."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from functools import cache

from buildx_cache.buildkit.causes import CAUSES
from tests.golden import Golden
from tests.unit.test_error_codes import CALLS, PACKAGE

COMPUTED = "computed"
"""Where the code depends on what a program said."""


def wordings() -> Iterator[tuple[str, str]]:
    """Give the code and the text of each error that the package raises, and the advice of each cause."""
    for place, call in CALLS.items():
        names = constants(place.rpartition(":")[0])
        values = {each.arg: each.value for each in call.keywords}
        code = values["code"]
        text = f"error: {template(call.args[0], names)}\n"
        if "hint" in values:
            text += f"hint: {template(values['hint'], names)}\n"
        yield str(code.value) if isinstance(code, ast.Constant) else COMPUTED, text
    for kind, cause in CAUSES.items():
        if cause.advice:
            yield kind.value, f"hint: {cause.advice}\n"
        if cause.in_step:
            yield kind.value, f"hint of a step: {cause.in_step}\n"


@cache
def constants(file: str) -> Mapping[str, ast.expr]:
    """Return what the module's own names stand for."""
    module = ast.parse((PACKAGE / file).read_text())
    return {
        target.id: node.value
        for node in module.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name) and isinstance(node.value, ast.Constant | ast.JoinedStr)
    }


def template(node: ast.expr, names: Mapping[str, ast.expr]) -> str:
    """Return a text with what is filled in between braces."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=parts):
            return "".join(template(part, names) for part in parts)
        case ast.FormattedValue(value=ast.Name(id=name)) | ast.Name(id=name) if name in names:
            return template(names[name], names)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return template(left, names) + template(right, names)
        case ast.IfExp(body=body, orelse=other):
            return f"{template(body, names)} | {template(other, names)}"
    return f"{{{ast.unparse(node.value if isinstance(node, ast.FormattedValue) else node)}}}"


def test_what_each_error_says_is_in_the_golden_file(golden: Golden) -> None:
    table: dict[str, set[str]] = {}
    for code, text in wordings():
        table.setdefault(code, set()).add(text)
    golden.check_all("wordings", {code: {"says": "".join(sorted(texts))} for code, texts in sorted(table.items())})
