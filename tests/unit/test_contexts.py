"""Cache folders that are part of what is sent as build context, and what keeps them out of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from buildx_cache.request.build_request import BuildRequest
from buildx_cache.request.contexts import context_notes


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to build in, with a build context `app` and another folder beside it."""
    for name in ("app", "other"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def note(folder: str, context: str, line: str, ignore: str) -> str:
    return (
        f"the cache folder {folder} is in the build context {context}: `COPY . .` copies it, is never cached, and "
        f"makes the folder grow; add `{line}` to {ignore}, or choose a folder outside of the context"
    )


@pytest.mark.usefixtures("project")
def test_a_folder_in_the_context_is_noted_with_the_line_that_keeps_it_out() -> None:
    folders = ("app/.cache", "app/a/b/../cache", "other", "app-cache", "/tmp")
    assert context_notes(BuildRequest(context="app"), folders) == (
        note("app/.cache", "app", ".cache*", "app/.dockerignore"),
        note("app/a/b/../cache", "app", "a/cache*", "app/.dockerignore"),
    )


def test_links_are_followed_to_where_they_lead(project: Path) -> None:
    (project / "app" / "out").symlink_to(project / "other")
    (project / "other" / "in").symlink_to(project / "app")
    assert context_notes(BuildRequest(context="app"), ("app/out/cache",)) == ()
    assert context_notes(BuildRequest(context="app"), ("other/in/cache",)) == (
        note("other/in/cache", "app", "cache*", "app/.dockerignore"),
    )


@pytest.mark.parametrize("context", ["-", "https://example.com/app.git", "git@example.com:app.git"])
@pytest.mark.usefixtures("project")
def test_a_context_that_is_not_here_holds_no_cache(context: str) -> None:
    assert context_notes(BuildRequest(context=context), ("app/.cache",)) == ()


@pytest.mark.usefixtures("project")
def test_the_context_itself_can_only_be_left() -> None:
    (told,) = context_notes(BuildRequest(context="app"), ("app",))
    assert told.endswith("makes the folder grow; choose a folder outside of the context")


def test_named_contexts_are_sent_too(project: Path) -> None:
    named = ("base=docker-image://alpine", "src=other", "again=other", "empty=", "absent=nowhere")
    request = BuildRequest(context="-", build_context=named)
    assert context_notes(request, ("other/c",)) == (note("other/c", "other", "c*", "other/.dockerignore"),)
    (project / "other" / ".dockerignore").write_text("c*\n")
    assert context_notes(request, ("other/c",)) == ()


@pytest.mark.parametrize(
    ("file", "own"),
    [("", "app/Dockerfile.dockerignore"), ("other/Special", "other/Special.dockerignore")],
    ids=["default", "given"],
)
def test_a_dockerfiles_own_ignore_file_comes_first(project: Path, file: str, own: str) -> None:
    (project / "app" / ".dockerignore").write_text(".cache*\n")
    request = BuildRequest(context="app", file=file)
    assert context_notes(request, ("app/.cache",)) == ()
    (project / own).write_text("nothing\n")
    assert context_notes(request, ("app/.cache",)) == (note("app/.cache", "app", ".cache*", own),)


IGNORED = {
    "line": ".cache*",
    "slash": "/.cache*/",
    "dots": "./.cache*",
    "separate": ".cache\n.cache-key",
    "contents": ".cache/**\n.cache-key",
    "entries": ".cache/*\n.cache-key",
    "anywhere": "**/.cache*",
    "anything": "*",
    "all": "**",
    "mark": "\ufeff# caches\n\n  .cache*  ",
    "listed": "*\n!src\n!*.py\n!.cached/x",
    "back-before": "!.cache\n.cache*",
}
SENT = {
    "nothing": "",
    "another": "cache\n.cache2\n.cache-*",
    "comment": "# .cache*",
    "without-the-key": ".cache",
    "one-file": ".cache/index.json\n.cache-key",
    "deeper": "*/.cache*",
    "back": ".cache*\n!.cache",
    "all-back": "*\n! .cache*",
    "part-back": "*\n!.cache/index.json",
    "kind-back": "*\n!**/*.json",
    "root": "/\n.",
}


@pytest.mark.parametrize("name", IGNORED)
def test_what_is_ignored_is_not_sent(project: Path, name: str) -> None:
    (project / "app" / ".dockerignore").write_text(IGNORED[name])
    assert context_notes(BuildRequest(context="app"), ("app/.cache",)) == ()


def test_gitlabs_recipe_of_the_docs_warns_of_nothing(project: Path) -> None:
    """A folder below the project, which is all that GitLab can cache."""
    recipe = (Path(__file__).parents[2] / "buildx_cache" / "docs" / "ci.md").read_text(encoding="utf-8")
    assert "--cache-dir .buildx-cache " in recipe
    assert "`.buildx-cache*` in `.dockerignore`" in recipe
    (project / ".dockerignore").write_text(".buildx-cache*\n")
    assert context_notes(BuildRequest(context="."), (".buildx-cache",)) == ()


@pytest.mark.parametrize("name", SENT)
def test_what_may_be_sent_is_noted(project: Path, name: str) -> None:
    (project / "app" / ".dockerignore").write_text(SENT[name])
    assert len(context_notes(BuildRequest(context="app"), ("app/.cache",))) == 1


@pytest.mark.parametrize("line", ["a", "a/cache*", "**/b/../cache*", "a/*", "**/b/cache*"])
def test_folders_below_others_are_ignored_with_them(project: Path, line: str) -> None:
    (project / "app" / ".dockerignore").write_text(line)
    noted = context_notes(BuildRequest(context="app"), ("app/a/cache",))
    assert bool(noted) is (line == "**/b/cache*")


def test_an_ignore_file_that_cannot_be_read_ignores_nothing(project: Path) -> None:
    (project / "app" / ".dockerignore").mkdir()
    assert len(context_notes(BuildRequest(context="app"), ("app/.cache",))) == 1


@pytest.mark.usefixtures("project")
def test_a_report_in_the_context_is_noted_with_its_option() -> None:
    request = BuildRequest(
        context="app", report="app/out/a.json", dotenv="app/.env", report_html="other/b.html", iidfile="app/id"
    )
    assert context_notes(request, ()) == tuple(
        f"{option} app/{file} is in the build context app, and every build changes it: `COPY . .` is never cached; "
        f"add `{file}` to app/.dockerignore, or choose a file outside of the context"
        for option, file in (("--report", "out/a.json"), ("--dotenv", ".env"), ("--iidfile", "id"))
    )


def test_a_report_that_is_left_out_of_the_context_is_not_noted(project: Path) -> None:
    (project / "app" / ".dockerignore").write_text("out\n*.env\n")
    request = BuildRequest(context="app", report="app/out/a.json", dotenv="app/a.env")
    assert context_notes(request, ()) == ()
