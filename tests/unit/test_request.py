from __future__ import annotations

import contextlib
import dataclasses
import errno
import inspect
import os
import pwd
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, get_type_hints

import pytest

from buildx_cache.caches.backend import CacheKind, CacheMode, Compression
from buildx_cache.cli.parameters import build_or_plan
from buildx_cache.errors import ExhaustedError, UsageError
from buildx_cache.request.build_request import (
    NO_OPTIONS,
    BuildRequest,
    Driver,
    Endpoint,
    Lazy,
    Progress,
    option_key,
    parse_endpoint,
)
from buildx_cache.request.config import found_config
from buildx_cache.request.contexts import check_cache_directories, check_cache_directory, check_exported_folders
from buildx_cache.request.local_paths import dockerfile_of
from buildx_cache.request.options import CONFIG_FIELDS, OPTIONS, VARIABLES
from buildx_cache.request.options import KINDS as TYPES
from buildx_cache.request.path_checks import check_paths, unmoved
from buildx_cache.request.remote_context import is_remote_context
from buildx_cache.request.sources import OptionLayer, converted, environment_layer, make_request, unknown_variables


def given(**values: object) -> OptionLayer:
    return OptionLayer(where="--{name}", values=values)


def requested(**values: object) -> BuildRequest:
    return make_request([given(**values)])


def refusal(*layers: OptionLayer) -> tuple[str, str]:
    with pytest.raises(UsageError) as refused:
        make_request(layers)
    return refused.value.message, refused.value.hint


# --- precedence --------------------------------------------------------------------------------------------

COMMAND_LINE = {"tag": ["cli:1", "cli:2"], "push": False, "target": "cli", "cache": CacheKind.INLINE, "prune": False}
ENVIRONMENT = {
    "BUILDX_CACHE_TAG": "env:1\n  env:2  \n\n",
    "BUILDX_CACHE_PUSH": "true",
    "BUILDX_CACHE_TARGET": "env",
    "BUILDX_CACHE_CACHE": "local",
    "BUILDX_CACHE_PRUNE": "yes",
}
CONFIG = {"tag": ["file:1"], "push": False, "target": "file", "cache": "registry", "prune": False}
CI = {"tag": ("ci:1",), "push": True, "target": "ci", "cache": "none", "prune": True}
KINDS: Mapping[str, tuple[object, object, object, object, object]] = {
    "tag": (("cli:1", "cli:2"), ("env:1", "env:2"), ("file:1",), ("ci:1",), ()),
    "push": (False, True, False, True, False),
    "target": ("cli", "env", "file", "ci", ""),
    "cache": (CacheKind.INLINE, CacheKind.LOCAL, CacheKind.REGISTRY, CacheKind.NONE, CacheKind.AUTO),
    "prune": (False, True, False, True, None),
}


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("highest", range(5), ids=["command-line", "environment", "file", "ci", "default"])
def test_the_highest_layer_that_sets_an_option_decides(name: str, highest: int) -> None:
    base = given(tag=["base:1"]) if name != "tag" else given()
    layers = [
        given(**{name: COMMAND_LINE[name]}),
        environment_layer({f"BUILDX_CACHE_{name.upper()}": ENVIRONMENT[f"BUILDX_CACHE_{name.upper()}"]}),
        OptionLayer(file="buildx-cache.toml", values={name: CONFIG[name]}),
        OptionLayer(where="DOCKER_*", values={name: CI[name]}),
    ]
    assert getattr(make_request([*layers[highest:], base]), name) == KINDS[name][highest]


def test_each_option_is_taken_from_its_own_highest_layer() -> None:
    request = make_request(
        [
            given(target="cli"),
            environment_layer({"BUILDX_CACHE_TARGET": "env", "BUILDX_CACHE_TAG": "env:1"}),
            OptionLayer(file="x.toml", values={"target": "file", "tag": ["file:1"], "load": True}),
        ]
    )
    assert (request.target, request.tag, request.load) == ("cli", ("env:1",), True)


ADDED = ("build_arg", "build_context", "label", "annotation", "ulimit", "driver_opt")


@pytest.mark.parametrize("name", [name for name in OPTIONS if TYPES[name] is tuple])
def test_lists_of_names_with_values_add_up_and_others_replace_each_other(name: str) -> None:
    layers = [
        given(**{name: ["b=2", "c=2"]}),
        environment_layer({f"BUILDX_CACHE_{name.upper()}": "c=1\nd=1"}),
        OptionLayer(file="x.toml", values={name: ["a=0", "b=0", "d=0"]}),
    ]
    expected = ("a=0", "d=1", "b=2", "c=2") if name in ADDED else ("b=2", "c=2")
    assert converted(layers)[name] == expected


def test_a_list_that_repeats_a_name_is_taken_as_it_is() -> None:
    layers = [
        given(build_arg=["A=1", "A=2", "B"]),
        OptionLayer(file="x.toml", values={"build_arg": ["B=1", "C=1", "C=2"]}),
    ]
    assert make_request(layers).build_arg == ("C=1", "C=2", "A=1", "A=2", "B")


@pytest.mark.parametrize(
    ("own", "of_file", "where"),
    [(["=x"], ["A=secret"], "--build-arg"), (["A=1"], ["=secret"], "x.toml:3"), (["=x"], ["=secret"], "--build-arg")],
)
def test_the_source_of_a_wrong_item_is_named(own: list[str], of_file: list[str], where: str) -> None:
    file = OptionLayer(file="x.toml", values={"build_arg": of_file}, lines={"build_arg": 3})
    message, _ = refusal(given(build_arg=own), file)
    assert (message.startswith(where), "secret" in message) == (True, False)


@pytest.mark.parametrize(
    ("variable", "told"),
    [
        ("BUILDX_CACHE_CACH", "BUILDX_CACHE_CACHE"),
        ("BUILDX_CACHE_CACHE-DIR", "BUILDX_CACHE_CACHE_DIR"),
        ("BUILDX_CACHE_TAGGS", "BUILDX_CACHE_TAG"),
        ("BUILDX_CACHE_DOCKERFILE", "BUILDX_CACHE_FILE"),
        ("BUILDX_CACHE_BUILD_ARGS", "BUILDX_CACHE_BUILD_ARG"),
        ("BUILDX_CACHE_CONTEXT", "command line"),
        ("BUILDX_CACHE_PASSWORD_STDIN", "command line"),
        ("BUILDX_CACHE_BUILDX_FLAGS", "command line"),
        ("BUILDX_CACHE_", "no such option"),
        ("BUILDX_CACHE_AMBIENT", "no such option"),
        ("BUILDX_CACHE_XYZZY", "no such option"),
    ],
)
def test_a_variable_that_is_no_option_is_warned_of(variable: str, told: str) -> None:
    (warning,) = unknown_variables({variable: "value", "PATH": "/bin", "BUILDX_CACHE_TAG": "x"}, set())
    assert (variable in warning, told in warning, "value" in warning) == (True, True, False)


def test_of_a_variable_that_is_known_nothing_is_said() -> None:
    known = {"BUILDX_CACHE_DIGEST"}
    env = {**dict.fromkeys(VARIABLES, "x"), "BUILDX_CACHE_DIGEST": "x", "BUILDX_CACHE_CACH": "", "xBUILDX_CACHE_": "x"}
    assert list(unknown_variables(env, known)) == []


def test_an_empty_variable_says_nothing() -> None:
    assert environment_layer({"BUILDX_CACHE_TARGET": "", "PATH": "/bin", "TARGET": "x"}).values == {}


@pytest.mark.parametrize("name", ["context", "buildx_flags", "password_stdin"])
def test_what_belongs_on_one_command_line_is_not_read_from_the_environment(name: str) -> None:
    assert environment_layer({f"BUILDX_CACHE_{name.upper()}": "x"}).values == {}


@pytest.mark.parametrize(("text", "value"), [("1", True), ("True", True), ("yes", True), ("on", True)])
def test_words_that_mean_yes(text: str, value: bool) -> None:  # noqa: FBT001 -- a table
    assert make_request([environment_layer({"BUILDX_CACHE_LOAD": text})]).load is value


