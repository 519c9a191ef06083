"""What ``git`` says of the working copy, and of the repository it came from."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from buildx_cache.ci import GitFacts
from buildx_cache.engine.process import capture
from buildx_cache.errors import UnreachableError, UsageError

_HEAD = "HEAD -> refs/heads/"
_TAG = "tag: refs/tags/"
_ORIGIN = "refs/remotes/origin/"
_HEADS = "refs/heads/"


def work_tree(folder: Path) -> Path:
    """The top of the work tree that ``folder`` lies in; ``folder`` itself where there is none."""
    above = (folder, *folder.parents)
    return next((each for each in above if os.path.exists(each / ".git")), folder)  # noqa: PTH110 -- never raises


def read_git(folder: Path, env: Mapping[str, str]) -> GitFacts:
    """Commit, branch, tag and default branch, in two calls; no git, no repository, no answer are all "unknown"."""
    # One line: the commit, then every name that points at it, spelled in full and separated by commas.
    head = _git(folder, env, "-c", "log.showSignature=false", "log", "-1", "--format=%H %D", "--decorate=full")
    sha, _, names = head.partition(" ")
    points = names.split(", ")
    origin = _git(folder, env, "symbolic-ref", "--quiet", _ORIGIN + "HEAD")
    return GitFacts(
        sha=sha or None,
        branch=_named(points, _HEAD),
        tag=_named(points, _TAG),
        default_branch=origin.removeprefix(_ORIGIN) or None,
    )


def branches(folder: Path, env: Mapping[str, str]) -> tuple[str, ...]:
    """Every branch of ``origin``, which is asked: a CI's shallow clone knows only the one it builds.

    Raises:
        UsageError: there is no git, or ``folder`` lies in no repository that has an ``origin``.
        UnreachableError: ``origin`` does not answer, or has no branches.
    """
    instead = "or give the branches in a file, one a line: --keep-branches-from FILE"
    if not _git(folder, env, "remote", "get-url", "origin"):
        raise UsageError(
            "--keep-branches-from git: here is no git repository with a remote `origin`",
            hint=f"run it in a clone, {instead}",
        )
    # Without a prompt for a password, which nobody might see.
    heads = _git(folder, {**env, "GIT_TERMINAL_PROMPT": "0"}, "ls-remote", "--heads", "origin")
    names = tuple(line.partition(_HEADS)[2] for line in heads.splitlines() if _HEADS in line)
    if not names:
        raise UnreachableError(
            "--keep-branches-from git: `git ls-remote --heads origin` names no branches",
            hint=f"run it to see why, {instead}",
        )
    return names


def _named(points: list[str], prefix: str) -> str | None:
    return next((point.removeprefix(prefix) for point in points if point.startswith(prefix)), None)


def _git(folder: Path, env: Mapping[str, str], *words: str) -> str:
    try:
        done = capture(("git", "-C", str(folder), *words), env=env)
    except OSError:
        return ""
    return done.stdout.strip() if done.code == 0 else ""
