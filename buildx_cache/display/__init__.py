"""What people see: the build on stderr, and what the other commands found.

``Display`` is the seam; a display says what happened and never decides anything. The one that draws and
the one that speaks JSON are imported by those who want them.
"""

from buildx_cache.display.plain import PlainDisplay
from buildx_cache.display.quiet import QuietDisplay, failure_log
from buildx_cache.display.seam import Display
from buildx_cache.display.summary import summary_lines
from buildx_cache.display.tables import checks_table

__all__ = [
    "Display",
    "PlainDisplay",
    "QuietDisplay",
    "checks_table",
    "failure_log",
    "summary_lines",
]