@pytest.mark.parametrize("text", ["0", "False", "no", "OFF"])
def test_words_that_mean_no(text: str) -> None:
    layers = [environment_layer({"BUILDX_CACHE_LOAD": text}), given(load=True)]
    assert make_request(layers).load is False


@pytest.mark.parametrize(
    ("values", "name", "expected"),
    [
        ({"platform": ["linux/amd64, linux/arm64", "linux/amd64"]}, "platform", ("linux/amd64", "linux/arm64")),
        ({"tag": ["app:1", "app:2", "app:1"]}, "tag", ("app:1", "app:2")),
        ({"prune_older_than": "7d"}, "prune_older_than", "168h"),
        ({"prune_older_than": "50000d"}, "prune_older_than", "1200000h"),
        ({"prune_older_than": "0.5d1h"}, "prune_older_than", "12h1h"),
        ({"prune_older_than": "1.5d"}, "prune_older_than", "36h"),
        ({"prune_older_than": "1d12h"}, "prune_older_than", "24h12h"),
        ({"prune_older_than": "90m"}, "prune_older_than", "90m"),
        ({"quiet": True}, "progress", Progress.QUIET),
        ({"progress": "plain"}, "progress", Progress.PLAIN),
        ({"cache_mode": "min"}, "cache_mode", CacheMode.MIN),
        ({"cache_compression": "zstd"}, "cache_compression", Compression.ZSTD),
        ({"driver": "kubernetes"}, "driver", Driver.KUBERNETES),
        ({"cache_read_only": "no"}, "cache_read_only", False),
    ],
)
def test_values_are_brought_into_one_form(values: dict[str, object], name: str, expected: object) -> None:
    assert getattr(requested(**values), name) == expected


PLATFORMS = "write OS/ARCH, such as linux/arm64"


# --- bad values, by where they stand -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layer", "message", "hint"),
    [
        (given(cache="regsitry"), "--cache: invalid value: 'regsitry'", "did you mean 'registry'?"),
        (
            given(driver="x"),
            "--driver: invalid value: 'x'",
            "use one of: docker, docker-container, remote, kubernetes",
        ),
        (given(cache_mode="maxx"), "--cache-mode: invalid value: 'maxx'", "did you mean 'max'?"),
        (
            given(cache_compression="brotli"),
            "--cache-compression: invalid value: 'brotli'",
            "use one of: gzip, zstd, estargz, uncompressed",
        ),
        (
            environment_layer({"BUILDX_CACHE_PUSH": "ja"}),
            "BUILDX_CACHE_PUSH: 'ja' is not true or false",
            "give true or false",
        ),
        (
            environment_layer({"BUILDX_CACHE_CACHE_MODE": "big"}),
            "BUILDX_CACHE_CACHE_MODE: invalid value: 'big'",
            "use one of: min, max",
        ),
        (
            OptionLayer(file="buildx-cache.toml", values={"tag": 3}, lines={"tag": 7}),
            "buildx-cache.toml:7: tag: an integer is not a list of strings",
            "give a list of strings",
        ),
        (
            OptionLayer(file="{odd}/x.toml", values={"cache_dir": ["a"]}),
            "{odd}/x.toml: cache-dir: this array is not a string",
            "give a string",
        ),
        (
            OptionLayer(file="x.toml", values={"label": ["a=b", 1]}, lines={"label": 2}),
            "x.toml:2: label: this array is not a list of strings",
            "give a list of strings",
        ),
        (
            OptionLayer(file="x.toml", values={"cache_dir": "a\0b"}, lines={"cache_dir": 3}),
            "x.toml:3: cache-dir holds a NUL character",
            "remove it",
        ),
        (
            OptionLayer(file="x.toml", values={"build_arg": ["A=b", "C=\0"]}, lines={"build_arg": 4}),
            "x.toml:4: build-arg holds a NUL character",
            "remove it",
        ),
        (given(lazy="maybe"), "--lazy: invalid value: 'maybe'", "use one of: auto, on, off"),
        (given(platform=("x",)), "--platform 'x' is not a platform", PLATFORMS),
        (given(tag=("",)), "--tag is empty", "give REGISTRY/REPOSITORY:TAG; a variable in it may not be set"),
        (
            OptionLayer(file="x.toml", values={"push": 1}, lines={"push": 1}),
            "x.toml:1: push: an integer is not true or false",
            "give true or false",
        ),
    ],
)
def test_a_wrong_value_is_refused_where_it_stands(layer: OptionLayer, message: str, hint: str) -> None:
    assert refusal(layer) == (message, hint)


DROP_ONE = "drop one of the two"
SIZES = "write 10GB, 512MB, …"
DURATIONS = "write 7d, 48h, 90m, …"
PASSWORDS = "add --password-env NAME (a variable that holds it) or --password-stdin"
GIT_LOGIN = "leave it out; a token for git is handed over by --secret id=GIT_AUTH_TOKEN,env=NAME"
DRIVER_MAKES = "use --driver docker-container"


