"""Decide ``--push auto``: push, except in a fork's pull request, from which CIs withhold secrets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from buildx_cache.errors import UsageError
from buildx_cache.request.ambient import GIVEN_LOGIN
from buildx_cache.request.build_request import BuildRequest
from buildx_cache.request.sources import OptionLayer, converted
from buildx_cache.request.trust import may_push_image

_PUSHES = ("push", "push_auto")
_NAMES = ("tag", "cache_ref")


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
