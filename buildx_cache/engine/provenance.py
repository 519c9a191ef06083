"""Whether Buildx may ask git for an image's provenance.

Buildx runs git in the build context (``build/git.go``): ``rev-parse``, ``show HEAD``, ``remote get-url``. From 0.34 it
gives git an environment of its own, in which no variable makes an untrusted repository harmless (BuildKit's
``util/gitutil/git_cli.go``). So the repository is looked at first, and git is left out where it could run a command.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from buildx_cache.engine.git import ask, asked, is_bare
from buildx_cache.working_copy import nearest_top

_WITHOUT_GIT = {"BUILDX_GIT_INFO": "false", "BUILDX_GIT_LABELS": "false"}
_DIRTY = "BUILDX_GIT_CHECK_DIRTY"
_TRUE = frozenset({"1", "t", "true"})
# With one of these, git fetches a missing object, for which it runs what the repository names; or it reads a file that
# may have no end. Everything else that names a command has no part in the three questions.
_HARMFUL = re.compile(r"extensions\.partialclone|remote\..*\.(?:promisor|partialclonefilter)|mailmap\..*")


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """How Buildx is to ask git."""

    env: Mapping[str, str] = field(default_factory=dict)
    """Variables for Buildx."""
    note: str = ""
    """What the user set, or would have, and does not get; empty if nothing."""


def git_provenance(context: Path | None, top: Path | None, env: Mapping[str, str]) -> Provenance:
    """Decide what Buildx may ask git about a build context.

    Args:
        context: the folder, absolute and without links; None for a context that is none.
        top: the top of its working copy; None where there is none.
        env: the caller's environment.
    """
    if context is None:
        return Provenance(env=_WITHOUT_GIT)
    reason = _embedded(context, top) or _harmful(top, env)
    if reason:
        return Provenance(env=_WITHOUT_GIT, note=f"provenance without the commit: {reason}")
    if env.get(_DIRTY, "").lower() in _TRUE:
        return Provenance(
            env={_DIRTY: "false"},
            note=f"{_DIRTY} is not used: `git status` runs commands that a repository names",
        )
    return Provenance()


def _embedded(context: Path, top: Path | None) -> str:
    """Say where git would find another repository than the working copy's; "" if nowhere."""
    if (nearest := nearest_top(context)) != top:
        return f"{nearest} is a repository inside of the working copy"
    above = (context, *context.parents)
    way = above[: above.index(top) + 1] if top in above else above
    bare = next((folder for folder in way if is_bare(folder)), None)
    return f"git takes {bare} for a repository" if bare else ""


def _harmful(top: Path | None, env: Mapping[str, str]) -> str:
    """Say which setting of the repository could make git run a command; "" if none."""
    if top is None:
        return ""
    words = ask(top, env, "config", "--list", "--show-scope", "--name-only", "--null").split("\0")
    own = [name for scope, name in zip(words[::2], words[1::2], strict=False) if scope in ("local", "worktree")]
    if not own:
        return f"git does not read the configuration of {top}"
    if harmful := next((name for name in own if _HARMFUL.fullmatch(name.lower())), ""):
        return f"{harmful} in the configuration of {top} lets git run commands"
    # As Buildx asks it, which waits without end: an archive can hold a FIFO where git reads a name or a commit.
    shown = asked(top, env, "-c", "log.mailmap=true", "show", "--format=%H", "--quiet", "HEAD", "--")
    return f"git does not come to an end in {top}" if shown.code < 0 else ""