@pytest.mark.parametrize(
    ("values", "message", "hint"),
    [
        (
            {"cache": "inline", "cache_mode": "max"},
            "--cache inline has no --cache-mode max: the image carries only its own layers",
            "use --cache registry for the layers of every stage, or drop --cache-mode",
        ),
        (
            {"cache_from": ["type=local,path=x"]},
            "--cache-from type=local has no attribute 'path'",
            "use one of: src, digest, tag",
        ),
        (
            {"cache_to": ["type=local,dest=x,mode=maxx"]},
            "--cache-to: mode='maxx' is not a value of mode",
            "did you mean 'max'?",
        ),
        (
            {"context": "https://me:abc@example.com/app.git#main"},
            "the build context has a login in its address, where others see it: https://***@example.com/app.git#main",
            GIT_LOGIN,
        ),
        (
            {"context": "https://token@example.com/app.git"},
            "the build context has a login in its address, where others see it: https://***@example.com/app.git",
            GIT_LOGIN,
        ),
        (
            {"build_context": ["a=.", "base=git+https://me:abc@example.com/app.git"]},
            "--build-context has a login in its address, where others see it: base=git+https://***@example.com/app.git",
            GIT_LOGIN,
        ),
        (
            {"file": "https://me:abc@example.com/Dockerfile"},
            "--file has a login in its address, where others see it: https://***@example.com/Dockerfile",
            GIT_LOGIN,
        ),
        (
            {"cache_from": ["type=s3,endpoint_url=https://me:abc@example.com"]},
            "--cache-from has a login in its address, where others see it: type=s3,endpoint_url=https://***@example.com",
            "leave it out",
        ),
        (
            {"cache_to": ["type=gha,url=https://me:abc@example.com"]},
            "--cache-to has a login in its address, where others see it: type=gha,url=https://***@example.com",
            "leave it out",
        ),
        (
            {"driver": "remote", "endpoint": ["tcp://me:abc@example.com:1234,name=a"]},
            "--endpoint has a login in its address, where others see it: tcp://***@example.com:1234,name=a",
            "leave it out",
        ),
        ({"push": True}, "--push needs a tag to push", "add -t REGISTRY/REPOSITORY:TAG"),
        (
            {"push": True, "output": ["type=docker"]},
            "--push needs a tag to push",
            "add -t REGISTRY/REPOSITORY:TAG",
        ),
        ({"platform": ["linux amd64"]}, "--platform 'linux amd64' is not a platform", PLATFORMS),
        ({"platform": ["linux/arm64/v8/x"]}, "--platform 'linux/arm64/v8/x' is not a platform", PLATFORMS),
        (
            {"platform": ["linux/arm65"]},
            "--platform 'linux/arm65' names an unknown architecture: arm65",
            "did you mean 'arm64'?",
        ),
        (
            {"platform": ["lunix/arm"]},
            "--platform 'lunix/arm' names an unknown system: lunix",
            "did you mean 'linux'?",
        ),
        ({"platform": ["linux/arm/v7", "linux/arm_v7"]}, "--platform 'linux/arm_v7' is not a platform", PLATFORMS),
        (
            {"builder": "mine", "driver": "remote"},
            "--builder uses a builder as it is; --driver makes or removes one",
            DROP_ONE,
        ),
        (
            {"builder": "mine", "rm_builder": True},
            "--builder uses a builder as it is; --rm-builder makes or removes one",
            DROP_ONE,
        ),
        (
            {"builder": "mine", "driver_opt": ["network=host"]},
            "--builder uses a builder as it is; --driver-opt makes or removes one",
            DROP_ONE,
        ),
        (
            {"builder": "mine", "endpoint": ["tcp://a:1"]},
            "--builder uses a builder as it is; --endpoint makes or removes one",
            DROP_ONE,
        ),
        (
            {"driver": "docker", "buildkit_image": "x"},
            "--driver docker is the engine's own builder and takes no --buildkit-image",
            DRIVER_MAKES,
        ),
        (
            {"driver": "docker", "buildkitd_config": "x"},
            "--driver docker is the engine's own builder and takes no --buildkitd-config",
            DRIVER_MAKES,
        ),
        (
            {"driver": "docker", "buildkitd_flags": "x"},
            "--driver docker is the engine's own builder and takes no --buildkitd-flags",
            DRIVER_MAKES,
        ),
        ({"driver": "remote"}, "--driver remote needs the address of a buildkitd", "add --endpoint tcp://HOST:1234"),
        (
            {"driver": "remote", "endpoint": ["tcp://a:1,platform=linux/arm64", "tcp://a:1,platform=linux/amd64"]},
            "--endpoint names one address twice",
            "leave one out, or give its node several platforms: ADDRESS,platform=linux/amd64,platform=linux/arm64",
        ),
        (
            {"driver": "remote", "endpoint": ["tcp://a:1,plaform=linux/arm64"]},
            "--endpoint has no attribute 'plaform'",
            "did you mean 'platform'?",
        ),
        (
            {"username": "me", "password_stdin": True, "password_env": "P"},
            "--password-stdin and --password-env are two sources of one password",
            "drop one",
        ),
        (
            {"username": "me", "password_stdin": True, "file": "-"},
            "--password-stdin and a Dockerfile or build context on stdin cannot share it",
            "hand the password over with --password-env NAME",
        ),
        ({"password_stdin": True}, "a password without a --username", "add --username NAME"),
        ({"password_env": "P"}, "a password without a --username", "add --username NAME"),
        ({"username": "me"}, "--username without a password", PASSWORDS),
        ({"prune_keep": "lots"}, "--prune-keep 'lots' is not a size", SIZES),
        ({"prune_keep": "-1GB"}, "--prune-keep '-1GB' is not a size", SIZES),
        ({"cache_max_size": "lots"}, "--cache-max-size 'lots' is not a size", SIZES),
        ({"cache_max_size": "-1GB"}, "--cache-max-size '-1GB' is not a size", SIZES),
        ({"prune_older_than": "a week"}, "--prune-older-than 'a week' is not a duration", DURATIONS),
        ({"prune_older_than": "7"}, "--prune-older-than '7' is not a duration", DURATIONS),
        (
            {"build_arg": ["=x"]},
            "--build-arg has no name before its =",
            "write NAME=VALUE, or NAME to take it from the environment",
        ),
    ],
)
def test_what_cannot_work_is_refused(values: dict[str, object], message: str, hint: str) -> None:
    assert refusal(given(**values)) == (message, hint)


@pytest.mark.parametrize(
    "values",
    [
        {"push": True, "output": ["type=image,name=registry.example.com/app:1"]},
        {"cache": "inline", "cache_mode": "min"},
        {"cache": "registry", "cache_mode": "max"},
        {"builder": "mine"},
        {"driver": "docker"},
        {"driver": "remote", "endpoint": ["tcp://a:1"]},
        {"username": "me", "password_stdin": True},
        {"username": "me", "password_env": "P"},
        *({"prune_keep": size} for size in ("10GB", "512MB", "1.5gb", "2GiB", "100", "10 GB", "1024b", "1k")),
        *({"cache_max_size": size} for size in ("10GB", "512MB", "1.5gb", "2GiB", "100", "0")),
        *({"prune_older_than": duration} for duration in ("7d", "48h", "90m", "1h30m", "30s", "1.5h")),
        *({"platform": [platform]} for platform in ("linux/amd64", "linux/arm/v7", "local", "linux", "windows/amd64")),
        *({"platform": [platform]} for platform in ("Linux/x86_64", "linux/aarch64/v8", "wasi/wasm32", "darwin/arm64")),
        {"build_arg": ["A=b", "B", "C=", "P=http://me:abc@example.com"]},
        {"context": "https://example.com/app.git?ref=main", "secret": ["id=GIT_AUTH_TOKEN,env=T"]},
        {"context": "ssh://git@example.com/app.git", "build_context": ["a=git@example.com:app.git"]},
        {"build_context": ["base=docker-image://example.com/app@sha256:" + 64 * "0"]},
    ],
    ids=str,
)
def test_what_can_work_is_taken(values: dict[str, object]) -> None:
    requested(**values)


# --- configuration files -----------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tree:
    root: Path

    def write(self, path: str, text: str) -> Path:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        return file

    def layer(self, context: str = "app") -> OptionLayer | None:
        return found_config(context, self.root, is_trusted=False).layer

    def refusal(self) -> tuple[str, str]:
        with pytest.raises(UsageError) as refused:
            make_request([layer] if (layer := self.layer()) else [])
        return refused.value.message.replace(str(self.root), "."), refused.value.hint


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    (tmp_path / "app").mkdir()
    return Tree(root=tmp_path)


@pytest.mark.parametrize("text", ['\ufefftarget = "x"\r\n', 'target = "x"\r\n'])
def test_a_configuration_file_of_a_windows_editor_is_read(tree: Tree, text: str) -> None:
    (tree.root / "app/buildx-cache.toml").write_bytes(text.encode())
    layer = tree.layer()
    assert layer
    assert layer.values["target"] == "x"


PLACES = (
    ("app/buildx-cache.toml", 'target = "{}"'),
    ("app/pyproject.toml", '[tool.buildx-cache]\ntarget = "{}"'),
    ("buildx-cache.toml", 'target = "{}"'),
    ("pyproject.toml", '[tool.buildx-cache]\ntarget = "{}"'),
)


@pytest.mark.parametrize("first", range(len(PLACES)), ids=[place for place, _ in PLACES])
def test_the_nearest_configuration_file_is_read_alone(tree: Tree, first: int) -> None:
    for path, text in PLACES[first:]:
        tree.write(path, text.format(path))
    layer = tree.layer()
    assert layer is not None
    assert layer.values == {"target": PLACES[first][0]}
    assert layer.file == str(tree.root / PLACES[first][0])


def test_without_a_configuration_file_there_is_no_layer(tree: Tree) -> None:
    tree.write("app/pyproject.toml", "[tool.other]\ntarget = 1")
    tree.write("pyproject.toml", "this is [not TOML")
    assert tree.layer() is None


@pytest.mark.parametrize("context", ["https://example.com/x.git", "git@example.com:x.git", "-"])
def test_beside_a_remote_context_there_is_nothing_to_read(tree: Tree, context: str) -> None:
    tree.write("buildx-cache.toml", "push = true")
    layer = tree.layer(context)
    assert layer is not None
    assert layer.values == {"push": True}


def test_a_url_of_any_length_is_no_folder_to_look_in(tree: Tree) -> None:
    assert tree.layer("https://example.com/" + "x" * 5000) is None


EVERY_KIND = """
# comment
tag = ["registry.example.com/app:{sha}"]
push = true
"cache-dir" = "cache"
cache-mode = "min"
platform = ["linux/amd64", "linux/arm64"]
"""


