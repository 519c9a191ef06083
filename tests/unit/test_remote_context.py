"""A build context that BuildKit fetches: what is built there, and that nothing of here is taken for it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from buildx_cache.ci import CIContext, Revision
from buildx_cache.engine import git_origin
from buildx_cache.engine.git_origin import is_askable
from buildx_cache.errors import UsageError
from buildx_cache.plan import make_plan
from buildx_cache.request.remote_context import GitContext, git_context, is_remote_context
from tests.unit.test_plan import APP, CI_FORK, CI_MAIN, CONTAINERD, LAPTOP, request_of

SHA, OTHER, THIRD = ("a1" * 20, "b2" * 20, "c3" * 20)
HTTPS = "https://example.com/org/repo.git"


@pytest.mark.parametrize(
    ("context", "address", "ref", "folder"),
    [
        (HTTPS, HTTPS, "", ""),
        (f"{HTTPS}#main", HTTPS, "main", ""),
        (f"{HTTPS}#refs/pull/7/head:app/web", HTTPS, "refs/pull/7/head", "app/web"),
        (f"{HTTPS}#:app", HTTPS, "", "app"),
        (f"{HTTPS}?ref=main", f"{HTTPS}?ref=main", "", ""),
        ("http://example.com/repo.git#v1", "http://example.com/repo.git", "v1", ""),
        ("git://example.com/o#master", "git://example.com/o", "master", ""),
        ("ssh://git@example.com:22/o.git#x", "ssh://git@example.com:22/o.git", "x", ""),
        ("git@example.com:org/repo.git", "git@example.com:org/repo.git", "", ""),
        ("deploy@host:org/repo.git#main", "deploy@host:org/repo.git", "main", ""),
        ("d_e-p1@host.example:repo#main:sub", "d_e-p1@host.example:repo", "main", "sub"),
        ("github.com/org/repo#main", "https://github.com/org/repo", "main", ""),
    ],
)
def test_a_git_address_is_read_as_buildkit_reads_it(context: str, address: str, ref: str, folder: str) -> None:
    assert is_remote_context(context)
    assert git_context(context) == GitContext(address=address, ref=ref, folder=folder)


@pytest.mark.parametrize("context", ["https://example.com/app.tar.gz", "https://example.com/repo.git/x", "-"])
def test_what_else_is_fetched_has_no_commit(context: str) -> None:
    assert is_remote_context(context)
    assert git_context(context) is None


@pytest.mark.parametrize("context", [".", "a/b", "./git@host:x", "user@folder", "a b@c:d", "/git@host:x", "@host:x"])
def test_a_folder_is_no_address(context: str) -> None:
    assert not is_remote_context(context)
    assert git_context(context) is None


def test_a_commit_takes_the_place_of_the_ref() -> None:
    assert GitContext(address=HTTPS, ref="main", folder="a").at(SHA) == f"{HTTPS}#{SHA}:a"
    assert GitContext(address=HTTPS).at(SHA) == f"{HTTPS}#{SHA}"
    assert [GitContext(address=HTTPS, ref=ref).commit for ref in (SHA, SHA[:7], "main", "")] == [SHA, "", "", ""]


@pytest.mark.parametrize(
    ("address", "taken", "in_plain_text"),
    [
        (HTTPS, True, True),
        ("deploy@host:org/repo.git", True, True),
        ("git://example.com/o.git", False, True),
        ("http://example.com/o.git", False, True),
        ("git://-oProxyCommand=x/o.git", False, False),
        ("ext::sh -c x", False, False),
        ("file:///srv/o.git", False, False),
    ],
)
def test_git_is_asked_of_servers_alone(address: str, taken: bool, in_plain_text: bool) -> None:  # noqa: FBT001 -- a table
    assert (is_askable(address), is_askable(address, is_plain_taken=True)) == (taken, in_plain_text)


LISTED = "\n".join(
    (
        "ref: refs/heads/trunk\tHEAD",
        *(f"{SHA}\t{name}" for name in ("HEAD", "refs/heads/trunk", "refs/heads/both", "refs/pull/7/head")),
        *(f"{OTHER}\t{name}" for name in ("refs/tags/both", "refs/tags/v1")),
        f"{THIRD}\trefs/tags/v1^{{}}",
        f"{THIRD}\trefs/heads/x/refs/heads/y",
    )
)


@pytest.mark.parametrize(
    ("ref", "found"),
    [
        ("", Revision(sha=SHA, branch="trunk")),
        ("trunk", Revision(sha=SHA, branch="trunk")),
        ("refs/heads/trunk", Revision(sha=SHA, branch="trunk")),
        ("both", Revision(sha=SHA, branch="both")),
        ("refs/tags/both", Revision(sha=OTHER, tag="both")),
        ("v1", Revision(sha=THIRD, tag="v1")),
        ("refs/pull/7/head", Revision(sha=SHA, pull_request="7")),
        ("pull/7/head", Revision(sha=SHA, pull_request="7")),
    ],
)
def test_what_a_server_lists_is_read(monkeypatch: pytest.MonkeyPatch, ref: str, found: Revision) -> None:
    monkeypatch.setattr(git_origin, "ask_server", lambda *_: LISTED)
    asked = git_origin.revision(GitContext(address=HTTPS, ref=ref), {})
    assert asked == replace(found, default_branch="trunk")


@pytest.mark.parametrize("ref", ["y", "absent", "heads/x/y", "a1b2c3d"])
def test_a_ref_that_is_not_there_is_no_other(monkeypatch: pytest.MonkeyPatch, ref: str) -> None:
    monkeypatch.setattr(git_origin, "ask_server", lambda *_: LISTED)
    with pytest.raises(UsageError) as refused:
        git_origin.revision(GitContext(address=HTTPS, ref=ref), {})
    assert refused.value.code == "remote-ref-absent"


@pytest.mark.parametrize("separator", ["\u2028", "\x85", "\r", "\x1c"])
def test_a_name_that_holds_what_looks_like_an_end_of_line_is_one_name(
    monkeypatch: pytest.MonkeyPatch, separator: str
) -> None:
    said = f"{SHA}\trefs/heads/x{separator}else/refs/heads/v2"
    monkeypatch.setattr(git_origin, "ask_server", lambda *_: said)
    with pytest.raises(UsageError) as refused:
        git_origin.revision(GitContext(address=HTTPS, ref="v2"), {})
    assert refused.value.code == "remote-ref-absent"
    monkeypatch.setattr(git_origin, "ask", lambda *_: HTTPS)
    monkeypatch.setattr(git_origin, "ask_server", lambda *_: f"{SHA}\trefs/heads/x{separator}refs/heads/main\n")
    assert git_origin.branches(None, {}) == (f"x{separator}refs/heads/main",)


@pytest.mark.parametrize("name", ["ev\x1b[31mil", "a\u2028b", "a\x9bb"])
def test_a_branch_that_no_ci_could_name_is_none(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(git_origin, "ask_server", lambda *_: f"ref: refs/heads/{name}\tHEAD\n{SHA}\tHEAD\n")
    assert git_origin.revision(GitContext(address=HTTPS), {}) == Revision(sha=SHA)


REVISION = Revision(sha=SHA, branch="topic", default_branch="trunk")


@pytest.mark.parametrize("ci", [LAPTOP, CI_MAIN, CI_FORK], ids=["laptop", "ci", "fork"])
def test_nothing_of_the_work_tree_is_told_of_another_repository(ci: CIContext) -> None:
    found = ci.at(REVISION)
    assert (found.sha, found.branch, found.tag, found.pull_request) == (SHA, "topic", None, None)
    assert (found.target_branch, found.default_branch) == (None, "trunk")
    assert (found.provider, found.build, found.is_fork) == (ci.provider, ci.build, ci.is_fork)


def test_a_ci_knows_more_of_its_own_commit() -> None:
    assert CI_MAIN.at(Revision(sha=CI_MAIN.sha)) == CI_MAIN


@pytest.mark.parametrize(
    ("revision", "written"), [(REVISION, True), (Revision(sha=SHA), False), (Revision(), False)], ids=str
)
def test_the_cache_of_an_unknown_branch_is_only_read(revision: Revision, written: bool) -> None:  # noqa: FBT001 -- a table
    asked: dict[str, Any] = {"tag": [f"{APP}:1"], "push": True, "context": HTTPS}
    cache = make_plan(request_of(asked), LAPTOP.at(revision), CONTAINERD).cache
    assert bool(cache.exports) is written
    assert [entry.place for entry in cache.exports] == [f"{APP}:buildcache-topic"] * written


@pytest.mark.parametrize("field", ["sha", "short_sha", "branch", "tag", "pr"])
def test_a_template_without_a_value_is_refused(field: str) -> None:
    request = request_of({"tag": [f"{APP}:{{{field}}}"], "context": "https://example.com/app.tar.gz"})
    with pytest.raises(UsageError) as refused:
        make_plan(request, CI_MAIN.at(Revision()), CONTAINERD)
    assert refused.value.code == "template-field-empty"
