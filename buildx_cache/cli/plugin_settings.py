"""Read the settings of a plugin step.

Woodpecker, Drone and Harness hand them over as ``PLUGIN_<NAME>`` variables, Buildkite as a JSON object.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Mapping, MutableMapping

from buildx_cache.errors import UsageError
from buildx_cache.request.options import ENV_PREFIX, KINDS, OTHER_NAMES, VARIABLES, nearest

PREFIX = "PLUGIN_"
BUILDKITE = "BUILDKITE_PLUGIN_CONFIGURATION"
CONTEXT = "context"
_OPTIONS = frozenset(VARIABLES.values())
# These CIs join a list with commas: it is taken apart where no item holds one, and before NAME= where items are pairs.
_PLAIN = frozenset({"add_host", "allow", "no_cache_filter", "platform", "tag"})
_PAIRS = frozenset({"annotation", "build_arg", "label"})
_BEFORE_PAIR = re.compile(r",(?=[\w.:/-]+=)")


def plugin_variables(env: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    """Return the build context and the ``BUILDX_CACHE_`` variables that the settings stand for.

    A password stays where it is: the option names its variable.

    Raises:
        UsageError: a setting is not an option, or a list item has several lines.
    """
    of_buildkite = _of_buildkite(env)
    env = {**env, **of_buildkite}
    context = env.get(PREFIX + CONTEXT.upper()) or "."
    if context.startswith("-") and context != "-":
        context = f"./{context}"  # a path, never an option
    found: dict[str, str] = {}
    for variable, value in sorted(env.items()):
        name = variable.removeprefix(PREFIX).lower()
        if name == variable.lower() or name == CONTEXT or not value:
            continue
        if name == "password":
            found[ENV_PREFIX + "PASSWORD_ENV"] = variable
        else:
            option = _option(name)
            is_list = KINDS[option] is tuple
            items = _items(option, value, is_joined=variable not in of_buildkite) if is_list else [value]
            found[ENV_PREFIX + option.upper()] = "\n".join(items)
    return context, found


def forget_settings(env: MutableMapping[str, str]) -> None:
    """Delete the variables of the settings, which no child process needs; the password's goes with the login."""
    for name in [name for name in env if name.startswith(PREFIX) or name == BUILDKITE]:
        if name != PREFIX + "PASSWORD":
            del env[name]


def _of_buildkite(env: Mapping[str, str]) -> dict[str, str]:
    """Spell Buildkite's settings as the others do."""
    try:
        settings = json.loads(env.get(BUILDKITE) or "{}")
    except (ValueError, RecursionError):
        settings = None
    if not isinstance(settings, dict):
        raise UsageError(
            f"{BUILDKITE} is no JSON object", code="plugin-settings-malformed", hint="let Buildkite's agent set it"
        )
    return {PREFIX + name.upper().replace("-", "_"): _text(value) for name, value in settings.items()}


def _option(setting: str) -> str:
    """Find the option that a setting names, in the plural or by another word too."""
    for name in (setting, setting.removesuffix("s"), OTHER_NAMES.get(setting, "")):
        if name in _OPTIONS:
            return name
    near = nearest(setting, (*_OPTIONS, CONTEXT)).replace("-", "_")
    raise UsageError(
        f"{setting}: there is no such setting",
        code="plugin-setting-unknown",
        hint=f"did you mean {near}?" if near else "settings are named as the options of `buildx-cache build --help`",
    )


def _items(option: str, value: str, *, is_joined: bool) -> list[str]:
    """Split a list: JSON, one item a line, or, if the CI joins lists (``is_joined``), with commas.

    Raises:
        UsageError: an item has several lines, which would be several items: a commit's message may be a part of it.
    """
    if value[0] in "[{":
        with contextlib.suppress(ValueError, RecursionError):
            return _checked(option, _from_json(json.loads(value)))
    if not is_joined:
        return _checked(option, [value])
    if "\n" in value:
        return [line for line in value.split("\n") if line.strip()]
    if option in _PLAIN:
        return [item.strip() for item in value.split(",") if item.strip()]
    return _BEFORE_PAIR.split(value) if option in _PAIRS else [value]


def _checked(option: str, items: list[str]) -> list[str]:
    """Return the items; refuse one of several lines."""
    if any("\n" in item.rstrip("\n") for item in items):
        raise UsageError(
            f"{option}: an item has several lines", code="plugin-settings-malformed", hint="write each item for itself"
        )
    return items


def _from_json(value: object) -> list[str]:
    if isinstance(value, dict):
        return [f"{name}={_text(each)}" for name, each in value.items()]
    return [_text(each) for each in value] if isinstance(value, list) else [_text(value)]


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
