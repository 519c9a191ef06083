"""What a made builder takes over of the engine's registries."""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path, PurePath
from typing import Any

import pytest

from buildx_cache.engine.certificates import registry_certificates
from buildx_cache.plan.builder_choice import own_builder_name
from buildx_cache.plan.facts import Certificates, Facts, Registries
from buildx_cache.plan.registry_choice import buildkitd_config, take_over
from buildx_cache.plan.render import plan_json, shell_lines
from tests.unit.test_plan import CLASSIC, CONTAINER, LAPTOP, OWN_RUNNING, plan_of, request_of

CERTIFICATES = Certificates(
    host="registry.test:5000", authorities=("/c/ca.crt",), pairs=(("/c/a.key", "/c/a.cert"),), digest="01"
)
INSECURE = Registries(insecure=("registry.test:5000",))
LOCAL = {"cache": "local", "tag": ["app"], "load": True}
MADE = replace(CLASSIC, registries=INSECURE)


def toml(registries: Registries) -> dict[str, Any]:
    return tomllib.loads("\n".join(buildkitd_config(take_over(registries))))


@pytest.mark.parametrize(
    ("registries", "config"),
    [
        pytest.param(Registries(), {}, id="none"),
        pytest.param(INSECURE, {"registry.test:5000": {"http": True, "insecure": True}}, id="insecure"),
        pytest.param(
            Registries(insecure=("[fd00::1]:5000",)),
            {"[fd00::1]:5000": {"http": True, "insecure": True}},
            id="ipv6",
        ),
        pytest.param(
            Registries(mirrors=("https://a.test", "http://b.test:5000")),
            {"docker.io": {"mirrors": ["a.test", "b.test:5000"]}, "b.test:5000": {"http": True}},
            id="mirrors",
        ),
        pytest.param(
            Registries(mirrors=("http://b.test:5000",), insecure=("b.test:5000",)),
            {"docker.io": {"mirrors": ["b.test:5000"]}, "b.test:5000": {"http": True, "insecure": True}},
            id="insecure-mirror",
        ),
        pytest.param(
            Registries(certificates=(CERTIFICATES,), insecure=("registry.test:5000",)),
            {
                "registry.test:5000": {
                    "ca": ["/c/ca.crt"],
                    "keypair": [{"key": "/c/a.key", "cert": "/c/a.cert"}],
                    "http": True,
                    "insecure": True,
                }
            },
            id="certificates",
        ),
        pytest.param(Registries(insecure=('a"]\nx=1',)), {'a"]\nx=1': {"http": True, "insecure": True}}, id="hostile"),
    ],
)
def test_buildkit_is_configured_as_the_engine_is(registries: Registries, config: Mapping[str, object]) -> None:
    assert toml(registries).get("registry", {}) == config


def test_no_other_user_has_made_the_file_that_a_plan_writes() -> None:
    """In a folder of all, who is quicker chooses what the builder is told."""
    plan = plan_of(LOCAL, facts=MADE)
    (node,) = plan.builder.create
    folder = PurePath(MADE.place.cache_dir).parent
    assert PurePath(node.config).parent == folder
    assert f"mkdir -p {folder} && printf" in shell_lines(plan)


@pytest.mark.parametrize(
    "registries",
    [
        Registries(insecure_networks=("10.0.0.0/8",)),
        Registries(mirrors=("https://nexus.test/repository/hub",)),
        Registries(mirrors=("https://me:password@a.test",)),
        Registries(mirrors=("ftp://a.test",)),
        Registries(mirrors=("https://[a.test",)),
        Registries(certificates=(replace(CERTIFICATES, unreadable="/c/a.key: Permission denied"),)),
    ],
    ids=repr,
)
def test_what_buildkit_cannot_be_told_is_left_out_and_said(registries: Registries) -> None:
    plan = take_over(registries)
    assert (plan.insecure, plan.mirrors, plan.certificates, len(plan.left_out)) == ((), (), (), 1)
    assert buildkitd_config(plan) == ()
    assert "password" not in plan.left_out[0]


