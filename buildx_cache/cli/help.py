"""``--help`` in panels: what Typer's commands say of themselves, drawn with the few parts of Rich that this takes.

Typer's own drawing also imports Markdown, syntax highlighting and tracebacks, none of which is in these texts: with it,
help takes half as long again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from typer.core import TyperCommand, TyperGroup

# Long pairs, such as --cache-read-only / --no-cache-read-only, take two lines.
_NAMES_WIDTH = 30
Row = tuple[str, str]


class Drawn:
    """What makes a command draw its help; ``Any`` stands for classes of Typer's own that it does not name."""

    def format_help(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401 -- see above
        """Write usage, text and panels."""
        from rich.console import Console
        from rich.padding import Padding
        from rich.text import Text

        command = ctx.command
        console = Console(highlight=False)
        with console.capture() as drawn:
            usage = " ".join((ctx.command_path, *command.collect_usage_pieces(ctx)))
            console.print(Padding(Text.assemble(("Usage: ", "yellow"), (usage, "bold")), 1))
            console.print(Padding(Text.from_markup(command.help or ""), (0, 1, 1, 1)))
            for title, rows in _panels(command, ctx).items():
                console.print(_panel(title, rows))
        formatter.write(drawn.get())


class DrawnCommand(Drawn, TyperCommand):
    """A command with its help drawn here."""


class DrawnGroup(Drawn, TyperGroup):
    """A group of commands with its help drawn here."""


def _panels(command: Any, ctx: Any) -> Mapping[str, list[Row]]:  # noqa: ANN401 -- see above
    """The rows of each panel, by its title."""
    panels: dict[str, list[Row]] = {"Arguments": [], "Options": []}
    for parameter in command.get_params(ctx):
        title = "Arguments" if parameter.param_type_name == "argument" else parameter.rich_help_panel or "Options"
        panels.setdefault(title, []).append(parameter.get_help_record(ctx))
    panels["Commands"] = list(_commands(command, ctx))
    return {title: rows for title, rows in panels.items() if rows}


def _commands(command: Any, ctx: Any) -> Iterator[Row]:  # noqa: ANN401 -- see above
    for name in command.list_commands(ctx) if isinstance(command, TyperGroup) else ():
        text = command.get_command(ctx, name).help or ""
        yield name, text.partition("\n\n")[0].replace("\n", " ")


def _panel(title: str, rows: Iterable[Row]) -> Any:  # noqa: ANN401 -- Rich comes with the first help
    from rich.panel import Panel
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2), expand=True)
    table.add_column(style="bold cyan", max_width=_NAMES_WIDTH)
    table.add_column(ratio=1)
    for names, text in rows:
        table.add_row(Text(names.strip()), Text(text))
    return Panel(table, title=title, title_align="left", border_style="dim")
