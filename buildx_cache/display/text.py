"""Text with a styled word before it."""

from __future__ import annotations

from rich.text import Text

from buildx_cache.wording import printable


def titled(title: str, style: str, text: str) -> Text:
    """A styled word and what it introduces, taken as it is: Rich's markup is for texts that we write."""
    return Text.assemble((title, style), " ", printable(text))
