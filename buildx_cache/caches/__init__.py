"""Where a build's cache comes from and goes to: Buildx' ``--cache-from`` and ``--cache-to`` entries.

``backend`` says what a kind of cache is; ``local``, ``registry``, ``inline``, ``gha``, ``s3`` and ``azblob`` are those
there are. ``entry`` and ``parsing`` are the entries, ``vertices`` tells which of BuildKit's vertices belong to which.
"""

from buildx_cache.caches.backend import (
    CacheBackend,
    CacheKind,
    CacheMode,
    Compression,
    ExportStyle,
    Location,
    ScopedBackend,
    closest,
    from_csv,
    to_csv,
)
from buildx_cache.caches.entry import (
    BACKENDS,
    SCOPED,
    CacheEntry,
    ScopedCache,
    export_transfers,
    import_transfers,
    importing,
    redacted_entry,
    refused_exports,
    secret_values,
)
from buildx_cache.caches.parsing import (
    EXPORT_ATTRIBUTES,
    IMPORT_ATTRIBUTES,
    parse_export,
    parse_import,
)

__all__ = [
    "BACKENDS",
    "EXPORT_ATTRIBUTES",
    "IMPORT_ATTRIBUTES",
    "SCOPED",
    "CacheBackend",
    "CacheEntry",
    "CacheKind",
    "CacheMode",
    "Compression",
    "ExportStyle",
    "Location",
    "ScopedBackend",
    "ScopedCache",
    "closest",
    "export_transfers",
    "from_csv",
    "import_transfers",
    "importing",
    "parse_export",
    "parse_import",
    "redacted_entry",
    "refused_exports",
    "secret_values",
    "to_csv",
]
