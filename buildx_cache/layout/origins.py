"""Remove the annotations that name a served repository as the origin of layers."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from buildx_cache.layout.parse import parse_object

_SOURCE = "containerd.io/distribution.source."
# How Go writes JSON: in one line, or indented.
_STYLES: tuple[Callable[[object], str], ...] = (
    lambda document: json.dumps(document, separators=(",", ":"), ensure_ascii=False),
    lambda document: json.dumps(document, indent=2, ensure_ascii=False),
)


def without_origin(content: bytes, repository: str) -> bytes | None:
    """Return a manifest without the origin annotations of ``repository``, byte for byte as Go would write it.

    Return None if it has none, or Go would format it differently.

    Raises:
        MalformedError: ``content`` is not a JSON object.
    """
    document = parse_object(content)
    style = next((style for style in _STYLES if style(document).encode("utf-8", "replace") == content), None)
    changed = {name: _cleaned(value, repository) for name, value in document.items()}
    return None if style is None or changed == document else style(changed).encode()


def _cleaned(value: Any, repository: str) -> Any:  # noqa: ANN401 -- any JSON value
    """Return a list of descriptors without the annotations; return any other value unchanged."""
    if not isinstance(value, list):
        return value
    return [_descriptor(each, repository) if isinstance(each, dict) else each for each in value]


def _descriptor(descriptor: Mapping[str, Any], repository: str) -> Mapping[str, Any]:
    notes = descriptor.get("annotations")
    if not isinstance(notes, dict):
        return descriptor
    left = {name: _others(name, value, repository) for name, value in notes.items()}
    left = {name: value for name, value in left.items() if value or not notes[name]}
    changed = {**descriptor, "annotations": left}
    return {name: value for name, value in changed.items() if name != "annotations" or left}


def _others(name: str, value: Any, repository: str) -> Any:  # noqa: ANN401 -- any JSON value
    """Return an annotation's value without ``repository``: a list separated by commas."""
    if not name.startswith(_SOURCE) or not isinstance(value, str):
        return value
    return ",".join(each for each in value.split(",") if each != repository)
