"""What the user asks for: one frozen value, merged from command line, environment and configuration file.

Values are checked here, before anything has an effect; the rest is decided in ``plan``.
"""

from buildx_cache.request.checks import check_paths, is_remote_context
from buildx_cache.request.config import config_layer
from buildx_cache.request.contexts import context_notes
from buildx_cache.request.folders import check_cache_directories, check_cache_directory
from buildx_cache.request.layers import Layer, environment_layer, make_request
from buildx_cache.request.model import BuildRequest, Driver, Endpoint, Progress, option_key, parse_endpoint
from buildx_cache.request.units import parse_duration, parse_size

__all__ = [
    "BuildRequest",
    "Driver",
    "Endpoint",
    "Layer",
    "Progress",
    "check_cache_directories",
    "check_cache_directory",
    "check_paths",
    "config_layer",
    "context_notes",
    "environment_layer",
    "is_remote_context",
    "make_request",
    "option_key",
    "parse_duration",
    "parse_endpoint",
    "parse_size",
]