@pytest.mark.parametrize(
    ("path", "head", "line"),
    [("buildx-cache.toml", "", 3), ("pyproject.toml", "[project]\nname = 'x'\n\n[ tool.buildx-cache ]", 6)],
)
def test_every_kind_of_value_is_read_with_its_line(tree: Tree, path: str, head: str, line: int) -> None:
    tree.write(path, head + EVERY_KIND)
    layer = tree.layer()
    assert layer is not None
    assert layer.lines["tag"] == line
    assert layer.lines["cache_dir"] == line + 2
    request = make_request([layer])
    assert request == BuildRequest(
        tag=("registry.example.com/app:{sha}",),
        push=True,
        cache_dir="cache",
        cache_mode=CacheMode.MIN,
        platform=("linux/amd64", "linux/arm64"),
    )


@pytest.mark.parametrize(
    ("path", "text", "message", "hint"),
    [
        (
            "buildx-cache.toml",
            'push = true\nplatfrom = ["linux/amd64"]',
            "./buildx-cache.toml:2: unknown option 'platfrom'",
            "perhaps you meant 'platform'?",
        ),
        (
            "buildx-cache.toml",
            'cache_dir = "x"',
            "./buildx-cache.toml:1: unknown option 'cache_dir'",
            "perhaps you meant 'cache-dir'?",
        ),
        (
            "buildx-cache.toml",
            "zzzzzz = 1",
            "./buildx-cache.toml:1: unknown option 'zzzzzz'",
            "see `buildx-cache build --help` for the options",
        ),
        (
            "pyproject.toml",
            '[tool.other]\nx = 1\n[tool.buildx-cache]\n\ncache = "lokal"',
            "./pyproject.toml:5: cache: invalid value: this string",
            "did you mean 'local'?",
        ),
        (
            "pyproject.toml",
            '[tool."buildx-cache"]\npush = "perhaps"',
            "./pyproject.toml:2: push: this string is not true or false",
            "give true or false",
        ),
        (
            "pyproject.toml",
            'tool = {buildx-cache = {cache = "lokal"}}',
            "./pyproject.toml: cache: invalid value: this string",
            "did you mean 'local'?",
        ),
        (
            "pyproject.toml",
            "[tool]\nbuildx-cache = 3",
            "./pyproject.toml: tool.buildx-cache is not a table",
            "write [tool.buildx-cache] and options below it",
        ),
        (
            "buildx-cache.toml",
            "push = yes",
            "./buildx-cache.toml cannot be read: it is not valid TOML (at line 1, column 8)",
            "correct the file, or move it away",
        ),
        (
            "pyproject.toml",
            "[tool.buildx-cache]\npush =",
            "./pyproject.toml cannot be read: it is not valid TOML (at end of document)",
            "correct the file, or move it away",
        ),
    ],
)
def test_a_wrong_configuration_is_refused_where_it_stands(
    tree: Tree, path: str, text: str, message: str, hint: str
) -> None:
    tree.write(path, text)
    assert tree.refusal() == (message, hint)


@pytest.mark.parametrize(
    ("text", "reason"),
    [("x = " + 5000 * "[", "it is nested too deeply"), ("x = 1" + 5000 * "0", "it is not valid TOML")],
    ids=["nested", "number"],
)
def test_a_file_beyond_what_python_reads_is_refused(tree: Tree, text: str, reason: str) -> None:
    (tree.root / "buildx-cache.toml").write_text(text)
    message, hint = tree.refusal()
    assert message.startswith(f"./buildx-cache.toml cannot be read: {reason}")
    assert hint == "correct the file, or move it away"


def test_a_file_that_is_no_text_is_refused(tree: Tree) -> None:
    (tree.root / "buildx-cache.toml").write_bytes(b"target = '\xff'")
    message, hint = tree.refusal()
    assert message.startswith("./buildx-cache.toml cannot be read: it is not text in UTF-8")
    assert hint == "correct the file, or move it away"


# --- paths -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "remote"),
    [
        ("-", True),
        ("https://example.com/x.git#main", True),
        ("git://example.com/x", True),
        ("ssh://git@example.com/x", True),
        ("git@example.com:x.git", True),
        ("github.com/org/x", True),
        (".", False),
        ("./git@example.com", False),
        ("sub/folder", False),
        ("/absolute", False),
    ],
)
def test_a_context_is_a_folder_or_fetched(path: str, remote: bool) -> None:  # noqa: FBT001 -- a table
    assert is_remote_context(path) is remote


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("")
    return tmp_path


@pytest.mark.parametrize(
    ("request_", "message", "hint"),
    [
        (
            BuildRequest(context="absent"),
            "the build context 'absent' does not exist",
            "give the folder that COPY reads from",
        ),
        (BuildRequest(context="file"), "the build context 'file' is a file", "give the folder that COPY reads from"),
        (BuildRequest(context="folder"), "the Dockerfile does not exist: folder/Dockerfile", "give it with -f/--file"),
        (BuildRequest(file="absent"), "the Dockerfile does not exist: absent", "give it with -f/--file"),
        (BuildRequest(file="folder"), "the Dockerfile is a folder: folder", "give it with -f/--file"),
        (
            BuildRequest(secret=("id=x,src=folder",)),
            "--secret: folder is a folder",
            "give the file in src=, one secret each",
        ),
        (
            BuildRequest(buildkitd_config="absent.toml"),
            "--buildkitd-config does not exist: absent.toml",
            "give the path of a buildkitd.toml",
        ),
        (
            BuildRequest(endpoint=("tcp://a:1,cacert=file,key=absent.pem",)),
            "the key of --endpoint tcp://a:1 does not exist: absent.pem",
            "give a PEM file",
        ),
    ],
)
@pytest.mark.usefixtures("project")
def test_a_path_that_cannot_be_read_is_refused(request_: BuildRequest, message: str, hint: str) -> None:
    with pytest.raises(UsageError) as refused:
        check_paths(request_)
    assert (refused.value.message, refused.value.hint) == (message, hint)


@pytest.mark.parametrize(
    "request_",
    [
        BuildRequest(),
        BuildRequest(file="file"),
        BuildRequest(context="folder", file="-"),
        BuildRequest(context="folder", file="https://example.com/Dockerfile"),
        BuildRequest(context="https://example.com/x.git", file="in/the/repository"),
        BuildRequest(context="-"),
        BuildRequest(buildkitd_config="file", endpoint=("tcp://a:1,cert=file,servername=absent",)),
    ],
    ids=["context", "file", "stdin", "url", "remote", "tar-on-stdin", "builder-files"],
)
@pytest.mark.usefixtures("project")
def test_paths_that_can_be_read_are_taken(request_: BuildRequest) -> None:
    check_paths(request_)


@pytest.mark.parametrize(
    ("there", "request_", "found"),
    [
        (["dockerfile"], BuildRequest(context="app"), "app/dockerfile"),
        (["dockerfile", "Dockerfile"], BuildRequest(context="app"), "app/Dockerfile"),
        ([], BuildRequest(context="app"), "app/Dockerfile"),
        (["DOCKERFILE"], BuildRequest(context="app"), "app/Dockerfile"),
        (["dockerfile"], BuildRequest(file="app/Dockerfile"), "app/dockerfile"),
        (["dockerfile"], BuildRequest(file="app/other"), "app/other"),
        (["dockerfile"], BuildRequest(context="absent"), "absent/Dockerfile"),
        (["dockerfile"], BuildRequest(context="app", file="-"), "-"),
        (["dockerfile"], BuildRequest(context="https://x.example/y.git", file="a/b"), "a/b"),
    ],
    ids=repr,
)
def test_a_dockerfile_may_be_spelled_in_lower_case(
    project: Path, there: list[str], request_: BuildRequest, found: str
) -> None:
    (project / "app").mkdir()
    for name in there:
        (project / "app" / name).write_text("FROM scratch\n")
    assert dockerfile_of(request_) == found
    if (project / found).exists():
        check_paths(request_)


def test_what_buildx_reads_beside_a_dockerfile_in_lower_case_is_checked_too(project: Path) -> None:
    (project / "folder" / "dockerfile").write_text("FROM scratch\n")
    (project / "folder" / "dockerfile.rego").symlink_to("/proc/self/environ")
    with pytest.raises(UsageError):
        check_paths(BuildRequest(context="folder"))


