"""Carry a plan out: ``execution`` has the order of effects, ``caches`` and ``folders`` what becomes of the caches."""

from buildx_cache.run.context_size import with_context
from buildx_cache.run.execution import Outcome, execute
from buildx_cache.run.interfaces import Engine, Finished
from buildx_cache.run.redactor import Secrets
from buildx_cache.run.step_history import step_record, with_saved

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
