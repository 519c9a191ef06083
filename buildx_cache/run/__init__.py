"""Carry a plan out: ``execution`` has the order of effects, ``caches`` and ``folders`` what becomes of the caches."""

from buildx_cache.run.durations import step_record, with_saved
from buildx_cache.run.execution import Outcome, execute
from buildx_cache.run.hiding import Secrets
from buildx_cache.run.seams import Engine, Finished
from buildx_cache.run.weight import with_context

__all__ = [
    "Engine",
    "Finished",
    "Outcome",
    "Secrets",
    "execute",
    "step_record",
    "with_context",
    "with_saved",
]
