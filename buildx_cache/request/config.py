"""The configuration file: ``buildx-cache.toml`` or ``[tool.buildx-cache]`` in ``pyproject.toml``."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from buildx_cache.errors import UsageError
from buildx_cache.request.checks import is_remote_context
from buildx_cache.request.layers import CONFIG_FIELDS, Layer
from buildx_cache.request.looking import look
from buildx_cache.request.model import option_key


def config_layer(context: str, working_directory: Path) -> Layer | None:
    """The options in the nearest configuration file, or None where there is none.

    ``buildx-cache.toml``, then ``[tool.buildx-cache]`` in ``pyproject.toml``: beside the build context first,
    then in the working directory.

    Raises:
        UsageError: unreadable TOML, or a key that is no option.
    """
    beside = () if is_remote_context(context) else (working_directory / context,)
    folders = dict.fromkeys((*beside, working_directory))
    for folder in folders:
        for file, section in (
            (folder / "buildx-cache.toml", ""),
            (folder / "pyproject.toml", "tool.buildx-cache"),
        ):
            if look(file).is_file and (layer := _read_config(file, section)) is not None:
                return layer
    return None


def _read_config(file: Path, section: str) -> Layer | None:
    import tomllib

    try:
        text = file.read_text(encoding="utf-8")
        table: object = tomllib.loads(text)
    except (OSError, ValueError, RecursionError) as error:  # tomllib lets Python's own limits through
        if section and not isinstance(error, OSError) and "tool.buildx-cache" not in _lossy(file):
            return None
        raise UsageError(f"{file} cannot be read: {_reason(error)}", hint="mend the file, or move it away") from None
    for key in section.split(".") if section else ():
        table = table.get(key) if isinstance(table, dict) else None
    if table is None:
        return None
    if not isinstance(table, dict):
        raise UsageError(f"{file}: {section} is not a table", hint=f"write [{section}] and options below it")
    lines = _key_lines(text, section)
    return Layer(file=str(file), values=dict(_config_values(file, table, lines)), lines=lines)


def _reason(error: Exception) -> str:
    match error:
        case OSError():
            return error.strerror or str(error)
        case UnicodeDecodeError():
            return f"it is not text in UTF-8 (byte {error.start})"
        case RecursionError():
            return "it is nested too deeply"
        case _:
            return str(error)


def _lossy(file: Path) -> str:
    return file.read_bytes().decode(errors="replace")


def _config_values(file: Path, table: Mapping[str, object], lines: Mapping[str, int]) -> Iterable[tuple[str, object]]:
    known = {option_key(name): name for name in CONFIG_FIELDS}
    for key, value in table.items():
        if key not in known:
            line = lines.get(key.replace("-", "_"), 0)
            place = f"{file}:{line}" if line else str(file)
            near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
            hint = f"perhaps you meant {near[0]!r}?" if near else "see `buildx-cache build --help` for the options"
            raise UsageError(f"{place}: unknown option {key!r}", hint=hint)
        yield known[key], value


def _key_lines(text: str, section: str) -> dict[str, int]:
    """The line of each key of a section, by a plain look at the text: tomllib tells none."""
    found: dict[str, int] = {}
    current = ""
    for number, line in enumerate(text.splitlines(), 1):
        if header := re.match(r"\s*\[([^\[\]]+)\]", line):
            current = header[1].replace(" ", "").replace('"', "")
        elif current == section and (key := re.match(r"\s*[\"']?([\w-]+)[\"']?\s*=", line)):
            found.setdefault(key[1].replace("-", "_"), number)
    return found
