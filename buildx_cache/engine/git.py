"""Ask git about the working copy, in an environment in which a repository cannot choose commands for git to run."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from buildx_cache.ci import GitFacts
from buildx_cache.engine.process import Completed, capture_within
from buildx_cache.plan.facts import Version, parse_version
from buildx_cache.request.probe import look
from buildx_cache.working_copy import nearest_top

SETTINGS = (
    ("safe.bareRepository", "explicit"),  # a folder of ordinary files is no repository
    ("core.fsmonitor", "false"),  # a command, for `git status`
    ("core.hooksPath", "/dev/null"),  # among them `post-index-change`, for `git status`
    ("log.showSignature", "false"),  # runs `gpg.program`
    ("log.mailmap", "false"),  # reads `mailmap.file`, which may have no end
)
"""Settings of git that override a repository's. An old git ignores those it does not know: never rely on them alone."""

_COUNT = "GIT_CONFIG_COUNT"
OFFLINE = {
    "GIT_ALLOW_PROTOCOL": "none",  # fetch no missing object: that would run `core.sshCommand`, `ext::COMMAND`, …
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_TERMINAL_PROMPT": "0",
}
"""Variables that keep git from any server."""


def guarded(env: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a child process that may run git on a folder, and needs no server for that."""
    return {**configured(env, SETTINGS), **OFFLINE}


def configured(env: Mapping[str, str], settings: tuple[tuple[str, str], ...]) -> dict[str, str]:
    """Append settings of git to those in ``env``; of two settings of the same name git uses the last.

    If ``GIT_CONFIG_COUNT`` is no number, git refuses to run; then return ``env`` unchanged.
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
# Seconds and bytes. Git answers at once, unless a hostile repository has a FIFO or an endless file.
_LIMITS = (10.0, 1 << 20)
_MOST_ENTRIES = 5000
# Variables for a local command: they lead to the program, and to the user's settings, which mark folders as safe.
_PASSED_ON = re.compile(
    "PATH|HOME|XDG_CONFIG_HOME|SUDO_UID|TMPDIR|GIT_EXEC_PATH"
    "|GIT_CONFIG_(?:GLOBAL|SYSTEM|NOSYSTEM|COUNT|(?:KEY|VALUE)_[0-9]+)"
)


def is_bare(folder: Path) -> bool:
    """Return whether git may take a folder for a bare repository (``is_git_directory`` in git's ``setup.c``)."""
    found = {name for name in ("HEAD", "objects", "refs", "commondir") if os.path.lexists(folder / name)}
    return found >= {"HEAD", "objects", "refs"} or found >= {"HEAD", "commondir"}


def _has_pipe(git: Path) -> bool:
    """Return whether git may wait for a pipe or a device: each question about the repository would take its limit.

    The objects are not looked at: they are many, and a pipe among them costs the limit. A socket is git's own daemon's.
    """
    waiting = [git]
    for _ in range(_MOST_ENTRIES):
        if not waiting:
            break
        place = waiting.pop()
        mode = look(place).mode
        if stat.S_ISFIFO(mode) or stat.S_ISCHR(mode):
            return True
        if stat.S_ISDIR(mode) and not place.is_symlink() and place.name != "objects":
            with contextlib.suppress(OSError):
                waiting += place.iterdir()
    return False


def read_git(top: Path | None, env: Mapping[str, str]) -> GitFacts:
    """Read commit, branch, tag and default branch in two calls; a value that git does not know is None.

    Args:
        top: the top of the working copy (``working_copy.enclosing_top``); None where there is none.
        env: the caller's environment.
    """
    # The last line has the commit, then the names that point at it, separated by commas. With `--missing` no version of
    # git fetches anything. `log` would start to fetch, and write `FETCH_HEAD`, before the fetch is refused.
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
    """Run git on the working copy at ``top``, without network; return its output, or "" if git fails."""
    done = query(top, env, *words)
    return done.stdout.strip() if done.code == 0 else ""


def query(top: Path | None, env: Mapping[str, str], *words: str) -> Completed:
    """Run git on the working copy at ``top``, without network; the code is negative if git did not run to its end.

    Git does not run on a ``top`` that may be a bare repository: git would obey its settings if ``.git`` is not valid.
    Nor does git run in a repository with a pipe, which would block it.
    """
    if top is None or is_bare(top) or _has_pipe(top / ".git"):
        return Completed(code=-1)
    own = {**_own(env), **OFFLINE, "GIT_CEILING_DIRECTORIES": str(top.parent)}
    return run_git(("-C", str(top), *words), own, _LIMITS)


def git_version(env: Mapping[str, str]) -> Version:
    """Return the version of git; ``UNKNOWN_VERSION`` if git is not installed."""
    return parse_version(run_git(("--version",), {**_own(env), **OFFLINE}, _LIMITS).stdout)


def run_git(words: tuple[str, ...], env: Mapping[str, str], within: tuple[float, int]) -> Completed:
    """Run git in an environment, within seconds and bytes; the code is -1 if git is absent or exceeds a limit."""
    settings = (word for name, value in SETTINGS for word in ("-c", f"{name}={value}"))
    try:
        return capture_within(("git", "--no-pager", "--no-optional-locks", *settings, *words), env=env, within=within)
    except OSError:
        return Completed(code=-1)


def _own(env: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that a local command needs."""
    return {**{name: text for name, text in env.items() if _PASSED_ON.fullmatch(name)}, "LC_ALL": "C"}


def _named(points: list[str], prefix: str) -> str | None:
    return next((point.removeprefix(prefix) for point in points if point.startswith(prefix)), None)


_WITHOUT_GIT = {"BUILDX_GIT_INFO": "false", "BUILDX_GIT_LABELS": "false"}
_DIRTY = "BUILDX_GIT_CHECK_DIRTY"
_TRUE = frozenset({"1", "t", "true"})
# With one of these, `git show` runs a program to verify a signature, or reads a file that may have no end. The git
# commands of Buildx use no other setting that names a command.
_HARMFUL = re.compile(r"log\.showsignature|gpg\.(?:.*\.)?program|mailmap\..*")
# With one of these, git fetches a missing object, and runs commands that the repository names for that.
_FETCHING = re.compile(r"extensions\.partialclone|remote\..*\.(?:promisor|partialclonefilter)")


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """The settings for Buildx' own git commands, which find the commit for the provenance."""

    env: Mapping[str, str] = field(default_factory=dict)
    """Variables for Buildx."""
    note: str = ""
    """The note for the user if provenance is restricted; else empty."""


def git_provenance(context: Path | None, top: Path | None, env: Mapping[str, str]) -> Provenance:
    """Decide which git commands Buildx may run on a build context.

    Args:
        context: the folder, absolute and without links; None for a context that is no folder.
        top: the top of the context's working copy; None if there is none.
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
    """Return the reason if git would find another repository than the working copy's; else ""."""
    if (nearest := nearest_top(context)) != top:
        return f"{nearest} is a repository inside of the working copy"
    above = (context, *context.parents)
    way = above[: above.index(top) + 1] if top in above else above
    bare = next((folder for folder in way if is_bare(folder)), None)
    return f"git takes {bare} for a repository" if bare else ""


def _harmful(top: Path | None, env: Mapping[str, str]) -> str:
    """Return the reason if a setting of the repository could make git run a command or hang; else ""."""
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
    # Try Buildx' own command with a time limit, since Buildx has none: a repository can have a FIFO that git reads.
    shown = query(top, env, "-c", "log.mailmap=true", "show", "--format=%H", "--quiet", "HEAD", "--")
    return f"git does not finish in {top}" if shown.code < 0 else ""


def _has_head(top: Path, env: Mapping[str, str]) -> bool:
    """Return whether HEAD's commit object exists; an honest partial clone has it, and Buildx needs no other object."""
    return bool(ask(top, env, "rev-list", "--max-count=1", "--missing=allow-any", "--format=%B", "HEAD"))
