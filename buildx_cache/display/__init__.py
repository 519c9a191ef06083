"""Show the build on stderr, and the results of the other commands.

``Display`` is the interface; a display shows events and decides nothing. Import the live display, the JSON display and
the tables of the other commands from their modules.
"""

from buildx_cache.display.base import Display
from buildx_cache.display.plain import PlainDisplay
from buildx_cache.display.quiet import QuietDisplay
from buildx_cache.display.steps import summary_lines

__all__ = [
    "Display",
    "PlainDisplay",
    "QuietDisplay",
    "summary_lines",
]
