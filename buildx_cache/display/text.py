"""Text with a styled word before it; which of Buildx' own lines are told."""

from __future__ import annotations

from rich.text import Text

from buildx_cache.wording import printable


def titled(title: str, style: str, text: str) -> Text:
    """A styled word and what it introduces, taken as it is: Rich's markup is for texts that we write."""
    return Text.assemble((title, style), " ", printable(text))


def is_worth_a_warning(line: str) -> bool:
    """Whether a plain line between the events is a warning; of an empty local cache the report tells."""
    return line.startswith("WARNING:") and "local cache import" not in line
