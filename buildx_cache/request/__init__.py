"""What the user asks for: one frozen value, merged from command line, environment and configuration file.

Values are checked here, before anything has an effect; the rest is decided in ``plan``. ``folders``, which looks into
the folders that a plan writes, is imported by who has a plan.
"""

from buildx_cache.request.checks import REPORTS, check_paths, is_remote_context
from buildx_cache.request.config import config_layer
from buildx_cache.request.contexts import context_notes
from buildx_cache.request.layers import Layer, environment_layer, make_request
from buildx_cache.request.looking import working_directory
from buildx_cache.request.model import BuildRequest, Driver, Endpoint, Lazy, Progress, option_key, parse_endpoint
from buildx_cache.request.units import parse_duration, parse_size

__all__ = [
    "REPORTS",
    "BuildRequest",
    "Driver",
    "Endpoint",
    "Layer",
    "Lazy",
    "Progress",
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
    "working_directory",
]
