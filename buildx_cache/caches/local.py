"""``type=local``: a folder in OCI layout, interchangeable with plain Buildx (default tag ``latest``)."""

from __future__ import annotations

import re
from pathlib import PurePath
from typing import ClassVar

from buildx_cache.buildkit.vertex_names import folder_source
from buildx_cache.cache_tags import platform_text
from buildx_cache.caches.backend import Attributes, ExportStyle, Location, Pairs, ScopedBackend
from buildx_cache.caches.registry import EXPORT_OPTIONS, MANIFEST_OPTIONS


class LocalBackend(ScopedBackend):
    """A folder on this host, which a CI restores and saves for each job."""

    type: ClassVar = "local"
    import_attributes: ClassVar = ("src", "digest", "tag")
    export_attributes: ClassVar = ("dest", "tag", *MANIFEST_OPTIONS, "reset", *EXPORT_OPTIONS)
    required_import: ClassVar = "src"
    required_export: ClassVar = "dest"
    exporters: ClassVar = ("exporting cache to client directory",)
    is_folder: ClassVar = True
    imported_as: ClassVar = "local"
    is_shared: ClassVar = False
    is_overwritten: ClassVar = True

    def imports(self, location: Location, platform: str) -> tuple[Pairs, ...]:
        """Return one entry a tag."""
        return tuple((("src", _directory(location, platform)), *_tagged(tag)) for tag in location.tags)

    def exports(self, location: Location, platform: str, style: ExportStyle) -> Pairs:
        """Return the entry for the tag to write."""
        return (("dest", _directory(location, platform)), *_tagged(location.tags[0]), *style.attributes())

    def place(self, attributes: Attributes) -> str:
        """Return the folder."""
        return self.folder(attributes)

    def folder(self, attributes: Attributes) -> str:
        """Return the folder as given in the entry."""
        return attributes.get("src") or attributes.get("dest", "")

    def is_source(self, attributes: Attributes, source: str) -> bool:
        """Return whether ``source`` names this folder, as that of a served folder does; others have a hash."""
        return source == folder_source(self.folder(attributes))

    def is_named_by(self, attributes: Attributes, error: str) -> bool:
        """Return whether an error names a path in the folder, or a failed ``mkdir`` (buildx' ``client/ociindex``)."""
        folder = re.escape(self.folder(attributes))
        inside = r"/(?:index\.json|blobs/|manifests/|ingest/)"
        return re.search(rf"(?<![\w./-]){folder}{inside}|mkdir {folder}(?:/ingest)?: ", error) is not None


def _directory(location: Location, platform: str) -> str:
    """Return the folder for a platform. Platforms have no tags: Buildx fails the build if the folder lacks a tag."""
    return str(PurePath(location.directory, platform_text(platform))) if platform else location.directory


def _tagged(tag: str) -> Pairs:
    return (("tag", tag),) if tag else ()


LOCAL = LocalBackend()
