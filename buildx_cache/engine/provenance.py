"""Whether Buildx may ask git for an image's provenance.

Buildx runs git in the build context (``build/git.go``): ``rev-parse``, ``show HEAD``, ``remote get-url``. From 0.34 it
gives git an environment of its own, in which no variable makes an untrusted repository harmless (BuildKit's
``util/gitutil/git_cli.go``). So the repository is looked at first, and git is left out where it could run a command.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from buildx_cache.engine.git import ask, asked, is_bare
from buildx_cache.working_copy import nearest_top

_WITHOUT_GIT = {"BUILDX_GIT_INFO": "false", "BUILDX_GIT_LABELS": "false"}
_DIRTY = "BUILDX_GIT_CHECK_DIRTY"
_TRUE = frozenset({"1", "t", "true"})
# With one of these, `git show` runs a program to verify a signature, or reads a file that may have no end. Nothing else
# that names a command has a part in what Buildx asks.
_HARMFUL = re.compile(r"log\.showsignature|gpg\.(?:.*\.)?program|mailmap\..*")
# With one of these, git fetches an object that is missing, for which it runs what the repository names.
_FETCHING = re.compile(r"extensions\.partialclone|remote\..*\.(?:promisor|partialclonefilter)")


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """How Buildx is to ask git."""

    env: Mapping[str, str] = field(default_factory=dict)
    """Variables for Buildx."""
    note: str = ""
    """What is said about provenance that was turned off; empty if nothing."""


def git_provenance(context: Path | None, top: Path | None, env: Mapping[str, str]) -> Provenance:
    """Decide what Buildx may ask git about a build context.

    Args:
        context: the folder, absolute and without links; None for a context that is none.
        top: the top of its working copy; None where there is none.
        env: the caller's environment.
    """
    if context is None or shutil.which("git", path=env.get("PATH")) is None:
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
    harmful = next((name for name in own if _HARMFUL.fullmatch(name.lower())), "")
    if not harmful and not _has_head(top, env):
        harmful = next((name for name in own if _FETCHING.fullmatch(name.lower())), "")
    if harmful:
        return f"the setting {harmful} of {top} can make git run commands"
    # As Buildx asks it, which waits without end: an archive can hold a FIFO where git reads a name or a commit.
    shown = asked(top, env, "-c", "log.mailmap=true", "show", "--format=%H", "--quiet", "HEAD", "--")
    return f"git does not come to an end in {top}" if shown.code < 0 else ""


def _has_head(top: Path, env: Mapping[str, str]) -> bool:
    """Return whether the commit of HEAD is there: of an honest partial clone it is, and Buildx asks for no more."""
    return bool(ask(top, env, "rev-list", "--max-count=1", "--missing=allow-any", "--format=%B", "HEAD"))
