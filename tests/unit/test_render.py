from __future__ import annotations

import json
import shlex
from dataclasses import replace
from typing import Any

import pytest

from buildx_cache.ci import CIContext
from buildx_cache.plan import BuildArg, Builder, BuildInvocation, BuildPlan, Facts, ImageStore, Node, Place, make_plan
from buildx_cache.plan.render import plan_json, redacted, shell_line, shell_lines
from buildx_cache.redaction import Secret
from buildx_cache.request.sources import OptionLayer, make_request

CI = CIContext(
    provider="none",
    sha="83a20ec058e2fb00e7fa4558c4c6e81e2dcf253d",
    branch="main",
    tag=None,
    pull_request=None,
    target_branch=None,
    default_branch="main",
    build=None,
)
FACTS = Facts(
    docker="28.5.2",
    buildx=(0, 29, 1),
    store=ImageStore.CONTAINERD,
    context="default",
    place=Place(project="app-1a2b3c4d", cache_dir="/cache/app", today="2025-11-24"),
    builder=Builder(name="fleet", driver="remote", nodes=(Node(name="a", status="running", buildkit=(0, 25, 0)),)),
)


def planned(**asked: object) -> BuildPlan:
    return make_plan(make_request([OptionLayer(where="--{name}", values=asked)]), CI, FACTS)


def document(**asked: object) -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(plan_json(planned(**asked)))
    return parsed


# --- shell lines -------------------------------------------------------------------------------------------


def test_lines_say_what_was_decided_and_can_be_pasted() -> None:
    plan = planned(tag=["registry.example.com/app:1"], push=True, cache="local", prune=True)
    assert shell_lines(plan) == (
        '# builder: "fleet (remote): the current builder can do all that is asked"\n'
        "# cache: local: --cache local\n"
        "docker buildx build --builder fleet --tag registry.example.com/app:1 --cache-from type=local,src=/cache/app"
        " --cache-to type=local,dest=/cache/app,mode=max,ignore-error=true --push .\n"
        "docker buildx prune --builder fleet --force --filter until=168h\n"
    )


def test_notes_are_comments() -> None:
    assert shell_lines(planned(cache="none")).splitlines()[2] == (
        '# note: "the image stays in the builder\'s cache: add --push or --load to keep it"'
    )


def test_a_note_with_a_line_break_is_a_comment_all_the_same() -> None:
    plan = replace(planned(), notes=("a folder\nrm -rf",))
    assert "# note: a folder rm -rf" in shell_lines(plan).splitlines()


@pytest.mark.parametrize(
    ("asked", "line"),
    [
        (
            {"password_env": "CI_PASSWORD"},
            'printf %s "$CI_PASSWORD" | docker login --username me --password-stdin registry.example.com',
        ),
        ({"password_stdin": True}, "docker login --username me --password-stdin registry.example.com"),
    ],
    ids=["variable", "stdin"],
)
def test_a_password_is_piped_and_never_an_argument(asked: dict[str, object], line: str) -> None:
    plan = planned(tag=["registry.example.com/app:1"], push=True, username="me", **asked)
    assert line in shell_lines(plan).splitlines()


def test_a_secret_is_named_above_the_command_that_takes_it() -> None:
    lines = shell_lines(planned(cache="none", load=True, build_arg=["NPM_TOKEN=abc123", "V=1"])).splitlines()
    assert lines[3:] == [
        "# NPM_TOKEN is taken from the environment",
        "docker buildx build --builder fleet --build-arg NPM_TOKEN --build-arg V=1 --load .",
    ]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("buildx", "ls"), "docker buildx ls"),
        (("a b", "c'd", "$HOME", "e;f", ""), """docker 'a b' 'c'"'"'d' '$HOME' 'e;f' ''"""),
        (("x\ny",), """docker "$(printf 'x\\012y')\""""),
        (("\x01!!",), """docker "$(printf '\\001\\041\\041')\""""),
        (("-\x1b%\\\n",), """docker "$(printf '\\055\\033%%\\134')"'\n'"""),
        (("x=##vso[y]###",), "docker 'x=#''#vso[y]#''#''#'"),
        (("https://me:abc@example.com/x",), "docker 'https://***@example.com/x'"),
        (("--build-arg", "API_KEY=abc"), "docker --build-arg 'API_KEY=***'"),
        (("--build-arg", "V=abc"), "docker --build-arg V=abc"),
        (("--build-arg=API_KEY=abc",), "docker '--build-arg=API_KEY=***'"),
        (("--build-arg", "API_KEY"), "docker --build-arg API_KEY"),
        (("--driver-opt", "env.NPM_TOKEN=abc"), "docker --driver-opt 'env.NPM_TOKEN=***'"),
        (("--secret", "id=NPM_TOKEN,env=NPM_TOKEN"), "docker --secret id=NPM_TOKEN,env=NPM_TOKEN"),
        (("--secret=id=x,src=y",), "docker --secret=id=x,src=y"),
        (("--cache-to", "type=gha,token=abc"), "docker --cache-to 'type=gha,token=***'"),
        (("--cache-to", "type=s3,new_password=abc"), "docker --cache-to 'type=s3,new_password=***'"),
        (("--cache-from=type=s3,sas_token=abc",), "docker '--cache-from=type=s3,sas_token=***'"),
    ],
)
def test_a_command_is_quoted_and_shows_no_secret(words: tuple[str, ...], line: str) -> None:
    assert shell_line(("docker", *redacted(words))) == line


