"""What is asked, what the CI tells and what is there → the exact command lines, in the order in which they run."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from buildx_cache.caches.backend import CacheKind, CacheMode, Compression
from buildx_cache.ci import CIContext
from buildx_cache.errors import EngineError, UsageError
from buildx_cache.plan import (
    Builder,
    BuildPlan,
    Facts,
    ImageStore,
    Node,
    Place,
    TlsEndpoint,
    make_plan,
    needed_builder,
)
from buildx_cache.plan.render import command_line, shell_line
from buildx_cache.redaction import Secret
from buildx_cache.request.build_request import NO_OPTIONS, BuildRequest, BuildxOptions, Driver, Lazy, Progress
from buildx_cache.request.sources import OptionLayer, make_request
from tests import golden as golden_files
from tests.golden import Golden

SHA = "83a20ec058e2fb00e7fa4558c4c6e81e2dcf253d"
APP = "registry.example.com/team/app"

# --- where a build runs ------------------------------------------------------------------------------------

LAPTOP = CIContext(
    provider="none",
    sha=SHA,
    branch="main",
    tag=None,
    pull_request=None,
    target_branch=None,
    default_branch="main",
    build=None,
)
CI_MAIN = replace(LAPTOP, provider="circleci", build="77")
CI_BRANCH = replace(CI_MAIN, branch="feature/login")
CI_PULL_REQUEST = replace(CI_BRANCH, pull_request="12", target_branch="release/2")
CI_QUEUE = replace(CI_BRANCH, branch="gh-readonly-queue/develop/pr-7-0123abc", queue_base="develop")
CI_FORK = replace(CI_PULL_REQUEST, is_fork=True)
CI_NOWHERE = replace(CI_MAIN, branch=None)
CI_TAG = replace(CI_MAIN, branch=None, tag="v1.2+rc1")
CI_SILENT = replace(CI_MAIN, branch=None, sha=None, default_branch=None, build=None)

# --- what is there -----------------------------------------------------------------------------------------

BUILDKIT = (0, 25, 0)
OLD_BUILDKIT = (0, 20, 2)


def builder(
    driver: str, *, status: str = "running", nodes: int = 1, buildkit: tuple[int, int, int] = BUILDKIT
) -> Builder:
    name = "default" if driver == "docker" else f"{driver}-builder"
    each = tuple(Node(name=f"{name}{index}", status=status, buildkit=buildkit) for index in range(nodes))
    return Builder(name=name, driver=driver, nodes=each)


CONTAINERD = Facts(
    docker="28.5.2",
    buildx=(0, 29, 1),
    store=ImageStore.CONTAINERD,
    context="default",
    place=Place(project="app-1a2b3c4d", cache_dir="/cache/app", today="2025-11-24"),
    builder=builder("docker"),
)
CLASSIC = replace(CONTAINERD, store=ImageStore.CLASSIC)
NO_BUILDER = replace(CONTAINERD, builder=None)
CONTAINER = replace(CLASSIC, builder=builder("docker-container"))
CONTAINER_STOPPED = replace(CLASSIC, builder=builder("docker-container", status="stopped"))
CONTAINER_OLD = replace(CLASSIC, builder=builder("docker-container", buildkit=OLD_BUILDKIT))
REMOTE = replace(CLASSIC, builder=builder("remote", nodes=2))
KUBERNETES = replace(CLASSIC, builder=builder("kubernetes"))
OWN_RUNNING = replace(CLASSIC, own_builder=builder("docker-container"))
OWN_STOPPED = replace(CLASSIC, own_builder=builder("docker-container", status="inactive"))
BUILDX_0_13 = replace(CLASSIC, buildx=(0, 13, 1), own_builder=builder("docker-container", buildkit=(0, 12, 5)))
ELSEWHERE = replace(CONTAINERD, context="elsewhere", builder=replace(builder("docker"), name="elsewhere"))
TLS = replace(CLASSIC, tls=TlsEndpoint(host="tcp://10.0.0.5:2376", cert_path="/certs"))
TLS_UNVERIFIED = replace(CLASSIC, tls=TlsEndpoint(host="tcp://10.0.0.5:2376", cert_path="/certs, mine", verify=False))
TLS_NAMED = replace(TLS, context="elsewhere")


@dataclass(frozen=True, kw_only=True)
class Case:
    file: str
    id: str
    asked: Mapping[str, object]
    ci: CIContext
    facts: Facts
    lines: list[str]


def request_of(asked: Mapping[str, object]) -> BuildRequest:
    return make_request([OptionLayer(where="--{name}", values=asked)])


def plan_of(asked: Mapping[str, object], ci: CIContext = LAPTOP, facts: Facts = CONTAINERD) -> BuildPlan:
    return make_plan(request_of(asked), ci, facts)


def lines_of(plan: BuildPlan) -> list[str]:
    return [shell_line(command_line(plan, step)) for _, step in plan.phases()]


TLS_CONTEXT = "buildx-cache-b4867651"

CI = {
    "main": CI_MAIN,
    "branch": CI_BRANCH,
    "pull-request": CI_PULL_REQUEST,
    "fork": CI_FORK,
    "queue": CI_QUEUE,
    "nowhere": CI_NOWHERE,
    "tag": CI_TAG,
    "silent": CI_SILENT,
}
FACTS = {
    "classic": CLASSIC,
    "no-builder": NO_BUILDER,
    "container": CONTAINER,
    "container-stopped": CONTAINER_STOPPED,
    "container-old": CONTAINER_OLD,
    "remote": REMOTE,
    "kubernetes": KUBERNETES,
    "own-running": OWN_RUNNING,
    "own-stopped": OWN_STOPPED,
    "buildx-0-13": BUILDX_0_13,
    "buildx-0-13-new": replace(BUILDX_0_13, own_builder=None),
    "buildx-0-17": replace(CONTAINER, buildx=(0, 17, 1)),
    "buildx-0-18": replace(CONTAINER, buildx=(0, 18, 0)),
    "elsewhere": ELSEWHERE,
    "elsewhere-classic": replace(ELSEWHERE, store=ImageStore.CLASSIC),
    "tls": TLS,
    "tls-unverified": TLS_UNVERIFIED,
    "tls-named": TLS_NAMED,
    "tls-taken": replace(TLS, contexts=("buildx-cache-app-1a2b3c4d-baaba426-b4867651",)),
    "tls-known": replace(TLS, contexts=("default", "buildx-cache-b4867651")),
    "tls-running": replace(TLS, own_builder=builder("docker-container")),
}


def cases_of(file: str) -> Iterator[Case]:
    """Read the cases of a golden file."""
    for id_, entry in golden_files.read(file).items():
        ci, facts = entry.get("ci"), entry.get("facts")
        yield Case(
            file=file,
            id=id_,
            asked=entry["asked"],
            ci=CI[ci] if ci else LAPTOP,
            facts=FACTS[facts] if facts else CONTAINERD,
            lines=golden_files.unwrapped(entry.get("lines", "")),
        )


LOST_CACHES = "command_lines/lost-caches"
CASES = tuple(case for file in golden_files.names("command_lines") if file != LOST_CACHES for case in cases_of(file))


def id_of(case: Case) -> str:
    return f"{case.file.rpartition('/')[2]}-{case.id}"


@pytest.mark.parametrize("case", CASES, ids=id_of)
def test_a_plan_is_exactly_these_command_lines(case: Case, golden: Golden) -> None:
    golden.check(
        case.file, case.id, {"lines": golden_files.wrapped(lines_of(plan_of(case.asked, case.ci, case.facts)))}
    )


# --- the build that writes lost caches again ---------------------------------------------------------------

REWRITES = tuple(cases_of(LOST_CACHES))


@pytest.mark.parametrize("case", REWRITES, ids=id_of)
def test_caches_that_were_lost_are_written_by_exactly_this_command(case: Case, golden: Golden) -> None:
    command = plan_of(case.asked, case.ci, case.facts).target.cache_build
    assert command is not None
    golden.check(case.file, case.id, {"lines": golden_files.wrapped([shell_line(("docker", *command.argv))])})


def test_the_command_that_writes_caches_again_has_the_secrets_of_the_build_in_its_environment() -> None:
    plan = plan_of({"build_arg": ["NPM_TOKEN=abc123"], "load": True})
    assert plan.target.cache_build is not None
    assert plan.target.cache_build.secrets == plan.target.build.secrets == (("NPM_TOKEN", Secret("abc123")),)


@pytest.mark.parametrize(
    ("asked", "facts"),
    [
        ({"cache": "none", "load": True}, CONTAINERD),
        ({"cache_read_only": True, "load": True}, CONTAINERD),
        ({"tag": [f"{APP}:1"], "push": True, "platform": ["linux/amd64", "linux/arm64"]}, REMOTE),
        ({"tag": [f"{APP}:1"], "push": True, "cache": "inline"}, CONTAINERD),
        ({"load": True, "buildx_flags": ["--build-arg", "V=1"]}, CONTAINERD),
    ],
    ids=["no-cache", "only-read", "a-cache-a-node", "a-part-of-the-image", "flags-that-are-not-understood"],
)
def test_where_the_build_writes_no_cache_none_is_written_again(asked: dict[str, object], facts: Facts) -> None:
    assert plan_of(asked, facts=facts).target.cache_build is None


def test_writing_caches_again_is_no_part_of_what_is_going_to_run() -> None:
    plan = plan_of({"load": True})
    assert plan.target.cache_build not in [command for _, command in plan.phases()]


# --- local folders -----------------------------------------------------------------------------------------


def test_every_export_is_among_the_written_ones() -> None:
    asked = {
        "tag": [f"{APP}:1"],
        "push": True,
        "platform": ["linux/amd64", "linux/arm64"],
        "cache_to": ["type=local,dest=c"],
    }
    cache = plan_of(asked, facts=REMOTE).cache
    assert [entry.place for entry in cache.written] == [
        "c",
        f"{APP}:buildcache-main-linux-amd64",
        f"{APP}:buildcache-main-linux-arm64",
    ]


def test_a_bound_of_a_local_folder_is_planned_in_bytes() -> None:
    assert plan_of({"load": True, "cache_max_size": "1.5GB"}).cache.max_size == 3 * 512 * 1024**2
    assert plan_of({"load": True}).cache.max_size is None


NO_FOLDER = "--cache-max-size bounds a local cache's folder, and this build writes none"


@pytest.mark.parametrize(
    ("asked", "noted"),
    [
        ({"load": True, "cache_max_size": "1GB"}, False),
        ({"load": True, "cache_max_size": "1GB", "cache_read_only": True}, True),
        ({"load": True, "cache_max_size": "0", "cache": "none"}, True),
        ({"tag": [f"{APP}:1"], "push": True, "cache_max_size": "1GB"}, True),
        ({"tag": [f"{APP}:1"], "push": True, "cache_max_size": "1GB", "cache_to": ["type=local,dest=c"]}, False),
        ({"load": True, "cache": "none"}, False),
    ],
)
def test_a_bound_without_a_local_folder_is_noted(asked: dict[str, object], noted: bool) -> None:  # noqa: FBT001 -- a table
    assert (NO_FOLDER in plan_of(asked).notes) is noted


@pytest.mark.parametrize(
    ("asked", "folders"),
    [
        ({"load": True, "cache_to": ["type=local,dest=c", "type=registry,ref=r"]}, ("/cache/app", "c")),
        ({"load": True, "cache_read_only": True}, ()),
        ({"tag": [f"{APP}:1"], "push": True}, ()),
        (
            {"cache": "local", "platform": ["linux/amd64", "linux/arm64"]},
            ("/cache/app/linux-amd64", "/cache/app/linux-arm64"),
        ),
    ],
    ids=["two", "only-read", "registry", "a-folder-a-node"],
)
def test_a_plan_knows_the_folders_it_writes(asked: dict[str, object], folders: tuple[str, ...]) -> None:
    assert plan_of(asked, facts=REMOTE).cache.written_folders == folders


ODD_FOLDERS: Mapping[str, tuple[Mapping[str, object], str]] = {
    "default": ({"load": True}, "/home/zoë/app"),
    "written": ({"load": True, "cache_dir": "größe"}, "größe"),
    "read": ({"load": True, "cache_dir": "c", "cache_from": ["type=local,src=größe"]}, "größe"),
    "added": ({"load": True, "cache_dir": "c", "cache_to": ["type=local,dest=a\tb"]}, "a\tb"),
}


@pytest.mark.parametrize("name", ODD_FOLDERS)
def test_a_folder_that_buildx_cannot_name_to_buildkit_is_noted(name: str) -> None:
    asked, folder = ODD_FOLDERS[name]
    facts = replace(CONTAINERD, place=replace(CONTAINERD.place, cache_dir="/home/zoë/app"))
    assert plan_of(asked, facts=facts).notes == (
        f"the cache folder {folder!r} is not used: Buildx takes only printable ASCII in its path; give another folder",
    )
    with pytest.raises(UsageError) as refused:
        plan_of({**asked, "strict_cache": True}, facts=facts)
    assert refused.value.message == (
        f"the cache folder {folder!r} cannot be used: Buildx takes only printable ASCII in its path"
    )
    assert refused.value.hint == "give another folder, or drop --strict-cache"


def test_only_folders_have_to_be_ascii() -> None:
    asked = {"load": True, "cache_dir": "a, ~b", "cache_from": ["type=gha,scope=größe"], "strict_cache": True}
    assert plan_of(asked).notes == ()


# --- the table is complete ---------------------------------------------------------------------------------

# How a build is shown and reported is no part of the command lines; the password's own variable is a shell's matter.
# A local folder is bounded by this program.
NOT_IN_ARGV = {
    *("timeout", "progress", "report", "report_html", "report_junit", "report_md", "dotenv", "verbose", "quiet"),
    *("no_color", "password_env", "password_stdin", "cache_max_size", "config", "trust_config"),
    *("output_prefix", "one_line", "default_branch"),
    *("lazy", "no_wait", "no_push_check"),  # plans name folders
}
FIELDS = {each.name: each.default for each in dataclasses.fields(BuildRequest) if each.name not in NO_OPTIONS}


def replaced(request: BuildRequest, name: str, value: Any) -> BuildRequest:  # noqa: ANN401 -- of any field
    return replace(request, **{name: value})


def lines_without(case: Case, name: str) -> list[str]:
    """What a case comes to if one thing were not asked, other checks aside."""
    try:
        return lines_of(make_plan(replaced(request_of(case.asked), name, FIELDS[name]), case.ci, case.facts))
    except (UsageError, EngineError):
        return []


@pytest.mark.parametrize("name", sorted(set(FIELDS) - NOT_IN_ARGV))
def test_every_option_that_decides_a_command_line_is_in_the_table(name: str) -> None:
    asking = [case for case in CASES if name in case.asked]
    assert any(lines_without(case, name) != case.lines for case in asking)


SHOWN: Mapping[str, object] = {
    "config": "x.toml",
    "no_wait": True,
    "no_push_check": True,
    "trust_config": True,
    "timeout": "10m",
    "progress": Progress.QUIET,
    "report": "report.json",
    "report_html": "report.html",
    "report_junit": "report.xml",
    "report_md": "report.md",
    "dotenv": "build.env",
    "output_prefix": "api",
    "default_branch": "trunk",
    "one_line": True,
    "verbose": True,
    "quiet": True,
    "no_color": True,
    "password_env": "OTHER",
    "password_stdin": True,
    "cache_max_size": "1GB",
    "lazy": Lazy.OFF,
}


@pytest.mark.parametrize("name", sorted(NOT_IN_ARGV))
def test_other_options_change_no_command_line(name: str) -> None:
    asked = {"tag": [f"{APP}:1"], "push": True, "username": "me", "password_env": "PASSWORD"}
    plain = request_of(asked)
    assert lines_of(make_plan(replaced(plain, name, SHOWN[name]), LAPTOP, CONTAINERD)) == lines_of(plan_of(asked))


@pytest.mark.parametrize("kind", [kind.value for kind in CacheKind])
def test_every_kind_of_cache_is_in_the_table(kind: str) -> None:
    assert any(case.asked.get("cache", "auto") == kind for case in CASES)


@pytest.mark.parametrize("kind", list(Driver))
def test_every_driver_is_in_the_table(kind: Driver) -> None:
    plans = [plan_of(case.asked, case.ci, case.facts).builder for case in CASES]
    assert {kind} <= {plan.driver for plan in plans}


# --- secrets -----------------------------------------------------------------------------------------------


def words_of(plan: BuildPlan) -> Iterator[str]:
    for _, command in plan.phases():
        yield from command.argv


def test_a_secret_build_argument_goes_by_the_environment() -> None:
    plan = plan_of(
        {
            "cache": "none",
            "build_arg": ["NPM_TOKEN=abc123", "DB_PASSWORD=a=b", "V=1", "API_KEY", "X_SECRET=", "P=http://me:abc123@p"],
        }
    )
    assert plan.target.build.argv == (
        *("buildx", "build", "--builder", "default"),
        *("--build-arg", "NPM_TOKEN", "--build-arg", "DB_PASSWORD", "--build-arg", "V=1"),
        *("--build-arg", "API_KEY", "--build-arg", "X_SECRET", "--build-arg", "P", "."),
    )
    assert plan.target.build.secrets == (
        ("NPM_TOKEN", Secret("abc123")),
        ("DB_PASSWORD", Secret("a=b")),
        ("X_SECRET", Secret("")),
        ("P", Secret("http://me:abc123@p")),
    )
    assert "abc123" not in repr(plan)


def test_the_builds_that_write_caches_by_platform_have_the_secrets_too() -> None:
    asked = {"cache": "local", "platform": ["linux/amd64", "linux/arm64"], "build_arg": ["NPM_TOKEN=abc123"]}
    plan = plan_of(asked, facts=REMOTE)
    assert [command.secrets for command in plan.target.node_exports] == [(("NPM_TOKEN", Secret("abc123")),)] * 2
    assert not any("abc123" in word for word in words_of(plan))


# --- values that look like options -------------------------------------------------------------------------

VALUED = [each.name for each in dataclasses.fields(BuildxOptions) if each.default is not False]
OPTIONS = ("--iidfile", "--metadata-file", "--load", "--push", "--cache-from", "--output", "-")


@pytest.mark.parametrize("name", [*VALUED, "build_arg", "output"])
def test_no_value_is_a_word_that_is_an_option(name: str) -> None:
    is_list = isinstance(FIELDS[name], tuple)
    for option in OPTIONS:
        if (name, option) in {("file", "-"), ("output", "-")}:
            continue
        plan = plan_of({"cache": "none", name: [option] if is_list else option})
        assert option not in plan.target.build.argv
        assert [word for word in plan.target.build.argv if word.endswith(f"={option}")] != []


def test_stdin_is_read_for_a_dockerfile_alone() -> None:
    assert "-" in plan_of({"cache": "none", "file": "-"}).target.build.argv
    assert "-" not in plan_of({"cache": "none", "output": ["-"]}).target.build.argv


# --- what a fork's build does not push ---------------------------------------------------------------------

FOLLOWS_FORK = replace(CI_MAIN, is_fork=True)


@pytest.mark.parametrize("pushing", [{"push": True}, {"output": ["type=registry"]}, {"buildx_flags": ("--push",)}])
@pytest.mark.parametrize(
    ("ci", "field"),
    [(CI_FORK, "branch"), *((replace(FOLLOWS_FORK, tag="v1"), each) for each in ("branch", "tag", "sha", "short_sha"))],
)
def test_a_fork_takes_no_tag_of_another_build(ci: CIContext, field: str, pushing: dict[str, Any]) -> None:
    asked = {"tag": [f"{APP}:1", f"{APP}:x-{{{field}}}"], "cache": "none"}
    with pytest.raises(UsageError):
        plan_of({**asked, **pushing}, ci=ci)
    assert plan_of({**asked, "load": True, "buildx_flags": ("--add-host", "registry:1.2.3.4")}, ci=ci).target.image.tags
    assert plan_of({**asked, **pushing}, ci=replace(ci, is_fork=False)).target.image.tags


@pytest.mark.parametrize("branch", ["pull/7", "pull/7/head", "them:main"])
def test_a_fork_whose_branch_the_ci_names_has_that_for_a_tag(branch: str) -> None:
    ci = replace(CI_FORK, branch=branch)
    assert plan_of({"tag": [f"{APP}:{{branch}}"], "push": True}, ci=ci).target.image.tags != (f"{APP}:main",)


@pytest.mark.parametrize("field", ["pr", "sha", "short_sha", "date", "build"])
def test_a_fork_has_tags_of_its_own(field: str) -> None:
    assert plan_of({"tag": [f"{APP}:{{{field}}}"], "push": True}, ci=CI_FORK).target.image.tags


@pytest.mark.parametrize(
    ("ci", "asked", "is_apart"),
    [
        (CI_MAIN, {}, False),
        (CI_PULL_REQUEST, {}, False),
        (LAPTOP, {"cache_read_only": True}, False),
        (CI_FORK, {"cache_read_only": False}, False),  # the caller trusts it
        (CI_FORK, {}, True),
        (CI_FORK, {"cache_read_only": True}, True),
        (replace(CI_MAIN, is_fork=True), {}, True),
        (replace(LAPTOP, is_fork=True), {}, True),
        (CI_PULL_REQUEST, {"cache_read_only": True}, True),  # where the CI tells of no fork
    ],
)
def test_a_build_that_only_reads_caches_shares_no_builder(
    ci: CIContext,
    asked: dict[str, object],
    is_apart: bool,  # noqa: FBT001 -- a table
) -> None:
    usual = plan_of({}, CI_BRANCH, CLASSIC).builder.name
    asked = {**asked, "cache": "local"}
    plan = plan_of(asked, ci, CLASSIC)
    assert plan.builder.owned
    assert (plan.builder.name != usual) is is_apart
    assert needed_builder(request_of(asked), ci, CLASSIC) == plan.builder.name
    assert plan.builder.name == plan_of(asked, replace(ci, sha="e" * 40), CLASSIC).builder.name


# --- what is refused ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "ci", "facts", "message", "hint"),
    [
        pytest.param(
            {"tag": ["app:{branch}"]},
            CI_TAG,
            CONTAINERD,
            "the tag 'app:{branch}' needs {branch}, which this build does not have",
            "a detached checkout or a tag's build has no branch: use {short_sha} or {tag}",
            id="template-branch",
        ),
        pytest.param(
            {"tag": ["app:{tag}"]},
            LAPTOP,
            CONTAINERD,
            "the tag 'app:{tag}' needs {tag}, which this build does not have",
            "only a tag's build has one: use {short_sha} for the others",
            id="template-tag",
        ),
        pytest.param(
            {"tag": ["app:{pr}"]},
            CI_MAIN,
            CONTAINERD,
            "the tag 'app:{pr}' needs {pr}, which this build does not have",
            "only a pull request's build has one: use {branch} for the others",
            id="template-pull-request",
        ),
        pytest.param(
            {"tag": ["app:{build}"]},
            LAPTOP,
            CONTAINERD,
            "the tag 'app:{build}' needs {build}, which this build does not have",
            "only a CI numbers its builds: use {short_sha} elsewhere",
            id="template-build",
        ),
        pytest.param(
            {"tag": ["app:{short_sha}"]},
            CI_SILENT,
            CONTAINERD,
            "the tag 'app:{short_sha}' needs {short_sha}, which this build does not have",
            "build inside a git work tree with a commit, or in a CI",
            id="template-short-sha",
        ),
        pytest.param(
            {"tag": ["app:{sha}"]},
            CI_SILENT,
            CONTAINERD,
            "the tag 'app:{sha}' needs {sha}, which this build does not have",
            "build inside a git work tree with a commit, or in a CI",
            id="template-sha",
        ),
        *(
            pytest.param(
                {"tag": [f"app:{template}"]},
                replace(CI_MAIN, branch=branch, tag=branch),
                CONTAINERD,
                f"the tag 'app:{template}' makes {tag!r} here: tags that begin with buildcache- are caches",
                "rename the branch or tag, or write something before the field: REPOSITORY:branch-{branch}",
                id=f"template-a-caches-tag-{template}",
            )
            for template, branch, tag in (
                ("{branch}", "buildcache-main", "buildcache-main"),
                ("{tag}", "buildcache-main", "buildcache-main"),
                ("{branch}-{tag}", "buildcache-", "buildcache--buildcache-"),
                ("build{branch}", "cache/main", "buildcache-main"),
            )
        ),
        pytest.param(
            {"tag": ["app:{brnch}"]},
            LAPTOP,
            CONTAINERD,
            "the tag 'app:{brnch}' has an unknown field {brnch}",
            "did you mean 'branch'?",
            id="template-misspelt",
        ),
        pytest.param(
            {"tag": ["app:{}"]},
            LAPTOP,
            CONTAINERD,
            "the tag 'app:{}' has an unknown field {}",
            "use one of: sha, short_sha, branch, tag, pr, build, date",
            id="template-empty",
        ),
        pytest.param(
            {"tag": ["registry.example.com/app-{branch}:1"]},
            replace(LAPTOP, branch="Main"),  # it is not main
            CONTAINERD,
            "'registry.example.com/app-Main:1' is not an image reference of the tag "
            "'registry.example.com/app-{branch}:1'",
            "write the repository's name in lower case",
            id="tag-in-upper-case",
        ),
        pytest.param(
            {"tag": ["app@sha256:" + "0" * 64]},
            LAPTOP,
            CONTAINERD,
            f"the tag 'app@sha256:{'0' * 64}' holds a digest",
            "a digest is the build's result: leave it out",
            id="tag-with-a-digest",
        ),
        pytest.param(
            {"cache": "registry"},
            LAPTOP,
            CONTAINERD,
            "--cache registry has no repository to keep the cache in",
            "give -t REGISTRY/REPOSITORY:TAG, or --cache-ref REGISTRY/REPOSITORY",
            id="registry-without-a-repository",
        ),
        pytest.param(
            {"cache": "registry", "cache_ref": "https://registry.example.com/c"},
            LAPTOP,
            CONTAINERD,
            "'https://registry.example.com/c' is not an image reference",
            "leave out the scheme: HOST/REPOSITORY:TAG",
            id="cache-ref-with-a-scheme",
        ),
        pytest.param(
            {"load": True, "platform": ["linux/amd64", "linux/arm64"]},
            LAPTOP,
            CLASSIC,
            "--load of several platforms needs an engine with the containerd image store",
            "load one platform, or --push, or turn the engine's containerd image store on",
            id="load-of-several-platforms",
        ),
        pytest.param(
            {"builder": "default", "cache": "registry", "tag": [f"{APP}:1"]},
            LAPTOP,
            CLASSIC,
            "the builder 'default' (driver docker, classic image store) cannot export such a cache",
            "leave out --builder to have a docker-container builder made",
            id="classic-builder-cannot-export",
        ),
        *(
            pytest.param(
                {"driver": "docker", "cache": "none", "tag": ["app"], **asked},
                LAPTOP,
                CLASSIC,
                f"--driver docker on the classic image store {reason}",
                "use --driver docker-container, or turn on the engine's containerd image store",
                id=f"classic-driver-{next(iter(asked))}",
            )
            for asked, reason in (
                ({"cache_dir": "c", "cache": "local"}, "cannot export such a cache"),
                ({"platform": ["linux/amd64", "linux/arm64"]}, "cannot build several platforms"),
                ({"attest": ["type=sbom"]}, "cannot write attestations"),
                ({"sbom": "true"}, "cannot write an SBOM"),
                ({"provenance": "mode=max"}, "cannot write provenance"),
                ({"cache_compression": "zstd"}, "cannot choose the compression"),
                ({"output": ["type=oci,dest=o.tar"]}, "cannot write an OCI archive"),
                ({"push": True, "output": ["type=local,dest=o"]}, "has only one output a build"),
            )
        ),
    ],
)
def test_what_cannot_work_here_is_refused(
    asked: Mapping[str, object], ci: CIContext, facts: Facts, message: str, hint: str
) -> None:
    with pytest.raises(UsageError) as refused:
        plan_of(asked, ci, facts)
    assert (refused.value.message, refused.value.hint) == (message, hint)


def test_a_builder_asked_for_by_name_must_exist() -> None:
    with pytest.raises(EngineError) as refused:
        plan_of({"builder": "mine"}, facts=NO_BUILDER)
    assert refused.value.message == "there is no builder named 'mine'"
    assert refused.value.hint == "`docker buildx ls` lists the builders; leave out --builder to make one"


@pytest.mark.parametrize(
    ("asked", "is_own"),
    [
        ({"push": True, "annotation": ["a=b"]}, True),
        ({"push": True, "buildx_flags": ["--annotation", "a=b"]}, True),
        ({"output": ["type=image,push=true,annotation-manifest.a=b"]}, True),
        ({"load": True, "annotation": ["a=b"]}, False),  # no builder loads annotations into the classic store
        ({"push": True, "label": ["a=b"]}, False),
    ],
)
def test_annotations_are_not_pushed_by_an_engine_that_drops_them(asked: dict[str, object], is_own: bool) -> None:  # noqa: FBT001 -- a table
    plan = plan_of({"tag": ["r.example/app"], "cache": "none", **asked}, facts=CLASSIC)
    assert plan.builder.owned is is_own
    assert not plan_of({"tag": ["r.example/app"], "cache": "none", **asked}, facts=CONTAINERD).builder.owned


def test_a_builder_that_buildx_own_variable_names_must_exist() -> None:
    named = replace(NO_BUILDER, variables=frozenset({"BUILDX_BUILDER"}))
    with pytest.raises(EngineError) as refused:
        plan_of({}, facts=named)
    assert refused.value.code == "builder-absent"
    assert plan_of({"driver": "docker-container"}, facts=named).builder.owned
    assert plan_of({}, facts=replace(named, variables=frozenset({"HOME"}))).builder.owned


@pytest.mark.parametrize(
    ("asked", "is_noted"),
    [
        ({"secret": ["id=x,env=NOPE"]}, True),
        ({"secret": ["type=env,id=x,src=NOPE"]}, True),
        ({"buildx_flags": ["--secret", "id=x,env=NOPE"]}, True),
        ({"secret": ["id=x,env=HOME"]}, False),
        ({"secret": ["id=x"]}, False),  # a file of that name, maybe
        ({"secret": ["id=x,src=NOPE"]}, False),
    ],
)
def test_a_secret_of_a_variable_that_is_not_set_is_noted(asked: dict[str, object], is_noted: bool) -> None:  # noqa: FBT001 -- a table
    known = replace(CONTAINERD, variables=frozenset({"HOME"}))
    assert any("NOPE" in note for note in plan_of({"load": True, **asked}, facts=known).notes) is is_noted
    assert not any("NOPE" in note for note in plan_of({"load": True, **asked}).notes)  # what is set is not known


# --- what is said beside -----------------------------------------------------------------------------------

NOWHERE = "the image stays in the builder's cache: add --push or --load to keep it"


@pytest.mark.parametrize(
    ("asked", "ci", "facts", "notes"),
    [
        pytest.param({"tag": [f"{APP}:1"], "push": True}, CI_MAIN, OWN_RUNNING, [], id="nothing-to-say"),
        pytest.param({}, LAPTOP, CONTAINERD, [], id="the-engine-keeps-its-images"),
        pytest.param({}, LAPTOP, CONTAINER, [NOWHERE], id="image-goes-nowhere"),
        pytest.param({"output": ["out"]}, LAPTOP, CONTAINER, [], id="image-goes-to-a-folder"),
        pytest.param(
            {"tag": ["app"], "load": True, "cache": "inline"},
            LAPTOP,
            CONTAINER,
            ["an inline cache is part of the pushed image: without --push nothing is written"],
            id="inline-without-push",
        ),
        pytest.param(
            {"tag": [f"{APP}:1"], "load": True, "cache": "registry"},
            LAPTOP,
            CONTAINER,
            ["the cache is pushed to its registry although the image is not"],
            id="registry-without-push",
        ),
        pytest.param(
            {"tag": [f"{APP}:1"], "load": True, "cache": "registry"},
            CI_FORK,
            OWN_RUNNING,
            ["a pull request from a fork, or possibly one: the cache is read-only"],
            id="fork",
        ),
        pytest.param(
            {"tag": ["app"], "load": True, "cache_read_only": True}, CI_FORK, OWN_RUNNING, [], id="read-only-as-asked"
        ),
        pytest.param(
            {"tag": ["app"], "load": True, "build_arg": ["NPM_TOKEN=x"]},
            LAPTOP,
            CONTAINER,
            ["build arguments are kept in the image's history and provenance: hand secrets over with --secret"],
            id="secret-build-argument",
        ),
        pytest.param(
            {"tag": ["app"], "load": True},
            CI_MAIN,
            CONTAINER,
            ["the builder 'docker-container-builder' is not this project's own: it is not pruned"],
            id="not-pruned",
        ),
        pytest.param({"tag": ["app"], "load": True, "prune": False}, CI_MAIN, CONTAINER, [], id="not-pruned-as-asked"),
        pytest.param(
            {"load": True, "tag": ["app"], "cache_from": ["type=s3,bucket=b,brand_new=1"]},
            LAPTOP,
            CONTAINER,
            ["the attribute 'brand_new' of a cache of type=s3 is not known here: BuildKit may ignore it"],
            id="unknown-attribute",
        ),
    ],
)
def test_notes_tell_what_a_user_should_know(
    asked: Mapping[str, object], ci: CIContext, facts: Facts, notes: list[str]
) -> None:
    assert list(plan_of(asked, ci, facts).notes) == notes


@pytest.mark.parametrize(
    ("asked", "facts", "kind", "why"),
    [
        ({}, CONTAINERD, CacheKind.LOCAL, "the image is not pushed"),
        (
            {"tag": ["app"], "push": True},
            CONTAINERD,
            CacheKind.LOCAL,
            "no tag names a registry or namespace to keep a cache in",
        ),
        (
            {"tag": ["org/app"], "push": True},
            CONTAINERD,
            CacheKind.REGISTRY,
            "the image is pushed, and its cache beside it",
        ),
        ({"cache": "none"}, CONTAINERD, CacheKind.NONE, "--cache none"),
        ({"builder": "default"}, CLASSIC, CacheKind.NONE, "the builder 'default' cannot export such a cache"),
        (
            {"tag": ["org/app"], "push": True, "builder": "default"},
            CLASSIC,
            CacheKind.INLINE,
            "the builder 'default' cannot export such a cache",
        ),
    ],
)
def test_a_plan_says_why_this_cache(asked: Mapping[str, object], facts: Facts, kind: CacheKind, why: str) -> None:
    cache = plan_of(asked, facts=facts).cache
    assert (cache.kind, cache.why) == (kind, why)


@pytest.mark.parametrize(
    ("asked", "facts", "owned", "why"),
    [
        ({}, CONTAINERD, False, "the current builder can do all that is asked"),
        ({"builder": "x"}, CONTAINER, False, "asked for"),
        ({"driver": "docker"}, CONTAINERD, False, "--driver docker: the engine's own builder"),
        ({}, CLASSIC, True, "made for this project: the engine's builder cannot export such a cache"),
        ({}, OWN_RUNNING, True, "this project's own, made earlier: the engine's builder cannot export such a cache"),
        ({"driver": "docker-container"}, CONTAINERD, True, "made for this project: --driver docker-container"),
        ({"driver_opt": ["network=host"]}, CONTAINERD, True, "made for this project, as the builder options ask"),
        (
            {"cache": "none", "provenance": "true"},
            CLASSIC,
            True,
            "made for this project: the engine's builder cannot write provenance",
        ),
    ],
)
def test_a_plan_says_why_this_builder(asked: Mapping[str, object], facts: Facts, owned: bool, why: str) -> None:  # noqa: FBT001 -- a table
    plan = plan_of(asked, facts=facts).builder
    assert (plan.owned, plan.why) == (owned, why)


# --- the project's own builder -----------------------------------------------------------------------------

OWN_NAME = re.compile(r"buildx-cache-app-1a2b3c4d-[0-9a-f]{8}")


@dataclass(frozen=True, kw_only=True)
class Naming:
    id: str
    asked: Mapping[str, object] = field(default_factory=dict)
    facts: Facts = CLASSIC


OTHER_BUILDERS = (
    Naming(id="driver", asked={"driver": "kubernetes"}),
    Naming(id="driver-opt", asked={"driver_opt": ["network=host"]}),
    Naming(id="image", asked={"buildkit_image": "x"}),
    Naming(id="config", asked={"buildkitd_config": "x"}),
    Naming(id="flags", asked={"buildkitd_flags": "x"}),
    Naming(id="endpoint", asked={"endpoint": ["tcp://a:1"]}),
    Naming(id="context", asked={"docker_context": "x"}),
    Naming(id="current-context", facts=replace(CLASSIC, context="y")),
    Naming(id="host", facts=TLS),
    Naming(id="project", facts=replace(CLASSIC, place=replace(CLASSIC.place, project="app-1a2b3c4e"))),
)


def test_another_configuration_is_another_builder() -> None:
    names = [
        needed_builder(request_of(each.asked), LAPTOP, each.facts) for each in (Naming(id="plain"), *OTHER_BUILDERS)
    ]
    assert len(set(names)) == len(names)


def test_what_is_built_does_not_change_the_builder() -> None:
    asked: tuple[Mapping[str, object], ...] = (
        {},
        {"tag": ["app"], "load": True},
        {"target": "x", "driver": "docker-container"},
        {"rm_builder": True},
    )
    names = {needed_builder(request_of(each), ci, CLASSIC) for each in asked for ci in (LAPTOP, CI_PULL_REQUEST)}
    assert len(names) == 1
    assert OWN_NAME.fullmatch(names.pop())


@pytest.mark.parametrize("case", CASES, ids=id_of)
def test_the_builder_to_look_for_is_the_one_that_will_be_used(case: Case) -> None:
    plan = plan_of(case.asked, case.ci, case.facts)
    assert needed_builder(request_of(case.asked), case.ci, case.facts) == (
        plan.builder.name if plan.builder.owned else ""
    )


def test_phases_come_in_the_order_of_the_work() -> None:
    asked = {
        "tag": [f"{APP}:1"],
        "push": True,
        "rm_builder": True,
        "username": "me",
        "password_env": "P",
        "platform": ["linux/amd64", "linux/arm64"],
        "driver": "docker-container",
    }
    plan = plan_of(asked, CI_MAIN, TLS)
    assert [phase for phase, _ in plan.phases()] == ["context", "login", "builder", "build", "remove", "remove"]


def test_a_plan_is_a_value() -> None:
    asked = {"tag": [f"{APP}:{{branch}}"], "push": True, "build_arg": ["A=1"]}
    assert plan_of(asked, CI_BRANCH, CLASSIC) == plan_of(asked, CI_BRANCH, CLASSIC)
    assert hash(plan_of(asked, CI_BRANCH, CLASSIC)) == hash(plan_of(asked, CI_BRANCH, CLASSIC))


def test_compression_is_the_same_in_image_and_cache() -> None:
    plan = plan_of({"tag": [f"{APP}:1"], "push": True, "cache_compression": "zstd", "cache_mode": "min"})
    assert plan.cache.exports[0].get("compression") == Compression.ZSTD
    assert plan.cache.exports[0].get("mode") == CacheMode.MIN
    assert "type=image,push=true,compression=zstd,oci-mediatypes=true" in plan.target.build.argv


ADDRESS = "https://github.com/org/app.git"


@pytest.mark.parametrize(
    ("buildx", "asked", "is_reset"),
    [
        ((0, 33, 0), {"context": ADDRESS}, True),
        ((0, 32, 0), {"context": "git@github.com:org/app.git", "file": "sub/Dockerfile"}, True),
        ((0, 29, 1), {"context": ADDRESS}, False),  # has neither policies nor the option
        ((0, 31, 1), {"context": ADDRESS, "file": "/own/Dockerfile"}, False),  # evaluates the policy beside that file
        ((0, 33, 0), {"context": ADDRESS, "file": "/own/Dockerfile"}, True),
        ((0, 33, 0), {"context": ADDRESS, "buildx_flags": ("--policy", "filename=own.rego")}, True),
        ((0, 33, 0), {"context": ADDRESS, "buildx_flags": ("--policy=strict=true",)}, False),
        ((0, 33, 0), {"context": ADDRESS, "buildx_flags": ("--policy=disabled=true",)}, False),
        ((0, 33, 0), {"context": ADDRESS, "file": "-"}, False),
        ((0, 33, 0), {"context": "."}, False),
        ((0, 33, 0), {"context": "-"}, False),
    ],
)
def test_the_policy_at_an_address_is_not_evaluated(
    buildx: tuple[int, int, int],
    asked: dict[str, Any],
    is_reset: bool,  # noqa: FBT001 -- a table
) -> None:
    """Whoever wrote it could read JSON files below the working directory, and send them to a registry of theirs."""
    request = make_request([OptionLayer(values={"cache": "local", **asked})])
    plan = make_plan(request, CI_MAIN, replace(CONTAINERD, buildx=buildx))
    builds = (plan.target.build, *filter(None, (plan.target.cache_build,)))
    for build in builds:
        assert ("--policy reset=true" in " ".join(build.argv)) is is_reset
    assert any("policy" in note for note in plan.notes) is is_reset
