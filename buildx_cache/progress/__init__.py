"""What a build does while it runs: the raw JSON progress of Buildx → events → a trace.

``StreamParser`` turns bytes into events and knows nothing of their meaning; ``TraceBuilder`` reduces events to a
``BuildTrace`` and knows nothing of bytes. Both are pure: no clock, no files, no child process.
"""

from buildx_cache.progress.events import Event, LogEvent, StatusEvent, TextLine, VertexEvent, WarningEvent
from buildx_cache.progress.stream import StreamParser
from buildx_cache.progress.trace import BuildTrace, Step, TraceBuilder, Transfer

__all__ = [
    "BuildTrace",
    "Event",
    "LogEvent",
    "StatusEvent",
    "Step",
    "StreamParser",
    "TextLine",
    "TraceBuilder",
    "Transfer",
    "VertexEvent",
    "WarningEvent",
]
