"""What ``git`` says of the working copy. Nothing here fails: no git, no repository, no answer are all "unknown"."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from buildx_cache.ci import GitFacts
from buildx_cache.engine.process import capture

_HEAD = "HEAD -> refs/heads/"
_TAG = "tag: refs/tags/"
_ORIGIN = "refs/remotes/origin/"


def work_tree(folder: Path) -> Path:
    """The top of the work tree that ``folder`` lies in; ``folder`` itself where there is none."""
    return next((parent for parent in (folder, *folder.parents) if (parent / ".git").exists()), folder)


def read_git(folder: Path, env: Mapping[str, str]) -> GitFacts:
    """Commit, branch, tag and default branch, in two calls."""
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


def _named(points: list[str], prefix: str) -> str | None:
    return next((point.removeprefix(prefix) for point in points if point.startswith(prefix)), None)


def _git(folder: Path, env: Mapping[str, str], *words: str) -> str:
    try:
        done = capture(("git", "-C", str(folder), *words), env=env)
    except OSError:
        return ""
    return done.stdout.strip() if done.code == 0 else ""
