"""What people see: the build on stderr, and what the other commands found.

``Display`` is the seam; a display says what happened and never decides anything. The one that draws,
the one that speaks JSON, and the tables of the other commands are imported by those who want them.
"""

from buildx_cache.display.base import Display
from buildx_cache.display.plain import PlainDisplay
from buildx_cache.display.quiet import QuietDisplay, failure_log
from buildx_cache.display.steps import summary_lines

__all__ = [
    "Display",
    "PlainDisplay",
    "QuietDisplay",
    "failure_log",
    "summary_lines",
]
