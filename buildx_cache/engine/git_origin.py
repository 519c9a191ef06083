"""Ask git servers for the branches of the working copy's origin, and for the commit of a remote build context."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote, urlsplit

from buildx_cache.caches.backend import CacheKind
from buildx_cache.ci import CIContext, Revision
from buildx_cache.ci.variables import clean
from buildx_cache.engine.git import ask, configured, run_git
from buildx_cache.errors import UnreachableError, UsageError
from buildx_cache.request.build_request import BuildRequest
from buildx_cache.request.outputs import pushes
from buildx_cache.request.path_checks import check_shadow
from buildx_cache.request.remote_context import GitContext, git_context, is_remote_context
from buildx_cache.scratch import scratch_folder

_HEADS = "refs/heads/"
# Seconds and bytes; the bytes suffice for about a hundred thousand branches.
_LIMITS = (60.0, 1 << 24)
# git's variables that help to reach a server. Others choose repositories, commands and trace files.
_TRANSPORT = re.compile(
    r"GIT_(?:SSH|SSH_COMMAND|SSH_VARIANT|ASKPASS|SSL_\w+|HTTP_\w+|PROXY_\w+|EXEC_PATH"
    r"|CONFIG_(?:GLOBAL|SYSTEM|NOSYSTEM|COUNT|(?:KEY|VALUE)_[0-9]+))"
)
# Variables that lead to a user's logins: in settings, in `~/.netrc`, and by programs that ask.
_LOGINS = re.compile(
    r"HOME|XDG_CONFIG_HOME|SSH_ASKPASS|GIT_(?:ASKPASS|CONFIG_(?:GLOBAL|COUNT|(?:KEY|VALUE)_[0-9]+))", re.ASCII
)
_NO_LOGINS = (("credential.helper", ""), ("http.extraHeader", ""))
_REMOTE = "buildx-cache-origin"
# ssh would read a host or user that begins with `-` as an option.
_HOST = r"(?:[^\s@/:\[\]%-][^\s@/:\[\]%]*|\[[0-9A-Fa-f:.]+\])"
_USER = r"(?:[^\s@/:-][^\s@/:]*@)?"
_HTTPS = re.compile(rf"https://(?:[^\s@/]*@)?{_HOST}(?::[0-9]+)?/\S*")
_PLAIN = re.compile(rf"(?:git|http)://{_HOST}(?::[0-9]+)?/\S*")
_SSH = re.compile(rf"ssh://{_USER}{_HOST}(?::[0-9]+)?/\S*")
# `user@host:path` is ssh; `ext::command` and `file://path` are not.
_SCP = re.compile(rf"{_USER}{_HOST}:(?![:-]|//)\S+")
_IN_A_FILE = "give the branches in a file, one a line: --keep-branches-from FILE"
# The template fields that depend on the commit.
_REVISION = ("sha", "short_sha", "branch", "tag", "pr")


def branches(top: Path | None, env: Mapping[str, str]) -> tuple[str, ...]:
    """Ask ``origin`` for all branches: a CI's shallow clone has only one.

    Raises:
        UsageError: there is no git, ``top`` has no ``origin``, or its address is neither of https nor of ssh.
        UnreachableError: ``origin`` does not answer, or has no branches.
    """
    address = _origin(top, env)
    if not address:
        raise UsageError(
            "--keep-branches-from git: there is no git repository with a remote `origin` here",
            code="origin-absent",
            hint=f"run it in a clone, or {_IN_A_FILE}",
        )
    if not is_askable(address):
        raise UsageError(
            f"--keep-branches-from git: origin is neither at an https nor at an ssh address: {address}",
            code="origin-not-askable",
            hint=_IN_A_FILE,
        )
    heads = ask_server(address, env, "--heads")
    names = tuple(line.partition(_HEADS)[2] for line in heads.split("\n") if _HEADS in line)
    if not names:
        raise UnreachableError(
            f"--keep-branches-from git: `git ls-remote --heads` lists no branches of {address}",
            code="branches-unreachable",
            hint=f"git must reach it with your own login, not the checkout's; or {_IN_A_FILE}",
        )
    return names


def is_askable(address: str, *, is_plain_taken: bool = False) -> bool:
    """Return whether git may contact an address: https or ssh, spelled so that git and its helpers agree on the host.

    ``is_plain_taken`` allows http and git, too: for an address from which the caller has BuildKit fetch anyway.
    A percent-encoded line break is refused: a credential helper would read a second line, which may name another host.
    """
    kinds = (_HTTPS, _SSH, _SCP, *((_PLAIN,) if is_plain_taken else ()))
    if not unquote(address).isprintable() or not any(kind.fullmatch(address) for kind in kinds):
        return False
    try:
        urlsplit(address)
    except ValueError:  # an invalid IPv6 address, or a host that changes under Unicode normalization
        return False
    return True


def _origin(top: Path | None, env: Mapping[str, str]) -> str:
    """Return the first address of ``origin`` in the repository's own configuration, or ""."""
    words = ("config", "--local", "--no-includes", "--null", "--get-all", "remote.origin.url")
    return ask(top, env, *words).partition("\0")[0]


