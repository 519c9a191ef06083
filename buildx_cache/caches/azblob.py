"""``type=azblob``: objects in a container of Azure Blob Storage (BuildKit's ``cache/remotecache/azblob``)."""

from __future__ import annotations

from typing import ClassVar

from buildx_cache.caches.backend import Attributes, CacheBackend
from buildx_cache.caches.s3 import OBJECT_OPTIONS

_ATTRIBUTES = ("account_url", "account_name", "container", "prefix", *OBJECT_OPTIONS, "secret_access_key")


class AzureBackend(CacheBackend):
    """A cache in Azure Blob Storage; BuildKit chooses the compression of its layers."""

    type: ClassVar = "azblob"
    import_attributes: ClassVar = _ATTRIBUTES
    export_attributes: ClassVar = (*_ATTRIBUTES, "mode", "ignore-error")
    required_import: ClassVar = "account_url"
    required_export: ClassVar = "account_url"
    secrets: ClassVar = ("secret_access_key",)
    exporters: ClassVar = (
        "exporting cache to Azure Blob Storage",
        "exporting cache to azure blob store",  # before 0.12
    )
    borrows_login: ClassVar = True

    def place(self, attributes: Attributes) -> str:
        """Return the address of the manifest's object."""
        parts = (attributes.get("prefix", ""), attributes.get("manifests_prefix", "manifests"))
        names = (*parts, attributes.get("name", "buildkit"))
        return "/".join((self.store(attributes), *(name.strip("/") for name in names if name.strip("/"))))

    def store(self, attributes: Attributes) -> str:
        """Return the address of the container."""
        return f"{self.host(attributes)}/{attributes.get('container', 'buildkit-cache')}"

    def host(self, attributes: Attributes) -> str:
        """Return the address of the account."""
        return attributes.get("account_url", "").rstrip("/")

    def is_named_by(self, attributes: Attributes, error: str) -> bool:
        """Look for an address of the container."""
        return any(f"{self.store(attributes)}{end}" in error for end in '/?"')


AZBLOB = AzureBackend()