def test_a_line_means_the_words_of_the_command() -> None:
    words = ("docker", "buildx", "build", "--label", 'a=it\'s "quoted" $HOME `x` \\ ## ###', ".")
    assert tuple(shlex.split(shell_line(words))) == words == redacted(words)


def test_the_environment_of_a_build_is_not_shown() -> None:
    argument = BuildArg(name="NPM_TOKEN", value=Secret("abc123"), is_secret=True)
    build = BuildInvocation(builder="b", context=".", build_args=(argument,))
    assert "abc123" not in shell_line(build.argv)


# --- JSON --------------------------------------------------------------------------------------------------


def test_the_whole_document() -> None:
    plan = document(
        tag=["registry.example.com/app:1"],
        push=True,
        platform=["linux/amd64"],
        username="me",
        password_env="P",  # noqa: S106 -- a variable's name
        build_arg=["NPM_TOKEN=abc123"],
    )
    cache = "type=registry,ref=registry.example.com/app:buildcache-main-linux-amd64"
    assert plan == {
        "schema": 1,
        "builder": {
            "name": "fleet",
            "driver": "remote",
            "buildkit": "0.25.0",
            "nodes": 1,
            "registries": {"insecure": [], "mirrors": [], "certificates": [], "left_out": []},
            "config": None,
            "owned": False,
            "creates": False,
            "why": "the current builder can do all that is asked",
        },
        "cache": {
            "mode": "registry",
            "why": "the image is pushed, and its cache beside it",
            "scope": "main",
            "read_only": False,
            "dir": None,
            "max_size": None,
            "lazy": {"network": None, "tunnels": [], "why": ""},
            "imports": [cache],
            "fallbacks": [],
            "exports": [f"{cache},mode=max,ignore-error=true"],
        },
        "images": {
            "default": {
                "tags": ["registry.example.com/app:1"],
                "push": True,
                "load": False,
                "loading": {"from_folder": False, "why": ""},
                "platforms": ["linux/amd64"],
            },
        },
        "login": {"registry": "registry.example.com", "username": "me"},
        "notes": ["build arguments are kept in the image's history and provenance: hand secrets over with --secret"],
        "commands": [
            {
                "phase": "login",
                "argv": ["docker", "login", "--username", "me", "--password-stdin", "registry.example.com"],
                "environment": [],
            },
            {
                "phase": "build",
                "argv": [
                    *("docker", "buildx", "build", "--builder", "fleet", "--tag", "registry.example.com/app:1"),
                    *("--platform", "linux/amd64", "--build-arg", "NPM_TOKEN"),
                    *("--cache-from", cache, "--cache-to", f"{cache},mode=max,ignore-error=true", "--push", "."),
                ],
                "environment": ["NPM_TOKEN"],
            },
        ],
    }


def test_what_is_absent_is_null_or_empty() -> None:
    plan = document(cache="none", load=True)
    assert plan["login"] is None
    assert (plan["cache"]["dir"], plan["cache"]["imports"], plan["cache"]["exports"]) == (None, [], [])
    loading = {"from_folder": False, "why": "no cache is in a folder"}
    assert plan["images"]["default"] == {"tags": [], "push": False, "load": True, "loading": loading, "platforms": []}


def test_caches_by_platform_are_exports_too() -> None:
    nodes = (Node(name="a", status="running"), Node(name="b", status="running"))
    asked = {"platform": ["linux/amd64", "linux/arm64"], "load": True}
    facts = replace(FACTS, builder=Builder(name="fleet", driver="remote", nodes=nodes))
    plan = json.loads(plan_json(make_plan(make_request([OptionLayer(values=asked)]), CI, facts)))
    assert plan["builder"]["nodes"] == 2
    assert plan["cache"]["exports"] == [
        "type=local,dest=/cache/app/linux-amd64,mode=max,ignore-error=true",
        "type=local,dest=/cache/app/linux-arm64,mode=max,ignore-error=true",
    ]


def test_the_bound_of_a_local_folder_is_told_in_bytes() -> None:
    assert document(cache="local", load=True, cache_max_size="2GB")["cache"]["max_size"] == 2 * 1024**3


@pytest.mark.parametrize("name", ["cache_from", "cache_to"])
def test_secret_attributes_are_hidden(name: str) -> None:
    text = plan_json(planned(cache="none", load=True, **{name: ["type=s3,bucket=b,secret_access_key=abc123"]}))
    assert "abc123" not in text
    assert "secret_access_key=***" in text


def test_both_forms_show_the_same_commands() -> None:
    asked: dict[str, object] = {"tag": ["registry.example.com/app:1"], "push": True, "prune": True}
    lines = [line for line in shell_lines(planned(**asked)).splitlines() if not line.startswith("#")]
    assert [shlex.split(line) for line in lines] == [each["argv"] for each in document(**asked)["commands"]]


def test_other_alphabets_stay_readable() -> None:
    assert "größe=ü" in plan_json(planned(cache="none", load=True, label=["größe=ü"]))
