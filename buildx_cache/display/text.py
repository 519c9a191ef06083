"""Text with a styled word before it; which of Buildx' own lines are told."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from buildx_cache.formatting import printable

if TYPE_CHECKING:  # Rich comes with the first line that has a style to be seen
    from rich.text import Text


class Line(NamedTuple):
    """A word with a style, if there is one, and what it introduces."""

    title: str
    style: str
    text: str

    @property
    def plain(self) -> str:
        """Without the style."""
        return f"{self.title} {self.text}" if self.title else self.text

    @property
    def styled(self) -> Text:
        """With it. The text is taken as it is: Rich's markup is for texts that we write."""
        from rich.text import Text  # 10 ms that a log without colours does not need

        return Text.assemble((self.title, self.style), " " if self.title else "", printable(self.text))


def is_worth_a_warning(line: str) -> bool:
    """Whether a plain line between the events is a warning; of an empty local cache the report tells."""
    return line.startswith("WARNING:") and "local cache import" not in line
