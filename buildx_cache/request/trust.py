"""Decide what a configuration file of the repository, or a pull request from a fork, may have this program do.

A found file is checked option by option, and for its effect on the merged request; ``--push auto`` pushes except in a
fork's build, from which CIs withhold secrets.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from buildx_cache.errors import UsageError
from buildx_cache.request.ambient import GIVEN_LOGIN
from buildx_cache.request.build_request import BuildRequest
from buildx_cache.request.local_paths import (
    RESULT_FILES,
    SYNTAX,
    LocalPath,
    is_path,
    output_pairs,
    outputs_of,
    used_paths,
    values_of,
)
from buildx_cache.request.options import OPTIONS
from buildx_cache.request.outputs import loads
from buildx_cache.request.rules import NAME_ANNOTATIONS, Ground, Permission, allow, frontend_name, may_name, may_push
from buildx_cache.request.sources import OptionLayer, converted, setting
from buildx_cache.working_copy import places

# The limit of items in a list that are checked: a hostile file may have any number.
_MOST_ITEMS = 100
PERMISSIONS: Mapping[str, Permission] = {name: each.rule for name, each in OPTIONS.items() if each.rule}

_HINT = "name the file with --config FILE or BUILDX_CACHE_CONFIG, or trust it with --trust-config"
_PUSHES = ("push", "push_auto")
_CACHES = ("cache_dir", "cache_from", "cache_to")
_NAMES = ("tag", "cache_ref")
_SCANNER = re.compile(r'generator=([^,"]+)')

_FORK = "this is a pull request from a fork"
_FORK_HINT = f"set it in the job's command or environment, which a fork cannot change; or {_HINT}"


def check_found(layer: OptionLayer, ground: Ground, *, is_fork: bool) -> None:
    """Refuse a value that a found file may not set, even if a higher layer overrides it.

    Raises:
        UsageError: with the file, the key and the reason, without the value.
    """
    for name, value in converted((layer,)).items():
        permission = PERMISSIONS[name]
        if reason := _objection(permission, value, ground):
            raise _refused(layer, name, reason, _HINT)
        if is_fork and not permission.in_fork(value):
            raise _refused(layer, name, _FORK, _FORK_HINT)


def _objection(permission: Permission, value: object, ground: Ground) -> str:
    check = permission.check
    if check is None:
        return permission.why
    items = value if isinstance(value, tuple) else (str(value),)
    if check is not allow and len(items) > _MOST_ITEMS:
        return f"the list has more than {_MOST_ITEMS} items"
    return next(filter(None, (check(item, ground) for item in items if item)), "")


def check_use(request: BuildRequest, layers: Sequence[OptionLayer], layer: OptionLayer, *, is_fork: bool) -> None:
    """Refuse a value of a found file (``layer``) that is dangerous in combination with the rest of the request.

    Raises:
        UsageError: with the file, the key and the reason, without the value.
    """
    own = {name for name in layer.values if any(each is layer for each in setting(name, layers))}
    mine = replace(BuildRequest(), **{name: value for name, value in converted((layer,)).items() if name in own})
    naming = own & set(_naming(mine))
    if is_fork and naming and (_writes_to_registries(request) or _may_be_kept(request)):
        raise _refused(layer, min(naming), f"{_FORK}, which names no image that is kept or pushed", _FORK_HINT)
    if is_fork and (loading := _loading(mine, request, [each for each in layers if each is not layer])):
        raise _refused(layer, loading, f"{_FORK}, whose image would take your tags in the engine", _FORK_HINT)
    named = "tag" if request.tag else "cache_ref"
    says_where = request.registry or (request.ambient and request.ambient.registry)
    if request.username and not says_where and named in own:
        raise _refused(layer, named, "it would say where the login goes", "give --registry HOST with the login")
    chosen = (request.buildkit_image, *_chosen_frontends(request), *_chosen_scanners(request))
    programs = tuple(filter(None, map(frontend_name, chosen)))
    if taken := next((option for option, name in _image_names(mine) if may_name(name, programs)), ""):
        raise _refused(layer, taken, "it names the image of the builder, or the frontend", _HINT)
    if "build_context" in own and _replaces_frontend(mine, request):
        raise _refused(layer, "build_context", "it replaces the program that is to read the Dockerfile", _HINT)
    if within := _in_caches(mine, request):
        raise _refused(layer, within, "it would be written to a cache's folder", _HINT)
    exports = tuple(_exported_folders(request))
    for used in used_paths(request):
        meeting = any(_meet(used, export.path) for export in exports if export.text != used.text)
        if meeting and own & {used.name, "output"}:
            blamed = used.name if used.name in own else "output"
            raise _refused(layer, blamed, "an exported image could place a symbolic link there", _HINT)


def _refused(layer: OptionLayer, name: str, reason: str, hint: str) -> UsageError:
    return UsageError(
        f"{layer.locate(name)}: not allowed in a file of the repository: {reason}", code="config-not-allowed", hint=hint
    )


def _replaces_frontend(mine: BuildRequest, request: BuildRequest) -> bool:
    """Return whether a named context of the file may replace the frontend that the caller chooses."""
    chosen = _chosen_frontends(request)
    named = {frontend_name(text.partition("=")[0]) for text in mine.build_context}
    return bool(named & set(map(frontend_name, chosen))) or "" in chosen


def _chosen_frontends(request: BuildRequest) -> tuple[str, ...]:
    """Return the caller's images for a frontend; an image that comes from a variable is empty."""
    pairs = (text.partition("=")[::2] for text in values_of(request, "build_arg"))
    return tuple(value.partition(" ")[0] for name, value in pairs if name == SYNTAX)


