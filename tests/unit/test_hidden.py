from __future__ import annotations

import os
from pathlib import Path

import pytest

from buildx_cache.cli import building
from buildx_cache.cli.secrets import forget_secrets, hidden_values, keep_out_of_metadata
from buildx_cache.errors import EngineError
from buildx_cache.redaction import Secret
from buildx_cache.request.build_request import BuildRequest
from buildx_cache.request.sources import OptionLayer, make_request
from tests.unit.command_line import CommandLine


def request(**values: object) -> BuildRequest:
    return make_request((OptionLayer(where="--{name}", values=values),))


ENV = {"A": "value-of-a", "npm": "value-of-npm", "NPM_TOKEN": "of-the-token", "PLAIN": "shown"}


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ("id=x,env=A", "value-of-a"),
        ("id=x,type=env,src=A", "value-of-a"),
        ("id=x,type=env,env=A", "value-of-a"),
        ("id=npm", "value-of-npm"),
        ("ID=npm", "value-of-npm"),
        ("type=file,id=npm", ""),
        ("id=x,env=ABSENT", ""),
        ("id=absent", ""),
        ('id=x,"env=A"', "value-of-a"),
        ('id=x,"env=A', ""),
        ("", ""),
        ("id=x,src=/dev/zero", ""),
        ("id=x,src=/nowhere", ""),
        ("id=x,src=/", ""),
    ],
)
def test_the_value_of_a_secret_is_where_buildx_takes_it_from(entry: str, expected: str) -> None:
    assert hidden_values(request(secret=[entry]), ENV, None) == ((Secret(expected),) if expected else ())


@pytest.mark.parametrize("entry", ["id=x,src={}", "id=x,source={}", "id=x,type=file,src={}", "id={}"])
def test_a_small_file_is_read(entry: str, tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_bytes(b"of the file\xff\n")
    assert hidden_values(request(secret=[entry.format(file)]), {}, None) == (Secret("of the file\udcff\n"),)


def test_a_large_file_and_a_pipe_are_not(tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(b"x" * (64 * 1024 + 1))
    os.mkfifo(tmp_path / "pipe")
    entries = [f"id=x,src={tmp_path / name}" for name in ("large", "pipe")]
    assert hidden_values(request(secret=entries), {}, None) == ()


def test_arguments_from_the_environment_and_the_password_are_hidden() -> None:
    asked = request(build_arg=["NPM_TOKEN", "PLAIN", "MY_TOKEN=given"])
    assert hidden_values(asked, ENV, Secret("of-the-login")) == (Secret("of-the-login"), Secret("of-the-token"))


def test_the_keys_of_cache_entries_are_hidden() -> None:
    key = "type=s3,bucket=b,access_key_id=AKIAEXAMPLE,secret_access_key=key-of-the-bucket"
    asked = request(cache_from=["app:c", key], cache_to=[key, "type=gha,token=true,scope=scope-of-the-job"])
    assert hidden_values(asked, {}, None) == (Secret("AKIAEXAMPLE"), Secret("key-of-the-bucket"))


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (("--secret", "id=x,env=A"), "value-of-a"),
        (("--secret=id=x,env=A",), "value-of-a"),
        (("--build-arg", "NPM_TOKEN"), "of-the-token"),
        (("--build-arg=NPM_TOKEN=another-token",), "another-token"),
        (("--label", "--secret"), None),
        (("--build-arg", "PLAIN=another-value"), None),
    ],
)
def test_what_is_passed_to_buildx_itself_is_hidden_too(flags: tuple[str, ...], expected: str | None) -> None:
    env = dict(ENV)
    assert hidden_values(request(buildx_flags=flags), env, None) == ((Secret(expected),) if expected else ())
    keep_out_of_metadata(request(buildx_flags=flags), env)
    assert ("BUILDX_METADATA_PROVENANCE" in env) is any("NPM_TOKEN" in flag for flag in flags)


