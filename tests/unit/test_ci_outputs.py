from __future__ import annotations

import io
import os
import re
import shlex
import string
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from buildx_cache.ci import PROVIDERS
from buildx_cache.ci.capabilities import (
    azure_command,
    azure_variable,
    export,
    github_command,
    heredoc,
    teamcity_message,
    teamcity_parameter,
    variable,
)
from buildx_cache.ci.providers import named
from buildx_cache.ci.step_outputs import Addition, Outputs, annotate, handed_on, outputs, write_outputs
from buildx_cache.report import BuilderReport, BuildReport, CacheReport, CIReport, ImageReport, StepCounts
from buildx_cache.request.options import CONFIG_FIELDS
from tests.faults.hostile import commands

DIGEST = f"sha256:{'ab12' * 16}"
PLATFORM_DIGEST = "sha256:" + "fe" * 32
PLATFORM_VALUES = (PLATFORM_DIGEST, f"linux/amd64@{PLATFORM_DIGEST}")
IMAGE_ID = f"sha256:{'cd34' * 16}"
TAGS = ("registry.example.com:5000/team/app:1.2", "[::1]:5000/app:feature__x-1.0_rc")
NAMES = (
    "digest",
    "platform-digest",
    "platform-digests",
    "image-id",
    "tags",
    "hit-ratio",
    "steps-cached",
    "steps-total",
)

HOSTILE = (
    "two\nlines",
    "carriage\rreturn",
    "both\r\nof them",
    "\n",
    "ends\n",
    "x\nBUILDX_CACHE_TAGS=evil",
    "x\ntags=evil",
    "x\ntags<<EOF\nevil\nEOF",
    "EOF",
    "x\nexport PATH=/evil",
    "$(touch /tmp/evil)",
    "`touch /tmp/evil`",
    "$HOME ${HOME} $$",
    "'; touch /tmp/evil; '",
    '"; touch /tmp/evil; "',
    'it\'s "quoted"',
    "\\",
    "\\n \\' \\",
    "a && b | c > d",
    "!history ~ * ? {a,b}",
    "# comment",
    "::set-output name=tags::evil",
    "x\n::set-env name=PATH::/evil",
    "::stop-commands::token",
    "##vso[task.setvariable variable=PATH]/evil",
    "x\n##vso[task.complete result=Succeeded;]",
    "];isSecret=true;##vso[",
    "##[group]x",
    "100%",
    "%0A%0D%25%3B%5D%3A%2C%AZP25",
    "##teamcity[setParameter name='env.PATH' value='/evil']",
    "x' value='evil",
    "|n|r|'|[|]||0x0041",
    "%env.TOKEN%",
    "$(System.AccessToken)",
    "${{ secrets.TOKEN }}",
    "\x1b[2J\x1b]0;title\x07",
    "nul\x00byte",
    "\x85\u2028\u2029\x0b\x0c",
    "bidi \u202e and zero\u200bwidth",
    "naïve 🐳",
    "lone \ud800 surrogate",
    " leading and trailing ",
    "tab\there",
    "-rf",
    "a,b",
    "=",
)
HARMLESS = ("EOF",)
"""Hostile only to those who choose their words badly."""


def report(provider: str = "none", image: ImageReport | None = None, ratio: float | None = 5 / 6) -> BuildReport:
    return BuildReport(
        status="success",
        exit_code=0,
        started="2025-01-01T00:00:00.000Z",
        seconds=1.0,
        images={
            "default": image
            or ImageReport(digest=DIGEST, platform_digests={"linux/amd64": PLATFORM_DIGEST}, tags=TAGS, pushed=True)
        },
        builder=BuilderReport(name="b", driver="docker", buildkit="", created=False),
        ci=CIReport(provider=provider, branch=None, sha=None, pull_request=None, is_fork=False),
        cache=CacheReport(
            mode="max",
            scope="main",
            read_only=False,
            steps=StepCounts(total=7, cached=5, executed=1),
            hit_ratio=ratio,
        ),
    )


# --- what the CIs do with what they are given, after their own sources ---------------------------------------------


