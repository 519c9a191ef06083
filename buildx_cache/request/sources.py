"""Merging option values from the command line, the environment and a file into one request."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Any, get_type_hints

from buildx_cache.caches import CacheKind, CacheMode, Compression, closest
from buildx_cache.errors import BuildxCacheError, ExhaustedError, UsageError
from buildx_cache.request.build_request import BuildRequest, Driver, Lazy, Progress, option_key
from buildx_cache.request.validation import check

ENV_PREFIX = "BUILDX_CACHE_"
_TRUE = ("1", "true", "yes", "on")
_FALSE = ("0", "false", "no", "off")
_DAYS = re.compile(r"(?<![\d.])(\d+(?:\.\d+)?)d")


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One source of option values.

    In messages ``where`` is what one is called there, with ``{name}`` or ``{NAME}``; of a ``file``'s, ``lines`` are
    those of its keys, as far as they are known.
    """

    where: str = "{name}"
    values: Mapping[str, object]
    file: str = ""
    lines: Mapping[str, int] = dataclasses.field(default_factory=dict)

    def locate(self, name: str) -> str:
        """Where ``name`` was set, for people."""
        if self.file:
            line = f":{self.lines[name]}" if name in self.lines else ""
            return f"{self.file}{line}: {option_key(name)}"
        return self.where.format(name=option_key(name), NAME=name.upper())

    def show(self, value: object) -> str:
        """Spell a wrong value for a message; name only the type of one that a file gives."""
        return _toml_type(value) if self.file else repr(value)


# Set on one command line only: in a file or the environment they would silently apply to every call.
_COMMAND_LINE_ONLY = frozenset({"context", "buildx_flags", "password_stdin", "ambient"})
# Set by the caller only: they say which file is read, and what it may do.
_ABOUT_FILES = frozenset({"config", "trust_config"})
_HINTS = get_type_hints(BuildRequest)
_VARIABLE_FIELDS = tuple(name for name in _HINTS if name not in _COMMAND_LINE_ONLY)
CONFIG_FIELDS = tuple(name for name in _VARIABLE_FIELDS if name not in _ABOUT_FILES)


def make_request(layers: Sequence[Layer]) -> BuildRequest:
    """Merge layers, highest precedence first, and check every value.

    A list is taken whole from the highest layer that sets it.

    Raises:
        UsageError: a value of the wrong type or not among the choices, or a combination that cannot work.
    """
    request = _normalise(BuildRequest(**converted(layers)))
    checked(request, layers, check)
    return request


def converted(layers: Sequence[Layer]) -> dict[str, Any]:
    """Return each option that is set, in its own type.

    Raises:
        UsageError: a value of the wrong type or not among the choices.
    """
    return {
        name: _without_nul(name, _convert(name, layer.values[name], layer), layer)
        for name in _HINTS
        if (layer := deciding(name, layers))
    }


def deciding(name: str, layers: Sequence[Layer]) -> Layer | None:
    """Return the highest layer that sets the option."""
    return next((layer for layer in layers if name in layer.values), None)


def checked(request: BuildRequest, layers: Sequence[Layer], rule: Callable[[BuildRequest], None]) -> None:
    """Apply a rule; what it refuses over a value of a file is told by place and key, without the value.

    Raises:
        BuildxCacheError: what the rule raises, or that.
    """
    try:
        rule(request)
    except (UsageError, ExhaustedError) as error:
        name = next((name for name in _texts_of_files(layers) if not _fails_without(name, request, rule, error)), "")
        if layer := deciding(name, layers):
            raise unusable(layer, name, error) from None
        raise


def unusable(layer: Layer, name: str, error: BuildxCacheError) -> BuildxCacheError:
    """Say that a value cannot be used, without the value."""
    return type(error)(f"{layer.locate(name)}: this value cannot be used", hint=error.hint)


def _texts_of_files(layers: Sequence[Layer]) -> Iterator[str]:
    """The options that have free text from a file."""
    hints = (name for name, hint in _HINTS.items() if hint in (str, tuple[str, ...]))
    return (name for name in hints if (layer := deciding(name, layers)) and layer.file)