WAITED_FOR = {
    "Dockerfile": BuildRequest(),
    "folder/Dockerfile": BuildRequest(context="folder"),
    "other.Dockerfile": BuildRequest(file="other.Dockerfile"),
    ".dockerignore": BuildRequest(),
    "Dockerfile.dockerignore": BuildRequest(),
    "Dockerfile.rego": BuildRequest(),
    "folder/.dockerignore": BuildRequest(build_context=("named=folder",)),
}


@pytest.mark.parametrize("how", ["pipe", "link to a pipe"])
@pytest.mark.parametrize("place", WAITED_FOR)
def test_nothing_that_docker_would_wait_for_is_handed_to_it(project: Path, place: str, how: str) -> None:
    file = project / place
    file.unlink(missing_ok=True)
    fifo = file if how == "pipe" else file.with_name("fifo")
    os.mkfifo(fifo)
    if how != "pipe":
        file.symlink_to("fifo")
    with pytest.raises(UsageError):
        check_paths(WAITED_FOR[place])


@pytest.mark.parametrize("request_", [BuildRequest(), BuildRequest(context="-", file="Dockerfile")], ids=["dir", "tar"])
def test_a_policy_is_no_link(project: Path, request_: BuildRequest) -> None:
    policy = project / "Dockerfile.rego"
    policy.write_text("package docker\n")
    check_paths(request_)
    policy.rename(project / "other.rego")
    for target in ("/proc/self/environ", "other.rego", "absent"):
        policy.symlink_to(target)
        with pytest.raises(UsageError):
            check_paths(request_)
        policy.unlink()


IN_LAYOUT = ("index.json", "index.json.lock", "oci-layout", "blobs", "blobs/sha256", "ingest")
OF_LAYOUT = (
    *(BuildRequest(build_context=(f"x=oci-layout://l{ending}",)) for ending in ("", ":tag", f"@sha256:{'1' * 64}")),
    BuildRequest(output=("type=oci,dest=l,tar=false",)),
    BuildRequest(output=("type=docker,tar=false,DEST=l",)),
    *(
        BuildRequest(buildx_flags=flags)
        for flags in (
            ("-o", "type=oci,tar=false,dest=l"),
            ("--output=type=oci,tar=false,dest=l",),
            ("--cache-to", "type=local,dest=l"),
        )
    ),
)


@pytest.mark.parametrize("request_", OF_LAYOUT, ids=repr)
def test_a_layout_leads_nowhere_else(project: Path, request_: BuildRequest) -> None:
    layout = project / "l"
    (layout / "blobs").mkdir(parents=True)
    (layout / "index.json").write_text("{}")
    check_paths(request_)
    (layout / "index.json").unlink()
    for name in IN_LAYOUT:
        with contextlib.suppress(OSError):
            (layout / name).rmdir()
        (layout / name).symlink_to("/proc/self/environ")
        with pytest.raises(UsageError):
            check_paths(request_)
        (layout / name).unlink()
        (layout / "blobs").mkdir(exist_ok=True)
    os.mkfifo(layout / "index.json")
    with pytest.raises(UsageError):
        check_paths(request_)


@pytest.mark.parametrize("request_", OF_LAYOUT, ids=repr)
@pytest.mark.parametrize("name", ["ingest/{}/data", "blobs/sha256/{}", "blobs/sha512"])
@pytest.mark.parametrize("plant", [os.mkfifo, lambda path: path.symlink_to("/proc/self/environ")], ids=["pipe", "link"])
def test_no_file_inside_a_layout_leads_elsewhere(
    project: Path, request_: BuildRequest, name: str, plant: Callable[[Path], None]
) -> None:
    """The attack: an export continues a partial write, whose name is that of a layer of the base image."""
    place = project / "l" / name.format("a" * 64)
    place.parent.mkdir(parents=True)
    check_paths(request_)
    plant(place)
    with pytest.raises(UsageError, match="holds a link, a pipe or a device"):
        check_paths(request_)


@pytest.mark.parametrize("address", ["https://example.com/x.git#main", "git@example.com:x", "github.com/x/y"])
def test_a_folder_is_not_taken_for_an_address(project: Path, address: str) -> None:
    check_paths(BuildRequest(context=address))
    (project / address).mkdir(parents=True)
    with pytest.raises(UsageError):
        check_paths(BuildRequest(context=address))


def _deny(monkeypatch: pytest.MonkeyPatch, denied: Path) -> None:
    """The tests may run as root, whom no permission stops."""
    reads = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != denied and reads(path, mode))


@pytest.mark.parametrize(
    ("denied", "message"),
    [
        ("folder", "the build context 'folder' cannot be read"),
        ("folder/Dockerfile", "the Dockerfile cannot be read: folder/Dockerfile"),
    ],
)
@pytest.mark.usefixtures("project")
def test_a_path_without_permission_is_refused(monkeypatch: pytest.MonkeyPatch, denied: str, message: str) -> None:
    Path("folder/Dockerfile").write_text("FROM scratch\n")
    _deny(monkeypatch, Path(denied))
    with pytest.raises(UsageError) as refused:
        check_paths(BuildRequest(context="folder"))
    assert (refused.value.message, refused.value.hint) == (message, "check its permissions")


@pytest.mark.parametrize("directory", ["folder", "folder/not/there/yet", "new"])
@pytest.mark.usefixtures("project")
def test_a_cache_folder_may_be_made_later(directory: str) -> None:
    check_cache_directory(directory)
    assert not Path("folder/not").exists()
    assert not Path("new").exists()


@pytest.mark.parametrize(
    ("directory", "message"),
    [("file", "the cache folder is a file: file"), ("file/below", "the cache folder lies below a file: {}/file")],
)
def test_a_cache_folder_is_no_file(project: Path, directory: str, message: str) -> None:
    with pytest.raises(UsageError) as refused:
        check_cache_directory(directory)
    assert refused.value.message == message.format(project)
    assert refused.value.hint == "give a folder with --cache-dir"