def _chosen_scanners(request: BuildRequest) -> tuple[str, ...]:
    """Return the images for SBOM scanners, the file's own among them."""
    texts = (text for name in ("sbom", "attest") for text in values_of(request, name))
    return tuple(image for text in texts for image in _SCANNER.findall(text))


def _image_names(mine: BuildRequest) -> Iterator[tuple[str, str]]:
    """Yield the names under which an engine may keep the image: option, name."""
    yield from (("tag", tag) for tag in mine.tag)
    for output in mine.output:
        yield from (("output", name.strip()) for name in dict(output_pairs(output)).get("name", "").split(","))
    for key, _, value in (text.partition("=") for text in mine.annotation):
        if key.endswith(NAME_ANNOTATIONS):
            yield "annotation", value


def _writes_to_registries(request: BuildRequest) -> bool:
    """Return whether the image may be pushed, or the caller lets a fork's build write the cache."""
    return may_push_image(request) or request.cache_read_only is False


def _naming(request: BuildRequest) -> Iterator[str]:
    """Yield the options that name the image."""
    yield "tag"
    if any(map(_names_image, request.output)):
        yield "output"
    if any(name in text for text in request.annotation for name in NAME_ANNOTATIONS):
        yield "annotation"


def _names_image(output: str) -> bool:
    """Return whether a ``--output`` names an image: the caller's ``--push`` would push it under that name."""
    return "name" in dict(output_pairs(output))


def _may_be_kept(request: BuildRequest) -> bool:
    """Return whether the engine may keep the image, which would take its name from an earlier image.

    The engine's own builder keeps every image with a name, and another branch's build would then start from it.
    """
    kinds = {dict(output_pairs(output)).get("type") for output in outputs_of(request)}
    return request.load or not kinds or not kinds <= {"local", "tar", "oci", "cacheonly"}


def may_push_image(request: BuildRequest) -> bool:
    """Return whether the image is or may be pushed, also by flags for Buildx or an output of an unknown type."""
    flags = any("push" in flag or "type=registry" in flag for flag in request.buildx_flags)
    return request.push or flags or any(map(may_push, request.output))


def _loading(mine: BuildRequest, request: BuildRequest, others: Sequence[OptionLayer]) -> str:
    """Return the file's option, or "", by which alone the engine keeps the image under the caller's tags."""
    if not (loads(mine) and any(values_of(request, "tag"))) or loads(BuildRequest(**converted(others))):
        return ""
    return "load" if mine.load else "output"


def _exported_folders(request: BuildRequest) -> Iterator[LocalPath]:
    return (each for each in used_paths(request) if each.name == "output" and _is_local(each.text))


def _in_caches(mine: BuildRequest, request: BuildRequest) -> str:
    """Return the file's option with a result in the folder of a cache, whose content later builds trust; else ""."""
    caches = [os.path.realpath(each.path) for each in used_paths(request) if each.name in _CACHES and each.path]
    results = (each for each in used_paths(mine) if each.name in (*RESULT_FILES, "output") and is_path(each.path))
    return next(
        (each.name for each in results if any(Path(os.path.realpath(each.path)).is_relative_to(at) for at in caches)),
        "",
    )


def _is_local(output: str) -> bool:
    return dict(output_pairs(output)).get("type") == "local"


def _meet(used: LocalPath, export: str) -> bool:
    """Return whether an export can put a link on the way to a path, or into a cache's folder."""
    if not used.path:
        return False
    at, folder = Path(os.path.realpath(used.path)), Path(os.path.realpath(export))
    is_below = any(Path(os.path.realpath(place)).is_relative_to(folder) for place in places(Path(used.path)))
    return is_below or (used.name in ("cache_dir", "cache_to") and folder.is_relative_to(at))


def with_push_decided(layers: Sequence[OptionLayer], *, is_fork: bool) -> tuple[OptionLayer, ...]:
    """Replace ``push_auto`` by ``push``; in a fork's build, keep ``push_auto`` and drop the options of a login.

    The highest layer that sets ``push`` or ``push_auto`` decides; both are dropped from the other layers.

    Raises:
        UsageError: an output or a flag for Buildx pushes, too, in any build.
    """
    deciding = next((layer for layer in layers if any(name in layer.values for name in _PUSHES)), None)
    others = tuple(layer if layer is deciding else layer.without(*_PUSHES) for layer in layers)
    if deciding is None or "push" in deciding.values or not converted((deciding,)).get("push_auto"):
        return others
    if may_push_image(BuildRequest(**converted(others))):
        raise UsageError(
            "--push auto decides whether the image is pushed, and an output or a flag for Buildx pushes it anyway",
            code="push-auto-contradicted",
            hint="leave out push=true, type=registry and the flag: --push auto pushes each type=image",
        )
    if is_fork:
        return tuple(_without_secrets(layer) for layer in others)
    pushing = replace(deciding, values={**deciding.without(*_PUSHES).values, "push": True})
    return tuple(pushing if layer is deciding else layer for layer in others)


def _without_secrets(layer: OptionLayer) -> OptionLayer:
    """Return a layer without a login; drop the leading ``/`` that an empty registry variable leaves in names."""
    values = dict(layer.without("registry", *GIVEN_LOGIN).values)
    values.update((name, _unhosted(values[name])) for name in _NAMES if name in values)
    return replace(layer, values=values)


def _unhosted(value: object) -> object:
    if isinstance(value, list | tuple):
        return [_unhosted(item) for item in value]
    return value.lstrip("/") if isinstance(value, str) else value
