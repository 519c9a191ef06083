"""Parse the output of BuildKit and Buildx: progress → events → a trace; error text → a problem.

``StreamParser`` turns bytes into events; ``TraceBuilder`` reduces events to a ``BuildTrace``. ``classify`` is the only
reader of error texts of BuildKit, Buildx, the docker CLI and registries; ``CAUSES`` maps a problem to exit code, retry
and advice; ``failure`` says why a build failed. All are pure: no clock, no files, no child process.
"""

from buildx_cache.buildkit.causes import CAUSES, Cause, Kind
from buildx_cache.buildkit.classify import (
    Operation,
    Problem,
    absent_folder,
    classify,
    classify_command,
    command_ending,
    is_cancelled,
)
from buildx_cache.buildkit.events import Event, LogEvent, StatusEvent, TextLine, VertexEvent, WarningEvent
from buildx_cache.buildkit.failure import Failure, failure
from buildx_cache.buildkit.stream import StreamParser
from buildx_cache.buildkit.trace import BuildTrace, Step, TraceBuilder, Transfer

__all__ = [
    "CAUSES",
    "BuildTrace",
    "Cause",
    "Event",
    "Failure",
    "Kind",
    "LogEvent",
    "Operation",
    "Problem",
    "StatusEvent",
    "Step",
    "StreamParser",
    "TextLine",
    "TraceBuilder",
    "Transfer",
    "VertexEvent",
    "WarningEvent",
    "absent_folder",
    "classify",
    "classify_command",
    "command_ending",
    "failure",
    "is_cancelled",
]
