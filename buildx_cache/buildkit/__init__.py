"""BuildKit's and Buildx' language: ``classify`` is the only reader of their words, the docker CLI's and registries'."""

from buildx_cache.buildkit.classify import (
    Kind,
    Operation,
    Problem,
    absent_folder,
    classify,
    classify_command,
    command_ending,
    is_cancelled,
)

__all__ = [
    "Kind",
    "Operation",
    "Problem",
    "absent_folder",
    "classify",
    "classify_command",
    "command_ending",
    "is_cancelled",
]
