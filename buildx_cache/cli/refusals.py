"""What Typer refuses of a command line, in this program's words: what failed, and what to do."""

from __future__ import annotations

from typing import Any

from typer.exceptions import TyperException

_SEE_HELP = "`{command} --help` shows the options"


def refusal(error: TyperException) -> tuple[str, str]:
    """The two lines about a word that no command takes; those about an option name one that is like it."""
    context = getattr(error, "ctx", None)
    see_help = _SEE_HELP.format(command=context.command_path if context else "buildx-cache COMMAND")
    option = getattr(error, "option_name", "")
    if option and hasattr(error, "possibilities"):
        return f"there is no option {option}", _nearest(option, _options(context)) or see_help
    if option and "requires an argument" in error.message:
        return f"{option} needs a value", see_help
    return error.format_message(), see_help


def _options(context: Any) -> list[str]:  # noqa: ANN401 -- Typer's own class, which it does not name
    parameters = context.command.get_params(context) if context else ()
    return [name for each in parameters for name in (*each.opts, *each.secondary_opts) if name.startswith("--")]


def _nearest(word: str, options: list[str]) -> str:
    import difflib

    near = difflib.get_close_matches(word, options, n=1)
    return f"did you mean {near[0]}?" if near else ""
