"""The environment in which git runs no command of the repository that it is asked about.

A repository's own configuration names commands: to show a file, to watch the working tree, to fetch an object that is
missing. git reads it wherever it finds a repository, and so does each child process that asks git: Buildx does, for the
provenance of an image (``build/git.go``).
"""

from __future__ import annotations

from collections.abc import Mapping

SETTINGS = (
    ("safe.bareRepository", "explicit"),  # a folder of ordinary files is no repository
    ("core.fsmonitor", "false"),  # a command, for `git status`
    ("core.hooksPath", "/dev/null"),  # among them `post-index-change`, for `git status`
    ("log.showSignature", "false"),  # runs `gpg.program`
    ("log.mailmap", "false"),  # reads `mailmap.file`, which may have no end
)
"""Settings of git that win over a repository's own. A git too old for one ignores it: nothing depends on them alone."""

_COUNT = "GIT_CONFIG_COUNT"
OFFLINE = {
    "GIT_ALLOW_PROTOCOL": "none",  # a missing object is not fetched: that runs `core.sshCommand`, `ext::COMMAND`, …
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_TERMINAL_PROMPT": "0",
}
"""Variables of a git that must not reach any server."""


def guarded(env: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a child process that may ask git about a folder, and has no need of git's network."""
    return {**configured(env, SETTINGS), **OFFLINE}


def configured(env: Mapping[str, str], settings: tuple[tuple[str, str], ...]) -> dict[str, str]:
    """Return ``env`` with settings of git appended to those that it has: of two of a name, git takes the last.

    Where the user's own cannot be counted git refuses to run; then they stay as they are.
    """
    given = env.get(_COUNT) or "0"
    if not given.isdecimal():
        return dict(env)
    added: dict[str, str] = {}
    for number, (name, value) in enumerate(settings, start=int(given)):
        added |= {f"GIT_CONFIG_KEY_{number}": name, f"GIT_CONFIG_VALUE_{number}": value}
    return {**env, **added, _COUNT: str(int(given) + len(settings))}
