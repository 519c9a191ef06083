"""Read the configuration file: ``buildx-cache.toml`` or ``[tool.buildx-cache]`` in ``pyproject.toml``.

A file that this program finds is the repository's: links to the file are refused, and ``trust`` limits its options. A
file that the caller names is the caller's, and may set everything.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from buildx_cache.errors import UsageError
from buildx_cache.request.build_request import option_key
from buildx_cache.request.options import CONFIG_FIELDS, nearest
from buildx_cache.request.probe import look
from buildx_cache.request.remote_context import is_remote_context
from buildx_cache.request.rules import Ground, ground_of
from buildx_cache.request.sources import OptionLayer
from buildx_cache.working_copy import led_outside

_OWN, _PYTHON = "buildx-cache.toml", "pyproject.toml"
_SECTION = "tool.buildx-cache"
_OWN_TABLE = b"buildx-cache"
_SCHEMA = "$schema"
"""A key for editors: where the file's JSON Schema is."""
_LARGEST = 1 << 20
# The limit for a file with options: tomllib takes ten seconds and half a gigabyte for a megabyte of dotted keys.
_LARGEST_PARSED = 1 << 18
# tomllib takes quadratic time in the parts of a dotted key: a second for some five thousand.
_DEEPEST = 32
# No part begins at an escaped quote: else each such quote in a string would begin another search.
_DEEP = re.compile(
    r"""(?<![\w.\\-])(?:(?:[\w-]++|"(?:[^"\\\n]|\\.)*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+){%d}""" % _DEEPEST  # noqa: UP031 -- braces
)
_MEND = "correct the file, or move it away"
_NAME_IT = "name the file itself with --config FILE or BUILDX_CACHE_CONFIG, or move it away"


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """The options of the configuration file, if there is one.

    ``ground`` is the place where the file was found, None if the caller names or trusts the file. ``standing`` says
    whose file it is. ``passed_over`` is a linked ``pyproject.toml`` that was not read.
    """

    layer: OptionLayer | None = None
    standing: str = ""
    ground: Ground | None = None
    passed_over: Path | None = None

    @property
    def lines(self) -> tuple[str, ...]:
        """Return the lines about the file that every call shows."""
        used = f"configuration: {self.layer.file} ({self.standing})" if self.layer else ""
        skipped = f"configuration: {self.passed_over} is a symbolic link, and is not read" if self.passed_over else ""
        return tuple(filter(None, (skipped, used)))


def named_config(path: str) -> Configuration:
    """Read the file that the caller names.

    Raises:
        UsageError: the file does not exist, cannot be read, or has a key that is no option.
    """
    file = Path(path)
    if link := led_outside(file):
        raise UsageError(
            f"--config {path} leaves the working copy by its symbolic link {link}",
            code="path-behind-a-link",
            hint="give the path that is meant",
        )
    found = _open(file, follow=True)
    if found is None:
        raise UsageError(f"--config {path} is not an ordinary file", code="config-not-a-file", hint="give a TOML file")
    layer = _parse(file, found)
    if layer is None:
        raise UsageError(
            f"--config {path} has no table [{_SECTION}]",
            code="config-without-table",
            hint=f"write [{_SECTION}] and options below it",
        )
    return Configuration(layer=layer, standing="named by the caller")


def found_config(context: str, working_directory: Path, *, is_trusted: bool) -> Configuration:
    """Find and read the configuration file, if there is one.

    The search order is ``buildx-cache.toml``, then ``[tool.buildx-cache]`` in ``pyproject.toml``, both in the build
    context, then in the working directory.

    Raises:
        UsageError: the file is a link, is no valid TOML, or has a key that is no option.
    """
    folder_of_context = None if is_remote_context(context) else working_directory / context
    folders = dict.fromkeys(filter(None, (folder_of_context, working_directory)))
    passed_over = None
    for file in (folder / name for folder in folders for name in (_OWN, _PYTHON)):
        if _leads_over_a_link(file):
            if file.name == _OWN:
                raise UsageError(
                    f"{file} is a symbolic link, or lies behind one", code="config-is-a-link", hint=_NAME_IT
                )
            passed_over = passed_over or file
        elif (found := _open(file, follow=False)) is not None and (layer := _parse(file, found)):
            standing = "the repository's, trusted" if is_trusted else "the repository's"
            ground = None if is_trusted else ground_of(file.parent, folder_of_context)
            return Configuration(layer=layer, standing=standing, ground=ground, passed_over=passed_over)
    return Configuration(passed_over=passed_over)