def test_a_cache_folder_must_be_writable(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _deny(monkeypatch, project / "folder")
    with pytest.raises(ExhaustedError) as refused:
        check_cache_directory("folder/cache")
    assert refused.value.message == "the cache folder cannot be written: folder/cache"
    assert refused.value.hint == "check its permissions, give another --cache-dir, or only read it: --cache-read-only"


@pytest.mark.parametrize("directory", ["/", ".", "//", "./", "/tmp/..", "/."])
def test_a_cache_folder_has_a_name_of_its_own(directory: str) -> None:
    with pytest.raises(UsageError) as refused:
        check_cache_directory(directory)
    assert refused.value.message == f"the cache folder {directory} has no name"
    assert refused.value.hint == "give a folder that has a name with --cache-dir"


@pytest.mark.parametrize("name", ["index.json", "blobs/mine", "blobs/sha256/mine", "ingest/mine"])
def test_a_cache_folder_holds_nothing_else_of_that_name(project: Path, name: str) -> None:
    (project / "folder" / name).mkdir(parents=True)
    with pytest.raises(UsageError) as refused:
        check_cache_directory("folder")
    assert refused.value.message == "the cache folder holds an index.json or blobs of something else: folder"
    assert refused.value.hint == "give the cache its own folder with --cache-dir"
    (project / "folder" / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    check_cache_directory("folder")


@pytest.mark.parametrize("second", ["folder/one", "folder/../folder/one/", "link/one"])
def test_two_caches_are_not_written_to_one_folder(project: Path, second: str) -> None:
    (project / "link").symlink_to("folder")
    with pytest.raises(UsageError) as refused:
        check_cache_directories(("folder/one", second))
    assert refused.value.message == (
        f"two caches are written to the folder {second}: Buildx keeps only the last one's tag"
    )
    assert refused.value.hint == "give each its own folder"


@pytest.mark.usefixtures("project")
def test_each_of_several_cache_folders_is_looked_at() -> None:
    check_cache_directories(())
    check_cache_directories(("folder/linux-amd64", "folder/linux-arm64"))
    with pytest.raises(UsageError):
        check_cache_directories(("folder", "file"))


EXPORTED = (
    BuildRequest(output=("out",)),
    BuildRequest(output=("type=local,dest=out",)),
    BuildRequest(output=("type=LOCAL,dest=elsewhere", "type=local,DEST=./out/../out/")),
    BuildRequest(output=("link",)),
    BuildRequest(buildx_flags=("-o", "out")),
    BuildRequest(buildx_flags=("--sbom=true", "--output=type=local,dest=out")),
    BuildRequest(buildx_flags=("-otype=local,dest=out",)),
)


@pytest.mark.parametrize(
    "asked",
    [
        {"output": ("type=tar,dest=home/.docker/config.json",)},
        {"output": ("type=oci,dest=home/.gitconfig",)},
        {"output": ("type=oci,tar=false,dest=home/.docker",)},
        {"output": ("type=docker,dest=home/.docker/x",)},
        {"buildx_flags": ("-o", "type=tar,dest=home/.gitconfig")},
        {"output": ("home",)},
        *({name: "home/.docker/config.json"} for name in ("report", "report_md", "dotenv", "metadata_file", "iidfile")),
    ],
    ids=str,
)
def test_nothing_is_written_over_the_settings_of_the_user(asked: dict[str, Any], project: Path) -> None:
    settings = (project / "home" / ".docker", project / "home" / ".gitconfig")
    with pytest.raises(UsageError) as refused:
        check_exported_folders(BuildRequest(**asked), (), settings)
    assert refused.value.code == "output-over-settings"
    beside = BuildRequest(report="home/report.json", output=("type=tar,dest=home/image.tar", "type=tar"))
    check_exported_folders(beside, (), settings)


@pytest.mark.parametrize(
    "asked",
    [
        {"output": ("type=local,dest=env",)},
        {"output": (".",)},
        {"output": ("env/lib/site-packages/typer",)},
        {"output": ("type=tar,dest=env/lib/site-packages/x.pth",)},
        {"buildx_flags": ("-o", "env")},
        *({name: "env/lib/site-packages/x.pth"} for name in ("report", "report_md", "dotenv", "iidfile")),
    ],
    ids=str,
)
def test_nothing_is_written_over_this_program(asked: dict[str, Any], project: Path) -> None:
    """It loads parts of itself when a build has ended."""
    programs = (project / "env",)
    with pytest.raises(UsageError) as refused:
        check_exported_folders(BuildRequest(**asked), (), programs=programs)
    assert refused.value.code == "output-over-program"
    check_exported_folders(BuildRequest(report="report.json", output=("out",)), (), programs=programs)


@pytest.mark.parametrize("output", ["type=tar,dest=out/job.env", "type=oci,dest=./out/job.env", "out", ".", "link"])
def test_no_image_gives_later_steps_variables(output: str, project: Path) -> None:
    (project / "link").symlink_to("out")
    for asked in ({"output": (output,)}, {"buildx_flags": ("-o", output)}):
        with pytest.raises(UsageError) as refused:
            check_exported_folders(BuildRequest(dotenv="out/job.env", **asked), ())
        assert refused.value.code == "output-over-result"
    check_exported_folders(BuildRequest(dotenv="job.env", output=("out", "type=tar,dest=x.tar", "type=tar")), ())


@pytest.mark.parametrize("request_", EXPORTED, ids=repr)
def test_no_image_is_exported_over_a_cache_that_is_written(project: Path, request_: BuildRequest) -> None:
    (project / "out").mkdir()
    (project / "link").symlink_to("out")
    check_exported_folders(request_, ("cache", "outer", str(project / "output")))
    for cache in ("out", "out/cache", str(project / "out" / "a" / "b"), "."):
        with pytest.raises(UsageError):
            check_exported_folders(request_, ("cache", cache))


def test_no_image_is_exported_over_a_layout_that_is_written(project: Path) -> None:
    for layout, is_refused in (("out/layout", True), ("layout", False)):
        outputs = (f"type=oci,tar=false,dest={layout}", "type=local,dest=out")
        with pytest.raises(UsageError) if is_refused else contextlib.nullcontext():
            check_exported_folders(BuildRequest(output=outputs), (str(project / "cache"),))


SPLIT = {"platform": ("linux/amd64", "linux/arm64")}


@pytest.mark.parametrize(
    ("options", "is_refused"),
    [
        ({"output": ("type=local,dest=out,platform-split=false",), **SPLIT}, True),
        ({"output": ("type=local,Platform-Split=0,dest=out",), **SPLIT}, True),
        ({"buildx_flags": ("-otype=local,dest=out,platform-split=F", "--platform=linux/amd64,linux/arm64")}, True),
        ({"buildx_flags": ("-o", "type=local,dest=out", "--platform", "linux/arm64"), **SPLIT}, False),
        ({"output": ("type=local,dest=out,platform-split=false",), "platform": ("linux/amd64",)}, False),
        ({"output": ("type=local,dest=out,platform-split=TRUE",), **SPLIT}, False),
        ({"output": ("type=tar,dest=out,platform-split=false",), **SPLIT}, False),
        ({"output": ("out",), **SPLIT}, False),
    ],
)
def test_no_two_platforms_are_exported_to_one_folder(options: dict[str, Any], is_refused: bool) -> None:  # noqa: FBT001 -- a table
    with pytest.raises(UsageError) if is_refused else contextlib.nullcontext():
        make_request((OptionLayer(values=options),))


FOREIGN = (
    *("# syntax=evil/x", "#syntax = evil/x", "# SyNtAx=evil/x docker/dockerfile", "// syntax=evil/x"),
    *("#!/bin/sh\n# syntax=evil/x", "\ufeff# syntax=evil/x", "# escape=`\r\n# syntax=evil/x", "# a\n\n# syntax=evil/x"),
    *('{"syntax": "evil/x"}', '\n {"s\\u0079ntax": "evil/x"}', "# syntax=docker/dockerfile.evil", "#" * (1 << 20)),
    *("# syntax=evil/docker/dockerfile:1", "# syntax=docker/dockerfile:1/../x", "# syntax=evil.io/docker/dockerfile"),
)
OWN = (
    *("", "# syntax=docker/dockerfile:1", "# syntax=docker.io/docker/dockerfile:1@sha256:1", "# x\nRUN echo {}"),
    *("# syntax=docker/dockerfile-upstream:master", "FROM scratch\nCOPY <<. /\n# syntax=evil/x\n.\n"),
)
# What a frontend has a say in, and what not.
FRONTENDS: tuple[dict[str, Any], ...] = (
    {"output": ("out",)},
    {"output": ("type=local,dest=out",), "platform": ("linux/amd64",)},
    {"load": True},
    {"output": ("type=docker,dest=x.tar",)},
    {"output": ("type=image,name=*,push=true",)},
    {"buildx_flags": ("--load",)},
    {"buildx_flags": ("-oout",)},
)
CALLERS: tuple[dict[str, Any], ...] = (
    {"output": ("type=tar,dest=out",)},
    {"load": True, "tag": ("app",)},
    {"load": True, "buildx_flags": ("-t", "app")},
    {"output": ("type=docker,name=app",)},
    {"output": ("out",), "build_arg": ("BUILDKIT_SYNTAX=mirror/dockerfile",)},
    {},
)


@pytest.mark.parametrize("text", [*FOREIGN, *OWN])
def test_no_frontend_of_a_repository_says_what_is_written(project: Path, text: str) -> None:
    (project / "Dockerfile").write_text(f"{text}\nFROM scratch\n")
    for options in FRONTENDS:
        with pytest.raises(UsageError, match="frontend") if text in FOREIGN else contextlib.nullcontext():
            check_paths(BuildRequest(**options))
    for options in CALLERS:
        check_paths(BuildRequest(**options))


@pytest.mark.parametrize(
    "options",
    [{"file": "-"}, {"context": "-"}, {"context": "https://a.b/x.git"}, {"build_arg": ("BUILDKIT_SYNTAX",)}],
    ids=str,
)
def test_a_frontend_that_cannot_be_known_says_nothing(project: Path, options: dict[str, Any]) -> None:
    (project / "Dockerfile").write_text("# syntax=evil/x\n")
    with pytest.raises(UsageError, match="frontend"):
        check_paths(BuildRequest(output=("out",), **options))
    check_paths(BuildRequest(output=("type=tar,dest=out",), **options))


@pytest.mark.parametrize("second", ["out/below", "type=local,dest=out/", ".", "other"])
def test_no_two_exports_meet(second: str) -> None:
    with contextlib.nullcontext() if second == "other" else pytest.raises(UsageError):
        check_exported_folders(BuildRequest(output=("out",), buildx_flags=("-o", second)), ())


IN_EXPORT: tuple[tuple[BuildRequest, bool], ...] = (
    (BuildRequest(metadata_file="out/meta.json"), True),
    (BuildRequest(buildx_flags=("--metadata-file", "out/../out/meta.json")), True),
    (BuildRequest(report="out/sub/report.json"), True),
    (BuildRequest(dotenv="link/sub/env"), True),
    (BuildRequest(report="out/report.json"), False),
    (BuildRequest(metadata_file="meta.json"), False),
)


@pytest.mark.parametrize(("request_", "is_refused"), IN_EXPORT, ids=repr)
def test_no_image_leads_a_result_elsewhere(
    project: Path,
    request_: BuildRequest,
    is_refused: bool,  # noqa: FBT001
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (project / "out").mkdir()
    (project / "link").symlink_to("out")
    asked = dataclasses.replace(request_, output=("out",))
    with monkeypatch.context() as home:
        user = pwd.struct_passwd(("me", "x", os.geteuid(), 0, "", str(project), "/bin/sh"))
        home.setattr(pwd, "getpwuid", lambda _: user)
        with pytest.raises(UsageError) if is_refused else contextlib.nullcontext():
            check_exported_folders(asked, ())
    (project / ".git").mkdir()
    if not asked.dotenv:
        check_exported_folders(asked, ())


MOVED: dict[str, dict[str, Any]] = {
    "context": {"context": "services/app"},
    "dockerfile": {"file": "services/app/Dockerfile"},
    "named context": {"build_context": ("x=services/app",)},
    "secret": {"secret": ("id=x,src=services/app/Dockerfile",)},
    "key": {"ssh": ("default=services/app/Dockerfile",)},
    "policy": {"context": "services/policy"},
    "ignored": {"context": "services/pipe"},
}


@pytest.mark.parametrize("git", [True, False], ids=["working copy", "archive"])
@pytest.mark.parametrize("name", MOVED)
def test_no_exported_image_moves_what_a_further_build_reads(project: Path, name: str, git: bool) -> None:  # noqa: FBT001 -- a table
    for folder in ("services/app", "services/policy", "services/pipe", "host/app", *([".git"] if git else [])):
        (project / folder).mkdir(parents=True)
        (project / folder / "Dockerfile").write_text("FROM scratch\n")
    check = unmoved(BuildRequest(**{"context": ".", **MOVED[name]}))
    check()
    (project / "services/policy/Dockerfile.rego").symlink_to("/proc/self/environ")
    os.mkfifo(project / "services/pipe/.dockerignore")
    (project / "services/app").rename(project / "services/gone")
    (project / "services/app").symlink_to(project / "host/app")
    with pytest.raises(UsageError):
        check()


# --- endpoints ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        ("tcp://a:1234", Endpoint(address="tcp://a:1234")),
        ("unix:///run/buildkit.sock", Endpoint(address="unix:///run/buildkit.sock")),
        (
            "tcp://a:1,platform=linux/amd64,platform=linux/386,name=one",
            Endpoint(address="tcp://a:1", name="one", platforms=("linux/amd64", "linux/386")),
        ),
        (
            'tcp://a:1,"platform=linux/amd64,linux/386"',
            Endpoint(address="tcp://a:1", platforms=("linux/amd64,linux/386",)),
        ),
        (
            "tcp://a:1,servername=s,key=k.pem,cert=c.pem,cacert=ca.pem",
            Endpoint(
                address="tcp://a:1",
                options=(("cacert", "ca.pem"), ("cert", "c.pem"), ("key", "k.pem"), ("servername", "s")),
            ),
        ),
    ],
)
def test_an_endpoint_is_read(text: str, endpoint: Endpoint) -> None:
    assert parse_endpoint(text) == endpoint


@pytest.mark.parametrize("text", ["", ",name=a", "platform=linux/amd64", "name=a,tcp://a:1"])
def test_an_endpoint_starts_with_an_address(text: str) -> None:
    with pytest.raises(UsageError) as refused:
        parse_endpoint(text)
    assert refused.value.message == f"--endpoint {text!r} does not start with an address"
    assert refused.value.hint == "write tcp://HOST:1234,platform=linux/arm64"


# --- one name everywhere -----------------------------------------------------------------------------------

FIELDS = tuple(field.name for field in dataclasses.fields(BuildRequest) if field.name not in NO_OPTIONS)


def test_every_option_is_a_row_of_the_table() -> None:
    assert set(OPTIONS) == set(FIELDS) - {"context", "buildx_flags"}


def test_every_option_is_a_field_of_the_request_and_the_other_way_round() -> None:
    options = set(inspect.signature(build_or_plan).parameters)
    assert options == {*FIELDS, "ctx", "output_format", "assume_driver"}


def test_every_field_but_those_of_the_caller_alone_can_be_configured() -> None:
    own = {"context", "buildx_flags", "password_stdin", "config", "trust_config"}
    assert set(CONFIG_FIELDS) == set(FIELDS) - own


@pytest.mark.parametrize("name", [*CONFIG_FIELDS, "config", "trust_config"])
def test_every_field_can_be_set_in_the_environment(name: str) -> None:
    variable = f"BUILDX_CACHE_{name.upper()}"
    assert environment_layer({variable: "x"}).values == {name: "x"}


@pytest.mark.parametrize("name", CONFIG_FIELDS)
def test_every_field_can_be_set_in_a_file(tree: Tree, name: str) -> None:
    tree.write("buildx-cache.toml", f'{option_key(name)} = "x"')
    layer = tree.layer()
    assert layer is not None
    assert layer.values == {name: "x"}


def test_absent_means_empty() -> None:
    hints = get_type_hints(BuildRequest)
    defaults = {field.name: field.default for field in dataclasses.fields(BuildRequest)}
    told = {name: value for name, value in defaults.items() if value not in ("", (), None, False)}
    assert told == {"context": ".", "cache": CacheKind.AUTO, "lazy": Lazy.AUTO, "progress": Progress.AUTO}
    assert {name for name, hint in hints.items() if hint == bool | None} == {"cache_read_only", "prune"}


@pytest.mark.parametrize("name", ["report", "report_html", "report_junit", "report_md", "dotenv"])
def test_a_report_is_no_device(project: Path, name: str) -> None:
    with pytest.raises(UsageError) as refused:
        check_paths(BuildRequest(context=str(project), **{name: os.devnull}))  # type: ignore[arg-type]
    assert refused.value.message == f"--{name.replace('_', '-')} {os.devnull} is not an ordinary file"


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (BuildRequest(report="a.json", dotenv="folder/../a.json"), "--report and --dotenv name one file: {}"),
        (BuildRequest(report_html="a", metadata_file="a"), "--report-html and --metadata-file name one file: a"),
        (BuildRequest(report="file/a.json"), "--report file/a.json lies below a file: {root}/file"),
        (BuildRequest(dotenv="file/x/y"), "--dotenv file/x/y lies below a file: {root}/file"),
        (BuildRequest(metadata_file="none/a"), "the folder of --metadata-file none/a does not exist"),
        (BuildRequest(iidfile="none/a"), "the folder of --iidfile none/a does not exist"),
        (BuildRequest(iidfile="folder"), "--iidfile folder is a folder"),
        (BuildRequest(report_md="x" * 300), "--report-md {long} cannot be written: File name too long"),
    ],
    ids=["same", "same-metadata", "below", "far-below", "metadata", "iidfile", "iidfile-folder", "long"],
)
def test_a_file_that_cannot_be_written_is_refused(project: Path, request_: BuildRequest, message: str) -> None:
    with pytest.raises(UsageError) as refused:
        check_paths(request_)
    expected = message.format("folder/../a.json", root=project, long="x" * 300)
    assert refused.value.message == expected


