"""Secrets told to the CI, which masks them from then on: in what later steps print, and in what this program missed.

A secret's value is written here and nowhere else, as a command that the CI takes out of the job's log. The others have
none of the kind: GitLab, CircleCI, Travis and Jenkins mask what is declared in their settings, Buildkite's agent takes
more only from a process of its own (``buildkite-agent redactor add``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from buildx_cache.ci.commands import azure_command, github_command
from buildx_cache.redaction import secret_parts


@dataclass(frozen=True, kw_only=True)
class Masking:
    """How one CI takes a value; ``write`` makes its line."""

    write: Callable[[str], str]
    shortest: int = 1
    """Characters of the shortest value that it masks whatever its settings are: a shorter one could be shown."""


MASKINGS: Mapping[str, Masking] = {
    # "Workflow commands", masking a value in a log.
    "github": Masking(write=lambda value: github_command("add-mask", {}, value)),
    # "Logging commands", SetSecret. An agent may be told to pass over what is shorter than six characters at most
    # (AZP_IGNORE_SECRETS_SHORTER_THAN).
    "azure": Masking(write=lambda value: azure_command("task.setsecret", {}, value), shortest=6),
}
"""By the name of a provider."""


def mask(provider: str, values: Iterable[str]) -> tuple[str, ...]:
    """Give the lines that have the CI of that name mask ``values``; none for one that cannot.

    Both find a value also where it stands in JSON, in a URL or in base64. Of a value of several lines each has its own,
    as they look for values line by line.
    """
    masking = MASKINGS.get(provider)
    if masking is None:
        return ()
    parts = (part for part in secret_parts(values) if len(part) >= masking.shortest and part.strip())
    return tuple(masking.write(part) for part in parts)