def _leads_over_a_link(file: Path) -> bool:
    """Return whether the file is a link, or is behind a link that leaves the working copy."""
    return os.path.lexists(file) and (file.is_symlink() or led_outside(file.parent) is not None)


def _open(file: Path, *, follow: bool) -> bytes | None:
    """Read a regular file without blocking; return None for anything else.

    Raises:
        UsageError: the file cannot be read or is too large; or it does not exist, and the caller names it (``follow``).
    """
    if not follow and not look(file).is_file:
        return None
    try:
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW)
        with open(os.open(file, flags), "rb") as opened:  # noqa: PTH123 -- of a descriptor
            if not stat.S_ISREG(os.fstat(opened.fileno()).st_mode):
                return None
            text = opened.read(_LARGEST + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "that is no path"
        raise UsageError(f"{file} cannot be read: {reason}", code="config-unreadable", hint=_MEND) from None
    if len(text) > _LARGEST:
        raise UsageError(f"{file} cannot be read: it is larger than 1 MiB", code="config-unreadable", hint=_MEND)
    return text


def _parse(file: Path, content: bytes) -> OptionLayer | None:
    """Return the options in a file, or None if it is a ``pyproject.toml`` without any."""
    import tomllib

    is_python = file.name == _PYTHON
    if is_python and _OWN_TABLE not in content:
        return None
    if len(content) > _LARGEST_PARSED:
        raise UsageError(f"{file} cannot be read: it is larger than 256 KiB", code="config-unreadable", hint=_MEND)
    try:
        text = content.decode("utf-8-sig").replace("\r\n", "\n")  # editors on Windows write a byte order mark
        table: dict[str, object] = tomllib.loads(_shallow(text))
    except (ValueError, RecursionError) as error:  # tomllib passes on errors of Python's own limits
        if is_python and _SECTION.encode() not in content:
            return None
        raise UsageError(f"{file} cannot be read: {_reason(error)}", code="config-unreadable", hint=_MEND) from None
    section = _SECTION if is_python or table.keys() - {_SCHEMA} == {"tool"} else ""
    options: object = table
    for key in filter(None, section.split(".")):
        options = options.get(key) if isinstance(options, dict) else None
    if options is None:
        return None
    if not isinstance(options, dict):
        raise UsageError(
            f"{file}: {section} is not a table", code="config-malformed", hint=f"write [{section}] and options below it"
        )
    lines = _key_lines(text, section)
    return OptionLayer(file=str(file), values=dict(_config_values(file, options, lines)), lines=lines)


def _shallow(text: str) -> str:
    if _DEEP.search(text):
        raise RecursionError
    return text


def _reason(error: Exception) -> str:
    """Return the error's reason without any content of the file."""
    match error:
        case UnicodeDecodeError():
            return f"it is not text in UTF-8 (byte {error.start})"
        case RecursionError():
            return "it is nested too deeply"
        case _:
            place = re.search(r"\(at (?:line \d+, column \d+|end of document)\)$", str(error))
            return f"it is not valid TOML {place[0] if place else ''}".rstrip()


def _config_values(file: Path, table: Mapping[str, object], lines: Mapping[str, int]) -> Iterable[tuple[str, object]]:
    known = {option_key(name): name for name in CONFIG_FIELDS}
    for key, value in table.items():
        if key == _SCHEMA:
            continue
        if key not in known:
            line = lines.get(key.replace("-", "_"), 0)
            place = f"{file}:{line}" if line else str(file)
            near = nearest(key, CONFIG_FIELDS)
            hint = f"perhaps you meant {near!r}?" if near else "see `buildx-cache build --help` for the options"
            raise UsageError(f"{place}: unknown option {key[:40]!r}", code="config-option-unknown", hint=hint)
        yield known[key], value


def _key_lines(text: str, section: str) -> dict[str, int]:
    """Return the line number of each key of a section, by a simple search: tomllib has no line numbers."""
    found: dict[str, int] = {}
    current = ""
    for number, line in enumerate(text.splitlines(), 1):
        if header := re.match(r"\s*\[([^\[\]]+)\]", line):
            current = header[1].replace(" ", "").replace('"', "")
        elif current == section and (key := re.match(r"\s*[\"']?([\w-]+)[\"']?\s*=", line)):
            found.setdefault(key[1].replace("-", "_"), number)
    return found
