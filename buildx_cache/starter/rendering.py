"""Fill in the templates: a file for a CI, of the lines that install the program and what the repository is called."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from importlib import resources

from buildx_cache.starter.recipes import Recipe, StepCache

_LINES = re.compile(r"^(?P<lead> *(?:- )?)@(?P<name>\w+)@$", re.MULTILINE)
_WORD = re.compile(r"@(\w+)@")


def render(recipe: Recipe, cache: StepCache, values: Mapping[str, str]) -> str:
    """Return the file for a CI: its template, with ``@NAME@`` replaced.

    A line of an ``install.toml`` list's name is replaced by that list's lines, with what stands before the name.
    """
    kind = StepCache.LOCAL if cache is StepCache.LOCAL else StepCache.REGISTRY
    options = {"cache": " --cache inline" if cache is StepCache.INLINE else ""}
    install = tomllib.loads(_template("install.toml"))
    lines = {name: text for name, text in install.items() if isinstance(text, list)}
    words = {**install, **options, **values}

    def expanded(found: re.Match[str]) -> str:
        return "\n".join(found["lead"] + line for line in lines[found["name"]])

    text = _LINES.sub(expanded, _template(f"{recipe.name}.{kind}.{recipe.suffix}"))
    return _WORD.sub(lambda found: words[found[1]], text)


def _template(name: str) -> str:
    return resources.files("buildx_cache").joinpath("starter", "templates", name).read_text(encoding="utf-8")
