"""Merge command line, environment and configuration file into one frozen request, and validate it.

Values are validated before anything has an effect. ``plan`` makes the decisions.
"""

from buildx_cache.request.build_request import (
    BuildRequest,
    Driver,
    Endpoint,
    Lazy,
    Progress,
    option_key,
    parse_endpoint,
)
from buildx_cache.request.config import Configuration, found_config, named_config
from buildx_cache.request.contexts import context_notes, repository_notes
from buildx_cache.request.images import named_images
from buildx_cache.request.local_paths import REPORTS
from buildx_cache.request.options import ENV_PREFIX, KINDS, OPTIONS, OTHER_NAMES, parse_duration, parse_size
from buildx_cache.request.outputs import Output, attests, loads, pushes, pushes_by_digest, pushing_outputs
from buildx_cache.request.probe import read_text, working_directory
from buildx_cache.request.push_choice import with_push_decided
from buildx_cache.request.remote_context import GitContext, git_context, is_remote_context
from buildx_cache.request.sources import (
    OptionLayer,
    checked,
    chosen,
    converted,
    environment_layer,
    make_request,
    setting,
    unknown_variables,
    unusable,
)
from buildx_cache.request.trust import check_found, check_use, may_push_image
from buildx_cache.request.validation import check_paths, unmoved

__all__ = [
    "ENV_PREFIX",
    "KINDS",
    "OPTIONS",
    "OTHER_NAMES",
    "REPORTS",
    "BuildRequest",
    "Configuration",
    "Driver",
    "Endpoint",
    "GitContext",
    "Lazy",
    "OptionLayer",
    "Output",
    "Progress",
    "attests",
    "check_found",
    "check_paths",
    "check_use",
    "checked",
    "chosen",
    "context_notes",
    "converted",
    "environment_layer",
    "found_config",
    "git_context",
    "is_remote_context",
    "loads",
    "make_request",
    "may_push_image",
    "named_config",
    "named_images",
    "option_key",
    "parse_duration",
    "parse_endpoint",
    "parse_size",
    "pushes",
    "pushes_by_digest",
    "pushing_outputs",
    "read_text",
    "repository_notes",
    "setting",
    "unknown_variables",
    "unmoved",
    "unusable",
    "with_push_decided",
    "working_directory",
]
