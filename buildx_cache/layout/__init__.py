"""Inspect and maintain an OCI layout folder as Buildx writes it for ``type=local`` caches.

No function raises an error for a fault in the folder: faults are :class:`Finding` values. Hold the folder with
:func:`lock` while calling a function that deletes or rewrites.
"""

from buildx_cache.layout.eviction import bound
from buildx_cache.layout.gc import delete_stale_writes, has_stale_writes, sweep
from buildx_cache.layout.image import Archive, read_archive
from buildx_cache.layout.index import cache_key
from buildx_cache.layout.linked import delete_linked_folders, is_linked, new_linked_folder
from buildx_cache.layout.locking import Sharing, lock
from buildx_cache.layout.model import (
    LISTED_TAGS,
    BuildNote,
    EvictionResult,
    Finding,
    FindingKind,
    Reachability,
    Severity,
    Shape,
    SweepResult,
    Tag,
    damage_of,
    damaged,
)
from buildx_cache.layout.notes import annotate, build_note, tagged_digest
from buildx_cache.layout.ownership import exposure, is_foreign, is_layout, is_own, refuse_exposed
from buildx_cache.layout.parse import shown_tag
from buildx_cache.layout.quarantine import delete_inner_asides, is_aside, set_aside
from buildx_cache.layout.reachability import Layer, as_json, finding_json, layers_by_size, reach, rfc3339
from buildx_cache.layout.store import blob_names
from buildx_cache.layout.verification import unsound, verify

__all__ = [
    "LISTED_TAGS",
    "Archive",
    "BuildNote",
    "EvictionResult",
    "Finding",
    "FindingKind",
    "Layer",
    "Reachability",
    "Severity",
    "Shape",
    "Sharing",
    "SweepResult",
    "Tag",
    "annotate",
    "as_json",
    "blob_names",
    "bound",
    "build_note",
    "cache_key",
    "damage_of",
    "damaged",
    "delete_inner_asides",
    "delete_linked_folders",
    "delete_stale_writes",
    "exposure",
    "finding_json",
    "has_stale_writes",
    "is_aside",
    "is_foreign",
    "is_layout",
    "is_linked",
    "is_own",
    "layers_by_size",
    "lock",
    "new_linked_folder",
    "reach",
    "read_archive",
    "refuse_exposed",
    "rfc3339",
    "set_aside",
    "shown_tag",
    "sweep",
    "tagged_digest",
    "unsound",
    "verify",
]