@pytest.mark.usefixtures("project")
def test_a_folder_of_reports_is_made_later() -> None:
    check_paths(BuildRequest(report="new/deep/a.json", dotenv="new/b.env", report_md="c.md"))
    assert not Path("new").exists()


def test_a_report_is_written_where_this_user_may(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _deny(monkeypatch, project / "folder")
    with pytest.raises(ExhaustedError) as refused:
        check_paths(BuildRequest(report="folder/new/a.json"))
    assert refused.value.message == (
        f"--report folder/new/a.json cannot be written: {project}/folder is not writable for this user"
    )


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (BuildRequest(context="hidden/app"), "the build context 'hidden/app' cannot be read: Permission denied"),
        (BuildRequest(file="hidden/x"), "the Dockerfile cannot be read: hidden/x: Permission denied"),
        (BuildRequest(buildkitd_config="hidden/x"), "--buildkitd-config cannot be read: hidden/x: Permission denied"),
        (BuildRequest(report="hidden/x"), "--report hidden/x cannot be written: Permission denied"),
    ],
)
@pytest.mark.usefixtures("project")
def test_where_one_may_not_look_is_told(monkeypatch: pytest.MonkeyPatch, request_: BuildRequest, message: str) -> None:
    looks = os.stat

    def look(path: str | Path, **how: bool) -> os.stat_result:
        if str(path).startswith("hidden"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return looks(path, **how)

    monkeypatch.setattr(os, "stat", look)
    with pytest.raises(UsageError) as refused:
        check_paths(request_)
    assert refused.value.message == message


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (BuildRequest(context="x" * 300), f"the build context {'x' * 300!r} cannot be read: File name too long"),
        (BuildRequest(file="x" * 300), f"the Dockerfile cannot be read: {'x' * 300}: File name too long"),
        (BuildRequest(file="loop"), "the Dockerfile cannot be read: loop: Too many levels of symbolic links"),
    ],
    ids=["context", "dockerfile", "loop"],
)
def test_what_can_be_no_path_is_told(project: Path, request_: BuildRequest, message: str) -> None:
    (project / "loop").symlink_to("loop")
    with pytest.raises(UsageError) as refused:
        check_paths(request_)
    assert refused.value.message == message


