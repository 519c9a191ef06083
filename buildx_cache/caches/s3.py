"""``type=s3``: objects in a bucket of Amazon S3 or a compatible service (BuildKit's ``cache/remotecache/s3``)."""

from __future__ import annotations

import re
from typing import ClassVar

from buildx_cache.caches.backend import Attributes, CacheBackend

OBJECT_OPTIONS = ("blobs_prefix", "manifests_prefix", "name")
_ATTRIBUTES = (
    *("bucket", "region", "prefix", *OBJECT_OPTIONS, "endpoint_url", "use_path_style"),
    *("access_key_id", "secret_access_key", "session_token"),
    *("disable_accept_encoding", "retry_mode", "retry_max_attempts"),  # the last two since 0.30
)


class S3Backend(CacheBackend):
    """A cache in an S3 bucket; BuildKit chooses the compression of its layers."""

    type: ClassVar = "s3"
    import_attributes: ClassVar = _ATTRIBUTES
    export_attributes: ClassVar = (*_ATTRIBUTES, "touch_refresh", "upload_parallelism", "mode", "ignore-error")
    required_import: ClassVar = "bucket"
    required_export: ClassVar = "bucket"
    secrets: ClassVar = ("access_key_id", "secret_access_key", "session_token")
    exporters: ClassVar = ("exporting cache to Amazon S3", "exporting cache to s3")  # the latter before 0.12
    borrows_login: ClassVar = True

    def place(self, attributes: Attributes) -> str:
        """Return the address of the manifest's object."""
        folder = attributes.get("prefix", "") + attributes.get("manifests_prefix", "manifests/")
        return f"{self.store(attributes)}/{folder}{attributes.get('name', 'buildkit')}"

    def store(self, attributes: Attributes) -> str:
        """Return the bucket."""
        return f"s3://{attributes.get('bucket', '')}"

    def host(self, attributes: Attributes) -> str:
        """Return the endpoint, else the region: Amazon has one endpoint a region."""
        return attributes.get("endpoint_url") or attributes.get("region") or self.type

    def is_named_by(self, attributes: Attributes, error: str) -> bool:
        """Return whether an error has an address of the bucket, which is the first label or the first folder."""
        bucket = re.escape(attributes.get("bucket", ""))
        return re.search(rf"https?://(?:{bucket}\.[^/\s]+|[^/\s]+/{bucket})(?=[/?:\"\s]|$)", error) is not None


S3 = S3Backend()
