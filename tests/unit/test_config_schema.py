"""The JSON Schema of ``buildx-cache.toml``, by which editors complete and check it. Made anew by running this file."""

from __future__ import annotations

import json
import tomllib
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from buildx_cache.caches.backend import CacheKind
from buildx_cache.errors import UsageError
from buildx_cache.request.build_request import option_key
from buildx_cache.request.config import found_config
from buildx_cache.request.options import CONFIG_FIELDS, KINDS, OPTIONS
from buildx_cache.request.sources import OptionLayer, converted

FILE = resources.files("buildx_cache").joinpath("config.schema.json")
TYPES: dict[type, dict[str, Any]] = {
    bool: {"type": "boolean"},
    str: {"type": "string"},
    tuple: {"type": ["array", "string"], "items": {"type": "string"}},  # a string has an item a line
}


def described(name: str) -> dict[str, Any]:
    kind = KINDS[name]
    return {"description": OPTIONS[name].help, **(TYPES.get(kind) or {"enum": [str(word) for word in kind]})}  # type: ignore[attr-defined]


def schema() -> dict[str, Any]:
    """Return it in the draft that editors of TOML know; the reader refuses the nested `tool` that `#` lets through."""
    options = {option_key(name): described(name) for name in CONFIG_FIELDS}
    tool = {"type": "object", "properties": {"buildx-cache": {"$ref": "#"}}, "required": ["buildx-cache"]}
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "buildx-cache.toml",
        "description": "Options of buildx-cache, at the top or in [tool.buildx-cache].",
        "type": "object",
        "properties": {**options, "$schema": {"description": "Where this schema is, for editors."}, "tool": tool},
        "additionalProperties": False,
        "dependencies": {"tool": {"propertyNames": {"enum": ["$schema", "tool"]}}},
    }


VALIDATOR = jsonschema.Draft7Validator(json.loads(FILE.read_text(encoding="utf-8")))


def test_the_schema_is_that_of_the_options() -> None:
    assert VALIDATOR.schema == schema()
    VALIDATOR.check_schema(VALIDATOR.schema)


@pytest.mark.parametrize(
    "text",
    [
        'platform = ["linux/amd64"]\nbuild-arg = "A=1\\nB=2"\npush = true\ncache-read-only = false',
        '[tool.buildx-cache]\ncache = "registry"\nreport-html = "build-report.html"',
        '#:schema https://example.com/config.schema.json\n"$schema" = "./config.schema.json"\npush = true',
        '"$schema" = "x"\n[tool.buildx-cache]\n"$schema" = "x"\ncache = "registry"',
        "",
    ],
)
def test_a_configuration_file_is_valid(text: str) -> None:
    VALIDATOR.validate(tomllib.loads(text))


@pytest.mark.parametrize("name", ["buildx-cache.toml", "pyproject.toml"])
@pytest.mark.parametrize("head", ["#:schema ./x.json\n", '"$schema" = "./x.json"\n', '"$schema" = 1\n'], ids=repr)
@pytest.mark.parametrize("inner", ["", '"$schema" = "./x.json"\n'], ids=repr)
def test_where_the_schema_is_is_no_option(tmp_path: Path, name: str, head: str, inner: str) -> None:
    (tmp_path / name).write_text(f"{head}[tool.buildx-cache]\n{inner}target = 'x'\n")
    found = found_config(".", tmp_path, is_trusted=False)
    assert found.layer
    assert dict(found.layer.values) == {"target": "x"}


@pytest.mark.parametrize(
    "text",
    [
        *('cache = "regsitry"', "tag = [1]", "push = 1", "target = true", "platfrom = []", 'config = "x"'),
        *(
            "password-stdin = true",
            'cache_dir = "x"',
            '[tool.buildx-cache]\ncache = "x"',
            'push = true\n[tool]\nx = "y"',
        ),
    ],
)
def test_a_mistake_is_found(text: str) -> None:
    assert not VALIDATOR.is_valid(tomllib.loads(text))


@pytest.mark.parametrize("value", ["x", True, 1, 1.5, ["x"], ["x", 1], [], {}, *CacheKind], ids=repr)
def test_what_the_schema_takes_is_read(value: object) -> None:
    for name in CONFIG_FIELDS:
        if VALIDATOR.is_valid({option_key(name): value}):
            converted([OptionLayer(file="x.toml", values={name: value})])
        elif not (isinstance(value, str) and KINDS[name] is bool):  # a word such as "yes", which a variable needs
            with pytest.raises(UsageError):
                converted([OptionLayer(file="x.toml", values={name: value})])


if __name__ == "__main__":
    Path(str(FILE)).write_text(json.dumps(schema(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
