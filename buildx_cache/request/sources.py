"""Merge option values from the command line, the environment and a file into one request."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Any

from buildx_cache.errors import BuildxCacheError, ExhaustedError, UsageError
from buildx_cache.request.build_request import BuildRequest, Progress, option_key
from buildx_cache.request.options import ENV_PREFIX, KINDS, OPTIONS, VARIABLES, chosen, nearest
from buildx_cache.request.validation import check

_WORDS = {**dict.fromkeys(("1", "true", "yes", "on"), True), **dict.fromkeys(("0", "false", "no", "off"), False)}
_DAYS = re.compile(r"(?<![\d.])(\d+(?:\.\d+)?)d")


@dataclass(frozen=True, kw_only=True)
class OptionLayer:
    """One source of option values.

    ``where`` is the template of an option's name in messages, with ``{name}`` or ``{NAME}``. For a ``file``, ``lines``
    are the known line numbers of its keys.
    """

    where: str = "{name}"
    values: Mapping[str, object]
    file: str = ""
    lines: Mapping[str, int] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        """Replace ``push = "auto"`` by the option ``push_auto``."""
        if self.values.get("push") == "auto":
            others = {name: value for name, value in self.values.items() if name != "push"}
            object.__setattr__(self, "values", {**others, "push_auto": True})

    def without(self, *names: str) -> OptionLayer:
        """Return the layer without some options."""
        kept = {name: value for name, value in self.values.items() if name not in names}
        return dataclasses.replace(self, values=kept)

    def locate(self, name: str) -> str:
        """Return the place where ``name`` was set, for messages."""
        if self.file:
            line = f":{self.lines[name]}" if name in self.lines else ""
            return f"{self.file}{line}: {option_key(name)}"
        return self.where.format(name=option_key(name), NAME=name.upper())

    def show(self, value: object) -> str:
        """Return an invalid value for a message; for a file's value, only its type."""
        return _toml_type(value) if self.file else repr(value)


def make_request(layers: Sequence[OptionLayer]) -> BuildRequest:
    """Merge layers, highest precedence first, and validate every value.

    The highest layer that sets an option decides. Lists of ``NAME=VALUE`` add up: the highest layer decides each name.

    Raises:
        UsageError: a value has the wrong type or is no valid choice, or a combination cannot work.
    """
    request = _normalise(BuildRequest(**converted(layers)))
    checked(request, layers, check)
    return request


def converted(layers: Sequence[OptionLayer]) -> dict[str, Any]:
    """Return each option that is set, converted to its type.

    Raises:
        UsageError: a value has the wrong type or is no valid choice.
    """
    return {name: _merged(name, found) for name in KINDS if (found := setting(name, layers))}


def setting(name: str, layers: Sequence[OptionLayer]) -> tuple[OptionLayer, ...]:
    """Return the layers that set an option's value, highest first: one, or all if the option adds up."""
    found = tuple(layer for layer in layers if name in layer.values)
    return found if name in OPTIONS and OPTIONS[name].adds_up else found[:1]


def _merged(name: str, layers: Sequence[OptionLayer]) -> Any:  # noqa: ANN401 -- of the option's kind
    """Convert and merge the values of the layers; items of lower layers come first."""
    values = [_without_nul(name, _convert(name, layer.values[name], layer), layer) for layer in layers]
    if len(values) == 1:
        return values[0]
    found: list[str] = []
    for items in values:
        names = {item.partition("=")[0] for item in found}
        found[:0] = [item for item in items if item.partition("=")[0] not in names]
    return tuple(found)


def checked(request: BuildRequest, layers: Sequence[OptionLayer], rule: Callable[[BuildRequest], None]) -> None:
    """Apply a rule; if a file's value breaks it, raise an error with the file's place and key, without the value.

    Raises:
        BuildxCacheError: the rule's error, or the one for a file's value.
    """
    try:
        rule(request)
    except (UsageError, ExhaustedError) as error:
        for name, file in _texts_of_files(layers):
            others = [layer for layer in layers if layer is not file]
            if not _fails_without(name, request, others, rule, error):
                raise unusable(file, name, error) from None
        raise


def unusable(layer: OptionLayer, name: str, error: BuildxCacheError) -> BuildxCacheError:
    """Return an error that names a value's place, without the value."""
    return type(error)(f"{layer.locate(name)}: this value cannot be used", code=error.code, hint=error.hint)