def read_github_file(text: str) -> dict[str, str]:
    """``SetOutputFileCommand`` of actions/runner."""
    lines, found = text.split("\n"), dict[str, str]()
    assert lines.pop() == ""
    while lines:
        head = lines.pop(0)
        if not head:
            continue
        name, _, end = head.partition("<<")
        assert name
        assert end
        assert "=" not in name
        length = lines.index(end)
        found[name] = "\n".join(lines[:length])
        del lines[: length + 1]
    return found


def read_azure_line(line: str) -> tuple[str, dict[str, str], str]:
    """``Command.TryParse`` of microsoft/azure-pipelines-agent, which finds a command anywhere in a line."""
    prefix = "##vso["
    start = line.index(prefix) + len(prefix)
    stop = line.index("]", start)
    name, _, listed = line[start:stop].partition(" ")
    pairs = (pair.split("=", 1) for pair in listed.split(";") if pair)
    return name, {key: _unescape_azure(value) for key, value in pairs}, _unescape_azure(line[stop + 1 :])


def _unescape_azure(text: str) -> str:
    for escape, character in (("%3B", ";"), ("%0D", "\r"), ("%0A", "\n"), ("%5D", "]"), ("%AZP25", "%")):
        text = text.replace(escape, character)
    return text


def read_github_line(line: str) -> tuple[str, dict[str, str], str]:
    """``ActionCommand.TryParseV2`` of actions/runner."""
    assert line.startswith("::")
    head, message = line[2:].split("::", 1)
    name, _, listed = head.partition(" ")
    pairs = (pair.split("=", 1) for pair in listed.split(",") if pair)
    properties = {
        key: value.replace("%0D", "\r").replace("%0A", "\n").replace("%3A", ":").replace("%2C", ",").replace("%25", "%")
        for key, value in pairs
    }
    return name, properties, message.replace("%0D", "\r").replace("%0A", "\n").replace("%25", "%")


def read_teamcity_line(line: str) -> tuple[str, dict[str, str]]:
    """TeamCity's "Service Messages"; every quote, bracket and bar that is not escaped has a meaning."""
    value = r"(?:[^'|\[\]\n\r]|\|(?:[nr'|\[\]]|0x[0-9a-f]{4}))*"
    whole = re.fullmatch(rf"##teamcity\[(\w+)((?: \w+='{value}')*)\]", line)
    assert whole, line
    pairs = re.findall(rf" (\w+)='({value})'", whole[2])
    return whole[1], {key: _unescape_teamcity(text) for key, text in pairs}


def _unescape_teamcity(text: str) -> str:
    simple = {"n": "\n", "r": "\r", "'": "'", "|": "|", "[": "[", "]": "]"}
    units = re.sub(
        r"\|(?:0x([0-9a-f]{4})|(.))", lambda found: chr(int(found[1], 16)) if found[1] else simple[found[2]], text
    )
    return units.encode("utf-16-be", "surrogatepass").decode("utf-16-be", "surrogatepass")


def read_dotenv(text: str) -> dict[str, str]:
    """``ParseDotenvArtifactService`` of GitLab: a line that is no assignment, an empty one too, fails the upload."""
    found = dict[str, str]()
    for line in text.removesuffix("\n").split("\n"):
        match = re.fullmatch(r"(.*?)=(.*)", line)
        assert match, line
        found[match[1].strip()] = match[2].strip()
    return found


