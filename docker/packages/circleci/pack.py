"""Pack an orb's source tree into one file, as `circleci orb pack` does: python pack.py src > orb.yml."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

PARTS = ("commands", "jobs", "executors", "examples")
_INCLUDE = re.compile(r"<<\s*include\(\s*([\w./-]+)\s*\)\s*>>")


def pack(source: Path) -> dict[str, Any]:
    """Return the orb: what `@orb.yml` says, and each component under its file's name."""
    yaml = YAML(typ="safe")
    orb: dict[str, Any] = yaml.load(source / "@orb.yml")
    for part in PARTS:
        files = sorted((source / part).glob("*.yml"))
        if files:
            orb[part] = {file.stem: _included(yaml.load(file), source, part) for file in files}
    return orb


def _included(node: Any, source: Path, part: str) -> Any:  # noqa: ANN401 -- YAML
    """Put files in the place of their `include`, which stands alone; `<<` in them is text, not a parameter."""
    if isinstance(node, dict):
        return {key: _included(value, source, part) for key, value in node.items()}
    if isinstance(node, list):
        return [_included(value, source, part) for value in node]
    if part != "examples" and isinstance(node, str) and (found := _INCLUDE.fullmatch(node.strip())):
        return (source / found[1]).read_text(encoding="utf-8").replace("<<", r"\<<")
    return node


if __name__ == "__main__":
    writer = YAML()
    writer.width = 4096
    writer.dump(pack(Path(sys.argv[1])), sys.stdout)
