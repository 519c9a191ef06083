"""``type=registry``: a cache manifest in an image registry (BuildKit's ``cache/remotecache/registry``)."""

from __future__ import annotations

import re
from typing import ClassVar
from urllib.parse import unquote

from buildx_cache.caches.backend import Attributes, ExportStyle, Location, Pairs, ScopedBackend
from buildx_cache.errors import UsageError
from buildx_cache.reference import Reference, parse_reference

EXPORT_OPTIONS = ("mode", "ignore-error", "compression", "compression-level", "force-compression")
"""Attributes of every export that BuildKit writes as OCI blobs."""
MANIFEST_OPTIONS = ("oci-mediatypes", "image-manifest")
# Addresses of the distribution API, and the scope in a token request; see containerd's `remotes/docker`.
_URL = re.compile(
    r"https?://(?P<host>[^/\s\"]{1,255})/v2/(?P<path>[\w./-]{1,255}?)/(?:blobs/|tags/|manifests/(?P<tag>[\w.-]{1,128}(?!:?[\w.-]))?)"
)
_SCOPE = re.compile(r"[?&]scope=repository(?::|%3A)(?P<path>[\w./%-]{1,512}?)(?::|%3A)[a-z]", re.IGNORECASE)


class RegistryBackend(ScopedBackend):
    """A cache in an image registry. BuildKit fetches only the layers that it needs."""

    type: ClassVar = "registry"
    import_attributes: ClassVar = ("ref", "registry.insecure")
    export_attributes: ClassVar = ("ref", "registry.insecure", *MANIFEST_OPTIONS, *EXPORT_OPTIONS)
    required_import: ClassVar = "ref"
    required_export: ClassVar = "ref"
    exporters: ClassVar = ("exporting cache to registry",)
    is_pushed: ClassVar = True
    imported_as: ClassVar = "registry"
    is_shared: ClassVar = True
    is_overwritten: ClassVar = True

    def exports(self, location: Location, platform: str, style: ExportStyle) -> Pairs:
        """Return the entry for the reference of the build's own scope."""
        shape = (("image-manifest", "true"), ("oci-mediatypes", "true")) if location.asks_image_manifest else ()
        return (("ref", location.references(platform)[0]), *shape, *style.attributes())

    def place(self, attributes: Attributes) -> str:
        """Return the reference as given in the entry."""
        return attributes.get("ref", "")

    def store(self, attributes: Attributes) -> str:
        """Return the full name of the repository."""
        return _full(attributes["ref"]).repository

    def host(self, attributes: Attributes) -> str:
        """Return the registry."""
        return _full(attributes["ref"]).host

    def is_source(self, attributes: Attributes, source: str) -> bool:
        """Return whether ``source`` is this reference; both are compared by their full names."""
        try:
            return _full(source) == _full(attributes["ref"])
        except UsageError:
            return False

    def is_named_by(self, attributes: Attributes, error: str) -> bool:
        """Return whether an error has an address of the repository (with this tag, if any), or its token scope."""
        reference = _full(attributes["ref"])
        if match := _URL.search(error):
            is_here = (match["host"], match["path"]) == (reference.api_host, reference.path)
            return is_here and match["tag"] in (None, reference.tag)
        scope = _SCOPE.search(error)
        return scope is not None and unquote(scope["path"]) == reference.path


def _full(text: str) -> Reference:
    """Return the full reference, as BuildKit names it: with Docker Hub's host and namespace, and the tag ``latest``."""
    return parse_reference(text).canonical.tagged


REGISTRY = RegistryBackend()
