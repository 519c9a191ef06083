"""Carry a plan out: ``execution`` has the order of effects, ``recovery`` how a build goes on after a failure."""

from buildx_cache.run.call import Outcome
from buildx_cache.run.enrichment import step_record, with_context, with_saved
from buildx_cache.run.execution import execute
from buildx_cache.run.redactor import Secrets

__all__ = [
    "Outcome",
    "Secrets",
    "execute",
    "step_record",
    "with_context",
    "with_saved",
]