def _fails_without(
    name: str, request: BuildRequest, rule: Callable[[BuildRequest], None], error: BuildxCacheError
) -> bool:
    """Whether the same is refused where the option is not set."""
    default = getattr(BuildRequest(), name)
    try:
        rule(dataclasses.replace(request, **{name: default}))
    except BuildxCacheError as other:
        return other.message == error.message
    return False


def environment_layer(env: Mapping[str, str]) -> Layer:
    """The ``BUILDX_CACHE_<OPTION>`` variables that are set; a list is one item a line."""
    names = {name: ENV_PREFIX + name.upper() for name in _VARIABLE_FIELDS}
    values = {name: env[variable] for name, variable in names.items() if env.get(variable)}
    return Layer(where=ENV_PREFIX + "{NAME}", values=values)


def _convert(name: str, value: object, layer: Layer) -> object:
    hint = _HINTS[name]
    match hint:
        case _ if hint == tuple[str, ...]:
            return _to_list(name, value, layer)
        case _ if hint in (bool, bool | None):
            return _to_flag(name, value, layer)
        case _ if hint is str:
            return _to_text(name, value, layer)
        case _:
            return _to_choice(name, value, layer)


def _without_nul(name: str, value: object, layer: Layer) -> object:
    """No command line and no path can hold a NUL, which a file can spell."""
    if any("\0" in each for each in (value if isinstance(value, tuple) else (value,)) if isinstance(each, str)):
        raise UsageError(f"{layer.locate(name)} holds a NUL character", hint="write it without")
    return value


def _to_list(name: str, value: object, layer: Layer) -> tuple[str, ...]:
    if isinstance(value, str):
        return tuple(line.strip() for line in value.splitlines() if line.strip())
    if isinstance(value, list | tuple) and all(isinstance(item, str) for item in value):
        return tuple(value)
    raise _wrong_type(name, value, layer, "a list of strings")


def _to_flag(name: str, value: object, layer: Layer) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in _TRUE + _FALSE:
        return value.lower() in _TRUE
    raise _wrong_type(name, value, layer, "true or false")


def _to_text(name: str, value: object, layer: Layer) -> str:
    if isinstance(value, str):
        return value
    raise _wrong_type(name, value, layer, "a string")


def _to_choice(name: str, value: object, layer: Layer) -> StrEnum:
    choices: type[StrEnum] = next(kind for kind in _CHOICES if kind in (_HINTS[name], *_members(_HINTS[name])))
    try:
        return choices(str(value))
    except ValueError:
        raise UsageError(
            f"{layer.locate(name)}: {layer.show(value)} is none of its values",
            hint=closest(str(value), [choice.value for choice in choices]),
        ) from None


_CHOICES: tuple[type[StrEnum], ...] = (CacheKind, CacheMode, Compression, Driver, Lazy, Progress)


def _members(hint: object) -> tuple[object, ...]:
    return tuple(getattr(hint, "__args__", ()))


def _wrong_type(name: str, value: object, layer: Layer, wanted: str) -> UsageError:
    return UsageError(f"{layer.locate(name)}: {layer.show(value)} is not {wanted}", hint=f"give {wanted}")


def _toml_type(value: object) -> str:
    kinds = {bool: "a boolean", int: "an integer", float: "a float", str: "this string", list: "this array"}
    return {**kinds, dict: "a table"}.get(type(value), "a date or time")


def _normalise(request: BuildRequest) -> BuildRequest:
    platforms = tuple(part.strip() for item in request.platform for part in item.split(",") if part.strip())
    return dataclasses.replace(
        request,
        platform=tuple(dict.fromkeys(platforms)),
        tag=tuple(dict.fromkeys(request.tag)),
        cache_dir=os.path.expanduser(request.cache_dir),  # noqa: PTH111 -- leaves what is no home, and the empty path
        prune_older_than=_days_to_hours(request.prune_older_than),
        progress=Progress.QUIET if request.quiet else request.progress,
    )


def _days_to_hours(duration: str) -> str:
    """Buildx takes Go durations, which know no days."""
    return _DAYS.sub(lambda match: f"{(Decimal(match[1]) * 24).normalize():f}h", duration)
