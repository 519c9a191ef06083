"""Whose password goes to which registry: every source of a login, and of a registry, through ``plan``."""

from __future__ import annotations

import pytest

from tests.unit.command_line import CommandLine
from tests.unit.test_cli import NO_CACHE, call  # noqa: F401 -- a fixture

A, B, HUB = "a.example.com", "b.example.com", "docker.io"
PAIR = {"DOCKER_LOGIN": "robot", "DOCKER_PASSWORD": "hunter2"}
GIVEN = ("--username", "me", "--password-env", "MINE")
NOTE = "a note"
REFUSED = "refused"


GITLAB = {"GITLAB_CI": "true", "CI_REGISTRY": A, "CI_REGISTRY_USER": "job", "CI_REGISTRY_PASSWORD": "hunter3"}
VARIABLES = {"robot": "DOCKER_PASSWORD", "me": "MINE", "job": "CI_REGISTRY_PASSWORD"}


def at(registry: str, user: str = "robot") -> str:
    variable = VARIABLES[user]
    return f'printf %s "${variable}" | docker login --username {user} --password-stdin {registry}'.strip()


# What is tagged, given and set; then where who logs in, a note that nobody does, or a refusal.
@pytest.mark.parametrize(
    ("tags", "words", "env", "right"),
    [
        # the pair is Docker Hub's
        ([f"{HUB}/o/app"], (), PAIR, at("")),
        (["o/app"], (), PAIR, at("")),
        (["index.docker.io/o/app"], (), PAIR, at("")),
        (["registry-1.docker.io/o/app"], (), PAIR, at("")),
        ([f"{A}/app"], (), PAIR, NOTE),
        (["localhost:5000/app"], (), PAIR, NOTE),
        ([f"{A}/app", "o/app"], (), PAIR, at("")),
        ([f"{A}/app"], ("--cache-ref", "o/cache"), PAIR, at("")),
        ([f"{A}/app"], ("--cache-ref", f"{B}/cache"), PAIR, NOTE),
        ([], (), PAIR, at("")),
        # or DOCKER_REGISTRY's
        ([f"{A}/app"], (), {**PAIR, "DOCKER_REGISTRY": A}, at(A)),
        ([f"{A}/app"], (), {**PAIR, "DOCKER_REGISTRY": f"https://{A}/team/"}, at(A)),
        ([f"{B}/app"], (), {**PAIR, "DOCKER_REGISTRY": A}, at(A)),
        ([f"{A}/app"], (), {**PAIR, "DOCKER_REGISTRY": "https://index.docker.io/v1/"}, at("")),
        ([f"{A}/app"], (), {**PAIR, "DOCKER_REGISTRY": ""}, NOTE),
        ([f"{A}/app"], (), {**PAIR, "DOCKER_REGISTRY": "a b"}, REFUSED),
        ([f"{A}/app"], (), {**PAIR, "DOCKER_REGISTRY": f"http://{A}"}, REFUSED),
        # or goes where the caller says; a password goes to no registry that another source names
        ([f"{A}/app"], ("--registry", A), PAIR, at(A)),
        ([f"{A}/app"], (), {**PAIR, "BUILDX_CACHE_REGISTRY": A}, at(A)),
        ([f"{A}/app"], ("--registry", A), {**PAIR, "DOCKER_REGISTRY": f"{A}/team"}, at(A)),
        ([f"{A}/app"], ("--registry", A), {**PAIR, "DOCKER_REGISTRY": B}, REFUSED),
        ([f"{A}/app"], ("--registry", A), {**PAIR, "DOCKER_REGISTRY": HUB}, REFUSED),
        # a login given by option
        ([f"{A}/app"], GIVEN, {}, at(A, "me")),
        (["o/app"], GIVEN, {}, at("", "me")),
        ([f"{A}/app"], GIVEN, PAIR, at(A, "me")),
        ([f"{A}/app"], (*GIVEN, "--registry", f"https://{B}/x"), PAIR, at(B, "me")),
        ([f"{A}/app"], (*GIVEN, "--registry", HUB), {}, at("", "me")),
        ([f"{A}/app"], GIVEN, {"DOCKER_REGISTRY": A}, at(A, "me")),
        ([f"{A}/app", f"{B}/app"], GIVEN, {"DOCKER_REGISTRY": B}, at(B, "me")),
        ([f"{A}/app"], GIVEN, {"DOCKER_REGISTRY": B}, REFUSED),
        ([], GIVEN, {"DOCKER_REGISTRY": B}, at(B, "me")),
        # a CI's own is for its own registry
        ([f"{A}/app"], (), GITLAB, at(A, "job")),
        ([f"{B}/app", f"{A}/app"], (), GITLAB, at(A, "job")),
        ([f"{B}/app"], ("--cache-ref", f"{A}/cache"), GITLAB, at(A, "job")),
        ([f"{B}/app"], (), GITLAB, ""),
        (["o/app"], (), GITLAB, ""),
        ([f"{A}/app"], (), {**GITLAB, "CI_REGISTRY_PASSWORD": ""}, ""),
        ([f"{A}/app"], (), {**GITLAB, "GITLAB_CI": ""}, ""),
        ([f"{B}/app"], ("--registry", B), GITLAB, ""),
        ([f"{A}/app"], (), {**PAIR, "DOCKER_REGISTRY": A, **GITLAB}, at(A)),
        ([f"{B}/app"], GIVEN, GITLAB, at(B, "me")),
        # Buildx looks under the host as the tag spells it
        (["A.Example.com/app"], (*GIVEN, "--registry", A), {}, at("A.Example.com", "me")),
        ([f"{A}/app"], (*GIVEN, "--registry", "A.Example.COM"), {}, at(A, "me")),
        # half a login, and an empty one
        ([f"{A}/app"], (), {"DOCKER_LOGIN": "robot"}, NOTE),
        ([f"{A}/app"], (), {"DOCKER_PASSWORD": "hunter2"}, NOTE),
        ([f"{A}/app"], (), {"DOCKER_LOGIN": "robot", "DOCKER_PASSWORD": ""}, NOTE),
        ([f"{A}/app"], (), {"DOCKER_LOGIN": "robot", "DOCKER_PASSWORD": "\n"}, NOTE),
        ([f"{A}/app"], GIVEN, {"DOCKER_LOGIN": "robot"}, at(A, "me")),
        ([f"{A}/app"], (), {"DOCKER_REGISTRY": A}, ""),
        ([f"{A}/app"], ("--username", ""), {}, REFUSED),
        ([f"{A}/app"], ("--username", "", "--password-env", "MINE"), PAIR, REFUSED),
        ([f"{A}/app"], ("--username", "me", "--password-env", ""), {}, REFUSED),
        ([f"{A}/app"], (*GIVEN, "--registry", ""), {}, REFUSED),
        ([f"{A}/app"], (*GIVEN, "--registry", f"http://{A}"), {}, REFUSED),
        ([f"{A}/app"], (*GIVEN, "--registry", f"me@{A}"), {}, REFUSED),
    ],
)
def test_a_password_goes_to_the_registry_of_its_own_source(
    call: CommandLine,  # noqa: F811 -- same
    tags: list[str],
    words: tuple[str, ...],
    env: dict[str, str],
    right: str,
) -> None:
    tagged = [word for tag in tags for word in ("-t", tag)]
    cache = () if "--cache-ref" in words else NO_CACHE
    planned = call("plan", "--assume-driver", "docker", *cache, *tagged, *words, **env)
    assert planned.code == (2 if right == REFUSED else 0), planned.err
    assert "hunter2" not in planned.out + planned.err
    logins = [line for line in planned.out.splitlines() if "docker login" in line]
    assert logins == ([right] if "docker login" in right else [])
    assert ("DOCKER_" in "".join(line for line in planned.out.splitlines() if "note:" in line)) == (right == NOTE)


@pytest.mark.parametrize("more", [{}, {"DOCKER_REGISTRY": B}])
def test_a_file_does_not_say_where_the_pair_of_the_environment_goes(
    call: CommandLine,  # noqa: F811 -- same
    more: dict[str, str],
) -> None:
    (call.folder / "buildx-cache.toml").write_text(f'registry = "{A}"\n')
    planned = call("plan", "--assume-driver", "docker", *NO_CACHE, "-t", f"{A}/app", **PAIR, **more)
    assert planned.code == 2
    assert "docker login" not in planned.out
