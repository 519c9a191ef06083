"""``type=inline``: the cache inside the pushed image's own configuration (``cache/remotecache/inline``)."""

from __future__ import annotations

from typing import ClassVar

from buildx_cache.caches.backend import Attributes, CacheMode, ExportStyle, Location, Pairs, ScopedBackend


class InlineBackend(ScopedBackend):
    """A cache of the final stage's layers only. BuildKit reads it from the images that earlier builds pushed."""

    type: ClassVar = "inline"
    export_attributes: ClassVar = ("mode",)
    modes: ClassVar = (CacheMode.MIN,)
    exporters: ClassVar = ("preparing layers for inline cache",)
    is_in_image: ClassVar = True
    imported_as: ClassVar = "registry"
    is_shared: ClassVar = True
    is_overwritten: ClassVar = False  # the nodes' images become one

    def exports(self, location: Location, platform: str, style: ExportStyle) -> Pairs:
        """Return no attributes: BuildKit writes the cache with the image."""
        del location, platform, style
        return ()

    def place(self, attributes: Attributes) -> str:
        """Return the kind: the cache has no place but the image."""
        del attributes
        return self.type


INLINE = InlineBackend()