def test_ordinary_arguments_are_not_hidden_but_every_secret_is() -> None:
    env = {
        "AUTH": "disabled",
        "A_TOKEN": "short",
        "SESSION_DRIVER": "memcached-of-mine",
        "NPM_TOKEN": "true",
        "X": "true",
    }
    asked = request(build_arg=[*env], secret=["id=x,env=X"])
    assert hidden_values(asked, env, Secret("1234")) == (Secret("1234"), Secret("true"))
    assert hidden_values(request(build_arg=[*env]), env, None) == ()


def test_a_login_in_an_argument_from_the_environment_is_hidden() -> None:
    asked = request(build_arg=["HTTP_PROXY", "PLAIN"])
    env = {**ENV, "HTTP_PROXY": "http://me:abc@proxy"}
    assert hidden_values(asked, env, None) == (Secret("http://me:abc@proxy"),)
    keep_out_of_metadata(asked, env)
    assert env["BUILDX_METADATA_PROVENANCE"] == "disabled"


def test_no_child_has_the_options_of_this_program() -> None:
    env = {"BUILDX_CACHE_BUILD_ARG": "NPM_TOKEN=a", "BUILDX_CACHE_DIGEST": "b", "BUILDX_CONFIG": "c"}
    forget_secrets(request(build_arg=["BUILDX_CACHE_DIGEST"]), env)
    assert env == {"BUILDX_CACHE_DIGEST": "b", "BUILDX_CONFIG": "c"}


def test_a_password_is_in_no_environment_but_where_it_is_asked_for() -> None:
    env = {"DOCKER_PASSWORD": "a", "MINE": "b", "OTHER": "c"}
    login = {"username": "me", "password_env": "MINE", "registry": "r.example"}
    for more, left in (
        ({}, ["OTHER"]),
        ({"secret": ["id=x,env=MINE"]}, ["MINE", "OTHER"]),
        ({"secret": ["id=MINE"]}, ["MINE", "OTHER"]),
        ({"build_arg": ["DOCKER_PASSWORD"]}, ["DOCKER_PASSWORD", "OTHER"]),
        ({"build_arg": ["DOCKER_PASSWORD=x"]}, ["OTHER"]),
    ):
        one, two = dict(env), dict(env)
        forget_secrets(request(**login, **more), one, two)
        assert (sorted(one), sorted(two)) == (left, left)


@pytest.mark.parametrize(
    ("argument", "before", "after"),
    [
        ("NPM_TOKEN=a", None, "disabled"),
        ("NPM_TOKEN", None, "disabled"),
        ("GITHUB_PAT=true", None, "disabled"),
        ("ENABLE_AUTH=true", None, None),
        ("NPM_TOKEN", "max", "max"),
        ("VERSION=1", None, None),
        ("INDEX=https://me:abc@example.com", None, "disabled"),
    ],
)
def test_the_metadata_file_has_no_secret_unless_asked_for(argument: str, before: str | None, after: str | None) -> None:
    env = {} if before is None else {"BUILDX_METADATA_PROVENANCE": before}
    keep_out_of_metadata(request(build_arg=[argument]), env)
    assert env.get("BUILDX_METADATA_PROVENANCE") == after


@pytest.mark.parametrize("progress", ["plain", "json", "quiet"])
def test_what_a_call_without_a_plan_tells_has_no_secret(
    progress: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise EngineError("docker said hunt\x1b[0mer2secret and of-an-\x00argument", hint="not hunter2\u200bsecret")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(building, "open_session", fail)
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    reports = ("--report", "r.json", "--report-html", "r.html", "--report-junit", "r.xml", "--report-md", "r.md")
    words = ("--progress", progress, "--secret", "id=x,env=MINE", "--build-arg", "A_TOKEN=of-an-argument")
    called = CommandLine(tmp_path, monkeypatch, capsys)("build", ".", *words, *reports, MINE="hunter2secret")
    assert called.code == 3
    written = "".join(path.read_text() for path in tmp_path.glob("r.*"))
    assert "***" in written
    assert "***" in called.out + called.err
    for secret in ("hunter2secret", "of-an-argument"):
        assert secret not in called.out + called.err + written
