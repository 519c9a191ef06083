"""Run git, with an environment in which no repository decides what it runs, and ask it about the working copy.

The working copy is not trusted, its ``.git`` included: a build context may come from an archive. Every call of git goes
through ``run_git``, and asks about one known folder, or about an empty one.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from buildx_cache.ci import GitFacts
from buildx_cache.engine.process import Completed, capture_within
from buildx_cache.plan.facts import Version, parse_version

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


_HEAD = "HEAD -> "
_TAG = "tag: "
_ORIGIN = "refs/remotes/origin/"
# Seconds and bytes. An honest repository answers at once; a file of another may be a FIFO, or have no end.
_LIMITS = (10.0, 1 << 20)
# What a local question needs: the program, and the user's own configuration, which says which folders are safe.
_PASSED_ON = re.compile(
    "PATH|HOME|XDG_CONFIG_HOME|SUDO_UID|TMPDIR|GIT_EXEC_PATH"
    "|GIT_CONFIG_(?:GLOBAL|SYSTEM|NOSYSTEM|COUNT|(?:KEY|VALUE)_[0-9]+)"
)


def is_bare(folder: Path) -> bool:
    """Return whether git may take a folder for a bare repository, as ``is_git_directory`` of its ``setup.c`` does."""
    found = {name for name in ("HEAD", "objects", "refs", "commondir") if os.path.lexists(folder / name)}
    return found >= {"HEAD", "objects", "refs"} or found >= {"HEAD", "commondir"}


def read_git(top: Path | None, env: Mapping[str, str]) -> GitFacts:
    """Read commit, branch, tag and default branch in two calls; each is None where git does not tell it.

    Args:
        top: the top of the working copy (``working_copy.enclosing_top``); None where there is none.
        env: the caller's environment.
    """
    # The last line: the commit, then the names that point at it, separated by commas. `--missing` has git, of any
    # version, fetch nothing: unlike `log`, which would begin to, and write `FETCH_HEAD`, before it is refused.
    head = ask(top, env, "rev-list", "--max-count=1", "--missing=allow-any", "--format=%H %D", "HEAD")
    sha, _, names = head.rpartition("\n")[2].partition(" ")
    points = names.split(", ")
    origin = ask(top, env, "symbolic-ref", "--quiet", _ORIGIN + "HEAD")
    return GitFacts(
        sha=sha or None,
        branch=_named(points, _HEAD),
        tag=_named(points, _TAG),
        default_branch=origin.removeprefix(_ORIGIN) or None,
    )


def ask(top: Path | None, env: Mapping[str, str], *words: str) -> str:
    """Ask git about the working copy at ``top``, without network; return "" where it does not answer."""
    done = asked(top, env, *words)
    return done.stdout.strip() if done.code == 0 else ""


def asked(top: Path | None, env: Mapping[str, str], *words: str) -> Completed:
    """Do the same, and return how git ended; the code is negative where it did not end by itself.

    A ``top`` that may be a bare repository is not asked about: git would obey its settings where ``.git`` is not valid.
    """
    if top is None or is_bare(top):
        return Completed(code=-1)
    own = {**_own(env), **OFFLINE, "GIT_CEILING_DIRECTORIES": str(top.parent)}
    return run_git(("-C", str(top), *words), own, _LIMITS)


def git_version(env: Mapping[str, str]) -> Version:
    """Return the version of git; unknown where there is none."""
    return parse_version(run_git(("--version",), {**_own(env), **OFFLINE}, _LIMITS).stdout)


def run_git(words: tuple[str, ...], env: Mapping[str, str], within: tuple[float, int]) -> Completed:
    """Run git in an environment, within seconds and bytes; a git that is not there or takes longer fails."""
    settings = (word for name, value in SETTINGS for word in ("-c", f"{name}={value}"))
    try:
        return capture_within(("git", "--no-pager", "--no-optional-locks", *settings, *words), env=env, within=within)
    except OSError:
        return Completed(code=-1)


def _own(env: Mapping[str, str]) -> dict[str, str]:
    """Return what a local question needs of the environment."""
    return {**{name: text for name, text in env.items() if _PASSED_ON.fullmatch(name)}, "LC_ALL": "C"}


def _named(points: list[str], prefix: str) -> str | None:
    return next((point.removeprefix(prefix) for point in points if point.startswith(prefix)), None)
