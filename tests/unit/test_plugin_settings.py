"""The settings of a plugin step become the options that they name."""

from __future__ import annotations

import json

import pytest

from buildx_cache.cli.plugin_settings import forget_settings, plugin_variables
from buildx_cache.errors import ExitCode, UsageError


@pytest.mark.parametrize(
    ("setting", "value", "variable", "expected"),
    [
        ("TAG", "app:1", "TAG", "app:1"),
        ("TAGS", "app:1,app:latest", "TAG", "app:1\napp:latest"),
        ("TAGS", '["app:1", "app:latest"]', "TAG", "app:1\napp:latest"),
        ("PLATFORMS", "linux/amd64, linux/arm64", "PLATFORM", "linux/amd64\nlinux/arm64"),
        ("PUSH", "true", "PUSH", "true"),
        ("PUSH", "auto", "PUSH", "auto"),
        ("CACHE_DIR", ".cache", "CACHE_DIR", ".cache"),
        ("DOCKERFILE", "Dockerfile.web", "FILE", "Dockerfile.web"),
        ("BUILD_ARGS", "A=1,B=x,y,C=2", "BUILD_ARG", "A=1\nB=x,y\nC=2"),
        ("BUILD_ARGS", '{"A": 1, "B": "x"}', "BUILD_ARG", "A=1\nB=x"),
        ("BUILD_ARGS", "A=1,B=2\nC=3", "BUILD_ARG", "A=1,B=2\nC=3"),
        ("OUTPUT", "type=local,dest=out", "OUTPUT", "type=local,dest=out"),
        ("LABELS", "[broken", "LABEL", "[broken"),
        ("PASSWORD", "hunter2", "PASSWORD_ENV", "PLUGIN_PASSWORD"),
    ],
)
def test_a_setting_is_an_option(setting: str, value: str, variable: str, expected: str) -> None:
    _, found = plugin_variables({f"PLUGIN_{setting}": value, "HOME": "/", "PATH": "/bin"})
    assert found == {f"BUILDX_CACHE_{variable}": expected}


def test_buildkite_hands_over_json() -> None:
    settings = '{"tag": ["a", "b"], "push": true, "build-arg": {"A": "1"}, "context": "app"}'
    context, found = plugin_variables({"BUILDKITE_PLUGIN_CONFIGURATION": settings})
    assert context == "app"
    assert found == {"BUILDX_CACHE_TAG": "a\nb", "BUILDX_CACHE_PUSH": "true", "BUILDX_CACHE_BUILD_ARG": "A=1"}


@pytest.mark.parametrize(
    ("name", "value"),
    [("tag", "app:x,app:latest"), ("build-arg", "BRANCH=x,BUILDKIT_SYNTAX=evil/x"), ("label", "a=b,c=d")],
)
def test_buildkite_joins_nothing_with_commas(name: str, value: str) -> None:
    """A comma in a branch's name would add a tag or an argument."""
    for given in (value, [value]):
        _, found = plugin_variables({"BUILDKITE_PLUGIN_CONFIGURATION": json.dumps({name: given})})
        assert found == {f"BUILDX_CACHE_{name.upper().replace('-', '_')}": value}


@pytest.mark.parametrize(
    "value", [["MESSAGE=x\nLD_PRELOAD=y"], {"MESSAGE": "x\nLD_PRELOAD=y"}, "MESSAGE=x\nLD_PRELOAD=y"]
)
def test_no_item_of_several_lines_is_several_items(value: object) -> None:
    """A commit's message may be a part of it."""
    for env in (
        {"BUILDKITE_PLUGIN_CONFIGURATION": json.dumps({"build-arg": value})},
        *([] if isinstance(value, str) else [{"PLUGIN_BUILD_ARG": json.dumps(value)}]),
    ):
        with pytest.raises(UsageError) as refused:
            plugin_variables(env)
        assert refused.value.code == "plugin-settings-malformed"


@pytest.mark.parametrize("settings", ["[1]", "{", '"x"'])
def test_what_is_no_json_object_is_refused(settings: str) -> None:
    with pytest.raises(UsageError) as refused:
        plugin_variables({"BUILDKITE_PLUGIN_CONFIGURATION": settings})
    assert refused.value.code == "plugin-settings-malformed"


def test_the_context_is_the_argument_and_empty_settings_count_as_none() -> None:
    assert plugin_variables({"PLUGIN_CONTEXT": "app", "PLUGIN_TARGET": ""}) == ("app", {})
    assert plugin_variables({}) == (".", {})
    assert plugin_variables({"PLUGIN_CONTEXT": "--help"}) == ("./--help", {})


@pytest.mark.parametrize(
    ("setting", "meant"),
    [("CACH_DIR", "cache_dir"), ("REPOSITORY", ""), ("PLATFROM", "platform"), ("CONTXT", "context")],
)
def test_an_unknown_setting_is_refused_with_the_nearest(setting: str, meant: str) -> None:
    with pytest.raises(UsageError) as refused:
        plugin_variables({f"PLUGIN_{setting}": "x"})
    assert (refused.value.exit_code, refused.value.code) == (ExitCode.USAGE, "plugin-setting-unknown")
    assert meant in refused.value.hint


def test_no_child_has_the_settings() -> None:
    env = {"PLUGIN_BUILD_ARG": "NPM_TOKEN=x", "BUILDKITE_PLUGIN_CONFIGURATION": "{}", "PLUGIN_PASSWORD": "p", "A": "b"}
    forget_settings(env)
    assert env == {"PLUGIN_PASSWORD": "p", "A": "b"}
