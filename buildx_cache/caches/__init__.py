"""Read and write Buildx' ``--cache-from`` and ``--cache-to`` entries.

``backend`` defines a kind of cache; ``local``, ``registry``, ``inline``, ``gha``, ``s3`` and ``azblob`` are the kinds.
``entry`` defines an entry and finds its vertices in BuildKit's progress; ``parsing`` reads entries from text.
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