def _texts_of_files(layers: Sequence[OptionLayer]) -> Iterator[tuple[str, OptionLayer]]:
    """Yield the options with free text from a file, each with the file's layer."""
    texts = (name for name, kind in KINDS.items() if kind in (str, tuple))
    return ((name, layer) for name in texts for layer in setting(name, layers) if layer.file)


def _fails_without(
    name: str,
    request: BuildRequest,
    others: Sequence[OptionLayer],
    rule: Callable[[BuildRequest], None],
    error: BuildxCacheError,
) -> bool:
    """Return whether the rule raises the same error without the file's value of the option.

    If the option adds up, the items of ``others`` stay.
    """
    adding = setting(name, others) if OPTIONS[name].adds_up else ()
    value = _merged(name, adding) if adding else getattr(BuildRequest(), name)
    try:
        rule(dataclasses.replace(request, **{name: value}))
    except BuildxCacheError as other:
        return other.message == error.message
    return False


def environment_layer(env: Mapping[str, str]) -> OptionLayer:
    """Read the ``BUILDX_CACHE_<OPTION>`` variables; a list has one item a line."""
    values = {name: env[variable] for variable, name in VARIABLES.items() if env.get(variable)}
    return OptionLayer(where=ENV_PREFIX + "{NAME}", values=values)


def unknown_variables(env: Mapping[str, str], known: Iterable[str]) -> Iterator[str]:
    """Yield a warning for each ``BUILDX_CACHE_`` variable that is neither an option's nor one of ``known``."""
    for variable in sorted(env.keys() - {*VARIABLES, *known}):
        name = variable.removeprefix(ENV_PREFIX)
        if name == variable or not env[variable]:
            continue
        if name.lower() in KINDS:
            yield f"{variable} is ignored: only the command line sets it"
        else:
            near = nearest(name, VARIABLES.values())
            meant = f"; did you mean {ENV_PREFIX}{near.upper().replace('-', '_')}?" if near else ""
            yield f"{variable} is ignored: there is no such option{meant}"


def _convert(name: str, value: object, layer: OptionLayer) -> Any:  # noqa: ANN401 -- of the option's kind
    return _CONVERTERS.get(KINDS[name], _to_choice)(name, value, layer)


def _without_nul(name: str, value: Any, layer: OptionLayer) -> Any:  # noqa: ANN401 -- of the option's kind
    """Refuse a NUL character: a file can contain it, but no command line and no path."""
    if any("\0" in each for each in (value if isinstance(value, tuple) else (value,)) if isinstance(each, str)):
        raise UsageError(f"{layer.locate(name)} holds a NUL character", code="value-has-nul", hint="remove it")
    return value


def _to_list(name: str, value: object, layer: OptionLayer) -> tuple[str, ...]:
    if isinstance(value, str):
        # Not splitlines: a branch's name may hold other breaks, such as U+2028, and would be two items.
        return tuple(line.strip() for line in value.split("\n") if line.strip())
    if isinstance(value, list | tuple) and all(isinstance(item, str) for item in value):
        return tuple(value)
    raise _wrong_type(name, value, layer, "a list of strings")


def _to_flag(name: str, value: object, layer: OptionLayer) -> bool:
    flag = _WORDS.get(value.lower()) if isinstance(value, str) else value
    if isinstance(flag, bool):
        return flag
    raise _wrong_type(name, value, layer, "true or false")


def _to_text(name: str, value: object, layer: OptionLayer) -> str:
    if isinstance(value, str):
        return value
    raise _wrong_type(name, value, layer, "a string")


def _to_choice(name: str, value: object, layer: OptionLayer) -> StrEnum:
    return chosen(KINDS[name], value, where=layer.locate(name), shown=layer.show(value))


_CONVERTERS: Mapping[type, Callable[[str, object, OptionLayer], object]] = {
    tuple: _to_list,
    bool: _to_flag,
    str: _to_text,
}


def _wrong_type(name: str, value: object, layer: OptionLayer, wanted: str) -> UsageError:
    return UsageError(
        f"{layer.locate(name)}: {layer.show(value)} is not {wanted}", code="value-invalid", hint=f"give {wanted}"
    )


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
    """Convert days to hours: Buildx takes Go durations, which have no days."""
    return _DAYS.sub(lambda match: f"{(Decimal(match[1]) * 24).normalize():f}h", duration)