def ask_server(address: str, env: Mapping[str, str], option: str, *refs: str) -> str:
    """Return the output of ``git ls-remote`` for an address that :func:`is_askable`; empty if git fails.

    A server without encryption gets no login of the user's; so git runs without the user's settings then.
    """
    # Keep all variables that are not git's: a credential helper of the user's may read them.
    connecting = {name: text for name, text in env.items() if not name.startswith("GIT_") or _TRANSPORT.fullmatch(name)}
    with scratch_folder() as folder:
        if _plain(address):
            connecting = {name: text for name, text in connecting.items() if not _LOGINS.fullmatch(name)}
            connecting |= {"HOME": str(folder), "GIT_ASKPASS": ""}
        own = {
            **configured(connecting, _settings(address)),
            "GIT_ALLOW_PROTOCOL": _protocols(address),
            "GIT_CEILING_DIRECTORIES": str(folder.parent),
            "GIT_TERMINAL_PROMPT": "0",
        }
        done = run_git(("-C", str(folder), "ls-remote", option, _REMOTE, *refs), own, _LIMITS)
    return done.stdout if done.code == 0 else ""


def _protocols(address: str) -> str:
    """Return the protocols that git may use: encrypted ones, and the address' own."""
    return ":".join(filter(None, ("https", "ssh", _plain(address))))


def _plain(address: str) -> str:
    """Return the scheme of an address without encryption; empty for any other address."""
    return address.partition("://")[0] if _PLAIN.fullmatch(address) else ""


def _settings(address: str) -> tuple[tuple[str, str], ...]:
    """Return git's settings for a remote at ``address``, without a login in the URL.

    Git puts the URL on the command line of its transport helper. So a login is set as the HTTP header that git would
    send, and a user name without a password as the user name for credential helpers.
    """
    parts = urlsplit(address)
    login, _, place = parts.netloc.rpartition("@")
    if parts.scheme != "https" or not login:
        return ((f"remote.{_REMOTE}.url", address), *(_NO_LOGINS if _plain(address) else ()))
    server = f"https://{place}"
    user, colon, password = (unquote(part) for part in login.partition(":"))
    basic = base64.b64encode(f"{user}:{password}".encode()).decode()
    return (
        (f"remote.{_REMOTE}.url", parts._replace(netloc=place).geturl()),
        (f"http.{server}.extraHeader", f"Authorization: Basic {basic}")
        if colon
        else (f"credential.{server}.username", user),
    )


_HEADS, _TAGS, _SYMBOLIC = "refs/heads/", "refs/tags/", "ref: "
_PULL = re.compile(r"refs/(?:pull|merge-requests)/(?P<number>[0-9]+)/\w+", re.ASCII)
_HINT = "name the commit in the address, ADDRESS#COMMIT, or give a fixed -t and --cache-scope"


def at_commit(
    request: BuildRequest, ci: CIContext, env: Mapping[str, str]
) -> tuple[BuildRequest, CIContext, tuple[str, ...]]:
    """Find the commit of a context that BuildKit fetches.

    The context's server is asked only if a tag or the cache's scope depends on the commit. If a tag does, the commit is
    required, and replaces the ref in the context's address.

    Returns:
        The request, the CI's facts for that commit, and notes.

    Raises:
        UsageError: a tag needs the commit, and it is unknown; or a folder here has the name of the context's address.
        UnreachableError: a tag needs the commit, and the server does not answer.
    """
    if request.context == "-" or not is_remote_context(request.context):
        return request, ci, ()
    git = git_context(request.context)
    known = Revision(sha=git.commit or None) if git else Revision()
    needs_commit = any(f"{{{field}}}" in template for template in request.tag for field in _REVISION)
    needs_scope = not (request.cache_scope or request.cache in (CacheKind.LOCAL, CacheKind.NONE))
    if git is None or git.commit or not (needs_commit or (needs_scope and pushes(request))):
        return request, ci.at(known), ()
    try:
        found = revision(git, env)
    except (UsageError, UnreachableError) as error:
        if needs_commit:
            raise
        branch = git.ref.removeprefix("refs/heads/")
        guess = None if branch.startswith("refs/") else branch or None
        return request, ci.at(replace(known, branch=guess)), (error.message,)
    if not needs_commit:
        return request, ci.at(found), ()
    pinned = git.at(found.sha or "")
    check_shadow(pinned)
    return replace(request, context=pinned), ci.at(found), ()


def revision(context: GitContext, env: Mapping[str, str]) -> Revision:
    """Ask the server of a remote context which commit, branch or tag its ref names.

    If a branch and a tag have the same name, the branch counts, as for ``git checkout``.

    Raises:
        UsageError: git may not contact the context's address, or its server has no such ref.
        UnreachableError: the context's server does not answer.
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
    lines = [line.partition("\t")[::2] for line in told.split("\n")]  # not splitlines: a name may hold other breaks
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