@pytest.mark.parametrize(
    ("asked", "facts"),
    [
        pytest.param({}, CONTAINER, id="a-builder-that-is-there"),
        pytest.param({"driver": "remote", "endpoint": ["tcp://far:1234"]}, CLASSIC, id="remote"),
        pytest.param({"driver": "kubernetes"}, CLASSIC, id="kubernetes"),
        pytest.param({"driver": "docker-container", "endpoint": ["far"]}, CLASSIC, id="another-engine"),
        pytest.param({"driver": "docker", "cache": "none"}, CLASSIC, id="the-engines-own"),
        pytest.param({}, CLASSIC, id="no-registries"),
    ],
)
def test_other_builders_take_nothing_over(asked: Mapping[str, object], facts: Facts) -> None:
    known = replace(facts, registries=INSECURE if asked or facts is CONTAINER else Registries())
    plan = plan_of({**LOCAL, **asked}, facts=known)
    assert plan.builder.registries.lines == ()
    assert not any(node.config_lines for node in plan.builder.create)


@pytest.mark.parametrize(
    ("asked", "config"),
    [
        pytest.param({"buildkitd_config": "mine.toml"}, "", id="option"),
        pytest.param({"buildkitd_flags": "--config /mine.toml"}, "", id="flag"),
        pytest.param({}, "/home/me/.docker/buildx/buildkitd.default.toml", id="default"),
    ],
)
def test_the_users_own_configuration_decides(asked: Mapping[str, object], config: str) -> None:
    plan = plan_of({**LOCAL, **asked}, facts=replace(MADE, default_config=config))
    (node,) = plan.builder.create
    assert (node.config, node.config_lines) == (asked.get("buildkitd_config", ""), ())
    assert len(plan.builder.registries.left_out) == 1


def test_builders_of_other_registries_are_other_builders() -> None:
    request = request_of(LOCAL)
    others = (Registries(insecure=("other.test",)), Registries(mirrors=("https://registry.test:5000",)), Registries())
    names = {own_builder_name(request, LAPTOP, replace(CLASSIC, registries=each)) for each in (INSECURE, *others)}
    assert len(names) == len(others) + 1


def test_no_name_of_a_strangers_builder_is_another_builds() -> None:
    """A fork's file names registries in outputs, as many as it takes to hit another builder's 32 bits."""
    facts = replace(CLASSIC, registries=Registries(insecure_networks=("10.0.0.0/8",)))
    outputs = [{"output": [f"type=oci,dest=x,name=10.0.0.{number}/x"]} for number in range(9)]
    fork, branch = (replace(LAPTOP, provider="github", is_fork=is_fork) for is_fork in (True, False))
    names = [
        [own_builder_name(request_of({**LOCAL, **asked}), ci, facts) for asked in outputs] for ci in (fork, branch)
    ]
    assert [len(set(each)) for each in names] == [len(outputs)] * 2
    assert all(re.fullmatch(r".*-r[0-9a-f]{7}", name) for name in names[0])
    assert all(re.fullmatch(r".*-[0-9a-f]{8}", name) for name in names[1])


@pytest.mark.parametrize(
    ("known", "asked", "is_separate"),
    [
        ({"branch": None}, {}, True),
        ({"branch": None, "tag": "v1", "default_branch": None}, {}, True),
        ({"branch": None, "tag": "v1", "default_branch": "main"}, {}, False),
        ({"branch": None}, {"cache_scope": "nightly"}, False),
        ({"branch": None}, {"cache_read_only": False}, False),
        ({"branch": "main"}, {}, False),
        ({"branch": None, "provider": "none"}, {}, False),
    ],
)
def test_a_build_of_an_unknown_branch_shares_no_builder_with_branches(
    known: dict[str, str | None],
    asked: dict[str, object],
    is_separate: bool,  # noqa: FBT001 -- a table
) -> None:
    """Such as Jenkins' of a bare commit, which a pull request from a fork may have brought."""
    ci = replace(replace(LAPTOP, provider="jenkins", sha="1" * 40), **known)  # type: ignore[arg-type]
    name = own_builder_name(request_of({**LOCAL, **asked}), ci, CLASSIC)
    assert bool(re.fullmatch(r".*-r[0-9a-f]{7}", name)) is is_separate