@pytest.mark.parametrize("directory", ["x" * 300, "loop", "loop/cache"])
def test_a_cache_folder_can_be_a_path(project: Path, directory: str) -> None:
    (project / "loop").symlink_to("loop")
    with pytest.raises(UsageError, match="the cache folder cannot be used"):
        check_cache_directory(directory)


def test_a_report_is_no_folder(project: Path) -> None:
    with pytest.raises(UsageError) as refused:
        check_paths(BuildRequest(report=str(project)))
    assert refused.value.message == f"--report {project} is a folder"


def test_a_home_is_filled_in_where_no_shell_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert requested(cache_dir="~/cache").cache_dir == "/home/me/cache"
    assert requested(cache_dir="").cache_dir == ""


@pytest.mark.parametrize("sign", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c", "\r"])
def test_only_a_line_feed_ends_an_item_of_a_variable(sign: str) -> None:
    """A branch's name may hold the others, and would be two items: another tag, or another build argument."""
    one = f"BRANCH=x{sign}BUILDKIT_SYNTAX=evil/x"
    layer = environment_layer({"BUILDX_CACHE_BUILD_ARG": f"{one}\r\nA=b\n\n"})
    assert converted((layer,)) == {"build_arg": (one, "A=b")}


@pytest.mark.parametrize(
    "argument",
    [
        *("LD_PRELOAD=a://u:p@h /w/evil.so", "DOCKER_HOST=tcp://u:p@evil.example:2375", "PATH=/w:http://u:p@h"),
        *("docker_host=tcp://u:p@h", 'DOCKER_AUTH_CONFIG={"auths": {}}', "GIT_CONFIG_KEY_0=core.pager"),
        *("GIT_SSH_COMMAND=/w/x http://u:p@h", "BASH_ENV=/w/x://u:p@h", "PYTHONPATH=/w:x://u:p@h"),
        *(
            "AWS_CONFIG_FILE=/w/x://u:p@h",
            "SSH_SK_PROVIDER=/w/x://u:p@h",
            "OPENSSL_CONF=/w/x://u:p@h",
            "PS4=$(x) a://u:p@h",
            "AWS_ENDPOINT_URL_STS=https://u:p@evil.example",
            "CLOUDSDK_AUTH_TOKEN_HOST=https://u:p@evil.example",
            "ACTIONS_RESULTS_URL=https://u:p@evil.example",
            "AZURE_AUTHORITY_HOST=https://u:p@evil.example",
            "PYTHONPYCACHEPREFIX=/w/x://u:p@h",
            "GIT_COMMON_DIR=/w/x://u:p@h",
            "GIT_ALLOW_PROTOCOL=ext:a://u:p@h",
            "NO_PROXY=a://u:p@h",
        ),
    ],
)
def test_no_secret_argument_controls_docker(argument: str) -> None:
    """Its value is in docker's environment; a list of arguments may hold a text of the repository."""
    with pytest.raises(UsageError) as refused:
        requested(build_arg=["A=b", argument])
    assert refused.value.code == "build-arg-controlling"
    assert argument.partition("=")[2] not in refused.value.message


@pytest.mark.parametrize(
    "argument",
    [
        *(
            "PIP_INDEX_URL=https://u:p@h/",
            "HTTP_PROXY=http://u:p@h",
            "GIT_TOKEN=x",
            "DOCKER_PASSWORD=x",
            "GIT_SSH_KEY=x",
        ),
        *(
            "LD_PRELOAD=/w/evil.so",
            "DOCKER_HOST=tcp://h:1",
            "PATH=/bin",
            "NODE_AUTH_TOKEN=x",
            "LD_PRELOAD",
            "KUBE_TOKEN=x",
        ),
    ],
)
def test_other_arguments_are_taken(argument: str) -> None:
    """What is no secret is on the command line, where it controls nothing."""
    assert requested(build_arg=[argument]).build_arg == (argument,)


# --- the policy beside a Dockerfile ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "is_refused"),
    [
        ('x := load_json("cwd://.docker/config.json")', True),
        ('x := load_json(concat("", ["cw", "d://x.json"]))', True),
        ("x := load_json(`cwd://x.json`)", True),
        ('x := count("cwd://x") with count as load_json', True),
        ("x := data.docker.helpers.read", True),
        ('x := data["docker"]', True),
        ("import data as d", True),
        ("x := `\n# `, load_json(`cwd://x.json`)", True),
        ('# metadata\nx := load_json("versions.json")', False),
        ('x := load_json( "a/b-c.json" )\ny := input.image.repo == "alpine"', False),
    ],
)
def test_no_policy_reads_files_of_the_working_directory(policy: str, is_refused: bool, project: Path) -> None:  # noqa: FBT001 -- a table
    """Buildx gives it those, it prints what it likes, and sends any digest to the registry of an image."""
    (project / "folder" / "Dockerfile").write_text("FROM scratch\n")
    (project / "folder" / "Dockerfile.rego").write_text(f"package docker\n{policy}\n")
    (project / "folder" / "below").mkdir()
    with pytest.raises(UsageError) if is_refused else contextlib.nullcontext() as refused:
        check_paths(BuildRequest(context="folder"))
    if refused:
        assert refused.value.code == "policy-reads-elsewhere"
    for here in (project / "folder", project / "folder" / "below"):
        os.chdir(here)
        check_paths(BuildRequest(context=str(project / "folder")))
    os.chdir(project)


def test_a_policy_beside_a_dockerfile_of_an_archive_reads_nothing_either(project: Path) -> None:
    (project / "Dockerfile.rego").write_text('package docker\nx := load_json("cwd://x.json")\n')
    with pytest.raises(UsageError) as refused:
        check_paths(BuildRequest(context="-", file="Dockerfile"))
    assert refused.value.code == "policy-reads-elsewhere"
    check_paths(BuildRequest())