def read_exports(text: str) -> dict[str, str]:
    words = shlex.split(text)
    assert words[::2] == ["export"] * (len(words) // 2)
    return dict(word.split("=", 1) for word in words[1::2])


def read_azure(lines: tuple[str, ...]) -> dict[str, str]:
    read = [read_azure_line(line) for line in lines]
    assert {name for name, _, _ in read} == {"task.setvariable"}
    return {properties["variable"]: value for _, properties, value in read}


def read_teamcity(lines: tuple[str, ...]) -> dict[str, str]:
    read = [read_teamcity_line(line) for line in lines]
    assert {name for name, _ in read} == {"setParameter"}
    return {attributes["name"].removeprefix("env."): attributes["value"] for _, attributes in read}


def only_text(made: Outputs) -> str:
    (file,) = made.files
    assert made.lines == ()
    return file.text


READERS: Mapping[str, Callable[[Outputs], Mapping[str, str]]] = {
    "github": lambda made: read_github_file(only_text(made)),
    "circleci": lambda made: read_exports(only_text(made)),
    "azure": lambda made: read_azure(made.lines),
    "teamcity": lambda made: read_teamcity(made.lines),
    "gitlab": lambda made: read_dotenv(only_text(made)),
    "buildkite": lambda made: read_dotenv(only_text(made)),
}
ENV = {"GITHUB_OUTPUT": "/runner/output", "BASH_ENV": "/tmp/env"}


def made_for(provider: str, given: BuildReport, image_id: str = IMAGE_ID) -> Outputs:
    return outputs(given, ENV, image_id=image_id, dotenv="" if named(provider).outputs else "build.env")


def spelled(provider: str, values: Mapping[str, str]) -> Mapping[str, str]:
    return {name if provider == "github" else variable(name): value for name, value in values.items()}


# --- values --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("provider", READERS)
def test_every_ci_reads_the_values(provider: str) -> None:
    made = made_for(provider, report(provider))
    separator = "\n" if provider == "github" else ","
    values = (DIGEST, *PLATFORM_VALUES, IMAGE_ID, separator.join(TAGS), "0.833", "5", "7")
    assert READERS[provider](made) == spelled(provider, dict(zip(NAMES, values, strict=True)))
    assert made.warnings == ()


@pytest.mark.parametrize("provider", READERS)
def test_what_there_is_not_is_set_to_nothing(provider: str) -> None:
    failed = report(provider, ImageReport(tags=TAGS), ratio=None)
    made = made_for(provider, failed, image_id="")
    assert READERS[provider](made) == spelled(
        provider, dict.fromkeys(NAMES, "") | {"steps-cached": "5", "steps-total": "7"}
    )


def test_of_several_platforms_each_digest_is_told_with_its_own() -> None:
    image = ImageReport(digest=DIGEST, platform_digests={"linux/amd64": PLATFORM_DIGEST, "linux/arm64/v8": DIGEST})
    told = read_exports(only_text(made_for("circleci", report("circleci", image))))
    assert told["BUILDX_CACHE_PLATFORM_DIGEST"] == ""
    both = f"linux/amd64@{PLATFORM_DIGEST},linux/arm64/v8@{DIGEST}"
    assert told["BUILDX_CACHE_PLATFORM_DIGESTS"] == both


def test_each_target_tells_its_image() -> None:
    base = report("circleci", ImageReport(digest=DIGEST, tags=TAGS[:1], pushed=True))
    more = ImageReport(digest=PLATFORM_DIGEST, tags=("registry.example.com/api:1",), loaded=True)
    told = read_exports(only_text(made_for("circleci", replace(base, images={**base.images, "api": more}))))
    assert told["BUILDX_CACHE_DIGEST"] == f"{DIGEST},{PLATFORM_DIGEST}"
    assert told["BUILDX_CACHE_TAGS"] == f"{TAGS[0]},registry.example.com/api:1"


@pytest.mark.parametrize("provider", READERS)
def test_a_prefix_keeps_the_values_of_two_images_apart(provider: str) -> None:
    env, dotenv = ENV, "" if named(provider).outputs else "build.env"
    made = outputs(report(provider), env, image_id=IMAGE_ID, dotenv=dotenv, prefix="api")
    plain = READERS[provider](made_for(provider, report(provider)))
    assert READERS[provider](made) == {
        name.replace("BUILDX_CACHE_", "BUILDX_CACHE_API_") if provider != "github" else f"api-{name}": value
        for name, value in plain.items()
    }
    assert set(handed_on(dict.fromkeys(map(variable, ("digest", "api-image-id", "cach")), "x"))) == {
        "BUILDX_CACHE_DIGEST",
        "BUILDX_CACHE_API_IMAGE_ID",
    }


def test_tags_of_a_loaded_image_are_told_too() -> None:
    made = made_for("circleci", report("circleci", ImageReport(tags=TAGS, loaded=True)))
    assert read_exports(only_text(made))["BUILDX_CACHE_TAGS"] == ",".join(TAGS)


@pytest.mark.parametrize(("ratio", "told"), [(0.0, "0.0"), (1.0, "1.0"), (2 / 3, "0.667"), (None, "")])
def test_the_ratio_is_that_of_the_report(ratio: float | None, told: str) -> None:
    made = made_for("gitlab", report("gitlab", ratio=ratio))
    assert read_dotenv(only_text(made))["BUILDX_CACHE_HIT_RATIO"] == told


def test_no_value_is_taken_for_an_option_by_a_later_call() -> None:
    options = {f"BUILDX_CACHE_{name.upper()}" for name in CONFIG_FIELDS}
    assert options.isdisjoint(variable(name) for name in NAMES)


# --- hostile values ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", HOSTILE)
@pytest.mark.parametrize("provider", READERS)
def test_a_hostile_value_is_left_out_and_said_to_be(provider: str, value: str) -> None:
    image = ImageReport(digest=value, platform_digests={value: value}, tags=(TAGS[0], value), pushed=True)
    made = made_for(provider, report(provider, image), image_id=value)
    kept = value if value in HARMLESS else ""
    separator = "\n" if provider == "github" else ","
    both = f"{value}@{value}" if kept else ""
    values = (kept, kept, both, kept, separator.join(filter(None, (TAGS[0], kept))), "0.833", "5", "7")
    assert READERS[provider](made) == spelled(provider, dict(zip(NAMES, values, strict=True)))
    assert len(made.warnings) == (0 if kept else 5)
    assert all(warning.isascii() and warning.isprintable() for warning in made.warnings)


def test_only_what_references_and_figures_are_made_of_is_handed_on() -> None:
    allowed = set("_.:/@+[]-" + string.ascii_letters + string.digits)
    for character in map(chr, range(256)):
        made = made_for("azure", report("azure", ImageReport(digest=f"a{character}b")))
        assert (made.warnings == ()) == (character in allowed), character


@pytest.mark.parametrize("value", HOSTILE)
def test_each_way_keeps_a_hostile_value_inside_its_variable(value: str) -> None:
    following = heredoc("next", "y")
    assert read_github_file(f"{heredoc('x', value)}\n{following}\n") == {"x": value, "next": "y"}
    assert read_exports(export("X", value)) == {"X": value}
    for write, read in ((azure_variable, read_azure), (teamcity_parameter, read_teamcity)):
        line = write("X", value)
        assert not re.search(r"[\r\n]", line)
        assert read((line,)) == {"X": value}


@settings(max_examples=50)
@given(text=st.text(st.characters(codec=None), max_size=30), more=st.text("%|[];:,'\r\n0AZP253BD", max_size=30))
def test_commands_are_read_back(text: str, more: str) -> None:
    properties = {"file": text, "line": more} if text and more else {}
    assert read_github_line(github_command("warning", properties, text)) == ("warning", properties, text)
    assert read_azure_line(azure_command("task.x", properties, more)) == ("task.x", properties, more)
    assert read_azure_line(azure_command("task.x", {}, more)) == ("task.x", {}, more)
    assert read_teamcity_line(teamcity_message("x", {"a": text, "b": more})) == ("x", {"a": text, "b": more})


def test_the_end_of_a_github_value_is_another_every_time() -> None:
    ends = {heredoc("x", "y").splitlines()[-1] for _ in range(20)}
    assert len(ends) == 20


def test_the_end_of_a_github_value_is_not_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = iter(("guessed", "guessed", "other"))
    monkeypatch.setattr("secrets.token_hex", lambda _: next(tokens))
    written = heredoc("x", "end-guessed\ny<<end-guessed")
    assert read_github_file(f"{written}\n") == {"x": "end-guessed\ny<<end-guessed"}


# --- where to ------------------------------------------------------------------------------------------------------


def no_summary() -> str:
    raise AssertionError("the summary was made for nothing")


@pytest.mark.parametrize("provider", [*(row.name for row in PROVIDERS), "none"])
def test_nothing_happens_where_the_ci_names_no_file(provider: str) -> None:
    made = outputs(report(provider), {}, image_id="; evil", summary=no_summary)
    assert made.files == ()
    assert bool(made.lines) == (provider in {"azure", "teamcity"})
    assert bool(made.warnings) == bool(made.lines)


@pytest.mark.parametrize("provider", ["none", "gitlab", "jenkins"])
def test_the_variables_of_another_ci_do_not_count(provider: str) -> None:
    env = {**ENV, "GITHUB_STEP_SUMMARY": "/runner/summary"}
    assert outputs(report(provider), env, summary=no_summary) == Outputs()


def test_a_dotenv_file_comes_on_top() -> None:
    made = outputs(report("github"), {**ENV, "GITHUB_STEP_SUMMARY": "/s"}, dotenv="a.env", summary=lambda: "# Built\n")
    assert [(file.name, file.path, file.limit) for file in made.files] == [
        ("GITHUB_OUTPUT", "/runner/output", None),
        ("GITHUB_STEP_SUMMARY", "/s", 1024 * 1024),
        ("--dotenv", "a.env", None),
    ]
    assert made.files[1].text == "\n# Built\n"


def test_gitlab_takes_a_dotenv_file_of_less_than_5_kib() -> None:
    (file,) = outputs(report("gitlab"), {}, dotenv="a.env").files
    assert file.limit == 5119
    assert len(read_dotenv(file.text)) <= 20


# --- writing -------------------------------------------------------------------------------------------------------


def written(path: Path, text: str = "B=2\n", limit: int | None = None) -> tuple[str, ...]:
    return write_outputs(Outputs(files=(Addition(name="F", path=str(path), text=text, limit=limit),)), io.StringIO())


@pytest.mark.parametrize(
    ("before", "after"),
    [(None, "B=2\n"), ("", "B=2\n"), ("A=1\n", "A=1\nB=2\n"), ("A=1", "A=1\nB=2\n"), ("\n", "\nB=2\n")],
)
def test_a_file_is_appended_to_at_the_start_of_a_line(tmp_path: Path, before: str | None, after: str) -> None:
    path = tmp_path / "env"
    if before is not None:
        path.write_text(before)
    assert written(path) == ()
    assert path.read_text() == after


def test_two_builds_of_a_job_add_up(tmp_path: Path) -> None:
    path = tmp_path / "out"
    for image in (ImageReport(digest=DIGEST), ImageReport()):
        made = outputs(report("github", image), {"GITHUB_OUTPUT": str(path)})
        assert write_outputs(made, io.StringIO()) == ()
    assert f"\n{path.read_text()}".count("\ndigest<<") == 2
    assert read_github_file(path.read_text())["digest"] == ""


@pytest.mark.parametrize(("limit", "fits"), [(8, True), (7, False)])
def test_what_would_not_be_taken_is_not_written(tmp_path: Path, limit: int, *, fits: bool) -> None:
    path = tmp_path / "env"
    path.write_text("A=1")
    warnings = written(path, limit=limit)
    assert path.read_text() == ("A=1\nB=2\n" if fits else "A=1")
    assert bool(warnings) != fits
    assert all("larger than 7 B" in warning for warning in warnings)


def test_a_symbolic_link_is_not_followed(tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_text("A=1\n")
    link.symlink_to(target)
    assert written(link) == (f"F: nothing was written to {link}: it is a symbolic link",)
    assert target.read_text() == "A=1\n"


def test_a_dangling_link_makes_no_file(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "target")
    assert written(tmp_path / "link")
    assert not (tmp_path / "target").exists()


def test_a_pipe_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert written(tmp_path / "pipe") == (f"F: nothing was written to {tmp_path}/pipe: it is not a regular file",)


@pytest.mark.parametrize("path", ["/dev/null", "/", "/nonexistent/env", "a\0b", "/dev/null/env"])
def test_what_cannot_be_written_is_a_warning(path: str) -> None:
    (warning,) = written(Path(path))
    assert warning.startswith(f"F: nothing was written to {path}: ")
    assert not warning.endswith("None")


def test_one_file_that_cannot_be_written_keeps_no_other_from_it(tmp_path: Path) -> None:
    files = tuple(Addition(name="F", path=str(path), text="x\n") for path in (tmp_path, tmp_path / "good"))
    log = io.StringIO()
    warnings = write_outputs(Outputs(files=files, lines=("##vso[x]", "y"), warnings=("told before",)), log)
    assert (tmp_path / "good").read_text() == "x\n"
    assert warnings[0] == "told before"
    assert len(warnings) == 2
    assert log.getvalue() == "##vso[x]\ny\n"


def test_any_text_can_be_written(tmp_path: Path) -> None:
    assert written(tmp_path / "summary", "\ud800 ✅\n") == ()
    assert (tmp_path / "summary").read_text() == "\\ud800 ✅\n"


# --- annotations ---------------------------------------------------------------------------------------------------

WARNING = "InvalidDefaultArgInFrom: Default value for ARG $A results in empty base image name (Dockerfile:2)"
FOUND = WARNING.removesuffix(" (Dockerfile:2)")


def test_github_shows_a_warning_at_its_line() -> None:
    (line,) = annotate("github", [WARNING], "docker/app/Dockerfile")
    assert read_github_line(line) == ("warning", {"file": "docker/app/Dockerfile", "line": "2"}, FOUND)


def test_azure_shows_a_warning_at_its_line() -> None:
    (line,) = annotate("azure", [WARNING], "Dockerfile")
    place = {"type": "warning", "sourcepath": "Dockerfile", "linenumber": "2"}
    assert read_azure_line(line) == ("task.logissue", place, FOUND)


@pytest.mark.parametrize("provider", [*sorted({row.name for row in PROVIDERS} - {"github", "azure"}), "none"])
def test_other_cis_have_no_annotations(provider: str) -> None:
    assert annotate(provider, [WARNING], "Dockerfile") == ()


@pytest.mark.parametrize(
    ("text", "message", "place"),
    [
        ("Finding (other.Dockerfile:12)", "Finding", {"file": "other.Dockerfile", "line": "12"}),
        ("Finding (did you mean x) (Dockerfile:3)", "Finding (did you mean x)", {"file": "a/Dockerfile", "line": "3"}),
        ("Finding (Dockerfile)", "Finding (Dockerfile)", {}),
        ("Finding (Dockerfile:0)", "Finding (Dockerfile:0)", {}),
        ("Two\n  lines\r\n(Dockerfile:4)", "Two lines", {"file": "a/Dockerfile", "line": "4"}),
        ("Finding (line 3)", "Finding (line 3)", {}),
        ("Finding", "Finding", {}),
        ("", "", {}),
    ],
)
def test_a_place_is_read_where_there_is_one(text: str, message: str, place: Mapping[str, str]) -> None:
    (line,) = annotate("github", [text], "a/Dockerfile")
    assert read_github_line(line) == ("warning", place, message)


@pytest.mark.parametrize("value", HOSTILE)
@pytest.mark.parametrize("form", ["{}", "{} (Dockerfile:2)", "x ({}:2)"])
def test_a_hostile_warning_stays_one_annotation(form: str, value: str) -> None:
    text = form.format(value)
    (github,), (azure,) = annotate("github", [text], "Dockerfile"), annotate("azure", [text], "Dockerfile")
    for ci, line in (("github", github), ("azure", azure)):
        assert not re.search(r"[\x00-\x08\x0a-\x1f\x7f-\x9f]", line)
        assert len([*commands(ci, line)]) == 1
    name, properties, message = read_github_line(github)
    assert name == "warning"
    assert properties.keys() <= {"file", "line"}
    name, azures, same = read_azure_line(azure)
    assert name == "task.logissue"
    assert azures.pop("type") == "warning"
    assert azures.keys() <= {"sourcepath", "linenumber"}
    assert [*azures.values(), same] == [*properties.values(), message]


def test_a_warning_tells_no_secret() -> None:
    (line,) = annotate("github", ["fetched https://user:hunter2@example.com/x (Dockerfile:1)"], "Dockerfile")
    assert "hunter2" not in line