@pytest.mark.parametrize(
    ("known", "is_apart"),
    [
        ({"branch": "main"}, True),
        ({"branch": None, "tag": "v1"}, True),
        ({"branch": "main", "provider": "drone"}, True),
        ({"branch": "topic", "is_fork": True}, False),
        ({"branch": "topic", "pull_request": "5"}, False),
        ({"branch": "topic", "target_branch": "main", "provider": "woodpecker"}, False),
        ({"branch": "topic", "is_remote": True}, False),
        ({"branch": "main", "provider": "ci"}, False),
        ({"branch": None}, False),
    ],
)
def test_a_release_that_only_reads_caches_shares_no_builder_with_forks(
    known: dict[str, str | bool | None],
    is_apart: bool,  # noqa: FBT001 -- a table
) -> None:
    """A job of a tag is told to only read caches; what it builds is pushed all the same."""
    ci = replace(replace(LAPTOP, provider="github", sha="1" * 40), **known)  # type: ignore[arg-type]
    fork = replace(LAPTOP, provider="github", sha="1" * 40, is_fork=True)
    request = request_of({**LOCAL, "cache_read_only": True})
    name = own_builder_name(request, ci, CLASSIC)
    assert (name != own_builder_name(request_of(LOCAL), fork, CLASSIC)) is is_apart
    assert re.fullmatch(r".*-[rs][0-9a-f]{7}", name)


def test_a_builder_of_an_older_certificate_is_another_one() -> None:
    request = request_of(LOCAL)
    both = (CERTIFICATES, replace(CERTIFICATES, digest="02"))
    facts = [replace(CLASSIC, registries=Registries(certificates=(each,))) for each in both]
    assert len({own_builder_name(request, LAPTOP, each) for each in facts}) == len(both)


def test_certificates_are_found_as_docker_finds_them(tmp_path: Path) -> None:
    host, other = tmp_path / "certs.d/registry.test:5000", tmp_path / "certs.d/other.test"
    for folder in (host, other, tmp_path / "certs.d/empty.test"):
        folder.mkdir(parents=True)
    for name in ("ca.crt", "a.key", "a.cert", "b.key", "c.cert", "notes.txt"):
        (host / name).write_text(name)
    (tmp_path / "real.crt").write_text("real")
    (other / "linked.crt").symlink_to(tmp_path / "real.crt")
    env = {"DOCKER_CONFIG": str(tmp_path)}
    linked, found = registry_certificates(env, "tcp://far:2376")
    assert (found.host, found.authorities) == ("registry.test:5000", (str(host / "ca.crt"),))
    assert found.pairs == ((str(host / "a.key"), str(host / "a.cert")),)
    assert (linked.host, linked.authorities, linked.unreadable) == ("other.test", (str(other / "linked.crt"),), "")
    (host / "ca.crt").write_text("new")
    assert registry_certificates(env, "tcp://far:2376")[1].digest != found.digest
    (host / "ca.crt").unlink()
    os.mkfifo(host / "ca.crt")
    assert registry_certificates(env, "tcp://far:2376")[1].unreadable


def test_what_cannot_be_taken_over_makes_no_other_builder() -> None:
    """So that a builder stays where a newer engine says more of itself."""
    request, left_out = request_of(LOCAL), Registries(insecure_networks=("10.0.0.0/8",))
    assert own_builder_name(request, LAPTOP, replace(CLASSIC, registries=left_out)) == own_builder_name(
        request, LAPTOP, CLASSIC
    )


@pytest.mark.parametrize("facts", [MADE, replace(OWN_RUNNING, registries=INSECURE)], ids=["made", "there"])
def test_a_plan_shows_what_is_taken_over(facts: Facts) -> None:
    plan = plan_of(LOCAL, facts=facts)
    said = json.loads(plan_json(plan))["builder"]
    assert said["registries"] == {
        "insecure": ["registry.test:5000"],
        "mirrors": [],
        "certificates": [],
        "left_out": [],
    }
    assert (said["config"] is None) == bool(facts.own_builder)
    assert "registry.test:5000" in next(line for line in shell_lines(plan).splitlines() if "registries" in line)


def test_the_file_of_a_made_builder_is_written_before_it() -> None:
    plan = plan_of(LOCAL, facts=MADE)
    (node,) = plan.builder.create
    lines = shell_lines(plan).splitlines()
    (index,) = (index for index, line in enumerate(lines) if " && printf " in line)
    assert lines[index].endswith(f" > {node.config}")
    assert f"--buildkitd-config {node.config} " in lines[index + 1]
