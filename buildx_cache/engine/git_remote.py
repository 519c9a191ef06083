"""What a git repository at an address would be built from: git asks its server, as BuildKit does."""

from __future__ import annotations

import re
from collections.abc import Mapping

from buildx_cache.ci import Revision
from buildx_cache.ci.variables import clean
from buildx_cache.engine.git_origin import ask_server, is_askable
from buildx_cache.errors import UnreachableError, UsageError
from buildx_cache.request.remote_context import GitContext

_HEADS, _TAGS, _SYMBOLIC = "refs/heads/", "refs/tags/", "ref: "
_PULL = re.compile(r"refs/(?:pull|merge-requests)/(?P<number>[0-9]+)/\w+", re.ASCII)
_HINT = "name the commit in the address, ADDRESS#COMMIT, or write out what is to be pushed: -t …:1, --cache-scope"


def revision(context: GitContext, env: Mapping[str, str]) -> Revision:
    """Ask the server of a context which commit, branch or tag its ref is: of one name the branch, as git checks out.

    Raises:
        UsageError: its address is not one that git is asked about, or its server has no such ref.
        UnreachableError: its server does not answer.
    """
    if context.has_query or not is_askable(context.address, is_plain_taken=True):
        raise UsageError(
            f"the commit of the build context {context.address} is not known: git is not asked about such an address",
            code="remote-commit-unknown",
            hint=_HINT,
        )
    names = _names(context.ref)
    told = ask_server(context.address, env, "--symref", "HEAD", *names, f"{_TAGS}{context.ref}^{{}}")
    if not told:
        raise UnreachableError(
            f"the commit of the build context is not known: `git ls-remote {context.address}` does not answer",
            code="remote-commit-unknown",
            hint=f"git must reach it with your own login; or {_HINT}",
        )
    return _read(context, told)


def _names(ref: str) -> tuple[str, ...]:
    if not ref:
        return ()
    full = ref if ref.startswith("refs/") else f"refs/{ref}"
    return (f"{_HEADS}{ref.removeprefix(_HEADS)}", f"{_TAGS}{ref.removeprefix(_TAGS)}", full)


def _read(context: GitContext, told: str) -> Revision:
    lines = [line.partition("\t")[::2] for line in told.split("\n")]  # a name may hold other ends of lines
    default = next((said for said, name in lines if name == "HEAD" and said.startswith(_SYMBOLIC)), "")
    branch = default.removeprefix(_SYMBOLIC).removeprefix(_HEADS)
    commits = {name: said for said, name in lines if not said.startswith(_SYMBOLIC)}
    name = next((name for name in _names(context.ref) if name in commits), "" if context.ref else "HEAD")
    commit = commits.get(f"{name}^{{}}") or commits.get(name)
    if not commit:
        raise UsageError(
            f"the build context's repository {context.address} has no branch or tag {context.ref or 'HEAD'!r}",
            code="remote-ref-absent",
            hint=f"`git ls-remote {context.address}` lists those there are",
        )
    pull = _PULL.fullmatch(name)
    own = branch if name == "HEAD" else name.removeprefix(_HEADS)
    return Revision(
        sha=commit,
        branch=clean(own) if name == "HEAD" or name.startswith(_HEADS) else None,
        tag=clean(name.removeprefix(_TAGS)) if name.startswith(_TAGS) else None,
        pull_request=pull["number"] if pull else None,
        default_branch=clean(branch),
    )
